import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { createHash } from "node:crypto";
import { PermanentError } from "../../core/errors.ts";
import { type Enclosure, ENCLOSURES } from "../../core/identity.ts";
import type { RequestId, StoredDocument } from "../../core/request.ts";
import type { Format } from "../../core/signing.ts";
import {
  fieldOf,
  formatOf,
  type Manifest,
  MANIFEST_BYTES,
  type NamedFile,
  namedFiles,
  readManifest,
} from "../manifest.ts";
import { toDisplayName } from "./names.ts";
import type { DocumentStore, Limits, Received } from "./ports.ts";
import { ApiError, type FieldError, type ProblemCode } from "./problem.ts";
import { toSize } from "./sizes.ts";

const BLOCK_BYTES = 1 << 20;
/** Room for boundaries and part headers beside the documents. */
const ENVELOPE_BYTES = MANIFEST_BYTES + 64 * 1024;

export interface Upload {
  manifest: Manifest;
  documents: StoredDocument[];
  /** The files that the manifest names. */
  enclosures: Enclosure[];
  /**
   * Equal for two uploads exactly when the manifest, the documents with their names and order, and the files that the
   * manifest names are.
   */
  bodyHash: string;
}

/** A file that came with the documents, by the name under which it was sent. */
interface Sent {
  name: string;
  received: Received;
}

/**
 * Reads the parts of a submission, in any order, and streams its documents into the store under `id`. Throws ApiError
 * for everything that is wrong with it; what was stored until then is the caller's to discard.
 */
export async function readUpload(
  request: FastifyRequest,
  { id, documents: store, limits }: { id: RequestId; documents: DocumentStore; limits: Limits },
): Promise<Upload> {
  refuseBySize(Number(request.headers["content-length"] ?? 0), limits);
  let manifest: Manifest | undefined;
  const documents: StoredDocument[] = [];
  let checked = 0;
  const sent: Sent[] = [];
  let totalBytes = 0;
  const count = ({ sizeBytes }: Received) => {
    totalBytes += sizeBytes;
    if (totalBytes > limits.totalBytes) throw tooLarge(limits);
  };
  const partsMost = limits.documents + ENCLOSURES.length + 4;
  try {
    for await (const part of request.parts({
      // Every part is a stream, also the manifest: one way to bound it, whether it is sent as a field or as a file.
      isPartAFile: () => true,
      // Room for what arrives while the disk is busy: documents then move in blocks of that size.
      fileHwm: BLOCK_BYTES,
      limits: { files: partsMost, parts: partsMost, fileSize: limits.documentBytes },
    })) {
      if (part.type !== "file") continue;
      if (part.fieldname === "manifest") {
        if (manifest) {
          throw new ApiError("manifest-repeated", 'Send one part named "manifest"; this upload has at least two.');
        }
        manifest = parseManifest(await readBytes(part));
      } else if (part.fieldname === "file") {
        const document = await receive(part, { id, n: documents.length + 1, store, limits });
        documents.push(document);
        if (manifest) checked += await checkFrom(checked, formatOf(manifest));
        count(document);
      } else if (part.fieldname === "enclosure") {
        const one = await receiveEnclosure(part, { id, n: sent.length + 1, store, limits });
        sent.push(one);
        count(one.received);
      } else {
        const name = toDisplayName(part.fieldname, "?").slice(0, 60);
        throw new ApiError(
          "unknown-part",
          `Part "${name}" is not known: send one "manifest", the documents as "file", and files that the manifest names as "enclosure".`,
        );
      }
    }
    // What came before the manifest, which says what a document may be.
    if (manifest) await checkFrom(checked, formatOf(manifest));
  } catch (error) {
    throw sortUpload(error);
  } finally {
    // Whatever is left of the body is read and dropped, so that the client, which sends first, gets to read the answer.
    request.raw.unpipe();
    request.raw.resume();
  }
  if (!manifest) {
    throw new ApiError("manifest-missing", 'Send the manifest as JSON in a part named "manifest".');
  }
  if (documents.length === 0) {
    throw new ApiError("no-documents", `Send 1 to ${limits.documents} documents, each in a part named "file".`);
  }
  const enclosures = await matchEnclosures(namedFiles(manifest.identity), sent, { store, limits });
  return { manifest, documents, enclosures, bodyHash: toBodyHash(manifest, documents, enclosures) };

  /** Checks the documents from this one on. How many they were. */
  async function checkFrom(first: number, format: Format): Promise<number> {
    for (const [i, document] of documents.entries()) {
      if (i < first) continue;
      documents[i] = await store.check(document, format).catch((error: unknown) => {
        throw toDocumentError(error, i + 1, document.name, limits);
      });
    }
    return documents.length - first;
  }
}

