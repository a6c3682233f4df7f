import { createHash, sign, type KeyObject } from "node:crypto";
import { integer, octets, oid, sequence, setOf, tagged, time, tlv } from "./der.ts";

/** What a CMS signature needs of its signer. `issuer` is the issuer's name in DER. */
export type Signer = { key: KeyObject; certificate: Buffer; chain: Buffer[]; issuer: Buffer; serial: Buffer };

export type DigestName = "sha256" | "sha384" | "sha512";
export type Digest = { algorithm: DigestName; value: Buffer };

/** @source RFC 5754 §2, RFC 5758 §3.2 */
const ALGORITHMS: Record<DigestName, { digest: Buffer; signature: Buffer }> = {
  sha256: { digest: sequence(oid("2.16.840.1.101.3.4.2.1")), signature: sequence(oid("1.2.840.10045.4.3.2")) },
  sha384: { digest: sequence(oid("2.16.840.1.101.3.4.2.2")), signature: sequence(oid("1.2.840.10045.4.3.3")) },
  sha512: { digest: sequence(oid("2.16.840.1.101.3.4.2.3")), signature: sequence(oid("1.2.840.10045.4.3.4")) },
};
export const SHA256 = ALGORITHMS.sha256.digest;

const ID_DATA = "1.2.840.113549.1.7.1";
const SIGNED_DATA = oid("1.2.840.113549.1.7.2");
const CONTENT_TYPE = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST = oid("1.2.840.113549.1.9.4");
const SIGNING_TIME = oid("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE_V2 = oid("1.2.840.113549.1.9.16.2.47");
const TIMESTAMP_TOKEN = oid("1.2.840.113549.1.9.16.2.14");

export type Wanted = {
  digest: Digest;
  /** The signing time goes into the signed attributes. */
  at?: Date;
  /** Type of the content, dotted; plain data when not given. */
  contentType?: string;
  /** The content itself; the signature is detached without it. */
  content?: Buffer;
  /** More signed attributes, in DER. */
  attributes?: Buffer[];
  /** A timestamp token over the signature with this value. @source RFC 3161 Appendix A */
  stamp?: (signature: Buffer) => Buffer;
};

/**
 * A CMS SignedData over content with the given digest.
 * @source RFC 5652 §5; signed attributes of a CAdES baseline signature: ETSI EN 319 122-1, RFC 5035 for the certificate
 */
export function signContent(signer: Signer, wanted: Wanted): Buffer {
  const { digest, at, content, stamp, attributes = [], contentType = ID_DATA } = wanted;
  const { digest: digestId, signature: signatureId } = ALGORITHMS[digest.algorithm];
  const type = oid(contentType);
  const issuerSerial = sequence(sequence(tagged(4, signer.issuer)), integer(signer.serial));
  const certificateId = sequence(octets(createHash("sha256").update(signer.certificate).digest()), issuerSerial);
  const signed = setOf(
    sequence(CONTENT_TYPE, setOf(type)),
    ...(at ? [sequence(SIGNING_TIME, setOf(time(at)))] : []),
    sequence(MESSAGE_DIGEST, setOf(octets(digest.value))),
    sequence(SIGNING_CERTIFICATE_V2, setOf(sequence(sequence(certificateId)))),
    ...attributes,
  );
  const signature = sign(digest.algorithm, signed, signer.key);
  // In the SignerInfo the attributes carry the tag [0]; what is signed is the same bytes under the SET tag.
  const implicitAttributes = Buffer.from(signed);
  implicitAttributes[0] = 0xa0;
  const signerInfo = sequence(
    integer(1),
    sequence(signer.issuer, integer(signer.serial)),
    digestId,
    implicitAttributes,
    signatureId,
    octets(signature),
    ...(stamp ? [tagged(1, sequence(TIMESTAMP_TOKEN, setOf(stamp(signature))))] : []),
  );
  const signedData = sequence(
    // 3 when the content is of another type than data. @source RFC 5652 §5.1
    integer(contentType === ID_DATA ? 1 : 3),
    tlv(0x31, digestId),
    content ? sequence(type, tagged(0, octets(content))) : sequence(type),
    tagged(0, signer.certificate, ...signer.chain),
    tlv(0x31, signerInfo),
  );
  return sequence(SIGNED_DATA, tagged(0, signedData));
}
