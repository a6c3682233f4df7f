import { type Duration, toMs } from "./duration.ts";

/** Milliseconds to wait before retry `n` (1 is the first retry). `random` is in [0, 1) and spreads retries out. */
export type Backoff = (n: number, random?: number) => number;

/**
 * `first`, then twice as long each time, never more than `upTo`; each wait is spread over its upper half, so that a
 * thousand requests that failed together do not come back together.
 */
export function exponential(first: Duration, { upTo }: { upTo: Duration }): Backoff {
  const firstMs = toMs(first);
  const upToMs = toMs(upTo);
  return (n, random = 1) => {
    const fullMs = Math.min(firstMs * 2 ** Math.min(n - 1, 40), upToMs);
    return Math.round(fullMs * (0.5 + 0.5 * random));
  };
}

/**
 * How long a wait pauses between two looks: a tenth of the time since anything was heard, within the two bounds.
 * A number is in milliseconds. It needs no counter, and a wait that lasts a week costs a few hundred looks.
 */
export function growing(least: Duration, { upTo }: { upTo: Duration | number }): (quietMs: number) => number {
  const leastMs = toMs(least);
  const upToMs = typeof upTo === "number" ? upTo : toMs(upTo);
  return (quietMs) => Math.min(Math.max(quietMs / 10, leastMs), upToMs);
}

/** A pause shorter than this is kept to the millisecond. */
const EXACT_MS = 60_000;
const MEETING_MS = 2_000;

/**
 * When a look that is to come after `pauseMs` takes place. Looks after long pauses are put off, by two seconds at the
 * most, to times that all of them have in common: one waking of a worker then serves all that are due, where each on
 * its own would cost several times as much.
 */
export function lookAt(atMs: number, pauseMs: number): number {
  const dueMs = atMs + pauseMs;
  return pauseMs < EXACT_MS ? dueMs : Math.ceil(dueMs / MEETING_MS) * MEETING_MS;
}
