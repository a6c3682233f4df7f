import { Agent, request as send } from "undici";
import type { Clock } from "./clock.ts";
import type { Settings, WebhookOptions } from "./options.ts";
import type { EventType, Status } from "./states.ts";
import type { Request } from "./store.ts";

export type Webhooks = {
  /** Queues the notification of a transition; never waits for the receiver. */
  notify: (request: Request, event: EventType, previous: Status | undefined) => void;
  counts: { sent: number; failed: number; dropped: number };
  close: () => Promise<void>;
};

const stamp = (at: number): string => new Date(at).toISOString().replace(/[-:T]/g, "").slice(0, 14);

type Notice = { request: Request; event: EventType; previous: Status | undefined; at: number };

/** @source docs/provider.md §Webhooks: both payload shapes */
function payloadOf({ request, event, previous, at }: Notice, options: WebhookOptions): string {
  const authority = Number(request.registrationAuthority);
  const registration_authority = Number.isNaN(authority) ? request.registrationAuthority : authority;
  const date = new Date(at).toISOString().slice(0, 23) + "000";
  if (options.shape === "old") {
    return JSON.stringify({
      status: request.status,
      date,
      previous_status: previous ?? null,
      request: request.pk,
      registration_authority,
    });
  }
  const { status, profile, scratchcard, pk, certificate } = request;
  const before = previous === undefined ? {} : { previous_status: previous };
  const { previousStatus, certificates } = options;
  return JSON.stringify({
    event_type: event,
    sent_at: stamp(at),
    ...(options.date === "beside" && { date }),
    ...(previousStatus === "beside" && before),
    request: { status, profile, registration_authority, scratchcard, pk, ...(previousStatus === "inside" && before) },
    certificates: certificates === "object" && certificate ? certificate : certificate ? [certificate] : [],
  });
}

/** Where the notifications of a request go. @source docs/provider.md §Webhooks, §Contradictions */
function targetsOf({ webhookUrl, callback }: Settings, { notifyUrl }: Request): string[] {
  const own = callback === "ignored" ? undefined : notifyUrl;
  const usual = own !== undefined && callback === "instead" ? undefined : webhookUrl;
  return [usual, own].filter((url) => url !== undefined);
}

/** How long one of a pair waits for the other before it is sent alone. */
const PAIR_WAIT_MS = 250;

/** One attempt per notification, a bounded number at once. */
export function createWebhooks(settings: Settings, clock: Clock): Webhooks {
  const agent = new Agent({ connections: 64, keepAliveTimeout: 10_000 });
  const queue: { url: string; body: string }[] = [];
  const counts = { sent: 0, failed: 0, dropped: 0 };
  let underWay = 0;
  let seen = 0;
  let closed = false;
  let held: { go: () => void; timer: NodeJS.Timeout } | undefined;

  const post = async (url: string, body: string): Promise<void> => {
    const { timeoutMs } = settings.webhooks;
    try {
      const answer = await send(url, {
        method: "POST",
        body,
        dispatcher: agent,
        headers: { "content-type": "application/json" },
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        signal: AbortSignal.timeout(timeoutMs),
      });
      await answer.body.dump();
      if (answer.statusCode < 400) counts.sent++;
      else counts.failed++;
    } catch {
      counts.failed++; // nobody retries: that is how little is promised
    }
  };
  const pump = (): void => {
    while (!closed && underWay < settings.webhooks.concurrency) {
      const next = queue.shift();
      if (!next) return;
      underWay++;
      void post(next.url, next.body).finally(() => {
        underWay--;
        pump();
      });
    }
  };
  const enqueue = (url: string, body: string): void => {
    for (let copies = settings.webhooks.duplicate ? 2 : 1; copies > 0; copies--) queue.push({ url, body });
    setImmediate(pump);
  };
  const inOrder = (go: () => void): void => {
    if (!settings.webhooks.reorder) return go();
    if (!held) {
      const timer = setTimeout(() => ((held = undefined), go()), PAIR_WAIT_MS);
      held = { go, timer };
      return;
    }
    const earlier = held;
    held = undefined;
    clearTimeout(earlier.timer);
    go();
    earlier.go();
  };

  return {
    counts,
    notify(request, event, previous) {
      const urls = targetsOf(settings, request);
      if (urls.length === 0 || closed) return;
      const { drop, delayMs } = settings.webhooks;
      seen++;
      if (drop === true || (typeof drop === "number" && drop > 0 && seen % drop === 0)) {
        counts.dropped++;
        return;
      }
      const body = payloadOf({ request, event, previous, at: clock.now() }, settings.webhooks);
      const go = (): void => {
        for (const url of urls) enqueue(url, body);
      };
      inOrder(() => (delayMs > 0 ? clock.later(delayMs, go) : go()));
    },
    async close() {
      closed = true;
      clearTimeout(held?.timer);
      await agent.destroy();
    },
  };
}
