import type { Redis } from "ioredis";
import { expect, test } from "vitest";
import { startToy, toyStage } from "../helpers/toy.ts";

const START_MS = 1_700_000_000_000;

/** Counts the records that are asked for. */
function counted(redis: Redis): { redis: Redis; looked: () => number } {
  let looked = 0;
  const counting = new Proxy(redis, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (name === "mget") looked += (args[0] as unknown[]).length;
        return (value as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return { redis: counting, looked: () => looked };
}

test("a list is filtered by workflow, step, wait, way in and time, and filters combine", async () => {
  let at = START_MS;
  const toy = await startToy([toyStage("create"), toyStage("cleanup")], { now: () => at });
  const first = await toy.submit({ workflow: "classic", reference: "loan" });
  at += 1_000;
  const second = await toy.submit({ workflow: "videoid", source: "inbox", reference: "loan" });
  at += 1_000;
  const third = await toy.submit({ workflow: "classic", source: "inbox" });
  const until = START_MS + 2 * 3_600_000;
  await toy.store.change(third, () => ({ event: "start" }));
  await toy.store.change(third, () => ({
    event: "wait",
    patch: { waiting: { for: "code", whose: "the signer", sinceMs: at, untilMs: until } },
  }));
  const ids = async (wanted: object) => (await toy.pipeline.list({ limit: 10, ...wanted })).items.map(({ id }) => id);
  expect(await ids({ workflow: "classic" })).toEqual([third, first]);
  expect(await ids({ source: "inbox" })).toEqual([third, second]);
  expect(await ids({ stage: "create" })).toEqual([third, second, first]);
  expect(await ids({ stage: "cleanup" })).toEqual([]);
  expect(await ids({ waitingFor: "code" })).toEqual([third]);
  expect(await ids({ waitingFor: "approval" })).toEqual([]);
  expect(await ids({ workflow: "classic", source: "inbox", state: "waiting" })).toEqual([third]);
  // From a time on, and before another: a request that was made at the second is not in it.
  expect(await ids({ createdSinceMs: START_MS + 1_000 })).toEqual([third, second]);
  expect(await ids({ createdUntilMs: START_MS + 1_000 })).toEqual([first]);
  expect(await ids({ createdSinceMs: START_MS + 1_000, createdUntilMs: START_MS + 2_000 })).toEqual([second]);
  expect(await ids({ reference: "loan", createdSinceMs: START_MS + 1_000 })).toEqual([second]);
});

test("pages neither repeat nor skip what was there while new requests come in", async () => {
  let at = START_MS;
  const toy = await startToy([toyStage("create"), toyStage("cleanup")], { now: () => at });
  const there: string[] = [];
  for (let i = 0; i < 12; i++) {
    if (i % 4 === 0) at += 1;
    there.push(await toy.submit());
  }
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await toy.pipeline.list({ limit: 5, createdUntilMs: at + 1, ...(cursor && { cursor }) });
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor;
    at += 1;
    await toy.submit();
  } while (cursor);
  expect([...seen].sort()).toEqual([...there].sort());
});

test("a page looks at a bounded number of records, however few fit, and says that there may be more", async () => {
  let looked = () => 0;
  const toy = await startToy([toyStage("create"), toyStage("cleanup")], {
    wrap: (redis) => {
      const made = counted(redis);
      looked = made.looked;
      return made.redis;
    },
  });
  // Records that only stand in the index are enough to be looked at; 5,000 submissions would take their time.
  const index = toy.keys.index("active");
  const entries = Array.from({ length: 5_000 }, (_, i) => [START_MS + i, `req-${String(i).padStart(26, "0")}`]).flat();
  await toy.plain.zadd(index, ...entries);
  // A reference that 5,000 requests share is no shortcut.
  const members = entries.filter((entry): entry is string => typeof entry === "string");
  await toy.plain.sadd(toy.keys.reference("shared"), ...members);
  for (const wanted of [
    { workflow: "classic" },
    { waitingFor: "code" },
    { tenant: "third" },
    { reference: "shared" },
  ]) {
    const before = looked();
    const page = await toy.pipeline.list({ limit: 200, ...wanted });
    expect(page.items).toEqual([]);
    expect(page.next_cursor).toBeDefined();
    expect(looked() - before, JSON.stringify(wanted)).toBeLessThanOrEqual(2_200);
  }
  // What was made in a span of time is found by the index.
  const before = looked();
  await toy.pipeline.list({ limit: 200, createdSinceMs: START_MS + 10, createdUntilMs: START_MS + 20 });
  expect(looked() - before).toBe(10);
});
