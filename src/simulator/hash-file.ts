import { z } from "zod";
import type { HashFile } from "./store.ts";

/** A hash file is a few hundred bytes. */
export const HASH_FILE_BYTES = 64 * 1024;

/** Digests by the length of their value, with the names that callers use. @source docs/provider.md §Hash */
const DIGESTS = [
  { algorithm: "sha256", bytes: 32, names: ["sha256", "sha256withrsaencryption"] },
  { algorithm: "sha384", bytes: 48, names: ["sha384", "sha384withrsaencryption"] },
  { algorithm: "sha512", bytes: 64, names: ["sha512", "sha512withrsaencryption"] },
] as const;

const flag = z.union([z.boolean(), z.literal([0, 1])]).transform(Boolean);

const SCHEMA = z.looseObject({
  messageDigest: z.base64().transform((text) => Buffer.from(text, "base64")),
  digestAlgorithm: z.string(),
  addAuthAttribute: flag.default(true),
  addSigningTime: flag.default(true),
  otherAuthAttributes: z.array(z.unknown()).default([]),
});

/** OBJECT IDENTIFIER 1.2.840.113549.1.9.4, messageDigest. @source RFC 5652 §11.2 */
const MESSAGE_DIGEST = "06092a864886f70d010904";

/** What the DER of a CMS messageDigest attribute around a digest of this length begins with. */
function prefixOf(bytes: number): string {
  const hex = (n: number): string => n.toString(16).padStart(2, "0");
  return `30${hex(bytes + 15)}${MESSAGE_DIGEST}31${hex(bytes + 2)}04${hex(bytes)}`;
}

/**
 * Reads a hash file, whose digest is not bare but the DER of a CMS messageDigest attribute. Undefined for anything else:
 * a bare hash, a digest of another length than its algorithm's, text that is no JSON.
 */
export function readHashFile(text: string): HashFile | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = SCHEMA.safeParse(json);
  if (!parsed.success) return undefined;
  const { messageDigest, digestAlgorithm, addSigningTime } = parsed.data;
  const digest = DIGESTS.find(({ names }) => (names as readonly string[]).includes(digestAlgorithm.toLowerCase()));
  if (!digest) return undefined;
  const prefix = Buffer.from(prefixOf(digest.bytes), "hex");
  if (messageDigest.length !== prefix.length + digest.bytes || !messageDigest.subarray(0, prefix.length).equals(prefix))
    return undefined;
  const digestHex = messageDigest.subarray(prefix.length).toString("hex");
  return { algorithm: digest.algorithm, digestHex, withTime: addSigningTime };
}
