import { readdir } from "node:fs/promises";
import { Redis } from "ioredis";
import type { App } from "../src/app.ts";
import { longestPauseMs } from "../src/queues/crowd.ts";
import { addCopies, type Place, readWaiting } from "./copies.ts";
import {
  awaitDone,
  countCommands,
  finish,
  sample,
  scratch,
  startApp,
  startProvider,
  startRedis,
  submission,
  waitUntil,
} from "./parts.ts";
import { report } from "./report.ts";

/**
 * What many requests cost: Redis memory of open and finished ones, the cost of a request while few or many others
 * wait, and the whole pipeline's when everybody waits. Costs are CPU time, of this process (every worker, the
 * housekeeping, the inbox, the API) and of Redis; not the provider's.
 *
 * For the memory every request goes the whole way. The many that wait are copies of one that does.
 */
const REQUESTS = Number(process.env["BENCH_REQUESTS"] ?? 5_000);
const SIZES = (process.env["BENCH_OPEN"] ?? "1000,10000,100000").split(",").map(Number);
const SAMPLE = Number(process.env["BENCH_SAMPLE"] ?? 1_000);
const IDLE_S = Number(process.env["BENCH_IDLE_S"] ?? 30);
/** After the work before: the memory it took is given back by then. */
const REST_MS = 15_000;
/** So many events fill the streams of the queues, which are bounded: they are nobody's memory. */
const FILLING = 400;

const sent = countCommands();
const { url: redisUrl } = await startRedis();
const redis = new Redis(redisUrl);
const files = await sample(scratch());
const oneshotUrl = await startProvider(files);

async function signers(are: "here" | "away"): Promise<void> {
  await fetch(`${oneshotUrl}/signers/${are}`, { method: "PUT" });
}

async function submit(app: App, count: number): Promise<void> {
  for (let n = 0; n < count; n += 50) {
    const some = Array.from({ length: Math.min(50, count - n) }, () => submission(app, files.original, "external"));
    await Promise.all(some.map((one) => app.pipeline.submit(one)));
  }
}

async function redisInfo(section: string): Promise<(name: string) => number> {
  const text = await redis.info(section);
  return (name) => Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(text)?.[1]);
}

const usedBytes = async () => (await redisInfo("memory"))("used_memory");

/** Seconds of CPU time since the start. */
async function cpuSeconds(): Promise<{ ours: number; redis: number }> {
  const { user, system } = process.cpuUsage();
  const info = await redisInfo("cpu");
  return { ours: (user + system) / 1e6, redis: info("used_cpu_user") + info("used_cpu_sys") };
}

async function measureMemory(): Promise<{ open: number; finished: number }> {
  const { app, prefix } = await startApp(redisUrl, oneshotUrl);
  app.startWorkers();
  await submit(app, FILLING);
  await awaitDone(redis, prefix, FILLING);
  const before = await usedBytes();
  await submit(app, REQUESTS);
  await awaitDone(redis, prefix, FILLING + REQUESTS);
  const finished = await usedBytes();
  await signers("away");
  await submit(app, REQUESTS);
  await waitUntil(async () => (await redis.zcard(`${prefix}:index:waiting`)) === REQUESTS);
  const open = await usedBytes();
  await app.close({ graceMs: 2_000 });
  return { finished: (finished - before) / REQUESTS, open: (open - finished) / REQUESTS };
}

async function makeOneWait(app: App, { prefix }: Place): Promise<string> {
  await signers("away");
  await submit(app, 1);
  const waiting = () => redis.zrange(`${prefix}:index:waiting`, "0", "0");
  await waitUntil(async () => (await waiting()).length === 1);
  await signers("here");
  return (await waiting())[0] ?? "";
}

async function costPerRequest(
  app: App,
  prefix: string,
): Promise<{ cpuMs: number; commands: number; perSecond: number }> {
  const done = await redis.zcard(`${prefix}:index:done`);
  const [cpu, commands, startedMs] = [await cpuSeconds(), sent(), performance.now()];
  await submit(app, SAMPLE);
  await awaitDone(redis, prefix, done + SAMPLE);
  const [cpuAfter, commandsAfter, seconds] = [await cpuSeconds(), sent(), (performance.now() - startedMs) / 1000];
  const cpuMs = ((cpuAfter.ours - cpu.ours + cpuAfter.redis - cpu.redis) * 1000) / SAMPLE;
  return { cpuMs, commands: (commandsAfter - commands) / SAMPLE, perSecond: SAMPLE / seconds };
}

/** Until nothing of the work before is left: its documents are in the archive, a thousand every half minute. */
async function comeToRest(app: App): Promise<void> {
  const left = async () => (await readdir(app.folders.work)).filter((name) => name.startsWith("req-")).length;
  await waitUntil(async () => (await left()) <= 1, 1_000);
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
}

async function idleShares(): Promise<{ ours: number; redis: number }> {
  const [before, startedMs] = [await cpuSeconds(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, IDLE_S * 1000));
  const [after, seconds] = [await cpuSeconds(), (performance.now() - startedMs) / 1000];
  return { ours: (100 * (after.ours - before.ours)) / seconds, redis: (100 * (after.redis - before.redis)) / seconds };
}

const memory = await measureMemory();

await signers("here");
const { app, prefix } = await startApp(redisUrl, oneshotUrl);
app.startWorkers();
app.startKeeping();
await app.startInbox();
await app.startApi();
const place = { redis, prefix };
const kept = await readWaiting(place, await makeOneWait(app, place));
await costPerRequest(app, prefix); // the first ones pay for warming up
const costs: Record<string, number> = {};
const cpuMs: number[] = [];
let open = 1;
/** After a day of silence the next look comes after a tenth of that, or after the longest pause. */
const pauseMs = Math.min(86_400_000 / 10, longestPauseMs(Math.max(...SIZES)));
for (const size of SIZES) {
  await addCopies(place, kept, size - open, pauseMs);
  open = size;
  const cost = await costPerRequest(app, prefix);
  cpuMs.push(cost.cpuMs);
  costs[`CPU ms per request, ${size} open`] = cost.cpuMs;
  costs[`commands per request, ${size} open`] = cost.commands;
  costs[`requests/s, ${size} open`] = cost.perSecond;
}
await comeToRest(app);
const idle = await idleShares();
redis.disconnect();
report("scale", {
  "Redis bytes per open request": memory.open,
  "Redis bytes per finished request": memory.finished,
  ...costs,
  [`CPU per request, dearest against cheapest, ${SIZES.join(", ")} open`]: Math.max(...cpuMs) / Math.min(...cpuMs),
  [`idle CPU, % of a core, ${open} open`]: idle.ours,
  [`idle CPU of Redis, % of a core, ${open} open`]: idle.redis,
});
await finish();
process.exit(0);
