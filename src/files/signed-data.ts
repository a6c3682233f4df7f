import { constants, createHash, verify } from "node:crypto";
import { type Certificate, isAsIssued, readCertificate } from "./certificate.ts";
import { BadDer, type Element, elementsOf, readOid, TAG } from "./der.ts";

/** Digests that a qualified signature may use. @source ETSI TS 119 312 §5 */
export const DIGESTS: Record<string, string> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};
/** @source RFC 5652 §11, RFC 8017 Appendix C, RFC 2634 §5.4, RFC 5035 §3 */
const OID = {
  signedData: "1.2.840.113549.1.7.2",
  contentType: "1.2.840.113549.1.9.3",
  messageDigest: "1.2.840.113549.1.9.4",
  rsaPss: "1.2.840.113549.1.1.10",
  signingCertificate: "1.2.840.113549.1.9.16.2.12",
  signingCertificateV2: "1.2.840.113549.1.9.16.2.47",
};
/** Context-specific tags, constructed and not. */
const CONTEXT_0 = 0xa0;
const CONTEXT_1 = 0xa1;
const KEY_ID = 0x80;
const CONSTRUCTED_OCTETS = TAG.octets | 0x20;

/** SignedData whose signer's signature verifies. */
export interface SignedData {
  /** What the content is, as an object identifier. */
  contentType: string;
  /** The content itself, where it is there and the signature thus not detached. */
  content: Buffer | undefined;
  digestAlgorithm: string;
  messageDigest: Buffer;
  /** The content type among what was signed. */
  signedType: string | undefined;
  /** The value of the signature. */
  signature: Buffer;
  /** Undefined where none is there, so that the signature could not be verified; see readSignedData. */
  certificate: Certificate | undefined;
  /** All that are there. */
  certificates: Certificate[];
  signers: number;
  /** Attributes that nobody signed. */
  unsigned: Element[];
}

interface Options {
  /** Certificates that stand elsewhere and may be the signer's, or an issuer's. */
  others?: readonly Certificate[];
  /** A signer whose certificate is neither here nor among the others is let through, its signature not verified. */
  mayLackCertificate?: boolean;
}

/** Thrown for a structure that is not a CMS signature, or whose signature does not verify. */
export class BadCms extends Error {
  override readonly name = "BadCms";
}

/** Does something with a structure; what is not ASN.1 in it becomes a BadCms. */
export function asBadCms<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof BadDer ? new BadCms(error.message) : error;
  }
}

/**
 * Reads SignedData and verifies the first signer's signature over the signed attributes with the certificate that it
 * names as the signer's; and that certificate's, with its issuer's, where that one is there as well. Whether any of them
 * is to be trusted is not asked; nor is the content compared with its digest. Throws BadCms and BadDer.
 * @source RFC 5652 §5
 */
export function readSignedData(top: Element, { others = [], mayLackCertificate = false }: Options = {}): SignedData {
  const [type, wrapped] = elementsOf(expect(top, TAG.sequence, "not a CMS structure"));
  if (!type || readOid(type) !== OID.signedData) throw new BadCms("not SignedData");
  const [signedData] = elementsOf(expect(wrapped, CONTEXT_0, "no content"));
  const parts = elementsOf(expect(signedData, TAG.sequence, "no content"));
  const [contentType, content] = elementsOf(expect(parts[2], TAG.sequence, "no content"));
  const embedded = parts.filter(({ tag }) => tag === CONTEXT_0).flatMap(elementsOf);
  const certificates = embedded.flatMap((one) => readCertificate(one) ?? []);
  const signers = elementsOf(expect(parts.at(-1), TAG.set, "no signer"));
  const [, sid, digestInfo, attributes, algorithmInfo, signature, unsigned] = elementsOf(
    expect(signers[0], TAG.sequence, "no signer"),
  );

  const digestAlgorithm = DIGESTS[algorithmOf(digestInfo)];
  if (!digestAlgorithm) throw new BadCms("digest algorithm not allowed");
  const { signed, values } = readSigned(expect(attributes, CONTEXT_0, "no signed attributes"));
  const { body } = expect(signature, TAG.octets, "no signature");
  const named = expect(sid, sid?.tag === KEY_ID ? KEY_ID : TAG.sequence, "no signer");
  // Those elsewhere count where none is here: they may have a namesake of an issuer among them.
  const all = embedded.length > 0 ? certificates : others;
  const candidates = namedBy(named, all);
  const proof = { algorithm: algorithmOf(algorithmInfo), digestAlgorithm, signed, signature: body };
  const certificate = candidates.find(({ key }) => verifies(key, proof));
  if (!certificate) {
    const isLacking =
      mayLackCertificate && candidates.length === 0 && embedded.length === 0 && !hidesCertificate(parts);
    if (!isLacking) throw new BadCms("the signature does not verify");
  } else {
    const unreadable = embedded.filter(({ tag }) => tag === TAG.sequence).length > certificates.length;
    if (!isAsIssued(certificate, all, { unreadable })) throw new BadCms("a certificate is not as its issuer signed it");
    checkNamed(certificate.raw, values.get(OID.signingCertificateV2), "sha256");
    checkNamed(certificate.raw, values.get(OID.signingCertificate), "sha1");
  }
  const signedType = values.get(OID.contentType);
  return {
    contentType: contentType ? readOid(contentType) : "",
    content: content && octetsIn(expect(content, CONTEXT_0, "no content")),
    digestAlgorithm,
    messageDigest: expect(values.get(OID.messageDigest), TAG.octets, "no message digest").body,
    signedType: signedType && readOid(signedType),
    signature: body,
    certificate,
    certificates,
    signers: signers.length,
    unsigned: unsigned ? elementsOf(unsigned) : [],
  };
}

