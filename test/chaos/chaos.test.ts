import { expect, test } from "vitest";
import { makeWishes } from "./hand-in.ts";
import { randomFrom } from "./random.ts";
import { runChaos } from "./run.ts";
import { amountsFor, makeSchedule } from "./schedule.ts";
import { toText } from "./report.ts";

const SEED = 20_261_126;

test("one seed decides all that happens", () => {
  const amounts = amountsFor(300, { members: 4, spanMs: 40_000, lockMs: 4_000 });
  const make = (seed: number) => ({
    schedule: makeSchedule(amounts, randomFrom(seed).fork("schedule")),
    wishes: makeWishes(20, randomFrom(seed).fork("wishes")),
  });
  expect(make(1)).toEqual(make(1));
  expect(make(1)).not.toEqual(make(2));
  expect(make(1).schedule.mishaps.length).toBeGreaterThan(20);
  expect(make(1).schedule.faults.length).toBeGreaterThan(20);
});

test("a few hundred requests in the worst of weather: nothing lost, nothing twice, nothing in the dark", async () => {
  const outcome = await runChaos({ requests: 250, seed: SEED, spanMs: 40_000, restWithinMs: 120_000 });
  process.stderr.write(`${toText(outcome)}\n`);
  expect(outcome.violations.map(({ text }) => text)).toEqual([]);
  expect(outcome.mishaps).toMatchObject({ kill: 10, freeze: 2, partition: 5, "redis-kill": 2, "aof-cut": 2 });
  expect(outcome.counts["done"]).toBeGreaterThan(200);
  outcome.remove();
});

test("the same without intents and journal breaks the promises, and the checker says so", async () => {
  const outcome = await runChaos({
    requests: 150,
    seed: SEED,
    spanMs: 20_000,
    restWithinMs: 1_000,
    amounts: { faultPercent: 12 },
    naive: true,
  });
  const broken = new Set(outcome.violations.map(({ invariant }) => invariant));
  // Requests made and forgotten, codes nobody asked for, documents that are there twice, and all that without a trace.
  expect([...broken].sort()).toEqual(expect.arrayContaining(["I11", "I2", "I4", "I5"]));
  outcome.remove();
});
