import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { auditLines } from "../core/audit.ts";
import { claimsIn, isBundle } from "../core/bundle.ts";
import { isFailure } from "../core/errors.ts";
import { GroupPlace } from "../core/group.ts";
import type { Enclosure } from "../core/identity.ts";
import { foldLines, type JournalLine } from "../core/journal.ts";
import type { RequestId, ResultFile, SignRequest, StoredDocument } from "../core/request.ts";
import type { Format } from "../core/signing.ts";
import { isEnd } from "../core/status.ts";
import type { createDocuments } from "../files/documents.ts";
import { hashFile } from "../files/content.ts";
import { digestOf } from "../files/hash-file.ts";
import type { createResults } from "../files/results.ts";
import { probePdf } from "../files/probe.ts";
import type { By } from "../files/rewritten.ts";
import type { Timestamp } from "../files/timestamp.ts";
import type { ValidationData } from "../files/validation-data.ts";
import { verifyDetachedFile, verifySignedPdf } from "../files/verify.ts";
import { Evidence } from "../workers/evidence.ts";

/** Something that is not as it should be. */
export interface Flawed {
  code: string;
  message: string;
}

/** What was looked at for one request, and what was found. */
export interface Verified {
  id: RequestId;
  /** Its state by the journal; "unknown" when the journal does not have it. */
  state: string;
  ok: boolean;
  findings: Flawed[];
  /** What was not looked at, and why. */
  notes: string[];
  signed_files: number;
  /** When signatures were there, by the timestamps over them; ISO 8601. */
  timestamps: string[];
  /** What signed PDFs carry for a validation years later, all together; left out where none does. */
  validation_data?: ValidationData & { files: number };
}

interface Places {
  documents: Pick<ReturnType<typeof createDocuments>, "path" | "folder">;
  results: Pick<ReturnType<typeof createResults>, "path" | "rehash" | "readEvidence" | "folder">;
  archive: string;
  /** Signed files continue the original byte by byte. */
  incremental: boolean;
  /** How those that were rewritten are recognised. */
  compare: By;
}

interface Facts {
  documents?: StoredDocument[];
  /** Left out for signed PDFs. */
  format?: Format;
  /** `id` is the document that it is the signed copy of. */
  signed?: (ResultFile & { id: string })[];
  contract?: ResultFile;
  enclosures?: Enclosure[];
  group?: unknown;
  requestPk?: unknown;
}

/**
 * Checks a request by its lines in the journal, its evidence and its files. Nothing else is asked. `again` is the request
 * as which its documents were handed in once more.
 */
export async function verifyRequest(
  id: RequestId,
  lines: readonly JournalLine[],
  places: Places,
  again?: RequestId,
): Promise<Verified> {
  const findings: Flawed[] = [];
  const notes: string[] = [];
  const request = foldLines(lines);
  if (lines.length === 0) findings.push({ code: "not-in-journal", message: "The journal does not know this request" });
  else if (!request) {
    findings.push({ code: "journal-incomplete", message: "The journal does not have the beginning of this request" });
  }
  findings.push(...auditLines(lines));
  const evidence = await readEvidence(id, request, places, findings);
  const facts: Facts = request?.facts ?? factsOf(evidence);
  if (evidence && request) findings.push(...compare(evidence, request, lines));
  const timestamps: Timestamp[] = [];
  const stores: ValidationData[] = [];
  for (const file of facts.signed ?? []) {
    const checked = await checkSigned(id, file, facts, places);
    if (Array.isArray(checked)) findings.push(...checked);
    else {
      timestamps.push(...checked.timestamps);
      if (checked.validationData) stores.push(checked.validationData);
    }
  }
  if (timestamps.some(({ isVerified }) => !isVerified)) {
    notes.push("whose a timestamp is was not looked at: its certificate is not there");
  }
  if (facts.contract) findings.push(...(await checkContract(id, facts.contract, places)));
  await checkOriginals(id, { request, facts, places, again, findings, notes });
  return {
    id,
    state: request ? (isEnd(request.phase) ? request.phase : `${request.stage} ${request.phase}`) : "unknown",
    ok: findings.length === 0,
    findings,
    notes,
    signed_files: facts.signed?.length ?? 0,
    timestamps: [...new Set(timestamps.map(({ at }) => at.toISOString()))],
    ...(stores.length > 0 && { validation_data: inAll(stores) }),
  };
}

