import { createHash, sign, type KeyObject } from "node:crypto";
import { integer, octets, oid, sequence, setOf, tagged, time, tlv } from "./der.ts";

/** What a CMS signature needs of its signer. `issuer` is the issuer's name in DER. */
export type Signer = { key: KeyObject; certificate: Buffer; chain: Buffer[]; issuer: Buffer; serial: Buffer };

const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"));
const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const ID_DATA = oid("1.2.840.113549.1.7.1");
const SIGNED_DATA = oid("1.2.840.113549.1.7.2");
const CONTENT_TYPE = sequence(oid("1.2.840.113549.1.9.3"), setOf(ID_DATA));
const MESSAGE_DIGEST = oid("1.2.840.113549.1.9.4");
const SIGNING_TIME = oid("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE_V2 = oid("1.2.840.113549.1.9.16.2.47");

/**
 * A detached CMS SignedData over content with the given SHA-256 digest.
 * @source RFC 5652 §5; signed attributes of a CAdES baseline signature: ETSI EN 319 122-1, RFC 5035 for the certificate
 */
export function signContent(signer: Signer, contentSha256: Buffer, at: Date): Buffer {
  const issuerSerial = sequence(sequence(tagged(4, signer.issuer)), integer(signer.serial));
  const certificateId = sequence(octets(createHash("sha256").update(signer.certificate).digest()), issuerSerial);
  const attributes = setOf(
    CONTENT_TYPE,
    sequence(SIGNING_TIME, setOf(time(at))),
    sequence(MESSAGE_DIGEST, setOf(octets(contentSha256))),
    sequence(SIGNING_CERTIFICATE_V2, setOf(sequence(sequence(certificateId)))),
  );
  const signature = sign("sha256", attributes, signer.key);
  // In the SignerInfo the attributes carry the tag [0]; what is signed is the same bytes under the SET tag.
  const implicitAttributes = Buffer.from(attributes);
  implicitAttributes[0] = 0xa0;
  const signerInfo = sequence(
    integer(1),
    sequence(signer.issuer, integer(signer.serial)),
    SHA256,
    implicitAttributes,
    ECDSA_SHA256,
    octets(signature),
  );
  const signedData = sequence(
    integer(1),
    tlv(0x31, SHA256),
    sequence(ID_DATA),
    tagged(0, signer.certificate, ...signer.chain),
    tlv(0x31, signerInfo),
  );
  return sequence(SIGNED_DATA, tagged(0, signedData));
}
