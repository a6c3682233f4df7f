import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { JournalLine } from "../../src/core/journal.ts";
import { toRequestId } from "../../src/core/request.ts";
import { createJournal, readJournal } from "../../src/files/journal.ts";

const KEY = new Uint8Array(32).fill(1);
const ID = toRequestId(new Uint8Array(16).fill(7));
const log = { debug() {}, info() {}, warn() {}, error: vi.fn() };

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-journal-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

function line(version: number, more: Partial<JournalLine> = {}): JournalLine {
  const where = { event: "note", stage: "create", phase: "queued" as const };
  return { atMs: version, request: ID, version, mark: `m${version}`, ...where, ...more };
}

const start = (more: Partial<Parameters<typeof createJournal>[0]> = {}) =>
  createJournal({ dir, key: KEY, log, ...more });

/** A journal of one process with these lines, closed. The path of its file. */
async function written(versions: number[]): Promise<string> {
  const before = new Set(readdirSync(dir));
  const journal = start();
  for (const version of versions) await journal.append(line(version), { durable: true });
  await journal.close();
  return join(dir, readdirSync(dir).find((name) => !before.has(name)) ?? "");
}

async function read(key: Uint8Array | undefined = KEY) {
  const versions: number[] = [];
  const { flaws } = await readJournal({ dir, key, each: ({ version }) => versions.push(version) });
  return { versions, flaws: flaws.map(({ line: number, code }) => [number, code]) };
}

/** Rewrites a file line by line. */
function rewrite(path: string, change: (lines: string[]) => string[]): void {
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  writeFileSync(path, `${change(lines).join("\n")}\n`);
}

describe("what was written is read again", () => {
  test("in the order in which it was appended, whether anybody waited for it or not", async () => {
    const journal = start();
    const all = [1, 2, 3, 4, 5, 6].map((n) => journal.append(line(n), { durable: n % 3 === 0 }));
    await Promise.all(all);
    await journal.close();
    expect(await read()).toEqual({ versions: [1, 2, 3, 4, 5, 6], flaws: [] });
  });

  test("from the files of several processes at once", async () => {
    const [one, other] = [start(), start()];
    await Promise.all([1, 2, 3].map((n) => one.append(line(n), { durable: true })));
    await Promise.all([4, 5].map((n) => other.append(line(n), { durable: true })));
    await one.append(line(6), { durable: true });
    await Promise.all([one.close(), other.close()]);
    await written([7]);
    const { versions, flaws } = await read();
    expect([versions.sort(), flaws]).toEqual([[1, 2, 3, 4, 5, 6, 7], []]);
  });

  test("from the file that follows one that is full", async () => {
    const journal = start({ fullBytes: 500 });
    for (let n = 1; n <= 10; n++) await journal.append(line(n), { durable: true });
    await journal.close();
    expect(readdirSync(dir).length).toBeGreaterThan(2);
    const { versions, flaws } = await read();
    expect([versions, flaws]).toEqual([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], []]);
  });

  test("and nobody waits for a line that may come later, but it comes soon", async () => {
    const journal = start();
    void journal.append(line(1), { durable: false });
    await expect.poll(async () => (await read()).versions, { timeout: 2_000, interval: 10 }).toEqual([1]);
    await journal.close();
  });
});

test("many lines that are waited for together share an fsync", async () => {
  const probe = await open(join(dir, "probe"), "w");
  const datasync = vi.spyOn(Object.getPrototypeOf(probe) as FileHandle, "datasync");
  await probe.close();
  const journal = start();
  await journal.append(line(1), { durable: true });
  datasync.mockClear();
  await Promise.all(Array.from({ length: 200 }, (_, i) => journal.append(line(i + 2), { durable: true })));
  expect(datasync.mock.calls.length).toBeLessThanOrEqual(2);
  await journal.close();
  expect((await read()).versions).toHaveLength(201);
});

