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

/**
 * Passes hints on to `nudge`, each request once however often it is spoken of meanwhile, at most `perSecond` a second
 * and a few at a time, so that a flood of notifications costs the pipeline no more than that.
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
  let running = 0;
  let closed = false;
  let tokens = perSecond;
  let filledMs = now();
  let timer: NodeJS.Timeout | undefined;
  let wakers: (() => void)[] = [];

  function takeToken(): boolean {
    const at = now();
    tokens = Math.min(perSecond, tokens + (Math.max(0, at - filledMs) / 1000) * perSecond);
    filledMs = at;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  }

  function run(): void {
    while (!closed && running < MOST_AT_ONCE && waiting.size > 0) {
      if (!takeToken()) {
        timer ??= setTimeout(
          () => {
            timer = undefined;
            run();
          },
          1 + 1000 / perSecond,
        );
        return;
      }
      const [requestPk] = waiting;
      if (requestPk === undefined) return;
      // Removed before it is passed on: a hint that comes from now on speaks of something newer, and counts again.
      waiting.delete(requestPk);
      running++;
      void pass(requestPk);
    }
    if (running === 0 && waiting.size === 0) wake();
  }

  async function pass(requestPk: number): Promise<void> {
    try {
      count((await nudge(requestPk)) ? "known" : "stranger");
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
      if (waiting.has(requestPk)) {
        count("merged");
        return true;
      }
      if (waiting.size >= MOST_WAITING) {
        count("dropped");
        return false;
      }
      waiting.add(requestPk);
      // Not in this turn of the loop: the sender has its answer first.
      if (waiting.size === 1) setImmediate(run);
      return true;
    },
    settled: () =>
      closed || (running === 0 && waiting.size === 0)
        ? Promise.resolve()
        : new Promise((resolve) => {
            wakers.push(resolve);
          }),
    close() {
      closed = true;
      clearTimeout(timer);
      waiting.clear();
      wake();
    },
  };
}
