import { createHash, type Hash } from "node:crypto";
import { closeSync, createReadStream, openSync, writeSync } from "node:fs";
import { cleanPath, contractTailPath, move, note, originalPath, tailPath } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal } from "../envelopes.ts";
import { removeFiles, writeSmall } from "../files.ts";
import { cleanPdf } from "../pdf/clean.ts";
import { Unsignable } from "../pdf/document.ts";
import { validationUpdate } from "../pdf/dss.ts";
import { bufferSource, fileSource, joinedSource } from "../pdf/source.ts";
import type { Source } from "../pdf/source.ts";
import { signatureUpdate } from "../pdf/update.ts";
import { signerName } from "../store.ts";
import type { Document, HashFile, Request } from "../store.ts";
import { drawingOf } from "./appearance.ts";
import type { Appearance } from "./appearance.ts";
import type { SignatureWish, SingleUse } from "./authority.ts";
import type { Subject } from "./certificate.ts";
import { contractPdf } from "./contract.ts";

/** What a sign call asks for. */
export type SignOrder = {
  /** The visible signature of a document; undefined for an invisible one. */
  appearanceOf: (uid: string) => Appearance | undefined;
  /** Somebody who signs after the signer, by the documents that ask for it. */
  counter?: { username: string; uids: ReadonlySet<string>; appearance?: Appearance };
  /** More signed attributes, in DER. */
  attributes?: Buffer[];
};

/** The signer as the certificate names them. @source ETSI EN 319 412-1 §5.1.3 for the number */
function subjectOf(request: Request): Subject {
  const { person } = request;
  const { given_name, surname_1, surname_2, serial_number, id_document_type = "IDC" } = person;
  const surname = [surname_1, surname_2].filter(Boolean).join(" ");
  const country = person.id_document_country ?? request.country;
  const isCountry = /^[A-Z]{2}$/.test(country);
  const prefix = `${id_document_type}${country}-`;
  const number = serial_number?.startsWith(prefix) ? serial_number : `${prefix}${serial_number}`;
  return {
    commonName: signerName(request),
    ...(given_name ? { givenName: given_name } : {}),
    ...(surname ? { surname } : {}),
    ...(serial_number && isCountry ? { serialNumber: number } : {}),
    ...(isCountry ? { country } : {}),
  };
}

/** The unsigned contract of a request; the same bytes every time. */
export function contractOf(request: Request): Buffer {
  return contractPdf({
    requestPk: request.pk,
    profile: request.profile,
    signerName: signerName(request),
    byVideo: request.videoidPk !== undefined,
    approvedAt: new Date(request.approvedAt ?? request.createdAt),
  });
}

async function hashOfFile(path: string): Promise<Hash> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash;
}

/** A moment of the contract's time format, `YYYYMMDD HH:MM:SS`. */
const stamp = (at: Date): string => at.toISOString().slice(0, 19).replace(/-/g, "").replace("T", " ");

/** What signing made of a document, before it is kept. */
type Made = { path: string; bytes: Buffer; document?: Document; signedSha256?: string; cleanBytes?: number };

/** One sign call at work: a certificate, and what every signature with it has. */
type Signing = { context: Context; request: Request; signer: SingleUse; wish: SignatureWish; order: SignOrder };

/**
 * Issues one certificate and signs every document and the contract with it, all or nothing; then the request is ISSUED.
 * What signing adds is kept beside the original, since a signed PDF is the original with something appended.
 * Throws Refusal 500 when a PDF cannot be signed.
 */
export async function signAll(context: Context, request: Request, order: SignOrder): Promise<void> {
  const at = new Date(context.clock.now());
  const signer = context.authority.issue(subjectOf(request), at);
  const timestamp = context.settings.signatureLevel !== "B";
  const wish = { at, withTime: true, timestamp, ...(order.attributes && { attributes: order.attributes }) };
  const signing: Signing = { context, request, signer, wish, order };
  const made: Made[] = [];
  try {
    for (const document of request.documents.values())
      made.push(document.hashFile ? signHash(signing, document, document.hashFile) : await signPdf(signing, document));
    made.push(signContract(signing));
    for (const { path, bytes } of made) writeSmall(path, bytes);
  } catch (error) {
    const uids = [...request.documents.keys()];
    removeFiles([...made.map(({ path }) => path), ...uids.map((uid) => cleanPath(context, uid))]);
    throw error;
  }
  for (const { document, bytes, signedSha256, cleanBytes } of made) {
    if (!document || signedSha256 === undefined) continue;
    Object.assign(document, { tailBytes: bytes.length, signedSha256, ...(cleanBytes !== undefined && { cleanBytes }) });
    delete document.hash;
  }
  request.contractTailBytes = made.at(-1)?.bytes.length ?? 0;
  delete request.otp;
  issued(context, request, signer);
}

