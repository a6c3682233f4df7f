import { setTimeout as pause } from "node:timers/promises";
import type { Redis } from "ioredis";
import { ENDS, PREFIX, readDump, readRecords, type Rough, startDeployment } from "./deployment.ts";
import { recordsOf } from "./evidence.ts";
import type { Fleet, Member } from "./fleet.ts";
import { drop, makeWishes, post, type Wish } from "./hand-in.ts";
import type { Violation } from "./invariants.ts";
import { startPeople } from "./people.ts";
import { randomFrom } from "./random.ts";
import { type Amounts, amountsFor, makeSchedule, type Mishap } from "./schedule.ts";

/** Upstream systems go on trying for this long after the last one has begun. */
const POSTED_WITHIN_MS = 300_000;

export interface Options {
  requests: number;
  seed: number;
  /** Worker processes; one more serves the API and the inbox. */
  workers?: number;
  /** Time in which requests are handed in and things go wrong, in milliseconds. */
  spanMs?: number;
  /** How long everything may take to come to rest afterwards, in milliseconds. */
  restWithinMs?: number;
  /** A silent worker is taken over from after this, in milliseconds. */
  lockMs?: number;
  /** Without intents and journal: must go wrong. */
  naive?: boolean;
  amounts?: Partial<Amounts>;
  say?: (line: string) => void;
}

export interface Outcome {
  violations: Violation[];
  counts: Record<string, number>;
  mishaps: Record<string, number>;
  /** From a SIGKILL to the next attempt at what was interrupted by it. */
  recoveryMs: number[];
  sigtermMs: number[];
  durationMs: number;
  /** From the last misfortune until everything was over or waiting; undefined when it did not come to that in time. */
  restMs: number | undefined;
  dir: string;
  remove(): void;
}

/** Some documents of one signer come within this of the first, some after it. */
const BUNDLE_MS = 1_000;

