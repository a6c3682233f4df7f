import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { type FileHandle, open, readdir } from "node:fs/promises";

/** More than an opening, and than a line, ever has. */
const OPENING_MOST = 1 << 18;
/** As much as nearly all openings have. */
const OPENING_SHORT = 1 << 12;
const LINE_MOST = 1 << 20;
/** What is read at once: a few milliseconds of work, between which the process gets to other things. */
const PIECE_BYTES = 1 << 18;
const FORMAT = "signpipe-journal/1";
const NAME = /^\d{8}T\d{9}Z-[\w-]{8}\.jsonl$/;
const NEWLINE = 0x0a;
/** How a line ends: `,"mac":"…"}`. */
const MAC_BEGINS = ',"mac":"';
const MAC_LENGTH = 43;
const MAC_BYTES = MAC_BEGINS.length + MAC_LENGTH + 2;

/** The end of a file: the HMAC of its last line. */
export interface End {
  file: string;
  mac: string;
}

/** The line at the beginning of a file: which files there were, and how far they had got. */
export interface Opening {
  format: typeof FORMAT;
  atMs: number;
  after: End[];
}

export function toOpening(atMs: number, after: End[]): Opening {
  return { format: FORMAT, atMs, after };
}

/** Whether the first line of a file is what it should be. */
export function isOpening(value: object): value is Opening {
  return (value as Partial<Opening>).format === FORMAT;
}

/** The HMAC of a line: it covers the line before as well. */
export function macOf(key: KeyObject, before: string, json: string): string {
  return createHmac("sha256", key).update(`${before}\n${json}`).digest("base64url");
}

/** A line as it stands in a file. */
export function toText(json: string, mac: string): string {
  return `${json.slice(0, -1)}${MAC_BEGINS}${mac}"}\n`;
}

export const toKeyObject = (key: Uint8Array): KeyObject => createSecretKey(key);

/** Names of a journal's files, oldest first. */
export async function journalFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names.filter((name) => NAME.test(name)).sort();
}

/** What is wrong with a journal. */
export interface Flaw {
  file: string;
  /** Counted from 1; 0 for the file as a whole. */
  line: number;
  code: "journal-changed" | "journal-cut" | "journal-file-missing" | "journal-unreadable";
}

/** How far a reading came. */
export interface Scan {
  /** Good lines. */
  lines: number;
  /** Of the last good one. */
  mac: string;
  /** The first line that is not good, counted from 1. A torn last line is what a crash leaves, and none. */
  badLine: number | undefined;
}

/**
 * Reads a file line by line, up to the first one that is not good. `each` gets the good ones. Without `secret` lines
 * are taken as they are. Only a newline ends a line: what else some call one may stand in a document's name.
 */
export async function scanFile(
  path: string,
  secret: KeyObject | undefined,
  each: (value: object, place: { line: number; mac: string }) => void,
): Promise<Scan> {
  const scan: Scan = { lines: 0, mac: "", badLine: undefined };
  const handle = await open(path, "r");
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  let rest: Buffer = Buffer.alloc(0);
  try {
    for (;;) {
      const { bytesRead } = await handle.read(piece, 0, piece.length);
      if (bytesRead === 0) break;
      const bytes =
        rest.length > 0 ? Buffer.concat([rest, piece.subarray(0, bytesRead)]) : piece.subarray(0, bytesRead);
      let from = 0;
      for (let to = bytes.indexOf(NEWLINE); to >= 0; to = bytes.indexOf(NEWLINE, from)) {
        if (!take(bytes.subarray(from, to))) return { ...scan, badLine: scan.lines + 1 };
        from = to + 1;
      }
      rest = Buffer.from(bytes.subarray(from));
      if (rest.length > LINE_MOST) return { ...scan, badLine: scan.lines + 1 };
    }
    if (rest.length > 0) take(rest);
    return scan;
  } finally {
    await handle.close();
  }

  function take(line: Buffer): boolean {
    const found = parse(line);
    if (!found || (secret && macOfBytes(secret, scan.mac, line) !== found.mac)) return false;
    scan.mac = found.mac;
    scan.lines += 1;
    each(found.value, { line: scan.lines, mac: found.mac });
    return true;
  }
}

/** The same as `macOf`, of a line as it stands in a file. */
function macOfBytes(key: KeyObject, before: string, line: Buffer): string {
  return createHmac("sha256", key)
    .update(`${before}\n`)
    .update(line.subarray(0, -MAC_BYTES))
    .update("}")
    .digest("base64url");
}

function parse(line: Buffer): { value: object; mac: string } | undefined {
  const mac = macIn(line.toString("latin1", line.length - MAC_BYTES));
  if (mac === undefined || line.length < MAC_BYTES) return undefined;
  try {
    return { value: JSON.parse(`${line.toString("utf8", 0, line.length - MAC_BYTES)}}`) as object, mac };
  } catch {
    return undefined;
  }
}

function macIn(text: string): string | undefined {
  return /,"mac":"([\w-]{43})"\}$/.exec(text)?.[1];
}

/** The first line of a file; undefined when it is not there yet, or not whole. */
export async function readOpening(path: string, secret: KeyObject | undefined): Promise<Opening | undefined> {
  return await withFile(path, async (handle) => {
    let bytes = await slice(handle, 0, OPENING_SHORT);
    if (!bytes.includes(NEWLINE)) bytes = await slice(handle, 0, OPENING_MOST);
    const line = bytes.subarray(0, Math.max(bytes.indexOf(NEWLINE), 0));
    const found = parse(line);
    if (!found || !isOpening(found.value) || (secret && macOfBytes(secret, "", line) !== found.mac)) return undefined;
    return found.value;
  });
}

/** The HMAC of a file's last whole line, which is on disk then. */
export async function readEnd(path: string): Promise<string | undefined> {
  return await withFile(path, async (handle) => {
    await handle.datasync(); // what is named must not be less durable than the name
    const { size } = await handle.stat();
    const tail = await slice(handle, Math.max(size - LINE_MOST, 0), size);
    return macIn(
      tail.toString("latin1", Math.max(tail.lastIndexOf(NEWLINE) - MAC_BYTES, 0), tail.lastIndexOf(NEWLINE)),
    );
  });
}

async function withFile<T>(path: string, act: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path, "r");
  try {
    return await act(handle);
  } finally {
    await handle.close();
  }
}

async function slice(handle: FileHandle, from: number, to: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(to - from), 0, to - from, from);
  return buffer.subarray(0, bytesRead);
}
