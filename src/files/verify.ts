import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { PermanentError } from "../core/errors.ts";
import { BadCms, type Cms, readCms } from "./cms.ts";
import { hashInto, openRegular } from "./durable.ts";
import { probePdf, type Probed } from "./probe.ts";

const WINDOW_BYTES = 1 << 20;
/** A /ByteRange and its four numbers fit into this. */
const OVERLAP_BYTES = 256;
/** The largest signature container that is read; real ones have some ten kilobytes. */
const CONTENTS_MOST = 8 << 20;

export interface VerifiedSignature {
  subject: string;
  issuer: string;
  serialNumber: string;
  digestAlgorithm: string;
  hasTimestamp: boolean;
}

/** Checks that a PDF is whole. Throws PermanentError, see probePdf. */
export async function verifyPdf(path: string): Promise<Probed> {
  return await probePdf(path);
}

/**
 * Checks a signed PDF: it is whole; one signature covers all of it but the signature itself; the digest in its CMS is
 * the digest of those bytes; the signature verifies with the certificate in it; and, when `original` is given and
 * `incremental` is set, it begins with the original, byte by byte. Bounded memory whatever the size.
 *
 * Whether the certificate is to be trusted is not asked: the provider's authority differs by environment.
 * Throws PermanentError "signature-missing", "signature-partial", "signature-invalid", "signature-other-document",
 * and the codes of probePdf.
 * @source ISO 32000-2 §12.8.1, ETSI EN 319 142-1 §5
 */
export async function verifySignedPdf({
  signedPath,
  original,
  incremental,
}: {
  signedPath: string;
  original?: { sizeBytes: number; sha256: string } | undefined;
  incremental: boolean;
}): Promise<VerifiedSignature> {
  await probePdf(signedPath);
  const { file, sizeBytes } = await openRegular(signedPath);
  try {
    if (original && incremental) await checkPrefix(file, sizeBytes, original);
    const ranges = await findByteRanges(file, sizeBytes);
    if (ranges.length === 0) throw new PermanentError("The PDF has no signature", { code: "signature-missing" });
    const whole = ranges.find(([from, , to, length]) => from === 0 && to + length === sizeBytes);
    if (!whole) {
      throw new PermanentError("No signature covers the whole PDF", { code: "signature-partial" });
    }
    const [, before, after] = whole;
    const cms = await readContents(file, before, after);
    const hash = createHash(cms.digestAlgorithm);
    await hashInto(hash, file, 0, before);
    await hashInto(hash, file, after, sizeBytes);
    if (!hash.digest().equals(cms.messageDigest)) {
      throw new PermanentError("The PDF was changed after it was signed", { code: "signature-invalid" });
    }
    const { subject, issuer, serialNumber } = cms.certificate;
    const { digestAlgorithm, hasTimestamp } = cms;
    return { subject, issuer, serialNumber, digestAlgorithm, hasTimestamp };
  } finally {
    await file.close();
  }
}

async function checkPrefix(
  file: FileHandle,
  sizeBytes: number,
  original: { sizeBytes: number; sha256: string },
): Promise<void> {
  const hash = createHash("sha256");
  if (sizeBytes > original.sizeBytes) await hashInto(hash, file, 0, original.sizeBytes);
  if (sizeBytes <= original.sizeBytes || hash.digest("hex") !== original.sha256) {
    throw new PermanentError(
      "The signed PDF does not continue the original byte by byte: it is another document, or the provider rewrites PDFs (ONESHOT_INCREMENTAL)",
      { code: "signature-other-document" },
    );
  }
}

type ByteRange = [from: number, before: number, after: number, length: number];

/** All byte ranges, from the end of the file backwards until one that covers the whole of it is among them. */
async function findByteRanges(file: FileHandle, sizeBytes: number): Promise<ByteRange[]> {
  const found: ByteRange[] = [];
  for (let end = sizeBytes; end > 0;) {
    const start = Math.max(0, end - WINDOW_BYTES);
    const buffer = Buffer.allocUnsafe(Math.min(end + OVERLAP_BYTES, sizeBytes) - start);
    await file.read(buffer, 0, buffer.length, start);
    const text = buffer.toString("latin1");
    for (const match of text.matchAll(/\/ByteRange\s*\[\s*(\d{1,15})\s+(\d{1,15})\s+(\d{1,15})\s+(\d{1,15})\s*\]/g)) {
      const [, from, before, after, length] = match.map(Number);
      const range: ByteRange = [from ?? 0, before ?? 0, after ?? 0, length ?? 0];
      if (range[1] < range[2] && range[2] + range[3] <= sizeBytes) found.push(range);
    }
    if (found.some(([from, , after, length]) => from === 0 && after + length === sizeBytes)) break;
    end = start;
  }
  return found;
}

/** The CMS in the gap between the two ranges, which must hold nothing but its hexadecimal string. */
async function readContents(file: FileHandle, before: number, after: number): Promise<Cms> {
  const length = after - before;
  if (length > CONTENTS_MOST) throw invalid("the signature is larger than any real one");
  const gap = Buffer.alloc(length);
  await file.read(gap, 0, length, before);
  const text = gap.toString("latin1");
  if (!/^<[0-9A-Fa-f\s]*>$/.test(text)) throw invalid("more than the signature is left out of what it covers");
  try {
    return readCms(trimDer(Buffer.from(text.slice(1, -1).replaceAll(/\s/g, ""), "hex")));
  } catch (error) {
    if (error instanceof BadCms) throw invalid(error.message);
    throw error;
  }
}

/** The structure without the zeros that fill its place. @source ITU-T X.690 §8.1.3 */
function trimDer(padded: Buffer): Buffer {
  const first = padded[1] ?? 0;
  if (first < 0x80) return padded.subarray(0, 2 + first);
  const count = first & 0x7f;
  if (count === 0 || count > 6) return padded; // indefinite length: the reader finds the end
  return padded.subarray(0, 2 + count + padded.readUIntBE(2, count));
}

function invalid(why: string): PermanentError {
  return new PermanentError(`The PDF's signature is not valid: ${why}`, { code: "signature-invalid" });
}
