import type { KeyObject } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { JournalLine } from "../core/journal.ts";
import { RequestId, type SignRequest } from "../core/request.ts";
import { isEnd } from "../core/status.ts";
import { isMissing, replaceDurably } from "./durable.ts";
import { type Flaw, journalFiles, macOf, readOpening, scanFile, toKeyObject, toText } from "./journal-file.ts";
import { removeStale } from "./sweeper.ts";

const CHECKPOINT = "checkpoint.json";
/** A checkpoint's HMAC is that of no line. */
const BEFORE = "checkpoint";
/** Who writes a file is at it more often than this. When he is not, the file grows, and is looked at anew. */
const QUIET_MS = 10 * 60_000;
/** Files that are read in one round. */
const FILES_MOST = 8;
const PAGE = 500;

/** What was found in a file of the journal. It is true of the file for as long as that has this size. */
const Known = z.object({
  file: z.string(),
  sizeBytes: z.number(),
  lines: z.number(),
  /** Of its last line. */
  mac: z.string(),
  /** Times of its lines. */
  oldestMs: z.number(),
  newestMs: z.number(),
  /** A later file names its end. */
  isNamed: z.boolean(),
  /** Requests that it has lines of and that were not over yet when the checkpoint was written. */
  open: z.array(RequestId),
});
type Known = z.infer<typeof Known>;

const Checkpoint = z.object({
  format: z.literal("signpipe-checkpoint/1"),
  atMs: z.number(),
  files: z.array(Known),
});
type Checkpoint = z.infer<typeof Checkpoint>;

export interface Survey {
  /** Names of all files, oldest first. */
  names: string[];
  /** What is known of those that have not grown since. */
  known: Map<string, Known>;
  /** All that the checkpoint says, also of files that are not as they were. */
  said: Known[];
  flaws: Flaw[];
}

/**
 * Which files a journal has, and what the checkpoint knows of them. A checkpoint that is missing, or that was changed,
 * says nothing: then all files have to be read. Without a key nobody can tell, and nothing is believed.
 */
export async function survey(dir: string, secret: KeyObject | undefined): Promise<Survey> {
  const { said, flaws } = secret ? await readCheckpoint(dir, secret) : { said: [], flaws: [] };
  const names = await journalFiles(dir); // after it: what it names is there
  const there = new Set(names);
  const known = new Map<string, Known>();
  for (const entry of said) {
    const { file, sizeBytes } = entry;
    const size = there.has(file) ? await sizeOf(join(dir, file)) : undefined;
    if (size === undefined) flaws.push({ file, line: 0, code: "journal-file-missing" });
    else if (size < sizeBytes) flaws.push({ file, line: 0, code: "journal-cut" });
    else if (size === sizeBytes) known.set(file, entry);
  }
  return { names, known, said, flaws };
}

async function sizeOf(path: string): Promise<number | undefined> {
  return await stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    },
  );
}

async function readCheckpoint(dir: string, secret: KeyObject): Promise<{ said: Known[]; flaws: Flaw[] }> {
  let text;
  try {
    text = await readFile(join(dir, CHECKPOINT), "utf8");
  } catch (error) {
    if (isMissing(error)) return { said: [], flaws: [] };
    throw error;
  }
  const [, json = "", mac] = /^(.*),"mac":"([\w-]{43})"\}\n$/s.exec(text) ?? [];
  const isOurs = mac !== undefined && macOf(secret, BEFORE, `${json}}`) === mac;
  const found = isOurs ? Checkpoint.safeParse(JSON.parse(`${json}}`)) : undefined;
  if (found?.success) return { said: found.data.files, flaws: [] };
  return { said: [], flaws: [{ file: CHECKPOINT, line: 0, code: isOurs ? "journal-unreadable" : "journal-changed" }] };
}

/** What a round did. */
interface Kept {
  /** Files that are known now and were not before. */
  added: number;
  /** Files all of whose requests are over. */
  over: number;
}

/**
 * Keeps the checkpoint of a journal: what is in the files that nobody writes to any more, so that a start need not read
 * them. It is replaced as a whole, and takes nothing away from what the files themselves prove: where it is missing,
 * old or changed, more is read. Several processes may do it at once; whoever is last knows less, until the next round.
 */
