import { exponential } from "../../core/backoff.ts";
import { isFailure, RetryableError } from "../../core/errors.ts";
import type { RequestId } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import { toDiskFailure } from "../../files/durable.ts";
import type { Claim } from "./claim.ts";
import { errnoOf } from "./look.ts";

/** What a claim waits for is a matter of moments. */
const SOON = exponential("500ms", { upTo: "10s" });

/** Thrown for a claim that has to wait although the world is fine: its own place in failed/ cannot be written, say. */
export class Held extends Error {
  override readonly name = "Held";
}

interface Job {
  claim: Claim;
  tries: number;
  dueMs: number;
  isHeld: boolean;
  /** It waits for a matter of moments, and nothing is wrong with it. */
  isSoon: boolean;
}

const PAUSE = exponential("1s", { upTo: "30s" });
const HOLD = exponential("2s", { upTo: "10m" });
/** Claims that wait while the world is at fault: enough to notice that it is well again, few enough to be no matter. */
const MOST_WHILE_AT_FAULT = 32;

/**
 * Claims on their way to becoming requests. When one fails, nothing new is taken for a while: the fault is most likely
 * the world's (Redis away, disk full), and the inbox is the best place for files to wait in. Then one more is tried,
 * so that a claim with a fault of its own never keeps the others out.
 */
export function createPending({
  work,
  concurrency,
  most,
  now,
  log,
  changed,
}: {
  work: (claim: Claim) => Promise<void>;
  concurrency: number;
  /** Claims that may wait at the same time. */
  most: number;
  now: () => number;
  log: Log;
  /** Called when there is room again. */
  changed: () => void;
}) {
  /** Those that were not tried yet, in order, and those that are tried again when it is time. */
  const fresh: Job[] = [];
  const again: Job[] = [];
  const running = new Set<Promise<void>>();
  /** Of all of them. */
  const ids = new Set<RequestId>();
  let faults = 0;
  let faultSinceMs: number | undefined;
  let faultCode: string | undefined;
  let pausedUntilMs = 0;
  let pausedWhy: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  const size = () => fresh.length + again.length + running.size;

  function fault(error: unknown): void {
    // Those that were at work when it began are one fault: counted singly, the first pause would be the longest.
    if (now() >= pausedUntilMs) {
      faults += 1;
      pausedUntilMs = now() + PAUSE(faults);
    }
    const failure = toDiskFailure(error);
    pausedWhy = failure instanceof RetryableError ? failure.message : undefined;
    faultCode = codeOf(error);
    if (faultSinceMs !== undefined) return;
    faultSinceMs = now();
    log.warn({ code: faultCode }, "intake paused");
  }

  function well(): void {
    faults = 0;
    pausedUntilMs = 0;
    if (faultSinceMs === undefined) return;
    log.info({ durationMs: Math.round(now() - faultSinceMs) }, "intake resumed");
    faultSinceMs = undefined;
    pausedWhy = undefined;
    for (const job of again) if (!job.isHeld && !job.isSoon) job.dueMs = Math.min(job.dueMs, now());
  }

  async function run(job: Job): Promise<void> {
    try {
      await work(job.claim);
      ids.delete(job.claim.id);
      well();
    } catch (error) {
      const cause: unknown = error instanceof Held ? error.cause : error;
      job.tries += 1;
      job.isSoon = isFailure(error, "bundle-busy");
      job.isHeld = error instanceof Held;
      job.dueMs = now() + (job.isSoon ? SOON(job.tries) : HOLD(job.tries));
      again.push(job);
      if (job.isSoon) return;
      if (!job.isHeld) fault(error);
      else if (job.tries === 1) {
        log.error(
          { requestId: job.claim.id, code: codeOf(cause) },
          "file held: it can be neither taken nor given back",
        );
      }
    }
  }

  function kick(): void {
    if (isStopped) return;
    clearTimeout(timer);
    const at = now();
    // While the world is at fault, one at a time finds out.
    const places = faultSinceMs === undefined ? concurrency : at >= pausedUntilMs ? 1 : 0;
    while (running.size < places) {
      const due = again.findIndex(({ dueMs }) => dueMs <= at);
      const job = due < 0 ? fresh.shift() : again.splice(due, 1)[0];
      if (!job) break;
      const one: Promise<void> = run(job).finally(() => {
        running.delete(one);
        kick();
        changed();
      });
      running.add(one);
    }
    if (again.length === 0 && (fresh.length === 0 || faultSinceMs === undefined)) return;
    const dueMs = fresh.length > 0 ? 0 : Math.min(...again.map((job) => job.dueMs));
    timer = setTimeout(kick, Math.max(Math.max(dueMs, pausedUntilMs) - now(), 50));
    timer.unref();
  }

  return {
    fault,
    kick,

    /** Nothing begins before `kick`: taking many at once is faster when nothing else is done meanwhile. */
    add(claim: Claim): void {
      ids.add(claim.id);
      fresh.push({ claim, tries: 0, dueMs: now(), isHeld: false, isSoon: false });
    },

    /** Whether this claim is at work, or waits. */
    has: (id: RequestId) => ids.has(id),

    /** Forgets what waits: it is found again, by whoever looks after it next. */
    clear(): void {
      for (const { claim } of [...fresh.splice(0), ...again.splice(0)]) ids.delete(claim.id);
    },

    /** How many more may be taken now. */
    room(): number {
      if (faultSinceMs === undefined) return Math.max(most - size(), 0);
      return now() >= pausedUntilMs && size() < MOST_WHILE_AT_FAULT ? 1 : 0;
    },

    /** When taking may be tried again, in milliseconds since the epoch; 0 when it may be now. */
    pausedUntilMs: () => (faultSinceMs === undefined ? 0 : pausedUntilMs),

    figures: () => ({
      pending: size(),
      held: again.filter(({ isHeld }) => isHeld).length,
      pausedMs: faultSinceMs === undefined ? 0 : now() - faultSinceMs,
      pausedWhy,
    }),

    /** Resolves once nothing is at work. What waits for better times goes on waiting. */
    async settled(): Promise<void> {
      while (running.size > 0) await Promise.all(running);
    },

    async stop(): Promise<void> {
      isStopped = true;
      clearTimeout(timer);
      while (running.size > 0) await Promise.all(running);
    },
  };
}

export function codeOf(error: unknown): string {
  return errnoOf(toDiskFailure(error)) || "unexpected";
}
