import { createECDH, hkdfSync } from "node:crypto";
import { calculateJwkThumbprint, compactDecrypt, importJWK, type JWK } from "jose";
import { PermanentError } from "../../core/errors.ts";

/** Order of the curve P-256. @source NIST SP 800-186 §3.2.1.3 */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
/** So many more bits than the order has that no key is likelier than another. @source FIPS 186-5 §A.2.1 */
const SEED_BYTES = 48;
const ALG = "ECDH-ES";
const ENC = "A256GCM";

/** Opens what was sealed for us. */
export interface Opener {
  /** The public key, for callers. */
  publicJwk(): Promise<JWK>;
  /** The text that was sealed, from its compact JWE. Throws PermanentError "intake-unreadable". */
  open(jwe: string): Promise<string>;
}

/**
 * The key pair with which callers of the queue "intake" seal who signs: it follows from `secret`, so that there is nothing
 * more to keep safe. P-256, since every library for JWE has it.
 * @source RFC 7516 (JWE), RFC 7518 §4.6 (ECDH-ES) and §5.3 (A256GCM)
 */
export function createOpener(secret: Uint8Array): Opener {
  const seed = Buffer.from(hkdfSync("sha512", secret, "", "P-256", SEED_BYTES));
  const d = (BigInt(`0x${seed.toString("hex")}`) % (ORDER - 1n)) + 1n;
  const privateBytes = Buffer.from(d.toString(16).padStart(64, "0"), "hex");
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(privateBytes);
  const point = ecdh.getPublicKey();
  const shown = {
    kty: "EC",
    crv: "P-256",
    x: point.subarray(1, 33).toString("base64url"),
    y: point.subarray(33).toString("base64url"),
  };
  const ours = importJWK({ ...shown, d: privateBytes.toString("base64url") }, ALG);

  return {
    async publicJwk() {
      return { ...shown, use: "enc", alg: ALG, kid: await calculateJwkThumbprint(shown) };
    },
    async open(jwe) {
      try {
        const options = { keyManagementAlgorithms: [ALG], contentEncryptionAlgorithms: [ENC] };
        const { plaintext, protectedHeader } = await compactDecrypt(jwe, await ours, options);
        // A few bytes may become gigabytes, and nothing here is long enough to gain by it.
        if ("zip" in protectedHeader) throw new Error("compressed");
        return new TextDecoder("utf-8", { fatal: true }).decode(plaintext);
      } catch (cause) {
        throw new PermanentError(
          `sealed cannot be opened: it must be a compact JWE (${ALG}, ${ENC}) for the key of this signpipe (signpipe intake key)`,
          { code: "intake-unreadable", cause },
        );
      }
    },
  };
}