function inAll(stores: readonly ValidationData[]): NonNullable<Verified["validation_data"]> {
  const sum = (name: keyof ValidationData) => stores.reduce((total, store) => total + store[name], 0);
  return { files: stores.length, certificates: sum("certificates"), revocations: sum("revocations") };
}

async function readEvidence(
  id: RequestId,
  request: SignRequest | undefined,
  { results }: Places,
  findings: Flawed[],
): Promise<Evidence | undefined> {
  const text = await results.readEvidence(id);
  if (text === undefined) {
    if (!request || request.facts["signed"] !== undefined) {
      findings.push({ code: "evidence-missing", message: "There is no evidence.json that can be read" });
    }
    return undefined;
  }
  const parsed = Evidence.safeParse(text);
  if (parsed.success && parsed.data.id === id) return parsed.data;
  const where = parsed.error?.issues.map(({ path }) => path.join(".")).join(", ") ?? "id";
  findings.push({ code: "evidence-differs", message: `evidence.json is not as it was written: ${where}` });
  return undefined;
}

/** What evidence alone tells, of a request that the journal does not know. */
function factsOf(evidence: Evidence | undefined): Facts {
  const signed = evidence?.documents.flatMap(({ signed: file }, i) =>
    file ? [{ id: String(i), name: file.name, sizeBytes: file.size_bytes, sha256: file.sha256 }] : [],
  );
  const documents = evidence?.documents.map(({ name, sha256, size_bytes, digest }, i) => ({
    id: String(i),
    name,
    sha256,
    sizeBytes: size_bytes,
    ...(digest && { digest }),
  }));
  const format = evidence?.signature_format;
  return { ...(signed && { signed }), ...(documents && { documents }), ...(format && { format }) };
}

function compare(evidence: Evidence, request: SignRequest, lines: readonly JournalLine[]): Flawed[] {
  const facts = request.facts as Facts;
  const wrong: string[] = [];
  const same = (what: string, one: unknown, other: unknown) => {
    if (JSON.stringify(one) !== JSON.stringify(other)) wrong.push(what);
  };
  same("reference", evidence.reference, request.reference);
  same("group", evidence.group, facts.group);
  same("provider.request_pk", evidence.provider.request_pk, facts.requestPk);
  same(
    "documents",
    evidence.documents.map(({ name, sha256, size_bytes, digest }) => [name, sha256, size_bytes, digest?.value]),
    facts.documents?.map(({ name, sha256, sizeBytes, digest }) => [name, sha256, sizeBytes, digest?.value]),
  );
  same("signature_format", evidence.signature_format, facts.format);
  same(
    "documents.signed",
    evidence.documents.flatMap(({ signed }) => (signed ? [[signed.name, signed.sha256, signed.size_bytes]] : [])),
    (facts.signed ?? []).map(({ name, sha256, sizeBytes }) => [name, sha256, sizeBytes]),
  );
  same(
    "enclosures",
    (evidence.enclosures ?? []).map(({ name, sha256 }) => [name, sha256]),
    (facts.enclosures ?? []).map(({ name, sha256 }) => [name, sha256]),
  );
  same("approval.by", evidence.approval?.by, request.facts["approvedBy"]);
  if (evidence.contract) same("contract", evidence.contract.sha256, facts.contract?.sha256);
  const mark = evidence.journal?.mark;
  if (mark !== undefined && !lines.some((line) => line.mark === mark)) wrong.push("journal.mark");
  if (wrong.length === 0) return [];
  return [{ code: "evidence-differs", message: `evidence.json and the journal differ in: ${wrong.join(", ")}` }];
}

async function checkSigned(
  id: RequestId,
  file: NonNullable<Facts["signed"]>[number],
  { documents = [], format, group }: Facts,
  places: Places,
): Promise<Flawed[] | { timestamps: Timestamp[]; validationData?: ValidationData | undefined }> {
  const { results, incremental, compare } = places;
  if (!(await results.rehash(id, file))) {
    return [{ code: "signed-file-changed", message: "A signed file is missing, or is not the one that was stored" }];
  }
  const original = documents.find(({ id: document }) => document === file.id);
  if (!original) return [{ code: "evidence-differs", message: "A signed file belongs to none of the documents" }];
  const signedPath = results.path(id, file.name);
  if (format === "cms") return await orFailures(() => verifyDetachedFile(signedPath, digestOf(original)));
  const path = incremental ? undefined : await whereIs([id, ...groupIn(group)], original, places);
  return await orFailures(() => verifySignedPdf({ signedPath, original: { ...original, path }, incremental, compare }));
}

