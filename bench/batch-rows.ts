import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import {
  batchOf,
  finish,
  handInRows,
  peakOf,
  sample,
  scratch,
  type Server,
  startProvider,
  startRedis,
  startServer,
  usedBytes,
  waitUntil,
} from "./parts.ts";
import { report } from "./report.ts";

/**
 * A table of many rows, one document for many signers, from the call that hands it in until the last row is done: first
 * by a process without workers, for what rows cost while they wait, then with them. BENCH_ROWS says how many rows.
 * Linux only: the kernel keeps count of memory.
 */
const ROWS = Number(process.env["BENCH_ROWS"] ?? 500);
const LATENCY_MS = 50;

const dir = scratch();
const files = await sample(dir);
const oneshotUrl = await startProvider(files, LATENCY_MS);
const redis = await startRedis();

async function handIn(to: Server, rows: number, from = 0): Promise<{ id: string; seconds: number }> {
  const startedMs = performance.now();
  const id = await handInRows(to, { original: files.original, rows, from });
  return { id, seconds: (performance.now() - startedMs) / 1000 };
}

const admin = new Redis(redis.url);
const waitingDir = scratch();
const idle = await startServer("./app.ts", [redis.url, oneshotUrl, waitingDir]);
// So few that they are all submitted: the rest then waits on the disk alone.
await handIn(idle, 25, 1_000_000);
await new Promise((resolve) => setTimeout(resolve, 3_000));
const before = await usedBytes(admin);
const waiting = await handIn(idle, ROWS);
await waitUntil(async () => Object.keys((await batchOf(idle, waiting.id)).counts).length > 0, 100);
const waitingBytes = (await usedBytes(admin)) - before;
const folder = join(waitingDir, "batches", waiting.id);
const diskBytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

const fresh = await startRedis();
const counted = new Redis(fresh.url);
const server = await startServer("./app.ts", [fresh.url, oneshotUrl, scratch(), "with-workers"]);
await waitUntil(async () => (await batchOf(server, (await handIn(server, 1, 2_000_000)).id)).state !== "", 100);
const [peakBefore, redisBefore] = [peakOf(server.pid), await usedBytes(counted)];
const startedMs = performance.now();
const batch = await handIn(server, ROWS);
await waitUntil(async () => (await batchOf(server, batch.id)).state === "done", 500);
const seconds = (performance.now() - startedMs) / 1000;

report("batch-rows", {
  rows: ROWS,
  "seconds to hand in": batch.seconds,
  "seconds until all are done": seconds,
  "rows/s": ROWS / seconds,
  "MB at the most, before": peakBefore,
  "MB at the most": peakOf(server.pid),
  "bytes in Redis per row that waits": Math.max(waitingBytes, 0) / ROWS,
  "bytes in Redis per row that is done": ((await usedBytes(counted)) - redisBefore) / ROWS,
  "bytes on the disk per row that waits": diskBytes / ROWS,
});
admin.disconnect();
counted.disconnect();
await finish();
process.exit(0);
