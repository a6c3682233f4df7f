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

/** The n-th name for the original of a document: what people called it, with a counter from the second on. */
export function archivedName(original: string, n: number): string {
  const ending = n === 1 ? ".pdf" : `.${n}.pdf`;
  return cutToBytes(toFileName(original).replace(/\.pdf$/i, ""), MOST_BYTES - ending.length) + ending;
}

/**
 * The name of a signed document: the original's with ".signed.pdf" behind it. `taken` holds names that are in use (in
 * lower case, for file systems that do not tell them apart) and gets the new one; a counter tells twins apart.
 */
export function signedName(original: string, taken: Set<string>): string {
  const base = toFileName(original);
  for (let n = 1; ; n++) {
    const ending = n === 1 ? ".signed.pdf" : `.${n}.signed.pdf`;
    const name = cutToBytes(base, MOST_BYTES - ending.length) + ending;
    if (taken.has(name.toLowerCase())) continue;
    taken.add(name.toLowerCase());
    return name;
  }
}
