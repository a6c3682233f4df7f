import { createHash, randomUUID, type Hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import type { Readable } from "node:stream";
import { removeFiles, SMALL_BYTES, writeSmall } from "./files.ts";

export type Saved = { bytes: number; sha256: string; hash: Hash };

const HEADER_BYTES = 1024;
const BLOCK_BYTES = 1 << 20;

/**
 * Whether a file that begins like this is a PDF; the header may stand behind a few other bytes. @source ISO 32000-1
 * Annex H, note 13
 */
const looksLikePdf = (start: Buffer): boolean => start.subarray(0, HEADER_BYTES).includes("%PDF-");

/**
 * Streams a PDF to a new file and hashes it on the way, as fast as the disk takes it. Undefined, with nothing left on
 * disk, when it is no PDF; the stream is read to its end even then, or the connection could not be used again.
 */
export async function savePdf(stream: Readable, path: string): Promise<Saved | undefined> {
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
      refused = !file && !looksLikePdf(Buffer.concat(held));
      if (refused) continue;
      file ??= await open(path, "wx", 0o600);
      await file.writev(held);
      [held, heldBytes] = [[], 0];
    }
    if (refused) return undefined;
    if (!file) {
      const small = Buffer.concat(held);
      if (!looksLikePdf(small)) return undefined;
      writeSmall(path, small);
    } else if (heldBytes > 0) await file.writev(held);
    whole = true;
  } finally {
    await file?.close();
    if (file && !whole) removeFiles([path]);
  }
  return { bytes, sha256: hash.copy().digest("hex"), hash };
}

/**
 * Writes a PDF anew, as `usepdfclean` does: without scripts, attachments and earlier signatures. One that cannot be read
 * stays as it is, and nothing is given back. Takes memory for the whole of it.
 * @source docs/provider.md §Rewritten documents
 */
export async function cleanPdf(path: string): Promise<Saved | undefined> {
  const { rewrite } = await import("./pdf/rewrite.ts");
  const bytes = await rewrite(readFileSync(path));
  if (!bytes) return undefined;
  removeFiles([path]);
  writeSmall(path, bytes);
  const hash = createHash("sha256").update(bytes);
  return { bytes: bytes.length, sha256: hash.copy().digest("hex"), hash };
}

export const newUid = (): string => randomUUID();
