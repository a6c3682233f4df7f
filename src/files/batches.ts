import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, readFile, rename, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { BatchId, BatchRecord, RowOutcome } from "../core/batch.ts";
import { PermanentError } from "../core/errors.ts";
import { randomText } from "../core/random.ts";
import { RequestId } from "../core/request.ts";
import { isMissing, makeFolder, replaceDurably, syncFolder, withDisk, writeDurably, writeOnce } from "./durable.ts";

/** A row as it is kept, a line each. What is in it of people is sealed. */
export const KeptRow = z.object({
  row: z.int().positive(),
  reference: z.string().optional(),
  /** The names of its files, as the caller wrote them. */
  files: z.array(z.string()),
  /** On whose account, by the names in the configuration; as the caller wrote them. */
  account: z.object({ tenant: z.string().optional(), rao: z.string().optional() }).optional(),
  /** Documents of it are fetched from their addresses, right before it is submitted. */
  isRemote: z.literal(true).optional(),
  /** The request as which it was signed before, by the results that came with the table: it is not submitted. */
  signedAs: RequestId.optional(),
  /** Keyed digest of who signs what: by it a later table tells whether its row is this one. It stays when all is erased. */
  print: z.string().optional(),
  /** What it takes to submit it, encrypted. Not there of a row that was rejected, and once it was erased. */
  sealed: z.string().optional(),
  problems: z.array(z.object({ column: z.string(), message: z.string() })).optional(),
});
export type KeptRow = z.infer<typeof KeptRow>;

const ROWS = "rows.jsonl";
const STATES = "states.jsonl";
const KEY = ".key";
const DOCUMENTS = "documents";
const PROGRESS = "progress.json";
/** What is being handed in has this before its name; what a crash left of it is nobody's. */
const INCOMING = ".incoming-";
const RECORD = /^record-(\d{1,12})\.json$/;
const CHANGE_TRIES = 20;
const NEWLINE = 0x0a;

export const RESULT_NAMES = ["results.csv", "results.json"] as const;
export type ResultName = (typeof RESULT_NAMES)[number];

export type BatchFolders = ReturnType<typeof createBatchFolders>;

/** Where the lines of a file begin and end, in bytes. */
export interface LineIndex {
  /** One for each line, and the end of the last one. */
  at: Float64Array;
  lines: number;
}

/**
 * Batches on the data volume, a folder each: the record, the rows, what became of them, the results. All processes read
 * and change the same files; the record is changed by compare-and-set, and the rest is written by the one that feeds.
 */
