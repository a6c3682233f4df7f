import { createHash, type Hash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FileBoundary } from "../core/crash-point.ts";
import { PermanentError, RetryableError } from "../core/errors.ts";

const CHUNK_BYTES = 1 << 20;
/** A partial file is nobody's after this, in milliseconds. */
const STALE_MS = 24 * 3_600_000;

/** What the file system says of itself, not of the file. */
const DISK_CODES: Record<string, string> = {
  ENOSPC: "disk-full",
  EDQUOT: "disk-full",
  EROFS: "disk-read-only",
  EIO: "disk-error",
};

/** A fault of the disk as a failure that passes; anything else unchanged. */
export function toDiskFailure(error: unknown): unknown {
  const code = DISK_CODES[(error as NodeJS.ErrnoException | undefined)?.code ?? ""];
  if (!code) return error;
  const what = { "disk-full": "is full", "disk-read-only": "is read-only", "disk-error": "reports an error" }[code];
  return new RetryableError(`The disk of DATA_DIR ${what}`, { code, cause: error });
}

export interface Written {
  sizeBytes: number;
  sha256: string;
  outcome: "written" | "already-there";
}

/**
 * Writes a file so that it is whole and on disk, or not there at all: a temporary file in the same folder, `verify`,
 * fsync, a hard link to the final name (which never overwrites), fsync of the folder, and the final file hashed anew.
 * A file of that name with the same content is "already-there". Throws PermanentError "name-taken" for another one,
 * RetryableError "disk-full", "disk-read-only" or "disk-error", and what `source` and `verify` throw.
 */
export async function writeDurably({
  dir,
  name,
  source,
  verify,
  maxBytes = Number.POSITIVE_INFINITY,
  reach = () => {},
}: {
  dir: string;
  name: string;
  source: AsyncIterable<Uint8Array> | Uint8Array | string;
  verify?: ((path: string) => Promise<unknown>) | undefined;
  maxBytes?: number;
  /** Told of each boundary, before the next step; for tests that crash there. */
  reach?: ((boundary: FileBoundary) => void | Promise<void>) | undefined;
}): Promise<Written> {
  const partial = join(dir, `.${randomBytes(9).toString("base64url")}.part`);
  const final = join(dir, name);
  try {
    await makeFolder(dir);
    const file = await open(partial, "wx", 0o600);
    let written: { sizeBytes: number; sha256: string };
    try {
      written = await copyInto(file, source, maxBytes);
      await verify?.(partial);
      await reach("written");
      await file.sync();
    } finally {
      await file.close();
    }
    await reach("synced");
    const outcome = await linkOnce(partial, final, written.sha256);
    await reach("linked");
    await unlink(partial);
    await reach("unlinked");
    await syncFolder(dir);
    await reach("named");
    if ((await hashFile(final)).sha256 !== written.sha256) {
      throw new RetryableError(`${name} does not read back as it was written`, { code: "disk-error" });
    }
    return { ...written, outcome };
  } catch (error) {
    await unlink(partial).catch(() => {});
    throw toDiskFailure(error);
  }
}

async function linkOnce(partial: string, final: string, sha256: string): Promise<"written" | "already-there"> {
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

async function copyInto(
  file: FileHandle,
  source: AsyncIterable<Uint8Array> | Uint8Array | string,
  maxBytes: number,
): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const put = async (chunk: Uint8Array) => {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw new PermanentError(`More than ${maxBytes} bytes`, { code: "file-too-large" });
    hash.update(chunk);
    for (let at = 0; at < chunk.length;) at += (await file.write(chunk, at)).bytesWritten;
  };
  if (typeof source === "string") await put(Buffer.from(source));
  else if (source instanceof Uint8Array) await put(source);
  else for await (const chunk of source) await put(chunk);
  return { sizeBytes, sha256: hash.digest("hex") };
}

/** Replaces a small file as a whole: readers see the old one or the new one. */
export async function replaceDurably(
  path: string,
  content: string | Uint8Array,
  { fsync = true }: { fsync?: boolean } = {},
): Promise<void> {
  const partial = join(dirname(path), `.${randomBytes(9).toString("base64url")}.part`);
  try {
    const file = await open(partial, "wx", 0o600);
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

/** Makes a folder and its parents; what was made is on disk. */
export async function makeFolder(dir: string): Promise<void> {
  const first = await mkdir(dir, { recursive: true, mode: 0o700 });
  if (first !== undefined) await syncFolder(dirname(first));
}

/** Makes the names in a folder durable. */
export async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Opens a regular file and nothing else: no link is followed, and a pipe does not block. */
export async function openRegular(path: string): Promise<{ file: FileHandle; sizeBytes: number }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const found = await file.stat();
  if (!found.isFile()) {
    await file.close();
    throw new PermanentError("It is not a regular file", { code: "not-a-regular-file" });
  }
  return { file, sizeBytes: found.size };
}

/** Size and SHA-256 of a regular file. Reads it in pieces, whatever its size. */
export async function hashFile(path: string): Promise<{ sizeBytes: number; sha256: string }> {
  const { file, sizeBytes } = await openRegular(path);
  try {
    const hash = createHash("sha256");
    await hashInto(hash, file, 0, sizeBytes);
    return { sizeBytes, sha256: hash.digest("hex") };
  } finally {
    await file.close();
  }
}

/** Feeds a part of a file into a hash. */
export async function hashInto(hash: Hash, file: FileHandle, from: number, to: number): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.max(Math.min(CHUNK_BYTES, to - from), 1));
  for (let at = from; at < to;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, to - at), at);
    if (bytesRead === 0)
      throw new PermanentError("The file became shorter while it was read", { code: "file-changed" });
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** Removes partial files that a crash left in a folder. How many. */
export async function removeStale(dir: string, now = Date.now()): Promise<number> {
  let removed = 0;
  for (const name of await readdir(dir).catch(() => [])) {
    if (!/^\.[\w-]{12}\.part$/.test(name)) continue;
    const found = await stat(join(dir, name)).catch(() => undefined);
    if (!found || now - found.mtimeMs < STALE_MS) continue;
    await unlink(join(dir, name)).catch(() => {});
    removed += 1;
  }
  return removed;
}
