import { createHash, type Hash } from "node:crypto";
import { isFailure, PermanentError } from "../core/errors.ts";
import type { Digest } from "../core/request.ts";
import { type Cms, readCms } from "./cms.ts";
import { type Content, withContent } from "./content.ts";
import { probe } from "./probe.ts";
import { type By, compareRewritten } from "./rewritten.ts";
import { BadCms } from "./signed-data.ts";
import type { Timestamp } from "./timestamp.ts";
import { type Added, Changed, readAdded, type ValidationData } from "./validation-data.ts";

const WINDOW_BYTES = 1 << 20;
/** A /ByteRange and its four numbers fit into this. */
const RANGE_BYTES = 512;
/** The largest signature container that is read; real ones have some ten kilobytes. */
const CONTENTS_MOST = 8 << 20;
/** Byte ranges that are looked at, from the end, where none covers the whole. Real PDFs have a handful. */
const RANGES_MOST = 256;

export interface VerifiedSignature {
  digestAlgorithm: string;
  /** Those over the signature: each is over it and was not changed. */
  timestamps: Timestamp[];
  /** The signer's certificate, in DER. */
  certificate: Buffer;
  /** Of the whole file, as it was read. */
  sha256: string;
  /** What stands behind the signature for a validation years later; undefined where nothing does. */
  validationData?: ValidationData | undefined;
  /** What it was recognised by as the original, signed. */
  recognisedBy: Recognised;
}

/** It begins with the original's bytes; or, rewritten, has its text, or its number of pages; or nothing was compared. */
export const RECOGNISED = ["bytes", "text", "pages", "nothing"] as const;
type Recognised = (typeof RECOGNISED)[number];

interface Expected {
  /** Without a `path` a rewritten one cannot be recognised. */
  original?: { sizeBytes: number; sha256: string; path?: string | undefined } | undefined;
  incremental: boolean;
  /** How one that was rewritten is recognised. */
  compare?: By;
  signal?: AbortSignal | undefined;
}

/**
 * Checks a signed PDF: it is whole; one signature covers all of it but the signature itself, and but for updates behind
 * it that change nothing it is about (see readAdded); the digest in its CMS is the digest of those bytes; the signature
 * verifies with the signer's certificate in it, and so do timestamps over it with theirs. Document timestamps are
 * verified in the same way, but are no signatures of a person. And, when `original` is given,
 * it begins with the original, byte by byte. Where that is not `incremental`, because the provider rewrites PDFs, it may
 * show what the original shows instead; see compareRewritten. Reads it once, or twice then; bounded memory whatever the
 * size.
 *
 * Whether the certificate is to be trusted is not asked: the provider's authority differs by environment.
 * Throws PermanentError "signature-missing", "signature-partial", "signature-invalid", "signature-other-document",
 * and the codes of probe; the reason of `signal`.
 * @source ISO 32000-2 §12.8.1, ETSI EN 319 142-1 §5
 */
export async function verifySigned(
  content: Content,
  { original, incremental, compare = "text", signal }: Expected,
): Promise<VerifiedSignature> {
  await probe(content);
  const { sizeBytes } = content;
  const { range, cms, added } = await findSignature(content, signal);
  const { digestAlgorithm, messageDigest, timestamps, certificate } = cms;
  const isLonger = original !== undefined && original.sizeBytes < sizeBytes;
  if (original && incremental && !isLonger) throw otherDocument(incremental);
  const prefixBytes = isLonger ? original.sizeBytes : undefined;
  const digests = await digestOnce(content, { range, digestAlgorithm, prefixBytes });
  // An original that was signed before, and comes back as it was handed in.
  if (digests.sha256 === original?.sha256) throw otherDocument(incremental);
  const continues = isLonger && digests.prefix === original.sha256;
  if (original && incremental && !continues) throw otherDocument(incremental);
  // Or comes back with no more than a timestamp.
  if (continues && endOf(range) <= original.sizeBytes)
    throw partial("No signature covers more than the original, which was signed before");
  if (!digests.covered.equals(messageDigest)) {
    throw new PermanentError("The PDF was changed after it was signed", { code: "signature-invalid" });
  }
  const recognisedBy = continues ? "bytes" : await recognise(content, { original, compare, signal });
  const { sha256 } = digests;
  return { digestAlgorithm, timestamps, certificate, sha256, recognisedBy, validationData: added?.validationData };
}

interface Found {
  range: ByteRange;
  cms: Cms;
  /** What stands behind it. */
  added?: Added;
}

/**
 * The signature of a person that covers the whole PDF; or the last one, with nothing behind it but what may be added,
 * whose timestamps are verified then. Not compared is the digest of what it covers.
 */