async function receiveEnclosure(
  part: MultipartFile,
  { id, n, store, limits }: { id: RequestId; n: number; store: DocumentStore; limits: Limits },
): Promise<Sent> {
  const name = toDisplayName(part.filename, `enclosure-${n}`);
  if (n > ENCLOSURES.length) throw notNamed(name);
  try {
    const received = await store.receiveEnclosure(id, n, part.file);
    if (part.file.truncated) throw new PermanentError("It is too large.", { code: "file-too-large" });
    return { name, received };
  } catch (error) {
    throw toEnclosureError(error, `enclosure[${n}]`, name, limits);
  }
}

/** Gives each file that the manifest names the one that was sent under this name, and looks whether it is what it should be. */
export async function matchEnclosures(
  files: readonly NamedFile[],
  sent: readonly Sent[],
  { store, limits }: { store: DocumentStore; limits: Limits },
): Promise<Enclosure[]> {
  const left = new Set(sent);
  const found = files.map((file) => {
    const shown = toDisplayName(file.name, file.role);
    const one = [...left].find(({ name }) => name === shown);
    if (one) left.delete(one);
    return { ...file, shown, one };
  });
  const missing = found.filter(({ one }) => !one);
  if (missing.length > 0) throw notSent(missing);
  for (const { name } of left) throw notNamed(name);
  const enclosures: Enclosure[] = [];
  for (const { role, shown, one } of found) {
    try {
      if (one) enclosures.push(await store.toEnclosure(one.received, role));
    } catch (error) {
      throw toEnclosureError(error, `manifest.${fieldOf(role)}`, shown, limits);
    }
  }
  return enclosures;
}

function notSent(missing: readonly (NamedFile & { shown: string })[]): ApiError {
  const [first] = missing;
  const errors = missing.map(({ role, shown }): FieldError => {
    return { field: `manifest.${fieldOf(role)}`, message: `names "${shown}", which was not sent` };
  });
  const detail = `${errors[0]?.field} names "${first?.shown}", and no part "enclosure" with this file name was sent.`;
  return new ApiError("enclosure-missing", detail, errors);
}

function notNamed(name: string): ApiError {
  return new ApiError(
    "enclosure-not-named",
    `The part "enclosure" with the file name "${name}" is not one that the manifest names under "identity", or is sent twice.`,
  );
}

/** A refusal of a file that shows who the signer is, told with its field. Everything else is passed through. */
function toEnclosureError(error: unknown, field: string, name: string, limits: Limits): unknown {
  const about = { field, what: `${field} ("${name}")`, goal: "used", code: "unusable-enclosure" } as const;
  return toPartError(error, about, limits);
}

/** A refusal by the store or a check, told about the part it is about. Everything else is passed through. */
function toPartError(
  error: unknown,
  { field, what, goal, code }: { field: string; what: string; goal: string; code: ProblemCode },
  { documentBytes }: Limits,
): unknown {
  if (!(error instanceof PermanentError)) return error;
  if (error.code === "file-too-large") {
    const most = toSize(documentBytes);
    const errors = [{ field, message: `must not be larger than ${most}` }];
    return new ApiError("too-large", `${what} is larger than ${most}.`, errors);
  }
  const errors = [{ field, message: error.message }];
  return new ApiError(code, `${what} cannot be ${goal}: ${error.message}`, errors);
}

