import { type KeyObject, randomBytes } from "node:crypto";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { join } from "node:path";
import { RetryableError } from "../core/errors.ts";
import { JournalLine } from "../core/journal.ts";
import type { RequestId } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import { isEnd } from "../core/status.ts";
import { type Survey, survey } from "./checkpoint.ts";
import { makeFolder, syncFolder, toDiskFailure } from "./durable.ts";
import {
  type End,
  type Flaw,
  isOpening,
  macOf,
  readEnd,
  readOpening,
  scanFile,
  toKeyObject,
  toOpening,
  toText,
} from "./journal-file.ts";

/** What need not be on disk at once gets there this soon. */
const LAZY_MS = 50;
/** A file that has grown to this is followed by a new one. */
const FULL_BYTES = 64 << 20;

export type Journal = ReturnType<typeof createJournal>;

interface Waiting {
  entry: object;
  done: (error?: Error) => void;
}

/**
 * The journal of this process: a file of JSON lines on the data volume, which only grows. Each line carries an HMAC
 * over itself and the line before, and each file names the ends of the files that were there when it began, so that a
 * line that was changed, removed or put in, and a file that was removed, are noticed (`readJournal`). Lines of one
 * request may stand in the files of several processes; their versions put them in order. What is in older files is
 * known from a checkpoint (`createCheckpointer`).
 *
 * Lines that are waited for are written together, with one fsync for all that came meanwhile.
 */
export function createJournal({
  dir,
  key,
  log,
  fullBytes = FULL_BYTES,
  now = Date.now,
}: {
  dir: string;
  /** Key of the HMAC. */
  key: Uint8Array;
  log: Log;
  fullBytes?: number;
  now?: () => number;
}) {
  const secret = toKeyObject(key);
  let file: FileHandle | undefined;
  let name = "";
  let sizeBytes = 0;
  let mac = "";
  let pending: Waiting[] = [];
  let writing: Promise<void> | undefined;
  let lazy: NodeJS.Timeout | undefined;
  let isClosed = false;

  /** Begins a file. */
  async function begin(): Promise<void> {
    await makeFolder(dir);
    const after = await ends(dir, secret);
    name = `${new Date(now()).toISOString().replaceAll(/[-:.]/g, "")}-${randomBytes(6).toString("base64url")}.jsonl`;
    file = await open(join(dir, name), "ax", 0o600);
    sizeBytes = 0;
    mac = "";
    try {
      await write([toOpening(now(), after)]);
      await syncFolder(dir);
    } catch (error) {
      await letGo();
      await unlink(join(dir, name)).catch(() => {}); // one without its first line is read as empty
      throw toDiskFailure(error);
    }
  }

  async function write(entries: object[]): Promise<void> {
    if (!file) throw new RetryableError("The journal is closed", { code: "disk-error" });
    let last = mac;
    const lines = entries.map((entry) => {
      const json = JSON.stringify(entry);
      last = macOf(secret, last, json);
      return toText(json, last);
    });
    const bytes = Buffer.from(lines.join(""));
    try {
      for (let at = 0; at < bytes.length;) {
        at += (await file.write(bytes, at, bytes.length - at, sizeBytes + at)).bytesWritten;
      }
      await file.datasync();
    } catch (error) {
      await undo();
      throw toDiskFailure(error);
    }
    sizeBytes += bytes.length;
    mac = last;
  }

  /**
   * Takes back what was not written whole. The next line begins a new file: after a failed fsync nobody knows what of
   * this one is on disk, and asking again gives no answer. Where even taking back fails, the file ends torn.
   */
  async function undo(): Promise<void> {
    await file?.truncate(sizeBytes).catch(() => {});
    await letGo();
  }

  async function letGo(): Promise<void> {
    const last = file;
    file = undefined;
    await last?.close().catch(() => {});
  }

  async function flush(): Promise<void> {
    while (pending.length > 0) {
      const batch = pending;
      pending = [];
      try {
        if (sizeBytes > fullBytes) await letGo();
        if (!file) await begin();
        await write(batch.map(({ entry }) => entry));
        for (const { done } of batch) done();
      } catch (error) {
        const { code = "disk-error" } = error as { code?: string };
        log.error({ code, lines: batch.length }, "the journal cannot be written");
        // Lines keep their order: what came meanwhile may follow from what is not written.
        for (const { done } of [...batch, ...pending.splice(0)]) done(error as Error);
      }
    }
    writing = undefined;
  }

  function flushSoon(durable: boolean): void {
    if (writing) return;
    if (!durable) {
      lazy ??= setTimeout(() => {
        lazy = undefined;
        writing ??= flush();
      }, LAZY_MS);
      return;
    }
    clearTimeout(lazy);
    lazy = undefined;
    writing = flush();
  }

  return {
    dir,
    /**
     * Adds a line. With `durable` it is on disk when this resolves, else soon after; lines keep their order. Throws
     * RetryableError "disk-full", "disk-read-only" or "disk-error": then the line is not in the journal.
     */
    append(line: JournalLine, { durable }: { durable: boolean }): Promise<void> {
      if (isClosed) return Promise.reject(new RetryableError("The journal is closed", { code: "disk-error" }));
      return new Promise((resolve, reject) => {
        pending.push({ entry: line, done: (error) => (error ? reject(error) : resolve()) });
        flushSoon(durable);
      });
    },
    /** Waits until everything is on disk, and closes. */
    async close(): Promise<void> {
      isClosed = true;
      clearTimeout(lazy);
      await (writing ?? flush());
      await file?.close();
      file = undefined;
    },
  };
}

