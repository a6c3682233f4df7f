import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import type { BatchId } from "../../src/core/batch.ts";
import { acceptedBatch, BY_ITSELF, classicBatch, rowsOf } from "../helpers/batches.ts";
import { dieBefore } from "../helpers/dying.ts";
import { expectedIds, feedAll, feederOf, requestsIn } from "../helpers/feeder.ts";
import { type House, startHouse } from "../helpers/house.ts";

const quiet = { settings: BY_ITSELF, work: false, keep: false };

/** A batch as it comes in, without the call around it. */
async function handIn(house: House, id: BatchId, table: string, files: { name: string; bytes: Uint8Array }[]) {
  const { door } = house.app.batches;
  const incoming = await door.begin(id);
  const received = [];
  for (const [i, { name, bytes }] of files.entries()) {
    const n = i + 1;
    const { sizeBytes, sha256 } = await incoming.receive(n, Readable.from([bytes]), 1024 ** 2);
    received.push({ name, n, path: incoming.documentPath(n), sizeBytes, sha256 });
  }
  const wishes = { source: "api" as const, by: "api:test", priority: 5, canary: false };
  return await door.take(id, incoming, { table: Buffer.from(table), files: received }, wishes);
}

test("the process that takes a batch in dies at any step, sealing or before or after: it is there as a whole, or not at all, and comes in once when it is sent again", async () => {
  const house = await startHouse(quiet);
  const { door, folders } = house.app.batches;
  let deaths = 0;
  for (let n = 1; ; n++) {
    const { table, files } = await classicBatch(2);
    const id = door.idFor(`key ${n}`);
    const dying = dieBefore(n);
    try {
      await handIn(house, id, table, files).catch(() => {});
    } finally {
      dying.undo();
    }
    if (existsSync(folders.folder(id))) {
      expect(await folders.find(id)).toMatchObject({ rows: 2, state: "running" });
      expect((await rowsOf(house, id)).map(({ state }) => state)).toEqual(["pending", "pending"]);
    }
    const again = await handIn(house, id, table, files);
    expect(["accepted", "known"]).toContain(again.outcome);
    expect(await rowsOf(house, id)).toHaveLength(2);
    if (!dying.isDead()) break;
    deaths += 1;
  }
  expect(deaths).toBeGreaterThan(10);
  const left = readdirSync(folders.dir).filter((name) => name.startsWith("."));
  expect(left.length).toBeGreaterThan(0);
  await folders.sweep(() => Promise.resolve(true));
  expect(readdirSync(folders.dir).filter((name) => name.startsWith("."))).toEqual([]);
}, 120_000);

test("the process that feeds dies at any step at the disk, of rows, notes, progress or results: whoever goes on makes each row one request, with as many results", async () => {
  const house = await startHouse(quiet);
  const known = new Set<string>();
  let deaths = 0;
  for (let n = 1; n < 150; n++) {
    const id = await acceptedBatch(house, await classicBatch(2));
    let clockMs = Date.now();
    const dead = feederOf(house, { now: () => clockMs, waiting: () => Promise.resolve(0) });
    const dying = dieBefore(n);
    try {
      for (let rounds = 0; rounds < 4; rounds++) {
        clockMs += 3_000;
        await dead.round();
      }
    } finally {
      dying.undo();
    }
    clockMs += 3_000;
    const next = feederOf(house, { now: () => clockMs, waiting: () => Promise.resolve(0) });
    await feedAll(house, next);
    clockMs += 3_000;
    await next.round();

    const made = (await requestsIn(house)).filter((one) => !known.has(one));
    expect(made).toEqual(expectedIds(id, 2));
    for (const one of made) known.add(one);
    expect((await rowsOf(house, id)).map(({ state }) => state)).toEqual(["queued", "queued"]);
    const folder = house.app.batches.folders.folder(id);
    expect(readFileSync(join(folder, "results.csv"), "utf8").match(/,queued,/g)).toHaveLength(2);
    // Each batch more would be more steps for the next one to die at.
    rmSync(folder, { recursive: true });
    if (!dying.isDead()) break;
    deaths += 1;
  }
  expect(deaths).toBeGreaterThan(15);
}, 240_000);
