import type { Format } from "../core/signing.ts";
import { withoutHashEnding } from "./hash-file.ts";

const MOST_BYTES = 255;
const encoder = new TextEncoder();

/** `text` cut to at most `bytes` of UTF-8, never inside a character. */
export function cutToBytes(text: string, bytes: number): string {
  if (encoder.encode(text).length <= bytes) return text;
  let kept = "";
  let size = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    size += encoder.encode(segment).length;
    if (size > bytes) break;
    kept += segment;
  }
  return kept;
}

/** A name that people gave, as one that is safe for a file on any system: no separators, no control characters. */
export function toFileName(name: string): string {
  const safe = name
    .normalize("NFC")
    // eslint-disable-next-line no-control-regex -- exactly these may not be in a file name
    .replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]/g, "_")
    .replace(/^[.\s-]+/, "_")
    .replace(/[.\s]+$/, "");
  return /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(safe) || safe === "" ? `_${safe}` : safe;
}

/**
 * The n-th name for the original of a document: what people called it, with a counter from the second on. A PDF ends
 * as one, whatever it was called; a file whose hash was signed keeps its own ending.
 */
export function archivedName(original: string, n: number, format: Format): string {
  const name = toFileName(original);
  const own = format === "pades" ? ".pdf" : (/\.[^.]{1,20}$/.exec(name)?.[0] ?? "");
  const stem = format === "pades" ? name.replace(/\.pdf$/i, "") : name.slice(0, name.length - own.length);
  const ending = n === 1 ? own : `.${n}${own}`;
  return cutToBytes(stem, MOST_BYTES - Buffer.byteLength(ending)) + ending;
}

/** What stands behind a document's name once it is signed. @source docs/provider.md §Hash */
const SIGNED_ENDINGS = { pades: ".signed.pdf", cms: ".p7m" } as const satisfies Record<Format, string>;

/**
 * The name of what comes back: the original's with ".signed.pdf" behind it, or ".p7m" for a signature apart; a hash
 * file speaks for the file that it is named after. `taken` holds names that are in use (in lower case, for file systems
 * that do not tell them apart) and gets the new one; a counter tells twins apart.
 */
export function signedName(original: string, taken: Set<string>, format: Format): string {
  const base = toFileName(format === "cms" ? withoutHashEnding(original) : original);
  for (let n = 1; ; n++) {
    const ending = n === 1 ? SIGNED_ENDINGS[format] : `.${n}${SIGNED_ENDINGS[format]}`;
    const name = cutToBytes(base, MOST_BYTES - ending.length) + ending;
    if (taken.has(name.toLowerCase())) continue;
    taken.add(name.toLowerCase());
    return name;
  }
}
