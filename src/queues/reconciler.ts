import type { Redis } from "ioredis";
import { isFailure } from "../core/errors.ts";
import type { Log } from "../core/stage.ts";
import { isEnd } from "../core/status.ts";
import type { Keys } from "./keys.ts";
import { createLeader } from "./leader.ts";
import type { Queues } from "./queues.ts";
import type { Store } from "./store.ts";

const PAGE = 500;
const LEAST_PAUSE_MS = 60_000;
const MOST_PAUSE_MS = 15 * 60_000;

/**
 * Finds every open request whose time is over and makes sure that a job will run for it: a crash between the record
 * and the job, a lost queue, a removed job. It asks only for what is overdue, so a hundred thousand requests that wait
 * as they should cost nothing. One process at a time does it.
 */
export function createReconciler({
  redis,
  keys,
  store,
  queues,
  log,
  everyMs = 30_000,
  now = Date.now,
}: {
  redis: Redis;
  keys: Keys;
  store: Store;
  queues: Queues;
  log: Log;
  everyMs?: number;
  now?: () => number;
}) {
  const leader = createLeader({ redis, keys, what: "reconciler", lapseMs: everyMs * 2 });
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<unknown> = Promise.resolve();

  /** One round. The number of requests that had no next step and were given one. */
  async function sweep(): Promise<number> {
    let revived = 0;
    for (let pages = 0; pages < 20; pages++) {
      const ids = await store.overdue(now(), PAGE);
      for (const id of ids) {
        const held = await store.read(id).catch(async (error: unknown) => {
          if (!isFailure(error, "record-damaged")) throw error;
          // It stays where it is, for a person; whoever stands behind it must not wait for that.
          log.error({ requestId: id, code: error.code }, error.message);
          await redis.sadd(keys.unreadable, id);
          await store.postpone(id, now() + MOST_PAUSE_MS);
          return "damaged" as const;
        });
        if (held === "damaged") continue;
        if (!held || isEnd(held.request.phase)) {
          await store.forgetDue(id);
          continue;
        }
        const { stage, phase, updatedMs } = held.request;
        // Whoever did something at it may have died before its job was woken: a code, above all, does not live long.
        const isNudged = held.nudgedMs >= updatedMs;
        const how = await queues.revive(stage, id, { now: phase === "queued" || phase === "running" || isNudged });
        if (how === "missing") {
          revived += 1;
          log.warn({ requestId: id, stage, phase, code: "without-next-step" }, "request was given its next step");
        }
        const ageMs = now() - updatedMs;
        await store.postpone(id, now() + Math.min(Math.max(ageMs, LEAST_PAUSE_MS), MOST_PAUSE_MS));
      }
      if (ids.length < PAGE) break;
    }
    await redis.set(keys.withoutNextStep, revived);
    await forgetMended();
    return revived;
  }

  /** A record that could not be read counts until it can be again, or is gone. */
  async function forgetMended(): Promise<void> {
    const counted = await redis.smembers(keys.unreadable);
    const still = new Set(await store.damagedAmong(counted));
    const mended = counted.filter((id) => !still.has(id));
    if (mended.length > 0) await redis.srem(keys.unreadable, ...mended);
  }

  async function round(): Promise<void> {
    try {
      if (await leader.lead()) await sweep();
    } catch (error) {
      log.warn({ code: "reconciler-failed", reason: (error as Error).message.slice(0, 120) }, "reconciler failed");
    }
  }

  return {
    sweep,
    start(): void {
      timer = setInterval(() => {
        running = running.then(round);
      }, everyMs);
      running = running.then(round);
    },
    async stop(): Promise<void> {
      clearInterval(timer);
      await running;
    },
  };
}
