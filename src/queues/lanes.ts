import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.ts";

/** A lane that stands still: every call with these credentials would be in vain. */
export interface Standstill {
  lane: "rao" | "billing";
  code: string;
  /** One sentence: what stands still, and what to do. */
  reason: string;
  /** In milliseconds since the epoch. */
  sinceMs: number;
}

const Closed = z.object({ lane: z.enum(["rao", "billing"]), code: z.string(), sinceMs: z.number() });
const PROVEN = "proven";

/** What an operator must bring, in the words of `waiting.for`. */
export const BRING = { rao: "accepted RAO credentials", billing: "an accepted billing account" } as const;

const REASONS = {
  rao: "Approvals and refusals stand still: the provider rejected the RAO's credentials. Correct ONESHOT_RAO* and restart, or run: signpipe resume",
  billing:
    "Creations stand still: the provider rejected the billing account. Correct ONESHOT_BILLING_* and restart, or have it topped up and run: signpipe resume",
} as const;

export function reasonFor(lane: Standstill["lane"]): string {
  return REASONS[lane];
}

/** How a lane is, by its field in the hash of the guard. */
export type LaneState = "untried" | "proven" | Standstill;

export function toLaneState(value: string | undefined): LaneState {
  if (value === undefined) return "untried";
  if (value === PROVEN) return "proven";
  const closed = Closed.parse(JSON.parse(value));
  return { ...closed, reason: reasonFor(closed.lane) };
}

export const LANE = "lane:";

export type Lanes = ReturnType<typeof createLanes>;

/**
 * One lane for each set of credentials, named by their keyed fingerprint: other credentials are another lane, so a
 * restart with corrected ones goes on by itself.
 */
export function createLanes({ redis, keys, now = Date.now }: { redis: Redis; keys: Keys; now?: () => number }) {
  const closed = (fields: Record<string, string>) =>
    Object.entries(fields).flatMap(([field, value]) => {
      const state = field.startsWith(LANE) ? toLaneState(value) : "untried";
      return typeof state === "object" ? [{ field, state }] : [];
    });

  return {
    async close(print: string, lane: Standstill["lane"], code: string): Promise<void> {
      await redis.hset(keys.guard, LANE + print, JSON.stringify({ lane, code, sinceMs: now() }));
    },
    /** These credentials were accepted: those that were rejected before them are no longer used. */
    async prove(print: string, lane: Standstill["lane"]): Promise<void> {
      const old = closed(await redis.hgetall(keys.guard)).filter(({ state }) => state.lane === lane);
      if (old.length > 0) await redis.hdel(keys.guard, ...old.map(({ field }) => field));
      await redis.hset(keys.guard, LANE + print, PROVEN);
    },
    /** Lanes that stand still. */
    async list(): Promise<Standstill[]> {
      return closed(await redis.hgetall(keys.guard)).map(({ state }) => state);
    },
    /** Lets one call through each lane that stands still; when it is accepted, the rest follows. Those lanes. */
    async resume(): Promise<Standstill[]> {
      const lanes = closed(await redis.hgetall(keys.guard));
      if (lanes.length > 0) await redis.hdel(keys.guard, ...lanes.map(({ field }) => field));
      return lanes.map(({ state }) => state);
    },
  };
}
