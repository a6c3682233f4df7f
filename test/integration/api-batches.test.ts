import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  acceptedBatch,
  batchOf,
  type BatchView,
  classicBatch,
  rowsOf,
  sendBatch,
  toTable,
} from "../helpers/batches.ts";
import { samplePdf, startHouse } from "../helpers/house.ts";

const SIGNER = ["ana@example.com", "+34699999999"];
const COLUMNS = ["files", "email", "phone"];
const quiet = { work: false, keep: false };

const foldersIn = (dataDir: string) => readdirSync(join(dataDir, "batches"));

test("a dry run checks every row and every file as a submission does, and keeps nothing", async () => {
  const house = await startHouse(quiet);
  const files = [
    { name: "good.pdf", bytes: await samplePdf() },
    { name: "not.pdf", bytes: Buffer.from("no PDF at all") },
    { name: "nobody.pdf", bytes: await samplePdf() },
  ];
  const rows = [
    ["good.pdf", ...SIGNER],
    ["not.pdf", ...SIGNER],
    ["missing.pdf", ...SIGNER],
    ["good.pdf", "nobody", "699"],
  ];
  const { status, body } = await sendBatch(house, { table: toTable(COLUMNS, rows), files, query: "?dry_run=true" });
  expect(status).toBe(200);
  const { problems, ...report } = body["report"] as { problems: { row: number; column: string; message: string }[] };
  expect(report).toEqual({ rows: 4, good: 1, rejected: 3, to_fetch: 0, unused_files: ["nobody.pdf"] });
  expect(problems.map(({ row, column }) => [row, column])).toEqual(
    [
      [3, "files"],
      [4, "files"],
      [5, "mobile_phone_number"],
      [5, "email"],
    ].sort(),
  );
  expect(problems.find(({ row }) => row === 4)?.message).toContain('names "missing.pdf", which did not come');
  expect(foldersIn(house.dataDir)).toEqual([]);
  expect((await house.call("GET", "/v1/batches")).body).toEqual({ items: [], next_cursor: null });
});

