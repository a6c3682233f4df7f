import { createHash } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BatchId, RowOutcome } from "../../src/core/batch.ts";
import { createAppearances } from "../../src/files/appearances.ts";
import { createBatchFolders } from "../../src/files/batches.ts";
import { createBatchDoor } from "../../src/producers/batch/door.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import type { InboxRoot } from "../../src/producers/inbox/config.ts";
import { createRowSeals } from "../../src/queues/row-seals.ts";
import { dieBefore } from "../helpers/dying.ts";
import { type Drop, makePdf, startInboxHouse } from "./inbox-house.ts";

const OWN = "an inbox of its own";
const HEADER = "files,reference,email,mobile_phone_number";
const ROWS = [
  "one.pdf,r1,a@example.com,+34699999991",
  "two.pdf,r2,nobody,+34699999992",
  "one.pdf,r3,c@example.com,+34699999993",
];
const FOLDER = {
  "batch.csv": [HEADER, ...ROWS].join("\r\n"),
  "one.pdf": makePdf("one"),
  "two.pdf": makePdf("two"),
  "more.txt": "kept",
};

/** An inbox that takes batches, without anything that feeds their rows. */
function startBatchInbox(which: string, more: Partial<InboxRoot> = {}) {
  const house = startInboxHouse();
  const own = which === OWN ? ["legal"] : [];
  const at = (...names: string[]) => house.at(...own, ...names);
  if (which === OWN) {
    mkdirSync(at());
    writeFileSync(at(MARKER), "");
  }
  const root = which === OWN ? { root: { name: "legal", dir: at(), ...more } } : {};
  const folders = createBatchFolders({ dir: house.at("batches") });
  const door = createBatchDoor({
    folders,
    pipeline: { mustBeAllowed() {} },
    appearances: createAppearances({ dir: house.at("appearance"), kept: house.at("images") }),
    seals: createRowSeals({ masterKey: Buffer.alloc(32, 7) }),
    digest: (text) => createHash("sha256").update(text).digest(),
    ...{ maxRows: 100, maxTableBytes: 1024 ** 2, maxDocumentBytes: 1024 ** 2, maxBytes: 1024 ** 2 },
  });
  house.reopen({ ...root, batches: door });

  async function only(): Promise<BatchId> {
    const [id, ...more] = await folders.list();
    if (id === undefined || more.length > 0) throw new Error(`${more.length + 1} batches instead of one`);
    return id;
  }

  return {
    ...house,
    only,
    door,
    folders,
    at,
    tree: (...names: string[]) => house.tree(...own, ...names),
    read: (...names: string[]) => house.read(...own, ...names),
    json: (...names: string[]) => house.json(...own, ...names),
    status: (name: string) => house.json(...own, "status", `${name}.status.json`),
    drop: (files: Drop) => house.put([...own, "inbox"].join("/"), files),
    async take(files: Drop) {
      await this.drop(files);
      await house.pass(1_000, 8);
    },
    /** Batches are kept in DATA_DIR, wherever they came from. */
    batches: () => house.tree("batches"),
    again: () => house.restart({ ...root, batches: door }),
    /** As the process that feeds would write it down: these rows are done. */
    async finish(rows: number[], state: RowOutcome["state"] = "done"): Promise<void> {
      const id = await only();
      const outcomes = rows.map((row): RowOutcome => ({ row, state, attempt: 1, endedMs: 1 }));
      await folders.append(id, outcomes);
      await folders.change(id, () => ({ state: "done", asked: undefined }), 1);
      await folders.keepProgress(id, { counts: {}, over: 3, waiting: 0, atMs: 1 });
    },
  };
}

type House = ReturnType<typeof startBatchInbox>;

