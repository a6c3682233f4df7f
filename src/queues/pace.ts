import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

/** Turns are fetched for this long at once, so that a fast pace costs two commands a second. */
const BATCH_MS = 500;
/** A turn further ahead is not waited for. */
const AHEAD_MS = 500;
/** A turn that nobody took in time is given up: taken late, it would make a burst. */
const STALE_MS = 250;
const ANSWER_MS = 500;

interface Script {
  signpipePace(...args: (string | number)[]): Promise<[number, string]>;
}

/**
 * A steady pace for the calls of all processes together, `perSecond` at the most, averaged over about a second.
 * Redis' own clock tells the turns, so the machines' clocks may differ.
 */
export function createPace({ redis, keys, perSecond }: { redis: Redis; keys: Keys; perSecond: number }) {
  const gapMs = 1_000 / perSecond;
  const wanted = Math.max(1, Math.round(BATCH_MS / gapMs));
  const lua = readFileSync(new URL("./scripts/pace.lua", import.meta.url), "utf8");
  redis.defineCommand("signpipePace", { numberOfKeys: 1, lua });
  const script = redis as unknown as Script;
  let turns: number[] = [];
  let reserving: Promise<number> | undefined;
  /** Where the line of those who were turned away ends. */
  let tailMs = 0;

  /** Milliseconds until there are turns again; 0 when there are now. */
  async function reserve(): Promise<number> {
    const [given, text] = await within(script.signpipePace(keys.pace, gapMs, wanted, AHEAD_MS), ANSWER_MS);
    const firstMs = Number(text);
    const base = performance.now() + firstMs;
    for (let i = 0; i < given; i++) turns.push(base + i * gapMs);
    return given > 0 ? 0 : firstMs;
  }

  return {
    /** Waits for the next turn, a second at the most; else says after how many milliseconds to come again. */
    async turn(): Promise<number> {
      for (let tries = 0; tries < 20; tries++) {
        const at = performance.now();
        if ((turns[0] ?? at) < at - STALE_MS) turns = turns.filter((turn) => turn >= at - STALE_MS);
        const mine = turns.shift();
        if (mine !== undefined) {
          if (mine > at) await new Promise((resolve) => setTimeout(resolve, mine - at));
          return 0;
        }
        reserving ??= reserve().finally(() => (reserving = undefined));
        const nextMs = await reserving.catch(() => 1_000);
        if (nextMs > 0) {
          tailMs = Math.max(tailMs, performance.now() + nextMs) + gapMs;
          return tailMs - performance.now();
        }
      }
      return gapMs;
    },
  };
}

/** Rejects when `work` is not over in time: Redis may be away, and its commands wait for it without end. */
export async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("Redis does not answer in time")), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
