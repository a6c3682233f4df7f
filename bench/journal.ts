import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Redis } from "ioredis";
import type { Journal } from "../src/files/journal.ts";
import {
  awaitDone,
  finish,
  median,
  sample,
  scratch,
  startApp,
  startProvider,
  startRedis,
  submission,
  submitAll,
} from "./parts.ts";
import { report } from "./report.ts";

/** What the journal costs: the whole workflow against a provider that costs nothing, with it and without. */
const REQUESTS = Number(process.env["BENCH_REQUESTS"] ?? 1_500);
const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 3);
const WARM_UP = 300;
const redis = await startRedis();
const files = await sample(scratch());
const oneshotUrl = await startProvider(files);
const admin = new Redis(redis.url);
const fsyncs = await countFsyncs();

/** A journal that forgets what it is told. */
const NOTHING: Journal = { dir: "", append: () => Promise.resolve(), close: () => Promise.resolve() };

interface Cost {
  perSecond: number;
  cpuMs: number;
  fsyncs: number;
}

async function run(isOn: boolean, requests = REQUESTS): Promise<Cost> {
  const { app, prefix } = await startApp(redis.url, oneshotUrl, {}, isOn ? {} : { journal: NOTHING });
  app.startWorkers();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const submissions = Array.from({ length: requests }, () => submission(app, files.original, "external"));
  const [before, cpu, synced] = [performance.now(), process.cpuUsage(), fsyncs()];
  await submitAll(app, submissions);
  await awaitDone(admin, prefix, requests);
  const seconds = (performance.now() - before) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const cost = { perSecond: requests / seconds, cpuMs: (user + system) / 1000 / requests };
  await app.close({ graceMs: 2_000 });
  return { ...cost, fsyncs: (fsyncs() - synced) / requests };
}

/** Counts what the journal has flushed: nothing else flushes without its metadata. */
async function countFsyncs(): Promise<() => number> {
  const probe = await open(join(scratch(), "probe"), "w");
  const prototype = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  const datasync = prototype.datasync;
  let count = 0;
  prototype.datasync = function (this: FileHandle) {
    count += 1;
    return datasync.call(this);
  };
  return () => count;
}

for (const isOn of [true, false]) await run(isOn, Math.min(WARM_UP, REQUESTS));
const on: Cost[] = [];
const off: Cost[] = [];
for (let round = 0; round < ROUNDS; round++) {
  // In turns, so that neither is always the one that comes after the other.
  for (const isOn of round % 2 === 0 ? [true, false] : [false, true]) (isOn ? on : off).push(await run(isOn));
}
admin.disconnect();
const middle = (costs: readonly Cost[], what: keyof Cost) => median(costs.map((cost) => cost[what]));
report("journal", {
  "requests/s, journal on": middle(on, "perSecond"),
  "requests/s, journal off (reference)": middle(off, "perSecond"),
  ratio: middle(on, "perSecond") / middle(off, "perSecond"),
  "CPU ms per request, journal on": middle(on, "cpuMs"),
  "CPU ms per request, journal off (reference)": middle(off, "cpuMs"),
  "CPU ratio": middle(on, "cpuMs") / middle(off, "cpuMs"),
  "fsyncs of the journal per request": middle(on, "fsyncs"),
});
await finish();
process.exit(0);
