/** Values of PDF, read from Latin-1 text and compared by what they mean. @source ISO 32000-2 §7.3 */

export interface Name {
  kind: "name";
  name: string;
}
export interface Reference {
  kind: "reference";
  number: number;
  generation: number;
}
interface Text {
  kind: "text";
  text: string;
}
export type Dictionary = Map<string, PdfValue>;
export type PdfValue = null | boolean | number | Name | Reference | Text | PdfValue[] | Dictionary;

/** Where something is read. */
export interface Cursor {
  readonly text: string;
  at: number;
}

/** No value of PDF, or one that two readers may take for two things. */
export class BadPdf extends Error {
  override readonly name = "BadPdf";
}

/** Real ones have less than ten. */
const DEPTH_MOST = 100;
const [OPEN, CLOSE, BACKSLASH] = [0x28, 0x29, 0x5c];
const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", b: "\b", f: "\f" };
/** What a character is, by its code. */
const [REGULAR, BLANK, DELIMITER] = [0, 1, 2];
const KINDS = new Uint8Array(256);
for (const c of "\0\t\n\f\r ") KINDS[c.charCodeAt(0)] = BLANK;
for (const c of "()<>[]{}/%") KINDS[c.charCodeAt(0)] = DELIMITER;
/** Behind the end of the text nothing is anything. */
const isBlankAt = (text: string, at: number) => KINDS[text.charCodeAt(at)] === BLANK;
const isRegularAt = (text: string, at: number) => KINDS[text.charCodeAt(at)] === REGULAR;
const isDigitAt = (text: string, at: number) => text.charCodeAt(at) >= 0x30 && text.charCodeAt(at) <= 0x39;

/** Moves over blanks and comments. */
export function skipBlanks(cursor: Cursor): void {
  const { text } = cursor;
  for (;;) {
    while (isBlankAt(text, cursor.at)) cursor.at++;
    if (text[cursor.at] !== "%") return;
    while (cursor.at < text.length && text[cursor.at] !== "\n" && text[cursor.at] !== "\r") cursor.at++;
  }
}

/** Moves over a keyword, which is there as a whole word. Whether it was. */
export function takeWord(cursor: Cursor, word: string): boolean {
  if (!cursor.text.startsWith(word, cursor.at) || isRegularAt(cursor.text, cursor.at + word.length)) return false;
  cursor.at += word.length;
  return true;
}

/** Moves over an integer that has no sign; undefined when there is none. */
export function takeInteger(cursor: Cursor): number | undefined {
  const start = cursor.at;
  while (isDigitAt(cursor.text, cursor.at)) cursor.at++;
  const length = cursor.at - start;
  if (length > 0 && length < 16 && !isRegularAt(cursor.text, cursor.at))
    return Number(cursor.text.slice(start, cursor.at));
  cursor.at = start;
  return undefined;
}

/** The number and generation of the object that begins here, behind blanks; the cursor is behind "obj" then. */
export function takeObjectHead(cursor: Cursor): { number: number; generation: number } | undefined {
  const start = cursor.at;
  skipBlanks(cursor);
  const number = takeInteger(cursor);
  skipBlanks(cursor);
  const generation = takeInteger(cursor);
  skipBlanks(cursor);
  if (number !== undefined && generation !== undefined && takeWord(cursor, "obj")) return { number, generation };
  cursor.at = start;
  return undefined;
}

/** The value at the cursor, which is moved behind it. Throws BadPdf, for an entry that is there twice as well. */
export function takeValue(cursor: Cursor, depth = 0): PdfValue {
  if (depth > DEPTH_MOST) throw new BadPdf("nested too deeply");
  skipBlanks(cursor);
  const { text, at } = cursor;
  const c = text[at];
  if (c === "/") return { kind: "name", name: takeName(cursor) };
  if (c === "(") return { kind: "text", text: takeLiteral(cursor) };
  if (c === "[") return takeArray(cursor, depth);
  if (c === "<") return text[at + 1] === "<" ? takeDictionary(cursor, depth) : { kind: "text", text: takeHex(cursor) };
  return takeScalar(cursor);
}

function takeRegular(cursor: Cursor): string {
  const start = cursor.at;
  while (isRegularAt(cursor.text, cursor.at)) cursor.at++;
  return cursor.text.slice(start, cursor.at);
}

