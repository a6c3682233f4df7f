import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { batchOf, BY_ITSELF, classicBatch, rowsOf, untilBatch } from "../helpers/batches.ts";
import { type House, startHouse } from "../helpers/house.ts";

async function until<T>(look: () => T | undefined, withinMs = 60_000): Promise<T> {
  const late = Date.now() + withinMs;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (Date.now() > late) throw new Error("it did not come about in time");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const refusal = {
  operation: "createRequest",
  kind: "status-before",
  status: 400,
  body: { status: "400 Bad Request", details: "The request was not understood" },
} as const;

/** A folder with a table of three, of which the provider refused one; when it has come back. */
async function startWithOneFailed() {
  const house = await startHouse({ settings: BY_ITSELF });
  await house.app.startInbox();
  const made = await classicBatch(3);
  house.simulator.fault(refusal);
  const at = (...names: string[]) => join(house.dataDir, ...names);
  const drop = async (name: string, more: Record<string, string | Buffer> = {}) => {
    await mkdir(at("put-together"));
    for (const { name: file, bytes } of made.files) await writeFile(at("put-together", file), bytes);
    await writeFile(at("put-together", "batch.csv"), made.table);
    for (const [file, content] of Object.entries(more)) await writeFile(at("put-together", file), content);
    await rename(at("put-together"), at("inbox", name));
  };
  await writeFile(at("made.csv"), made.table);
  await drop("leases");
  await until(() => (existsSync(at("failed", "leases.error.json")) ? true : undefined));
  const [id = ""] = readdirSync(at("signed")).filter((name) => name.startsWith("bat-"));
  return { house, id, at, drop };
}

const stateOf = (text: string) =>
  text
    .trim()
    .split("\r\n")
    .slice(1)
    .map((line) => line.split(",")[3]);

const statesOf = async (house: House, id: string) => (await rowsOf(house, id)).map(({ state }) => state).sort();

test("a row is tried again until it is done: the results have as many rows as the table every time, and where they were delivered they are renewed", async () => {
  const { house, id, at } = await startWithOneFailed();
  const results = () => readFileSync(at("signed", id, "results.csv"), "utf8");
  expect(stateOf(results()).sort()).toEqual(["done", "done", "failed"]);

  house.simulator.fault(refusal);
  await house.call("POST", `/v1/batches/${id}/retry`);
  await untilBatch(house, id, (batch) => batch.state === "done" && batch["asked"] === undefined);
  expect(await statesOf(house, id)).toEqual(["done", "done", "failed"]);

  // The one in signed/ is all that somebody needs who has no table any more.
  await writeFile(at("inbox", "results.csv"), results());
  await until(() => (stateOf(results()).every((state) => state === "done") ? true : undefined));
  expect(stateOf(results())).toHaveLength(3);
  expect(JSON.parse(readFileSync(at("signed", id, "results.json"), "utf8"))).toMatchObject({
    batch: id,
    state: "done",
  });
  expect(readdirSync(at("signed", id)).filter((name) => name.endsWith(".pdf"))).toHaveLength(3);
  expect(house.effects("sign")).toBe(3);
  await until(() => (existsSync(at("inbox", "results.csv")) ? undefined : true));

  const again = await house.call("POST", `/v1/batches/${id}/retry`);
  expect([again.status, again.body["code"]]).toEqual([409, "nothing-to-retry"]);
  expect(again.body["detail"]).toContain("of its 3 rows there is none to try again");
  expect((await batchOf(house, id)).counts).toEqual({ done: 3 });
});

test("the retry of an operator renews what was delivered as well", async () => {
  const { house, id, at } = await startWithOneFailed();
  await house.call("POST", `/v1/batches/${id}/retry`);
  await until(() => {
    const states = stateOf(readFileSync(at("signed", id, "results.csv"), "utf8"));
    return states.every((state) => state === "done") ? true : undefined;
  });
  await until(() =>
    readdirSync(at("signed", id)).filter((name) => name.endsWith(".pdf")).length === 3 ? true : undefined,
  );
  expect(house.effects("sign")).toBe(3);
});

test("another table beside the results of an earlier one: rows of other signers, for files of the same names, are signed", async () => {
  const { house, id, at, drop } = await startWithOneFailed();
  const results = readFileSync(at("signed", id, "results.csv"));
  const { rows } = JSON.parse(readFileSync(at("signed", id, "results.json"), "utf8")) as { rows: { state: string }[] };
  const signed = rows.findIndex(({ state }) => state === "done") + 1;
  const table = (text: string) => text.replaceAll(new RegExp(`-${signed}@example`, "g"), "-other@example");
  await drop("others", { "results.csv": results, "batch.csv": table(readFileSync(at("made.csv"), "utf8")) });
  const second = await until(() => readdirSync(at("batches")).find((name) => name.startsWith("bat-") && name !== id));
  await untilBatch(house, second, (batch) => batch.state === "done");
  expect(await statesOf(house, second)).toEqual(["done", "done", "duplicate"]);
  expect(house.effects("sign")).toBe(4);
});

test("the whole folder again, with the results that it gave: only what failed is signed, whatever Redis still knows of the rest", async () => {
  const { house, id, at, drop } = await startWithOneFailed();
  const { redis, keys } = house.app;
  const marks = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*seen*`);
  expect(marks.length).toBeGreaterThan(0);
  await redis.del(marks); // as after ninety days
  await drop("again", { "results.csv": readFileSync(at("signed", id, "results.csv")) });
  await until(() => {
    const path = at("status", "again.status.json");
    return existsSync(path) && (JSON.parse(readFileSync(path, "utf8")) as { state: string }).state === "done"
      ? true
      : undefined;
  });
  expect(house.effects("sign")).toBe(3);
  const [second = ""] = readdirSync(at("signed")).filter((name) => name.startsWith("bat-") && name !== id);
  expect(await statesOf(house, second)).toEqual(["done", "duplicate", "duplicate"]);
});
