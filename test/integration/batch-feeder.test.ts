import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { rowRequestId } from "../../src/core/batch.ts";
import { RetryableError } from "../../src/core/errors.ts";
import { createLeader } from "../../src/queues/leader.ts";
import { acceptedBatch, batchOf, classicBatch, rowsOf } from "../helpers/batches.ts";
import { expectedIds, feedAll, feederOf, requestsIn, startWithBatch } from "../helpers/feeder.ts";
import { samplePdf, startHouse } from "../helpers/house.ts";
import { forget, mend } from "../helpers/lose.ts";

const ROWS = 6;

describe.each(["row:adopted", "row:submitted", "row:noted"] as const)(
  "the process that feeds dies at %s",
  (boundary) => {
    test.each([1, 2, 5])("for the %ith time: whoever goes on makes each row one request", async (nth) => {
      const { house, id } = await startWithBatch(ROWS);
      let met = 0;
      const dying = feederOf(house, {
        reach: async (reached) => {
          if (reached !== boundary || ++met < nth) return;
          await new Promise(() => {}); // nothing more comes from here
        },
      });
      void dying.round().then((isFed) => (isFed ? dying.round() : false));
      await expect.poll(() => met, { timeout: 10_000 }).toBeGreaterThanOrEqual(nth);

      await feedAll(house);
      expect(await requestsIn(house)).toEqual(expectedIds(id, ROWS));
      expect((await rowsOf(house, id)).map(({ state }) => state)).toEqual(Array(ROWS).fill("queued"));
      for (const request of expectedIds(id, ROWS)) {
        const files = readdirSync(join(house.dataDir, ".work", request)).filter((name) => !name.startsWith("."));
        expect(files.sort()).toEqual(["1.pdf", "document_front.jpg", "document_rear.png"]);
      }
    });
  },
);

test("while the provider is away no row is submitted, and the batch says why; when it is back all are", async () => {
  const { house, id } = await startWithBatch(ROWS);
  let heldMs = 50;
  const feeder = feederOf(house, { heldMs: () => Promise.resolve(heldMs) });
  expect(await feeder.round()).toBe(false);
  expect(await requestsIn(house)).toEqual([]);
  expect(await house.app.batches.door.get(id)).toMatchObject({ progress: { stands: { code: "provider-paused" } } });
  heldMs = 0;
  await new Promise((resolve) => setTimeout(resolve, 100));
  await feedAll(house, feeder);
  expect(await requestsIn(house)).toEqual(expectedIds(id, ROWS));
});

test("two that both believe to be the one who feeds make each row one request", async () => {
  const { house, id } = await startWithBatch(ROWS);
  await Promise.all([feedAll(house), feedAll(house)]);
  expect(await requestsIn(house)).toEqual(expectedIds(id, ROWS));
});

test("a process that stood still while another one took over puts no files where that one's may be", async () => {
  const { house, id } = await startWithBatch(1);
  let isLeading = true;
  const adopted: string[] = [];
  const { pipeline, documents } = house.app;
  const feeder = feederOf(house, {
    leader: { lead: () => Promise.resolve(true), isLeading: () => isLeading, resign: () => Promise.resolve() },
    pipeline: {
      ...pipeline,
      find: async (one) => {
        const found = await pipeline.find(one);
        isLeading = false; // it stands still here
        return found;
      },
    },
    documents: {
      ...documents,
      adopt: async (one, files) => {
        adopted.push(one);
        await documents.adopt(one, files);
      },
    },
  });
  await feeder.round();
  expect([isLeading, adopted]).toEqual([false, []]);
  await feedAll(house);
  expect(await requestsIn(house)).toEqual(expectedIds(id, 1));
});

test("of two that ask for the lead one has it; the other has it once the first lets go, or is silent for too long", async () => {
  const house = await startHouse({ work: false, keep: false });
  const { redis, keys } = house.app;
  let [monotonic, wall] = [0, 0];
  const clocks = { monotonic: () => monotonic, wall: () => wall };
  const [one, other] = [0, 1].map(() => createLeader({ redis, keys, what: "test", lapseMs: 400, ...clocks }));
  expect([await one?.lead(), await other?.lead(), one?.isLeading()]).toEqual([true, false, true]);
  wall = 201; // as when a machine has slept
  expect(one?.isLeading()).toBe(false);
  monotonic = wall = 0;
  await one?.resign();
  expect([await other?.lead(), await one?.lead()]).toEqual([true, false]);
  await expect.poll(() => one?.lead(), { timeout: 5_000 }).toBe(true);
});

test("Redis loses a row's request right after it was made: it is put back, and not made anew", async () => {
  const { house, id } = await startWithBatch(ROWS);
  let met = false;
  const dying = feederOf(house, {
    reach: async (boundary, request) => {
      if (boundary !== "row:submitted" || request !== rowRequestId(id, 2, 1)) return;
      met = true;
      await new Promise(() => {});
    },
  });
  void dying.round();
  await expect.poll(() => met, { timeout: 10_000 }).toBe(true);
  await forget(house, rowRequestId(id, 2, 1), 0);
  expect(await mend(house)).toBeGreaterThan(0);
  await feedAll(house);
  expect(await requestsIn(house)).toEqual(expectedIds(id, ROWS));
});

test("only so many wait ahead of the workers, so that a single file meets a short queue; however long it is, a row goes in now and then", async () => {
  const { house } = await startWithBatch(30);
  let clockMs = Date.now();
  const feeder = feederOf(house, { now: () => clockMs });
  await feedAll(house, feeder);
  const ahead = (await requestsIn(house)).length;
  expect(ahead).toBe(20);
  const single = await house.submit({}, [{ name: "urgent.pdf", bytes: await samplePdf() }]);
  expect(await house.app.queues.stateOf("create", single)).toBe("waiting");
  await feedAll(house, feeder);
  expect((await requestsIn(house)).length).toBe(ahead + 1);
  clockMs += 5_001;
  await feedAll(house, feeder);
  expect((await requestsIn(house)).length).toBe(ahead + 2);
});

