import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { rowRequestId } from "../../src/core/batch.ts";
import { acceptedBatch, BY_ITSELF, classicBatch, rowsOf, toTable, untilBatch } from "../helpers/batches.ts";
import { requestsIn } from "../helpers/feeder.ts";
import { startFiles } from "../helpers/file-server.ts";
import { type House, startHouse } from "../helpers/house.ts";
import { plainPdf } from "../helpers/pdfs.ts";
import { killHard, startProcess } from "../helpers/process.ts";

const ROWS = 6;

/** A batch of which every document is fetched, and which nobody feeds yet. */
async function startFetching(house: House, origin: string) {
  const { columns, rows, files } = await classicBatch(ROWS);
  const table = rows.map(([, ...rest], i) => [`${origin}/${i + 1}.pdf?canary-token`, ...rest]);
  const sides = files.filter(({ name }) => !name.endsWith(".pdf"));
  return await acceptedBatch(house, { table: toTable(columns, table), files: sides });
}

test("a process that feeds a batch is killed while a document is on its way, and again among the rows: each row is signed once, and nothing of what was fetched stays", async () => {
  const pdfs = await Promise.all(Array.from({ length: ROWS }, (_, i) => plainPdf({ text: `fetched ${i + 1}` })));
  let isSlow = true;
  const { asked, origin } = await startFiles((request, response) => {
    const pdf = pdfs[Number(/^\/(\d)/.exec(request.url ?? "")?.[1]) - 1] ?? new Uint8Array();
    // A half of it, and then nothing.
    if (isSlow) response.writeHead(200, { "content-length": pdf.length }).write(pdf.subarray(0, pdf.length / 2));
    else setTimeout(() => response.end(pdf), 50);
  });
  const settings = { ...BY_ITSELF, DOCUMENT_HOSTS: origin, RECONCILE_MS: "2000" };
  const house = await startHouse({ settings, work: false, keep: false });
  const id = await startFetching(house, origin);

  const first = startProcess(house, ["start"]);
  await expect.poll(() => asked.length, { timeout: 40_000 }).toBeGreaterThan(2);
  await killHard(first);
  expect(await requestsIn(house)).toEqual([]);

  isSlow = false;
  const second = startProcess(house, ["start"]);
  await expect.poll(() => requestsIn(house), { timeout: 40_000, interval: 5 }).not.toEqual([]);
  await killHard(second);
  expect((await rowsOf(house, id)).some(({ state }) => state !== "done")).toBe(true);

  startProcess(house, ["start"]);
  // Those between whose record and job it was killed are found by the reconciler when they are a minute overdue.
  await untilBatch(house, id, ({ state }) => state === "done", 110_000);
  expect((await rowsOf(house, id)).map(({ state }) => state)).toEqual(Array.from({ length: ROWS }, () => "done"));
  const ids = Array.from({ length: ROWS }, (_, i) => rowRequestId(id, i + 2, 1));
  expect(await requestsIn(house)).toEqual([...ids].sort());
  expect(house.effects("sign")).toBe(ROWS);
  await expect.poll(() => readdirSync(join(house.dataDir, "batches", id))).not.toContain("documents");
  const written = readdirSync(join(house.dataDir, "batches", id)).map((name) =>
    readFileSync(join(house.dataDir, "batches", id, name), "utf8"),
  );
  expect(written.join("")).not.toContain("canary-token");
}, 180_000);
