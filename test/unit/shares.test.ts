import { expect, test } from "vitest";
import { createShares } from "../../src/queues/shares.ts";

function startAt({ perSecond = 10, waiting = 0 } = {}) {
  const clock = { nowMs: 1_000_000, waiting, fails: false };
  const { holdMs, known } = createShares({
    perSecond,
    waiting: () => (clock.fails ? Promise.reject(new Error("away")) : Promise.resolve(clock.waiting)),
    now: () => clock.nowMs,
    random: () => 1,
  });
  const many = async (tenant: string, count: number) => {
    const pauses: number[] = [];
    for (let n = 0; n < count; n++) pauses.push(await holdMs(tenant, false));
    return pauses;
  };
  return { clock, holdMs, known, many };
}

test("a tenant's burst is taken at once, the rest in line, and another tenant's jobs do not stand in it", async () => {
  const { many } = startAt();
  const pauses = await many("acme", 25);
  expect(pauses.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 0));
  expect(pauses.slice(20)).toEqual([100, 200, 300, 400, 500]);
  expect(await many("beta", 3)).toEqual([0, 0, 0]);
});

test("whoever has waited in line is taken, and one that comes later does not go before", async () => {
  const { clock, holdMs, many } = startAt();
  await many("acme", 30);
  clock.nowMs += 500;
  expect(await holdMs("acme", true)).toBe(0);
  // Five of ten still stand in line: the next one comes behind them.
  expect(await holdMs("acme", false)).toBe(600);
  clock.nowMs += 60_000;
  expect(await many("acme", 21)).toEqual([...Array.from({ length: 20 }, () => 0), 100]);
});

test("while too many jobs wait for workers, who has had the share waits on, further apart the more there are", async () => {
  const { clock, holdMs, many } = startAt({ waiting: 51 });
  await many("acme", 120);
  expect(await holdMs("acme", true)).toBe(3_000); // a second, and up to 100 times 20 ms
  expect(await many("beta", 3)).toEqual([0, 0, 0]);
  clock.waiting = 50;
  expect(await holdMs("acme", true)).toBe(3_000); // counted twice a second, no oftener
  clock.nowMs += 500;
  expect(await holdMs("acme", true)).toBe(0);
  clock.nowMs += 500;
  clock.fails = true;
  expect(await holdMs("acme", true)).toBe(0);
});

test("names that nobody has take no room for ever", async () => {
  const { clock, known, many } = startAt();
  for (let n = 0; n < 1_000; n++) await many(`tenant-${n}`, 21);
  await many("late", 1);
  // Nobody is forgotten who has not all of the share again.
  expect(known()).toBe(1_001);
  clock.nowMs += 3_000;
  expect(await many("acme", 1)).toEqual([0]);
  expect(known()).toBe(1);
  // What was forgotten has its whole share again, which it would have by now anyway.
  expect((await many("tenant-1", 20)).every((pauseMs) => pauseMs === 0)).toBe(true);
});