/** What came as one folder is in the archive as one, with the first request's id. */
function groupIn(group: unknown): RequestId[] {
  const { data } = GroupPlace.safeParse(group);
  return data ? [data.id] : [];
}

/** Where an original is: in its folder in the store, or in the archive, under any name. */
async function whereIs(
  ids: RequestId[],
  { sha256 }: StoredDocument,
  { documents, archive }: Places,
): Promise<string | undefined> {
  for (const folder of ids.flatMap((id) => [documents.folder(id), join(archive, id)])) {
    for (const name of await readdir(folder).catch(() => [])) {
      const path = join(folder, name);
      if ((await hashFile(path).catch(() => undefined))?.sha256 === sha256) return path;
    }
  }
  return undefined;
}

async function checkContract(id: RequestId, file: ResultFile, { results }: Places): Promise<Flawed[]> {
  if (await results.rehash(id, file)) {
    const checked = await orFailures(() => probePdf(results.path(id, file.name)));
    return Array.isArray(checked) ? checked : [];
  }
  return [{ code: "result-damaged", message: "The contract is missing, or is not the one that was stored" }];
}

/** What a check found out, or why it failed. */
async function orFailures<T>(check: () => Promise<T>): Promise<T | Flawed[]> {
  try {
    return await check();
  } catch (error) {
    const { code = "unexpected", message } = error as { code?: string; message: string };
    return [{ code, message }];
  }
}

/** Originals are in .work while the request is open, then in the archive, when they came through the inbox. */
async function checkOriginals(
  id: RequestId,
  {
    request,
    facts,
    places: { documents, archive, incremental },
    again,
    findings,
    notes,
  }: {
    request: SignRequest | undefined;
    facts: Facts;
    places: Places;
    again: RequestId | undefined;
    findings: Flawed[];
    notes: string[];
  },
): Promise<void> {
  if (!facts.documents || !request) return;
  const whole = request.source === "inbox" ? groupIn(facts.group) : [];
  const folders = [...new Set([id, ...whole, ...claimsIn(request)])];
  const there = new Map(
    await Promise.all(folders.map(async (one) => [one, await hashesIn(join(archive, one))] as const)),
  );
  const archived = new Set([...there.values()].flat());
  // Of files that are a request together each has a folder of its own, which may be gone while the others are there.
  const isKept = (document: StoredDocument) =>
    isBundle(request)
      ? claimsIn({ facts: { documents: [document] } }).some((one) => there.get(one)?.length)
      : archived.size > 0;
  let gone = 0;
  let isOther = false;
  for (const document of facts.documents) {
    const found = await hashFile(documents.path(document)).catch((error: unknown) => {
      if (isFailure(error, "not-a-regular-file")) return { sha256: "", sizeBytes: 0 };
      return undefined;
    });
    if (found && found.sha256 !== document.sha256) {
      findings.push({ code: "document-changed", message: "A document in .work is not the one that was taken in" });
    } else if (!found && !archived.has(document.sha256)) {
      gone += 1;
      isOther ||= isKept(document);
    }
  }
  for (const file of facts.enclosures ?? []) {
    const found = await hashFile(documents.path(file)).catch(() => undefined);
    if (found && found.sha256 !== file.sha256) {
      const message = `The file that shows ${file.name} is not the one that was taken in`;
      findings.push({ code: "document-changed", message });
    }
  }
  if (gone === 0) return;
  if (isOther) {
    findings.push({ code: "document-changed", message: "A document in the archive is not the one that was signed" });
  } else if (isEnd(request.phase) && request.phase !== "failed" && request.phase !== "expired") {
    const seen = incremental
      ? "; the signed files begin with them"
      : "; signed files that were rewritten were not compared";
    const where = facts.format === "cms" ? "; the signatures are over them" : seen;
    notes.push(`${gone} originals are not kept here${facts.signed ? where : ""}`);
  } else if (again !== undefined && !facts.signed) {
    notes.push(`its documents were handed in again as ${again}`);
  } else {
    findings.push({ code: "document-gone", message: "A document is not in .work any more" });
  }
}

async function hashesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  const found = await Promise.all(names.map((name) => hashFile(join(folder, name)).catch(() => undefined)));
  return found.flatMap((one) => (one ? [one.sha256] : []));
}
