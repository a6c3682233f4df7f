import { createBucket } from "../../core/bucket.ts";
import type { Log } from "../../core/stage.ts";

/** What became of a hint; counted for /metrics. */
export const HINT_OUTCOMES = ["known", "stranger", "merged", "dropped", "failed"] as const;
export type HintOutcome = (typeof HINT_OUTCOMES)[number];

/** Hints that a request may have changed at the provider, between the door and the pipeline. */
export interface Hints {
  /** Takes a hint. False when there are too many already: the poll will see what this one would have told. */
  add(requestPk: number): boolean;
  /** Resolves when nothing is left to pass on. */
  settled(): Promise<void>;
  close(): void;
}

/** How many different requests may wait to be looked at. */
const MOST_WAITING = 2_000;
const MOST_AT_ONCE = 4;
/** A request has four events of its own in its life; who speaks of it more often within this time makes noise. */
const EVENTS = 4;
const NOISY_FOR_MS = 10 * 60_000;
/** Each hint about a request of ours is a call to the provider: noise may cost this many a second, of all together. */
const NOISE_PER_SECOND = 5;
/** Requests whose hints are counted. */
const MOST_COUNTED = 10_000;

/**
 * Passes hints on to `nudge`, each request once however often it is spoken of meanwhile, at most `perSecond` a second
 * and a few at a time, so that a flood of notifications costs the pipeline no more than that. Hints about a request
 * that has had its share already come after all others, and a few a second at the most.
 */
export function createHints({
  nudge,
  count,
  log,
  perSecond = 200,
  now = Date.now,
}: {
  nudge: (requestPk: number) => Promise<boolean>;
  count: (outcome: HintOutcome) => void;
  log: Log;
  perSecond?: number;
  now?: () => number;
}): Hints {
  const waiting = new Set<number>();
  const noise = new Set<number>();
  const counted = new Map<number, { hints: number; sinceMs: number }>();
  const tokens = createBucket(perSecond, now);
  const noiseTokens = createBucket(NOISE_PER_SECOND, now);
  let running = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let wakers: (() => void)[] = [];

  function isNoise(requestPk: number): boolean {
    const share = counted.get(requestPk);
    return share !== undefined && share.hints >= EVENTS && now() - share.sinceMs < NOISY_FOR_MS;
  }

  function countHint(requestPk: number): void {
    const share = counted.get(requestPk);
    const isCurrent = share !== undefined && now() - share.sinceMs < NOISY_FOR_MS;
    counted.delete(requestPk);
    counted.set(requestPk, isCurrent ? { ...share, hints: share.hints + 1 } : { hints: 1, sinceMs: now() });
    const [oldest] = counted.size > MOST_COUNTED ? counted.keys() : [];
    if (oldest !== undefined) counted.delete(oldest);
  }

  /** The next hint that may go on now. Removed before it is passed on: one that comes from now on counts again. */
  function next(): number | undefined {
    const from = waiting.size > 0 && tokens.take() ? waiting : noise.size > 0 && noiseTokens.take() ? noise : undefined;
    const [requestPk] = from ?? [];
    if (requestPk !== undefined) from?.delete(requestPk);
    return requestPk;
  }

  function run(): void {
    while (!closed && running < MOST_AT_ONCE && waiting.size + noise.size > 0) {
      const requestPk = next();
      if (requestPk === undefined) {
        const wait = 1 + 1000 / (waiting.size > 0 ? perSecond : NOISE_PER_SECOND);
        timer ??= setTimeout(() => {
          timer = undefined;
          run();
        }, wait);
        return;
      }
      running++;
      void pass(requestPk);
    }
    if (running === 0 && waiting.size + noise.size === 0) wake();
  }

  async function pass(requestPk: number): Promise<void> {
    try {
      const isKnown = await nudge(requestPk);
      if (isKnown) countHint(requestPk);
      count(isKnown ? "known" : "stranger");
    } catch (error) {
      count("failed");
      log.warn({ err: error }, "hint not passed on");
    } finally {
      running--;
      run();
    }
  }

  function wake(): void {
    for (const waker of wakers) waker();
    wakers = [];
  }

  return {
    add(requestPk) {
      if (closed) return false;
      if (waiting.has(requestPk) || noise.has(requestPk)) {
        count("merged");
        return true;
      }
      if (waiting.size + noise.size >= MOST_WAITING) {
        count("dropped");
        return false;
      }
      (isNoise(requestPk) ? noise : waiting).add(requestPk);
      // Not in this turn of the loop: the sender has its answer first.
      if (waiting.size + noise.size === 1 || timer) setImmediate(run);
      return true;
    },
    settled: () =>
      closed || (running === 0 && waiting.size + noise.size === 0)
        ? Promise.resolve()
        : new Promise((resolve) => {
            wakers.push(resolve);
          }),
    close() {
      closed = true;
      clearTimeout(timer);
      waiting.clear();
      noise.clear();
      wake();
    },
  };
}
