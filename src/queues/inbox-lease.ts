import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

/**
 * Which of several processes serves an inbox. It saves work, and keeps two from putting the same claim in order at once;
 * that no file is taken twice does not depend on it, since the rename decides.
 */
export interface InboxLease {
  /** Takes it, or keeps it. False when another process has it. Throws what Redis says. */
  renew(): Promise<boolean>;
  /** Whether it is ours for certain, by our own clocks, without asking anybody. */
  isHeld(): boolean;
  /** Lets others have it. */
  release(): Promise<void>;
  /** How often to renew it, in milliseconds. */
  renewMs: number;
}

/** Extends the lease when it is ours, or gives up ours; one step, so that nobody else's is touched. */
const EXTEND = `if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("pexpire", KEYS[1], ARGV[2]) end return 0`;
const RELEASE = `if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`;
/** Also when its holder is gone: somebody else may have found that out first. */
const REPLACE = `if redis.call("get", KEYS[1]) == ARGV[1] then redis.call("set", KEYS[1], ARGV[2], "PX", ARGV[3]) return 1 end return 0`;

/** Those of this process that are in use. */
const inUse = new Set<string>();

/**
 * The lease of the inbox called `name`. It lapses after `leaseMs` without a sign of its holder, and at once when the
 * holder was a process of this machine that is gone: a restart after a crash waits for nobody.
 */
export function createInboxLease({
  redis,
  keys,
  name,
  leaseMs,
  monotonic = () => performance.now(),
  wall = Date.now,
}: {
  redis: Redis;
  keys: Keys;
  name: string;
  leaseMs: number;
  monotonic?: () => number;
  wall?: () => number;
}): InboxLease {
  const key = keys.inboxLease(name);
  const own = `${here()}:${process.pid}:${randomBytes(9).toString("base64url")}`;
  /** When we asked for what we were given: before that it cannot have begun to lapse. */
  let heldAt: { monotonic: number; wall: number } | undefined;

  async function ask(): Promise<boolean> {
    if ((await redis.eval(EXTEND, 1, key, own, leaseMs)) === 1) return true;
    if ((await redis.set(key, own, "PX", leaseMs, "NX")) === "OK") return true;
    const other = await redis.get(key);
    if (other === null || !isGone(other)) return false;
    return (await redis.eval(REPLACE, 1, key, other, own, leaseMs)) === 1;
  }

  return {
    renewMs: Math.max(Math.round(leaseMs / 4), 50),

    async renew() {
      inUse.add(own);
      const askedAt = { monotonic: monotonic(), wall: wall() };
      const isOurs = await ask();
      heldAt = isOurs ? askedAt : undefined;
      return isOurs;
    },

    isHeld: () =>
      heldAt !== undefined && Math.max(monotonic() - heldAt.monotonic, wall() - heldAt.wall) < leaseMs * 0.9,

    async release() {
      heldAt = undefined;
      inUse.delete(own);
      await redis.eval(RELEASE, 1, key, own);
    },
  };
}

/** This machine, and which of its worlds of process ids: the same number is another process in another container. */
function here(): string {
  try {
    return `${hostname()}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}

/** Whether the holder was a process of this machine, or an earlier inbox of this very process, and is no more. */
function isGone(holder: string): boolean {
  const [, where = "", pid = ""] = /^(.*):(\d+):[\w-]+$/.exec(holder) ?? [];
  if (where !== here()) return false;
  if (Number(pid) === process.pid) return !inUse.has(holder);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}