/** Ends of the files that no file names yet. */
async function ends(dir: string, secret: KeyObject): Promise<End[]> {
  const { names, known } = await survey(dir, secret);
  const found: End[] = [];
  const named = new Set<string>();
  for (const file of names) {
    const entry = known.get(file);
    if (entry) {
      if (!entry.isNamed) found.push({ file, mac: entry.mac });
      continue;
    }
    const mac = await readEnd(join(dir, file));
    if (mac !== undefined) found.push({ file, mac });
    const opening = await readOpening(join(dir, file), secret);
    for (const end of opening?.after ?? []) named.add(`${end.file} ${end.mac}`);
  }
  return found.filter(({ file, mac }) => !named.has(`${file} ${mac}`));
}

/** The time of what is to be read, both ends included. */
export interface Span {
  fromMs?: number;
  toMs?: number;
}

interface Reading extends Span {
  dir: string;
  key: Uint8Array | undefined;
  each: (line: JournalLine, place: { file: string; line: number }) => void;
}

/** How a reading went. */
interface Read {
  flaws: Flaw[];
  /** Files and lines that were read. */
  files: number;
  lines: number;
  /** Files that were left out. */
  left: number;
}

/**
 * Reads a journal, oldest file first. `each` gets every line whose HMAC is right. With `fromMs` or `toMs`, files that
 * have nothing of that time may be left out, when the checkpoint says so; what is read has lines of other times, too.
 *
 * Returns what is wrong: "journal-changed" (a line was changed, removed or put in; the rest of that file is not read),
 * "journal-cut" (a file is shorter than another one says), "journal-file-missing", "journal-unreadable". A file's torn
 * last line is what a crash leaves, and no flaw. Without `key` lines are taken as they are, and all are read.
 */
export async function readJournal(reading: Reading): Promise<Read> {
  const secret = reading.key && toKeyObject(reading.key);
  return await readSurveyed(await survey(reading.dir, secret), secret, reading);
}

async function readSurveyed(
  { names, known, said, flaws: surveyed }: Survey,
  secret: KeyObject | undefined,
  { dir, each, fromMs = -Infinity, toMs = Infinity }: Reading,
): Promise<Read> {
  const flaws = [...surveyed];
  const wanted = names.filter((name) => {
    const entry = known.get(name);
    return !entry || (entry.newestMs >= fromMs && entry.oldestMs <= toMs);
  });
  const named = new Map<string, Set<string>>();
  const expect = ({ file, mac }: End) => named.set(file, (named.get(file) ?? new Set()).add(mac));
  for (const entry of said) expect(entry);
  for (const name of wanted) (await readOpening(join(dir, name), secret))?.after.forEach(expect);

  let count = 0;
  for (const file of wanted) {
    const unseen = named.get(file);
    const { lines, badLine } = await scanFile(join(dir, file), secret, (value, { line: number, mac }) => {
      unseen?.delete(mac);
      if (number === 1 && isOpening(value)) return;
      const line = JournalLine.safeParse(value);
      if (line.success) each(line.data, { file, line: number });
      else flaws.push({ file, line: number, code: "journal-unreadable" });
    });
    count += lines;
    if (badLine !== undefined) flaws.push({ file, line: badLine, code: "journal-changed" });
    else if (unseen && unseen.size > 0) flaws.push({ file, line: 0, code: "journal-cut" });
  }
  const there = new Set(names);
  for (const file of named.keys()) {
    if (!there.has(file)) flaws.push({ file, line: 0, code: "journal-file-missing" });
  }
  return { flaws: unique(flaws), files: wanted.length, lines: count, left: names.length - wanted.length };
}

/**
 * Requests that are not over by the journal. Reads what the checkpoint does not know; for the rest it says who was
 * open, and who has come to an end since has done so in what is read.
 */
export async function readOpenRequests({
  dir,
  key,
}: {
  dir: string;
  key: Uint8Array;
}): Promise<{ open: Set<RequestId>; flaws: Flaw[] }> {
  const secret = toKeyObject(key);
  const surveyed = await survey(dir, secret);
  const open = new Set([...surveyed.known.values()].flatMap((entry) => entry.open));
  const versions = new Map<RequestId, number>();
  const each = ({ request, version, phase }: JournalLine) => {
    if (version < (versions.get(request) ?? 0)) return;
    versions.set(request, version);
    if (isEnd(phase)) open.delete(request);
    else open.add(request);
  };
  const { flaws } = await readSurveyed(surveyed, secret, { dir, key, each, fromMs: Infinity });
  return { open, flaws };
}

function unique(flaws: Flaw[]): Flaw[] {
  return [...new Map(flaws.map((flaw) => [`${flaw.file}:${flaw.line}:${flaw.code}`, flaw])).values()];
}
