import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { createLog } from "../src/log.ts";
import { createInbox } from "../src/producers/inbox/inbox.ts";
import { finish, median, smallPdf, startApp, startRedis, waitUntil } from "./parts.ts";
import { report } from "./report.ts";

/**
 * Many small PDFs dropped at once by renaming them into the inbox, for all of which defaults.json says who signs. The
 * time runs from the last rename until the last file is claimed, beside a plain loop that lists, renames and hashes
 * as many. Nothing is left out of the way but the time to settle, which is a promise and no work: it is set to 0, so
 * that the two looks at each file come one after the other.
 */
const FILES = Number(process.env["BENCH_FILES"] ?? 10_000);
const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 3);
const redis = await startRedis();
const { app, dataDir } = await startApp(redis.url, "http://127.0.0.1:1/");
const original = readFileSync(await smallPdf(dataDir));
const inboxFolder = app.folders.inbox;
const manifest = { signer: { email: "bench@example.com", mobile_phone_number: "+34699999999" } };

/** PDFs that differ in the four bytes of their second line, which mean nothing. */
function makeFiles(round: number): string {
  const folder = mkdtempSync(join(dataDir, "made-"));
  const mark = original.indexOf("\n%") + 2;
  for (let n = 0; n < FILES; n++) {
    const bytes = Buffer.from(original);
    for (let i = 0; i < 4; i++) bytes[mark + i] = 0x80 | (((round * FILES + n) >> (7 * i)) & 0x7f);
    writeFileSync(join(folder, `document-${round}-${n}.pdf`), bytes);
  }
  return folder;
}

/** Has a thread of its own move the files into the inbox. When the last one was there, by `clock`. */
async function drop(from: string): Promise<number> {
  const dropper = new Worker(new URL("./drop.ts", import.meta.url), { workerData: { from, to: inboxFolder } });
  await once(dropper, "message");
  const done = once(dropper, "message") as Promise<[number]>;
  dropper.postMessage("drop");
  return (await done)[0];
}

const clock = () => performance.timeOrigin + performance.now();

/** The reference. Seconds. */
function plainLoop(round: number): number {
  const from = makeFiles(round);
  const to = mkdtempSync(join(dataDir, "plain-"));
  const before = performance.now();
  for (const name of readdirSync(from)) {
    renameSync(join(from, name), join(to, name));
    createHash("sha256")
      .update(readFileSync(join(to, name)))
      .digest("hex");
  }
  const seconds = (performance.now() - before) / 1000;
  rmSync(to, { recursive: true });
  return seconds;
}

/** Seconds until all were claimed, and until all had their records. */
async function throughInbox(round: number): Promise<{ claimed: number; recorded: number }> {
  const inbox = createInbox({
    dataDir,
    pipeline: app.pipeline,
    documents: app.documents,
    config: { settleMs: 0, watch: "native" },
    log: createLog("silent"),
  });
  await inbox.start();
  await waitUntil(async () => inbox.status().lastScanMs !== undefined);
  const made = makeFiles(round);
  const dropping = drop(made);
  await waitUntil(async () => inbox.status().claimed === FILES, 10);
  const claimedAt = clock();
  await waitUntil(async () => inbox.status().pending === 0, 50);
  const recordedAt = clock();
  const droppedAt = await dropping;
  await inbox.stop();
  return { claimed: (claimedAt - droppedAt) / 1000, recorded: (recordedAt - droppedAt) / 1000 };
}

writeFileSync(join(inboxFolder, "defaults.json"), JSON.stringify(manifest));
const plain: number[] = [];
const claimed: number[] = [];
const recorded: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  plain.push(plainLoop(2 * round));
  const times = await throughInbox(2 * round + 1);
  claimed.push(times.claimed);
  recorded.push(times.recorded);
}
report("inbox", {
  "seconds until the last one is claimed": median(claimed),
  "seconds, plain loop (reference)": median(plain),
  ratio: median(claimed) / median(plain),
  "seconds until the last one is a request": median(recorded),
});
await finish();
process.exit(0);