describe("it is noticed that", () => {
  test("a byte was changed", async () => {
    const path = await written([1, 2, 3]);
    rewrite(path, (lines) => lines.map((text) => text.replace('"version":2', '"version":9')));
    expect(await read()).toEqual({ versions: [1], flaws: [[3, "journal-changed"]] });
  });
  test("a line was removed", async () => {
    const path = await written([1, 2, 3]);
    rewrite(path, (lines) => lines.filter((_, i) => i !== 2));
    expect(await read()).toEqual({ versions: [1], flaws: [[3, "journal-changed"]] });
  });
  test("the last line was changed", async () => {
    const path = await written([1, 2, 3]);
    rewrite(path, (lines) => lines.map((text) => text.replace('"version":3', '"version":9')));
    expect(await read()).toEqual({ versions: [1, 2], flaws: [[4, "journal-changed"]] });
  });
  test("two lines were swapped", async () => {
    const path = await written([1, 2, 3]);
    rewrite(path, ([head = "", one = "", two = "", ...rest]) => [head, two, one, ...rest]);
    expect((await read()).flaws).toEqual([[2, "journal-changed"]]);
  });
  test("a line was put in, even one that is copied", async () => {
    const path = await written([1, 2, 3]);
    rewrite(path, (lines) => lines.toSpliced(3, 0, lines[1] ?? ""));
    expect(await read()).toEqual({ versions: [1, 2], flaws: [[4, "journal-changed"]] });
  });
  test("the first line was taken away", async () => {
    const path = await written([1, 2, 3]);
    rewrite(path, (lines) => lines.slice(1));
    expect((await read()).flaws).toEqual([[1, "journal-changed"]]);
  });
  test("a file was removed", async () => {
    rmSync(await written([1, 2]));
    expect((await read()).flaws).toEqual([]); // the newest file's end is in no other file
    const path = await written([3]);
    await written([4]);
    rmSync(path);
    expect((await read()).flaws).toEqual([[0, "journal-file-missing"]]);
  });
  test("a file was cut at a line's end, once another one has begun", async () => {
    const path = await written([1, 2, 3]);
    await written([4]);
    rewrite(path, (lines) => lines.slice(0, -1));
    expect(await read()).toEqual({ versions: [1, 2, 4], flaws: [[0, "journal-cut"]] });
  });
  test("it was written under another key", async () => {
    await written([1, 2]);
    expect((await read(new Uint8Array(32))).versions).toEqual([]);
    expect((await read(new Uint8Array(32))).flaws).toEqual([[1, "journal-changed"]]);
  });
});

test("without the key the lines are read as they are, and what is no line is still told", async () => {
  const path = await written([1, 2]);
  rewrite(path, (lines) => lines.map((text) => text.replace('"version":2', '"version":9')));
  const versions: number[] = [];
  const { flaws } = await readJournal({ dir, key: undefined, each: ({ version }) => versions.push(version) });
  expect([versions, flaws]).toEqual([[1, 9], []]);
});

test("what stands in a document's name ends no line, whatever others take for an end of one", async () => {
  const journal = start();
  for (const [i, note] of ["a\u2028b", "a\u2029b", "a\u0085b", "a\rb", "a\nb", "\ud83d\ude00"].entries()) {
    await journal.append(line(i + 1, { note }), { durable: true });
  }
  await journal.close();
  expect(await read()).toEqual({ versions: [1, 2, 3, 4, 5, 6], flaws: [] });
});

test("a line is read whole wherever the pieces end that a file is read in", async () => {
  const journal = start();
  const sizes = [10, 400_000, 600_000, 300_000, 48_000, 600, 700_000, 5];
  for (const [i, size] of sizes.entries())
    await journal.append(line(i + 1, { note: "é".repeat(size / 2) }), { durable: true });
  await journal.close();
  expect((await read()).versions).toEqual(sizes.map((_, i) => i + 1));
});

test("a line that a crash has torn is no flaw, and the next process goes on", async () => {
  const path = await written([1, 2, 3]);
  truncateSync(path, readFileSync(path).length - 10);
  expect(await read()).toEqual({ versions: [1, 2], flaws: [] });
  await written([4]);
  expect(await read()).toEqual({ versions: [1, 2, 4], flaws: [] });
});

