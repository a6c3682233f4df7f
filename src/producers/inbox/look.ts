import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, type Stats } from "node:fs";
import { isIgnored, isResultsName, isTableName, isUnfinished, READY, REQUEST } from "./ignore.ts";
import { isPdfName, type RawName, toPath } from "./names.ts";

/**
 * Looking at a name takes microseconds on a local disk, and four times as much through the thread pool: these
 * functions are synchronous, and their caller yields every few milliseconds. Contents are read elsewhere.
 */

/** What two looks at a file must have in common for it to count as unchanged. */
export interface Mark {
  sizeBytes: number;
  /** With fractions: two writes within a millisecond differ. */
  modifiedMs: number;
  inode: number;
}

/** Ends of a PDF that are looked at. @source ISO 32000-2 Annex I.2 */
const HEAD_BYTES = 1024;
const TAIL_BYTES = 2048;
/** A folder with more entries than this is not one request; nobody needs to know how many more. */
const MOST_ENTRIES = 200;
/** Of one that has a table, each is looked at. */
const MOST_OF_BATCH = 1_000_000;

export const errnoOf = (error: unknown): string => (error as NodeJS.ErrnoException | undefined)?.code ?? "";

export function toMark({ size, mtimeMs, ino }: Stats): Mark {
  return { sizeBytes: size, modifiedMs: mtimeMs, inode: ino };
}

export function isSame(a: Mark, b: Mark): boolean {
  return a.sizeBytes === b.sizeBytes && a.modifiedMs === b.modifiedMs && a.inode === b.inode;
}

/** The file's mark and its key, which also changes with its owner and its mode; undefined when it is gone. */
export function lookAt(path: string | Buffer): { mark: Mark; key: string } | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats && { mark: toMark(stats), key: keyOf(stats) };
}

function keyOf({ size, mtimeMs, ctimeMs, ino }: Stats): string {
  return `${size}:${mtimeMs}:${ctimeMs}:${ino}`;
}

/** What of a file outlives a share that is mounted anew: size and time. */
export function printOf({ sizeBytes, modifiedMs }: Mark): string {
  return `${sizeBytes}:${modifiedMs}`;
}

/** How much of a PDF is there. "foreign": whatever it is, waiting does not make it a PDF. */
export type Extent = "whole" | "cut" | "empty" | "foreign";

/**
 * How much of a PDF seems to be there. "cut": it has begun, and its end is still to come. "empty": nothing has come
 * (programs reserve the size first, scanners make an empty file first). Opens regular files only; throws what the file
 * system says.
 */
export function peek(path: string | Buffer): Extent {
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) return "foreign";
    const head = read(file, 0, Math.min(HEAD_BYTES, stats.size));
    if (!head.includes("%PDF-")) {
      if (head.every((byte) => byte === 0)) return "empty";
      return "%PDF-".startsWith(head.toString("latin1")) ? "cut" : "foreign";
    }
    // A linearised PDF has an end mark near its beginning too; it says how long it will be.
    const [, length] = /\/Linearized\b.{0,200}?\/L\s+(\d+)/s.exec(head.toString("latin1")) ?? [];
    if (Number(length ?? 0) > stats.size) return "cut";
    const tail = stats.size <= HEAD_BYTES ? head : read(file, Math.max(0, stats.size - TAIL_BYTES), TAIL_BYTES);
    return /startxref\s+\d+\s+%%EOF/.test(tail.toString("latin1")) ? "whole" : "cut";
  } finally {
    closeSync(file);
  }
}

function read(file: number, at: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, readSync(file, buffer, 0, length, at));
}

/** A folder as it is now. */
export interface FolderLook {
  /** Equal for two looks exactly when nothing in the folder changed between them. */
  key: string;
  /** The same of names, sizes and times alone, which outlive a share that is mounted anew. */
  print: string;
  pdfs: RawName[];
  /** Files of other kinds, which belong into a request only when it names them. */
  others: RawName[];
  /** Names that do not belong into a request in any case: folders, links, pipes. */
  strangers: RawName[];
  hasRequest: boolean;
  /** It has a table instead: it is a batch. */
  isBatch: boolean;
  /** Somebody said that it is complete. */
  isReady: boolean;
  /** Something in it is still written under another name. */
  isUnfinished: boolean;
}

/** Looks at a folder and everything in it, one level deep. Undefined when it is gone, or changes at this moment. */
export function lookAtFolder(path: string | Buffer): FolderLook | undefined {
  const look: FolderLook = {
    key: "",
    print: "",
    pdfs: [],
    others: [],
    strangers: [],
    hasRequest: false,
    isBatch: false,
    isReady: false,
    isUnfinished: false,
  };
  try {
    const entries = readdirSync(path, { withFileTypes: true, encoding: "latin1" });
    const keys: string[] = [`${entries.length}`];
    const prints: string[] = [];
    const names = new Set(entries.map(({ name }) => name));
    look.isBatch = !names.has(REQUEST) && [...names].some((name) => isTableName(name) || isResultsName(name));
    for (const entry of entries.slice(0, look.isBatch ? MOST_OF_BATCH : MOST_ENTRIES)) {
      const { name } = entry;
      const stats = lstatSync(Buffer.concat([Buffer.from(path), Buffer.from(`/${name}`, "latin1")]));
      keys.push(`${name}:${keyOf(stats)}`);
      prints.push(`${name}:${printOf(toMark(stats))}`);
      if (name === READY) look.isReady = true;
      else if (isUnfinished(name)) look.isUnfinished = true;
      else if (isIgnored(name)) continue;
      else if (!stats.isFile()) look.strangers.push(name);
      else if (name === REQUEST) look.hasRequest = true;
      else if (isPdfName(name)) look.pdfs.push(name);
      else look.others.push(name);
    }
    look.key = keys.sort().join("/");
    look.print = createHash("sha256").update(prints.sort().join("/"), "latin1").digest("hex");
    return look;
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/**
 * The first file of a folder that is not there as a whole, and how much of it is; undefined when all are. Of anything
 * but a PDF it can only be told whether it has begun.
 */
export function findPart(
  folder: string | Buffer,
  files: readonly RawName[],
): { raw: RawName; extent: "cut" | "empty" } | undefined {
  let cut: RawName | undefined;
  for (const raw of files) {
    const extent = peek(Buffer.concat([Buffer.from(folder), Buffer.from(`/${raw}`, "latin1")]));
    // What has not begun is given more time than what has.
    if (extent === "empty") return { raw, extent };
    if (extent === "cut") cut ??= raw;
  }
  return cut === undefined ? undefined : { raw: cut, extent: "cut" };
}

/**
 * By what something in an inbox that is only read is known again, as it is now: a folder by what is in it, a file by itself
 * and its sidecar. The ledger has it, so it must read the same wherever it is asked for. Nothing where nothing is.
 */
export function printNow(
  inbox: string,
  { raw, sidecar, isFolder }: { raw: RawName; sidecar: RawName | undefined; isFolder: boolean },
): string {
  if (isFolder) return lookAtFolder(toPath(inbox, raw))?.print ?? "";
  const seen = [raw, ...(sidecar === undefined ? [] : [sidecar])].map((name) => lookAt(toPath(inbox, name)));
  return seen.map((one) => (one ? printOf(one.mark) : "")).join(" ");
}
