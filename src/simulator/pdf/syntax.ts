/** PDF objects: parsed from bytes (as latin1 text) and written back. @source ISO 32000-1 §7.2-7.3 */

export type PdfName = { kind: "name"; text: string };
export type PdfRef = { kind: "ref"; num: number; gen: number };
/** A string or a real number, kept letter by letter as it stood in the file. */
export type PdfRaw = { kind: "raw"; text: string };
export type PdfDict = Map<string, PdfValue>;
export type PdfValue = null | number | boolean | PdfName | PdfRef | PdfRaw | PdfValue[] | PdfDict;

/** The text ends before the object does; read more and try again. */
export class NeedMore extends Error {}
/** The bytes are not what the format demands here. */
export class BadSyntax extends Error {}

/** A place in a piece of text; `last` says that the file ends with it. */
export type Cursor = { text: string; at: number; last: boolean };

export const name = (text: string): PdfName => ({ kind: "name", text });
export const ref = (num: number, gen = 0): PdfRef => ({ kind: "ref", num, gen });
export const raw = (text: string): PdfRaw => ({ kind: "raw", text });
export const isDict = (value: PdfValue | undefined): value is PdfDict => value instanceof Map;
export const isRef = (value: PdfValue | undefined): value is PdfRef =>
  typeof value === "object" && value !== null && "kind" in value && value.kind === "ref";
export const isName = (value: PdfValue | undefined, text: string): boolean =>
  typeof value === "object" && value !== null && "kind" in value && value.kind === "name" && value.text === text;

const SPACE = /(?:[\0\t\n\f\r ]+|%[^\r\n]*)*/y;
const REGULAR = /[^\0\t\n\f\r ()<>[\]{}/%]*/y;
const REST_OF_REF = /[\0\t\n\f\r ]+(\d+)[\0\t\n\f\r ]+R(?![^\0\t\n\f\r ()<>[\]{}/%])/y;
/** The longest look-ahead: an object number, a generation and the letter R. */
const LOOK_AHEAD = 40;

export function skipSpace(c: Cursor): void {
  SPACE.lastIndex = c.at;
  SPACE.exec(c.text);
  c.at = SPACE.lastIndex;
  if (c.at >= c.text.length && !c.last) throw new NeedMore();
}

function word(c: Cursor): string {
  REGULAR.lastIndex = c.at;
  const found = REGULAR.exec(c.text)?.[0] ?? "";
  if (c.at + found.length >= c.text.length && !c.last) throw new NeedMore();
  c.at += found.length;
  return found;
}

/** The object at the cursor; afterwards the cursor is behind it. Throws NeedMore and BadSyntax. */
export function parseValue(c: Cursor, depth = 0): PdfValue {
  if (depth > 200) throw new BadSyntax("nested too deeply");
  skipSpace(c);
  const first = c.text[c.at];
  if (first === undefined) throw new BadSyntax("the file ends inside an object");
  if (first === "/") {
    c.at++;
    return name(word(c).replace(/#([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))));
  }
  if (first === "(") return raw(literal(c));
  if (first === "[") return array(c, depth);
  if (first === "<") return c.text[c.at + 1] === "<" ? dictionary(c, depth) : raw(upTo(c, ">"));
  return scalar(c);
}

function scalar(c: Cursor): PdfValue {
  const text = word(c);
  if (text === "") throw new BadSyntax(`unexpected "${c.text[c.at] ?? ""}"`);
  if (text === "true") return true;
  if (text === "false") return false;
  if (text === "null") return null;
  if (/^\d+$/.test(text)) {
    if (c.text.length - c.at < LOOK_AHEAD && !c.last) throw new NeedMore();
    REST_OF_REF.lastIndex = c.at;
    const rest = REST_OF_REF.exec(c.text);
    if (!rest) return Number(text);
    c.at = REST_OF_REF.lastIndex;
    return ref(Number(text), Number(rest[1]));
  }
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  if (/^[+-]?[\d.]+[\d.-]*$/.test(text)) return raw(text);
  throw new BadSyntax(`unexpected word "${text.slice(0, 20)}"`);
}

function array(c: Cursor, depth: number): PdfValue[] {
  const items: PdfValue[] = [];
  c.at++;
  for (;;) {
    skipSpace(c);
    if (c.text[c.at] === "]") return (c.at++, items);
    items.push(parseValue(c, depth + 1));
  }
}

function dictionary(c: Cursor, depth: number): PdfDict {
  const dict: PdfDict = new Map();
  c.at += 2;
  for (;;) {
    skipSpace(c);
    if (c.text[c.at] === ">") {
      if (c.at + 1 >= c.text.length && !c.last) throw new NeedMore();
      c.at += c.text[c.at + 1] === ">" ? 2 : 1;
      return dict;
    }
    const key = parseValue(c, depth + 1);
    if (typeof key !== "object" || key === null || !("kind" in key) || key.kind !== "name") {
      throw new BadSyntax("a dictionary key is not a name");
    }
    dict.set(key.text, parseValue(c, depth + 1));
  }
}

function literal(c: Cursor): string {
  let depth = 0;
  for (let i = c.at; i < c.text.length; i++) {
    const ch = c.text[i];
    if (ch === "\\") i++;
    else if (ch === "(") depth++;
    else if (ch === ")" && --depth === 0) {
      const text = c.text.slice(c.at, i + 1);
      c.at = i + 1;
      return text;
    }
  }
  throw c.last ? new BadSyntax("a string does not end") : new NeedMore();
}

function upTo(c: Cursor, end: string): string {
  const found = c.text.indexOf(end, c.at);
  if (found < 0) throw c.last ? new BadSyntax("a hex string does not end") : new NeedMore();
  const text = c.text.slice(c.at, found + 1);
  c.at = found + 1;
  return text;
}

/** The object as PDF text. */
export function write(value: PdfValue): string {
  if (value === null) return "null";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return `[${value.map(write).join(" ")}]`;
  if (value instanceof Map) {
    let text = "<<";
    for (const [key, item] of value) text += `/${escapeName(key)} ${write(item)}\n`;
    return `${text}>>`;
  }
  if (value.kind === "name") return `/${escapeName(value.text)}`;
  return value.kind === "ref" ? `${value.num} ${value.gen} R` : value.text;
}

function escapeName(text: string): string {
  return text.replace(/[^!-~]|[()<>[\]{}/%#]/g, (ch) => `#${ch.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** A PDF string literal; text outside printable ASCII must be encoded (WinAnsi or UTF-16) before. */
export const literalString = (text: string): PdfRaw =>
  raw(`(${text.replace(/[\\()\r\n]/g, (ch) => (ch === "\r" ? "\\r" : ch === "\n" ? "\\n" : `\\${ch}`))})`);

/** A text string that may hold any character. @source ISO 32000-1 §7.9.2.2 */
export const textString = (text: string): PdfRaw =>
  /^[\x20-\x7e]*$/.test(text)
    ? literalString(text)
    : raw(`<feff${[...Buffer.from(text, "utf16le").swap16()].map((b) => b.toString(16).padStart(2, "0")).join("")}>`);
