import { randomFillSync } from "node:crypto";

/** Asking the system costs the same for many bytes as for few. */
const POOL_BYTES = 4_096;
let pool = Buffer.alloc(0);
let used = 0;

/**
 * `bytes` random bytes as Base64url: for names that nobody else chooses, not for keys. From the system's generator,
 * fetched in advance.
 */
export function randomText(bytes: number): string {
  if (used + bytes > pool.length) {
    pool = randomFillSync(Buffer.allocUnsafeSlow(Math.max(POOL_BYTES, bytes)));
    used = 0;
  }
  used += bytes;
  return pool.toString("base64url", used - bytes, used);
}
