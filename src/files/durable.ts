import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, mkdir, open, rename, unlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { FileBoundary } from "../core/crash-point.ts";
import type { WaitName } from "../core/ages.ts";
import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { randomText } from "../core/random.ts";
import { type Content, fill, hashContent, hashFile, inMemory, onDisk, SMALL_BYTES } from "./content.ts";
import { passedOn } from "./garbage.ts";

/** What is written at once: enough for the disk, little enough for memory. */
const WAITING_BYTES = 1 << 20;

/** Whether the file system says that something is not there, or that a part of the way to it is no folder. */
export function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** What the file system says of itself, not of the file. */
const DISK_CODES: Record<string, string> = {
  ENOSPC: "disk-full",
  EDQUOT: "disk-full",
  EROFS: "disk-read-only",
  EIO: "disk-error",
};

/** What requests wait for while the disk takes nothing: for an operator, in words. */
export const ROOM: WaitName = "room on the disk";
const WRITABLE: WaitName = "a disk that can be written to";

/**
 * A fault of the disk as a failure that passes; anything else unchanged. A full or read-only disk is full for everybody:
 * no attempt counts. An error may be about one file, which is not tried for ever.
 */
export function toDiskFailure(error: unknown): unknown {
  const code = DISK_CODES[(error as NodeJS.ErrnoException | undefined)?.code ?? ""];
  if (!code) return error;
  const what = { "disk-full": "is full", "disk-read-only": "is read-only", "disk-error": "reports an error" }[code];
  const until = code === "disk-full" ? ROOM : WRITABLE;
  const pause = code === "disk-error" ? {} : { pause: { until } };
  return new RetryableError(`The disk of DATA_DIR ${what}`, { code, cause: error, ...pause });
}

/** Whether the file system could not do what was asked, whatever the file. */
export function isDiskFailure(error: unknown): boolean {
  return toDiskFailure(error) !== error || isFailure(error, ...Object.values(DISK_CODES));
}

/** Does `act`; a fault of the disk comes out as toDiskFailure has it. */
export async function withDisk<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw toDiskFailure(error);
  }
}

export interface Written {
  sizeBytes: number;
  sha256: string;
  outcome: "written" | "already-there";
}

/** Throws when a file must not be kept. What it gives back may name the `sha256` of all the bytes, if it read them. */
export type Check = (content: Content) => Promise<object>;

/**
 * Writes a file so that it is whole and on disk, or not there at all: a temporary file in the same folder, fsync,
 * `check`, the file read back and hashed anew, a hard link to the final name (which never overwrites), fsync of the
 * folder. The folder is made when it is missing. A file of that name with the same content is "already-there".
 *
 * With `readBack: false` the size on disk is compared instead: for what can be asked for again.
 *
 * Throws PermanentError "name-taken" for another file of that name, "file-too-large" above `maxBytes`; RetryableError
 * "disk-full", "disk-read-only" or "disk-error"; and what `source` and `check` throw.
 */
export async function writeDurably({
  dir,
  name,
  source,
  check,
  readBack = true,
  flushName = true,
  maxBytes = Number.POSITIVE_INFINITY,
  reach = () => {},
}: {
  dir: string;
  name: string;
  source: AsyncIterable<Uint8Array>;
  check?: Check;
  readBack?: boolean;
  /** False when the folder is flushed afterwards by the caller, before anything relies on the name. */
  flushName?: boolean;
  maxBytes?: number;
  /** Told of each boundary, before the next step; for tests that crash there. */
  reach?: ((boundary: FileBoundary) => void | Promise<void>) | undefined;
}): Promise<Written> {
  const partial = join(dir, `.${randomText(9)}.part`);
  const final = join(dir, name);
  let file: FileHandle | undefined;
  try {
    const inflow = createInflow(async () => (file = await create(partial)), maxBytes);
    const more = await inflow.gather(source);
    if (more) await pipeline(more, inflow.writable);
    const { bytes, sizeBytes, sha256 } = inflow.end();
    // What is in memory as a whole is checked there, before the disk has any work with it.
    let seen = bytes && check && (await check(inMemory(bytes)));
    file ??= await create(partial);
    if (bytes) await writeAll(file, [bytes]);
    await reach("written");
    await file.sync();
    await reach("synced");
    if (!bytes && check) seen = await check(onDisk(file, sizeBytes));
    if (!(await isOnDisk(file, { bytes, sizeBytes, sha256, readBack, seen }))) {
      throw new RetryableError("A file does not read back as it was written", { code: "disk-error" });
    }
    await reach("synced");
    const outcome = await linkOnce(partial, final, sha256);
    await reach("linked");
    await unlink(partial);
    await reach("unlinked");
    if (flushName) await syncFolder(dir);
    await reach("named");
    return { sizeBytes, sha256, outcome };
  } catch (error) {
    await unlink(partial).catch(() => {});
    throw toDiskFailure(error);
  } finally {
    await file?.close();
  }
}