function takeName(cursor: Cursor): string {
  cursor.at++;
  const name = takeRegular(cursor);
  return name.replaceAll(/#([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function takeScalar(cursor: Cursor): PdfValue {
  const number = takeInteger(cursor);
  if (number === undefined) {
    const word = takeRegular(cursor);
    if (/^[+-]?(\d+\.?\d*|\.\d+)$/.test(word)) return Number(word);
    if (word === "null") return null;
    if (word === "true" || word === "false") return word === "true";
    throw new BadPdf("no value");
  }
  const behind = cursor.at;
  skipBlanks(cursor);
  const generation = takeInteger(cursor);
  skipBlanks(cursor);
  if (generation !== undefined && takeWord(cursor, "R")) return { kind: "reference", number, generation };
  cursor.at = behind;
  return number;
}

function takeArray(cursor: Cursor, depth: number): PdfValue[] {
  const items: PdfValue[] = [];
  cursor.at++;
  for (;;) {
    skipBlanks(cursor);
    if (cursor.text[cursor.at] === "]") {
      cursor.at++;
      return items;
    }
    items.push(takeValue(cursor, depth + 1));
  }
}

function takeDictionary(cursor: Cursor, depth: number): Dictionary {
  const entries: Dictionary = new Map();
  cursor.at += 2;
  for (;;) {
    skipBlanks(cursor);
    if (cursor.text.startsWith(">>", cursor.at)) {
      cursor.at += 2;
      return entries;
    }
    if (cursor.text[cursor.at] !== "/") throw new BadPdf("a dictionary without names");
    const name = takeName(cursor);
    // Readers differ in which one they take.
    if (entries.has(name)) throw new BadPdf("an entry that is there twice");
    entries.set(name, takeValue(cursor, depth + 1));
  }
}

/** @source ISO 32000-2 §7.3.4.2 */
function takeLiteral(cursor: Cursor): string {
  const { text } = cursor;
  const parts: string[] = [];
  let depth = 0;
  let from = cursor.at + 1;
  for (let i = cursor.at; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === OPEN) depth++;
    else if (c === CLOSE && --depth === 0) {
      cursor.at = i + 1;
      return parts.join("") + text.slice(from, i);
    } else if (c === BACKSLASH) {
      parts.push(text.slice(from, i));
      const octal = /^[0-7]{1,3}/.exec(text.slice(i + 1, i + 4))?.[0];
      const next = text[i + 1] ?? "";
      if (octal) parts.push(String.fromCharCode(Number.parseInt(octal, 8) & 0xff));
      else if (next !== "\n" && next !== "\r") parts.push(ESCAPES[next] ?? next);
      i += octal?.length ?? (text.startsWith("\r\n", i + 1) ? 2 : 1);
      from = i + 1;
    }
  }
  throw new BadPdf("a string without an end");
}

function takeHex(cursor: Cursor): string {
  const end = cursor.text.indexOf(">", cursor.at);
  const digits = cursor.text.slice(cursor.at + 1, end).replaceAll(/[\0\s]+/g, "");
  if (end < 0 || /[^0-9a-fA-F]/.test(digits)) throw new BadPdf("a string without an end");
  cursor.at = end + 1;
  return Buffer.from(digits.length % 2 === 0 ? digits : `${digits}0`, "hex").toString("latin1");
}

export const isReference = (value: PdfValue | undefined): value is Reference => kindOf(value) === "reference";
export const isName = (value: PdfValue | undefined, name: string): boolean =>
  kindOf(value) === "name" && (value as Name).name === name;
export const isText = (value: PdfValue | undefined): boolean => kindOf(value) === "text";

function kindOf(value: PdfValue | undefined): string | undefined {
  return typeof value === "object" && value !== null && "kind" in value ? value.kind : undefined;
}

/** Whether two values say the same, however they are written. An entry that is null is none. */
export function isSame(one: PdfValue | undefined, other: PdfValue | undefined): boolean {
  const [a, b] = [one ?? null, other ?? null];
  if (a instanceof Map) {
    if (!(b instanceof Map)) return false;
    return [...new Set([...a.keys(), ...b.keys()])].every((name) => isSame(a.get(name), b.get(name)));
  }
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => isSame(item, b[i]));
  if (b instanceof Map || Array.isArray(b)) return false;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  if (a.kind === "reference") return b.kind === "reference" && a.number === b.number && a.generation === b.generation;
  if (a.kind === "name") return b.kind === "name" && a.name === b.name;
  return b.kind === "text" && a.text === b.text;
}

/** Calls `found` with each reference in a value. */
export function eachReference(value: PdfValue, found: (number: number) => void): void {
  if (value instanceof Map) for (const item of value.values()) eachReference(item, found);
  else if (Array.isArray(value)) for (const item of value) eachReference(item, found);
  else if (isReference(value)) found(value.number);
}
