import { expect, test } from "vitest";
import { acceptedBatch, batchOf, classicBatch, rowsOf } from "../helpers/batches.ts";
import { feedAll, feederOf, requestsIn, startWithBatch } from "../helpers/feeder.ts";
import type { House } from "../helpers/house.ts";

const submitted = async (house: House, id: string) =>
  (await rowsOf(house, id)).filter(({ state }) => state !== "pending").length;

test("a small batch beside a big one is through after as many turns of the other; the big one goes on meanwhile", async () => {
  const { house, id: big } = await startWithBatch(60);
  const feeder = feederOf(house, { waiting: () => Promise.resolve(0) });
  for (let rounds = 0; rounds < 3; rounds++) await feeder.round();
  const before = await submitted(house, big);
  const small = await acceptedBatch(house, await classicBatch(5));
  let rounds = 0;
  while ((await submitted(house, small)) < 5) {
    await feeder.round();
    rounds += 1;
  }
  const meanwhile = (await submitted(house, big)) - before;
  expect(rounds).toBeLessThanOrEqual(4);
  expect(meanwhile).toBeGreaterThanOrEqual(5);
  expect(meanwhile).toBeLessThanOrEqual(8);
});

test("of five batches none starves, whatever the others' priorities", async () => {
  const { house, id: first } = await startWithBatch(30, { priority: 1 });
  const others: string[] = [];
  for (let i = 0; i < 4; i++) {
    others.push(await acceptedBatch(house, { ...(await classicBatch(30)), options: { priority: 10 } }));
  }
  const feeder = feederOf(house, { waiting: () => Promise.resolve(0) });
  // 41 turns are a round for all of them: ten for each of the others, and one.
  for (let rounds = 0; rounds < 21; rounds++) await feeder.round();
  expect(await submitted(house, first)).toBe(2);
  const counts = await Promise.all(others.map((id) => submitted(house, id)));
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
});

test("a batch all of whose rows are held, by a host that is slow, takes no turn from another", async () => {
  const { house, id } = await startWithBatch(12);
  const { folders } = house.app.batches;
  const sealed = folders.rows.bind(folders);
  const other = await acceptedBatch(house, await classicBatch(12));
  // As if its rows had been accepted with addresses, which that house does not allow.
  folders.rows = async function* (batch) {
    for await (const row of sealed(batch)) yield batch === other ? { ...row, isRemote: true as const } : row;
  };
  let asked = 0;
  const feeder = feederOf(house, {
    waiting: () => Promise.resolve(0),
    fetch: {
      remote: { fetch: () => Promise.reject(new Error("not asked")) },
      appearances: {
        fit: async () => {
          asked += 1;
          return await new Promise<never>(() => {}); // a fetch that takes for ever
        },
      },
      room: () => Promise.resolve(),
      maxBytes: 1024 ** 2,
    },
  });
  await feedAll(house, feeder);
  expect([await submitted(house, id), await submitted(house, other)]).toEqual([12, 0]);
  expect(asked).toBe(4);
  expect((await requestsIn(house)).length).toBe(12);
});

test("no time is told while nothing is submitted, and a new one as soon as rows are over again", async () => {
  const { house, id } = await startWithBatch(10);
  let heldMs = 0;
  let clockMs = Date.now();
  const feeder = feederOf(house, {
    waiting: () => Promise.resolve(0),
    heldMs: () => Promise.resolve(heldMs),
    now: () => clockMs,
  });
  await feeder.round();
  for (const [i, request] of (await requestsIn(house)).entries()) {
    if (i < 3) await house.call("POST", `/v1/requests/${request}/cancel`);
  }
  house.app.startWorkers();
  heldMs = 60_000;
  await expect
    .poll(
      async () => {
        clockMs += 3_000;
        await feeder.round();
        return (await batchOf(house, id)).counts["cancelled"];
      },
      { timeout: 20_000 },
    )
    .toBe(3);
  expect(await batchOf(house, id)).toMatchObject({ stands: { code: "provider-paused" } });
  expect(await batchOf(house, id)).not.toHaveProperty("estimated_finish_at");
  heldMs = 0;
  clockMs += 3_000;
  await feedAll(house, feeder);
  clockMs += 3_000;
  await feeder.round();
  expect(Date.parse(String((await batchOf(house, id))["estimated_finish_at"]))).toBeGreaterThan(clockMs);
});
