import { type Element, readElement } from "./der.ts";
import { asBadCms, BadCms, nameOf, readSignedData, type SignedData, valuesOf } from "./signed-data.ts";
import { readTimestampOver, type Stamped, stampedBy, type Timestamp, TST_INFO } from "./timestamp.ts";

/** @source RFC 3161 Appendix A */
const TIMESTAMP = "1.2.840.113549.1.9.16.2.14";

/** What a CMS signature says of itself. */
export interface Cms {
  digestAlgorithm: string;
  messageDigest: Buffer;
  /** The signer's certificate, in DER. */
  certificate: Buffer;
  /** Those over the signature. */
  timestamps: Timestamp[];
  /** It is no signature of a person but a timestamp of its own, of this. */
  stamped?: Stamped;
  /** It holds the content itself, and so is not detached. */
  hasContent: boolean;
  /** Without the zeros behind it. */
  sizeBytes: number;
}

/**
 * Reads a CMS signature, which zeros may follow, and verifies it as readSignedData does; then each timestamp over it, as
 * readTimestamp does, and that it is over this very signature. Throws BadCms.
 * @source RFC 5652 §5.3, §5.4, §5.6, RFC 3161 Appendix A
 */
export function readCms(padded: Buffer): Cms {
  return asBadCms(() => {
    const top = readElement(padded);
    if (padded.subarray(top.raw.length).some((byte) => byte !== 0)) throw new BadCms("more than zeros behind it");
    const data = readSignedData(top);
    const { digestAlgorithm, messageDigest, certificate, content, contentType } = data;
    if (!certificate) throw new BadCms("the signature does not verify");
    return {
      digestAlgorithm,
      messageDigest,
      certificate: certificate.raw,
      timestamps: timestampsOf(data),
      ...(contentType === TST_INFO && { stamped: stampedBy(data) }),
      hasContent: content !== undefined,
      sizeBytes: top.raw.length,
    };
  });
}

function timestampsOf({ unsigned, signature, certificates }: SignedData): Timestamp[] {
  const tokens: Element[] = unsigned.filter((one) => nameOf(one) === TIMESTAMP).flatMap(valuesOf);
  return tokens.map((token) => {
    try {
      return readTimestampOver(signature, token, certificates);
    } catch (error) {
      throw error instanceof BadCms ? new BadCms(`its timestamp is not valid: ${error.message}`) : error;
    }
  });
}
