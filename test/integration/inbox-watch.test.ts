import { existsSync, statSync } from "node:fs";
import { mkdir, rename, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { chooseMode } from "../../src/producers/inbox/watch.ts";
import { makePdf, MANIFEST, startInboxHouse } from "./inbox-house.ts";

const steady = () => performance.timeOrigin + performance.now();
const FAST = { settleMs: 50, folderSettleMs: 100, sidecarWaitMs: 200, followMs: 20 };

test("events wake the inbox long before the next listing", async () => {
  const house = startInboxHouse({ config: { ...FAST, sweepMs: 3_600_000, watch: "native" }, parts: { now: steady } });
  await house.inbox().start();
  await house.drop({ "defaults.json": MANIFEST });
  await house.put("outside", { "x.pdf": makePdf("x"), f: { "y.pdf": makePdf("y"), "request.json": MANIFEST } });
  await rename(house.at("outside", "x.pdf"), house.at("inbox", "x.pdf"));
  await rename(house.at("outside", "f"), house.at("inbox", "f"));
  await vi.waitFor(() => expect(house.pipeline.submissions).toHaveLength(2), { timeout: 15_000, interval: 20 });
  expect(house.inbox().status()).toMatchObject({ mode: "native" });
  expect(house.inbox().check().note).toBe("watched by events and listings: the configuration says so");
  await vi.waitFor(async () => expect(await house.status("f")).toMatchObject({ state: "queued" }), { timeout: 15_000 });
});

test("without events the listing finds everything", async () => {
  const house = startInboxHouse({ config: { ...FAST, sweepMs: 50, watch: "poll" }, parts: { now: steady } });
  await house.drop({ "defaults.json": MANIFEST, "early.pdf": makePdf("early") });
  await house.inbox().start();
  await house.drop({ "late.pdf": makePdf("late") });
  await vi.waitFor(() => expect(house.pipeline.submissions).toHaveLength(2), { timeout: 15_000, interval: 20 });
});

test("a thousand files that come at once are all taken, once", async () => {
  const house = startInboxHouse({ config: { ...FAST, sweepMs: 3_600_000, watch: "native" }, parts: { now: steady } });
  await house.inbox().start();
  const names = Array.from({ length: 1_000 }, (_, n) => `${n}.pdf`);
  await house.put("outside", Object.fromEntries(names.map((name) => [name, makePdf(name)])));
  await house.drop({ "defaults.json": MANIFEST });
  for (const name of names) await rename(house.at("outside", name), house.at("inbox", name));
  await vi.waitFor(() => expect(house.pipeline.submissions.length).toBeGreaterThanOrEqual(1_000), {
    timeout: 25_000,
    interval: 50,
  });
  const taken = house.pipeline.submissions.map(({ documents: [one] }) => one?.name);
  expect([...taken].sort()).toEqual([...names].sort());
});

test("an inbox that was removed and made anew is heard again", async () => {
  const house = startInboxHouse({ config: { ...FAST, sweepMs: 100, watch: "native" }, parts: { now: steady } });
  await house.inbox().start();
  await rm(house.at("inbox"), { recursive: true });
  await vi.waitFor(() => expect(house.inbox().check().ok).toBe(false), { timeout: 10_000, interval: 20 });
  await house.drop({ "x.pdf": makePdf("x"), "x.pdf.json": MANIFEST });
  await vi.waitFor(() => expect(house.pipeline.submissions).toHaveLength(1), { timeout: 10_000, interval: 20 });
  expect(house.inbox().check().ok).toBe(true);
});

const SYSTEM = "/proc";

test.runIf(existsSync(SYSTEM))("where the file system's events can be relied on is told by its kind", async () => {
  const house = startInboxHouse({ config: { ...FAST, watch: "auto" }, parts: { now: steady } });
  await house.inbox().start();
  const { mode, why } = house.inbox().status();
  expect(house.logged).toContainEqual({ level: "info", fields: { mode, why }, message: "inbox watched" });
  expect(chooseMode(SYSTEM)).toEqual({ mode: "native", why: "the file system tells of changes" });
  expect(chooseMode(house.dataDir, () => 0x6969)).toEqual({
    mode: "poll",
    why: "the inbox is on NFS, whose events are not reliable",
  });
  expect(chooseMode(house.dataDir, () => 0xfe534d42 | 0)).toMatchObject({ mode: "poll" });
});

const MEMORY = "/dev/shm";
const hasTwoDisks = existsSync(MEMORY) && statSync(MEMORY).dev !== statSync(tmpdir()).dev;

test.runIf(hasTwoDisks)("folders on two file systems are refused at the start, with the names of both", async () => {
  const house = startInboxHouse();
  const other = join(MEMORY, `signpipe-${process.pid}`);
  await mkdir(other);
  onTestFinished(() => rm(other, { recursive: true }));
  await symlink(other, house.at("archive"));
  await expect(house.inbox().start()).rejects.toMatchObject({
    code: "folders-on-two-disks",
    message: expect.stringMatching(/DATA_DIR\/inbox and DATA_DIR\/archive/),
  });
});
