import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { beforeEach, expect, test } from "vitest";
import type { SignRequest } from "../../src/core/request.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { createSweeper, removeStale } from "../../src/files/sweeper.ts";
import { dataFolder, factsOf, scratchFolder } from "../helpers/pdfs.ts";
import { newId } from "../helpers/toy.ts";

const base = scratchFolder("sweeper");
const DAY_MS = 86_400_000;
let at: (...names: string[]) => string;
let documents: ReturnType<typeof createDocuments>;
let records: Map<string, SignRequest>;
let asked: string[][];

beforeEach(() => {
  at = dataFolder(base);
  documents = createDocuments({ dir: at("work") });
  records = new Map();
  asked = [];
});

function sweeper(readMany = async (ids: string[]) => ids.flatMap((id) => records.get(id) ?? [])) {
  return createSweeper({
    signedDir: at("signed"),
    archiveDir: at("archive"),
    documents,
    readMany: async (ids) => {
      asked.push(ids);
      return await readMany(ids);
    },
  });
}

function age(path: string, ms: number): void {
  const then = new Date(Date.now() - ms);
  utimesSync(path, then, then);
}

/** An upload as the API leaves it, this old. */
async function upload(ageMs: number): Promise<string> {
  const id = newId();
  await documents.beginUpload(id);
  writeFileSync(at("work", id, "1.pdf"), "half");
  age(at("work", id, ".uploading"), ageMs);
  age(at("work", id), ageMs);
  return id;
}

function record(id: string, more: Partial<SignRequest>): void {
  records.set(id, {
    id,
    workflow: "videoid",
    source: "api",
    stage: "cleanup",
    phase: "done",
    attempt: 0,
    facts: { documents: [{ id: `${id}/1.pdf`, name: "lease.pdf", ...factsOf(Buffer.from("half")) }] },
    createdMs: 0,
    updatedMs: 0,
    ...more,
  });
}

const work = () => readdirSync(at("work")).sort();

test("an upload that was cut off a day ago goes; a younger one stays", async () => {
  const old = await upload(DAY_MS + 60_000);
  const young = await upload(DAY_MS - 60_000);
  expect(await sweeper().round()).toMatchObject({ uploads: 1 });
  expect(work()).toEqual([young]);
  expect(old).not.toBe(young);
});

test("an old mark in a folder where something still happens is not old", async () => {
  const id = await upload(2 * DAY_MS);
  writeFileSync(at("work", id, "2.pdf"), "arriving");
  expect(await sweeper().round()).toMatchObject({ uploads: 0 });
  expect(work()).toEqual([id]);
});

test("a folder with a record never goes while the request is open, or can be taken up again", async () => {
  const ids: string[] = [];
  for (const phase of ["queued", "running", "waiting", "retrying", "failed", "expired"] as const) {
    const id = await upload(400 * DAY_MS);
    record(id, { phase });
    ids.push(id);
  }
  const nothing = { partials: 0, uploads: 0, archived: 0, removed: 0 };
  expect(await sweeper().round()).toEqual(nothing);
  expect(work()).toEqual(ids.sort());
});

test("a folder without a record that was accepted once stays: the records may be those of another Redis", async () => {
  const id = await upload(400 * DAY_MS);
  await documents.endUpload(id);
  age(at("work", id), 400 * DAY_MS);
  await sweeper().round();
  expect(work()).toEqual([id]);
});

test("when the records cannot be read, nothing goes", async () => {
  const id = await upload(400 * DAY_MS);
  const away = sweeper(() => Promise.reject(new Error("Connection is closed.")));
  await expect(away.round()).rejects.toThrow("closed");
  expect(work()).toEqual([id]);
});

