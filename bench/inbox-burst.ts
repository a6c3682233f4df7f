import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  watch,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { createAppearances } from "../src/files/appearances.ts";
import { createDocuments } from "../src/files/documents.ts";
import { createLog } from "../src/log.ts";
import { createInbox } from "../src/producers/inbox/inbox.ts";
import { finish, peakOf, scratch, smallPdf, startApp, startRedis, usedBytes, waitUntil } from "./parts.ts";
import { report } from "./report.ts";

/**
 * So many PDFs dropped in one burst, while the process that watches can read no event, that the queue of events flows
 * over: what came last is told to nobody. The time runs from the first rename until each file is a request; then every
 * file is looked for among the requests. Linux only: the queue is inotify's. BENCH_BURST_FILES says how many files.
 */
const FILES = Number(process.env["BENCH_BURST_FILES"] ?? 40_000);
const WITHIN_MS = 480_000;
/** Events that wait for a process at the most. @source inotify(7) */
const QUEUE = "/proc/sys/fs/inotify/max_queued_events";

const redis = await startRedis();
const { app, prefix } = await startApp(redis.url, "http://127.0.0.1:1/");
const admin = new Redis(redis.url);
const dir = scratch();
const at = (...names: string[]) => join(dir, ...names);
mkdirSync(at("inbox"));
const signer = { email: "bench@example.com", mobile_phone_number: "+34699999999" };
writeFileSync(at("inbox", "defaults.json"), JSON.stringify({ signer }));

/** A folder of PDFs that differ in the four bytes of their second line, which mean nothing. */
const outside = mkdtempSync(at("made-"));
const original = readFileSync(await smallPdf(dir));
const mark = original.indexOf("\n%") + 2;
for (let n = 1; n <= FILES; n++) {
  const bytes = Buffer.from(original);
  for (let i = 0; i < 4; i++) bytes[mark + i] = 0x80 | ((n >> (7 * i)) & 0x7f);
  writeFileSync(join(outside, `document-${n}.pdf`), bytes);
}

const inbox = createInbox({
  dataDir: dir,
  pipeline: app.pipeline,
  documents: createDocuments({ dir: at(".work") }),
  appearances: createAppearances({ dir: at("appearance"), kept: at("images") }),
  config: { settleMs: 500, watch: "native" },
  log: createLog("silent"),
});
await inbox.start();
await waitUntil(async () => inbox.status().lastScanMs !== undefined);

/** Files of which an event told that they came: what is taken makes events too, when it is not there any more. */
const told = new Set<string>();
const witness = watch(at("inbox"), (_event, name) => {
  if (name !== null && existsSync(at("inbox", name))) told.add(name);
});
const before = await usedBytes(admin);
const startedMs = performance.now();
for (const name of readdirSync(outside)) renameSync(join(outside, name), at("inbox", name));
const droppedMs = performance.now() - startedMs;

await waitUntil(async () => (await admin.zcard(`${prefix}:index:active`)) >= FILES, 200, WITHIN_MS);
const seconds = (performance.now() - startedMs) / 1000;
const after = await usedBytes(admin);
witness.close();
await waitUntil(async () => inbox.status().pending === 0);

/** Every file by its name, however often it is a request. */
const found = new Map<string, number>();
let cursor: string | undefined;
do {
  const page = await app.pipeline.list({ limit: 500, ...(cursor !== undefined && { cursor }) });
  for (const { facts } of page.items) {
    const [document] = facts["documents"] as { name: string }[];
    found.set(document?.name ?? "", (found.get(document?.name ?? "") ?? 0) + 1);
  }
  cursor = page.next_cursor;
} while (cursor !== undefined);
const once = [...found.values()].filter((count) => count === 1).length;

report("inbox-burst", {
  files: FILES,
  "files whose coming an event told": told.size,
  "most events that wait": Number(readFileSync(QUEUE, "utf8")),
  "seconds to drop them": droppedMs / 1000,
  "seconds until all are requests": seconds,
  "files/s": FILES / seconds,
  "% of the files that are one request": (100 * once) / FILES,
  "files left in the inbox, or failed": readdirSync(at("inbox")).length - 1 + readdirSync(at("failed")).length,
  "MB at the most": peakOf(process.pid),
  "Redis bytes per file": (after - before) / FILES,
});
admin.disconnect();
await inbox.stop();
await finish();
process.exit(0);
