import { isDeepStrictEqual } from "node:util";
import { DelayedError, type Job, UnrecoverableError } from "bullmq";
import { growing, lookAt } from "../core/backoff.ts";
import { isBundle } from "../core/bundle.ts";
import type { CrashPoint, EffectBoundary } from "../core/crash-point.ts";
import { toMs } from "../core/duration.ts";
import { type Failure, isFailure, type Pause, PermanentError, RetryableError, toFailure } from "../core/errors.ts";
import { Ended, SentBack, Waiting, waitFor } from "../core/outcome.ts";
import type { SignRequest } from "../core/request.ts";
import type { AnyStage, Log, Run } from "../core/stage.ts";
import { isEnd } from "../core/status.ts";
import type { OrderOf } from "../core/workflow.ts";
import type { Gate } from "./gate.ts";
import { type Groups, isHalfMade } from "./groups.ts";
import type { Handed } from "./handed.ts";
import { hold, Superseded } from "./holding.ts";
import type { Keys } from "./keys.ts";
import type { Lease } from "./lease.ts";
import { startOvertime } from "./overtime.ts";
import { type Queues, StageJob } from "./queues.ts";
import type { Change, Store } from "./store.ts";

/** How long a job waits for the gate to open before it makes room, and when it tries again. */
const GATE_WITHIN_MS = 2_000;
const GATE_AGAIN_MS = 5_000;
/** What a call did that ended too late is told for as long as this; then its intent has to do, which the journal has. */
const LATE_WITHIN_MS = 60_000;
/** Calls that were kept back together do not come back together. */
const SPREAD = 0.2;
const SPREAD_LEAST_MS = 500;
/** As long as it takes: an operator must bring something, and no request fails for it. */
const STANDSTILL_MS = 365 * 86_400_000;
const STANDSTILL_LOOK = growing("5s", { upTo: "1m" });
/** A stage that is over sooner is not marked as running: its result is one write. */
const MARK_AFTER_MS = 1_000;
/**
 * Whether a request that is at work still has its job is looked at this often, however long its stage may take: the job
 * can be lost with the newest writes of Redis, and an upload may take half an hour.
 */
const AT_WORK_LOOK_MS = 30_000;
/** An intent whose writing took longer than this may have lost its lock meanwhile: the call is not made. */
const SLOW_INTENT_MS = 2_000;

/** What an attempt needs of its process. */
export interface AttemptDeps<Tools> {
  store: Store;
  queues: Queues;
  keys: Keys;
  tools: Tools;
  log: Log;
  /** Shared by the workers of one process. */
  handed: Handed;
  gate: Pick<Gate, "epoch" | "isOpen" | "whenOpen">;
  /** For how many milliseconds no call may leave (guard.ts). */
  heldMs?: () => Promise<number>;
  groups: Groups;
  orderOf: OrderOf;
  now?: () => number;
  random?: () => number;
  crashPoint?: CrashPoint | undefined;
}

/** A wait for the outcome of a call: until it is known, the intent stays. */
class Unsettled {
  readonly wait: Waiting;
  constructor(wait: Waiting) {
    this.wait = wait;
  }
}

/** Somebody asked to end the request in the last moment before its call: the call was not made. */
class AskedToEnd extends Error {}

/** Somebody asked to end the request, and what was written has taken it on to its end: nothing is left to do here. */
class GoneOn extends Error {}

/**
 * What an attempt gives at whose end the request was elsewhere, and what one gives that a document may have taken back: it
 * may have come back to this stage meanwhile.
 */
export const PASSED_BY = "passed by";