async function findSignature(content: Content, signal: AbortSignal | undefined): Promise<Found> {
  const { sizeBytes } = content;
  const isWhole = (range: ByteRange) => range[0] === 0 && endOf(range) === sizeBytes;
  const whole = await findByteRanges(content, isWhole);
  const last = whole.find(isWhole);
  const cms = last && (await readContents(content, last));
  if (last && cms && !cms.stamped) return { range: last, cms };
  if (last && cms?.stamped) await checkStamp(content, last, cms.stamped);
  const ranges = last ? await findByteRanges(content, () => false) : whole;
  if (ranges.length === 0) throw new PermanentError("The PDF has no signature", { code: "signature-missing" });
  for (const range of ranges.filter(([from]) => from === 0).sort((a, b) => endOf(b) - endOf(a))) {
    const found = await readContents(content, range);
    if (found.stamped) continue;
    const added = await addedBehind(content, range, signal);
    for (const stamp of added.stamps) {
      const { stamped } = await readContents(content, stamp as ByteRange);
      if (!stamped) throw invalid("its document timestamp is none");
      await checkStamp(content, stamp as ByteRange, stamped);
    }
    return { range, cms: found, added };
  }
  throw partial(
    last ? "A document timestamp covers the whole PDF, but no signature does" : "No signature covers the whole PDF",
  );
}

/** What was added behind a signature. Throws PermanentError "signature-partial". */
async function addedBehind(content: Content, range: ByteRange, signal: AbortSignal | undefined): Promise<Added> {
  try {
    return await readAdded(content, endOf(range), signal);
  } catch (error) {
    if (!(error instanceof Changed)) throw error;
    throw partial(`No signature covers the whole PDF, and what was added behind it is not allowed: ${error.message}`);
  }
}

/** That a document timestamp is of what it covers. @source ETSI EN 319 142-1 §5.4.3 */
async function checkStamp(content: Content, range: ByteRange, { imprint }: NonNullable<Cms["stamped"]>): Promise<void> {
  const { covered } = await digestOnce(content, { range, digestAlgorithm: imprint.algorithm, prefixBytes: undefined });
  if (!covered.equals(imprint.digest)) throw invalid("its document timestamp is of something else");
}

/** What a PDF that was rewritten is recognised by. Throws PermanentError "signature-other-document". */
async function recognise(
  content: Content,
  { original, compare, signal }: Pick<Expected, "original" | "signal"> & { compare: By },
): Promise<Recognised> {
  if (original?.path === undefined) return "nothing";
  try {
    const source = { ...original, path: original.path };
    const { isSame, by } = await compareRewritten(source, content, { by: compare, signal });
    if (!isSame) throw otherDocument(false);
    return by;
  } catch (error) {
    // What was signed is not turned away because somebody has lost the original.
    if (isFailure(error, "document-gone", "document-changed")) return "nothing";
    throw error;
  }
}

/** The same for a file. Throws also what withContent throws. */
export async function verifySignedPdf({ signedPath, ...expected }: Expected & { signedPath: string }) {
  return await withContent(signedPath, (content) => verifySigned(content, expected));
}

/**
 * Checks a detached CMS signature over what has this digest: it is one and nothing else; its message digest is this
 * one; the signature verifies with the signer's certificate in it. Of the certificate the same is asked as of a PDF's.
 * Throws PermanentError "signature-invalid", "signature-other-document".
 * @source RFC 5652 §5, §11.2
 */
export async function verifyDetached(
  content: Content,
  digest: Digest,
): Promise<Omit<VerifiedSignature, "sha256" | "recognisedBy" | "validationData">> {
  const { sizeBytes } = content;
  const bad = (why: string) => {
    return new PermanentError(`The CMS signature is not valid: ${why}`, { code: "signature-invalid" });
  };
  if (sizeBytes > CONTENTS_MOST) throw bad("it is larger than any real one");
  const cms = asCms(await content.read(0, sizeBytes), bad);
  if (cms.sizeBytes !== sizeBytes) throw bad("more stands behind it");
  if (cms.hasContent) throw bad("it is not detached");
  if (cms.digestAlgorithm !== digest.algorithm) throw bad(`it uses ${cms.digestAlgorithm}, not ${digest.algorithm}`);
  if (cms.messageDigest.toString("hex") !== digest.value) {
    throw new PermanentError("The CMS signature is over other content than was handed in", {
      code: "signature-other-document",
    });
  }
  const { digestAlgorithm, timestamps, certificate } = cms;
  return { digestAlgorithm, timestamps, certificate };
}

