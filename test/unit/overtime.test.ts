import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startOvertime } from "../../src/queues/overtime.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("what takes too long is told so, as AbortSignal.timeout tells it", () => {
  const { signal } = startOvertime(1_000);
  vi.advanceTimersByTime(999);
  expect(signal.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect(signal.reason).toMatchObject({ name: "TimeoutError" });
});

test("of work that is over no timer is left, which would keep everything about it in memory for as long as it might have taken", () => {
  const many = Array.from({ length: 100 }, () => startOvertime(30 * 60_000));
  expect(vi.getTimerCount()).toBe(100);
  for (const { end } of many) end();
  expect(vi.getTimerCount()).toBe(0);
  vi.advanceTimersByTime(60 * 60_000);
  expect(many.some(({ signal }) => signal.aborted)).toBe(false);
});