test("what the inbox has claimed is the inbox's, with a record or without one", async () => {
  const [claimed, done, left] = [newId(), newId(), newId()];
  for (const id of [claimed, done, left]) {
    mkdirSync(at("work", id));
    writeFileSync(at("work", id, "1.pdf"), "dropped");
    if (id !== left) writeFileSync(at("work", id, "claim.json"), "{}");
    age(at("work", id), 400 * DAY_MS);
  }
  record(done, { source: "inbox" });
  record(claimed, { source: "api" });
  mkdirSync(at("work", "gate"));
  writeFileSync(at("work", "gate", "1.pdf"), "being claimed");
  await sweeper().round();
  expect(work()).toEqual([claimed, done, left, "gate"].sort());
});

test("the originals of a request from the API that is done go to the archive, at once", async () => {
  const id = await upload(0);
  record(id, { phase: "done" });
  expect(await sweeper().round()).toMatchObject({ archived: 1 });
  expect(work()).toEqual([]);
  expect(readdirSync(at("archive", id))).toEqual(["lease.pdf"]);
});

test.each(["refused", "cancelled"] as const)("those of one that was %s go", async (phase) => {
  const id = await upload(0);
  record(id, { phase });
  expect(await sweeper().round()).toMatchObject({ removed: 1 });
  expect(work()).toEqual([]);
  expect(readdirSync(at("archive"))).toEqual([]);
});

test.each(["queued", "waiting", "failed"] as const)("a request that is %s costs no look at the disk", async (phase) => {
  const id = await upload(0);
  record(id, { phase });
  const looked: string[] = [];
  const { folder } = documents;
  documents.folder = (one) => {
    looked.push(one);
    return folder(one);
  };
  await sweeper().round();
  expect(looked).toEqual([]);
  record(id, { phase: "done" });
  await sweeper().round();
  expect(looked).toEqual([id]);
});

test("a round is bounded, and the next one goes on where it stopped", async () => {
  for (let n = 0; n < 25; n++) await upload(2 * DAY_MS);
  const { round, stop } = sweeper();
  const swept = [];
  for (let n = 0; n < 4; n++) swept.push((await round(10)).uploads);
  expect(swept).toEqual([10, 10, 5, 0]);
  expect(Math.max(...asked.map(({ length }) => length))).toBeLessThanOrEqual(10);
  // A pass that is through begins anew.
  await upload(2 * DAY_MS);
  expect((await round(10)).uploads + (await round(10)).uploads).toBe(1);
  await stop();
});

test("of the folders of results a tenth is looked at in a round, and all of them in ten", async () => {
  for (let n = 0; n < 20; n++) {
    const id = newId();
    mkdirSync(at("signed", id));
    writeFileSync(at("signed", id, ".AbCdEfGhIjKl.part"), "x");
    age(at("signed", id, ".AbCdEfGhIjKl.part"), DAY_MS + 60_000);
  }
  const { round, stop } = sweeper();
  const swept = [];
  for (let n = 0; n < 10; n++) swept.push((await round(20)).partials);
  expect(swept).toEqual(Array.from({ length: 10 }, () => 2));
  await stop();
});

test("partial files in the folders of results go after a day, whatever else is there stays", async () => {
  const id = newId();
  mkdirSync(at("signed", id));
  const names = [".AbCdEfGhIjKl.part", ".0123456789-_.part", ".short.part", "a.signed.pdf", ".hidden"];
  for (const name of names) {
    writeFileSync(at("signed", id, name), "x");
    age(at("signed", id, name), DAY_MS + 60_000);
  }
  writeFileSync(at("signed", id, ".ZZZZZZZZZZZZ.part"), "being written");
  expect(await sweeper().round()).toMatchObject({ partials: 2 });
  expect(readdirSync(at("signed", id)).sort()).toEqual([
    ".ZZZZZZZZZZZZ.part",
    ".hidden",
    ".short.part",
    "a.signed.pdf",
  ]);
});

test("a folder that is not there has no partial files", async () => {
  expect(await removeStale(at("gone"))).toBe(0);
  expect(existsSync(at("gone"))).toBe(false);
});
