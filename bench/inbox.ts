import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { createAppearances } from "../src/files/appearances.ts";
import { createDocuments } from "../src/files/documents.ts";
import { createLog } from "../src/log.ts";
import { createInbox } from "../src/producers/inbox/inbox.ts";
import { finish, median, scratch, smallPdf, startApp, startRedis, waitUntil } from "./parts.ts";
import { report } from "./report.ts";

/**
 * Many small PDFs dropped at once, by somebody else who renames them into the inbox; defaults.json says who signs. The
 * time runs from the last rename until the last file is claimed, beside a plain loop that lists, renames and hashes as
 * many. The time to settle, which is a promise and no work, is set to 0: both looks at each file are counted.
 */
const FILES = Number(process.env["BENCH_FILES"] ?? 10_000);
const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 3);
const WARM_UP = 500;
/** So many are followed until they are requests: each is put on disk for good, which takes its time. */
const TO_THE_END = 2_000;
const redis = await startRedis();
const { app, dataDir } = await startApp(redis.url, "http://127.0.0.1:1/");
const original = readFileSync(await smallPdf(dataDir));
const manifest = { signer: { email: "bench@example.com", mobile_phone_number: "+34699999999" } };
let made = 0;

/** A folder of PDFs that differ in the four bytes of their second line, which mean nothing. */
function makeFiles(count: number): string {
  const folder = mkdtempSync(join(dataDir, "made-"));
  const mark = original.indexOf("\n%") + 2;
  for (let n = 0; n < count; n++) {
    made += 1;
    const bytes = Buffer.from(original);
    for (let i = 0; i < 4; i++) bytes[mark + i] = 0x80 | ((made >> (7 * i)) & 0x7f);
    writeFileSync(join(folder, `document-${made}.pdf`), bytes);
  }
  return folder;
}

/** Has a thread of its own move the files. When the last one was there, by `clock`. */
async function drop(from: string, to: string): Promise<number> {
  const dropper = new Worker(new URL("./drop.ts", import.meta.url), { workerData: { from, to } });
  await once(dropper, "message");
  const done = once(dropper, "message") as Promise<[number]>;
  dropper.postMessage("drop");
  return (await done)[0];
}

const clock = () => performance.timeOrigin + performance.now();

/** The reference. Seconds. */
function plainLoop(count: number): number {
  const from = makeFiles(count);
  const to = mkdtempSync(join(dataDir, "plain-"));
  const before = performance.now();
  for (const name of readdirSync(from)) {
    renameSync(join(from, name), join(to, name));
    createHash("sha256")
      .update(readFileSync(join(to, name)))
      .digest("hex");
  }
  return (performance.now() - before) / 1000;
}

/** Seconds until all were claimed and, when that is wanted, until all had their records. */
async function throughInbox(count: number, { toTheEnd }: { toTheEnd: boolean }) {
  const dir = scratch();
  const inboxFolder = join(dir, "inbox");
  mkdirSync(inboxFolder);
  writeFileSync(join(inboxFolder, "defaults.json"), JSON.stringify(manifest));
  const inbox = createInbox({
    dataDir: dir,
    pipeline: app.pipeline,
    documents: createDocuments({ dir: join(dir, ".work") }),
    appearances: createAppearances({ dir: join(dir, "appearance"), kept: join(dir, "images") }),
    config: { settleMs: 0, watch: "native" },
    log: createLog("silent"),
  });
  await inbox.start();
  await waitUntil(async () => inbox.status().lastScanMs !== undefined);
  const dropping = drop(makeFiles(count), inboxFolder);
  await waitUntil(async () => inbox.status().claimed === count, 10);
  const claimedAt = clock();
  if (toTheEnd) await waitUntil(async () => inbox.status().pending === 0, 50);
  const endedAt = clock();
  const droppedAt = await dropping;
  await inbox.stop();
  return { claimed: (claimedAt - droppedAt) / 1000, ended: (endedAt - droppedAt) / 1000 };
}

plainLoop(WARM_UP);
await throughInbox(WARM_UP, { toTheEnd: true });
const plain: number[] = [];
const claimed: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  plain.push(plainLoop(FILES));
  claimed.push((await throughInbox(FILES, { toTheEnd: false })).claimed);
}
const { ended } = await throughInbox(TO_THE_END, { toTheEnd: true });
report("inbox", {
  "seconds until the last one is claimed": median(claimed),
  "seconds, plain loop (reference)": median(plain),
  ratio: median(claimed) / median(plain),
  "files/s until they are requests": TO_THE_END / ended,
});
await finish();
process.exit(0);
