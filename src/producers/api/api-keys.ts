import { createHash, timingSafeEqual } from "node:crypto";

/** A named secret that lets a program or a person in. */
export interface ApiKey {
  name: string;
  secret: string;
  /** The one whose requests it is for; all when left out. */
  tenant?: string;
}

/** True when the two are equal; takes as long whatever they hold, because digests of one length are compared. */
export function isSame(given: string, expected: string): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

/** The key whose secret was given. Every key is compared, so the time tells neither which one matched nor how nearly. */
export function findKey(keys: readonly ApiKey[], secret: string): ApiKey | undefined {
  let found: ApiKey | undefined;
  for (const key of keys) if (isSame(secret, key.secret)) found ??= key;
  return found;
}

/** The key of an Authorization header. @source RFC 6750 §2.1 */
export function readBearer(keys: readonly ApiKey[], header: string | undefined): ApiKey | undefined {
  const secret = /^Bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  return secret === undefined ? undefined : findKey(keys, secret);
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
