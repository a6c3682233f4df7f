import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { finish, sample, scratch, startProvider, startRedis, startServer, waitUntil } from "./parts.ts";
import { report } from "./report.ts";

/**
 * A table of many rows, one document for many signers, from the call that hands it in until the last row is done: first
 * by a process without workers, for what rows cost while they wait, then with them. BENCH_ROWS says how many rows.
 * Linux only: the kernel keeps count of memory.
 */
const ROWS = Number(process.env["BENCH_ROWS"] ?? 500);
const LATENCY_MS = 50;
const HEADER = "files,reference,email,mobile_phone_number,authentication,authentication_type,authentication_value";

const dir = scratch();
const files = await sample(dir);
const oneshotUrl = await startProvider(files, LATENCY_MS);
const redis = await startRedis();

function table(from: number, rows: number): string {
  const lines = Array.from({ length: rows }, (_, i) => {
    const n = from + i;
    return `lease.pdf,bench-${n},bench-${n}@example.com,+346${String(10_000_000 + n)},external,bench,op-${n}`;
  });
  return [HEADER, ...lines].join("\r\n");
}

type Server = Awaited<ReturnType<typeof startServer>>;

async function handIn({ port, secret }: Server, rows: number, from = 0): Promise<{ id: string; seconds: number }> {
  const form = new FormData();
  form.set("batch", new Blob([table(from, rows)]), "batch.csv");
  form.append("file", new Blob([readFileSync(files.original)]), "lease.pdf");
  const startedMs = performance.now();
  const answer = await fetch(`http://127.0.0.1:${port}/v1/batches`, {
    ...{ method: "POST", body: form, headers: { authorization: `Bearer ${secret}` } },
  });
  const body = (await answer.json()) as { batch?: { id: string } };
  if (!body.batch) throw new Error(`handing in was answered with ${answer.status}: ${JSON.stringify(body)}`);
  return { id: body.batch.id, seconds: (performance.now() - startedMs) / 1000 };
}

async function stateOf(
  { port, secret }: Server,
  id: string,
): Promise<{ state: string; counts: Record<string, number> }> {
  const answer = await fetch(`http://127.0.0.1:${port}/v1/batches/${id}`, {
    headers: { authorization: `Bearer ${secret}` },
  });
  return (await answer.json()) as { state: string; counts: Record<string, number> };
}

/** The most memory a process has had at once, in MB. @source proc(5), VmHWM */
function peakOf(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kilobytes) * 1024) / 1e6;
}

async function usedBytes(admin: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await admin.info("memory"))?.[1]);
}

const admin = new Redis(redis.url);
const waitingDir = scratch();
const idle = await startServer("./app.ts", [redis.url, oneshotUrl, waitingDir]);
// So few that they are all submitted: the rest then waits on the disk alone.
await handIn(idle, 25, 1_000_000);
await new Promise((resolve) => setTimeout(resolve, 3_000));
const before = await usedBytes(admin);
const waiting = await handIn(idle, ROWS);
await waitUntil(async () => Object.keys((await stateOf(idle, waiting.id)).counts).length > 0, 100);
const waitingBytes = (await usedBytes(admin)) - before;
const folder = join(waitingDir, "batches", waiting.id);
const diskBytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

const fresh = await startRedis();
const counted = new Redis(fresh.url);
const server = await startServer("./app.ts", [fresh.url, oneshotUrl, scratch(), "with-workers"]);
await waitUntil(async () => (await stateOf(server, (await handIn(server, 1, 2_000_000)).id)).state !== "", 100);
const [peakBefore, redisBefore] = [peakOf(server.pid), await usedBytes(counted)];
const startedMs = performance.now();
const batch = await handIn(server, ROWS);
await waitUntil(async () => (await stateOf(server, batch.id)).state === "done", 500);
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
