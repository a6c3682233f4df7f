import { createHmac } from "node:crypto";
import { lookup as lookupHost } from "node:dns";
import { Agent } from "undici";
import { PermanentError, RetryableError } from "../../core/errors.ts";
import type { Answer, Message } from "../../queues/callbacks.ts";
import { isPublicAddress, mayBePublic, NOT_PUBLIC, onlyPublic } from "../address.ts";

/**
 * Whether a caller may name this address: https to what is not private by its own words; at hosts that the operator
 * allowed, anything. Where a name leads is looked at when it is called.
 */
export function mayBeTold(
  url: string,
  allowedHosts: readonly string[],
  isPublic: (address: string) => boolean = isPublicAddress,
): boolean {
  const { protocol, host, hostname } = new URL(url);
  if (allowedHosts.includes(host) || allowedHosts.includes(hostname)) return /^https?:$/.test(protocol);
  return protocol === "https:" && mayBePublic(hostname, isPublic);
}

export interface Teller {
  tell(message: Message, signal: AbortSignal): Promise<Answer>;
  close(): Promise<void>;
}

/**
 * Sends notifications as Standard Webhooks has it: id, timestamp and HMAC-SHA256 in headers, one signature for each key
 * while keys are exchanged. Only https to public addresses is called, and what is resolved is what is connected to;
 * `allowedHosts` may be private and plain http. Redirects are not followed. Throws RetryableError
 * "callback-unreachable", PermanentError "callback-not-allowed".
 * @source Standard Webhooks 1.0.0, "Webhook Signatures"
 */
export function createTeller({
  keysOf,
  allowedHosts,
  now = Date.now,
  lookup = lookupHost,
  isPublic = isPublicAddress,
}: {
  /** What messages of a tenant are signed with, newest first. */
  keysOf: (tenant: string | undefined) => readonly Uint8Array[];
  allowedHosts: readonly string[];
  now?: () => number;
  /** How names become addresses. */
  lookup?: typeof lookupHost;
  /** Which addresses may be connected to. */
  isPublic?: (address: string) => boolean;
}): Teller {
  const open = new Agent({ connect: { timeout: 10_000 } });
  const guarded = new Agent({
    connect: {
      timeout: 10_000,
      lookup: onlyPublic(lookup, isPublic),
    },
  });

  return {
    async tell({ id, notification, url, tenant }, signal) {
      const target = new URL(url);
      if (!mayBeTold(url, allowedHosts, isPublic)) throw notAllowed();
      const allowed = allowedHosts.includes(target.host) || allowedHosts.includes(target.hostname);
      const timestamp = Math.floor(now() / 1000).toString();
      const body = JSON.stringify(notification);
      const signatures = keysOf(tenant).map((key) => {
        return `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`;
      });
      const answer = await (allowed ? open : guarded)
        .request({
          origin: target.origin,
          path: target.pathname + target.search,
          method: "POST",
          headers: {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signatures.join(" "),
          },
          body,
          headersTimeout: 20_000,
          bodyTimeout: 10_000,
          signal,
        })
        .catch((cause: unknown) => {
          if ((cause as NodeJS.ErrnoException).code === NOT_PUBLIC) throw notAllowed();
          throw new RetryableError("The callback could not be delivered", { code: "callback-unreachable", cause });
        });
      answer.body.on("error", () => {});
      answer.body.destroy();
      return { status: answer.statusCode, retryAfterMs: toRetryAfterMs(answer.headers["retry-after"], now()) };
    },
    async close() {
      await Promise.all([open.destroy(), guarded.destroy()]);
    },
  };
}

/** When to ask again, from now: a number of seconds, or a date. @source RFC 9110 §10.2.3 */
function toRetryAfterMs(header: string | string[] | undefined, nowMs: number): number | undefined {
  if (typeof header !== "string") return undefined;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - nowMs;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function notAllowed(): PermanentError {
  return new PermanentError("callback_url is not a public https address", { code: "callback-not-allowed" });
}
