import { existsSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { chooseMode, startWatch } from "../../src/producers/inbox/watch.ts";
import { makePdf, MANIFEST, startInboxHouse } from "./inbox-house.ts";

const steady = () => performance.timeOrigin + performance.now();
const FAST = { settleMs: 50, folderSettleMs: 100, sidecarWaitMs: 200, followMs: 20 };

test("without events the listing finds everything", async () => {
  const house = startInboxHouse({ config: { ...FAST, sweepMs: 50, watch: "poll" }, parts: { now: steady } });
  await house.drop({ "defaults.json": MANIFEST, "early.pdf": makePdf("early") });
  await house.inbox().start();
  await house.drop({ "late.pdf": makePdf("late") });
  await vi.waitFor(() => expect(house.pipeline.submissions).toHaveLength(2), { timeout: 15_000, interval: 20 });
});

test("after most of a full inbox was taken at once, events are heard again", async () => {
  const house = startInboxHouse({ config: { ...FAST, sweepMs: 3_600_000, watch: "native" }, parts: { now: steady } });
  const names = Array.from({ length: 1_000 }, (_, n) => `${n}.pdf`);
  await house.drop({ "defaults.json": MANIFEST, ...Object.fromEntries(names.map((name) => [name, makePdf(name)])) });
  const patience = { timeout: 15_000, interval: 20 };
  await house.inbox().start();
  await vi.waitFor(() => expect(house.inbox().status().claimed).toBe(1_000), patience);
  await house.drop({ "late.pdf": makePdf("late") });
  await vi.waitFor(() => expect(house.inbox().status().claimed).toBe(1_001), patience);
});

test("W1: what comes while the watching only begins, and no event tells of, wakes the inbox once it has begun", async () => {
  const house = startInboxHouse();
  await house.drop({});
  const silent = () => {};
  const wake = vi.fn<() => void>();
  const watch = startWatch(house.at("inbox"), {
    wake,
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  onTestFinished(() => watch.stop());
  // Nothing is watched yet: that takes turns of the event loop.
  writeFileSync(house.at("inbox", "early.pdf"), makePdf("early"));
  await vi.waitFor(() => expect(wake).toHaveBeenCalled(), { timeout: 5_000, interval: 20 });
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
