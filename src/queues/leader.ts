import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

export type Leader = ReturnType<typeof createLeader>;

/**
 * The one process of a deployment that does something which several must not do at once. It holds a key that lapses; by
 * its own clocks it knows when, also when it was frozen meanwhile and hears nothing.
 */
export function createLeader({
  redis,
  keys,
  what,
  lapseMs,
  monotonic = () => performance.now(),
  wall = Date.now,
}: {
  redis: Redis;
  keys: Keys;
  what: string;
  lapseMs: number;
  monotonic?: () => number;
  wall?: () => number;
}) {
  const me = randomUUID();
  const key = keys.leader(what);
  let asked: { monotonic: number; wall: number } | undefined;

  return {
    /** Takes the lead, or keeps it. Whether this process has it; asked again well before `lapseMs` are over. */
    async lead(): Promise<boolean> {
      const moment = { monotonic: monotonic(), wall: wall() };
      let isMine = (await redis.set(key, me, "PX", lapseMs, "NX")) === "OK";
      if (!isMine && (await redis.get(key)) === me) isMine = (await redis.pexpire(key, lapseMs)) === 1;
      asked = isMine ? moment : undefined;
      return isMine;
    },
    /** Whether it still has the lead, as far as can be told without asking. */
    isLeading(): boolean {
      if (!asked) return false;
      return Math.max(monotonic() - asked.monotonic, wall() - asked.wall) < lapseMs / 2;
    },
    /** Lets go, so that another one need not wait. */
    async resign(): Promise<void> {
      if (asked && (await redis.get(key)) === me) await redis.del(key);
      asked = undefined;
    },
  };
}
