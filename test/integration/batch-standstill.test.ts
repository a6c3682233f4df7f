import { expect, test } from "vitest";
import { acceptedBatch, batchOf, BY_ITSELF, classicBatch, rowsOf, toTable, untilBatch } from "../helpers/batches.ts";
import { feedAll, feederOf, startWithBatch } from "../helpers/feeder.ts";
import { startHouse } from "../helpers/house.ts";

const REJECTED = { code: "billing-rejected", message: "Creations of acme stand still" };

/** A batch whose odd rows are of the tenant "acme" and whose even rows are of the default one. */
async function startOfTwo(rows: number) {
  const started = await startWithBatch(1);
  const { house } = started;
  const { columns, rows: cells, files } = await classicBatch(rows);
  const id = await acceptedBatch(house, { table: toTable(columns, cells), files });
  const acme = { tenant: "acme", rao: undefined };
  const { folders } = house.app.batches;
  // As if the table had said so: that house knows no such tenant.
  const kept = folders.rows.bind(folders);
  folders.rows = async function* (batch) {
    for await (const row of kept(batch)) yield batch === id && row.row % 2 === 1 ? { ...row, account: acme } : row;
  };
  return { house, id };
}

test("rows of an account that the provider rejects are not submitted, those of others are; it is said why, and they go on by themselves", async () => {
  const { house, id } = await startOfTwo(6);
  let isRejected = true;
  let clockMs = Date.now();
  const feeder = feederOf(house, {
    now: () => clockMs,
    standsFor: ({ tenant }) => Promise.resolve(isRejected && tenant === "acme" ? REJECTED : undefined),
  });
  await feedAll(house, feeder);
  const states = async () => (await rowsOf(house, id)).map(({ state }) => state);
  expect(await states()).toEqual(["queued", "pending", "queued", "pending", "queued", "pending"]);
  clockMs += 3_000;
  await feeder.round();
  expect(await batchOf(house, id)).toMatchObject({ stands: REJECTED, counts: { pending: 3, queued: 3 } });
  isRejected = false;
  await feedAll(house, feeder);
  clockMs += 3_000;
  await feeder.round();
  expect(await states()).toEqual(Array(6).fill("queued"));
  expect(await batchOf(house, id)).not.toHaveProperty("stands");
});

test("when there are no credits, rows wait in their batch and not at the provider's door; after the operator says so they all are signed", async () => {
  const house = await startHouse({ settings: BY_ITSELF });
  house.simulator.fault({
    ...{ operation: "createRequest", kind: "status-before", status: 402 },
    body: { status: "402 Payment Required", details: "There is no remaining credit" },
  });
  // Only rows that are on their way already come to wait for the account: that is fewer than twenty.
  const id = await acceptedBatch(house, await classicBatch(40));
  const held = await untilBatch(house, id, (batch) => batch["stands"] !== undefined);
  expect(held["stands"]).toMatchObject({ code: "billing-rejected" });
  expect(held["stands"]).toMatchObject({ message: expect.stringContaining("signpipe resume") as string });
  expect(held.counts["pending"]).toBeGreaterThan(0);
  expect(held).not.toHaveProperty("estimated_finish_at");
  await house.call("POST", "/v1/lanes/resume");
  await untilBatch(house, id, ({ state }) => state === "done", 80_000);
  expect(house.effects("sign")).toBe(40);
});
