import { expect, test } from "vitest";
import { createHints, type HintOutcome } from "../../src/producers/api/hints.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };

function house(nudge: (pk: number) => Promise<boolean>, perSecond?: number) {
  const counted: HintOutcome[] = [];
  const hints = createHints({ nudge, count: (outcome) => counted.push(outcome), log, ...(perSecond && { perSecond }) });
  return { hints, counted };
}

test("hints about one request become one", async () => {
  const passed: number[] = [];
  const { hints, counted } = house(async (pk) => passed.push(pk) > 0);
  for (let i = 0; i < 50; i++) expect(hints.add(7)).toBe(true);
  await hints.settled();
  expect(passed).toEqual([7]);
  expect(counted.filter((outcome) => outcome === "merged")).toHaveLength(49);
});

test("a hint that comes while its request is being looked at counts again", async () => {
  const passed: number[] = [];
  const { hints } = house(async (pk) => {
    passed.push(pk);
    if (passed.length === 1) hints.add(pk);
    return true;
  });
  hints.add(7);
  await hints.settled();
  expect(passed).toEqual([7, 7]);
});

test("a flood is bounded in what it keeps and in what it passes on at once", async () => {
  let atOnce = 0;
  let most = 0;
  let passed = 0;
  const { hints, counted } = house(async () => {
    most = Math.max(most, ++atOnce);
    await Promise.resolve();
    atOnce--;
    passed++;
    return false;
  }, 100_000);
  let taken = 0;
  for (let pk = 1; pk <= 10_000; pk++) if (hints.add(pk)) taken++;
  await hints.settled();
  expect(taken).toBe(2_000);
  expect(passed).toBe(2_000);
  expect(most).toBeLessThanOrEqual(4);
  expect(counted.filter((outcome) => outcome === "dropped")).toHaveLength(8_000);
});

test("no more are passed on in a second than allowed", async () => {
  let passed = 0;
  const { hints } = house(async () => ++passed > 0, 50);
  for (let pk = 1; pk <= 60; pk++) hints.add(pk);
  const begunMs = Date.now();
  await hints.settled();
  expect(passed).toBe(60);
  // 50 at once, the other 10 at 50 a second.
  expect(Date.now() - begunMs).toBeGreaterThan(120);
});

test("a hint that cannot be passed on is counted and forgotten", async () => {
  const { hints, counted } = house(() => Promise.reject(new Error("Connection is closed.")));
  hints.add(7);
  await hints.settled();
  expect(counted).toEqual(["failed"]);
});

test("nothing is taken once it is closed", async () => {
  const { hints } = house(async () => true);
  hints.add(7);
  hints.close();
  await hints.settled();
  expect(hints.add(8)).toBe(false);
});
