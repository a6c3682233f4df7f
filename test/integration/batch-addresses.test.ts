import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { rowRequestId } from "../../src/core/batch.ts";
import { RetryableError } from "../../src/core/errors.ts";
import { createRemote } from "../../src/producers/api/remote.ts";
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
import { feedAll, feederOf, requestsIn } from "../helpers/feeder.ts";
import { startFiles } from "../helpers/file-server.ts";
import { type House, startHouse } from "../helpers/house.ts";
import { plainPdf } from "../helpers/pdfs.ts";

type Answer = Parameters<typeof startFiles>[0];

/** A house whose documents may be fetched from a server of the test's, and a table of rows that name addresses there. */
async function startRemote(answer: Answer, { more = {}, work = false, rows: count = 3, silenceMs = 300 } = {}) {
  const files = await startFiles(answer);
  const settings = { ...BY_ITSELF, DOCUMENT_HOSTS: files.origin };
  const house = await startHouse({ settings, work, keep: work });
  const { columns, rows, files: sent } = await classicBatch(count);
  const sides = sent.filter(({ name }) => !name.endsWith(".pdf"));
  const table = (addresses: (string | undefined)[]) =>
    toTable(
      columns,
      rows.map(([name = "", ...rest], i) => [addresses[i] ?? name, ...rest]),
    );
  const remote = createRemote({ hosts: [files.origin], silenceMs });
  onTestFinished(() => remote.close());
  let clockMs = Date.now();
  const feeder = feederOf(house, {
    now: () => clockMs,
    fetch: {
      remote,
      appearances: { fit: () => Promise.resolve({}) },
      room: () => Promise.resolve(),
      maxBytes: 1024 ** 2,
    },
    ...more,
  });
  const pass = (ms: number) => void (clockMs += ms);
  return { ...files, house, feeder, pass, table, sides, sent };
}

/** Rounds until the rows are as wanted. */
async function until(house: House, id: string, feeder: ReturnType<typeof feederOf>, states: string[], each = () => {}) {
  await expect
    .poll(
      async () => {
        each();
        await feeder.round();
        return (await rowsOf(house, id)).map(({ state }) => state);
      },
      { timeout: 15_000, interval: 20 },
    )
    .toEqual(states);
}

const pdf = (text: string) => plainPdf({ text });
const documentsOf = (house: House, id: string) => readdirSync(join(house.dataDir, "batches", id, "documents"));

test("documents that rows name by address are fetched when their row is fed, signed, and not kept twice", async () => {
  const bytes = await Promise.all(["one", "two"].map(pdf));
  const { house, origin, table, sent, asked } = await startRemote(
    (request, response) => response.end(bytes[request.url?.startsWith("/one") ? 0 : 1]),
    { work: true },
  );
  const addresses = [`${origin}/one%20lease.pdf?signature=canary-query`, `${origin}/two.pdf`];
  const { body } = await sendBatch(house, { table: table(addresses), files: sent, query: "?dry_run=true" });
  expect([asked.length, body["report"]]).toEqual([0, expect.objectContaining({ good: 3, to_fetch: 2 })]);

  const id = await acceptedBatch(house, { table: table(addresses), files: sent });
  await untilBatch(house, id, ({ state }) => state === "done");
  const rows = await rowsOf(house, id);
  expect(rows.map(({ state }) => state)).toEqual(["done", "done", "done"]);
  expect(rows[0]).toMatchObject({ files: [`${origin}/one%20lease.pdf`] });
  expect(rows[0]?.signed_files?.[0]).toContain("one lease.pdf");
  expect(house.effects("sign")).toBe(3);
  expect(asked.map(({ url }) => url)).toEqual(expect.arrayContaining(["/two.pdf"]));
  const folder = join(house.dataDir, "batches", id);
  const written = ["rows.jsonl", "states.jsonl", "results.csv", "results.json"].map((name) =>
    readFileSync(join(folder, name), "utf8"),
  );
  expect(written.join("") + house.logged()).not.toContain("canary-query");
});

test("a host that is not allowed is told at once, with row and column, and is never asked", async () => {
  const { house, table, sides, asked, origin } = await startRemote((_request, response) => response.end("x"));
  const secret = "http://127.0.0.1:1/a.pdf?canary-query";
  const addresses = [secret, "https://:bad", `${origin}/ok.pdf`];
  const { body } = await sendBatch(house, { table: table(addresses), files: sides, query: "?dry_run=true" });
  const { problems } = body["report"] as { problems: { row: number; column: string; message: string }[] };
  expect(problems).toMatchObject([
    { row: 2, column: "files", message: expect.stringMatching(/127\.0\.0\.1:1.*DOCUMENT_HOSTS/) as string },
    { row: 3, column: "files", message: "names an address that cannot be read" },
  ]);
  expect(JSON.stringify(body)).not.toContain("canary-query");
  expect(asked).toEqual([]);
});