function signHash({ context, signer, wish }: Signing, document: Document, file: HashFile): Made {
  const digest = { algorithm: file.algorithm, value: Buffer.from(file.digestHex, "hex") };
  const bytes = signer.sign(digest, { ...wish, withTime: file.withTime });
  const signedSha256 = createHash("sha256").update(bytes).digest("hex");
  return { path: tailPath(context, document.uid), bytes, document, signedSha256 };
}

async function signPdf(signing: Signing, document: Document): Promise<Made> {
  const { context } = signing;
  const { uid } = document;
  const isCleaned = context.settings.pdfClean || context.optimizer.general.usepdfclean === true;
  const path = isCleaned ? cleanPath(context, uid) : originalPath(context, uid);
  const cleanBytes = isCleaned ? signable(uid, () => writeClean(originalPath(context, uid), path)) : undefined;
  const hash = (isCleaned ? undefined : document.hash?.copy()) ?? (await hashOfFile(path));
  const source = fileSource(path);
  try {
    const bytes = signable(uid, () => appendAll(signing, source, hash.copy(), uid));
    const signedSha256 = hash.update(bytes).digest("hex");
    const more = cleanBytes === undefined ? {} : { cleanBytes };
    return { path: tailPath(context, uid), bytes, document, signedSha256, ...more };
  } finally {
    source.close();
  }
}

function signContract(signing: Signing): Made {
  const contract = contractOf(signing.request);
  const hash = createHash("sha256").update(contract);
  const bytes = appendAll(signing, bufferSource(contract), hash, undefined);
  return { path: contractTailPath(signing.context, signing.request.pk), bytes };
}

/**
 * Everything that signing appends to one PDF: the signature, another one where that is asked for, and what validating
 * them needs. `hash` is over the file as it is, and is used up.
 */
function appendAll(signing: Signing, source: Source, hash: Hash, uid: string | undefined): Buffer {
  const { context, signer, wish, order } = signing;
  const first = append(signing, signer, source, hash, uid === undefined ? undefined : order.appearanceOf(uid));
  let tail = first.bytes;
  const signers = [signer];
  if (uid !== undefined && order.counter?.uids.has(uid)) {
    const { username, appearance } = order.counter;
    const other = context.authority.issue({ commonName: `Countersigner ${username}` }, wish.at);
    const next = append(signing, other, joinedSource(source, tail), first.hash, appearance);
    signers.push(other);
    tail = Buffer.concat([tail, next.bytes]);
  }
  if (context.settings.signatureLevel !== "LT") return tail;
  const { authority } = context;
  const certificates = [...signers, authority].map(({ certificate }) => certificate);
  certificates.push(authority.timestampCertificate);
  const update = validationUpdate(joinedSource(source, tail), {
    certificates,
    revocations: [authority.revocations([], wish.at)],
  });
  return Buffer.concat([tail, update]);
}

function append(signing: Signing, signer: SingleUse, source: Source, hash: Hash, appearance?: Appearance) {
  const { wish, request } = signing;
  const variables = { commonName: signer.commonName, subject: signer.subjectText, email: request.email, at: wish.at };
  const facts = { signerName: signer.commonName, at: wish.at, maxSignatureBytes: signer.maxSignatureBytes(wish) };
  const bytes = signatureUpdate(
    source,
    { ...facts, ...(appearance && { visible: drawingOf(appearance, variables) }) },
    hash.copy(),
    (value) => signer.sign({ algorithm: "sha256", value }, wish),
  );
  return { bytes, hash: hash.update(bytes) };
}

/** Writes the PDF anew; how many bytes it has then. */
function writeClean(from: string, to: string): number {
  const source = fileSource(from);
  const fd = openSync(to, "w", 0o600);
  try {
    return cleanPdf(source, (bytes) => {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    });
  } finally {
    closeSync(fd);
    source.close();
  }
}

function signable<T>(uid: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Unsignable) throw new Refusal(500, `Error signing document ${uid}: ${error.message}`);
    throw error;
  }
}

function issued(context: Context, request: Request, signer: SingleUse): void {
  request.certificate = {
    status: "VALID",
    serial_number: signer.serialHex,
    valid_from: stamp(signer.validFrom),
    valid_to: stamp(signer.validTo),
  };
  move(context, request, "sign");
  note(context, "sign", request, { status: request.status });
}
