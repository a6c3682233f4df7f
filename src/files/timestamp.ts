import { createHash } from "node:crypto";
import type { Certificate } from "./certificate.ts";
import { type Element, elementsOf, readElement, TAG } from "./der.ts";
import { algorithmOf, asBadCms, BadCms, DIGESTS, expect, readSignedData, type SignedData } from "./signed-data.ts";

/** @source RFC 3161 §2.4.2 */
export const TST_INFO = "1.2.840.113549.1.9.16.1.4";
const GENERALIZED_TIME = 0x18;

/** When something was there, by a timestamp that is over it. */
export interface Timestamp {
  at: Date;
  /** Its signature verifies; false where the certificate for that is nowhere. */
  isVerified: boolean;
}

/** What a timestamp says, and of what. */
export interface Stamped extends Timestamp {
  imprint: { algorithm: string; digest: Buffer };
}

/**
 * Reads a timestamp token and verifies that nobody changed it: one signer, whose signature over the signed attributes
 * verifies; the digest in them is that of what the timestamp says; the certificate that they name is the signer's.
 * `others` are certificates that stand around it. Whether its authority is to be trusted is not asked. Throws BadCms.
 * @source RFC 3161 §2.4.2, RFC 5816 §2.2
 */
export const readTimestamp = (token: Element, others: readonly Certificate[]): Stamped =>
  asBadCms(() => stampedBy(readSignedData(token, { others, mayLackCertificate: true })));

/** The same for SignedData that was read already. Throws BadCms and BadDer. */
export function stampedBy(data: SignedData): Stamped {
  const { contentType, content, signedType, signers, certificate } = data;
  if (contentType !== TST_INFO || content === undefined) throw new BadCms("not a timestamp");
  if (signedType !== TST_INFO) throw new BadCms("signed as something else than a timestamp");
  if (signers !== 1) throw new BadCms("more than one signer");
  if (!createHash(data.digestAlgorithm).update(content).digest().equals(data.messageDigest))
    throw new BadCms("what it says was changed after it was signed");
  const [, , imprint, , time] = elementsOf(expect(readElement(content), TAG.sequence, "not a timestamp"));
  const [hash, digest] = elementsOf(expect(imprint, TAG.sequence, "of nothing"));
  const algorithm = DIGESTS[algorithmOf(hash)];
  if (!algorithm) throw new BadCms("digest algorithm not allowed");
  return {
    at: timeOf(expect(time, GENERALIZED_TIME, "no time")),
    isVerified: certificate !== undefined,
    imprint: { algorithm, digest: expect(digest, TAG.octets, "of nothing").body },
  };
}

/** The same, of which is known what it is to be over. Throws BadCms for one that is over something else. */
export function readTimestampOver(stamped: Buffer, token: Element, others: readonly Certificate[]): Timestamp {
  const { imprint, ...timestamp } = readTimestamp(token, others);
  if (!createHash(imprint.algorithm).update(stamped).digest().equals(imprint.digest))
    throw new BadCms("it is of something else");
  return timestamp;
}

/** @source RFC 3161 §2.4.2: in UTC, with any fraction of a second */
function timeOf({ body }: Element): Date {
  const found = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{1,9}))?Z$/.exec(body.toString("latin1"));
  const [year = "", month = "", day = "", hour = "", minute = "", second = "", rest = ""] = found?.slice(1) ?? [];
  const at = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.${rest.padEnd(3, "0").slice(0, 3)}Z`);
  if (Number.isNaN(at.getTime())) throw new BadCms("no time");
  return at;
}
