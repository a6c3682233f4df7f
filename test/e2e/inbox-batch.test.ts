import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BY_ITSELF, classicBatch, toTable } from "../helpers/batches.ts";
import { startHouse } from "../helpers/house.ts";

async function until<T>(look: () => T | undefined, withinMs = 60_000): Promise<T> {
  const late = Date.now() + withinMs;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (Date.now() > late) throw new Error("it did not come about in time");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("a folder with a table of five: four come back signed, one with what is wrong with it; corrected and put back, it is signed alone", async () => {
  const house = await startHouse({ settings: BY_ITSELF });
  await house.app.startInbox();
  const { columns, rows, files } = await classicBatch(5);
  const email = columns.indexOf("email");
  const good = rows[2]?.[email] ?? "";
  if (rows[2]) rows[2][email] = "nobody";
  const at = (...names: string[]) => join(house.dataDir, ...names);
  await mkdir(at("put-together"));
  for (const { name, bytes } of files) await writeFile(at("put-together", name), bytes);
  await writeFile(at("put-together", "batch.csv"), toTable(columns, rows, ";"));
  await rename(at("put-together"), at("inbox", "leases"));

  const back = await until(() => (existsSync(at("failed", "leases.error.json")) ? at("failed", "leases") : undefined));
  expect(house.effects("sign")).toBe(4);
  const wrong = files.find(({ name }) => name.startsWith("lease 3 "))?.name ?? "";
  expect(readdirSync(back).sort()).toEqual(["batch.csv", "front.jpg", "rear.png", "results.csv", wrong].sort());
  const why = readFileSync(join(back, "results.csv"), "utf8").trim().split("\r\n");
  expect(why).toHaveLength(2);
  expect(why[1]).toMatch(/^2,.*,rejected,invalid-row,"?email must be/);
  expect(readFileSync(at("failed", "leases.error.txt"), "utf8")).toMatch(
    /1 of 5 rows are not signed, and are in its table: row 2: email must be .* signed\/bat-/,
  );
  const [signed = ""] = readdirSync(at("signed")).filter((name) => name.startsWith("bat-"));
  const results = readdirSync(at("signed", signed));
  expect(results.filter((name) => name.endsWith(".pdf"))).toHaveLength(4);
  expect(results).toEqual(expect.arrayContaining(["results.csv", "results.json"]));
  expect(readFileSync(at("signed", signed, "results.csv"), "utf8").match(/,done,/g)).toHaveLength(4);
  expect(readdirSync(at("archive", signed))).toHaveLength(4);
  const claims = () => readdirSync(at(".work")).filter((name) => existsSync(at(".work", name, "claim.json")));
  await expect.poll(claims, { timeout: 10_000 }).toEqual([]);

  const table = readFileSync(join(back, "batch.csv"), "utf8");
  await writeFile(join(back, "batch.csv"), table.replace("nobody", good));
  await rename(back, at("inbox", "leases"));
  await until(() =>
    readdirSync(at("signed")).filter((name) => name.startsWith("bat-")).length === 2 ? true : undefined,
  );
  await until(() => (existsSync(at("failed", "leases.error.json")) ? undefined : true));
  expect(house.effects("sign")).toBe(5);
  const status = () => JSON.parse(readFileSync(at("status", "leases.status.json"), "utf8")) as object;
  await expect
    .poll(status, { timeout: 10_000 })
    .toMatchObject({ state: "done", batch: { rows: 1, counts: { done: 1 } } });
  expect(existsSync(at("failed", "leases"))).toBe(false);
});
