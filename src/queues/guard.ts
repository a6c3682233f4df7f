import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { type Failure, RetryableError } from "../core/errors.ts";
import type { Log } from "../core/stage.ts";
import type { Keys } from "./keys.ts";
import { type Breaker, BRING, createLanes, type Lane, type LaneState, reasonFor, toLanes, toPauses } from "./lanes.ts";
import { createPace, within } from "./pace.ts";

/** How old the view of what all processes know may be. */
const VIEW_MS = 1_000;
/** Redis is not waited for longer than this: a costly call's intent is written by then. */
const ANSWER_MS = 500;
/** The breaker opens after this many faults among the last calls, when they are at least half of these. */
const FAULTS = 5;
const REMEMBERED = 20;
const REMEMBERED_MS = 5 * 60_000;
const OPEN_MS = { first: 5_000, most: 5 * 60_000 };
/** After this long without trouble an outage is a new one, and the breaker begins with its first pause. */
const QUIET_MS = 10 * 60_000;
const PROBE_MS = 20_000;
/** As long as the provider may ask for (Retry-After). */
const BUSY_MOST_MS = 15 * 60_000;
/** A call that tries credentials holds its lease for as long as its process lives, and this long after that. */
const TRIAL_MS = 4_000;
const TRIAL_WAIT_MS = 1_000;
const TRIAL_AGAIN_MS = 2_000;
/** That credentials are accepted is told no more often than this. */
const ACCEPTED_AGAIN_MS = 10_000;

const REJECTED = { rao: "rao-rejected", billing: "billing-rejected" } as const;

/** What calls look like from here; the provider layer has the same in its own words. */
interface Credentials {
  lane: Lane;
  secrets: readonly string[];
}
interface Leaving {
  credentials?: Credentials | readonly Credentials[] | undefined;
}
type Heard =
  | { kind: "answer"; failure?: Failure }
  | { kind: "fault" }
  | { kind: "busy"; waitMs: number; failure: Failure }
  | { kind: "nothing" };

interface View {
  breaker: Breaker;
  busyUntilMs: number;
  lanes: Map<string, LaneState>;
}

interface Scripts {
  signpipeTrip(...args: (string | number)[]): Promise<number>;
}

export type Guard = ReturnType<typeof createGuard>;

/**
 * What all processes know about calling the provider: a breaker for when it is away, the pause it asked for, credentials
 * it rejected, and a pace. It is kept in Redis and read once a second at the most; no call costs a command of its own,
 * beyond a share of the pace's.
 *
 * An open breaker is closed by a probe, a call without any effect, and never by somebody's signature.
 */
