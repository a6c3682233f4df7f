import fc from "fast-check";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { JournalLine } from "../../src/core/journal.ts";
import { type RequestId, type SignRequest, toRequestId } from "../../src/core/request.ts";
import { isEnd, type Phase } from "../../src/core/status.ts";
import { createCheckpointer } from "../../src/files/checkpoint.ts";
import { createJournal, readJournal, readOpenRequests, type Span } from "../../src/files/journal.ts";

const KEY = new Uint8Array(32).fill(1);
const log = { debug() {}, info() {}, warn() {}, error() {} };
const ids = Array.from({ length: 9 }, (_, i) => toRequestId(new Uint8Array(16).fill(i + 1)));
const [ONE = "", TWO = "", THREE = ""] = ids;
const HOUR_MS = 3_600_000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-checkpoint-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

type Entry = [request: RequestId, version: number, phase: Phase, atMs: number];

function toLine([request, version, phase, atMs]: Entry): JournalLine {
  return { atMs, request, version, mark: `m${version}`, event: "note", stage: "create", phase };
}

let begunMs = Date.UTC(2026, 0, 1);
/** A file with these lines, its writer gone. Its name. */
async function written(...entries: Entry[]): Promise<string> {
  const before = new Set(readdirSync(dir));
  const journal = createJournal({ dir, key: KEY, log, now: () => (begunMs += 1_000) });
  for (const entry of entries) await journal.append(toLine(entry), { durable: true });
  await journal.close();
  return readdirSync(dir).find((name) => !before.has(name)) ?? "";
}

/** What Redis has of each request. */
type Records = Partial<Record<RequestId, Phase>>;

function keeper(records: Records = {}, { laterMs = HOUR_MS } = {}) {
  return createCheckpointer({
    dir,
    key: KEY,
    readMany: (wanted) =>
      Promise.resolve(wanted.flatMap((id) => (records[id] ? [{ id, phase: records[id] } as SignRequest] : []))),
    now: () => Date.now() + laterMs,
  });
}

async function read(span: Span = {}, { key }: { key: Uint8Array | undefined } = { key: KEY }) {
  const lines: string[] = [];
  const { flaws, files, left } = await readJournal({
    dir,
    key,
    each: ({ request, version }) => lines.push(`${ids.indexOf(request) + 1}.${version}`),
    ...span,
  });
  return { lines: lines.join(" "), flaws: flaws.map(({ file, code }) => `${code} ${file}`), files, left };
}

const openNow = async () =>
  [...(await readOpenRequests({ dir, key: KEY })).open].map((id) => ids.indexOf(id) + 1).sort();
const checkpoint = () => join(dir, "checkpoint.json");

test("a start reads only what is of its time, and what nobody has looked through yet", async () => {
  await written([ONE, 1, "queued", 1_000], [ONE, 2, "done", 1_900]);
  await written([TWO, 1, "queued", 2_000], [TWO, 2, "done", 2_900]);
  expect((await read({ fromMs: 2_500 })).lines).toBe("1.1 1.2 2.1 2.2");
  expect(await keeper().round()).toEqual({ added: 2, over: 2 });
  await written([THREE, 1, "queued", 3_000]);
  expect(await read({ fromMs: 2_500 })).toEqual({ lines: "2.1 2.2 3.1", flaws: [], files: 2, left: 1 });
  expect((await read({ fromMs: 2_901 })).lines).toBe("3.1");
  expect((await read({ toMs: 1_900 })).lines).toBe("1.1 1.2 3.1");
  expect(await read()).toEqual({ lines: "1.1 1.2 2.1 2.2 3.1", flaws: [], files: 3, left: 0 });
});

test("a file that somebody may still write to is not looked through; one that grows is read again", async () => {
  const file = await written([ONE, 1, "queued", 1_000]);
  expect(await keeper({}, { laterMs: 0 }).round()).toEqual({ added: 0, over: 0 });
  expect(readdirSync(dir)).toEqual([file]);
  await keeper().round();
  expect((await read({ fromMs: 5_000 })).lines).toBe("");
  const journal = createJournal({ dir, key: KEY, log });
  await journal.append(toLine([TWO, 1, "queued", 6_000]), { durable: true });
  const theirs = readdirSync(dir).find((name) => name.endsWith(".jsonl") && name !== file) ?? "";
  await keeper().round();
  await journal.append(toLine([TWO, 2, "done", 7_000]), { durable: true });
  expect(await read({ fromMs: 6_500 })).toMatchObject({ lines: "2.1 2.2", flaws: [] });
  expect(await keeper().round()).toMatchObject({ added: 1 });
  expect((await read({ fromMs: 7_500 })).lines).toBe("");
  await journal.close();
  expect(statSync(join(dir, theirs)).size).toBeGreaterThan(0);
});

