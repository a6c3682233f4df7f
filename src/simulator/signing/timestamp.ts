import { createHash } from "node:crypto";
import { newSerial } from "./certificate.ts";
import { SHA256, signContent } from "./cms.ts";
import type { Signer } from "./cms.ts";
import { generalTime, integer, octets, oid, sequence } from "./der.ts";

const TST_INFO = "1.2.840.113549.1.9.16.1.4";
/** Under the arc that is kept for examples: a policy that nobody has written. */
const POLICY = oid("2.999.1");

const sha256 = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();

/** A timestamp token that says that `stamped` was there at `at`, to the second. @source RFC 3161 §2.4.2 */
export function timestampToken(authority: Signer, stamped: Buffer, at: Date): Buffer {
  const imprint = sequence(SHA256, octets(sha256(stamped)));
  const accuracy = sequence(integer(1));
  const content = sequence(integer(1), POLICY, imprint, integer(newSerial()), generalTime(at), accuracy);
  return signContent(authority, {
    digest: { algorithm: "sha256", value: sha256(content) },
    at,
    contentType: TST_INFO,
    content,
  });
}