/**
 * Takes a stream in for `act` to look at, and keeps nothing of it: what is small stays in memory, what is not goes to a
 * file in `dir`, which has to be there, and which loses its name at once, so that not even a crash leaves it there.
 * Throws RetryableError "disk-full", "disk-read-only" or "disk-error", and what `source` and `act` throw.
 */
export async function withPassing<T>(
  dir: string,
  source: AsyncIterable<Uint8Array>,
  act: (content: Content, sha256: string) => Promise<T>,
): Promise<T> {
  let file = undefined as FileHandle | undefined;
  const begin = async () => {
    const path = join(dir, `.${randomText(9)}.part`);
    file = await open(path, "wx+", 0o600);
    await unlink(path);
    return file;
  };
  try {
    const inflow = createInflow(begin, Number.POSITIVE_INFINITY);
    const more = await inflow.gather(source);
    if (more) await pipeline(more, inflow.writable);
    const { bytes, sizeBytes, sha256 } = inflow.end();
    return await act(bytes ? inMemory(bytes) : onDisk(file ?? (await begin()), sizeBytes), sha256);
  } catch (error) {
    throw toDiskFailure(error);
  } finally {
    await file?.close();
  }
}

/** A new file; its folder is made when it turns out to be missing. */
async function create(path: string): Promise<FileHandle> {
  return await inFolder(dirname(path), () => open(path, "wx+", 0o600));
}

/** Does `act` in a folder, which is made when it turns out to be missing: looking first would cost more than it saves. */
export async function inFolder<T>(dir: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    await makeFolder(dir);
    return await act();
  }
}

/**
 * Takes a stream in and hashes it on the way. What is small stays in memory; for what is not, `begin` opens a file, and
 * whatever has come while the disk was busy is written at once.
 */
