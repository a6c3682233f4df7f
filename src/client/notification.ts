import { createHmac, timingSafeEqual } from "node:crypto";
import { SignpipeError } from "./error.ts";
import type { Notification } from "./schema.ts";

/** A notification that is proven to be signpipe's. */
export interface Verified extends Notification {
  /** The same at every attempt to tell it: what you had before is to be answered with 2xx and forgotten. */
  webhookId: string;
}

export interface Received {
  /** As your server has them: names in any case. */
  headers: Headers | Readonly<Record<string, string | readonly string[] | undefined>>;
  /** As it came, byte by byte: JSON that was parsed and written again has another signature. */
  body: string | Uint8Array;
  /** `whsec_…`, as the operator prints it. While secrets are exchanged: both. */
  secret: string | readonly string[];
  /** How old it may be, or how far ahead, in milliseconds; 5 minutes when not given. */
  toleranceMs?: number;
  /** Milliseconds since 1970; the clock when not given. */
  now?: number;
}

const TOLERANCE_MS = 5 * 60_000;

/**
 * Proves that a notification is signpipe's, and says what it tells. Throws SignpipeError "notification-invalid" (headers
 * or body are not those of a notification), "notification-too-old" (or sent by a clock that is ahead), or
 * "notification-forged": answer those with 400, and believe nothing in them.
 * @source Standard Webhooks 1.0.0, "Signature scheme", "Verifying webhook authenticity"
 */
export function verifyNotification({
  headers,
  body,
  secret,
  toleranceMs = TOLERANCE_MS,
  now = Date.now(),
}: Received): Verified {
  const keys = [secret].flat().map(toKey);
  const webhookId = headerOf(headers, "webhook-id");
  const timestamp = headerOf(headers, "webhook-timestamp");
  const signatures = headerOf(headers, "webhook-signature");
  if (!/^\d{1,12}$/.test(timestamp)) throw invalid("the header webhook-timestamp is no time");
  if (Math.abs(now - Number(timestamp) * 1000) > toleranceMs) {
    throw new SignpipeError(
      "notification-too-old",
      "The notification was sent too long ago, or by a clock that is ahead.",
    );
  }
  const expected = keys.map((key) =>
    createHmac("sha256", key).update(`${webhookId}.${timestamp}.`).update(body).digest(),
  );
  const given = signatures
    .split(" ")
    .flatMap((one) => (one.startsWith("v1,") ? [Buffer.from(one.slice(3), "base64")] : []));
  const isOurs = given.some((one) => expected.some((own) => one.length === own.length && timingSafeEqual(one, own)));
  if (!isOurs)
    throw new SignpipeError("notification-forged", "The notification is not signed with any of the secrets.");
  return { ...parse(body), webhookId };
}

function toKey(secret: string): Buffer {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  // With an empty key anybody could sign.
  if (key.length < 16)
    throw new TypeError("secret must be whsec_ and the Base64 of the key, as the operator prints it.");
  return key;
}

function headerOf(headers: Received["headers"], name: string): string {
  const value =
    headers instanceof Headers
      ? headers.get(name)
      : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  const text = typeof value === "object" && value !== null ? value[0] : value;
  if (text === undefined || text === null || text === "") throw invalid(`the header ${name} is missing`);
  return text;
}

function parse(body: string | Uint8Array): Notification {
  let told: unknown;
  try {
    told = JSON.parse(typeof body === "string" ? body : Buffer.from(body).toString("utf8"));
  } catch {
    // said below
  }
  const isWhole =
    typeof told === "object" && told !== null && "type" in told && "data" in told && typeof told.data === "object";
  if (!isWhole) throw invalid("its body is another one");
  return told as Notification;
}

function invalid(why: string): SignpipeError {
  return new SignpipeError("notification-invalid", `This is not a notification: ${why}.`);
}