export function createGuard({
  redis,
  keys,
  print,
  owners = new Map(),
  probe,
  perSecond = 0,
  openMs = OPEN_MS,
  log,
  now = Date.now,
  random = Math.random,
}: {
  redis: Redis;
  keys: Keys;
  /** Keyed fingerprint of credentials. */
  print: (parts: string[]) => string;
  /** Whose credentials there are, by their fingerprint; empty for our own. */
  owners?: ReadonlyMap<string, string>;
  /** Whether the provider answers, by a call without effect. */
  probe: () => Promise<boolean>;
  /** Calls a second, of all processes together; 0 for no bound. */
  perSecond?: number;
  openMs?: { first: number; most: number };
  log: Log;
  now?: () => number;
  random?: () => number;
}) {
  redis.defineCommand("signpipeTrip", {
    numberOfKeys: 1,
    lua: readFileSync(new URL("./scripts/trip.lua", import.meta.url), "utf8"),
  });
  const scripts = redis as unknown as Scripts;
  const lanes = createLanes({ redis, keys, now });
  const pace = perSecond > 0 ? createPace({ redis, keys, perSecond }) : undefined;
  let view = toView({}, now());
  /** Lanes that were closed here a moment ago. */
  const closed = new Map<string, LaneState & object>();
  /** When Redis was last told that credentials were accepted. */
  const acceptedMs = new Map<string, number>();
  let lookedMs = -Infinity;
  let looking: Promise<void> | undefined;
  let recent: { atMs: number; isFault: boolean }[] = [];
  /** The lanes that a call tries, each with what ends its trial. */
  const trials = new WeakMap<Leaving, Map<string, () => void>>();
  const tried = new Map<string, Promise<void>>();
  let alarm: NodeJS.Timeout | undefined;
  let isProbing = false;
  let isClosed = false;

  async function read(): Promise<void> {
    const askedMs = now();
    view = toView(await redis.hgetall(keys.guard), now());
    // What was closed here since Redis was asked, it may not have known yet.
    for (const [name, state] of closed) {
      if (state.sinceMs < askedMs) closed.delete(name);
      else view.lanes.set(name, state);
    }
    if (view.breaker.isOpen) arm(view.breaker.untilMs - now() + random() * 250);
  }

  /** The view, renewed when it is old. When Redis does not answer, the last one holds. */
  async function look({ anew = false } = {}): Promise<View> {
    const agoMs = now() - lookedMs;
    // Who comes while it is being renewed waits as well: the view that is there may be of yesterday.
    const isRenewed = looking !== undefined && agoMs < ANSWER_MS;
    if (!anew && agoMs < VIEW_MS && !isRenewed) return view;
    if (!isRenewed) lookedMs = now();
    looking ??= read().finally(() => (looking = undefined));
    await within(looking, ANSWER_MS).catch(() => {});
    return view;
  }

  function arm(inMs: number): void {
    if (alarm || isProbing || isClosed) return;
    const soonMs = Math.min(Math.max(inMs, 50), openMs.most * 2);
    alarm = setTimeout(() => {
      alarm = undefined;
      void tryProbe();
    }, soonMs);
    alarm.unref();
  }

  /** One process at a time asks whether the provider is back. */
  async function tryProbe(): Promise<void> {
    isProbing = true;
    try {
      const { breaker } = await look({ anew: true });
      const isDue = breaker.isOpen && breaker.untilMs <= now();
      if (isDue && (await within(redis.set(keys.probe, "1", "PX", PROBE_MS, "NX"), ANSWER_MS)) === "OK") {
        await settle(breaker, await probe().catch(() => false));
      }
    } catch {
      // Redis is away: again later.
    }
    isProbing = false;
    await look({ anew: true });
    if (view.breaker.isOpen) arm(Math.max(view.breaker.untilMs - now(), VIEW_MS / 4));
  }

  async function settle({ trips, sinceMs }: Breaker, isBack: boolean): Promise<void> {
    if (isBack) {
      await within(redis.hset(keys.guard, "breaker", `closed|${now()}|${trips}|${sinceMs}`), ANSWER_MS);
      log.info({ durationMs: now() - sinceMs }, "provider answers again");
    } else await trip();
    await within(redis.del(keys.probe), ANSWER_MS);
  }

  async function trip(): Promise<void> {
    const { first, most } = openMs;
    const opened = await within(
      scripts.signpipeTrip(keys.guard, now(), first, most, random(), QUIET_MS),
      ANSWER_MS,
    ).catch(() => 0);
    await look({ anew: true });
    if (opened !== 1) return;
    const pauseMs = Math.max(view.breaker.untilMs - now(), 0);
    log.warn({ code: "provider-paused", pauseMs, times: view.breaker.trips }, "provider does not answer: calls pause");
  }

  async function note(isFault: boolean): Promise<void> {
    const atMs = now();
    recent = [...recent.filter((one) => atMs - one.atMs < REMEMBERED_MS).slice(1 - REMEMBERED), { atMs, isFault }];
    const faults = recent.filter((one) => one.isFault).length;
    if (!isFault || faults < FAULTS || faults * 2 < recent.length) return;
    recent = [];
    await trip();
  }

  function heldIn({ breaker, busyUntilMs }: View): number {
    const at = now();
    const openForMs = breaker.isOpen ? Math.max(Math.min(breaker.untilMs - at, openMs.most * 1.25), VIEW_MS) : 0;
    return Math.max(openForMs, Math.min(busyUntilMs - at, BUSY_MOST_MS), 0);
  }

  function paused(retryAfterMs: number, why: string): RetryableError {
    return new RetryableError(why, { code: "provider-paused", retryAfterMs, pause: {} });
  }

  function standstill({ lane, code, reason }: LaneState & object): RetryableError {
    return new RetryableError(reason, { code, pause: { until: BRING[lane] } });
  }

  function nameOf({ lane, secrets }: Credentials): string {
    return print([lane, ...secrets]);
  }

  async function admitLanes(leaving: Leaving): Promise<void> {
    const carried = carriedBy(leaving);
    if (carried.length === 0) return;
    await look();
    // Where one of them stands still, another is not tried for nothing.
    throwClosed(leaving);
    try {
      for (const credentials of carried) await admitLane(leaving, credentials);
    } catch (error) {
      await endTrials(leaving);
      throw error;
    }
  }

  /** Throws for credentials that were rejected. What the call itself tries leaves in any case: nobody else does. */
  function throwClosed(leaving: Leaving): void {
    for (const credentials of carriedBy(leaving)) {
      const name = nameOf(credentials);
      const state = view.lanes.get(name);
      if (typeof state === "object" && !isTrying(leaving, name)) throw standstill(state);
    }
  }

  /** Lets a call with untried credentials leave alone: were they wrong, a thousand at once could lock the account. */
  async function admitLane(leaving: Leaving, { lane, secrets }: Credentials): Promise<void> {
    const name = nameOf({ lane, secrets });
    const lateMs = now() + TRIAL_WAIT_MS;
    for (;;) {
      const state = (await look()).lanes.get(name);
      if (state === "proven") return;
      if (typeof state === "object") throw standstill(state);
      const other = tried.get(name);
      if (
        !other &&
        (await within(redis.set(keys.trial(name), "1", "PX", TRIAL_MS, "NX"), ANSWER_MS).catch(() => null))
      ) {
        beginTrial(leaving, name);
        // Another process's trial may have ended since the view was taken: what it found holds for this call too.
        if (await isUntried(name)) return;
        await endTrial(leaving, name);
        continue;
      }
      if (!other || now() >= lateMs) throw paused(TRIAL_AGAIN_MS, "Another call tries the provider's account first");
      await within(other, Math.max(lateMs - now(), 1)).catch(() => {});
    }
  }

  async function isUntried(name: string): Promise<boolean> {
    // A look that is under way may have been begun before the trial was ours.
    if (looking) await within(looking, ANSWER_MS).catch(() => {});
    const state = (await look({ anew: true })).lanes.get(name);
    return state === undefined || state === "untried";
  }

  function beginTrial(leaving: Leaving, name: string): void {
    const renewal = setInterval(() => {
      redis.set(keys.trial(name), "1", "PX", TRIAL_MS).catch(() => {});
    }, TRIAL_MS / 3);
    renewal.unref();
    const mine = trials.get(leaving) ?? new Map<string, () => void>();
    trials.set(leaving, mine);
    tried.set(
      name,
      new Promise((resolve) => {
        mine.set(name, () => {
          clearInterval(renewal);
          resolve();
        });
      }),
    );
  }

  function isTrying(leaving: Leaving, name: string): boolean {
    return trials.get(leaving)?.has(name) ?? false;
  }

  async function endTrials(leaving: Leaving): Promise<void> {
    for (const name of trials.get(leaving)?.keys() ?? []) await endTrial(leaving, name);
  }

  async function endTrial(leaving: Leaving, name: string): Promise<void> {
    const mine = trials.get(leaving);
    const end = mine?.get(name);
    mine?.delete(name);
    end?.();
    tried.delete(name);
    await within(redis.del(keys.trial(name)), ANSWER_MS).catch(() => {});
  }

  /** What an answer says of the credentials that the call had. */
  async function judge(leaving: Leaving, failure: Failure | undefined): Promise<Failure | undefined> {
    const carried = carriedBy(leaving);
    if (failure === undefined) {
      for (const credentials of carried) await accept(leaving, credentials);
      return undefined;
    }
    const rejected = carried.find(({ lane }) => failure.code === REJECTED[lane]);
    if (!rejected) return undefined;
    const { lane } = rejected;
    const name = nameOf(rejected);
    const isNews = typeof view.lanes.get(name) !== "object";
    const whose = owners.get(name) || undefined;
    const state = { lane, whose, code: failure.code, reason: reasonFor(lane, whose), sinceMs: now() };
    view.lanes.set(name, state);
    closed.set(name, state);
    if (isNews) {
      await within(lanes.close(name, lane, state), ANSWER_MS).catch(() => {});
      log.error({ code: failure.code, said: failure.message }, state.reason);
    }
    return standstill(state);
  }

  async function accept(leaving: Leaving, credentials: Credentials): Promise<void> {
    const { lane } = credentials;
    const name = nameOf(credentials);
    if (isTrying(leaving, name)) {
      view.lanes.set(name, "proven");
      closed.delete(name);
      acceptedMs.set(name, now());
      await within(
        lanes.prove(name, lane, (other) => owners.has(other)),
        ANSWER_MS,
      ).catch(() => {});
    } else if (now() - (acceptedMs.get(name) ?? 0) > ACCEPTED_AGAIN_MS) {
      acceptedMs.set(name, now());
      await within(lanes.accepted(name), ANSWER_MS).catch(() => {});
    }
  }

  async function listen(leaving: Leaving, how: Heard): Promise<Failure | undefined> {
    switch (how.kind) {
      case "answer":
        await note(false);
        return await judge(leaving, how.failure);
      case "fault":
        await note(true);
        return undefined;
      case "busy": {
        const { waitMs, failure } = how;
        view.busyUntilMs = Math.max(view.busyUntilMs, now() + waitMs);
        await within(redis.hset(keys.guard, "busy", String(view.busyUntilMs)), ANSWER_MS).catch(() => {});
        log.warn({ code: "provider-paused", pauseMs: waitMs }, "provider asks for a pause: calls wait");
        return failure.effect === "none" ? paused(waitMs, failure.message) : undefined;
      }
      case "nothing":
        return undefined;
    }
  }

  return {
    async admit(leaving: Leaving): Promise<void> {
      const heldMs = heldIn(await look());
      if (heldMs > 0) throw paused(heldMs, "The provider is away, or asked for a pause: calls wait");
      await admitLanes(leaving);
      try {
        const againMs = (await pace?.turn()) ?? 0;
        if (againMs > 0) throw paused(againMs, "Calls wait their turn (ONESHOT_RATE)");
        throwClosed(leaving); // rejected while this one waited for its turn
      } catch (error) {
        await endTrials(leaving);
        throw error;
      }
    },

    async heard(leaving: Leaving, how: Heard): Promise<Failure | undefined> {
      try {
        return await listen(leaving, how);
      } finally {
        await endTrials(leaving);
      }
    },

    /** For how many milliseconds no call may leave; 0 when calls go. Asked before a step is begun. */
    heldMs: async (): Promise<number> => heldIn(await look()),

    /** Which of these credentials the provider has rejected, and what to do; undefined when calls with all of them go. */
    async closedFor(credentials: readonly Credentials[]): Promise<{ code: string; message: string } | undefined> {
      const { lanes: all } = await look();
      for (const one of credentials) {
        const state = all.get(nameOf(one));
        if (typeof state === "object") return { code: state.code, message: state.reason };
      }
      return undefined;
    },

    close(): void {
      isClosed = true;
      clearTimeout(alarm);
    },
  };
}

/** In one order for all, so that no two calls hold what the other waits for. */
function carriedBy({ credentials }: Leaving): Credentials[] {
  return credentials === undefined ? [] : [credentials].flat().toSorted((a, b) => (a.lane < b.lane ? -1 : 1));
}

function toView(fields: Record<string, string>, nowMs: number): View {
  return { ...toPauses(fields), lanes: toLanes(fields, nowMs) };
}
