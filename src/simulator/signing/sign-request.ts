import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { contractTailPath, move, originalPath, tailPath } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal } from "../envelopes.ts";
import { removeFiles, writeSmall } from "../files.ts";
import { Unsignable } from "../pdf/document.ts";
import { bufferSource, fileSource } from "../pdf/source.ts";
import type { Source } from "../pdf/source.ts";
import { signatureUpdate } from "../pdf/update.ts";
import { signerName } from "../store.ts";
import type { Document, Request } from "../store.ts";
import { drawingOf } from "./appearance.ts";
import type { Appearance } from "./appearance.ts";
import type { SingleUse, Subject } from "./authority.ts";
import { contractPdf } from "./contract.ts";

function subjectOf(request: Request): Subject {
  const { given_name, surname_1, surname_2 } = request.person;
  const surname = [surname_1, surname_2].filter(Boolean).join(" ");
  return {
    commonName: signerName(request),
    ...(given_name ? { givenName: given_name } : {}),
    ...(surname ? { surname } : {}),
    ...(/^[A-Z]{2}$/.test(request.country) ? { country: request.country } : {}),
  };
}

/** The unsigned contract of a request; the same bytes every time. */
export function contractOf(request: Request): Buffer {
  return contractPdf({
    requestPk: request.pk,
    profile: request.profile,
    signerName: signerName(request),
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

type Tail = { path: string; bytes: Buffer; signed?: { document: Document; sha256: string } };

/**
 * Issues one certificate and signs every document and the contract with it, all or nothing; then the request is ISSUED.
 * What signing adds is kept beside the original, since a signed PDF is the original with something appended.
 * Throws Refusal 500 when a PDF cannot be signed.
 */
export async function signAll(context: Context, request: Request, appearance: Appearance | undefined): Promise<void> {
  const at = new Date(context.clock.now());
  const signer = context.authority.issue(subjectOf(request), at);
  const variables = { commonName: signer.commonName, subject: signer.subjectText, email: request.email, at };
  const visible = appearance ? { visible: drawingOf(appearance, variables) } : {};
  const facts = { signerName: signer.commonName, at, maxSignatureBytes: signer.maxSignatureBytes };
  const append = (source: Source, hash: Hash, wanted: typeof visible): Buffer =>
    signatureUpdate(source, { ...facts, ...wanted }, hash, (digest) => signer.sign(digest, at));

  const tails: Tail[] = [];
  for (const document of request.documents.values()) {
    const path = originalPath(context, document.uid);
    const hash = document.hash?.copy() ?? (await hashOfFile(path));
    const whole = hash.copy();
    const bytes = signFile(path, document.uid, (source) => append(source, hash, visible));
    const signedSha256 = whole.update(bytes).digest("hex");
    tails.push({ path: tailPath(context, document.uid), bytes, signed: { document, sha256: signedSha256 } });
  }
  const contract = contractOf(request);
  const contractTail = append(bufferSource(contract), createHash("sha256").update(contract), {});
  tails.push({ path: contractTailPath(context, request.pk), bytes: contractTail });
  keep(tails);

  request.contractTailBytes = contractTail.length;
  for (const { signed, bytes } of tails) {
    if (!signed) continue;
    Object.assign(signed.document, { tailBytes: bytes.length, signedSha256: signed.sha256 });
    delete signed.document.hash;
  }
  delete request.otp;
  issued(context, request, signer);
}

function signFile(path: string, uid: string, work: (source: Source) => Buffer): Buffer {
  const source = fileSource(path);
  try {
    return work(source);
  } catch (error) {
    if (error instanceof Unsignable) throw new Refusal(500, `Error signing document ${uid}: ${error.message}`);
    throw error;
  } finally {
    source.close();
  }
}

function keep(tails: Tail[]): void {
  try {
    for (const { path, bytes } of tails) writeSmall(path, bytes);
  } catch (error) {
    removeFiles(tails.map(({ path }) => path));
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
  context.ledger.add("sign", { request_pk: request.pk, status: request.status });
}