describe("who is under way is told without reading what is old:", () => {
  test("who was open when it was looked through, until Redis or a later line says otherwise", async () => {
    await written([ONE, 1, "queued", 1_000], [TWO, 1, "waiting", 1_100], [THREE, 1, "queued", 1_200]);
    expect(await openNow()).toEqual([1, 2, 3]);
    const records: Records = { [ONE]: "done", [TWO]: "waiting" };
    expect(await keeper(records).round()).toEqual({ added: 1, over: 0 });
    expect(await openNow()).toEqual([2, 3]); // Redis has never heard of the third
    await written([THREE, 2, "cancelled", 2_000]);
    expect(await openNow()).toEqual([2]);
    records[TWO] = "expired";
    expect(await keeper(records).round()).toEqual({ added: 1, over: 2 });
    expect(await openNow()).toEqual([]);
    await written([TWO, 9, "queued", 3_000]); // taken up again
    expect(await openNow()).toEqual([2]);
  });

  test("a Redis that has lost everything takes nobody away", async () => {
    await written([ONE, 1, "queued", 1_000], [TWO, 1, "queued", 1_100]);
    await keeper({ [ONE]: "queued", [TWO]: "queued" }).round();
    await keeper({}).round();
    expect(await openNow()).toEqual([1, 2]);
  });

  test("for any history in any files, looked through at any time, it is what all lines say", async () => {
    const step = fc.record({ who: fc.nat(8), phase: fc.constantFrom<Phase>("queued", "waiting", "done", "failed") });
    const file = fc.record({ steps: fc.array(step, { minLength: 1, maxLength: 6 }), looks: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(file, { minLength: 1, maxLength: 5 }), async (files) => {
        for (const name of readdirSync(dir)) rmSync(join(dir, name));
        const now: Records = {};
        let version = 0;
        for (const { steps, looks } of files) {
          const entries = steps.map(({ who, phase }): Entry => {
            now[ids[who] ?? ""] = phase;
            version += 1;
            return [ids[who] ?? "", version, phase, version];
          });
          await written(...entries);
          if (looks) await keeper(now).round();
        }
        const open = ids.filter((id) => now[id] !== undefined && !isEnd(now[id]));
        expect(await openNow()).toEqual(open.map((id) => ids.indexOf(id) + 1));
        expect((await read()).flaws).toEqual([]);
      }),
      { numRuns: 25 },
    );
  }, 60_000);
});