/** The same for a file. Throws also what withContent throws. */
export async function verifyDetachedFile(path: string, digest: Digest) {
  return await withContent(path, (content) => verifyDetached(content, digest));
}

/**
 * All digests in one reading. What comes before the signature is the same for the whole file, for the original and,
 * mostly, for what is covered: one hash is kept for them and copied where they part.
 */
async function digestOnce(
  content: Content,
  {
    range,
    digestAlgorithm,
    prefixBytes,
  }: { range: ByteRange; digestAlgorithm: string; prefixBytes: number | undefined },
): Promise<{ sha256: string; prefix: string | undefined; covered: Buffer }> {
  const [, before, after] = range;
  const whole = createHash("sha256");
  let covered: Hash | undefined = digestAlgorithm === "sha256" ? undefined : createHash(digestAlgorithm);
  let prefix: string | undefined;
  const places = new Set([prefixBytes ?? 0, before, after, endOf(range), content.sizeBytes]);
  let at = 0;
  for (const stop of [...places].sort((a, b) => a - b)) {
    const isCovered = stop <= before || (at >= after && stop <= endOf(range));
    await content.feed(at, stop, isCovered && covered ? [whole, covered] : [whole]);
    if (stop === before) covered ??= whole.copy();
    if (stop === prefixBytes) prefix = whole.copy().digest("hex");
    at = stop;
  }
  return { sha256: whole.digest("hex"), prefix, covered: covered?.digest() ?? Buffer.alloc(0) };
}

type ByteRange = [from: number, before: number, after: number, length: number];

const endOf = ([, , after, length]: ByteRange): number => after + length;

/** The byte ranges, from the end of the file backwards, until one that is `enough` is among them. */
async function findByteRanges(content: Content, enough: (range: ByteRange) => boolean): Promise<ByteRange[]> {
  const { sizeBytes } = content;
  const found = new Map<string, ByteRange>();
  for (let end = sizeBytes; end > 0;) {
    const start = Math.max(0, end - WINDOW_BYTES);
    const window = await content.read(start, end + RANGE_BYTES - start);
    for (
      let at = window.lastIndexOf("/ByteRange");
      at >= 0;
      at = at > 0 ? window.lastIndexOf("/ByteRange", at - 1) : -1
    ) {
      const range = readByteRange(window.toString("latin1", at, at + RANGE_BYTES), sizeBytes);
      if (!range) continue;
      if (enough(range)) return [range];
      if (found.size < RANGES_MOST) found.set(range.join(), range);
    }
    end = start;
  }
  return [...found.values()];
}

function readByteRange(text: string, sizeBytes: number): ByteRange | undefined {
  const match = /^\/ByteRange\s*\[\s*(\d{1,15})\s+(\d{1,15})\s+(\d{1,15})\s+(\d{1,15})\s*\]/.exec(text);
  if (!match) return undefined;
  const [from = 0, before = 0, after = 0, length = 0] = match.slice(1).map(Number);
  return before < after && after + length <= sizeBytes ? [from, before, after, length] : undefined;
}

/** The CMS in the gap between the two ranges, which must hold nothing but its hexadecimal string. */
async function readContents(content: Content, [, before, after]: ByteRange): Promise<Cms> {
  if (after - before > CONTENTS_MOST) throw invalid("the signature is larger than any real one");
  const text = (await content.read(before, after - before)).toString("latin1");
  if (!/^<[0-9A-Fa-f\0\t\n\f\r ]*>$/.test(text)) throw invalid("more than the signature is left out of what it covers");
  return asCms(Buffer.from(text.slice(1, -1).replaceAll(/[\0\t\n\f\r ]+/g, ""), "hex"), invalid);
}

/** A CMS signature that verifies; why it is none becomes an error by `bad`. */
function asCms(bytes: Buffer, bad: (why: string) => Error): Cms {
  try {
    return readCms(bytes);
  } catch (error) {
    throw error instanceof BadCms ? bad(error.message) : error;
  }
}

function otherDocument(incremental: boolean): PermanentError {
  const why = incremental
    ? "does not continue the original byte by byte: it is another document, or the provider rewrites PDFs (ONESHOT_INCREMENTAL)"
    : "does not show the original's pages with their text: it is another document, or was rewritten beyond recognition (ONESHOT_COMPARE)";
  return new PermanentError(`The signed PDF ${why}`, { code: "signature-other-document" });
}

function partial(message: string): PermanentError {
  return new PermanentError(message, { code: "signature-partial" });
}

function invalid(why: string): PermanentError {
  return new PermanentError(`The PDF's signature is not valid: ${why}`, { code: "signature-invalid" });
}
