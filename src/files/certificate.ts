import { createHash, createPublicKey, type KeyObject, verify, X509Certificate } from "node:crypto";
import { type Element, elementsOf, readElement, readOid, TAG } from "./der.ts";

/** @source RFC 5280 §4.2.1.1, §4.2.1.2 */
const OID = { authorityKeyIdentifier: "2.5.29.35", subjectKeyIdentifier: "2.5.29.14" };
/** Signatures whose hash is told by their name; others are left to X509Certificate. @source RFC 4055 §5, RFC 5758 §3.2 */
const HASHES: Record<string, string> = {
  "1.2.840.113549.1.1.11": "sha256",
  "1.2.840.113549.1.1.12": "sha384",
  "1.2.840.113549.1.1.13": "sha512",
  "1.2.840.10045.4.3.2": "sha256",
  "1.2.840.10045.4.3.3": "sha384",
  "1.2.840.10045.4.3.4": "sha512",
};
/** Context-specific tags. */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const KEY_ID = 0x80;
const BIT_STRING = 0x03;

/** A chain is three or four long. */
const DEEPEST = 10;
/** A provider has a handful of authorities; all its signatures have the same. */
const REMEMBERED = 64;

/** What is read of a certificate, in DER. */
export interface Certificate {
  raw: Buffer;
  serial: Buffer;
  issuer: Buffer;
  subject: Buffer;
  /** SubjectPublicKeyInfo. */
  key: Buffer;
  /** What its issuer signed, how, and the signature. */
  signed: { body: Buffer; algorithm: string; signature: Buffer } | undefined;
  keyId: Buffer | undefined;
  /** The identifier of the issuer's key. */
  issuerKeyId: Buffer | undefined;
}

/** Undefined for what is not a certificate. @source RFC 5280 §4.1 */
export function readCertificate(one: Element): Certificate | undefined {
  try {
    const [body, algorithm, signature] = one.tag === TAG.sequence ? elementsOf(one) : [];
    const fields = body?.tag === TAG.sequence ? elementsOf(body) : [];
    const [serial, , issuer, , subject, key] = fields[0]?.tag === VERSION ? fields.slice(1) : fields;
    if (!serial || !issuer || !subject || !key) return undefined;
    // A revocation list has as many fields, and others in their places.
    if (serial.tag !== TAG.integer || subject.tag !== TAG.sequence || key.tag !== TAG.sequence) return undefined;
    const extensions = fields.find(({ tag }) => tag === EXTENSIONS);
    const authority = extensionOf(extensions, OID.authorityKeyIdentifier);
    return {
      raw: one.raw,
      serial: serial.raw,
      issuer: issuer.raw,
      subject: subject.raw,
      key: key.raw,
      signed: body && signedPart(body, algorithm, signature),
      keyId: extensionOf(extensions, OID.subjectKeyIdentifier)?.body,
      issuerKeyId: authority && elementsOf(authority).find(({ tag }) => tag === KEY_ID)?.body,
    };
  } catch {
    return undefined;
  }
}

function signedPart(body: Element, algorithm?: Element, bits?: Element): Certificate["signed"] {
  const [name] = algorithm?.tag === TAG.sequence ? elementsOf(algorithm) : [];
  if (!name || bits?.tag !== BIT_STRING || bits.body[0] !== 0) return undefined;
  return { body: body.raw, algorithm: readOid(name), signature: bits.body.subarray(1) };
}

function extensionOf(extensions: Element | undefined, name: string): Element | undefined {
  const [list] = extensions ? elementsOf(extensions) : [];
  const found = list && elementsOf(list).find((one) => readOid(elementsOf(one)[0] ?? one) === name);
  const value = found && elementsOf(found).at(-1);
  return value && readElement(value.body);
}

/**
 * Whether the certificate is as its issuer signed it, where the issuer's certificate is among `others`; and so on
 * upwards. One whose issuer is not among them is taken as it is: trust is not asked here. With `unreadable` ones among
 * them, the issuer of the first must be found.
 */
export function isAsIssued(
  certificate: Certificate,
  others: readonly Certificate[],
  { unreadable }: { unreadable: boolean },
): boolean {
  let child = certificate;
  for (let depth = 0; depth < DEEPEST; depth++) {
    const { issuer, issuerKeyId } = child;
    // Found by either, it must fit in both: a change in the one shows by the other.
    const candidates = others.filter(
      ({ subject, keyId }) => subject.equals(issuer) || (issuerKeyId !== undefined && keyId?.equals(issuerKeyId)),
    );
    if (candidates.length === 0) return depth > 0 || !unreadable;
    const found = candidates.find((one) => isIssuedBy(child, one, { remember: child !== certificate }));
    if (!found) return false;
    if (found.raw.equals(child.raw)) return true;
    child = found;
  }
  return true;
}

const keys = new Map<string, KeyObject>();
const issued = new Set<string>();

function isIssuedBy(child: Certificate, parent: Certificate, { remember }: { remember: boolean }): boolean {
  if (child.issuerKeyId && parent.keyId && !child.issuerKeyId.equals(parent.keyId)) return false;
  const pair = remember ? `${printOf(child)} ${printOf(parent)}` : undefined;
  if (pair !== undefined && issued.has(pair)) return true;
  try {
    if (!haveSameName(child, parent) || !isSignedWith(child, keyOf(parent))) return false;
  } catch {
    return false; // not readable, or a key of a kind that is not known
  }
  if (pair !== undefined) {
    if (issued.size >= REMEMBERED) issued.clear();
    issued.add(pair);
  }
  return true;
}

function keyOf(authority: Certificate): KeyObject {
  const print = printOf(authority);
  const known = keys.get(print);
  if (known) return known;
  if (keys.size >= REMEMBERED) keys.clear();
  const key = createPublicKey({ key: authority.key, format: "der", type: "spki" });
  keys.set(print, key);
  return key;
}

/** The same name can be encoded in two ways. */
function haveSameName({ issuer, raw }: Certificate, parent: Certificate): boolean {
  return issuer.equals(parent.subject) || new X509Certificate(raw).issuer === new X509Certificate(parent.raw).subject;
}

function isSignedWith({ raw, signed }: Certificate, key: KeyObject): boolean {
  const hash = HASHES[signed?.algorithm ?? ""];
  // Each signer has a certificate of his own, which Node takes four times as long to read as to verify.
  return signed && hash ? verify(hash, signed.body, key, signed.signature) : new X509Certificate(raw).verify(key);
}

function printOf({ raw }: Certificate): string {
  return createHash("sha256").update(raw).digest("base64");
}