test("two batches take turns, as their priorities say", async () => {
  const { house, id: first } = await startWithBatch(40, { priority: 1 });
  const second = await acceptedBatch(house, { ...(await classicBatch(40)), options: { priority: 4 } });
  await feedAll(house);
  const count = async (id: string) => (await rowsOf(house, id, "?state=queued")).length;
  expect([await count(first), await count(second)]).toEqual([4, 16]);
});

test("while nothing may be taken in, no row is lost and no row is blamed; it is said why", async () => {
  const { house, id } = await startWithBatch(ROWS);
  let isFull = true;
  let clockMs = Date.now();
  const { pipeline } = house.app;
  const mayTake = () =>
    isFull
      ? Promise.reject(new RetryableError("Redis is nearly full", { code: "redis-full", retryAfterMs: 1_000 }))
      : pipeline.mayTake();
  const feeder = feederOf(house, { pipeline: { ...pipeline, mayTake }, now: () => clockMs });
  await feeder.round();
  expect(await batchOf(house, id)).toMatchObject({ stands: { code: "redis-full" }, counts: { pending: ROWS } });
  isFull = false;
  clockMs += 3_000;
  await feedAll(house, feeder);
  clockMs += 3_000;
  await feeder.round();
  const batch = await batchOf(house, id);
  expect([batch.counts, batch["stands"]]).toEqual([{ queued: ROWS }, undefined]);
});

test("paused, nothing more is submitted; cancelled in the middle, the rest is not, what is open is; retried, it is all there once", async () => {
  const { house, id } = await startWithBatch(30);
  const feeder = feederOf(house);
  await feedAll(house, feeder);
  const call = (path: string, body?: object) => house.call("POST", `/v1/batches/${id}/${path}`, body);

  expect((await call("pause")).body).toMatchObject({ state: "paused" });
  expect((await call("pause")).body).toMatchObject({ code: "not-possible-now" });
  expect((await call("cancel")).body).toMatchObject({ state: "cancelled", asked: "cancel" });
  await feeder.round();
  expect((await rowsOf(house, id)).filter(({ code }) => code === "cancelled-before-submission")).toHaveLength(10);
  house.app.startWorkers();
  await expect
    .poll(
      async () => {
        await feeder.round();
        return (await rowsOf(house, id)).filter(({ state }) => state === "cancelled").length;
      },
      { timeout: 20_000 },
    )
    .toBe(30);
  expect(house.effects("sign")).toBe(0);
  expect(await batchOf(house, id)).toMatchObject({ state: "cancelled" });

  expect((await call("retry")).body).toMatchObject({ state: "running", asked: "retry" });
  await expect
    .poll(
      async () => {
        await feeder.round();
        return (await batchOf(house, id)).state;
      },
      { timeout: 25_000, interval: 50 },
    )
    .toBe("done");
  expect(house.effects("sign")).toBe(30);
  expect((await rowsOf(house, id)).every(({ state }) => state === "done")).toBe(true);
});

test("the same table again makes nothing twice: what is open or done is a duplicate, and says of what", async () => {
  const { house, id, made } = await startWithBatch(3);
  await feedAll(house);
  const again = await acceptedBatch(house, made);
  await feedAll(house);
  const before = await rowsOf(house, id);
  expect(await rowsOf(house, again)).toMatchObject(
    before.map((row) => ({ state: "duplicate", code: "duplicate", request_id: row.request_id })),
  );
  expect(await requestsIn(house)).toEqual(expectedIds(id, 3));
  expect((await batchOf(house, again)).state).toBe("done");
});

test("what ends otherwise than done is kept for another try, and erased when its time is over", async () => {
  const { house, id } = await startWithBatch(2);
  let clockMs = Date.now();
  await feedAll(house);
  const again = feederOf(house, { now: () => clockMs });
  await house.call("POST", `/v1/batches/${id}/cancel`);
  house.app.startWorkers();
  await expect
    .poll(
      async () => {
        await again.round();
        return (await rowsOf(house, id)).map(({ state }) => state);
      },
      { timeout: 20_000 },
    )
    .toEqual(["cancelled", "cancelled"]);
  const folder = join(house.dataDir, "batches", id);
  expect(existsSync(join(folder, ".key"))).toBe(true);
  clockMs += 120_000;
  await again.round();
  await again.round();
  expect(existsSync(join(folder, ".key"))).toBe(false);
  expect(readFileSync(join(folder, "rows.jsonl"), "utf8")).not.toContain("sealed");
});

test("one that goes ahead and fails holds the others back", async () => {
  const { house, id } = await startWithBatch(3, { canary: true });
  const feeder = feederOf(house);
  await feedAll(house, feeder);
  expect(await requestsIn(house)).toEqual([rowRequestId(id, 2, 1)]);
  await house.call("POST", `/v1/requests/${rowRequestId(id, 2, 1)}/cancel`);
  house.app.startWorkers();
  await house.reaches(rowRequestId(id, 2, 1), "cleanup", "cancelled");
  await feeder.round();
  expect(await batchOf(house, id)).toMatchObject({ state: "paused", held: { code: "canary-failed" } });
  await house.call("POST", `/v1/batches/${id}/resume`);
  await feedAll(house, feeder);
  expect(await requestsIn(house)).toEqual(expectedIds(id, 3));
});
