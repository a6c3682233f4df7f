import { createHash, randomUUID, type Hash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import type { Readable } from "node:stream";
import { removeFiles, SMALL_BYTES, writeSmall } from "./files.ts";

export type Saved = { bytes: number; sha256: string; hash: Hash };

const HEADER_BYTES = 1024;
const BLOCK_BYTES = 1 << 20;

/** Whether a file that begins with these bytes is of the kind that is wanted. */
export type Looks = (start: Buffer) => boolean;

/** The header may stand behind a few other bytes. @source ISO 32000-1 Annex H, note 13 */
export const looksLikePdf: Looks = (start) => start.subarray(0, HEADER_BYTES).includes("%PDF-");

const STARTS: Record<string, Looks> = {
  "image/png": (start) => start.subarray(0, 8).toString("hex") === "89504e470d0a1a0a",
  "image/jpeg": (start) => start.subarray(0, 3).toString("hex") === "ffd8ff",
  "video/mp4": (start) => start.subarray(4, 8).toString("latin1") === "ftyp",
  "video/webm": (start) => start.subarray(0, 4).toString("hex") === "1a45dfa3",
  "video/x-msvideo": (start) => start.subarray(8, 12).toString("latin1") === "AVI ",
};

/** The type of a file by its first bytes, among these; undefined for any other. */
export const typeOf = (start: Buffer, kind: "image" | "video"): string | undefined =>
  Object.keys(STARTS).find((type) => type.startsWith(kind) && STARTS[type]?.(start));

/**
 * Streams a file to a new one and hashes it on the way, as fast as the disk takes it. Undefined, with nothing left on
 * disk, when it does not begin as it should; the stream is read to its end even then, or the connection could not be
 * used again.
 */
export async function saveFile(stream: Readable, path: string, looksRight: Looks): Promise<Saved | undefined> {
  const hash = createHash("sha256");
  let held: Buffer[] = [];
  let heldBytes = 0;
  let bytes = 0;
  let file: FileHandle | undefined;
  let refused = false;
  let whole = false;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (refused) continue;
      hash.update(chunk);
      bytes += chunk.length;
      held.push(chunk);
      heldBytes += chunk.length;
      if (heldBytes < (file ? BLOCK_BYTES : SMALL_BYTES)) continue;
      refused = !file && !looksRight(Buffer.concat(held));
      if (refused) continue;
      file ??= await open(path, "wx", 0o600);
      await file.writev(held);
      [held, heldBytes] = [[], 0];
    }
    if (refused) return undefined;
    if (!file) {
      const small = Buffer.concat(held);
      if (!looksRight(small)) return undefined;
      writeSmall(path, small);
    } else if (heldBytes > 0) await file.writev(held);
    whole = true;
  } finally {
    await file?.close();
    if (file && !whole) removeFiles([path]);
  }
  return { bytes, sha256: hash.copy().digest("hex"), hash };
}

export const newUid = (): string => randomUUID();
