import { constants, type KeyObject, verify, X509Certificate } from "node:crypto";
import { type BaseBlock, Constructed, fromBER, ObjectIdentifier, OctetString, Sequence, Set as Asn1Set } from "asn1js";

/** Digests that a qualified signature may use. @source ETSI TS 119 312 §5 */
const DIGESTS: Record<string, string> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};
/** @source RFC 5652 §11, RFC 8017 Appendix C, RFC 3161 Appendix A */
const OID = {
  signedData: "1.2.840.113549.1.7.2",
  messageDigest: "1.2.840.113549.1.9.4",
  rsaPss: "1.2.840.113549.1.1.10",
  timestamp: "1.2.840.113549.1.9.16.2.14",
};

/** What a CMS signature says of itself. */
export interface Cms {
  digestAlgorithm: string;
  messageDigest: Buffer;
  certificate: X509Certificate;
  hasTimestamp: boolean;
}

/** Thrown for a structure that is not a CMS signature, or whose signature does not verify. */
export class BadCms extends Error {
  override readonly name = "BadCms";
}

/**
 * Reads a detached CMS signature and verifies the signer's signature over the signed attributes with the signer's
 * certificate in it. Whether that certificate is to be trusted is not asked. Throws BadCms.
 * @source RFC 5652 §5.3, §5.4, §5.6
 */
export function readCms(der: Buffer): Cms {
  const top = fromBER(der);
  if (top.offset < 0) throw new BadCms("not ASN.1");
  const [type, content] = children(top.result);
  if (oidOf(type) !== OID.signedData) throw new BadCms("not SignedData");
  const parts = children(children(content)[0]);
  const certificates = parts.filter((part) => tagOf(part) === 0).flatMap((part) => children(part).map(rawOf));
  const signerInfos = parts.at(-1);
  if (!(signerInfos instanceof Asn1Set)) throw new BadCms("no signer");
  const signer = children(children(signerInfos)[0]);
  const sid = signer[1];
  const digestAlgorithm = DIGESTS[oidOf(children(signer[2])[0])];
  if (!digestAlgorithm) throw new BadCms("digest algorithm not allowed");
  const attributes = signer[3];
  if (!attributes || tagOf(attributes) !== 0) throw new BadCms("no signed attributes");
  const algorithm = oidOf(children(signer[4])[0]);
  const signature = octetsOf(signer[5]);
  const unsigned = signer[6] ? children(signer[6]) : [];

  const digest = children(attributes).find((one) => oidOf(children(one)[0]) === OID.messageDigest);
  if (!digest) throw new BadCms("no message digest");
  const messageDigest = octetsOf(children(children(digest)[1])[0]);

  // The signature is over the attributes as a SET, while they are tagged [0] where they stand.
  const signed = Buffer.from(rawOf(attributes));
  signed[0] = 0x31;
  const certificate = certificates
    .map((raw) => toCertificate(raw))
    .filter((one): one is X509Certificate => one !== undefined)
    .sort((a, b) => Number(isNamed(b, sid)) - Number(isNamed(a, sid)))
    .find((one) => verifies(one.publicKey, { algorithm, digestAlgorithm, signed, signature }));
  if (!certificate) throw new BadCms("the signature does not verify");
  const hasTimestamp = unsigned.some((one) => oidOf(children(one)[0]) === OID.timestamp);
  return { digestAlgorithm, messageDigest, certificate, hasTimestamp };
}

function verifies(
  key: KeyObject,
  {
    algorithm,
    digestAlgorithm,
    signed,
    signature,
  }: { algorithm: string; digestAlgorithm: string; signed: Buffer; signature: Buffer },
): boolean {
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
  try {
    return verify(digestAlgorithm, signed, { key, ...(algorithm === OID.rsaPss && pss) }, signature);
  } catch {
    return false;
  }
}

/** Whether the signer identifier (issuer and serial number) names this certificate. */
function isNamed(certificate: X509Certificate, sid: BaseBlock | undefined): boolean {
  if (!(sid instanceof Sequence)) return false;
  const serial = sid.valueBlock.value[1];
  if (!serial) return false;
  const hex = Buffer.from(rawOf(serial)).toString("hex").toUpperCase();
  return hex.endsWith(certificate.serialNumber);
}

function toCertificate(raw: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(raw);
  } catch {
    return undefined;
  }
}

function children(block: BaseBlock | undefined): BaseBlock[] {
  return block instanceof Constructed || block instanceof Sequence || block instanceof Asn1Set
    ? block.valueBlock.value
    : [];
}

function oidOf(block: BaseBlock | undefined): string {
  return block instanceof ObjectIdentifier ? block.valueBlock.toString() : "";
}

function octetsOf(block: BaseBlock | undefined): Buffer {
  if (!(block instanceof OctetString)) throw new BadCms("an octet string is missing");
  return Buffer.from(block.getValue());
}

function tagOf(block: BaseBlock): number | undefined {
  return block.idBlock.tagClass === 3 ? block.idBlock.tagNumber : undefined;
}

function rawOf(block: BaseBlock): Uint8Array {
  return block.valueBeforeDecodeView;
}
