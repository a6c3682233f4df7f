import { constants, createHash, verify } from "node:crypto";
import { type Certificate, isAsIssued, readCertificate } from "./certificate.ts";
import { BadDer, type Element, elementsOf, readElement, readOid, TAG } from "./der.ts";

/** Digests that a qualified signature may use. @source ETSI TS 119 312 §5 */
const DIGESTS: Record<string, string> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};
/** @source RFC 5652 §11, RFC 8017 Appendix C, RFC 3161 Appendix A, RFC 5035 §3 */
const OID = {
  signedData: "1.2.840.113549.1.7.2",
  messageDigest: "1.2.840.113549.1.9.4",
  rsaPss: "1.2.840.113549.1.1.10",
  timestamp: "1.2.840.113549.1.9.16.2.14",
  signingCertificateV2: "1.2.840.113549.1.9.16.2.47",
};
/** Context-specific tags, constructed and not. */
const CONTEXT_0 = 0xa0;
const KEY_ID = 0x80;

/** What a CMS signature says of itself. */
export interface Cms {
  digestAlgorithm: string;
  messageDigest: Buffer;
  /** The signer's certificate, in DER. */
  certificate: Buffer;
  hasTimestamp: boolean;
  /** It holds the content itself, and so is not detached. */
  hasContent: boolean;
  /** Without the zeros behind it. */
  sizeBytes: number;
}

/** Thrown for a structure that is not a CMS signature, or whose signature does not verify. */
export class BadCms extends Error {
  override readonly name = "BadCms";
}

/**
 * Reads a CMS signature, which zeros may follow, and verifies the signer's signature over the signed
 * attributes with the certificate that it names as the signer's; and that certificate's, with its issuer's, where that
 * one is there as well. Whether any of them is to be trusted is not asked. Throws BadCms.
 * @source RFC 5652 §5.3, §5.4, §5.6
 */
export function readCms(padded: Buffer): Cms {
  try {
    const top = readElement(padded);
    if (padded.subarray(top.raw.length).some((byte) => byte !== 0)) throw new BadCms("more than zeros behind it");
    return read(top);
  } catch (error) {
    throw error instanceof BadDer ? new BadCms(error.message) : error;
  }
}

function read(top: Element): Cms {
  const [type, content] = elementsOf(expect(top, TAG.sequence, "not a CMS structure"));
  if (!type || readOid(type) !== OID.signedData) throw new BadCms("not SignedData");
  const [signedData] = elementsOf(expect(content, CONTEXT_0, "no content"));
  const parts = elementsOf(expect(signedData, TAG.sequence, "no content"));
  const hasContent = elementsOf(expect(parts[2], TAG.sequence, "no content")).length > 1;
  const embedded = parts.filter(({ tag }) => tag === CONTEXT_0).flatMap(elementsOf);
  const certificates = embedded.flatMap((one) => readCertificate(one) ?? []);
  const [signer] = elementsOf(expect(parts.at(-1), TAG.set, "no signer"));
  const [, sid, digestInfo, attributes, algorithmInfo, signature, unsigned] = elementsOf(
    expect(signer, TAG.sequence, "no signer"),
  );

  const digestAlgorithm = DIGESTS[algorithmOf(digestInfo)];
  if (!digestAlgorithm) throw new BadCms("digest algorithm not allowed");
  const { signed, values } = readSigned(expect(attributes, CONTEXT_0, "no signed attributes"));
  const messageDigest = expect(values.get(OID.messageDigest), TAG.octets, "no message digest").body;
  const proof = { algorithm: algorithmOf(algorithmInfo), digestAlgorithm, signed };

  const candidates = namedBy(expect(sid, sid?.tag === KEY_ID ? KEY_ID : TAG.sequence, "no signer"), certificates);
  const { body } = expect(signature, TAG.octets, "no signature");
  const certificate = candidates.find(({ key }) => verifies(key, { ...proof, signature: body }));
  if (!certificate) throw new BadCms("the signature does not verify");
  const unreadable = embedded.filter(({ tag }) => tag === TAG.sequence).length > certificates.length;
  if (!isAsIssued(certificate, certificates, { unreadable }))
    throw new BadCms("a certificate is not as its issuer signed it");
  checkNamed(certificate.raw, values.get(OID.signingCertificateV2));
  const hasTimestamp = unsigned !== undefined && elementsOf(unsigned).some((one) => nameOf(one) === OID.timestamp);
  const sizeBytes = top.raw.length;
  return { digestAlgorithm, messageDigest, certificate: certificate.raw, hasTimestamp, hasContent, sizeBytes };
}

/** What is signed, and the first value of each attribute by its name. */
function readSigned(attributes: Element): { signed: Buffer; values: Map<string, Element | undefined> } {
  const values = new Map<string, Element | undefined>();
  for (const attribute of elementsOf(attributes)) {
    const name = nameOf(attribute);
    if (values.has(name)) throw new BadCms("an attribute that is there twice");
    values.set(name, elementsOf(expect(elementsOf(attribute)[1], TAG.set, "an attribute without a value"))[0]);
  }
  // The signature is over the attributes as a SET, while they are tagged [0] where they stand.
  const signed = Buffer.from(attributes.raw);
  signed[0] = TAG.set;
  return { signed, values };
}

function nameOf(attribute: Element): string {
  const [name] = elementsOf(attribute);
  return name ? readOid(name) : "";
}

/**
 * The certificates that a signer identifier names: by issuer and serial number, or by the identifier of their key. An
 * issuer's name can be encoded in two ways; where none is the same byte by byte, the serial number decides.
 */
function namedBy(sid: Element, readable: readonly Certificate[]): Certificate[] {
  if (sid.tag === KEY_ID) return readable.filter(({ keyId }) => keyId?.equals(sid.body));
  const [issuer, serial] = elementsOf(sid);
  const same = readable.filter((one) => serial?.raw.equals(one.serial));
  const exact = same.filter((one) => issuer?.raw.equals(one.issuer));
  return exact.length > 0 ? exact : same;
}

/** The certificate that the signer named in what was signed must be this one. @source RFC 5035 §3, §4 */
function checkNamed(certificate: Buffer, attribute: Element | undefined): void {
  if (!attribute) return;
  const [list] = elementsOf(attribute);
  const [first] = list ? elementsOf(list) : [];
  const [start, next] = first ? elementsOf(first) : [];
  const algorithm = start?.tag === TAG.sequence ? DIGESTS[algorithmOf(start)] : "sha256";
  const digest = start?.tag === TAG.sequence ? next : start;
  if (!algorithm || !digest?.body.equals(createHash(algorithm).update(certificate).digest())) {
    throw new BadCms("the signer named another certificate");
  }
}

function verifies(
  spki: Buffer,
  {
    algorithm,
    digestAlgorithm,
    signed,
    signature,
  }: { algorithm: string; digestAlgorithm: string; signed: Buffer; signature: Buffer },
): boolean {
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
  const key = { key: spki, format: "der", type: "spki", ...(algorithm === OID.rsaPss && pss) } as const;
  try {
    return verify(digestAlgorithm, signed, key, signature);
  } catch {
    // A key of a kind that is not known, or one that does not fit the signature.
    return false;
  }
}

function algorithmOf(info: Element | undefined): string {
  return nameOf(expect(info, TAG.sequence, "an algorithm is missing"));
}

function expect(element: Element | undefined, tag: number, otherwise: string): Element {
  if (element?.tag !== tag) throw new BadCms(otherwise);
  return element;
}
