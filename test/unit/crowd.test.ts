import type { Redis } from "ioredis";
import { expect, test, vi } from "vitest";
import { createCrowd, longestPauseMs } from "../../src/queues/crowd.ts";
import { createKeys } from "../../src/queues/keys.ts";

const MINUTE_MS = 60_000;

test.each([
  [0, 15 * MINUTE_MS],
  [9_000, 15 * MINUTE_MS],
  [18_000, 30 * MINUTE_MS],
  [100_000, 10_000_000],
])("where %i wait, the longest pause is %i ms: about ten looks a second in all", (waiting, pauseMs) => {
  expect(longestPauseMs(waiting)).toBe(pauseMs);
});

test("who waits is counted once a minute, never waited for, and remembered while Redis is away", async () => {
  let nowMs = 0;
  let answer = Promise.resolve(100_000);
  const zcard = vi.fn(() => answer);
  const redis = { zcard } as unknown as Redis;
  const crowd = createCrowd({ redis, keys: createKeys("{t}"), now: () => nowMs });
  expect(crowd.longestPauseMs()).toBe(15 * MINUTE_MS);
  await answer;
  expect(crowd.longestPauseMs()).toBe(10_000_000);
  expect(zcard).toHaveBeenCalledTimes(1);
  nowMs = MINUTE_MS;
  answer = Promise.reject(new Error("away"));
  crowd.longestPauseMs();
  await answer.catch(() => {});
  expect(zcard).toHaveBeenCalledTimes(2);
  expect(crowd.longestPauseMs()).toBe(10_000_000);
});
