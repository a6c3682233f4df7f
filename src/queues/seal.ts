import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { PermanentError } from "../core/errors.ts";
import type { RequestId } from "../core/request.ts";

/** Bytes of the nonce and of the tag of AES-256-GCM. @source NIST SP 800-38D §5.2.1.1, §8.2.2 */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts with AES-256-GCM: nonce, ciphertext and tag in Base64. `context` is authenticated and not stored. */
export function seal(key: Uint8Array, plain: string | Uint8Array, context: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(context));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString("base64");
}

/** Decrypts what `seal` made. Throws PermanentError "vault-unreadable" for another key, another context or a change. */
export function unseal(key: Uint8Array, sealed: string, context: string): Buffer {
  const bytes = Buffer.from(sealed, "base64");
  try {
    // Without its length a tag of four bytes would pass, which can be found by trying.
    const options = { authTagLength: TAG_BYTES };
    const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), options)
      .setAAD(Buffer.from(context))
      .setAuthTag(bytes.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch (cause) {
    throw new PermanentError("Encrypted data cannot be read: MASTER_KEY is not the one that it was encrypted with", {
      code: "vault-unreadable",
      cause,
    });
  }
}

/** A keyed fingerprint: equal inputs are recognised, the inputs cannot be found by trying. 22 characters. */
export function fingerprint(key: Uint8Array, parts: readonly string[]): string {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(`${Buffer.byteLength(part)}:${part}`);
  return mac.digest("base64url").slice(0, 22);
}

/** A callback's address for the record, encrypted: people put tokens into addresses. */
export function sealCallback(masterKey: Uint8Array, id: RequestId, url: string): string {
  return seal(masterKey, url, `${id}:callback`);
}

/** The address again. Throws PermanentError "vault-unreadable". */
export function unsealCallback(masterKey: Uint8Array, id: RequestId, sealed: string): string {
  return unseal(masterKey, sealed, `${id}:callback`).toString("utf8");
}
