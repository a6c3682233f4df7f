import { createHmac } from "node:crypto";
import { type ApiKey, isSame } from "./api-keys.ts";

/** How long a login lasts, in milliseconds. */
export const SESSION_MS = 8 * 3_600_000;

/**
 * A login for `key` until `untilMs`, as text that nobody else can make. It is signed with the key's own secret: a key
 * that is taken away takes its logins with it, and all API processes know each other's.
 */
export function toSession(key: ApiKey, untilMs: number): string {
  const claim = `${Buffer.from(key.name).toString("base64url")}.${untilMs.toString(36)}`;
  return `${claim}.${sign(key, claim)}`;
}

/** The key of a session; undefined when it is over, or was not made here. */
export function readSession(keys: readonly ApiKey[], session: string | undefined, nowMs: number): ApiKey | undefined {
  const [name, until, signature, ...more] = (session ?? "").split(".");
  if (name === undefined || until === undefined || signature === undefined || more.length > 0) return undefined;
  const key = keys.find((candidate) => Buffer.from(candidate.name).toString("base64url") === name);
  if (!key || !isSame(signature, sign(key, `${name}.${until}`))) return undefined;
  return Number.parseInt(until, 36) > nowMs ? key : undefined;
}

function sign(key: ApiKey, claim: string): string {
  return createHmac("sha256", key.secret).update(`board session ${claim}`).digest("base64url");
}
