import { createHash, randomUUID, type Hash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import type { Readable } from "node:stream";

export type Saved = { bytes: number; sha256: string; hash: Hash };

const HEADER_BYTES = 1024;

/** Whether a file that begins like this is a PDF; the header may stand behind a few other bytes. @source ISO 32000-1 Annex H, note 13 */
const looksLikePdf = (start: Buffer): boolean => start.subarray(0, HEADER_BYTES).includes("%PDF-");

/**
 * Streams a PDF to a new file and hashes it on the way, as fast as the disk takes it. Undefined, with nothing left on
 * disk, when it is no PDF; the stream is read to its end even then, or the connection could not be used again.
 */
export async function savePdf(stream: Readable, path: string): Promise<Saved | undefined> {
  const hash = createHash("sha256");
  let bytes = 0;
  let start: Buffer | undefined = Buffer.alloc(0);
  let refused = false;
  let whole = false;
  const file = await open(path, "wx", 0o600);
  const keep = async (piece: Buffer): Promise<void> => {
    hash.update(piece);
    bytes += piece.length;
    await file.writeFile(piece);
  };
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (refused) continue;
      if (start === undefined) {
        await keep(chunk);
        continue;
      }
      start = Buffer.concat([start, chunk]);
      if (start.length < HEADER_BYTES) continue;
      refused = !looksLikePdf(start);
      if (!refused) await keep(start);
      start = undefined;
    }
    if (start) refused = !looksLikePdf(start);
    if (start && !refused) await keep(start);
    whole = !refused;
  } finally {
    await file.close();
    if (!whole) await rm(path, { force: true });
  }
  return whole ? { bytes, sha256: hash.copy().digest("hex"), hash } : undefined;
}

export const newUid = (): string => randomUUID();