async function receive(
  part: MultipartFile,
  { id, n, store, limits }: { id: RequestId; n: number; store: DocumentStore; limits: Limits },
): Promise<StoredDocument> {
  if (n > limits.documents) {
    throw new ApiError(
      "too-many-documents",
      `One submission takes up to ${limits.documents} documents; send the rest apart.`,
    );
  }
  const name = toDisplayName(part.filename, `document-${n}.pdf`);
  try {
    const document = await store.receive(id, n, name, part.file);
    // The parser stops at the limit and says so afterwards.
    if (part.file.truncated) throw new PermanentError("It is too large.", { code: "file-too-large" });
    return document;
  } catch (error) {
    throw toDocumentError(error, n, name, limits);
  }
}

/** What a document is refused with, by what its check says of it. */
const REFUSALS: Record<string, ProblemCode> = { "not-a-pdf": "not-a-pdf", "hash-file-invalid": "hash-file-invalid" };

export function toDocumentError(error: unknown, n: number, name: string, limits: Limits, list = "file"): unknown {
  const known = error instanceof PermanentError ? REFUSALS[error.code] : undefined;
  const code = known ?? "unusable-pdf";
  return toPartError(
    error,
    { field: `${list}[${n}]`, what: `Document ${n} ("${name}")`, goal: "signed", code },
    limits,
  );
}

async function readBytes(part: MultipartFile): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of part.file as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MANIFEST_BYTES) {
      throw new ApiError("too-large", `The manifest is larger than ${toSize(MANIFEST_BYTES)}.`, [
        { field: "manifest", message: `must not be larger than ${toSize(MANIFEST_BYTES)}` },
      ]);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The manifest in what was sent for one. Throws ApiError "invalid-json", "invalid-manifest". */
export function parseManifest(sent: unknown): Manifest {
  const read = readManifest(sent);
  if (read.ok) return read.manifest;
  const [first] = read.problems;
  const errors = read.problems.map(({ field, message }): FieldError => {
    return { field: field === "manifest" ? field : `manifest.${field}`, message };
  });
  if (first?.field === "manifest") {
    throw new ApiError("invalid-json", `The part "manifest" cannot be read: it ${first.message}.`, errors);
  }
  throw new ApiError("invalid-manifest", `The manifest cannot be used: ${first?.field} ${first?.message}.`, errors);
}

function refuseBySize(announcedBytes: number, limits: Limits): void {
  if (announcedBytes > limits.totalBytes + ENVELOPE_BYTES) throw tooLarge(limits);
}

export function tooLarge({ totalBytes }: Limits): ApiError {
  return new ApiError("too-large", `All files together must not be larger than ${toSize(totalBytes)}.`);
}

/** The parser's own errors; they have no code of ours. */
export function sortUpload(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = "code" in error ? error.code : undefined;
  if (code === "FST_PARTS_LIMIT" || code === "FST_FILES_LIMIT") {
    return new ApiError("too-many-documents", "The upload has more parts than one submission takes.");
  }
  const broken = /multipart|boundary|terminated early|premature close|aborted|malformed/i.test(error.message);
  if (code === "FST_MP_PREMATURE_CLOSE" || code === "ECONNRESET" || code === "ERR_STREAM_PREMATURE_CLOSE" || broken) {
    if (error instanceof ApiError || error instanceof PermanentError) return error;
    return new ApiError("invalid-multipart", "The multipart body is broken, or the upload was cut off.");
  }
  return error;
}

function toBodyHash(
  manifest: Manifest,
  documents: readonly StoredDocument[],
  enclosures: readonly Enclosure[],
): string {
  const content = [sorted(manifest), documents.map(({ name, sha256 }) => [name, sha256])];
  // Their names are in the manifest.
  if (enclosures.length > 0) content.push(enclosures.map(({ name, sha256 }) => [name, sha256]));
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

/** The same value with the members of every object in one order. */
export function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  );
}
