import { type ConnectionOptions, Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { z } from "zod";
import { isFailure, PermanentError } from "../core/errors.ts";
import { Notification, notificationIdOf, toNotification } from "../core/notification.ts";
import { RequestId, type SignRequest } from "../core/request.ts";
import type { Keys } from "./keys.ts";
import { quiet } from "./queues.ts";

/** The queue's name from before there was a log. What waits there when a new version starts is told by it. */
export const CALLBACK_QUEUE = "callback";
/** With these pauses the last attempt comes a day and a half to three days after the first, two days mostly. */
const ATTEMPTS = 45;
/** What the log keeps: of each request so many, and nothing for longer than this after the last one. */
const KEPT_EACH = 100;
const KEPT_MS = 30 * 86_400_000;
/** Replayed at once. More are replayed by asking again. */
const REPLAY_MOST = 1_000;

/** The payload of a job: which notification of which request. What is told is in the log. */
export const CallbackJob = z.object({
  requestId: RequestId,
  /** Left out by versions that told the state at the time of telling. */
  notification: z.string().optional(),
});
export type CallbackJob = z.infer<typeof CallbackJob>;

/**
 * waiting: it will be told, perhaps again. delivered: it was answered with 2xx. failed: it was given up. stopped: the
 * receiver said that it is gone, and nothing more is told there until somebody has something replayed.
 */
export const DELIVERY_STATES = ["waiting", "delivered", "failed", "stopped"] as const;

/** A notification, and what became of it. */
export const Delivery = z.object({
  id: z.string(),
  notification: Notification,
  state: z.enum(DELIVERY_STATES),
  attempts: z.int().nonnegative(),
  bornMs: z.number(),
  /** When it was last tried. */
  lastMs: z.number().optional(),
  /** The HTTP status of the last answer, when there was one. */
  status: z.int().optional(),
  /** Why the last attempt failed. */
  code: z.string().optional(),
  /** When it is tried next. */
  nextMs: z.number().optional(),
});
export type Delivery = z.infer<typeof Delivery>;

/** How the telling goes, of all requests. */
export interface NotificationFigures {
  waiting: number;
  failed: number;
  /** Age of the oldest one that waits, in milliseconds; 0 when none does. */
  oldestMs: number;
  /** Since the first start: delivered, and given up. */
  deliveredEver: number;
  failedEver: number;
}

export type Notifications = ReturnType<typeof createNotifications>;

/**
 * The log of notifications: a hash for each request, bounded, and gone 30 days after its last entry. Those that are not
 * delivered are listed apart, by age.
 */
export function createNotifications({
  redis,
  connection,
  keys,
  now = Date.now,
}: {
  redis: Redis;
  connection: ConnectionOptions;
  keys: Keys;
  now?: () => number;
}) {
  const queue = quiet(
    new Queue<CallbackJob>(CALLBACK_QUEUE, {
      connection,
      prefix: keys.queues,
      streams: { events: { maxLen: 1000 } },
      defaultJobOptions: {
        attempts: ATTEMPTS,
        backoff: { type: "callback" },
        removeOnComplete: true,
        removeOnFail: { age: 7 * 86_400, count: 1_000 },
        stackTraceLimit: 0,
        keepLogs: 0,
      },
    }),
  );
  const memberOf = (requestId: RequestId, id: string) => `${requestId}|${id}`;

  async function read(requestId: RequestId, id: string): Promise<Delivery | undefined> {
    const text = await redis.hget(keys.notifications(requestId), id);
    return text === null ? undefined : Delivery.parse(JSON.parse(text));
  }

  /** Oldest first. */
  async function list(requestId: RequestId): Promise<Delivery[]> {
    const texts = await redis.hvals(keys.notifications(requestId));
    const deliveries = texts.map((text) => Delivery.parse(JSON.parse(text)));
    return deliveries.sort((a, b) => a.bornMs - b.bornMs || (a.id < b.id ? -1 : 1));
  }

  /** Writes an entry, and where it is listed with it, in one step. */
  async function write(requestId: RequestId, delivery: Delivery): Promise<void> {
    const { id, state, bornMs } = delivery;
    const member = memberOf(requestId, id);
    const [waiting, failed] = [keys.undelivered("waiting"), keys.undelivered("failed")];
    const step = redis
      .multi()
      .hset(keys.notifications(requestId), id, JSON.stringify(delivery))
      .pexpire(keys.notifications(requestId), KEPT_MS);
    if (state === "waiting") step.zadd(waiting, bornMs, member).zrem(failed, member);
    else if (state === "delivered") step.zrem(waiting, member).zrem(failed, member);
    else step.zrem(waiting, member).zadd(failed, bornMs, member);
    if (state !== "waiting") step.hincrby(keys.notificationCounts, state === "delivered" ? "delivered" : "failed", 1);
    const tooOld = now() - KEPT_MS;
    step.zremrangebyscore(waiting, "-inf", tooOld).zremrangebyscore(failed, "-inf", tooOld);
    await step.exec();
  }

  /** Makes room for one more entry: the oldest ones go, though not what is still to be told. */
  async function trim(requestId: RequestId): Promise<void> {
    const tooMany = (await redis.hlen(keys.notifications(requestId))) + 1 - KEPT_EACH;
    if (tooMany <= 0) return;
    const past = (await list(requestId)).filter(({ state }) => state !== "waiting");
    for (const { id } of past.slice(0, tooMany)) {
      await redis.hdel(keys.notifications(requestId), id);
      await redis.zrem(keys.undelivered("failed"), memberOf(requestId, id));
    }
  }

  /** Makes sure that a job will tell it, whatever is there of an earlier one. */
  async function revive(requestId: RequestId, id: string): Promise<void> {
    const job = new Job<CallbackJob>(queue, CALLBACK_QUEUE, { requestId, notification: id }, {}, id);
    const state = await queue.getJobState(id);
    const step =
      state === "failed" || state === "completed"
        ? job.retry(state, { resetAttemptsMade: true })
        : state === "delayed"
          ? job.promote()
          : undefined;
    // Somebody else was faster with it: then it is being told.
    if (step) await step.catch(() => {});
    else await queue.add(CALLBACK_QUEUE, { requestId, notification: id }, { jobId: id });
  }

  async function replay(requestId: RequestId, id: string): Promise<Delivery> {
    const delivery = await read(requestId, id);
    if (!delivery) {
      throw new PermanentError(`Request ${requestId} has no notification with this id in its log`, {
        code: "no-such-notification",
      });
    }
    const { code: _code, status: _status, ...rest } = delivery;
    const again: Delivery = { ...rest, state: "waiting", nextMs: now() };
    await redis.del(keys.notificationsStopped(requestId));
    if (delivery.state !== "waiting") await write(requestId, again);
    await revive(requestId, id);
    return again;
  }

  return {
    queue,
    read,
    list,
    write,

    /** Notes what is to be told of a request as it is, and queues the telling. Nothing happens when that was done. */
    async note(request: SignRequest): Promise<void> {
      const id = notificationIdOf(request);
      const notification = toNotification(request);
      const bornMs = now();
      const delivery: Delivery = { id, notification, state: "waiting", attempts: 0, bornMs, nextMs: bornMs };
      const known = await read(request.id, id);
      if (known && known.state !== "waiting") return;
      if (!known) {
        await trim(request.id);
        await write(request.id, delivery);
      }
      await queue.add(CALLBACK_QUEUE, { requestId: request.id, notification: id }, { jobId: id });
    },

    /** The receiver of a request's notifications is gone: until something is replayed, nothing is told there. */
    async stop(requestId: RequestId): Promise<void> {
      await redis.set(keys.notificationsStopped(requestId), "1", "PX", KEPT_MS);
    },
    async isStopped(requestId: RequestId): Promise<boolean> {
      return (await redis.exists(keys.notificationsStopped(requestId))) === 1;
    },

    /** Tells it once more, under its id, whatever became of it. Throws PermanentError "no-such-notification". */
    replay,

    /**
     * Tells once more what came about since then and was not delivered, the oldest first, a thousand at the most. How
     * many they were.
     */
    async replayUndelivered(sinceMs: number): Promise<number> {
      const [failed, waiting] = await Promise.all(
        (["failed", "waiting"] as const).map((state) =>
          redis.zrangebyscore(keys.undelivered(state), sinceMs, "+inf", "LIMIT", 0, REPLAY_MOST),
        ),
      );
      const members = [...(failed ?? []), ...(waiting ?? [])].slice(0, REPLAY_MOST);
      let replayed = 0;
      for (const member of members) {
        const [requestId = "", id = ""] = member.split("|");
        try {
          await replay(requestId, id);
          replayed += 1;
        } catch (error) {
          if (!isFailure(error, "no-such-notification")) throw error;
          await redis.zrem(keys.undelivered("failed"), member); // its log has gone by now
          await redis.zrem(keys.undelivered("waiting"), member);
        }
      }
      return replayed;
    },

    async figures(): Promise<NotificationFigures> {
      const [waiting, failed, oldest, counts] = await Promise.all([
        redis.zcard(keys.undelivered("waiting")),
        redis.zcard(keys.undelivered("failed")),
        redis.zrangebyscore(keys.undelivered("waiting"), "-inf", "+inf", "WITHSCORES", "LIMIT", 0, 1),
        redis.hgetall(keys.notificationCounts),
      ]);
      const bornMs = oldest[1] === undefined ? undefined : Number(oldest[1]);
      return {
        waiting,
        failed,
        oldestMs: bornMs === undefined ? 0 : Math.max(0, now() - bornMs),
        deliveredEver: Number(counts["delivered"] ?? 0),
        failedEver: Number(counts["failed"] ?? 0),
      };
    },

    close: () => queue.close(),
  };
}
