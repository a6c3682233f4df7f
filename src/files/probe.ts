import { PermanentError } from "../core/errors.ts";
import { type Content, withContent } from "./content.ts";
import { readDictionary } from "./pdf-syntax.ts";

/** Readers look for the header and for the end mark within this many bytes. @source ISO 32000-2 Annex I.2 */
const EDGE_BYTES = 1_024;
const TAIL_BYTES = 2_048;
const WINDOW_BYTES = 64 * 1_024;
/** A cross-reference table is looked through this far for its trailer. */
const TABLE_BYTES = 256 * 1_024 * 1_024;
const SECTIONS_MOST = 1_000;
/** Where the chain of sections cannot be followed, trailers are looked for; this many, from the end. */
const TRAILERS_MOST = 32;

export interface Probed {
  sizeBytes: number;
  /** What readers will forgive: plain words, for the log. */
  warnings: string[];
}

/**
 * Tells whether a file is a whole PDF that can be signed; see probe. Throws also PermanentError "not-a-regular-file",
 * "file-changed", and "file-too-large" above `maxBytes`.
 */
export async function probePdf(path: string, { maxBytes = Number.POSITIVE_INFINITY } = {}): Promise<Probed> {
  return await withContent(path, async (content) => {
    checkSize(content, maxBytes);
    return await probe(content);
  });
}

/** Throws PermanentError "file-empty", and "file-too-large" above `maxBytes`. */
export function checkSize({ sizeBytes }: Pick<Content, "sizeBytes">, maxBytes: number): void {
  if (sizeBytes === 0) throw new PermanentError("The file is empty.", { code: "file-empty" });
  if (sizeBytes <= maxBytes) return;
  throw new PermanentError(`The file has more than ${maxBytes} bytes, which is the most.`, { code: "file-too-large" });
}

/**
 * Tells whether these are the bytes of a whole PDF that can be signed, reading a few kilobytes whatever their number.
 * Throws PermanentError: "file-empty", "not-a-pdf", "pdf-incomplete" (cut off, or still being written),
 * "pdf-encrypted".
 *
 * A cross-reference that cannot be followed is forgiven with a warning, since readers and the provider rebuild it, and
 * turning a good customer's file away is the worse mistake. A missing end is not: signing half a file is worse.
 *
 * A PDF with updates, cut right behind the end of an earlier state, is that state, whole: nothing in it tells that
 * there was more.
 */
export async function probe(content: Content): Promise<Probed> {
  const { sizeBytes } = content;
  checkSize(content, Number.POSITIVE_INFINITY);
  const head = await readText(content, 0, EDGE_BYTES);
  const start = head.indexOf("%PDF-");
  if (start < 0) throw new PermanentError("The file is not a PDF.", { code: "not-a-pdf" });
  checkLength(head, sizeBytes);
  const tailAt = Math.max(0, sizeBytes - TAIL_BYTES);
  const tail = await readText(content, tailAt, TAIL_BYTES);
  const end = tail.lastIndexOf("%%EOF");
  if (end < 0 || sizeBytes - (tailAt + end) > EDGE_BYTES + 5) throw incomplete();
  const behind = tail.slice(end + 5).replaceAll(/^[\0\s]+/g, "");
  if (isMorePdf(behind)) throw incomplete();
  const xref = /startxref\s+(\d+)\s*$/.exec(tail.slice(0, end));
  if (!xref) throw incomplete();
  const warnings = start > 0 ? ["bytes before the header"] : [];
  if (behind !== "") warnings.push("bytes behind the end");
  const isEncrypted = await followSections(content, Number(xref[1]), start);
  if (isEncrypted === undefined) warnings.push("cross-reference cannot be followed");
  if (isEncrypted ?? (await hasEncryptedTrailer(content, tailAt))) {
    throw new PermanentError("The PDF is encrypted or protected by a password; remove the protection.", {
      code: "pdf-encrypted",
    });
  }
  return { sizeBytes, warnings };
}

