/** Bytes of PDF syntax, read as Latin-1 text so that positions stay positions. @source ISO 32000-2 §7.2, §7.3 */

/** What a byte is, by its code. */
const BLANK = 1;
const DELIMITER = 2;
const KINDS = new Uint8Array(256);
for (const code of [0x00, 0x09, 0x0a, 0x0c, 0x0d, 0x20]) KINDS[code] = BLANK;
for (const character of "()<>[]{}/%") KINDS[character.charCodeAt(0)] = DELIMITER;

/** The top-level entries of the dictionary that starts at `at` ("<<"): raw text by name. Undefined when it is broken. */
export function readDictionary(text: string, at: number): Map<string, string> | undefined {
  if (!text.startsWith("<<", at)) return undefined;
  const entries = new Map<string, string>();
  let i = at + 2;
  while (i < text.length) {
    i = skipBlanks(text, i);
    if (text.startsWith(">>", i)) return entries;
    if (text[i] !== "/") return undefined;
    const nameEnd = endOfWord(text, i + 1);
    const name = text.slice(i + 1, nameEnd);
    const valueStart = skipBlanks(text, nameEnd);
    const valueEnd = endOfValue(text, valueStart);
    if (valueEnd === undefined) return undefined;
    entries.set(
      name.replaceAll(/#([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
      text.slice(valueStart, trimmed(text, valueEnd)),
    );
    i = valueEnd;
  }
  return undefined;
}

function skipBlanks(text: string, at: number): number {
  let i = at;
  for (;;) {
    while (i < text.length && KINDS[text.charCodeAt(i)] === BLANK) i++;
    if (text[i] !== "%") return i;
    while (i < text.length && text[i] !== "\n" && text[i] !== "\r") i++;
  }
}

/** Without the blanks before it. */
function trimmed(text: string, end: number): number {
  let i = end;
  while (KINDS[text.charCodeAt(i - 1)] === BLANK) i--;
  return i;
}

/** Where a name, a number or a keyword ends. */
function endOfWord(text: string, at: number): number {
  let i = at;
  while (i < text.length && KINDS[text.charCodeAt(i)] === 0) i++;
  return i;
}

/** Where the value of an entry ends: everything up to the next name or the end of the dictionary. */
function endOfValue(text: string, at: number): number | undefined {
  let depth = 0;
  let i = at;
  let first = true;
  while (i < text.length) {
    i = skipBlanks(text, i);
    const c = text[i];
    if (depth === 0 && !first && (c === "/" || text.startsWith(">>", i))) return i;
    first = false;
    if (c === "(") {
      const end = endOfString(text, i);
      if (end === undefined) return undefined;
      i = end;
    } else if (text.startsWith("<<", i) || c === "[") {
      depth++;
      i += c === "[" ? 1 : 2;
    } else if (text.startsWith(">>", i) || c === "]") {
      if (--depth < 0) return undefined;
      i += c === "]" ? 1 : 2;
    } else if (c === "<") {
      const end = text.indexOf(">", i);
      if (end < 0) return undefined;
      i = end + 1;
    } else if (c === "/") {
      i = endOfWord(text, i + 1);
    } else {
      const end = endOfWord(text, i);
      i = end === i ? i + 1 : end;
    }
  }
  return undefined;
}

function endOfString(text: string, at: number): number | undefined {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const c = text[i];
    if (c === "\\") i++;
    else if (c === "(") depth++;
    else if (c === ")" && --depth === 0) return i + 1;
  }
  return undefined;
}
