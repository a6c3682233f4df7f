/** Bytes of PDF syntax, read as Latin-1 text so that positions stay positions. @source ISO 32000-2 §7.2, §7.3 */

/** The top-level entries of the dictionary that starts at `at` ("<<"): raw text by name. Undefined when it is broken. */
export function readDictionary(text: string, at: number): Map<string, string> | undefined {
  if (text.slice(at, at + 2) !== "<<") return undefined;
  const entries = new Map<string, string>();
  let i = at + 2;
  while (i < text.length) {
    i = skipBlanks(text, i);
    if (text.startsWith(">>", i)) return entries;
    if (text[i] !== "/") return undefined;
    const nameEnd = endOfName(text, i + 1);
    const name = text.slice(i + 1, nameEnd);
    const valueEnd = endOfValue(text, skipBlanks(text, nameEnd));
    if (valueEnd === undefined) return undefined;
    entries.set(
      name.replaceAll(/#([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
      text.slice(nameEnd, valueEnd).trim(),
    );
    i = valueEnd;
  }
  return undefined;
}

function skipBlanks(text: string, at: number): number {
  let i = at;
  for (;;) {
    while (i < text.length && /[\0\t\n\f\r ]/.test(text[i] ?? "")) i++;
    if (text[i] !== "%") return i;
    while (i < text.length && text[i] !== "\n" && text[i] !== "\r") i++;
  }
}

function endOfName(text: string, at: number): number {
  let i = at;
  while (i < text.length && !/[\0\t\n\f\r ()<>[\]{}/%]/.test(text[i] ?? "")) i++;
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
      i = endOfName(text, i + 1);
    } else {
      const end = endOfName(text, i);
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