export function createCheckpointer({
  dir,
  key,
  readMany,
  now = Date.now,
}: {
  dir: string;
  key: Uint8Array;
  /** Records of these ids; those that are not there are left out. Throws when that cannot be told. */
  readMany: (ids: RequestId[]) => Promise<SignRequest[]>;
  now?: () => number;
}) {
  const secret = toKeyObject(key);
  let isStopped = false;

  /** Reads a file. Undefined when somebody may be writing to it, or when it is not whole: that is to be told each time. */
  async function look(file: string, ended: Map<RequestId, boolean>): Promise<Known | undefined> {
    const path = join(dir, file);
    const { size, mtimeMs } = await stat(path);
    if (now() - mtimeMs < QUIET_MS) return undefined;
    const newest = new Map<RequestId, { version: number; isOver: boolean }>();
    let [oldestMs, newestMs, unreadable] = [Infinity, -Infinity, 0];
    const { lines, mac, badLine } = await scanFile(path, secret, (value, place) => {
      if (place.line === 1) return;
      const line = JournalLine.safeParse(value);
      if (!line.success) {
        unreadable += 1;
        return;
      }
      const { request, version, phase, atMs } = line.data;
      oldestMs = Math.min(oldestMs, atMs);
      newestMs = Math.max(newestMs, atMs);
      if (version >= (newest.get(request)?.version ?? 0)) newest.set(request, { version, isOver: isEnd(phase) });
    });
    if (badLine !== undefined || unreadable > 0 || lines < 2 || (await stat(path)).size !== size) return undefined;
    for (const [id, { isOver }] of newest) ended.set(id, isOver);
    const open = [...newest].filter(([, { isOver }]) => !isOver).map(([id]) => id);
    return { file, sizeBytes: size, lines, mac, oldestMs, newestMs, isNamed: false, open };
  }

  /** Takes away who is over by now: by Redis, or by what was just read of one that Redis has not. */
  async function settle(files: Known[], ended: ReadonlyMap<RequestId, boolean>): Promise<Known[]> {
    const ids = [...new Set(files.flatMap(({ open }) => open))];
    const over = new Set<RequestId>();
    for (let at = 0; at < ids.length; at += PAGE) {
      const page = ids.slice(at, at + PAGE);
      const records = new Map((await readMany(page)).map(({ id, phase }) => [id, phase]));
      for (const id of page) {
        const phase = records.get(id);
        if (phase === undefined ? ended.get(id) === true : isEnd(phase)) over.add(id);
      }
    }
    return files.map((one) => ({ ...one, open: one.open.filter((id) => !over.has(id)) }));
  }

  /** Notes whose ends are named by files that are there. */
  async function name(files: Known[], names: string[]): Promise<Known[]> {
    if (files.every(({ isNamed }) => isNamed)) return files;
    const named = new Set<string>();
    for (const file of names) {
      for (const end of (await readOpening(join(dir, file), secret))?.after ?? []) named.add(`${end.file} ${end.mac}`);
    }
    return files.map((one) => ({ ...one, isNamed: named.has(`${one.file} ${one.mac}`) }));
  }

  return {
    /** One round. Throws what the disk or Redis says; the next round tries again. */
    async round(): Promise<Kept> {
      await removeStale(dir, now());
      const { names, known, said } = await survey(dir, secret);
      const ended = new Map<RequestId, boolean>();
      const added: Known[] = [];
      for (const file of names) {
        if (isStopped) return { added: 0, over: 0 };
        if (known.has(file) || added.length === FILES_MOST) continue;
        const found = await look(file, ended);
        if (found) added.push(found);
      }
      const isNew = new Set(added.map(({ file }) => file));
      const files = await name(await settle([...said.filter(({ file }) => !isNew.has(file)), ...added], ended), names);
      if (JSON.stringify(files) !== JSON.stringify(said)) {
        const json = JSON.stringify({ format: "signpipe-checkpoint/1", atMs: now(), files } satisfies Checkpoint);
        await replaceDurably(join(dir, CHECKPOINT), toText(json, macOf(secret, BEFORE, json)));
      }
      return { added: added.length, over: files.filter(({ open }) => open.length === 0).length };
    },
    /** A round that is on its way ends after the file that it reads, for nothing. */
    stop(): void {
      isStopped = true;
    },
  };
}
