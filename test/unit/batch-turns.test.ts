import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createTurns, PACE_MS, progressOf } from "../../src/core/batch.ts";

const NOW = 1_800_000_000_000;

describe("turns among batches", () => {
  const priorities = fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 12 });

  test("in as many turns as all priorities together, each has as many as its own; none waits much longer than its share", () => {
    fc.assert(
      fc.property(priorities, (given) => {
        const batches = given.map((priority, i) => ({ id: `b${i}`, priority }));
        const total = given.reduce((sum, one) => sum + one, 0);
        const turns = createTurns();
        const order = Array.from({ length: 3 * total }, () => turns.next(batches)?.id);
        for (const { id, priority } of batches) {
          expect(order.filter((one) => one === id)).toHaveLength(3 * priority);
          const places = order.flatMap((one, at) => (one === id ? [at] : []));
          const gaps = places.map((at, i) => at - (places[i - 1] ?? -1));
          expect(Math.max(...gaps)).toBeLessThanOrEqual(Math.ceil((2 * total) / priority));
        }
      }),
    );
  });

  test("whoever comes later begins level with the others: it neither catches up nor waits", () => {
    const [big, small] = [
      { id: "big", priority: 5 },
      { id: "small", priority: 5 },
    ];
    const turns = createTurns();
    for (let i = 0; i < 1_000; i++) turns.next([big]);
    const order = Array.from({ length: 8 }, () => turns.next([big, small])?.id);
    expect(order.filter((id) => id === "small")).toHaveLength(4);
    expect(order.slice(0, 2)).toContain("small");
    expect(order.slice(0, 2)).toContain("big");
  });

  test("there is no turn where nobody is ready", () => {
    expect(createTurns().next([])).toBeUndefined();
  });
});

describe("when a batch is over", () => {
  const counts = { done: 60, pending: 30, queued: 5, running: 5, waiting: 20, rejected: 2, duplicate: 3 };
  const sinceMs = NOW - PACE_MS;
  /** So many rows were over, evenly, in the last minutes. */
  const ended = (rows: number) => Array.from({ length: rows }, (_, i) => NOW - (i * PACE_MS) / rows);

  test("as many rows as are left, without those that wait for people, at the pace of the last ten minutes", () => {
    expect(progressOf({ counts, endedMs: ended(20), sinceMs }, NOW)).toEqual({
      ...{ over: 65, waiting: 20 },
      finishMs: NOW + 2 * PACE_MS,
    });
  });

  test("what was over before the last ten minutes sets no pace, and a batch that is younger has been at work for less", () => {
    const before = ended(20).map((ms) => ms - PACE_MS - 1);
    expect(progressOf({ counts, endedMs: before, sinceMs: sinceMs - PACE_MS }, NOW).finishMs).toBeUndefined();
    const young = progressOf({ counts, endedMs: [NOW - 3, NOW - 2, NOW - 1, NOW], sinceMs: NOW - 60_000 }, NOW);
    expect(young.finishMs).toBe(NOW + 10 * 60_000);
  });

  test.each([
    ["fewer than three rows are over", { counts, endedMs: [NOW - 2, NOW - 1], sinceMs }],
    ["nothing is left but what waits for people", { counts: { done: 5, waiting: 9 }, endedMs: ended(5), sinceMs }],
    ["it has just begun", { counts, endedMs: [NOW, NOW, NOW], sinceMs: NOW }],
  ])("no time is told when %s", (_name, given) => {
    expect(progressOf(given, NOW).finishMs).toBeUndefined();
  });

  test("rows that go on as they have done are over when it was said", () => {
    // 400 rows, one every 1.5 seconds; asked in the middle.
    const endedMs = Array.from({ length: 200 }, (_, i) => NOW - i * 1_500);
    const { finishMs = 0 } = progressOf(
      { counts: { done: 200, pending: 200 }, endedMs, sinceMs: NOW - 200 * 1_500 },
      NOW,
    );
    expect(Math.abs(finishMs - (NOW + 200 * 1_500))).toBeLessThan(3_000);
  });
});