function createInflow(begin: () => Promise<FileHandle>, maxBytes: number) {
  const hash = createHash("sha256");
  let held: Buffer[] | undefined = [];
  let sizeBytes = 0;
  let file: FileHandle | undefined;

  async function take(chunks: Buffer[]): Promise<void> {
    for (const chunk of chunks) {
      sizeBytes += chunk.length;
      hash.update(chunk);
    }
    if (sizeBytes > maxBytes) throw new PermanentError(`More than ${maxBytes} bytes`, { code: "file-too-large" });
    held?.push(...chunks);
    if (held && sizeBytes <= SMALL_BYTES) return;
    file ??= await begin();
    await writeAll(file, held ?? chunks);
    passedOn(held ? sizeBytes : chunks.reduce((sum, { length }) => sum + length, 0));
    held = undefined;
  }

  /** Takes in what is small, which needs no stream; what is left of anything larger is given back. */
  async function gather(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array> | undefined> {
    const isStream = source instanceof Readable;
    const chunks: AsyncIterator<Uint8Array> = isStream
      ? source.iterator({ destroyOnReturn: false })
      : source[Symbol.asyncIterator]();
    try {
      for (let tookBytes = 0; tookBytes <= SMALL_BYTES;) {
        const next = await chunks.next();
        if (next.done) return undefined;
        await take([next.value as Buffer]);
        tookBytes += next.value.length;
      }
      if (!isStream) return { [Symbol.asyncIterator]: () => chunks };
      await chunks.return?.(); // a stream flows faster than its chunks are asked for one by one
      return source;
    } catch (error) {
      if (isStream) source.destroy();
      else await chunks.return?.();
      throw error;
    }
  }

  return {
    gather,
    writable: new Writable({
      highWaterMark: WAITING_BYTES,
      write: (chunk: Buffer, _encoding, done) => void take([chunk]).then(() => done(), done),
      writev: (chunks, done) => void take(chunks.map(({ chunk }) => chunk as Buffer)).then(() => done(), done),
    }),
    end: () => ({ bytes: held && Buffer.concat(held), sizeBytes, sha256: hash.digest("hex") }),
  };
}

async function writeAll(file: FileHandle, chunks: Buffer[]): Promise<void> {
  let rest = chunks.filter(({ length }) => length > 0);
  while (rest.length > 0) {
    let { bytesWritten } = await file.writev(rest);
    rest = rest.flatMap((chunk) => {
      const done = Math.min(bytesWritten, chunk.length);
      bytesWritten -= done;
      return done < chunk.length ? [chunk.subarray(done)] : [];
    });
  }
}

/** Whether the disk has what was written, as far as that is to be looked at. */
async function isOnDisk(
  file: FileHandle,
  {
    bytes,
    sizeBytes,
    sha256,
    readBack,
    seen,
  }: Pick<Written, "sizeBytes" | "sha256"> & {
    bytes: Buffer | undefined;
    readBack: boolean;
    seen: object | undefined;
  },
): Promise<boolean> {
  if (!readBack) return (await file.stat()).size === sizeBytes;
  if (bytes) {
    const back = Buffer.allocUnsafe(sizeBytes + 1);
    return bytes.equals(back.subarray(0, await fill(file, back, 0)));
  }
  const read: { sha256?: unknown } = seen ?? {};
  return (read.sha256 ?? (await hashContent(onDisk(file, sizeBytes))).sha256) === sha256;
}

async function linkOnce(partial: string, final: string, sha256: string): Promise<Written["outcome"]> {
  try {
    await link(partial, final);
    return "written";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if ((await hashFile(final)).sha256 === sha256) return "already-there";
    throw new PermanentError("A file of this name with other content is there already; it was not touched", {
      code: "name-taken",
      cause: error,
    });
  }
}

/** Writes a small file as a whole, unless one of that name is there already. */
export async function writeOnce(path: string, content: string): Promise<void> {
  const partial = join(dirname(path), `.${randomText(9)}.part`);
  try {
    await writeFile(partial, content, { flag: "wx", mode: 0o600, flush: true });
    await link(partial, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await unlink(partial);
    await syncFolder(dirname(path));
  } catch (error) {
    await unlink(partial).catch(() => {});
    throw toDiskFailure(error);
  }
}

/** Replaces a small file as a whole: readers see the old one or the new one. */
export async function replaceDurably(
  path: string,
  content: string | Uint8Array,
  { fsync = true, mode = 0o600 }: { fsync?: boolean; mode?: number } = {},
): Promise<void> {
  const partial = join(dirname(path), `.${randomText(9)}.part`);
  try {
    const file = await open(partial, "wx", mode);
    try {
      await file.writeFile(content);
      if (fsync) await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
    if (fsync) await syncFolder(dirname(path));
  } catch (error) {
    await unlink(partial).catch(() => {});
    throw toDiskFailure(error);
  }
}

/** Makes a folder and its parents; what was made is on disk. Throws what writeDurably throws of the disk. */
export async function makeFolder(dir: string): Promise<void> {
  await withDisk(async () => {
    const first = await mkdir(dir, { recursive: true, mode: 0o700 }).catch(async (error: NodeJS.ErrnoException) => {
      // What Node says of a disk that is read-only; the plain call says why.
      if (error.code !== "ENOENT") throw error;
      await mkdir(dir, { mode: 0o700 });
      return dir;
    });
    if (first === undefined) return;
    const top = resolve(first);
    for (let made = resolve(dir); made.length >= top.length; made = dirname(made)) await syncFolder(dirname(made));
  });
}

/** A flush of a folder that is under way, and the one that follows it. */
interface Turn {
  current: Promise<void>;
  next?: Promise<void>;
}
const turns = new Map<string, Turn>();

/**
 * Makes the names in a folder durable. Whoever asks while a flush of the same folder is under way, which may have begun
 * before his name was there, gets the next one together with all others who wait for it.
 */
export async function syncFolder(dir: string): Promise<void> {
  const turn = turns.get(dir);
  if (!turn) return await flushFolder(dir);
  turn.next ??= turn.current.catch(() => {}).then(() => flushFolder(dir));
  await turn.next;
}

function flushFolder(dir: string): Promise<void> {
  const turn: Turn = { current: flushNow(dir) };
  turns.set(dir, turn);
  const over = () => {
    if (turns.get(dir) === turn && !turn.next) turns.delete(dir);
  };
  turn.current.then(over, over);
  return turn.current;
}

async function flushNow(dir: string): Promise<void> {
  const folder = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
