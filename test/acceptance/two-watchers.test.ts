import { describe, expect, test } from "vitest";
import { type House, samplePdf, startHouse } from "../helpers/house.ts";
import { isRunning, type SignpipeProcess, until } from "../helpers/signpipe-process.ts";
import { countRequests, type Ground, KINDS, makeGround, namesOf, requestsOf, startInboxProcess } from "./place.ts";

const LOCK_MS = "1000";

/** Two real processes on one inbox; the one that has its lease first. */
async function startTwo(house: House, ground: Ground): Promise<[SignpipeProcess, SignpipeProcess]> {
  const both = await Promise.all([startInboxProcess(house), startInboxProcess(house)]);
  const first = await until("that one of them has the lease", () => holderOf(house, ground, both));
  return [first, both.find((one) => one !== first) as SignpipeProcess];
}

async function holderOf(house: House, { name }: Ground, all: readonly SignpipeProcess[]) {
  const token = await house.app.redis.get(house.app.keys.inboxLease(name));
  return all.find(({ pid }) => token?.includes(`:${pid}:`));
}

async function dropMany(ground: Ground, mark: string, count: number): Promise<string[]> {
  const names = Array.from({ length: count }, (_, n) => `${mark} ${n}.pdf`);
  for (const name of names) ground.drop(name, await samplePdf());
  return names.sort();
}

async function start(kind: (typeof KINDS)[number]) {
  const ground = makeGround(kind);
  const settings = { ...ground.settings, LOCK_MS };
  const house = await startHouse({ settings, dataDir: ground.dataDir, work: false, keep: false });
  return { ground, house };
}

describe.each(KINDS)("%s", (kind) => {
  test("W15: two processes on one share take each file once, also while the one that serves it is killed", async () => {
    const { ground, house } = await start(kind);
    const [first, second] = await startTwo(house, ground);
    const before = await dropMany(ground, "before", 40);
    await until("that it has begun", async () => (await requestsOf(house)).length > 0 || undefined);
    first.child.kill("SIGKILL");
    const after = await dropMany(ground, "after", 20);
    const requests = await countRequests(house, 60);
    expect(requests.flatMap(namesOf).sort()).toEqual([...after, ...before]);
    expect(ground.names("inbox")).toEqual([]);
    expect(ground.names("failed")).toEqual([]);
    expect(ground.names("duplicates")).toEqual([]);
    expect(isRunning(second.pid)).toBe(true);
  });

  test("W15: while the one that has the lease is stopped, the other takes over; awake again, it takes nothing twice", async () => {
    const { ground, house } = await start(kind);
    const [first, second] = await startTwo(house, ground);
    const names = await dropMany(ground, "asleep", 20);
    await until("that it has begun", async () => (await requestsOf(house)).length > 0 || undefined);
    first.child.kill("SIGSTOP");
    const later = await dropMany(ground, "later", 5);
    await until("that the other one has the lease", async () => (await holderOf(house, ground, [second])) ?? undefined);
    await until("that the rest is taken", () => ground.names("inbox").length === 0 || undefined);
    first.child.kill("SIGCONT");
    const last = await dropMany(ground, "last", 5);
    const requests = await countRequests(house, 30, 90_000);
    expect(requests.flatMap(namesOf).sort()).toEqual([...names, ...last, ...later].sort());
    expect([first, second].map(({ pid }) => isRunning(pid))).toEqual([true, true]);
    expect(ground.names("failed")).toEqual([]);
    expect(ground.names("duplicates")).toEqual([]);
  });
});
