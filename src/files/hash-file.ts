import { z } from "zod";
import { PermanentError } from "../core/errors.ts";
import type { Digest, StoredDocument } from "../core/request.ts";
import { TAG } from "./der.ts";

/** Largest hash file that is read, in bytes; real ones have some two hundred. */
export const HASH_FILE_BYTES = 64 * 1024;
/** What its name ends in. */
const ENDING = /\.hash\.json$/i;
/** The name of the attribute, as DER has it. @source RFC 5652 §11.2 */
const MESSAGE_DIGEST = Buffer.from("06092a864886f70d010904", "hex");
const DIGEST_BYTES = { sha256: 32, sha384: 48, sha512: 64 } as const satisfies Record<Digest["algorithm"], number>;
/** Both published forms: "sha256" and "sha256WithRSAEncryption". The longer digests are inferred. */
const ALGORITHM = /^(sha256|sha384|sha512)(?:WithRSAEncryption)?$/;

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** What of a hash file has to be as it says; whatever else stands in it is between its author and the provider. */
const HashFile = z.looseObject({
  messageDigest: z.string("is missing").min(1, "is empty").regex(BASE64, "is not Base64"),
  digestAlgorithm: z.string("is missing").regex(ALGORITHM, 'is not "sha256", "sha384" or "sha512"'),
  addAuthAttribute: z.int("is not a whole number").optional(),
  addSigningTime: z.int("is not a whole number").optional(),
  otherAuthAttributes: z.array(z.unknown(), "is not a list").optional(),
});

/** Whether a file is a hash file, to go by its name: "letter.docx.hash.json". */
export function isHashFileName(name: string): boolean {
  return ENDING.test(name);
}

/** The name of the file whose digest a hash file gives. */
export function withoutHashEnding(name: string): string {
  return name.replace(ENDING, "");
}

/** The bytes of a hash file that gives this SHA-256, in hexadecimal, to be signed. @source docs/provider.md §Hash */
export function toHashFile(sha256: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      messageDigest: toAttribute(Buffer.from(sha256, "hex")).toString("base64"),
      digestAlgorithm: "sha256WithRSAEncryption",
      addAuthAttribute: 1,
      addSigningTime: 1,
      otherAuthAttributes: [],
    }),
  );
}

/**
 * The digest that a hash file gives. Throws PermanentError "hash-file-invalid" whose message says what is wrong with
 * it: no JSON, a field, a `messageDigest` that is not the DER of that attribute, or one of another algorithm.
 * @source docs/provider.md §Hash, RFC 5652 §11.2
 */
export function readHashFile(bytes: Buffer): Digest {
  if (bytes.length > HASH_FILE_BYTES) throw invalid(`it is larger than ${HASH_FILE_BYTES / 1024} KiB`);
  const parsed = HashFile.safeParse(parse(bytes));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join(".");
    throw invalid(field ? `${field} ${issue?.message}` : "it is not a JSON object");
  }
  const { messageDigest, digestAlgorithm } = parsed.data;
  const algorithm = ALGORITHM.exec(digestAlgorithm)?.[1] as Digest["algorithm"];
  const attribute = Buffer.from(messageDigest, "base64");
  const value = attribute.subarray(-DIGEST_BYTES[algorithm]);
  if (!toAttribute(value).equals(attribute)) {
    throw invalid(`messageDigest is not the DER of a CMS messageDigest attribute of ${algorithm}`);
  }
  return { algorithm, value: value.toString("hex") };
}

/** What is signed of a document where its hash is: the digest that it gives, or its own SHA-256. */
export function digestOf({ sha256, digest }: Pick<StoredDocument, "sha256" | "digest">): Digest {
  return digest ?? { algorithm: "sha256", value: sha256 };
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw invalid("it is not JSON in UTF-8");
  }
}

/** The CMS attribute that holds a digest. Each length is below 128, so that DER writes it in one byte. */
function toAttribute(digest: Buffer): Buffer {
  return wrap(TAG.sequence, MESSAGE_DIGEST, wrap(TAG.set, wrap(TAG.octets, digest)));
}

function wrap(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, body.length]), body]);
}

function invalid(why: string): PermanentError {
  return new PermanentError(`The hash file cannot be used: ${why}.`, { code: "hash-file-invalid" });
}
