/**
 * Signatures over digests: what a hash file says, and a CMS around a digest whose content nobody here has. Written from
 * the contract and the standards; openssl makes the signature itself and judges the whole.
 *
 * @source The provider's contract, section 11; RFC 5652 §5 and §11; RFC 5035 §3; ITU-T X.690 §8.
 */
import { createHash, randomUUID } from "node:crypto";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** `302f 0609 2a864886f70d010904 3122 0420` and the digest: the attribute with one value. */
const ATTRIBUTE_START = Buffer.from("302f06092a864886f70d01090431220420", "hex");
const SHA256_BYTES = 32;
/** Names of the algorithm in the contract's two samples. */
const ALGORITHMS = ["sha256WithRSAEncryption", "sha256"];

export interface Hash {
  digest: Buffer;
  withTime: boolean;
}

/** What a hash file asks for; undefined when it is none. */
export function readHashFile(bytes: Buffer): Hash | undefined {
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const { messageDigest, digestAlgorithm, addAuthAttribute, addSigningTime, otherAuthAttributes } = said;
  if (typeof messageDigest !== "string" || !ALGORITHMS.includes(String(digestAlgorithm))) return undefined;
  if (![0, 1].includes(Number(addAuthAttribute)) || ![0, 1].includes(Number(addSigningTime))) return undefined;
  if (!Array.isArray(otherAuthAttributes)) return undefined;
  const der = Buffer.from(messageDigest, "base64");
  if (der.toString("base64") !== messageDigest || der.length !== ATTRIBUTE_START.length + SHA256_BYTES)
    return undefined;
  if (!der.subarray(0, ATTRIBUTE_START.length).equals(ATTRIBUTE_START)) return undefined;
  return { digest: der.subarray(ATTRIBUTE_START.length), withTime: Number(addSigningTime) === 1 };
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const size = body.length.toString(16);
  const length = Buffer.from(size.length % 2 ? `0${size}` : size, "hex");
  const head = body.length < 128 ? [tag, body.length] : [tag, 0x80 | length.length, ...length];
  return Buffer.concat([Buffer.from(head), body]);
}
const sequence = (...parts: Buffer[]): Buffer => der(0x30, ...parts);
const set = (...parts: Buffer[]): Buffer => der(0x31, ...[...parts].sort(Buffer.compare));
const name = (hex: string): Buffer => der(0x06, Buffer.from(hex, "hex"));

const DATA = name("2a864886f70d010701");
const SIGNED_DATA = name("2a864886f70d010702");
const CONTENT_TYPE = name("2a864886f70d010903");
const SIGNING_TIME = name("2a864886f70d010905");
const CERTIFICATE = name("2a864886f70d010910022f");
const SHA256 = sequence(name("608648016503040201"));
const ECDSA_SHA256 = sequence(name("2a8648ce3d040302"));

/** Reads the element at `at`: where it begins, where its body does, and where it ends. */
function place(bytes: Buffer, at: number): { at: number; body: number; end: number } {
  const first = bytes[at + 1] ?? 0;
  const more = first < 128 ? 0 : first & 0x7f;
  const length = more === 0 ? first : bytes.readUIntBE(at + 2, more);
  return { at, body: at + 2 + more, end: at + 2 + more + length };
}

/** Issuer and serial number of a certificate, as they stand in it. @source RFC 5280 §4.1 */
function issuerAndSerial(certificate: Buffer): Buffer {
  const fields = place(certificate, place(certificate, 0).body);
  const version = place(certificate, fields.body);
  const serial = place(certificate, version.end);
  const algorithm = place(certificate, serial.end);
  const issuer = place(certificate, algorithm.end);
  return sequence(certificate.subarray(issuer.at, issuer.end), certificate.subarray(serial.at, serial.end));
}

const derOf = (pem: Buffer): Buffer => Buffer.from(pem.toString("latin1").replace(/-----[^-]+-----|\s/g, ""), "base64");

/** A detached signature over content with this digest, by the signer in `folder`. */
export function signHash(folder: string, { digest, withTime }: Hash): Buffer {
  const [leaf, ca] = ["leaf.pem", "ca.pem"].map((file) => derOf(readFileSync(join(folder, file)))) as [Buffer, Buffer];
  const time = new Date().toISOString().replace(/[-:T]/g, "").slice(2, 14);
  const attributes = set(
    sequence(CONTENT_TYPE, set(DATA)),
    Buffer.concat([ATTRIBUTE_START, digest]),
    sequence(CERTIFICATE, set(sequence(sequence(sequence(der(0x04, createHash("sha256").update(leaf).digest())))))),
    ...(withTime ? [sequence(SIGNING_TIME, set(der(0x17, Buffer.from(`${time}Z`))))] : []),
  );
  const scratch = join(folder, randomUUID());
  writeFileSync(scratch, attributes);
  const key = join(folder, "leaf.key");
  const signature = execFileSync("openssl", ["dgst", "-sha256", "-sign", key, scratch]);
  rmSync(scratch);
  const signer = sequence(
    der(0x02, Buffer.from([1])),
    issuerAndSerial(leaf),
    SHA256,
    Buffer.concat([Buffer.from([0xa0]), attributes.subarray(1)]),
    ECDSA_SHA256,
    der(0x04, signature),
  );
  const signedData = sequence(
    der(0x02, Buffer.from([1])),
    der(0x31, SHA256),
    sequence(DATA),
    der(0xa0, leaf, ca),
    der(0x31, signer),
  );
  return sequence(SIGNED_DATA, der(0xa0, signedData));
}