/** One run: a deployment, its people, its misfortunes, and what the checker says of it. The seed decides what happens. */
export async function runChaos(options: Options): Promise<Outcome> {
  const { requests, seed, workers = 3, lockMs = 4_000, naive = false, say = () => {} } = options;
  const spanMs = options.spanMs ?? Math.max(40_000, requests * 100);
  const restWithinMs = options.restWithinMs ?? Math.min(Math.max(180_000, requests * 60), 600_000);
  const random = randomFrom(seed);
  const amounts = { ...amountsFor(requests, { members: workers + 1, spanMs, lockMs }), ...options.amounts };
  const schedule = makeSchedule(amounts, random.fork("schedule"));
  const wishes = makeWishes(requests, random.fork("wishes"), { newOtp: requests >= 100 && !naive ? 1 : 0 });
  const startedMs = Date.now();

  const deployment = await startDeployment({ lockMs, settings: { INBOX_BUNDLE_MS: String(BUNDLE_MS) } });
  const { api, redis, redisServer, simulator, dir } = deployment;
  for (const fault of schedule.faults) simulator.fault(fault);
  // The provider's own guard only puts a second code off, by a minute that nobody wants to wait here.
  if (naive) simulator.set({ otpGuardMs: 0 });
  const fleet = await deployment.start([
    { name: "front", parts: ["api", "inbox"], naive },
    ...Array.from({ length: workers }, (_, i) => ({
      name: `worker-${i + 1}`,
      parts: i === 0 ? (["workers", "keeping"] as const) : (["workers"] as const),
      naive,
    })),
  ]);
  const recovery = watchRecovery(fleet, redis);
  const sigtermMs: number[] = [];
  const done: Record<string, number> = {};
  let people: ReturnType<typeof startPeople> | undefined;
  try {
    await Promise.all(fleet.members.map((member) => member.ready()));
    say(`${requests} requests, seed ${seed}, ${workers} workers, ${Math.round(spanMs / 1000)} s of misfortune; ${dir}`);
    people = startPeople({
      wishes,
      api,
      codesOf: (phone) => simulator.outbox.filter((message) => message.phone === phone).map(({ code }) => code),
    });
    const handing = handIn(wishes, {
      api,
      inbox: deployment.inbox,
      stageDir: deployment.stageDir,
      overMs: spanMs * 0.75,
    });
    const playing = play();
    await Promise.all([handing, playing]);
    const lastMs = Date.now();
    simulator.clearFaults();
    simulator.set({ webhooks: { drop: false, duplicate: false, reorder: false } });
    say(`last misfortune after ${seconds(lastMs - startedMs)}; waiting for rest`);
    const restMs = await untilRest(lastMs);
    await people.stop();
    sigtermMs.push(...(await deployment.stop()));
    const violations = await deployment.check(wishes);
    if (restMs === undefined) {
      violations.push({ invariant: "I9", text: `I9: not everything had come to rest after ${seconds(restWithinMs)}` });
    }
    const effects = countBy(simulator.ledger.map(({ effect }) => effect));
    const phases = countBy([...recordsOf(await readDump(redis), PREFIX).values()].map(({ phase }) => phase));
    return {
      violations,
      counts: { ...phases, ...people.counts, ...prefixed("effect ", effects), ...(await unknownOtps(redis)) },
      mishaps: done,
      recoveryMs: recovery.times,
      sigtermMs,
      durationMs: Date.now() - startedMs,
      restMs,
      dir,
      remove: deployment.remove,
    };
  } finally {
    await people?.stop();
    await deployment.close();
  }

  async function play(): Promise<void> {
    const sinceMs = Date.now();
    const lasting: Promise<void>[] = [];
    const redisTurn = turns();
    for (const { atMs, mishap } of schedule.mishaps) {
      await pause(Math.max(sinceMs + atMs - Date.now(), 0));
      done[mishap.kind] = (done[mishap.kind] ?? 0) + 1;
      lasting.push(happen(mishap, redisTurn));
    }
    await Promise.all(lasting);
    for (const { name, redis: one, provider } of fleet.members) {
      await one.set({ kind: "pass" });
      await provider.set({ kind: "pass" });
      if (name === "") throw new Error("a process without a name");
    }
  }

  async function happen(mishap: Mishap, redisTurn: Turns): Promise<void> {
    switch (mishap.kind) {
      case "kill": {
        const member = memberAt(mishap.member);
        // The process at the doors has no costly calls, and so no boundary to die at.
        if (mishap.atBoundary === undefined || mishap.member === 0) return void (await member.end("SIGKILL"));
        const gone = untilGone(fleet, member.name);
        member.order({ kind: "at-boundary", signal: "SIGKILL", after: mishap.atBoundary });
        await Promise.race([gone, pause(8_000)]);
        return;
      }
      case "term":
        return void sigtermMs.push(await memberAt(mishap.member).end("SIGTERM"));
      case "freeze": {
        const member = memberAt(mishap.member);
        const pid = member.pid();
        if (mishap.atBoundary === undefined || mishap.member === 0) member.signal("SIGSTOP");
        else member.order({ kind: "at-boundary", signal: "SIGSTOP", after: mishap.atBoundary });
        await pause(mishap.forMs);
        if (pid === member.pid()) member.signal("SIGCONT");
        return;
      }
      case "partition": {
        const proxy = memberAt(mishap.member)[mishap.from];
        await proxy.set(mishap.weather);
        await pause(mishap.forMs);
        await proxy.set({ kind: "pass" });
        return;
      }
      case "redis-kill":
        return await redisTurn(async () => {
          await redisServer.kill();
          await pause(mishap.awayMs);
          await redisServer.start();
        });
      case "aof-cut":
        return await redisTurn(async () => {
          await redisServer.kill();
          const cut = redisServer.cutTail(mishap.bytes);
          say(`cut ${cut} bytes off the append-only file`);
          await pause(mishap.awayMs);
          await redisServer.start();
        });
      case "webhooks":
        simulator.set({ webhooks: mishap.how });
    }
  }

  function memberAt(i: number): Member {
    return fleet.members[i] as Member;
  }

  /** How long it took until every request was over or waiting for somebody who will not come; undefined when too long. */
  async function untilRest(sinceMs: number): Promise<number | undefined> {
    const expected = wishes.filter(({ usable }) => usable).length;
    let saidMs = Date.now();
    for (let quiet = 0; Date.now() - sinceMs < restWithinMs;) {
      await pause(500);
      const records = await readRecords(redis).catch(() => undefined);
      if (!records) continue;
      const open = records.filter(({ phase }) => !ENDS.includes(phase));
      const toTell = await redis.scard(`${PREFIX}:changed:inbox`).catch(() => 1);
      quiet = open.length === 0 && records.length >= expected && toTell === 0 ? quiet + 1 : 0;
      if (quiet === 4) return Date.now() - sinceMs;
      if (Date.now() - saidMs > 15_000) {
        saidMs = Date.now();
        say(`${records.length} of ${expected} known, open: ${describe(open)}`);
      }
    }
    return undefined;
  }
}

