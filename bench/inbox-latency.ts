import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
  batchOf,
  finish,
  handInRows,
  median,
  quantile,
  sample,
  scratch,
  startProvider,
  startRedis,
  startServer,
  waitUntil,
} from "./parts.ts";
import { report } from "./report.ts";

/**
 * One PDF after the other dropped into the inbox, from the rename until the provider hears of it, beyond the time to
 * settle; and until it is done. At first nothing else is under way, then the rows of a large batch are. Then a small batch
 * beside the large one, against the same alone. A provider that takes 50 ms for each call; every setting at its default
 * but the time to settle. BENCH_DROPS and BENCH_BATCH_ROWS say how many.
 */
const DROPS = Number(process.env["BENCH_DROPS"] ?? 200);
const ROWS = Number(process.env["BENCH_BATCH_ROWS"] ?? 10_000);
const SMALL = Math.ceil(ROWS / 20);
const EVERY_MS = 200;
const LATENCY_MS = 50;
const SETTLE_MS = Number((process.env["INBOX_SETTLE_MS"] ??= "500"));

const dir = scratch();
const files = await sample(dir);
const oneshotUrl = await startProvider(files, LATENCY_MS, ["with-arrivals"]);
const redis = await startRedis();
const dataDir = scratch();
const server = await startServer("./app.ts", [redis.url, oneshotUrl, dataDir, "with-workers,with-inbox"]);
const outside = join(dataDir, "outside");
mkdirSync(outside);
const original = readFileSync(files.original);

const clock = () => performance.timeOrigin + performance.now();
const emailOf = (name: string) => `${name}@example.com`;

async function ask<T>(url: string): Promise<T> {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${server.secret}` } });
  return (await answer.json()) as T;
}

/** Brings one PDF with its sidecar. When, in milliseconds since the epoch. */
function drop(name: string): number {
  const authentication = { method: "external", type: "bench", value: name };
  const signer = { email: emailOf(name), mobile_phone_number: "+34699999999" };
  writeFileSync(join(outside, `${name}.pdf.json`), JSON.stringify({ reference: name, signer, authentication }));
  // The one document that the provider has signed: who signs it makes the difference.
  writeFileSync(join(outside, `${name}.pdf`), original);
  for (const file of [`${name}.pdf.json`, `${name}.pdf`]) renameSync(join(outside, file), join(dataDir, "inbox", file));
  return clock();
}

interface Done {
  items: { state: string; updated_at: string }[];
}

/** Milliseconds beyond settling from each drop until the provider hears of it, and until it is done. */
async function dropMany(mark: string, count: number): Promise<{ heard: number[]; done: number[] }> {
  const dropped = new Map<string, number>();
  for (let n = 0; n < count; n++) {
    dropped.set(`${mark}-${n}`, drop(`${mark}-${n}`));
    await pause(EVERY_MS / 2 + EVERY_MS * Math.random());
  }
  const [heard, done]: [number[], number[]] = [[], []];
  for (const [name, atMs] of dropped) {
    const url = `http://127.0.0.1:${server.port}/v1/requests?reference=${name}`;
    let updatedMs = 0;
    await waitUntil(async () => {
      const [request] = (await ask<Done>(url)).items;
      updatedMs = Date.parse(request?.updated_at ?? "");
      return request?.state === "done";
    }, 100);
    done.push(updatedMs - atMs - SETTLE_MS);
  }
  const arrivals = await ask<Record<string, number>>(`${oneshotUrl}/arrivals`);
  for (const [name, atMs] of dropped) heard.push((arrivals[emailOf(name)] ?? Number.NaN) - atMs - SETTLE_MS);
  return { heard, done };
}

/** Seconds until a batch is done. */
async function runBatch(rows: number, from: number): Promise<number> {
  const startedMs = performance.now();
  const id = await handInRows(server, { original: files.original, rows, from });
  await waitUntil(async () => (await batchOf(server, id)).state === "done", 100);
  return (performance.now() - startedMs) / 1000;
}

await dropMany("warm", 5);
const idle = await dropMany("idle", DROPS);
await runBatch(SMALL, 3_000_000);
const alone = await runBatch(SMALL, 1_000_000);
const large = await handInRows(server, { original: files.original, rows: ROWS });
const over = async () => (await batchOf(server, large)).counts["done"] ?? 0;
await waitUntil(async () => (await over()) > 0, 100);
const busy = await dropMany("busy", DROPS);
const before = await over();
const beside = await runBatch(SMALL, 2_000_000);
const meanwhile = (await over()) - before;

report("inbox-latency", {
  "drops, each time": DROPS,
  "ms to settle": SETTLE_MS,
  "ms beyond settling, idle, p50": median(idle.heard),
  "ms beyond settling, idle, p99": quantile(idle.heard, 0.99),
  "ms beyond settling, beside a large batch, p50": median(busy.heard),
  "ms beyond settling, beside a large batch, p99": quantile(busy.heard, 0.99),
  "ms until done, alone (reference)": median(idle.done),
  "ms until done, beside a large batch": median(busy.done),
  "ratio, single file": median(busy.done) / median(idle.done),
  "rows of the large batch": ROWS,
  "rows of it that were left": ROWS - before - meanwhile,
  "rows of the small batch": SMALL,
  "seconds, small batch alone (reference)": alone,
  "seconds, small batch beside the large one": beside,
  "ratio, small batch": beside / alone,
  "rows of the large batch done meanwhile, to one of the small": meanwhile / SMALL,
});
await finish();
process.exit(0);