test("the same Idempotency-Key gives the same batch, whatever Redis has forgotten; with other content it is refused", async () => {
  const house = await startHouse(quiet);
  const made = await classicBatch(2);
  const first = await sendBatch(house, { ...made, key: "leases-7" });
  const { redis, keys } = house.app;
  const known = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*idempotency*`);
  expect(known).toEqual([]);
  const second = await sendBatch(house, { ...made, key: "leases-7" });
  const idOf = ({ body }: typeof first) => (body["batch"] as BatchView).id;
  expect([idOf(second), second.replayed]).toEqual([idOf(first), "true"]);
  const other = await sendBatch(house, { ...(await classicBatch(2)), key: "leases-7" });
  expect([other.status, other.body["code"]]).toEqual([422, "idempotency-mismatch"]);
  expect(foldersIn(house.dataDir)).toEqual([idOf(first)]);
});

test("two calls with one key at the same time make one batch", async () => {
  const house = await startHouse(quiet);
  const made = await classicBatch(3);
  const both = await Promise.all([1, 2].map(() => sendBatch(house, { ...made, key: "k" })));
  expect(both.map(({ status }) => status)).toEqual([202, 202]);
  expect(new Set(both.map(({ body }) => (body["batch"] as BatchView).id)).size).toBe(1);
  expect(foldersIn(house.dataDir)).toHaveLength(1);
});

test.each([
  ["a table that is a workbook", Buffer.from("504b0304", "hex"), "table-unreadable"],
  ["a column that is misspelt", "files,emial\na.pdf,x\n", "table-columns"],
  ["a header alone", "files,email\n", "table-empty"],
  ["no row that can be submitted", "files,email,phone\na.pdf,ana@example.com,+34699999999\n", "no-good-row"],
])("%s is refused as a whole, with the place, and nothing stays", async (_name, table, code) => {
  const house = await startHouse(quiet);
  const { status, body } = await sendBatch(house, { table });
  expect([status, body["code"]]).toEqual([422, code]);
  expect(foldersIn(house.dataDir)).toEqual([]);
});

test("bounds: rows, the table, and all files together", async () => {
  const settings = { BATCH_MAX_ROWS: "2", BATCH_MAX_TABLE_BYTES: "2000", BATCH_MAX_BYTES: "3000" };
  const house = await startHouse({ ...quiet, settings });
  const rows = ["a", "b", "c"].map((name) => [`${name}.pdf`, ...SIGNER]);
  expect((await sendBatch(house, { table: toTable(COLUMNS, rows) })).body["code"]).toBe("too-many-rows");
  expect((await sendBatch(house, { table: "x".repeat(2_001) })).body["code"]).toBe("too-large");
  const files = [{ name: "a.pdf", bytes: Buffer.alloc(3_001) }];
  expect((await sendBatch(house, { table: toTable(COLUMNS, rows), files })).body["code"]).toBe("too-large");
  expect(foldersIn(house.dataDir)).toEqual([]);
});

test("two files of one name, and parts that are not known, are refused", async () => {
  const house = await startHouse(quiet);
  const file = { name: "a.pdf", bytes: await samplePdf() };
  const { body } = await sendBatch(house, { table: toTable(COLUMNS, []), files: [file, file] });
  expect(body["code"]).toBe("part-repeated");
  const bad = await sendBatch(house, { table: toTable(COLUMNS, []), options: { priority: 11 } });
  expect([bad.body["code"], bad.body["detail"]]).toEqual(["invalid-request", "options.priority must be at most 10."]);
});

test("rows come a page at a time, all of them or those in a state; batches newest first", async () => {
  const house = await startHouse(quiet);
  const first = await acceptedBatch(house, await classicBatch(5));
  const second = await acceptedBatch(house, await classicBatch(1));
  const page = (await house.call("GET", `/v1/batches/${first}/rows?limit=2&cursor=3`)).body;
  expect(page).toMatchObject({ items: [{ row: 4 }, { row: 5 }], next_cursor: "5" });
  expect(await rowsOf(house, first, "?state=done")).toEqual([]);
  expect(await rowsOf(house, first, "?state=pending")).toHaveLength(5);
  const newest = (await house.call("GET", "/v1/batches?limit=1")).body;
  expect(newest).toMatchObject({ items: [{ id: second }], next_cursor: second });
  expect((await house.call("GET", `/v1/batches?cursor=${second}`)).body).toMatchObject({ items: [{ id: first }] });
});

test("a key for one tenant sees and makes that tenant's batches alone", async () => {
  const secrets = ["all-of-them-0123456789abcdef", "of-default-0123456789abcdef"];
  const house = await startHouse({ ...quiet, settings: { API_KEYS: `all:${secrets[0]},mine@default:${secrets[1]}` } });
  const [all = "", mine = ""] = secrets;
  const others = await sendBatch(house, { ...(await classicBatch(1)), secret: all });
  const own = await sendBatch(house, { ...(await classicBatch(1)), secret: mine });
  const get = async (path: string) => {
    const answer = await fetch(`${house.api}${path}`, { headers: { authorization: `Bearer ${mine}` } });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
  const idOf = ({ body }: typeof own) => (body["batch"] as BatchView).id;
  expect((await get(`/v1/batches/${idOf(own)}`)).status).toBe(200);
  expect((await get(`/v1/batches/${idOf(others)}`)).body["code"]).toBe("no-such-batch");
  expect((await get(`/v1/batches/${idOf(others)}/results.json`)).status).toBe(404);
  expect((await get("/v1/batches")).body["items"]).toMatchObject([{ id: idOf(own) }]);
  expect((await get("/v1/schemas/batch-row")).status).toBe(200);
  const { table, files } = await classicBatch(1);
  const foreign = table.replace(/\r\n/, ",tenant\r\n").replace(/\r\n$/, ",acme\r\n");
  const refused = await sendBatch(house, { table: foreign, files, secret: mine });
  expect(refused.body["detail"]).toContain('tenant must be "default"');
});

test("a batch that is not there, and an act that is not possible, say so", async () => {
  const house = await startHouse(quiet);
  for (const id of ["nothing", `bat-${"0".repeat(26)}`]) {
    expect((await house.call("GET", `/v1/batches/${id}`)).body["code"]).toBe("no-such-batch");
    expect((await house.call("POST", `/v1/batches/${id}/cancel`)).body["code"]).toBe("no-such-batch");
  }
  const id = await acceptedBatch(house, await classicBatch(1));
  expect((await house.call("POST", `/v1/batches/${id}/resume`)).body["code"]).toBe("not-possible-now");
  const raised = await house.call("POST", `/v1/batches/${id}/priority`, { priority: 9 });
  expect(raised.body).toMatchObject({ priority: 9 });
  expect((await batchOf(house, id))["priority"]).toBe(9);
  expect((await house.call("POST", `/v1/batches/${id}/priority`, { priority: 0 })).status).toBe(400);
});

test("the record is changed by whoever read its latest version: of many at once none is lost", async () => {
  const house = await startHouse(quiet);
  const id = await acceptedBatch(house, await classicBatch(1));
  const { folders } = house.app.batches;
  const before = (await folders.find(id))?.version ?? 0;
  const counted = await Promise.all(
    Array.from({ length: 8 }, async () => await folders.change(id, () => ({}), 2).then(({ version }) => version)),
  );
  expect(new Set(counted).size).toBe(8);
  expect((await folders.find(id))?.version).toBe(before + 8);
  expect(existsSync(join(folders.folder(id), `record-${before}.json`))).toBe(false);
});