describe.each([
  ["ENOSPC", "disk-full"],
  ["EIO", "disk-error"],
] as const)("a disk that answers %s", (errno, code) => {
  const failure = () => Object.assign(new Error(errno), { code: errno });
  async function handles(): Promise<FileHandle> {
    const probe = await open(join(dir, "probe"), "w");
    const prototype = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    return prototype;
  }

  test("to a write: a part of a line is taken back, its caller is told, and later lines are taken", async () => {
    const journal = start();
    await journal.append(line(1), { durable: true });
    const prototype = await handles();
    const write = prototype.write as (...args: unknown[]) => Promise<never>;
    const broken = vi.spyOn(prototype, "write").mockImplementationOnce(async function (
      this: FileHandle,
      ...args: unknown[]
    ) {
      const [buffer, , , position] = args;
      await write.call(this, buffer, 0, 20, position);
      throw failure();
    });
    await expect(journal.append(line(2), { durable: true })).rejects.toMatchObject({ code, kind: "retryable" });
    broken.mockRestore();
    await journal.append(line(3), { durable: true });
    await journal.close();
    expect(await read()).toEqual({ versions: [1, 3], flaws: [] });
  });

  test("to an fsync: the line does not count, and the file is not asked again", async () => {
    const journal = start();
    await journal.append(line(1), { durable: true });
    const prototype = await handles();
    vi.spyOn(prototype, "datasync").mockRejectedValueOnce(failure());
    await expect(journal.append(line(2), { durable: true })).rejects.toMatchObject({ code });
    await journal.append(line(3), { durable: true });
    await journal.close();
    expect(readdirSync(dir).filter((name) => name.endsWith(".jsonl"))).toHaveLength(2);
    expect(await read()).toEqual({ versions: [1, 3], flaws: [] });
  });

  test("while a file is begun: nothing of it stays, and the next line begins another", async () => {
    const prototype = await handles();
    vi.spyOn(prototype, "datasync").mockRejectedValueOnce(failure());
    const journal = start();
    await expect(journal.append(line(1), { durable: true })).rejects.toMatchObject({ code });
    expect(readdirSync(dir).filter((name) => name.endsWith(".jsonl"))).toEqual([]);
    await journal.append(line(2), { durable: true });
    await journal.close();
    expect(await read()).toEqual({ versions: [2], flaws: [] });
  });

  test("once: what came behind the line that failed fails with it, for it may follow from that one", async () => {
    const journal = start();
    await journal.append(line(1), { durable: true });
    const prototype = await handles();
    const later: Promise<unknown>[] = [];
    vi.spyOn(prototype, "datasync").mockImplementationOnce(() => {
      later.push(journal.append(line(3), { durable: true }));
      return Promise.reject(failure());
    });
    await expect(journal.append(line(2), { durable: true })).rejects.toMatchObject({ code });
    await expect(later[0]).rejects.toMatchObject({ code });
    await journal.append(line(4), { durable: true });
    await journal.close();
    expect(await read()).toEqual({ versions: [1, 4], flaws: [] });
  });

  test("for as long as it does: every line is refused", async () => {
    const journal = start();
    await journal.append(line(1), { durable: true });
    const prototype = await handles();
    const broken = vi.spyOn(prototype, "datasync").mockRejectedValue(failure());
    const results = await Promise.allSettled([2, 3, 4].map((n) => journal.append(line(n), { durable: n !== 3 })));
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(log.error).toHaveBeenCalledWith(expect.objectContaining({ code }), expect.any(String));
    broken.mockRestore();
    await journal.append(line(5), { durable: true });
    await journal.close();
    expect(await read()).toEqual({ versions: [1, 5], flaws: [] });
  });
});

test("a closed journal takes nothing", async () => {
  const journal = start();
  await journal.append(line(1), { durable: true });
  await journal.close();
  await expect(journal.append(line(2), { durable: true })).rejects.toMatchObject({ code: "disk-error" });
});

test("a process that is killed while it appends has lost no line that it was told of", async () => {
  const script = `
    import { createJournal } from ${JSON.stringify(new URL("../../src/files/journal.ts", import.meta.url).href)};
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const journal = createJournal({ dir: ${JSON.stringify(dir)}, key: new Uint8Array(32).fill(1), log });
    for (let n = 1; ; n += 3) {
      await Promise.all([n, n + 1, n + 2].map((version) => journal.append(
        { atMs: 1, request: ${JSON.stringify(ID)}, version, mark: "m", event: "note", stage: "create", phase: "queued", note: "x".repeat(2000) },
        { durable: true })));
      process.stdout.write(n + 2 + "\\n");
    }`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let told = "";
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const gone = new Promise((resolve) => child.once("close", resolve));
  child.stdout.on("data", (chunk: Buffer) => {
    told += chunk.toString();
    if (told.split("\n").length > 40) child.kill("SIGKILL");
  });
  await gone;
  const last = Number(told.trimEnd().split("\n").at(-1));
  expect(last, said).toBeGreaterThan(100);
  const { versions, flaws } = await read();
  expect(flaws).toEqual([]);
  expect(versions.slice(0, last)).toEqual(Array.from({ length: last }, (_, i) => i + 1));
}, 20_000);