async function expectAllInPlace(house: House): Promise<void> {
  const id = await house.only();
  // What is left of a note that was being written is removed once it is old.
  const isPartial = (name: string) => /^\.[\w-]{12}\.part$/.test(name);
  expect((await house.tree("failed")).filter((name) => !isPartial(name))).toEqual([
    "leases.error.json",
    "leases.error.txt",
    "leases/batch.csv",
    "leases/results.csv",
    "leases/two.pdf",
  ]);
  expect(await house.read("failed", "leases", "batch.csv")).toBe(
    `\ufeff${HEADER}\r\ntwo.pdf,r2,nobody,"=""+34699999992"""\r\n`,
  );
  expect(await house.read("failed", "leases", "results.csv")).toMatch(/^[^\r]+\r\n2,r2,two\.pdf,rejected,[^\r]+\r\n$/);
  expect(await house.tree("archive")).toEqual([`${id}/more.txt`, `${id}/one.pdf`]);
  expect(await house.tree("signed")).toEqual([`${id}/results.csv`, `${id}/results.json`]);
  // The folders of an inbox of its own are examined, and there from the start.
  expect((await house.tree(".work")).filter((name) => !name.startsWith("."))).toEqual([]);
  expect(await house.tree("inbox")).toEqual([]);
}

describe.each(["the inbox in DATA_DIR", OWN])("in %s, a folder with a table", (which) => {
  test("tells of its rows while they are under way, and comes back when they are over", async () => {
    const house = startBatchInbox(which);
    await house.again();
    await house.take({ leases: FOLDER });
    expect(await house.status("leases")).toMatchObject({
      state: "running",
      batch: {
        id: await house.only(),
        rows: 3,
        problems: [{ row: 3, reason: expect.stringContaining("email") as string }],
      },
    });
    expect(house.pipeline.submissions).toEqual([]);
    await house.finish([2, 4]);
    await house.pass();
    await expectAllInPlace(house);
    expect((await house.json("failed", "leases.error.json"))["code"]).toBe("rows-not-signed");
  });

  test("comes back as a whole when no row of it can be submitted, with the reason of each", async () => {
    const house = startBatchInbox(which);
    await house.again();
    await house.take({ leases: { ...FOLDER, "batch.csv": [HEADER, ROWS[1]].join("\n") } });
    expect((await house.json("failed", "leases.error.json"))["code"]).toBe("no-good-row");
    expect(await house.tree("failed", "leases")).toEqual([
      "batch.csv",
      "more.txt",
      "one.pdf",
      "results.csv",
      "two.pdf",
    ]);
    expect(await house.read("failed", "leases", "results.csv")).toContain("invalid-row");
    expect([await house.tree(".work"), await house.batches()]).toEqual([[], []]);
  });

  test("comes back with the reason when its table cannot be used, or there are two", async () => {
    const house = startBatchInbox(which);
    await house.again();
    await house.take({
      odd: { ...FOLDER, "batch.csv": "files,emial\none.pdf,a@example.com" },
      two: { ...FOLDER, "batch.json": "[]" },
    });
    expect((await house.json("failed", "odd.error.json"))["message"]).toMatch(/"emial".*email.*drop the folder/s);
    expect((await house.json("failed", "two.error.json"))["code"]).toBe("table-repeated");
  });

  test("with a request.json is a folder like others, whatever else is called batch.csv", async () => {
    const house = startBatchInbox(which);
    await house.again();
    await house.take({ plain: { ...FOLDER, "request.json": "{}" } });
    expect(existsSync(join(house.dataDir, "batches"))).toBe(false);
    expect((await house.json("failed", "plain.error.json"))["code"]).not.toBe("no-good-row");
  });

  test("survives a death at every step: it is one batch, everything is in its place once, and nothing stays behind", async () => {
    let deaths = 0;
    for (let n = 1; ; n++) {
      const house = startBatchInbox(which);
      await house.again();
      await house.drop({ leases: FOLDER });
      const dying = dieBefore(n);
      try {
        await house.pass(1_000, 8).catch(() => {});
        if (!dying.isDead()) await house.finish([2, 4]).catch(() => {});
        await house.pass().catch(() => {});
        await house.inbox().stop();
      } finally {
        dying.undo();
      }
      if (!dying.isDead()) break;
      deaths += 1;
      await house.again();
      await house.pass(1_000, 8);
      await house.finish([2, 4]);
      await house.pass(1_000, 2);
      await expectAllInPlace(house);
    }
    expect(deaths).toBeGreaterThan(30);
  }, 300_000);
});