describe("although it is not read, it is noticed that", () => {
  let [first, second] = ["", ""];
  beforeEach(async () => {
    first = await written([ONE, 1, "queued", 1_000], [ONE, 2, "done", 1_900]);
    second = await written([TWO, 1, "done", 2_000], [TWO, 2, "done", 2_100]);
    await keeper().round();
  });
  const start = async () => (await read({ fromMs: 9_000 })).flaws;

  test("a file was removed, even the newest", async () => {
    for (const file of [first, second]) {
      const bytes = readFileSync(join(dir, file));
      rmSync(join(dir, file));
      expect(await start()).toEqual([`journal-file-missing ${file}`]);
      expect((await readOpenRequests({ dir, key: KEY })).flaws).toHaveLength(1);
      await keeper().round(); // does not forget it
      expect((await read()).flaws).toEqual([`journal-file-missing ${file}`]);
      writeFileSync(join(dir, file), bytes);
    }
    expect(await start()).toEqual([]);
  });
  test("a file was cut, even the newest, at a line's end", async () => {
    for (const file of [first, second]) {
      const bytes = readFileSync(join(dir, file));
      truncateSync(join(dir, file), bytes.lastIndexOf("\n", bytes.length - 2) + 1);
      expect(await start()).toEqual([`journal-cut ${file}`]);
      expect((await read()).flaws).toEqual([`journal-cut ${file}`]);
      writeFileSync(join(dir, file), bytes);
    }
  });
  test("the checkpoint was changed, cut, or written under another key: then everything is read", async () => {
    const text = readFileSync(checkpoint(), "utf8");
    const spoilt = [text.replace('"open":[]', `"open":["${ONE}"]`), text.slice(0, -30), "", "{}\n", `${text}x`];
    for (const one of spoilt) {
      writeFileSync(checkpoint(), one);
      const { lines, flaws } = await read({ fromMs: 9_000 });
      expect([lines, flaws]).toEqual(["1.1 1.2 2.1 2.2", ["journal-changed checkpoint.json"]]);
    }
    // The next round writes a good one.
    expect(await keeper().round()).toEqual({ added: 2, over: 2 });
    expect(await start()).toEqual([]);
  });
  test("a line was changed, once everything is read; a file that is not whole is read at every start", async () => {
    const path = join(dir, first);
    const was = readFileSync(path, "utf8");
    writeFileSync(path, was.replace('"version":2', '"version":7'));
    expect((await read()).flaws).toEqual([`journal-changed ${first}`]);
    rmSync(checkpoint());
    await keeper().round();
    expect(await start()).toEqual([`journal-changed ${first}`]);
  });
  test("a file was removed together with the checkpoint", async () => {
    await written([THREE, 1, "queued", 3_000]);
    await keeper().round();
    await written([THREE, 2, "done", 4_000]);
    for (const file of [first, second]) {
      const bytes = readFileSync(join(dir, file));
      rmSync(checkpoint(), { force: true });
      rmSync(join(dir, file));
      expect((await read({ fromMs: 9_000 })).flaws).toEqual([`journal-file-missing ${file}`]);
      writeFileSync(join(dir, file), bytes);
    }
  });
});

test("without the key nothing of the checkpoint is believed: everything is read", async () => {
  await written([ONE, 1, "done", 1_000]);
  await keeper().round();
  expect((await read({ fromMs: 9_000 }, { key: undefined })).lines).toBe("1.1");
});

describe("a round that comes to no end does no harm:", () => {
  test("Redis does not answer", async () => {
    await written([ONE, 1, "queued", 1_000]);
    const broken = createCheckpointer({
      dir,
      key: KEY,
      readMany: () => Promise.reject(new Error("away")),
      now: () => Date.now() + HOUR_MS,
    });
    await expect(broken.round()).rejects.toThrow("away");
    expect((await read({ fromMs: 9_000 })).lines).toBe("1.1");
  });
  test("its process was killed before the new checkpoint had its name: the old one holds, the rest is removed", async () => {
    await written([ONE, 1, "done", 1_000]);
    await keeper().round();
    await written([TWO, 1, "done", 2_000]);
    const half = join(dir, ".AAAAAAAAAAAA.part");
    appendFileSync(half, readFileSync(checkpoint()).subarray(0, 50));
    expect(await read({ fromMs: 9_000 })).toMatchObject({ lines: "2.1", flaws: [] });
    await keeper({}, { laterMs: 25 * HOUR_MS }).round();
    expect(readdirSync(dir)).not.toContain(".AAAAAAAAAAAA.part");
    expect(await read({ fromMs: 9_000 })).toMatchObject({ lines: "", flaws: [] });
  });
  test("its process is stopped: it ends, for nothing", async () => {
    for (let n = 1; n < 4; n++) await written([ONE, n, "queued", n]);
    const { round, stop } = keeper();
    const ended = round();
    stop();
    expect(await ended).toEqual({ added: 0, over: 0 });
    expect(readdirSync(dir)).not.toContain("checkpoint.json");
  });
  test("others are at it, too", async () => {
    for (let n = 1; n < 7; n++) await written([ONE, n, "queued", n]);
    await Promise.all([1, 2, 3].map(() => keeper({ [ONE]: "done" }).round()));
    expect(await read({ fromMs: 9_000 })).toMatchObject({ lines: "", flaws: [] });
    expect(await openNow()).toEqual([]);
  });
});

test("many files are looked through a few at a time", async () => {
  for (let n = 1; n <= 12; n++) await written([ONE, n, "queued", n]);
  const { round } = keeper();
  expect([(await round()).added, (await round()).added, (await round()).added]).toEqual([8, 4, 0]);
});
