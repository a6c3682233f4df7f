import type { FileHandle } from "node:fs/promises";
import { PermanentError } from "../core/errors.ts";
import { openRegular } from "./durable.ts";
import { readDictionary } from "./pdf-syntax.ts";

/** Readers look for the header and for the end mark within this many bytes. @source ISO 32000-2 Annex I.2 */
const EDGE_BYTES = 1_024;
const TAIL_BYTES = 2_048;
const WINDOW_BYTES = 64 * 1_024;
/** A cross-reference table is looked through this far for its trailer. */
const TABLE_BYTES = 256 * 1_024 * 1_024;
const SECTIONS_MOST = 1_000;

export interface Probed {
  sizeBytes: number;
  /** What readers will forgive: plain words, for the log. */
  warnings: string[];
}

/**
 * Tells whether a file is a whole PDF that can be signed, reading a few kilobytes of it whatever its size. Throws
 * PermanentError: "not-a-regular-file", "file-empty", "file-too-large", "not-a-pdf", "pdf-incomplete" (cut off, or
 * still being written), "pdf-encrypted".
 *
 * A cross-reference that cannot be followed is forgiven with a warning, since readers and the provider rebuild it, and
 * turning a good customer's file away is the worse mistake. A missing end is not: signing half a file is worse.
 */
export async function probePdf(path: string, { maxBytes = Number.POSITIVE_INFINITY } = {}): Promise<Probed> {
  const { file, sizeBytes } = await openRegular(path);
  try {
    if (sizeBytes === 0) throw new PermanentError("The file is empty.", { code: "file-empty" });
    if (sizeBytes > maxBytes) {
      throw new PermanentError(`The file has more than ${maxBytes} bytes, which is the most.`, {
        code: "file-too-large",
      });
    }
    const head = await readAt(file, 0, EDGE_BYTES);
    const start = head.indexOf("%PDF-");
    if (start < 0) throw new PermanentError("The file is not a PDF.", { code: "not-a-pdf" });
    checkLength(head, sizeBytes);
    const tailAt = Math.max(0, sizeBytes - TAIL_BYTES);
    const tail = await readAt(file, tailAt, TAIL_BYTES);
    const end = tail.lastIndexOf("%%EOF");
    if (end < 0 || sizeBytes - (tailAt + end) > EDGE_BYTES + 5) throw incomplete();
    const xref = /startxref\s+(\d+)\s*$/.exec(tail.slice(0, end));
    if (!xref) throw incomplete();
    const warnings = start > 0 ? ["bytes before the header"] : [];
    const trailers = await readTrailers(file, Number(xref[1]), start, sizeBytes);
    if (!trailers) warnings.push("cross-reference cannot be followed");
    const found = trailers ?? (await findTrailers(file, tailAt));
    if (found.some((trailer) => trailer.has("Encrypt"))) {
      throw new PermanentError("The PDF is encrypted or protected by a password; remove the protection.", {
        code: "pdf-encrypted",
      });
    }
    return { sizeBytes, warnings };
  } finally {
    await file.close();
  }
}

function incomplete(): PermanentError {
  return new PermanentError("The PDF is cut off: its end is missing. Copy it again.", { code: "pdf-incomplete" });
}

async function readAt(file: FileHandle, at: number, length: number): Promise<string> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, at);
  return buffer.toString("latin1", 0, bytesRead);
}

/** A linearised file says how long it is. It may have grown by updates since; it cannot have shrunk. */
function checkLength(head: string, sizeBytes: number): void {
  const open = head.indexOf("<<");
  const first = open < 0 ? undefined : readDictionary(head, open);
  if (!first?.has("Linearized")) return;
  if (Number(first.get("L")) > sizeBytes) throw incomplete();
}

/** The trailers of all sections, newest first; undefined when the chain breaks at its first link. */
async function readTrailers(
  file: FileHandle,
  startxref: number,
  shift: number,
  sizeBytes: number,
): Promise<Map<string, string>[] | undefined> {
  const seen = new Set<number>();
  const trailers: Map<string, string>[] = [];
  const open = [startxref];
  for (let at = open.shift(); at !== undefined && seen.size < SECTIONS_MOST; at = open.shift()) {
    if (seen.has(at)) continue;
    seen.add(at);
    const trailer =
      at < sizeBytes
        ? ((await readSection(file, at)) ?? (shift > 0 ? await readSection(file, at + shift) : undefined))
        : undefined;
    if (!trailer) {
      if (trailers.length === 0) return undefined;
      continue;
    }
    trailers.push(trailer);
    for (const link of ["XRefStm", "Prev"]) {
      const to = Number(trailer.get(link));
      if (Number.isSafeInteger(to) && to > 0) open.push(to);
    }
  }
  return trailers;
}

/** The dictionary of a cross-reference stream, or of the trailer behind a table. @source ISO 32000-2 §7.5.4, §7.5.8 */
async function readSection(file: FileHandle, at: number): Promise<Map<string, string> | undefined> {
  const window = await readAt(file, at, WINDOW_BYTES);
  const stream = /^\s*\d+\s+\d+\s+obj\s*/.exec(window);
  if (stream) {
    const dictionary = readDictionary(window, stream[0].length);
    return dictionary?.get("Type") === "/XRef" ? dictionary : undefined;
  }
  if (!/^\s*xref\b/.test(window)) return undefined;
  for (let from = at; from < at + TABLE_BYTES; from += WINDOW_BYTES - 16) {
    const text = await readAt(file, from, WINDOW_BYTES);
    const found = text.indexOf("trailer");
    if (found >= 0) {
      const behind = await readAt(file, from + found + 7, WINDOW_BYTES);
      const open = behind.indexOf("<<");
      return open >= 0 && behind.slice(0, open).trim() === "" ? readDictionary(behind, open) : undefined;
    }
    if (text.length < WINDOW_BYTES) return undefined;
  }
  return undefined;
}

/** Trailers near the end, where the chain cannot be followed. */
async function findTrailers(file: FileHandle, tailAt: number): Promise<Map<string, string>[]> {
  const text = await readAt(file, Math.max(0, tailAt - WINDOW_BYTES), WINDOW_BYTES + TAIL_BYTES);
  return [...text.matchAll(/trailer\s*(?=<<)|\bobj\s*(?=<<)/g)].flatMap((match) => {
    const dictionary = readDictionary(text, match.index + match[0].length);
    return dictionary && (dictionary.has("Root") || dictionary.get("Type") === "/XRef") ? [dictionary] : [];
  });
}