function describe(open: readonly Rough[]): string {
  const groups = countBy(open.map(({ stage, phase, waitsFor }) => `${stage} ${phase} ${waitsFor}`.trim()));
  return Object.entries(groups)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ");
}

type Turns = (act: () => Promise<void>) => Promise<void>;

/** One at a time, in order. */
function turns(): Turns {
  let last: Promise<void> = Promise.resolve();
  return (act) => (last = last.then(act));
}

function untilGone(fleet: Fleet, name: string): Promise<void> {
  return new Promise((resolve) => {
    fleet.onGone((who) => {
      if (who === name) resolve();
    });
  });
}

/** Measures how long what a killed process had in its hands lies there until somebody takes it up again. */
function watchRecovery(fleet: Fleet, redis: Redis): { times: number[] } {
  const times: number[] = [];
  const orphaned = new Map<string, number>();
  fleet.onTaken((id, stage, atMs) => {
    const sinceMs = orphaned.get(`${stage} ${id}`);
    if (sinceMs === undefined) return;
    orphaned.delete(`${stage} ${id}`);
    times.push(atMs - sinceMs);
  });
  fleet.onGone((_name, how, taken) => {
    if (how !== "SIGKILL" || taken.size === 0) return;
    const sinceMs = Date.now();
    const stages = [...new Set(taken.values())];
    for (const stage of stages) {
      redis.lrange(`${PREFIX}:queue:${stage}:active`, 0, -1).then(
        (ids) => {
          for (const id of ids) if (taken.get(id) === stage) orphaned.set(`${stage} ${id}`, sinceMs);
        },
        () => {}, // Redis is away as well: not measured
      );
    }
  });
  return { times };
}

async function handIn(
  wishes: readonly Wish[],
  {
    api,
    inbox,
    stageDir,
    overMs,
  }: { api: { url: string; key: string }; inbox: string; stageDir: string; overMs: number },
): Promise<void> {
  const sinceMs = Date.now();
  const posting: Promise<unknown>[] = [];
  for (const [n, wish] of wishes.entries()) {
    await pause(Math.max(sinceMs + (overMs * n) / wishes.length - Date.now(), 0));
    if (wish.way === "inbox") await drop(wish, inbox, stageDir);
    else posting.push(post(wish, api, () => Date.now() - sinceMs > overMs + POSTED_WITHIN_MS));
  }
  await Promise.all(posting);
}

async function unknownOtps(redis: Redis): Promise<Record<string, number>> {
  const records = recordsOf(await readDump(redis), PREFIX).values();
  return {
    "codes of unknown fate": [...records].filter(
      ({ facts }) => (facts["otp"] as { unknown?: boolean } | undefined)?.unknown,
    ).length,
  };
}

function countBy(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

function prefixed(prefix: string, counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [prefix + name, count]));
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
