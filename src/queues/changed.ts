import type { Redis } from "ioredis";

const TAKE_AT_ONCE = 200;

/**
 * Deals with requests that changed, as noted in the set `noted`. A note is put aside before it is dealt with and goes
 * after it: neither a crash nor a change that comes in between is lost. `deal` may be called twice for one change.
 */
export async function takeNoted(redis: Redis, noted: string, deal: (id: string) => Promise<void>): Promise<void> {
  const aside = `${noted}:taken`;
  const ids = await redis.srandmember(noted, TAKE_AT_ONCE);
  for (const id of ids) await redis.smove(noted, aside, id);
  const left = await redis.srandmember(aside, TAKE_AT_ONCE);
  for (const id of new Set([...ids, ...left])) {
    await deal(id);
    await redis.srem(aside, id);
  }
}

/** Does something every `everyMs`, one round after the other. What fails is done again in the next round. */
export function inRounds(act: () => Promise<void>, everyMs: number): { stop(): Promise<void> } {
  let acting: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    acting = acting.then(act).catch(() => {});
  }, everyMs);
  return {
    stop() {
      clearInterval(timer);
      return acting;
    },
  };
}