/** One attempt of one stage for one request. The only place where a stage meets the queue. */
export async function runAttempt<Tools extends object>({
  stage,
  job,
  token,
  stopping,
  lost,
  lease,
  deps,
}: {
  stage: AnyStage<Tools>;
  job: Job<StageJob>;
  token: string;
  stopping: AbortSignal;
  lost: AbortSignal | undefined;
  lease: Lease;
  deps: AttemptDeps<Tools>;
}): Promise<typeof PASSED_BY | undefined> {
  const { store, queues, keys, tools, log, groups, orderOf, handed, gate, crashPoint } = deps;
  const { now = Date.now, random = Math.random } = deps;
  const { requestId } = StageJob.parse(job.data);
  const timeoutMs = toMs(stage.timeout);
  const atWorkMs = Math.min(timeoutMs, AT_WORK_LOOK_MS);
  const startedMs = performance.now();

  if (!gate.isOpen() && !(await gate.whenOpen(GATE_WITHIN_MS))) {
    await job.moveToDelayed(now() + GATE_AGAIN_MS, token);
    throw new DelayedError();
  }
  const epoch = gate.epoch();
  const heldMs = (await deps.heldMs?.()) ?? 0;
  if (heldMs > 0) {
    // The record is left as it is: that calls pause is no matter of this request's.
    const lookMs = now() + spread(heldMs, random);
    await store.park(requestId, lookMs);
    await job.moveToDelayed(lookMs, token);
    throw new DelayedError();
  }
  if (crashPoint) await crashPoint(`${stage.name}:taken`, requestId);

  // A job that was taken up before is read anew: whoever had it may have begun a call since it was handed on here.
  const kept = job.attemptsStarted > 1 ? undefined : handed.take(requestId, stage.name, job.timestamp);
  const found = kept ?? (await store.begin(requestId, stage.name, atWorkMs));
  if (!found || isEnd(found.request.phase)) return undefined;
  if (found.request.stage !== stage.name) {
    // Delivered again after a crash between the record and the next job: hand on, do not repeat.
    if (found.request.phase === "queued") await queues.add(found.request.stage, requestId);
    return PASSED_BY;
  }
  const order = orderOf(found.request.workflow);
  const isLast = stage.name === order.at(-1);
  const holding = hold(found, { store, stage: stage.name, isLast, stopping });
  const { write, onceThereIsRoom, orphaned } = holding;
  const request = () => holding.held().request;
  const seenNudgeMs = found.nudgedMs;

  /** An earlier call whose outcome is being asked for: not even a call that surely failed meanwhile settles it. */
  let unsettled: SignRequest["intent"];
  /** An earlier call of the kind that this attempt makes, which may have worked: one that surely failed does not undo it. */
  let standing: SignRequest["intent"];
  /** What an earlier call did is known, and was taken back. */
  let isUndone = false;
  /** The costly call that this attempt has made. */
  let made: string | undefined;
  /** The costly call that has left in this attempt, and may have worked. */
  let left: string | undefined;
  const mark = setTimeout(() => {
    if (request().phase === "queued") write({ event: "start", lookMs: now() + atWorkMs }).catch(() => {});
  }, MARK_AFTER_MS);

  const overtime = startOvertime(timeoutMs);
  const outcome = await attempt()
    .catch((error: unknown) => error)
    .finally(() => {
      clearTimeout(mark);
      overtime.end();
    });
  try {
    await conclude();
  } catch (error) {
    if (error instanceof Superseded || isFailure(error, "lost-lease")) await tellLate();
    if (!(error instanceof Superseded)) throw error;
    return PASSED_BY;
  }
  return isBundle(request()) ? PASSED_BY : undefined;

  async function conclude(): Promise<void> {
    if (outcome instanceof Superseded) throw outcome;
    if (outcome instanceof Unsettled) return await park(outcome.wait, request().intent);
    if (outcome instanceof Waiting) return await park(outcome, undefined);
    if (outcome instanceof Ended) return await end(outcome);
    if (outcome instanceof SentBack) return await sendBack(outcome);
    if (outcome instanceof AskedToEnd) return await endAsAsked();
    if (outcome instanceof GoneOn) return await handOn();
    if (outcome instanceof Error) return await failed(toFailure(outcome));
    return await succeed(outcome as Record<string, unknown>);
  }

  /** The request went on without this attempt: what its call may have done meanwhile is said to whoever has it now. */
  async function tellLate(): Promise<void> {
    if (left === undefined || !stage.late) return;
    const { late } = stage;
    const { facts } = request();
    // A Redis that came back without its last writes has forgotten what this would be added to.
    if (!gate.isOpen() && !(await gate.whenOpen(LATE_WITHIN_MS))) return;
    const told = await store
      .change(requestId, (current): Change => {
        const found = isEnd(current.phase) ? undefined : late(current, facts, now());
        if (!found) throw new Superseded();
        return { event: "note", patch: { facts: found }, note: `late-${left}`, nudge: true, durable: true };
      })
      .catch((error: unknown) => {
        if (!(error instanceof Superseded)) throw error;
      });
    log.warn({ requestId, stage: stage.name, code: `late-${left}` }, "a call ended after its request was taken over");
    if (told) await queues.promote(told.stage, requestId);
  }

  async function attempt(): Promise<Unsettled | Waiting | Ended | SentBack | Record<string, unknown>> {
    if (isHalfMade(request())) await completeGroup();
    const needs = stage.needs.safeParse(request().facts);
    if (!needs.success) {
      const missing = needs.error.issues.map((issue) => issue.path.join(".")).join(", ");
      throw new PermanentError(`${stage.name} cannot start: ${missing} is missing`, { code: "facts-missing" });
    }
    const signals = [stopping, overtime.signal, ...(lost ? [lost] : [])];
    const run: Run<Tools, Record<string, unknown>> = {
      ...tools,
      requestId,
      request: request(),
      facts: needs.data,
      attempt: request().attempt,
      ending: request().ending,
      signal: AbortSignal.any(signals),
      isOurs,
      log,
      now,
      effect,
    };
    const { intent } = request();
    if (intent && typeof stage.afterSilence === "function") {
      unsettled = intent;
      const settled = await stage.afterSilence(run, intent);
      if (settled instanceof Waiting) return new Unsettled(settled);
      if (settled instanceof Ended) return settled;
      unsettled = undefined;
      if (settled === "undone") isUndone = true;
      else if (settled !== "repeat") return stage.gives.parse(settled);
    }
    const { ending, failure } = request();
    if (ending && !isLast) return new Ended(ending, failure?.code ?? ending, "ended before this stage");
    const result = await stage.run(run);
    if (result instanceof Waiting || result instanceof Ended || result instanceof SentBack) return result;
    return stage.gives.parse(result);
  }

  /** No request of a group goes on, and be it to its end, before all are there: they are made from the first. */
  async function completeGroup(): Promise<void> {
    const first = request();
    await groups.complete(first, () => {
      if (!gate.isOpen() || gate.epoch() !== epoch) throw lostRedis();
    });
    await write({ event: "note", patch: { facts: { rest: null } }, note: "group is whole" });
    await groups.tidy(first).catch(() => {}); // what stays goes with the folder
    if (request().stage !== stage.name) throw new GoneOn();
  }

  function isOurs(): boolean {
    return !lease.isOver() && !lost?.aborted;
  }

  async function effect<T>(name: string, call: () => Promise<T>, grounds: Record<string, unknown> = {}): Promise<T> {
    await reach("before-intent", name);
    const before = performance.now();
    const begun = (request().facts["begun"] ?? {}) as Record<string, number>;
    const earlier = request().intent?.effect === name && !isUndone ? request().intent : undefined;
    const intent = { effect: name, atMs: now(), firstMs: earlier?.firstMs ?? now(), tries: (earlier?.tries ?? 0) + 1 };
    standing = earlier;
    const announcement: Change = {
      event: "intend",
      patch: { intent, facts: { ...grounds, begun: { ...begun, [name]: (begun[name] ?? 0) + 1 } } },
      lookMs: now() + atWorkMs,
      note: name,
      fence: { lockKey: `${keys.queues}:${stage.name}:${job.id}:lock`, token },
    };
    await holding.announce(announcement, intent);
    await reach("in-journal", name);
    if (request().ending && !isLast) throw new AskedToEnd();
    if (gate.epoch() !== epoch || !gate.isOpen()) {
      // The Redis that took the intent may be another one than the one that was asked before.
      throw lostRedis();
    }
    if (performance.now() - before > SLOW_INTENT_MS) {
      throw new RetryableError("Redis took too long to record that the call is about to be made", {
        code: "slow-intent",
      });
    }
    if (!isOurs()) {
      throw new RetryableError("Another worker may have this request: the call is not made", { code: "lost-lease" });
    }
    left = name;
    const result = await call().catch((error: unknown) => {
      if (toFailure(error).effect === "none") left = undefined;
      throw error;
    });
    made = name;
    await reach("called", name);
    return result;
  }

  async function reach(boundary: EffectBoundary, effect = made): Promise<void> {
    if (crashPoint && effect !== undefined) await crashPoint(`${effect}:${boundary}`, requestId);
  }

  async function succeed(facts: Record<string, unknown>): Promise<void> {
    const patch = { facts, intent: null, waiting: null, failure: null };
    // The last stage deletes at the provider what the one before it has made safe here.
    // A person who looks for the request at the provider needs its number, also once there is another one.
    const opened = facts["requestPk"];
    const note = typeof opened === "number" ? { note: `request_pk ${opened}` } : {};
    await write({ event: "succeed", patch, durable: order[order.indexOf(stage.name) + 1] === order.at(-1), ...note });
    await handOn();
    const durationMs = Math.round(performance.now() - startedMs);
    log.info({ requestId, stage: stage.name, attempt: request().attempt + 1, durationMs }, "stage done");
  }

  async function handOn(): Promise<void> {
    await reach("recorded");
    if (request().phase === "queued") {
      const addedMs = now();
      handed.keep(holding.held(), addedMs);
      await onceThereIsRoom(() => queues.add(request().stage, requestId, addedMs));
    }
    await reach("handed-on");
  }

  async function sendBack({ to, code, message, facts, note = code }: SentBack): Promise<void> {
    const failure = { code, message, stage: stage.name };
    // Whoever is sent back from the last stage is not to end as it was to: there is more to do first.
    const patch = { failure, intent: null, waiting: null, ...(isLast && { ending: null }), ...(facts && { facts }) };
    await write({ event: "requeue", to, patch, note });
    await handOn();
    log.warn({ requestId, stage: stage.name, code, to }, "request was sent back");
  }

  async function end({ ending, code, message }: Ended): Promise<void> {
    const failure = { code, message, stage: stage.name };
    await write({ event: "end", patch: { ending, failure, waiting: null, ...orphaned() }, note: code });
    await handOn();
    log.info({ requestId, stage: stage.name, code, ending }, "request is ending");
  }

  async function endAsAsked(): Promise<void> {
    const { ending = "cancelled" } = request();
    await end(new Ended(ending, ending, "ended before its call"));
  }

  async function failed(failure: Failure): Promise<void> {
    const { code, message } = failure;
    const cause = { requestId, stage: stage.name, attempt: request().attempt + 1, code, reason: message };
    if (stopping.aborted) {
      // Not the request's fault: it goes back as it is, and what may have been done is settled by the next worker.
      await write({ event: "retry", lookMs: now() });
      await job.moveToDelayed(now(), token);
      throw new DelayedError();
    }
    if (failure.kind === "retryable" && failure.pause) return await stepAside(failure, failure.pause);
    const attempt = request().attempt + 1;
    const intent = failure.effect === "unknown" ? {} : { intent: unsettled ?? standing ?? null };
    if (failure.kind === "retryable" && attempt < stage.attempts) {
      const delayMs = retryDelayMs(stage, attempt, failure, random);
      log.warn({ ...cause, delayMs }, "stage will be retried");
      await write({
        event: "retry",
        patch: { attempt, failure: { code, message, stage: stage.name }, ...intent },
        lookMs: now() + delayMs,
        note: code,
      });
      if (request().stage !== stage.name) return await handOn(); // somebody asked to end it meanwhile
      throw Object.assign(new Error(code), { delayMs });
    }
    const whole = { code, message, stage: stage.name };
    if (isLast) {
      // Of what was to end otherwise the end says nothing of this: it is told apart, until somebody has it cleaned up.
      const givenUp = request().ending && { facts: { cleanupFailed: { code, message, atMs: now() } } };
      log.error(cause, "cleanup was given up");
      await write({ event: "abandon", patch: { failure: whole, intent: null, ...givenUp }, note: code });
    } else {
      log.warn(cause, "stage failed");
      await write({
        event: "end",
        patch: { ending: "failed", failure: whole, waiting: null, ...orphaned() },
        note: code,
      });
      await handOn();
    }
    throw new UnrecoverableError(code);
  }

  /** Calls stand still: the request waits with the rest, and the attempt does not count. */
  async function stepAside({ code, message, retryAfterMs = 1_000 }: RetryableError, { until }: Pause): Promise<void> {
    if (until !== undefined) {
      const wait = waitFor(until, { whose: "operator", poll: STANDSTILL_LOOK, within: STANDSTILL_MS, detail: message });
      return await park(wait, unsettled ?? standing);
    }
    const lookMs = now() + spread(retryAfterMs, random);
    const isUntouched = request().phase === "waiting" && !request().intent;
    if (isUntouched) await store.park(requestId, lookMs);
    else if (code !== "redis-full") {
      const failure = { code, message, stage: stage.name };
      await write({ event: "retry", patch: { failure, intent: unsettled ?? standing ?? null }, lookMs, note: code });
      if (request().stage !== stage.name) return await handOn(); // somebody asked to end it meanwhile
    }
    await job.moveToDelayed(lookMs, token);
    throw new DelayedError();
  }

  /** `open` is the call whose outcome is waited for; any other is settled by now. */
  async function park(wait: Waiting, open: SignRequest["intent"]): Promise<void> {
    const { ending, waiting } = request();
    if (ending && !isLast) return await end(new Ended(ending, ending, "ended while it waited"));
    const atMs = now();
    // Still the same wait after a failed look; the outcome of another call is another wait.
    const same = waiting?.for === wait.what && (open === undefined || waiting.sinceMs >= open.atMs);
    const sinceMs = same ? waiting.sinceMs : atMs;
    const untilMs = sinceMs + wait.withinMs;
    if (untilMs <= atMs) {
      const code = `${wait.what.replaceAll(/[^a-z0-9]+/gi, "-")}-expired`;
      if (isLast) return await failed(new PermanentError(`Waited too long for ${wait.what}`, { code }));
      return await end(new Ended(wait.expires, code, `The ${wait.what} did not come in time`));
    }
    const quietMs = atMs - Math.max(sinceMs, holding.held().nudgedMs);
    const lookMs = Math.min(lookAt(atMs, wait.pollMs(quietMs)), untilMs);
    const shown = waiting?.detail === wait.detail && isKnown(wait.facts, request().facts);
    const settled = !open && request().intent !== undefined;
    if (!same || !shown || settled || request().phase !== "waiting") {
      await write({
        event: "wait",
        patch: {
          attempt: 0,
          waiting: { for: wait.what, whose: wait.whose, ...(wait.detail && { detail: wait.detail }), sinceMs, untilMs },
          failure: null,
          ...(!open && { intent: null }),
          ...(wait.facts && { facts: wait.facts }),
        },
        lookMs,
        note: wait.note ?? wait.what,
      });
      if (request().stage !== stage.name) return await handOn(); // somebody asked to end it meanwhile
    }
    await job.moveToDelayed(lookMs, token);
    // A nudge between our look and the parking found no parked job; one of the two sides always sees the other.
    const nudgedMs = await store.park(requestId, lookMs);
    if (nudgedMs > seenNudgeMs) await queues.promote(stage.name, requestId);
    throw new DelayedError();
  }
}

function lostRedis(): RetryableError {
  return new RetryableError("The connection to Redis was lost before the call", { code: "redis-away" });
}

function isKnown(news: Record<string, unknown> = {}, known: Record<string, unknown>): boolean {
  return Object.entries(news).every(([name, value]) => isDeepStrictEqual(value ?? undefined, known[name]));
}

function spread(ms: number, random: () => number): number {
  return Math.round(ms + random() * Math.max(ms * SPREAD, SPREAD_LEAST_MS));
}

/** How long to wait before retry `n`, as the failure, the provider or the stage wishes. */
export function retryDelayMs(stage: AnyStage, n: number, error: unknown, random: () => number): number {
  if (error instanceof Error && "delayMs" in error && typeof error.delayMs === "number") return error.delayMs;
  const wishMs = error instanceof RetryableError ? (error.retryAfterMs ?? 0) : 0;
  return Math.max(wishMs, stage.backoff(n, random()));
}
