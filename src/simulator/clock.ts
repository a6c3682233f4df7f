/**
 * The simulator's time of day, in milliseconds. It may be moved forward; then whatever falls due in between happens,
 * in its order.
 */
export type Clock = {
  now: () => number;
  /** How far it is ahead of the machine's. */
  aheadMs: () => number;
  advance: (ms: number) => void;
  /** Does the work when this much time of this clock has passed. */
  later: (ms: number, work: () => void) => void;
  /** Forgets what has not fallen due. */
  close: () => void;
};

type Due = { atMs: number; work: () => void; timer?: NodeJS.Timeout };

/** Timers of the machine are no longer than this; a later one is set again. */
const LONGEST_MS = 2 ** 31 - 1;

/** A clock that is this far ahead. */
export function createClock(aheadMs = 0): Clock {
  let offsetMs = aheadMs;
  let closed = false;
  const waiting = new Set<Due>();
  const now = (): number => Date.now() + offsetMs;

  const set = (due: Due): void => {
    clearTimeout(due.timer);
    due.timer = setTimeout(() => fire(due), Math.min(Math.max(due.atMs - now(), 0), LONGEST_MS));
  };
  const fire = (due: Due): void => {
    if (due.atMs > now()) return set(due);
    clearTimeout(due.timer);
    waiting.delete(due);
    due.work();
  };
  return {
    now,
    aheadMs: () => offsetMs,
    advance(ms) {
      offsetMs += ms;
      // What is done may bring more that is due.
      for (;;) {
        const next = [...waiting].filter(({ atMs }) => atMs <= now()).sort((a, b) => a.atMs - b.atMs)[0];
        if (!next) break;
        fire(next);
      }
      for (const due of waiting) set(due);
    },
    later(ms, work) {
      if (closed) return;
      const due: Due = { atMs: now() + ms, work };
      waiting.add(due);
      set(due);
    },
    close() {
      closed = true;
      for (const { timer } of waiting) clearTimeout(timer);
      waiting.clear();
    },
  };
}