export function createBatchFolders({ dir }: { dir: string }) {
  const folder = (id: BatchId) => join(dir, BatchId.parse(id));
  const at = (id: BatchId, name: string) => join(folder(id), name);

  async function versionsOf(id: BatchId): Promise<number[]> {
    try {
      const names = await readdir(folder(id));
      return names.flatMap((name) => Number(RECORD.exec(name)?.[1] ?? []) || []).sort((a, b) => b - a);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  /** The newest version of the record; undefined when there is no such batch. */
  async function find(id: BatchId): Promise<BatchRecord | undefined> {
    for (let tries = 0; tries < CHANGE_TRIES; tries++) {
      const [newest] = await versionsOf(id);
      if (newest === undefined) return undefined;
      try {
        return BatchRecord.parse(JSON.parse(await readFile(at(id, `record-${newest}.json`), "utf8")));
      } catch (error) {
        if (!isMissing(error)) throw error; // it was followed by another one, and went
      }
    }
    throw contended(id);
  }

  /**
   * Writes `next` unless somebody was faster. A name is given once, and whoever was so slow that it has gone again by
   * now finds a newer one: then nothing was changed.
   */
  async function write(next: BatchRecord): Promise<boolean> {
    const { id, version } = next;
    const path = at(id, `record-${version}.json`);
    const mark = randomText(9);
    const text = JSON.stringify({ ...next, mark });
    await writeOnce(path, text);
    if ((await readFile(path, "utf8").catch(() => "")) !== text) return false;
    const versions = await versionsOf(id);
    if (versions[0] !== version) {
      if ((versions[0] ?? 0) > version + 1) await rm(path, { force: true });
      // The one right after ours was made from it; anything newer, without it.
      return versions[0] === version + 1;
    }
    for (const old of versions.filter((one) => one < version - 1))
      await rm(at(id, `record-${old}.json`), { force: true });
    return true;
  }

  return {
    dir,
    folder,
    find,

    /** Ids of all batches. */
    async list(): Promise<BatchId[]> {
      const names = await readdir(dir).catch((error: unknown) => {
        if (isMissing(error)) return [];
        throw error;
      });
      return names.filter((name) => BatchId.safeParse(name).success);
    },

    /**
     * Changes the record. `choose` gives what is to be different, or undefined to leave it; it is asked again when
     * somebody else was faster, and what it throws is passed on. Throws PermanentError "no-such-batch" and "contended".
     */
    async change(
      id: BatchId,
      choose: (record: BatchRecord) => Partial<Omit<BatchRecord, "id" | "version">> | undefined,
      now: number,
    ): Promise<BatchRecord> {
      for (let tries = 0; tries < CHANGE_TRIES; tries++) {
        const record = await find(id);
        if (!record) throw noSuchBatch();
        const changes = choose(record);
        if (!changes) return record;
        const next = BatchRecord.parse({ ...record, ...changes, version: record.version + 1, updatedMs: now });
        if (await write(next)) return next;
      }
      throw contended(id);
    },

    /** A folder for what is being handed in, in which its documents and rows are put before it is a batch. */
    async begin(id: BatchId): Promise<Incoming> {
      const incoming = join(dir, `${INCOMING}${randomText(9)}`);
      await makeFolder(join(incoming, DOCUMENTS));
      return createIncoming(incoming, folder(id), dir);
    },

    documentPath: (id: BatchId, n: number | string) => join(folder(id), DOCUMENTS, String(n)),
    /**
     * Streams what was fetched to a place of its own among the documents, which is gone with them. Throws what
     * writeDurably throws, and PermanentError "file-empty".
     */
    async receive(id: BatchId, source: AsyncIterable<Uint8Array>, maxBytes: number) {
      const name = `fetched-${randomText(9)}`;
      const { sizeBytes, sha256 } = await receiveAt(join(folder(id), DOCUMENTS), name, source, maxBytes);
      return { n: name, sizeBytes, sha256 };
    },
    async removeDocument(id: BatchId, n: number | string): Promise<void> {
      await rm(this.documentPath(id, n), { force: true });
    },
    documentsFolder: (id: BatchId) => join(folder(id), DOCUMENTS),

    /** The rows, one after another. */
    rows: (id: BatchId) => rowsOf(at(id, ROWS)),
    /** Where each row stands in the file, for reading one of them. */
    index: (id: BatchId) => indexLines(at(id, ROWS)),
    /** The row of the `n`th line, from 0. */
    async row(id: BatchId, index: LineIndex, n: number): Promise<KeptRow> {
      const from = index.at[n] ?? 0;
      const buffer = Buffer.alloc(Math.max((index.at[n + 1] ?? 0) - from, 0));
      const file = await open(at(id, ROWS), "r");
      try {
        await file.read(buffer, 0, buffer.length, from);
      } finally {
        await file.close();
      }
      return KeptRow.parse(JSON.parse(buffer.toString("utf8")));
    },

    /** What became of rows, in the order in which it was written: the last of a row counts. */
    async *outcomes(id: BatchId): AsyncGenerator<RowOutcome, void, undefined> {
      for await (const line of linesOf(at(id, STATES))) {
        const outcome = toOutcome(line);
        if (outcome) yield outcome;
      }
    },
    /** Notes what became of rows. With `durable` it is on disk when this resolves. */
    async append(id: BatchId, outcomes: readonly RowOutcome[], { durable = false } = {}): Promise<void> {
      if (outcomes.length === 0) return;
      const text = outcomes.map((outcome) => `${JSON.stringify(outcome)}\n`).join("");
      await withDisk(async () => {
        const file = await open(at(id, STATES), "a", 0o600);
        try {
          // A line that a crash cut short must not swallow the next one.
          await file.write(`\n${text}`);
          if (durable) await file.sync();
        } finally {
          await file.close();
        }
      });
    },
    /** Writes them anew, with nothing of what was before. */
    async compact(id: BatchId, outcomes: Iterable<RowOutcome>): Promise<void> {
      const text = [...outcomes].map((outcome) => JSON.stringify(outcome)).join("\n");
      await replaceDurably(at(id, STATES), `${text}\n`);
    },

    keepProgress: (id: BatchId, progress: object) =>
      replaceDurably(at(id, PROGRESS), JSON.stringify(progress), { fsync: false }),
    async readProgress(id: BatchId): Promise<unknown> {
      try {
        return JSON.parse(await readFile(at(id, PROGRESS), "utf8")) as unknown;
      } catch {
        return undefined;
      }
    },

    /** Replaces a file of results by what `pieces` gives: readers see the old one or the new one. */
    async writeResults(id: BatchId, name: ResultName, pieces: AsyncIterable<string>): Promise<void> {
      const partial = at(id, `.${randomText(9)}.part`);
      try {
        await withDisk(async () => {
          const file = await open(partial, "wx", 0o600);
          try {
            await writePieces(file, pieces);
            await file.sync();
          } finally {
            await file.close();
          }
          await rename(partial, at(id, name));
        });
      } catch (error) {
        await unlink(partial).catch(() => {});
        throw error;
      }
    },

    /** The key of the rows, wrapped; undefined once it was erased. */
    async readKey(id: BatchId): Promise<string | undefined> {
      return await readFile(at(id, KEY), "utf8").catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      });
    },

    /** Erases who signs, and the documents: the key first, without which the rows are noise. Safe to repeat. */
    async erase(id: BatchId): Promise<void> {
      await rm(at(id, KEY), { force: true });
      await syncFolder(folder(id));
      await rm(at(id, DOCUMENTS), { recursive: true, force: true });
      await this.writeRowsAnew(id);
    },

    /** The rows without what was sealed in them. */
    async writeRowsAnew(id: BatchId): Promise<void> {
      const partial = at(id, `.${randomText(9)}.part`);
      const file = await open(partial, "wx", 0o600);
      try {
        await writePieces(file, withoutSealed(this.rows(id)));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(partial, at(id, ROWS));
    },

    /** Removes what was being handed in when its process died: all that is older than `beforeMs`. How much. */
    async sweep(isStale: (path: string) => Promise<boolean>): Promise<number> {
      let removed = 0;
      for (const name of await readdir(dir).catch(() => [])) {
        if (!name.startsWith(INCOMING) || !(await isStale(join(dir, name)))) continue;
        await rm(join(dir, name), { recursive: true, force: true });
        removed += 1;
      }
      return removed;
    },
  };
}

/** A batch that is being handed in. */
export interface Incoming {
  dir: string;
  /** Where the `n`th document goes. */
  documentPath(n: number): string;
  /** Streams the `n`th document to its place. Throws what writeDurably throws. */
  receive(
    n: number,
    source: AsyncIterable<Uint8Array>,
    maxBytes: number,
  ): Promise<{ sizeBytes: number; sha256: string }>;
  /** Writes the key, the rows and what is known of them, one after another. */
  write(key: string, rows: AsyncIterable<KeptRow>): Promise<void>;
  /** The rows that were written, one after another. */
  rows(): AsyncGenerator<KeptRow, void, undefined>;
  /** Makes it a batch, in one step. False when there is one of this id already. */
  commit(record: BatchRecord): Promise<boolean>;
  discard(): Promise<void>;
}

function createIncoming(dir: string, final: string, parent: string): Incoming {
  const documentPath = (n: number) => join(dir, DOCUMENTS, String(n));
  return {
    dir,
    documentPath,
    receive: (n, source, maxBytes) => receiveAt(join(dir, DOCUMENTS), String(n), source, maxBytes),
    async write(key, rows) {
      await withDisk(async () => {
        const file = await open(join(dir, ROWS), "wx", 0o600);
        try {
          await writePieces(file, toLines(rows));
          await file.sync();
        } finally {
          await file.close();
        }
      });
      await writeOnce(join(dir, KEY), key);
    },
    rows: () => rowsOf(join(dir, ROWS)),
    async commit(record) {
      await writeOnce(join(dir, `record-${record.version}.json`), JSON.stringify(record));
      await syncFolder(join(dir, DOCUMENTS));
      await syncFolder(dir);
      try {
        await rename(dir, final);
      } catch (error) {
        if (!["ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
        return false;
      }
      await syncFolder(parent);
      return true;
    },
    async discard() {
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function receiveAt(dir: string, name: string, source: AsyncIterable<Uint8Array>, maxBytes: number) {
  const { sizeBytes, sha256 } = await writeDurably({
    ...{ dir, name, source, maxBytes },
    ...{ readBack: false, flushName: false },
  });
  if (sizeBytes === 0) throw new PermanentError("The file is empty.", { code: "file-empty" });
  return { sizeBytes, sha256 };
}

/** What is thrown of a batch that is not there. */
export function noSuchBatch(): PermanentError {
  return new PermanentError("There is no batch with this id", { code: "no-such-batch" });
}

function contended(id: BatchId): PermanentError {
  return new PermanentError(`Batch ${id} is being changed by too many others; try again`, { code: "contended" });
}

async function* toLines(rows: AsyncIterable<KeptRow>): AsyncGenerator<string, void, undefined> {
  for await (const row of rows) yield `${JSON.stringify(row)}\n`;
}

async function* withoutSealed(rows: AsyncIterable<KeptRow>): AsyncGenerator<string, void, undefined> {
  for await (const { sealed: _sealed, ...row } of rows) yield `${JSON.stringify(row)}\n`;
}

/** As many small pieces in one write as make a block. */
const BLOCK = 64 * 1024;

async function writePieces(file: FileHandle, pieces: AsyncIterable<string>): Promise<void> {
  let held = "";
  for await (const piece of pieces) {
    held += piece;
    if (held.length < BLOCK) continue;
    await file.writeFile(held);
    held = "";
  }
  if (held !== "") await file.writeFile(held);
}

async function* rowsOf(path: string): AsyncGenerator<KeptRow, void, undefined> {
  for await (const line of linesOf(path)) yield KeptRow.parse(JSON.parse(line));
}

async function* linesOf(path: string): AsyncGenerator<string, void, undefined> {
  const stream = createReadStream(path, { encoding: "utf8" });
  try {
    for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line !== "") yield line;
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  } finally {
    stream.destroy();
  }
}

async function indexLines(path: string): Promise<LineIndex> {
  let at = new Float64Array(1024);
  let lines = 0;
  let offset = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    for (let from = chunk.indexOf(NEWLINE); from >= 0; from = chunk.indexOf(NEWLINE, from + 1)) {
      lines += 1;
      if (lines >= at.length) {
        const more = new Float64Array(at.length * 2);
        more.set(at);
        at = more;
      }
      at[lines] = offset + from + 1;
    }
    offset += chunk.length;
  }
  return { at, lines };
}

/** A line of outcomes; undefined for one that a crash cut short: what was on it is found out again. */
function toOutcome(line: string): RowOutcome | undefined {
  try {
    return RowOutcome.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