/** Content in one piece or in several. @source ITU-T X.690 §8.7 */
function octetsIn(wrapped: Element): Buffer {
  const [octets] = elementsOf(wrapped);
  if (octets?.tag === CONSTRUCTED_OCTETS)
    return Buffer.concat(elementsOf(octets).map((piece) => expect(piece, TAG.octets, "no content").body));
  return expect(octets, TAG.octets, "no content").body;
}

/** Certificates under the tag of revocation lists: somebody changed the tag. */
const hidesCertificate = (parts: readonly Element[]): boolean =>
  parts.some(({ tag }, at) => at > 2 && at < parts.length - 1 && tag !== CONTEXT_1) ||
  parts.filter(({ tag }) => tag === CONTEXT_1).some((one) => elementsOf(one).some((list) => readCertificate(list)));

/** What is signed, and the first value of each attribute by its name. */
function readSigned(attributes: Element): { signed: Buffer; values: Map<string, Element | undefined> } {
  const values = new Map<string, Element | undefined>();
  for (const attribute of elementsOf(attributes)) {
    const name = nameOf(attribute);
    if (values.has(name)) throw new BadCms("an attribute that is there twice");
    values.set(name, valuesOf(attribute)[0]);
  }
  // The signature is over the attributes as a SET, while they are tagged [0] where they stand.
  const signed = Buffer.from(attributes.raw);
  signed[0] = TAG.set;
  return { signed, values };
}

/** The object identifier at the start of an attribute, or of an algorithm. Throws BadDer. */
export function nameOf(attribute: Element): string {
  const [name] = elementsOf(attribute);
  return name ? readOid(name) : "";
}

/** The values of an attribute. Throws BadCms and BadDer. @source RFC 5652 §5.3 */
export const valuesOf = (attribute: Element): Element[] =>
  elementsOf(expect(elementsOf(attribute)[1], TAG.set, "an attribute without a value"));

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

/** The certificate that the signer named in what was signed must be this one. @source RFC 2634 §5.4, RFC 5035 §3, §4 */
function checkNamed(certificate: Buffer, attribute: Element | undefined, usual: "sha1" | "sha256"): void {
  if (!attribute) return;
  const [list] = elementsOf(attribute);
  const [first] = list ? elementsOf(list) : [];
  const [start, next] = first ? elementsOf(first) : [];
  const algorithm = start?.tag === TAG.sequence ? DIGESTS[algorithmOf(start)] : usual;
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

/** The object identifier of an algorithm. Throws BadCms and BadDer. */
export function algorithmOf(info: Element | undefined): string {
  return nameOf(expect(info, TAG.sequence, "an algorithm is missing"));
}

/** The element, which must have this tag. Throws BadCms that says what is missing otherwise. */
export function expect(element: Element | undefined, tag: number, otherwise: string): Element {
  if (element?.tag !== tag) throw new BadCms(otherwise);
  return element;
}