describe.each(["the inbox in DATA_DIR", OWN])("in %s, results of an earlier batch, dropped again", (which) => {
  /** A batch of which row 2 is done, row 4 has failed, and row 3 was never good; its folder came back. */
  async function startWithResults() {
    const house = startBatchInbox(which);
    await house.again();
    await house.take({ leases: FOLDER });
    await house.finish([2]);
    await house.finish([4], "failed");
    await house.pass();
    const id = await house.only();
    const results = {
      "results.csv": await house.read("signed", id, "results.csv"),
      "results.json": await house.read("signed", id, "results.json"),
    };
    return { house, id, results };
  }

  test.each(["results.csv", "results.json"] as const)(
    "%s alone: what failed is tried again, and the results are renewed in their place",
    async (name) => {
      const { house, id, results } = await startWithResults();
      expect(results["results.csv"].split("\r\n").map((line) => line.split(",")[3])).toEqual([
        "state",
        "done",
        "rejected",
        "failed",
        undefined,
      ]);
      await house.take({ [name]: results[name] });
      expect((await house.folders.find(id))?.asked).toMatchObject({
        what: "retry",
        by: which === OWN ? "inbox:legal" : "inbox",
      });
      expect(await house.status(name)).toMatchObject({ state: "running", batch: { id, rows: 3 } });
      await house.finish([4]);
      await house.pass(1_000, 2);
      expect(await house.status(name)).toMatchObject({ state: "done", signed: [`signed/${id}/results.csv`] });
      const renewed = (await house.read("signed", id, "results.csv")).split("\r\n");
      expect(renewed.map((line) => line.split(",")[3])).toEqual(["state", "done", "rejected", "done", undefined]);
      expect((await house.tree("archive", id)).filter((path) => path.endsWith(`/${name}`))).toHaveLength(1);
      expect([await house.tree("inbox"), await house.tree(".work")]).toEqual([[], []]);
    },
  );

  test("in a folder with its documents and no table it does the same, and the documents are kept", async () => {
    const { house, id, results } = await startWithResults();
    await house.take({ back: { ...results, "one.pdf": makePdf("one") } });
    expect((await house.folders.find(id))?.asked?.what).toBe("retry");
    await house.finish([4]);
    await house.pass(1_000, 2);
    expect(await house.status("back")).toMatchObject({ state: "done" });
    const kept = (await house.tree("archive", id)).map((path) => path.replace(/^req-\w+\//, ""));
    expect(kept).toEqual(expect.arrayContaining(["one.pdf", "results.csv", "results.json"]));
    expect([await house.tree("inbox"), await house.tree(".work")]).toEqual([[], []]);
  });

  test("as a spreadsheet saved it again, with other separators and in another encoding", async () => {
    const { house, id, results } = await startWithResults();
    const saved = Buffer.from(results["results.csv"].replaceAll(",", ";"), "utf16le");
    await house.take({ "Results.csv": saved });
    expect((await house.folders.find(id))?.asked?.what).toBe("retry");
  });

  test.each([
    [
      "of a batch that is not here",
      (id: string) => id.replace(/.$/, id.endsWith("0") ? "1" : "0"),
      "no-such-batch",
      /drop the folder/,
    ],
    ["that name no batch", () => "", "results-unreadable", /names no batch/],
  ])("%s: comes back, and says so", async (_name, toId, code, says) => {
    const { house, id, results } = await startWithResults();
    await house.take({ "results.csv": results["results.csv"].replaceAll(id, toId(id)) });
    const note = await house.json("failed", "results.csv.error.json");
    expect(note["code"]).toBe(code);
    expect(note["message"]).toMatch(says);
    expect((await house.folders.find(id))?.asked).toBeUndefined();
  });

  test("of a batch that is not over, of which nothing has failed, or whose rows were erased: says so", async () => {
    const { house, id, results } = await startWithResults();
    await house.folders.change(id, () => ({ state: "running" }), 1);
    await house.take({ "results.csv": results["results.csv"] });
    expect((await house.json("failed", "results.csv.error.json"))["message"]).toMatch(
      /is not over, it is running.*when all rows are over/,
    );
    await house.folders.change(id, () => ({ state: "done", erasedMs: 1 }), 1);
    await house.take({ "results.json": results["results.json"] });
    expect((await house.json("failed", "results.json.error.json"))["code"]).toBe("batch-erased");
    await house.finish([4]);
    await house.take({ "results.csv": results["results.csv"] });
    const notes = (await house.tree("failed")).filter((name) => /^results.*error\.json$/.test(name));
    const codes = await Promise.all(notes.map(async (name) => (await house.json("failed", name))["code"]));
    expect(codes.sort()).toEqual(["batch-erased", "not-possible-now", "nothing-to-retry"]);
  });

  test.runIf(which === OWN)("of another tenant's batch: none is known in an inbox that is for one tenant", async () => {
    const { house, id, results } = await startWithResults();
    await house.restart({ root: { name: "legal", dir: house.at(), tenant: "acme" }, batches: house.door });
    await house.take({ "results.csv": results["results.csv"] });
    expect((await house.json("failed", "results.csv.error.json"))["code"]).toBe("no-such-batch");
    expect((await house.folders.find(id))?.asked).toBeUndefined();
  });

  test("with a sidecar it is a file to be signed like others, and no results", async () => {
    const { house, id, results } = await startWithResults();
    await house.take({ "results.csv": results["results.csv"], "results.csv.json": "{}" });
    expect((await house.folders.find(id))?.asked).toBeUndefined();
  });

  test("survives a death at every step: it is tried again once, and nothing stays behind", async () => {
    let deaths = 0;
    for (let n = 1; ; n++) {
      const { house, id, results } = await startWithResults();
      await house.drop({ "results.csv": results["results.csv"] });
      const dying = dieBefore(n);
      try {
        await house.pass(1_000, 8).catch(() => {});
        if (!dying.isDead()) await house.finish([4]).catch(() => {});
        await house.pass().catch(() => {});
        await house.inbox().stop();
      } finally {
        dying.undo();
      }
      if (!dying.isDead()) break;
      deaths += 1;
      await house.again();
      await house.pass(1_000, 8);
      if ((await house.folders.find(id))?.asked) await house.finish([4]);
      await house.pass(1_000, 2);
      expect((await house.read("signed", id, "results.csv")).match(/,done,/g)).toHaveLength(2);
      expect([await house.tree("inbox"), await house.tree(".work")]).toEqual([[], []]);
      expect((await house.tree("failed")).filter((name) => name.startsWith("results"))).toEqual([]);
      expect(await house.status("results.csv")).toMatchObject({ state: "done" });
    }
    expect(deaths).toBeGreaterThan(15);
  }, 300_000);
});

test("a folder with a table that was taken from a place which is not known any more comes back, and makes no batch", async () => {
  const route = { levels: [{ word: "tenant" as const, values: ["acme"] }], onlyFolders: false };
  const house = startBatchInbox(OWN, { route });
  const id = `req-${"0".repeat(25)}1`;
  const claim = { format: 1, id, form: "folder", raw: "gone/leases", claimedMs: 1, parts: [] };
  await house.put(`legal/.work/${id}`, { "claim.json": JSON.stringify(claim), folder: FOLDER });
  await house.again();
  await house.pass(1_000, 2);
  expect((await house.json("failed", "gone", "leases.error.json"))["code"]).toBe("unknown-folder");
  expect(await house.tree("failed", "gone", "leases")).toContain("batch.csv");
  expect(existsSync(join(house.dataDir, "batches"))).toBe(false);
});

const ROUTE = { levels: [{ word: "tenant" as const, values: ["acme"] }], onlyFolders: false };

/** A batch of the tenant acme, of which one row has failed, and its results. */
async function startOnRoute(more: Partial<InboxRoot> = {}) {
  const house = startBatchInbox(OWN, { route: ROUTE, ...more });
  await house.again();
  const table = [HEADER, ROWS[0], ROWS[2]].join("\r\n");
  await house.put("legal/inbox/acme", { leases: { "batch.csv": table, "one.pdf": makePdf("one") } });
  await house.pass(1_000, 8);
  await house.finish([2]);
  await house.finish([3], "failed");
  await house.folders.keepProgress(await house.only(), { counts: {}, over: 2, waiting: 0, atMs: 1 });
  await house.pass();
  const id = await house.only();
  return { house, id, results: await house.read("signed", "acme", id, "results.csv") };
}

test("results that are dropped into a folder of a route are tried again, and kept under that folder", async () => {
  const { house, id, results } = await startOnRoute();
  await house.put("legal/inbox/acme", { "results.csv": results });
  await house.pass(1_000, 8);
  expect((await house.folders.find(id))?.asked).toMatchObject({ what: "retry", by: "inbox:legal" });
  await house.finish([3]);
  await house.folders.keepProgress(id, { counts: {}, over: 2, waiting: 0, atMs: 2 });
  await house.pass(1_000, 2);
  expect((await house.read("signed", "acme", id, "results.csv")).match(/,done,/g)).toHaveLength(2);
  const kept = (await house.tree("archive", "acme", id)).filter((path) => path.endsWith("/results.csv"));
  expect(kept).toHaveLength(1);
  expect(await house.read("archive", "acme", id, kept[0] ?? "")).toBe(results);
  expect([await house.tree("inbox"), await house.tree(".work")]).toEqual([[], []]);
});

test("results that lie in a source which is only read are tried again once, and stay there", async () => {
  const { house, id, results } = await startOnRoute();
  const source = house.at("source");
  await house.inbox().stop();
  await house.put("legal/source/acme", { "results.csv": results });
  await house.restart({ root: { name: "legal", dir: house.at(), route: ROUTE, source }, batches: house.door });
  await house.pass(1_000, 8);
  expect((await house.folders.find(id))?.asked).toMatchObject({ what: "retry", by: "inbox:legal" });
  await house.finish([3], "failed");
  await house.folders.keepProgress(id, { counts: {}, over: 2, waiting: 0, atMs: 2 });
  await house.pass(1_000, 70);
  expect((await house.folders.find(id))?.asked).toBeUndefined();
  expect(await house.tree("source")).toEqual(["acme/results.csv"]);
  expect(house.inbox().status()).toMatchObject({ taken: 1, busy: 0, unusable: 0, claimed: 1 });
});

test("results on a share are renewed when somebody has the batch tried again, where they still are, until nothing can change", async () => {
  const { house, id, results } = await startOnRoute();
  const own = ["signed", "acme", id, "results.csv"];
  const noted = () => house.tree("..", "batches", ".brought", "legal");
  expect(await noted()).toEqual([`${id}.json`]);
  await house.folders.change(id, () => ({ asked: { what: "retry", n: 1, by: "cli" } }), 2);
  await house.pass(60_000, 2);
  expect(await house.read(...own)).toBe(results);
  await house.finish([3]);
  await house.folders.keepProgress(id, { counts: {}, over: 2, waiting: 0, atMs: 2 });
  // Another process may serve the share by now.
  await house.again();
  await house.pass(60_000, 2);
  expect((await house.read(...own)).match(/,done,/g)).toHaveLength(2);
  expect(await noted()).toEqual([`${id}.json`]);

  await rm(house.at("signed", "acme", id), { recursive: true });
  await house.folders.change(id, () => ({ erasedMs: 3 }), 3);
  await house.pass(60_000, 2);
  expect([await noted(), await house.tree("signed")]).toEqual([[], []]);
});
