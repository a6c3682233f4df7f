import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { expect, test } from "vitest";
import {
  acceptedBatch,
  batchOf,
  BY_ITSELF,
  classicBatch,
  rowsOf,
  sendBatch,
  toTable,
  untilBatch,
} from "../helpers/batches.ts";
import { type House, startHouse } from "../helpers/house.ts";

test("a table of thirty is signed, with as many results as rows; what is wrong with one row keeps no other back", async () => {
  const house = await startHouse({ settings: BY_ITSELF });
  const { columns, rows, files } = await classicBatch(30);
  const bad = rows[6] ?? [];
  bad[2] = "nobody";
  const { status, body } = await sendBatch(house, {
    table: toTable(columns, rows, ";"),
    files,
    options: { name: "leases" },
  });
  expect([status, body["report"]]).toEqual([
    202,
    {
      ...{ rows: 30, good: 29, rejected: 1, to_fetch: 0, unused_files: [] },
      problems: [{ row: 8, column: "email", message: "must be an e-mail address like ana@example.com" }],
    },
  ]);
  const { id } = body["batch"] as { id: string };
  const batch = await untilBatch(house, id, ({ state }) => state === "done", 80_000);
  expect(batch).toMatchObject({ name: "leases", rows: 30, over: 30, counts: { done: 29, rejected: 1 } });

  const results = await rowsOf(house, id);
  expect(results.map(({ row }) => row)).toEqual(Array.from({ length: 30 }, (_, i) => i + 2));
  const first = results[0];
  const signed = readFileSync(join(house.dataDir, first?.signed_files?.[0] ?? ""));
  expect(createHash("sha256").update(signed).digest("hex")).toBe(first?.sha256?.[0]);
  expect(results[6]).toMatchObject({ row: 8, state: "rejected", code: "invalid-row" });

  const csv = (await house.download(`/v1/batches/${id}/results.csv`)).bytes.toString("utf8");
  const table = parse(csv, { bom: true, columns: true }) as unknown as Record<string, string>[];
  expect(table.map((line) => line["request_id"])).toEqual(results.map((row) => row.request_id ?? ""));
  const kept = readFileSync(join(house.dataDir, "batches", id, "results.csv"), "utf8");
  expect(kept).toBe(csv);
  expect(house.effects("sign")).toBe(29);
});

/** All that Redis has under a key, as text. */
async function valueOf(redis: House["app"]["redis"], key: string): Promise<string> {
  const readers: Record<string, () => Promise<unknown>> = {
    string: () => redis.get(key),
    hash: () => redis.hgetall(key),
    list: () => redis.lrange(key, 0, -1),
    set: () => redis.smembers(key),
    zset: () => redis.zrange(key, "0", "-1"),
    stream: () => redis.xrange(key, "-", "+"),
    none: () => Promise.resolve(null), // it has just gone
  };
  const read = readers[await redis.type(key)];
  if (!read) throw new Error(`${key} is of a kind that is not read here`);
  return JSON.stringify(await read());
}

/** Looks for what is said of the signers of a batch of classicBatch wherever it must not be. */
async function expectNobody(house: House, id: string, mark: string): Promise<void> {
  const secrets = [`canary-${mark}-`, "Canarez", "Canaria", `canary-op-${mark}`, `X${mark}`, "+34691000001"];
  const { redis, keys } = house.app;
  const everything: string[] = [house.logged()];
  for (const key of await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`)) {
    everything.push(key, await valueOf(redis, key));
  }
  for (const name of ["rows.jsonl", "states.jsonl", "results.csv", "results.json", "progress.json"]) {
    everything.push(readFileSync(join(house.dataDir, "batches", id, name), "latin1"));
  }
  // What has to be there is found, so what must not be would be.
  expect(everything.some((text) => text.includes(`ref-${mark}-1`))).toBe(true);
  for (const secret of secrets) {
    expect(
      everything.filter((text) => text.includes(secret)),
      secret,
    ).toEqual([]);
  }
}

test("nothing of who signs is in a log, in Redis, in the results, or in the clear on the disk", async () => {
  const house = await startHouse({ settings: BY_ITSELF, work: false });
  const { table, files, mark } = await classicBatch(3);
  const id = await acceptedBatch(house, { table, files });
  await untilBatch(house, id, ({ counts }) => counts["queued"] === 3);
  await expectNobody(house, id, mark);
});

test("nor is it once rows are done, or when calls fail that hand in a batch", async () => {
  const house = await startHouse({ settings: BY_ITSELF });
  const { columns, rows, files, mark } = await classicBatch(3);
  const email = columns.indexOf("email");
  const spoilt = rows.map((row) => row.map((cell, i) => (i === email ? cell.replace("@", " at ") : cell)));
  for (const table of [toTable(columns, spoilt), `${toTable(columns, rows)}"${rows[0]?.[email] ?? ""}`]) {
    const { status, body } = await sendBatch(house, { table, files });
    expect(status).toBe(422);
    expect(JSON.stringify(body)).not.toMatch(/canary-|Canari|Canarez/);
  }
  const id = await acceptedBatch(house, { table: toTable(columns, [...rows, ...spoilt.slice(0, 1)]), files });
  await untilBatch(house, id, ({ state }) => state === "done");
  expect((await batchOf(house, id)).counts).toEqual({ done: 3, rejected: 1 });
  await expectNobody(house, id, mark);
});

test("one goes ahead; the others follow when it is done", async () => {
  const house = await startHouse({ settings: BY_ITSELF, work: false });
  const { table, files } = await classicBatch(4);
  const id = await acceptedBatch(house, { table, files, options: { canary: true } });
  await untilBatch(house, id, ({ counts }) => counts["queued"] === 1);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(await batchOf(house, id)).toMatchObject({ state: "canary", counts: { queued: 1, pending: 3 } });
  house.app.startWorkers();
  await untilBatch(house, id, ({ state }) => state === "done");
  expect(house.effects("sign")).toBe(4);
});

test("once all is done, who signs and the documents are gone from the batch", async () => {
  const house = await startHouse({ settings: BY_ITSELF });
  const { table, files } = await classicBatch(2);
  const id = await acceptedBatch(house, { table, files });
  await untilBatch(house, id, (batch) => batch["rows_erased_at"] !== undefined);
  const folder = join(house.dataDir, "batches", id);
  expect([existsSync(join(folder, ".key")), existsSync(join(folder, "documents"))]).toEqual([false, false]);
  expect(readFileSync(join(folder, "rows.jsonl"), "utf8")).not.toContain("sealed");
  expect((await house.call("POST", `/v1/batches/${id}/retry`)).body).toMatchObject({ code: "nothing-to-retry" });
  expect((await rowsOf(house, id)).map(({ state }) => state)).toEqual(["done", "done"]);
});
