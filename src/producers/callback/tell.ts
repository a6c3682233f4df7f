import { createHmac } from "node:crypto";
import { lookup as lookupHost } from "node:dns";
import { isIP } from "node:net";
import { Agent } from "undici";
import { Reminded } from "../../core/correction.ts";
import { PermanentError, RetryableError } from "../../core/errors.ts";
import { noticeOf } from "../../core/notice.ts";
import type { SignRequest } from "../../core/request.ts";
import { isPublicAddress, NOT_PUBLIC, onlyPublic } from "../address.ts";

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
  const literal = hostname.replace(/^\[|\]$/g, "");
  return protocol === "https:" && (isIP(literal) === 0 || isPublic(literal));
}

export interface Teller {
  tell(request: SignRequest, url: string, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/**
 * Tells a caller how a request stands, as Standard Webhooks has it: id, timestamp and HMAC-SHA256 in headers. The body
 * has no personal data. Only https to public addresses is called, and what is resolved is what is connected to;
 * `allowedHosts` may be private and plain http. Redirects are not followed.
 * @source Standard Webhooks 1.0.0, "Webhook Signatures"
 */
export function createTeller({
  key,
  allowedHosts,
  now = Date.now,
  lookup = lookupHost,
  isPublic = isPublicAddress,
}: {
  /** Signs the messages; receivers know it as whsec_<Base64 of it>. */
  key: Uint8Array;
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
    async tell(request, url, signal) {
      const target = new URL(url);
      if (!mayBeTold(url, allowedHosts, isPublic)) throw notAllowed();
      const allowed = allowedHosts.includes(target.host) || allowedHosts.includes(target.hostname);
      const id = `msg_${request.id}_${request.updatedMs.toString(36)}`;
      const timestamp = Math.floor(now() / 1000).toString();
      const body = JSON.stringify(toMessage(request));
      const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
      const answer = await (allowed ? open : guarded)
        .request({
          origin: target.origin,
          path: target.pathname + target.search,
          method: "POST",
          headers: {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": timestamp,
            "webhook-signature": `v1,${signature}`,
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
      if (answer.statusCode < 200 || answer.statusCode > 299) {
        throw new RetryableError(`The callback was answered with ${answer.statusCode}`, { code: "callback-refused" });
      }
    },
    async close() {
      await Promise.all([open.destroy(), guarded.destroy()]);
    },
  };
}

function notAllowed(): PermanentError {
  return new PermanentError("callback_url is not a public https address", { code: "callback-not-allowed" });
}

/**
 * What a caller is told: where the request is, and nothing about people. That the signer is to be reminded has a type of
 * its own as long as nothing else has happened since; the number of reminders is told in any case.
 */
export function toMessage(request: SignRequest): object {
  const { id, reference, stage, phase, waiting, failure, facts, updatedMs } = request;
  const reminded = Reminded.safeParse(facts["reminded"]).data;
  const notice = noticeOf(request);
  return {
    type: `request.${reminded?.atMs === updatedMs ? "reminded" : phase}`,
    timestamp: new Date(updatedMs).toISOString(),
    data: {
      id,
      ...(reference !== undefined && { reference }),
      stage,
      state: phase,
      ...(waiting && { waiting: { for: waiting.for, until: new Date(waiting.untilMs).toISOString() } }),
      ...(failure && { failure: { code: failure.code } }),
      ...(notice && { notice: { code: notice.code } }),
      ...(reminded && {
        reminders: { count: reminded.count, last_at: new Date(reminded.atMs).toISOString() },
      }),
    },
  };
}
