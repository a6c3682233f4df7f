import { createHmac, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { RetryableError } from "../core/errors.ts";
import { JournalLine } from "../core/journal.ts";
import type { Log } from "../core/stage.ts";
import { makeFolder, syncFolder, toDiskFailure } from "./durable.ts";

/** What need not be on disk at once gets there this soon. */
const LAZY_MS = 50;
/** A file that has grown to this is followed by a new one. */
const FULL_BYTES = 64 << 20;
/** More than an opening, and than a line, ever has. */
const OPENING_MOST = 1 << 18;
const LINE_MOST = 1 << 20;
const FORMAT = "signpipe-journal/1";
const NAME = /^\d{8}T\d{9}Z-[\w-]{8}\.jsonl$/;

export type Journal = ReturnType<typeof createJournal>;

/** The line at the beginning of a file: which files there were, and how far they had got. */
interface Opening {
  format: typeof FORMAT;
  atMs: number;
  after: { file: string; mac: string }[];
}

interface Waiting {
  entry: object;
  done: (error?: Error) => void;
}

/**
 * The journal of this process: a file of JSON lines on the data volume, which only grows. Each line carries an HMAC
 * over itself and the line before, and each file names the ends of the files that were there when it began, so that a
 * line that was changed, removed or put in, and a file that was removed, are noticed (`readJournal`). Lines of one
 * request may stand in the files of several processes; their versions put them in order.
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
    const after = await ends(dir);
    name = `${new Date(now()).toISOString().replaceAll(/[-:.]/g, "")}-${randomBytes(6).toString("base64url")}.jsonl`;
    file = await open(join(dir, name), "ax", 0o600);
    sizeBytes = 0;
    mac = "";
    try {
      await write([{ format: FORMAT, atMs: now(), after } satisfies Opening]);
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
      last = macOf(key, last, json);
      return `${json.slice(0, -1)},"mac":"${last}"}\n`;
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

function macOf(key: Uint8Array, before: string, json: string): string {
  return createHmac("sha256", key).update(`${before}\n${json}`).digest("base64url");
}

async function filesIn(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names.filter((name) => NAME.test(name)).sort();
}

/** Ends of the files that no file names yet. */
async function ends(dir: string): Promise<Opening["after"]> {
  const found: Opening["after"] = [];
  const named = new Set<string>();
  for (const file of await filesIn(dir)) {
    const handle = await open(join(dir, file), "r");
    try {
      await handle.datasync(); // what is named here must not be less durable than the name
      const { size } = await handle.stat();
      const head = await slice(handle, 0, Math.min(size, OPENING_MOST));
      const tail = await slice(handle, Math.max(size - LINE_MOST, 0), size);
      const mac = /,"mac":"([\w-]{43})"\}$/.exec(tail.slice(0, tail.lastIndexOf("\n")))?.[1];
      if (mac !== undefined) found.push({ file, mac });
      const first = head.split("\n", 1)[0] ?? "";
      for (const [, earlier, end] of first.matchAll(/\{"file":"([^"]+)","mac":"([\w-]+)"\}/g)) {
        named.add(`${earlier} ${end}`);
      }
    } finally {
      await handle.close();
    }
  }
  return found.filter(({ file, mac }) => !named.has(`${file} ${mac}`));
}

async function slice(handle: FileHandle, from: number, to: number): Promise<string> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(to - from), 0, to - from, from);
  return buffer.toString("utf8", 0, bytesRead);
}

/** What is wrong with a journal. */
export interface Flaw {
  file: string;
  /** Counted from 1; 0 for the file as a whole. */
  line: number;
  code: "journal-changed" | "journal-cut" | "journal-file-missing" | "journal-unreadable";
}

/**
 * Reads all files of a journal, oldest first. `each` gets every line whose HMAC is right. Returns what is wrong:
 * "journal-changed" (a line was changed, removed or put in; the rest of that file is not read), "journal-cut" (a file
 * is shorter than another one says), "journal-file-missing", "journal-unreadable". A file's torn last line is what a
 * crash leaves, and no flaw. `only` chooses files by name. Without `key` lines are taken as they are.
 */
export async function readJournal({
  dir,
  key,
  each,
  only,
}: {
  dir: string;
  key: Uint8Array | undefined;
  each: (line: JournalLine, place: { file: string; line: number }) => void;
  only?: (name: string) => boolean;
}): Promise<{ flaws: Flaw[]; files: number; lines: number }> {
  const flaws: Flaw[] = [];
  const macs = new Map<string, Set<string>>();
  const named: Opening["after"] = [];
  let count = 0;
  const names = await filesIn(dir);
  const wanted = only ? names.filter(only) : names;
  for (const name of wanted) {
    const seen = new Set<string>();
    macs.set(name, seen);
    let before = "";
    let number = 0;
    let bad = 0;
    for await (const text of createInterface({ input: createReadStream(join(dir, name)), crlfDelay: Infinity })) {
      number += 1;
      if (bad > 0) break;
      const found = /^(.*),"mac":"([\w-]{43})"\}$/s.exec(text);
      const json = found ? `${found[1]}}` : "";
      const value = found && parse(json);
      if (!found || !value || (key && macOf(key, before, json) !== found[2])) {
        bad = number;
        continue; // the last line may be torn; anything after it makes it a flaw
      }
      before = found[2] ?? "";
      seen.add(before);
      count += 1;
      const { format, after = [] } = value as Partial<Opening>;
      if (number === 1 && format === FORMAT) {
        named.push(...after);
        continue;
      }
      const line = JournalLine.safeParse(value);
      if (line.success) each(line.data, { file: name, line: number });
      else flaws.push({ file: name, line: number, code: "journal-unreadable" });
    }
    if (bad > 0 && number > bad) flaws.push({ file: name, line: bad, code: "journal-changed" });
    if (bad > 0 && number === bad && (await endsWithNewline(join(dir, name)))) {
      flaws.push({ file: name, line: bad, code: "journal-changed" });
    }
  }
  for (const { file, mac } of named) {
    const seen = macs.get(file);
    if (!names.includes(file)) flaws.push({ file, line: 0, code: "journal-file-missing" });
    else if (seen && !seen.has(mac) && !flaws.some((flaw) => flaw.file === file)) {
      flaws.push({ file, line: 0, code: "journal-cut" });
    }
  }
  return { flaws: unique(flaws), files: wanted.length, lines: count };
}

function parse(json: string): object | undefined {
  try {
    return JSON.parse(json) as object;
  } catch {
    return undefined;
  }
}

async function endsWithNewline(path: string): Promise<boolean> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, Math.max(size - 1, 0));
    return buffer[0] === 0x0a;
  } finally {
    await handle.close();
  }
}

function unique(flaws: Flaw[]): Flaw[] {
  return [...new Map(flaws.map((flaw) => [`${flaw.file}:${flaw.line}:${flaw.code}`, flaw])).values()];
}
