import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

const LEAST_MS = 15 * 60_000;
/** Looks at the provider that long waits make, all together. */
const LOOKS_PER_SECOND = 10;
const COUNT_EVERY_MS = 60_000;

/**
 * The longest pause between two looks at a request that waits, in milliseconds: a quarter of an hour, and more when so
 * many wait that they would make more than ten looks a second together. Each look costs us, Redis and the provider
 * something; whoever has a hundred thousand waits would pay for little else.
 */
export function longestPauseMs(waiting: number): number {
  return Math.max(LEAST_MS, (waiting / LOOKS_PER_SECOND) * 1_000);
}

/** Knows roughly how many requests wait. It counts when it is asked, once a minute at the most, and answers at once. */
export function createCrowd({ redis, keys, now = Date.now }: { redis: Redis; keys: Keys; now?: () => number }) {
  let waiting = 0;
  let countMs = 0;

  async function count(): Promise<void> {
    try {
      waiting = await redis.zcard(keys.index("waiting"));
    } catch {
      // Redis is away: what was counted last will do
    }
  }

  return {
    longestPauseMs(): number {
      if (now() >= countMs) {
        countMs = now() + COUNT_EVERY_MS;
        void count();
      }
      return longestPauseMs(waiting);
    },
  };
}
