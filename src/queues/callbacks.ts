import { type ConnectionOptions, DelayedError, type Job, UnrecoverableError, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { exponential } from "../core/backoff.ts";
import { type Failure, toFailure } from "../core/errors.ts";
import { isTold, type Notification } from "../core/notification.ts";
import type { SignRequest } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import { inRounds, takeNoted } from "./changed.ts";
import type { Keys } from "./keys.ts";
import { CALLBACK_QUEUE, CallbackJob, type Delivery, type Notifications } from "./notifications.ts";
import { createReceivers } from "./receivers.ts";
import { unsealCallback } from "./seal.ts";
import type { Store } from "./store.ts";

const backoff = exponential("5s", { upTo: "2h" });
const TAKE_EVERY_MS = 1_000;
/** A receiver that asks for more patience than this is asked again all the same. */
const PATIENCE_MS = 86_400_000;

/** Deliveries at once: enough that some receivers that do not answer leave room for all others. */
const CONCURRENCY = 40;

/** What is to be sent, and where to. */
export interface Message {
  /** The same at every attempt. */
  id: string;
  notification: Notification;
  url: string;
  tenant: string | undefined;
}

/** What a receiver answered. */
export interface Answer {
  status: number;
  /** When it wants to be asked again, in milliseconds from now. */
  retryAfterMs?: number | undefined;
}

/** An attempt that failed; the queue waits so long before the next one. */
class Undelivered extends Error {
  readonly pauseMs: number;
  constructor(code: string, pauseMs: number) {
    super(code);
    this.pauseMs = pauseMs;
  }
}

/**
 * Tells callers how their requests stand, at the address they gave: one job for each change that matters, retried for
 * two days or so. What is told is noted when the change is: it stays the same, under the same id, however late it comes.
 */
export function createCallbacks({
  redis,
  connection,
  keys,
  store,
  notifications,
  masterKey,
  standardUrl = () => undefined,
  tell,
  log,
  now = Date.now,
}: {
  redis: Redis;
  connection: ConnectionOptions;
  keys: Keys;
  store: Pick<Store, "read">;
  notifications: Notifications;
  masterKey: Uint8Array;
  /** Where requests that name no address are told of. */
  standardUrl?: (tenant: string | undefined) => string | undefined;
  /** Sends one message. Throws a Failure when nobody answered. */
  tell: (message: Message, signal: AbortSignal) => Promise<Answer>;
  log: Log;
  now?: () => number;
}) {
  const receivers = createReceivers({ now });
  let worker: Worker<CallbackJob> | undefined;
  let rounds: ReturnType<typeof inRounds> | undefined;

  function tenantOf({ facts }: SignRequest): string | undefined {
    return typeof facts["tenant"] === "string" ? facts["tenant"] : undefined;
  }

  function urlOf(request: SignRequest): string | undefined {
    const sealed = request.facts["callbackUrl"];
    if (typeof sealed === "string") return unsealCallback(masterKey, request.id, sealed);
    return standardUrl(tenantOf(request));
  }

  async function note(id: string): Promise<void> {
    const request = (await store.read(id))?.request;
    // What has moved on since is told of when it comes to its next stop.
    if (request && isTold(request) && urlOf(request) !== undefined) await notifications.note(request);
  }

  async function deliver(job: Job<CallbackJob>, token?: string): Promise<void> {
    const { requestId, notification: id } = CallbackJob.parse(job.data);
    if (id === undefined) return await note(requestId);
    const delivery = await notifications.read(requestId, id);
    if (!delivery || delivery.state === "delivered") return;
    const request = (await store.read(requestId))?.request;
    const url = request && urlOf(request);
    if (!request || url === undefined) return await end(delivery, "failed", { code: "callback-withdrawn" });
    if (await notifications.isStopped(requestId)) return await end(delivery, "stopped", { code: "callback-gone" });

    const entry = receivers.enter(new URL(url).host);
    if ("pauseMs" in entry) {
      // It was not tried: that its receiver is slow with others is no failed attempt of this one.
      await job.moveToDelayed(now() + entry.pauseMs, token);
      throw new DelayedError();
    }
    const message = { id, notification: delivery.notification, url, tenant: tenantOf(request) };
    const answer = await tell(message, AbortSignal.timeout(30_000)).catch(toFailure);
    // What may not be called at all says nothing about who is there.
    entry.leave(!(answer instanceof Error) || answer.kind === "permanent");
    const tried: Delivery = { ...delivery, attempts: delivery.attempts + 1, lastMs: now() };
    if (answer instanceof Error) return await repeat(tried, { code: answer.code, kind: answer.kind });
    const { status, retryAfterMs } = answer;
    if (status >= 200 && status <= 299) return await end(tried, "delivered", { status });
    if (status === 410) {
      await notifications.stop(requestId);
      log.warn({ requestId, code: "callback-gone" }, "callbacks stopped");
      return await end(tried, "stopped", { status, code: "callback-gone" });
    }
    return await repeat({ ...tried, status }, { code: "callback-refused", kind: "retryable", retryAfterMs });

    async function end(last: Delivery, state: Delivery["state"], how: { status?: number; code?: string }) {
      const { nextMs: _nextMs, code: _code, ...rest } = last;
      await notifications.write(requestId, { ...rest, ...how, state });
    }

    async function repeat(
      last: Delivery,
      { code, kind, retryAfterMs = 0 }: { code: string; kind: Failure["kind"]; retryAfterMs?: number | undefined },
    ): Promise<void> {
      log.warn({ requestId, code, attempt: last.attempts }, "callback failed");
      const n = job.attemptsMade + 1;
      if (kind === "permanent" || n >= (job.opts.attempts ?? 1)) {
        await end(last, "failed", { code });
        throw new UnrecoverableError(code);
      }
      const pauseMs = Math.max(backoff(n, Math.random()), Math.min(retryAfterMs, PATIENCE_MS));
      await notifications.write(requestId, { ...last, code, nextMs: now() + pauseMs });
      throw new Undelivered(code, pauseMs);
    }
  }

  return {
    start(): void {
      worker = new Worker<CallbackJob>(CALLBACK_QUEUE, deliver, {
        connection,
        prefix: keys.queues,
        concurrency: CONCURRENCY,
        removeOnComplete: { count: 0 },
        settings: {
          backoffStrategy: (n, _type, error) =>
            error instanceof Undelivered ? error.pauseMs : backoff(n, Math.random()),
        },
      });
      worker.on("error", () => {}); // the stage workers report an outage already
      rounds = inRounds(() => takeNoted(redis, keys.changed("callback"), note), TAKE_EVERY_MS);
    },
    async stop(): Promise<void> {
      await rounds?.stop();
      if (!worker) return;
      const late = new Promise<void>((resolve) => setTimeout(resolve, 5_000).unref());
      await Promise.race([worker.close(), late.then(() => worker?.close(true))]);
    },
  };
}
