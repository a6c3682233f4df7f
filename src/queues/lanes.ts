import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.ts";

/** Calls with one kind of credentials. */
export type Lane = "rao" | "billing";

/** Calls that stand still. */
export interface Standstill {
  /** Those with these credentials, because the provider rejected them; or all, because it does not answer. */
  lane: Lane | "all";
  /** The tenant with these credentials, and for a RAO's the RAO, by the names in the configuration; left out for ours. */
  whose?: string | undefined;
  code: string;
  /** One sentence: what stands still, and what to do. */
  reason: string;
  /** In milliseconds since the epoch. */
  sinceMs: number;
}

const Closed = z.object({
  lane: z.enum(["rao", "billing"]),
  whose: z.string().optional(),
  code: z.string(),
  sinceMs: z.number(),
});
const PROVEN = "proven";

/** What an operator must bring, in the words of `waiting.for`. */
export const BRING = { rao: "accepted RAO credentials", billing: "an accepted billing account" } as const;

const STANDS = {
  rao: { what: "Approvals, refusals and creations by form", why: "the RAO's credentials", settings: "ONESHOT_RAO*" },
  billing: { what: "Creations", why: "the billing account", settings: "ONESHOT_BILLING_*" },
} as const;

export function reasonFor(lane: Lane, whose?: string): string {
  const { what, why, settings } = STANDS[lane];
  const [of, where] = whose === undefined ? ["", settings] : [` of ${whose}`, "them in TENANTS_FILE"];
  const topUp = lane === "billing" ? "have it topped up and " : "";
  return `${what}${of} stand still: the provider rejected ${why}. Correct ${where} and restart, or ${topUp}run: signpipe resume`;
}

/** How a lane is, by its field in the hash of the guard. */
export type LaneState = "untried" | "proven" | (Standstill & { lane: Lane });

function toLaneState(value: string | undefined): LaneState {
  if (value === undefined) return "untried";
  if (value === PROVEN) return "proven";
  const closed = Closed.parse(JSON.parse(value));
  return { ...closed, reason: reasonFor(closed.lane, closed.whose) };
}

export const LANE = "lane:";
/** When credentials were last accepted, beside the lane, so that noting it never opens one that was closed. */
const ACCEPTED = "accepted:";
/** Credentials that nobody has had accepted for so long may have gone bad: the next call with them leaves alone. */
const PROVEN_MS = 60_000;

/** How each lane is, from the hash of the guard. */
export function toLanes(fields: Record<string, string>, nowMs: number): Map<string, LaneState> {
  const names = Object.keys(fields).flatMap((field) => (field.startsWith(LANE) ? [field.slice(LANE.length)] : []));
  return new Map(
    names.map((name) => {
      const state = toLaneState(fields[LANE + name]);
      const isOld = nowMs - Number(fields[ACCEPTED + name] ?? 0) > PROVEN_MS;
      return [name, state === "proven" && isOld ? "untried" : state];
    }),
  );
}

export interface Breaker {
  isOpen: boolean;
  /** When a probe decides whether it closes. */
  untilMs: number;
  /** How often it opened, without a longer quiet in between. */
  trips: number;
  sinceMs: number;
}

/** The breaker, and until when the provider asked to be left alone, as they are in the hash of the guard. */
export function toPauses(fields: Record<string, string>): { breaker: Breaker; busyUntilMs: number } {
  const [word, untilMs = "0", trips = "0", sinceMs = "0"] = (fields["breaker"] ?? "closed").split("|");
  return {
    breaker: { isOpen: word === "open", untilMs: Number(untilMs), trips: Number(trips), sinceMs: Number(sinceMs) },
    busyUntilMs: Number(fields["busy"] ?? 0),
  };
}

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

  const pausesIn = (fields: Record<string, string>): Standstill[] => {
    const { breaker, busyUntilMs } = toPauses(fields);
    const all = { lane: "all", code: "provider-paused" } as const;
    if (breaker.isOpen) {
      const reason = "All calls pause: the provider does not answer, or answers with faults. They go on by themselves";
      return [{ ...all, reason, sinceMs: breaker.sinceMs }];
    }
    const isBusy = busyUntilMs > now();
    return isBusy
      ? [
          {
            ...all,
            reason: `All calls pause: the provider asked for it, until ${new Date(busyUntilMs).toISOString()}`,
            sinceMs: now(),
          },
        ]
      : [];
  };

  return {
    async close(
      print: string,
      lane: Lane,
      { code, whose }: { code: string; whose?: string | undefined },
    ): Promise<void> {
      await redis.hset(keys.guard, LANE + print, JSON.stringify({ lane, whose, code, sinceMs: now() }));
    },
    /**
     * These credentials were accepted: of the same kind, those that were rejected before them are no longer used, unless
     * they are another tenant's.
     */
    async prove(print: string, lane: Lane, isInUse: (print: string) => boolean = () => false): Promise<void> {
      const old = closed(await redis.hgetall(keys.guard)).filter(
        ({ field, state }) => state.lane === lane && (field === LANE + print || !isInUse(field.slice(LANE.length))),
      );
      if (old.length > 0) await redis.hdel(keys.guard, ...old.map(({ field }) => field));
      await redis.hset(keys.guard, LANE + print, PROVEN, ACCEPTED + print, String(now()));
    },
    /** They were accepted once more. */
    async accepted(print: string): Promise<void> {
      await redis.hset(keys.guard, ACCEPTED + print, String(now()));
    },
    /** All that stands still. */
    async list(): Promise<Standstill[]> {
      const fields = await redis.hgetall(keys.guard);
      return [...closed(fields).map(({ state }) => state), ...pausesIn(fields)];
    },
    /**
     * Lets calls go on: one through each lane that stands still, and when it is accepted, the rest follows; all of them
     * when the breaker is open. A pause that the provider asked for is kept. What stood still.
     */
    async resume(): Promise<Standstill[]> {
      const fields = await redis.hgetall(keys.guard);
      const lanes = closed(fields);
      const isOpen = toPauses(fields).breaker.isOpen;
      const gone = [...lanes.map(({ field }) => field), ...(isOpen ? ["breaker"] : [])];
      if (gone.length > 0) await redis.hdel(keys.guard, ...gone);
      return [...lanes.map(({ state }) => state), ...(isOpen ? pausesIn(fields) : [])];
    },
  };
}
