import type { FaultInput } from "../../src/simulator/faults.ts";
import type { Weather } from "./proxy.ts";
import type { Random } from "./random.ts";

/** One misfortune of a run. */
export type Mishap =
  | { kind: "kill"; member: number; atBoundary: number | undefined }
  | { kind: "term"; member: number }
  | { kind: "freeze"; member: number; forMs: number }
  | { kind: "partition"; member: number; from: "redis" | "provider"; weather: Weather; forMs: number }
  | { kind: "redis-kill"; awayMs: number }
  | { kind: "aof-cut"; bytes: number; awayMs: number }
  | { kind: "webhooks"; how: { drop: boolean | number; duplicate: boolean; reorder: boolean } };

export interface Schedule {
  mishaps: { atMs: number; mishap: Mishap }[];
  /** Faults of the provider's calls: each waits for its call. */
  faults: FaultInput[];
}

export interface Amounts {
  requests: number;
  members: number;
  /** Time in which everything happens, in milliseconds. */
  spanMs: number;
  /** After this the lock of a silent worker is over, in milliseconds. */
  lockMs: number;
  kills: number;
  terms: number;
  freezes: number;
  partitions: number;
  redisKills: number;
  aofCuts: number;
  /** Of a hundred calls, how many go wrong at the provider. */
  faultPercent: number;
}

/** Calls of one request on a straight way, by the simulator's name, and whether its answer is a PDF. */
const CALLS: { operation: string; perRequest: number; isPdf?: boolean; isTransfer?: boolean }[] = [
  { operation: "createVideoId", perRequest: 1 },
  { operation: "getRequest", perRequest: 3 },
  { operation: "approveVideoId", perRequest: 1 },
  { operation: "refuseVideoId", perRequest: 0.03 },
  { operation: "uploadDocument", perRequest: 1, isTransfer: true },
  { operation: "getContract", perRequest: 1, isPdf: true, isTransfer: true },
  { operation: "getDocument", perRequest: 1, isPdf: true, isTransfer: true },
  { operation: "generateOtp", perRequest: 1 },
  { operation: "sign", perRequest: 1 },
  { operation: "getSignedDocument", perRequest: 1, isTransfer: true },
  { operation: "deleteDocument", perRequest: 1 },
  { operation: "deleteAllDocuments", perRequest: 0.1 },
  { operation: "cancelRequest", perRequest: 0.1 },
];
const KINDS = [
  "latency",
  "status-before",
  "status-after",
  "reset-before",
  "reset-after",
  "rate-limit",
  "truncate",
  "truncate-close",
  "malformed-json",
  "html",
  "hang",
  "hang-after",
] as const;

/** All that goes wrong in a run, decided beforehand. */
export function makeSchedule(amounts: Amounts, random: Random): Schedule {
  const { members, spanMs, lockMs } = amounts;
  const mishaps: Schedule["mishaps"] = [];
  const add = (count: number, make: () => Mishap, untilMs = spanMs) => {
    for (let i = 0; i < count; i++) mishaps.push({ atMs: random.between(spanMs * 0.05, untilMs), mishap: make() });
  };
  const member = () => random.between(0, members - 1);
  add(amounts.kills, () => ({
    kind: "kill",
    member: member(),
    atBoundary: random.next() < 0.5 ? random.between(1, 60) : undefined,
  }));
  add(amounts.terms, () => ({ kind: "term", member: member() }));
  add(amounts.freezes, () => ({ kind: "freeze", member: member(), forMs: Math.round(lockMs * (1.5 + random.next())) }));
  add(amounts.partitions, () => ({
    kind: "partition",
    member: member(),
    from: random.pick(["redis", "provider"] as const),
    weather: random.pick<Weather>([
      { kind: "refuse" },
      { kind: "reset" },
      { kind: "blackhole" },
      { kind: "blackhole" },
      { kind: "latency", ms: 500 },
      { kind: "slice", bytes: 7 },
    ]),
    forMs: Math.round(lockMs * (1 + random.next())),
  }));
  add(amounts.redisKills, () => ({ kind: "redis-kill", awayMs: random.between(200, 3_000) }));
  add(amounts.aofCuts, () => ({
    kind: "aof-cut",
    bytes: random.between(1_024, 65_536),
    awayMs: random.between(200, 1_500),
  }));
  add(Math.max(2, Math.round(spanMs / 15_000)), () => ({
    kind: "webhooks",
    how: {
      drop: random.pick([false, true, 2, 3] as const),
      duplicate: random.next() < 0.5,
      reorder: random.next() < 0.5,
    },
  }));
  mishaps.sort((a, b) => a.atMs - b.atMs);
  return { mishaps, faults: makeFaults(amounts, random) };
}

function makeFaults({ requests, faultPercent }: Amounts, random: Random): FaultInput[] {
  const faults: FaultInput[] = [];
  for (const { operation, perRequest, isPdf, isTransfer } of CALLS) {
    const calls = Math.round(requests * perRequest * 1.2);
    for (let skip = 0; skip < calls; skip++) {
      if (random.next() * 100 >= faultPercent) continue;
      // A wrong bit in JSON may name another request; in the signed PDFs used here it hits the issuer's certificate,
      // which the signer's signature does not cover. TLS keeps both from happening.
      const kinds = isPdf ? [...KINDS, "corrupt" as const, "corrupt" as const] : KINDS;
      const kind = random.pick(kinds);
      // Silence in a transfer takes a minute to be noticed: one in a while is enough.
      const isSlow = isTransfer && (kind === "hang" || kind === "hang-after");
      faults.push({
        operation,
        kind: isSlow && random.next() < 0.8 ? "reset-after" : kind,
        skip,
        ...(kind === "latency" && { ms: random.between(200, 2_500) }),
        ...(kind.startsWith("status") && { status: random.pick([500, 502, 503, 504]) }),
      });
    }
  }
  return faults;
}

/** The amounts of a full run are those of reliability target S2: for ten thousand requests; small ones have a few of each. */
export function amountsFor(requests: number, given: { members: number; spanMs: number; lockMs: number }): Amounts {
  const share = requests / 10_000;
  const some = (full: number, least: number) => Math.max(Math.round(full * share), least);
  return {
    requests,
    ...given,
    kills: some(200, 10),
    terms: some(40, 2),
    freezes: some(20, 2),
    partitions: some(20, 5),
    redisKills: some(10, 2),
    aofCuts: some(5, 2),
    faultPercent: 2,
  };
}