function incomplete(): PermanentError {
  return new PermanentError("The PDF is cut off: its end is missing. Copy it again.", { code: "pdf-incomplete" });
}

/** Whether what stands behind an end mark goes on as a PDF does, and so is an update, or a stream, that was cut off. */
function isMorePdf(behind: string): boolean {
  if (/^\d/.test(behind)) return true;
  const words = ["xref", "trailer", "startxref", "endstream", "endobj", "%%EOF"];
  return behind !== "" && words.some((word) => behind.startsWith(word) || word.startsWith(behind));
}

async function readText(content: Content, at: number, length: number): Promise<string> {
  return (await content.read(at, length)).toString("latin1");
}

/** A linearised file says how long it is. It may have grown by updates since; it cannot have shrunk. */
function checkLength(head: string, sizeBytes: number): void {
  const open = head.indexOf("<<");
  const first = open < 0 ? undefined : readDictionary(head, open);
  if (!first?.has("Linearized")) return;
  if (Number(first.get("L")) > sizeBytes) throw incomplete();
}

/**
 * Goes through the sections from the newest on. Whether one of them is encrypted; undefined when the chain breaks at
 * its first link. Offsets may be counted from the header, `shift` bytes into the file.
 */
async function followSections(content: Content, startxref: number, shift: number): Promise<boolean | undefined> {
  const seen = new Set<number>();
  const open = [startxref];
  let isAny = false;
  for (let at = open.shift(); at !== undefined && seen.size < SECTIONS_MOST; at = open.shift()) {
    if (seen.has(at) || at >= content.sizeBytes) continue;
    seen.add(at);
    const trailer =
      (await readSection(content, at)) ?? (shift > 0 ? await readSection(content, at + shift) : undefined);
    if (!trailer) continue;
    if (trailer.has("Encrypt")) return true;
    isAny = true;
    for (const link of ["XRefStm", "Prev"]) {
      const to = Number(trailer.get(link));
      if (Number.isSafeInteger(to) && to > 0) open.push(to);
    }
  }
  return isAny ? false : undefined;
}

/** The dictionary of a cross-reference stream, or of the trailer behind a table. @source ISO 32000-2 §7.5.4, §7.5.8 */
async function readSection(content: Content, at: number): Promise<Map<string, string> | undefined> {
  const window = await readText(content, at, WINDOW_BYTES);
  const stream = /^\s*\d+\s+\d+\s+obj\s*/.exec(window);
  if (stream) {
    const dictionary = readDictionary(window, stream[0].length);
    return dictionary?.get("Type") === "/XRef" ? dictionary : undefined;
  }
  if (!/^\s*xref\b/.test(window)) return undefined;
  for (let from = at; from < at + TABLE_BYTES; from += WINDOW_BYTES - 16) {
    const text = await readText(content, from, WINDOW_BYTES);
    const found = text.indexOf("trailer");
    if (found >= 0) {
      const behind = await readText(content, from + found + 7, WINDOW_BYTES);
      const open = behind.indexOf("<<");
      return open >= 0 && behind.slice(0, open).trim() === "" ? readDictionary(behind, open) : undefined;
    }
    if (text.length < WINDOW_BYTES) return undefined;
  }
  return undefined;
}

/** Whether a trailer near the end is encrypted, where the chain cannot be followed. */
async function hasEncryptedTrailer(content: Content, tailAt: number): Promise<boolean> {
  const text = await readText(content, Math.max(0, tailAt - WINDOW_BYTES), WINDOW_BYTES + TAIL_BYTES);
  const places = [...text.matchAll(/(?:trailer|\bobj)(?=\s{0,16}<<)/g)].slice(-TRAILERS_MOST);
  return places.some(({ index }) => {
    const dictionary = readDictionary(text, text.indexOf("<<", index));
    const isTrailer = dictionary?.has("Root") || dictionary?.get("Type") === "/XRef";
    return isTrailer && dictionary?.has("Encrypt");
  });
}
