import { exponential } from "../core/backoff.ts";

/** Deliveries that are under way at once: at a receiver that answers soon, at one that takes its time, at one that did not answer. */
const MOST = 10;
const MOST_SLOW = 2;
const MOST_SILENT = 1;
/** An answer that takes longer than this is a slow one. */
const SLOW_MS = 2_000;
/** For so long nothing is sent to a receiver that does not answer, longer each time. */
const rest = exponential("1s", { upTo: "1m" });
/** Those that are turned away come back one after the other, and not more often than that. */
const TURN_MS = 20;
const BUSY_MS = 250;
const SPREAD_MOST_MS = 30_000;
/** Hosts of which nothing is under way are forgotten beyond this number. */
const KNOWN_MOST = 1_000;

interface Receiver {
  underWay: number;
  most: number;
  /** How often in a row nobody answered: what was under way together counts once. */
  silences: number;
  silentAtMs: number;
  restUntilMs: number;
  /** Turned away since something was last let in. */
  turnedAway: number;
}

/** A delivery may begin: `leave` says when it is over, and whether anybody answered. Or it is to come back later. */
export type Entry = { leave: (isAnswered: boolean) => void } | { pauseMs: number };

/**
 * Who may be told now. A receiver that is slow, or does not answer at all, would otherwise hold every place, and all
 * others would wait for it. Of one process; nothing is lost when it is forgotten.
 */
export function createReceivers({ now = Date.now, random = Math.random } = {}) {
  const receivers = new Map<string, Receiver>();

  function find(host: string): Receiver {
    const known = receivers.get(host);
    if (known) return known;
    if (receivers.size >= KNOWN_MOST) forget();
    const fresh = { underWay: 0, most: MOST, silences: 0, silentAtMs: 0, restUntilMs: 0, turnedAway: 0 };
    receivers.set(host, fresh);
    return fresh;
  }

  function forget(): void {
    for (const [host, { underWay, restUntilMs }] of receivers)
      if (underWay === 0 && restUntilMs <= now()) receivers.delete(host);
  }

  return {
    /** How many hosts are kept in memory. */
    known: (): number => receivers.size,

    enter(host: string): Entry {
      const receiver = find(host);
      const restMs = receiver.restUntilMs - now();
      if (restMs > 0 || receiver.underWay >= receiver.most) {
        receiver.turnedAway += 1;
        const spreadMs = Math.min(receiver.turnedAway * TURN_MS, SPREAD_MOST_MS) * random();
        return { pauseMs: Math.ceil(Math.max(restMs, BUSY_MS) + spreadMs) };
      }
      receiver.underWay += 1;
      receiver.turnedAway = 0;
      const sinceMs = now();
      return {
        leave(isAnswered) {
          receiver.underWay -= 1;
          if (isAnswered) {
            receiver.silences = 0;
            receiver.restUntilMs = 0;
            receiver.most = now() - sinceMs > SLOW_MS ? MOST_SLOW : MOST;
            return;
          }
          receiver.most = MOST_SILENT;
          if (receiver.silences > 0 && sinceMs < receiver.silentAtMs) return;
          receiver.silences += 1;
          receiver.silentAtMs = now();
          receiver.restUntilMs = now() + rest(receiver.silences, random());
        },
      };
    },
  };
}
