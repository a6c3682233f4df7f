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

test("a request that is spoken of again and again gets its share at once and little more", async () => {
  const passed = new Map<number, number>();
  let atMs = 1_000_000;
  const hints = createHints({
    nudge: async (pk) => {
      passed.set(pk, (passed.get(pk) ?? 0) + 1);
      return pk < 100;
    },
    count: () => {},
    log,
    now: () => (atMs += 0.1),
  });
  for (let i = 0; i < 3_000; i++) {
    hints.add(1 + (i % 3));
    hints.add(1_000 + (i % 3)); // nobody's: it costs no call to the provider
    if (i === 1_500) hints.add(50);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await expect.poll(() => passed.get(50), { timeout: 10_000 }).toBe(1); // not held up by the noise
  hints.close();
  // Half a second of the clock: four each, and five a second for all three.
  const known = [1, 2, 3].map((pk) => passed.get(pk) ?? 0);
  for (const one of known) expect(one).toBeGreaterThanOrEqual(4);
  expect(known.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(3 * 4 + 5 + 0.001 * 5 * (atMs - 1_000_000) + 1);
});

test("after ten quiet minutes a request has its share again", async () => {
  let passed = 0;
  let atMs = 0;
  const hints = createHints({ nudge: async () => ++passed > 0, count: () => {}, log, now: () => atMs });
  const say = async (times: number) => {
    for (let i = 0; i < times; i++) {
      hints.add(7);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  await say(20);
  expect(passed).toBe(4 + 5);
  atMs += 11 * 60_000;
  await expect.poll(() => passed).toBe(4 + 5 + 1); // the last one that was put back
  await say(3);
  await expect.poll(() => passed).toBe(4 + 5 + 4);
  hints.close();
});
