import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { PermanentError } from "../core/errors.ts";

const BLOCK_BYTES = 1 << 20;
/** Up to this size a file is read once and as a whole, which takes a fraction of the system calls. */
export const SMALL_BYTES = 1 << 20;

/** The bytes of a file, for those who check it. */
export interface Content {
  readonly sizeBytes: number;
  /** `length` bytes from `at` on, fewer where the file ends. A view: not to be written to. */
  read(at: number, length: number): Promise<Buffer>;
  /**
   * Feeds the bytes from `from` up to `to` into hashes, in pieces, whatever their number. Throws PermanentError
   * "file-changed" when the file ends before.
   */
  feed(from: number, to: number, hashes: readonly Hash[]): Promise<void>;
}

/** Bytes that are in memory already. */
export function inMemory(bytes: Buffer): Content {
  return {
    sizeBytes: bytes.length,
    async read(at, length) {
      return bytes.subarray(at, at + length);
    },
    async feed(from, to, hashes) {
      if (to > bytes.length) throw becameShorter();
      const part = bytes.subarray(from, to);
      for (const hash of hashes) hash.update(part);
    },
  };
}

/** An open file, read piece by piece. */
export function onDisk(file: FileHandle, sizeBytes: number): Content {
  let block: Buffer | undefined;
  return {
    sizeBytes,
    async read(at, length) {
      const buffer = Buffer.allocUnsafe(Math.max(Math.min(length, sizeBytes - at), 0));
      return buffer.subarray(0, await fill(file, buffer, at));
    },
    async feed(from, to, hashes) {
      block ??= Buffer.allocUnsafe(BLOCK_BYTES);
      for (let at = from; at < to;) {
        const { bytesRead } = await file.read(block, 0, Math.min(BLOCK_BYTES, to - at), at);
        if (bytesRead === 0) throw becameShorter();
        const part = block.subarray(0, bytesRead);
        for (const hash of hashes) hash.update(part);
        at += bytesRead;
      }
    },
  };
}

/**
 * Opens a regular file for `act`, and closes it afterwards. Throws PermanentError "not-a-regular-file", "file-changed",
 * and what the file system says.
 */
export async function withContent<T>(path: string, act: (content: Content) => Promise<T>): Promise<T> {
  const { file, sizeBytes } = await openRegular(path);
  try {
    if (sizeBytes > SMALL_BYTES) return await act(onDisk(file, sizeBytes));
    const bytes = Buffer.allocUnsafe(sizeBytes);
    if ((await fill(file, bytes, 0)) < sizeBytes) throw becameShorter();
    return await act(inMemory(bytes));
  } finally {
    await file.close();
  }
}

/** Size and SHA-256 of a regular file. Throws what withContent throws. */
export async function hashFile(path: string): Promise<{ sizeBytes: number; sha256: string }> {
  return await withContent(path, hashContent);
}

export async function hashContent(content: Content): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash("sha256");
  await content.feed(0, content.sizeBytes, [hash]);
  return { sizeBytes: content.sizeBytes, sha256: hash.digest("hex") };
}

/** Opens a regular file and nothing else: no link is followed, and a pipe does not block. */
export async function openRegular(path: string): Promise<{ file: FileHandle; sizeBytes: number }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(toRefusal);
  try {
    const found = await file.stat();
    if (!found.isFile()) throw notRegular();
    return { file, sizeBytes: found.size };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** What the system answers to the opening of a link, and of a socket or a device that is not there. */
function toRefusal(error: unknown): never {
  const { code = "" } = error as NodeJS.ErrnoException;
  throw ["ELOOP", "EMLINK", "ENXIO"].includes(code) ? notRegular(error) : error;
}

function notRegular(cause?: unknown): PermanentError {
  return new PermanentError("It is not a regular file", { code: "not-a-regular-file", cause });
}

/** What is thrown of a file that others write to. */
export function becameShorter(): PermanentError {
  return new PermanentError("The file became shorter while it was read", { code: "file-changed" });
}

/** Reads until the buffer is full or the file ends. How many bytes. */
export async function fill(file: FileHandle, buffer: Buffer, at: number): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}