test("an address that cannot be used shows no secret either: one with a ; in it, of another scheme, or without any", async () => {
  const { house, table, sides, origin } = await startRemote((_request, response) => response.end("x"));
  const addresses = [
    `${origin}/a.pdf?canary-one=1;sig=canary-two`,
    "ftp://user:canary-three@files.example/b.pdf?canary-four",
    "files.example/c.pdf?canary-five",
  ];
  const { body } = await sendBatch(house, { table: table(addresses), files: sides, query: "?dry_run=true" });
  const { problems } = body["report"] as { problems: { row: number; message: string }[] };
  expect(problems.map(({ row, message }) => `${row} ${message}`)).toEqual([
    expect.stringMatching(/^2 .*write %3B/),
    expect.stringMatching(/^3 names "ftp:\/\/files\.example\/b\.pdf": /),
    expect.stringMatching(/^4 names "files\.example\/c\.pdf": /),
  ]);
  expect(JSON.stringify(body)).not.toContain("canary-");
  const sent = sides.concat({ name: "own.pdf", bytes: await pdf("own") });
  const id = await acceptedBatch(house, { table: table([...addresses.slice(0, 2), "own.pdf"]), files: sent });
  const written = readFileSync(join(house.dataDir, "batches", id, "rows.jsonl"), "utf8");
  expect(written + JSON.stringify(await rowsOf(house, id))).not.toMatch(/canary-(one|two|three|four)/);
});

test("what is wrong with a document is its row's alone, says which host and what, and can be tried again", async () => {
  let isThere = false;
  const good = await pdf("good");
  const { house, origin, feeder, table, sides } = await startRemote((request, response) => {
    if (request.url === "/good.pdf" || isThere) return response.end(request.url === "/good.pdf" ? good : late);
    response.statusCode = request.url?.startsWith("/gone.pdf") ? 404 : 200;
    return response.end("no PDF");
  });
  const late = await pdf("late");
  const addresses = [`${origin}/gone.pdf?canary-query`, `${origin}/page.html`, `${origin}/good.pdf`];
  const id = await acceptedBatch(house, { table: table(addresses), files: sides });
  await until(house, id, feeder, ["rejected", "rejected", "queued"]);
  const rows = await rowsOf(house, id);
  expect(rows[0]).toMatchObject({ code: "document-not-fetched", reason: expect.stringContaining("404") as string });
  expect(rows[1]?.reason).toMatch(/^What 127\.0\.0\.1:\d+ gives cannot be signed: /);
  expect(JSON.stringify(rows)).not.toContain("canary-query");
  expect(documentsOf(house, id).filter((name) => name.startsWith("fetched"))).toEqual([]);

  isThere = true;
  await house.call("POST", `/v1/batches/${id}/retry`);
  // Both have the same document now, for two signers.
  await until(house, id, feeder, ["queued", "queued", "queued"]);
  expect(await requestsIn(house)).toEqual(
    [rowRequestId(id, 2, 2), rowRequestId(id, 3, 2), rowRequestId(id, 4, 1)].sort(),
  );
});

test("a host that is away keeps no other row back; its row is tried again after a pause, and at last rejected", async () => {
  const { house, origin, feeder, table, sent, asked, pass } = await startRemote(() => {});
  const id = await acceptedBatch(house, { table: table([`${origin}/a.pdf`]), files: sent });
  await until(house, id, feeder, ["pending", "queued", "queued"]);
  await expect.poll(() => asked.length).toBe(1);
  await until(house, id, feeder, ["rejected", "queued", "queued"], () => pass(5_000));
  expect(asked.length).toBe(4);
  expect((await rowsOf(house, id))[0]).toMatchObject({
    code: "document-host-unreachable",
    reason: expect.stringMatching(/does not give the document.*tried 4 times/) as string,
  });
});

test("a row that was cancelled between two tries of its host, and is tried again, has all its tries", async () => {
  const { house, origin, feeder, asked, pass, table, sent } = await startRemote(() => {});
  const id = await acceptedBatch(house, { table: table([`${origin}/a.pdf`]), files: sent });
  await until(house, id, feeder, ["pending", "queued", "queued"]);
  await expect
    .poll(
      async () => {
        if (asked.length < 3) pass(5_000);
        await feeder.round();
        return asked.length;
      },
      { timeout: 15_000, interval: 50 },
    )
    .toBe(3);
  await house.call("POST", `/v1/batches/${id}/cancel`);
  await feeder.round();
  expect((await rowsOf(house, id))[0]?.state).toBe("cancelled");
  await house.call("POST", `/v1/batches/${id}/retry`);
  await expect
    .poll(
      async () => {
        pass(5_000);
        await feeder.round();
        return (await rowsOf(house, id))[0]?.state;
      },
      { timeout: 20_000, interval: 50 },
    )
    .toBe("rejected");
  expect(asked.length).toBe(7);
});

