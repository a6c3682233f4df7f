import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

interface Script {
  signpipeQuota(...args: (string | number)[]): Promise<[number, number, number, number]>;
}

/** After a failure nobody is counted for this long: callers must not wait for a Redis that is away. */
const MUTE_MS = 1_000;

/** How somebody stands with a quota. */
export interface Standing {
  /** Whether there was a call left. */
  ok: boolean;
  /** Calls that may follow at once. */
  left: number;
  /** Milliseconds until all of the quota is there again. */
  fullMs: number;
  /** Milliseconds until one call is; 0 for now. */
  waitMs: number;
}

export type Quota = ReturnType<typeof createQuota>;

/**
 * Counts calls against quotas, of all processes together, by Redis' own clock. Each fills up again steadily, so that
 * nobody waits for the end of a window. While Redis does not answer nobody is counted, and nobody is refused for it.
 */
export function createQuota({ redis, keys, now = Date.now }: { redis: Redis; keys: Keys; now?: () => number }) {
  const lua = readFileSync(new URL("./scripts/quota.lua", import.meta.url), "utf8");
  redis.defineCommand("signpipeQuota", { numberOfKeys: 1, lua });
  const script = redis as unknown as Script;
  let muteUntilMs = 0;

  return {
    /** Takes one of `most` calls in `windowMs`. Undefined while nobody is counted. `whose` is kept as a digest. */
    async take(whose: string, most: number, windowMs: number): Promise<Standing | undefined> {
      if (now() < muteUntilMs) return undefined;
      try {
        const [ok, left, fullMs, waitMs] = await script.signpipeQuota(keys.quota(whose), most, windowMs);
        return { ok: ok === 1, left, fullMs, waitMs };
      } catch {
        muteUntilMs = now() + MUTE_MS;
        return undefined;
      }
    },
  };
}