test("a batch whose host is slow leaves room for the addresses of another one", async () => {
  const bytes = await pdf("quick");
  const answer: Answer = (request, response) => void (request.url === "/quick.pdf" && response.end(bytes));
  const { house, origin, feeder, table, sides } = await startRemote(answer, { rows: 12, silenceMs: 60_000 });
  const slow = Array.from({ length: 12 }, (_, i) => `${origin}/slow-${i}.pdf`);
  const first = await acceptedBatch(house, { table: table(slow), files: sides });
  for (let rounds = 0; rounds < 3; rounds++) await feeder.round();
  const quick = await acceptedBatch(house, { table: table([`${origin}/quick.pdf`, ...slow]), files: sides });
  await expect
    .poll(
      async () => {
        await feeder.round();
        return (await rowsOf(house, quick))[0]?.state;
      },
      { timeout: 10_000, interval: 20 },
    )
    .toBe("queued");
  expect(new Set((await rowsOf(house, first)).map(({ state }) => state))).toEqual(new Set(["pending"]));
});

test("a fault of ours while documents are fetched is told of the batch, counts for no row, and passes", async () => {
  const bytes = await pdf("one");
  let isFull = true;
  const fetch = {
    appearances: { fit: () => Promise.resolve({}) },
    room: () => (isFull ? Promise.reject(new RetryableError("No room", { code: "disk-full" })) : Promise.resolve()),
    maxBytes: 1024 ** 2,
  };
  const { house, origin, table, sent } = await startRemote((_request, response) => response.end(bytes));
  const remote = createRemote({ hosts: [origin] });
  onTestFinished(() => remote.close());
  let clockMs = Date.now();
  const feeder = feederOf(house, { now: () => clockMs, fetch: { ...fetch, remote } });
  const id = await acceptedBatch(house, { table: table([`${origin}/a.pdf`]), files: sent });
  const pass = () => void (clockMs += 3_000);
  await until(house, id, feeder, ["pending", "queued", "queued"], pass);
  await expect
    .poll(
      async () => {
        pass();
        await feeder.round();
        return (await batchOf(house, id))["stands"];
      },
      { timeout: 10_000, interval: 20 },
    )
    .toMatchObject({ code: "disk-full" });
  isFull = false;
  await until(house, id, feeder, ["queued", "queued", "queued"], pass);
  pass();
  await feeder.round();
  expect((await batchOf(house, id))["stands"]).toBeUndefined();
});

test("a document that is too large is not kept, nor read to its end, whatever the host says of its size", async () => {
  let sentBytes = 0;
  const { house, origin, feeder, table, sent } = await startRemote((_request, response) => {
    const block = Buffer.alloc(64 * 1024);
    const timer = setInterval(() => {
      sentBytes += block.length;
      if (sentBytes < 16 * 1024 ** 2) response.write(block);
      else response.end();
    }, 1);
    response.on("close", () => clearInterval(timer));
  });
  const id = await acceptedBatch(house, { table: table([`${origin}/1.pdf`]), files: sent });
  await until(house, id, feeder, ["rejected", "queued", "queued"]);
  expect((await rowsOf(house, id))[0]).toMatchObject({ code: "file-too-large" });
  expect(sentBytes).toBeLessThan(8 * 1024 ** 2);
  expect(documentsOf(house, id).filter((name) => /fetched|part/.test(name))).toEqual([]);
});

test.each(["row:fetched", "row:adopted", "row:submitted", "row:noted"] as const)(
  "the process that feeds dies at %s of a row that is fetched: whoever goes on makes each row one request",
  async (boundary) => {
    const bytes = await Promise.all(["1", "2", "3"].map(pdf));
    let met = 0;
    const reach = async (reached: string) => {
      if (reached !== boundary || ++met > 1) return;
      await new Promise(() => {}); // nothing more comes from here
    };
    const answer: Answer = (request, response) => response.end(bytes[Number(request.url?.at(1)) - 1]);
    const { house, origin, feeder, table, sides } = await startRemote(answer, { more: { reach } });
    const again = createRemote({ hosts: [origin] });
    onTestFinished(() => again.close());
    const id = await acceptedBatch(house, { table: table([1, 2, 3].map((n) => `${origin}/${n}.pdf`)), files: sides });
    void (async () => {
      while (met === 0) await feeder.round();
    })();
    await expect.poll(() => met, { timeout: 10_000 }).toBeGreaterThan(0);
    const appearances = { fit: () => Promise.resolve({}) };
    const room = () => Promise.resolve();
    const next = feederOf(house, { fetch: { remote: again, appearances, room, maxBytes: 1024 ** 2 } });
    await until(house, id, next, ["queued", "queued", "queued"]);
    await feedAll(house, next);
    expect(await requestsIn(house)).toEqual([2, 3, 4].map((row) => rowRequestId(id, row, 1)).sort());
  },
);
