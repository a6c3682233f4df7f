import { decodeStream, type Entry, objectsIn, type Row, rowsOf } from "./pdf-stream.ts";
import { type Revision, takeObject } from "./pdf-revision.ts";
import {
  BadPdf,
  type Cursor,
  type Dictionary,
  isName,
  isReference,
  type PdfValue,
  skipBlanks,
  takeInteger,
  takeValue,
  takeWord,
} from "./pdf-value.ts";

const UPDATES_MOST = 64;
const OBJECTS_MOST = 20_000;
/** Some list all objects anew. */
const ROWS_MOST = 1_000_000;
const INFLATED_MOST_BYTES = 16 * 1024 ** 2;
/** Of an entry in a cross-reference table. @source ISO 32000-2 §7.5.4 */
const ENTRY_BYTES = 20;
/** What a stream is not to have in it: a reader that looks for objects by itself would take it for one. */
const DISGUISED = /\d[\0\s]+\d{1,5}[\0\s]+obj|trailer|startxref|%%EOF/;

/** What one incremental update adds and replaces, by the objects' numbers. @source ISO 32000-2 §7.5.6 */
export interface Update {
  objects: Map<number, PdfValue>;
  trailer: Dictionary;
  /** Where it ends. */
  end: number;
}

/** An object of its own, as it stands in the file. */
interface Placed {
  at: number;
  generation: number;
  value: PdfValue;
  /** The bytes of its stream, not decoded. */
  bytes?: string;
}

/**
 * Reads the updates behind a revision, the oldest first; `text` is everything that stands there, from the byte `end`
 * on. It must be updates from its first byte to its last: objects that the cross-reference behind them lists, all of
 * them and nothing else. So there is nothing in it that one reader finds and another does not. Throws BadPdf.
 */
export async function readUpdates(text: string, end: number, base: Revision): Promise<Update[]> {
  const cursor = { text, at: 0 };
  const updates: Update[] = [];
  /** Where objects are that earlier updates have written. */
  const places = new Map<number, number>();
  let startxref = base.startxref;
  let inflated = 0;
  if (!base.endsLine && !/^[\r\n]/.test(text)) throw new BadPdf("an update that does not begin on a new line");

  async function decode(dictionary: Dictionary, bytes: string): Promise<Buffer> {
    const plain = await decodeStream(dictionary, Buffer.from(bytes, "latin1"), INFLATED_MOST_BYTES - inflated);
    inflated += plain.length;
    return plain;
  }

  for (skipRemarks(cursor); cursor.at < text.length; skipRemarks(cursor)) {
    if (updates.length >= UPDATES_MOST) throw new BadPdf("more updates than are looked at");
    const placed = new Map<number, Placed>();
    let section: { trailer: Dictionary; rows: Row[]; at: number; own?: number } | undefined;
    while (!section) {
      const at = end + cursor.at;
      if (takeWord(cursor, "xref")) section = { ...takeTable(cursor), at };
      else {
        if (placed.size >= OBJECTS_MOST) throw new BadPdf("more objects than are looked at");
        const { number, ...object } = takePlaced(cursor, end);
        if (placed.has(number)) throw new BadPdf("an object that is there twice");
        placed.set(number, object);
        const { value, bytes } = object;
        if (bytes !== undefined && value instanceof Map && isName(value.get("Type"), "XRef"))
          section = { trailer: value, rows: rowsIn(value, await decode(value, bytes)), at, own: number };
      }
      skipRemarks(cursor);
    }
    const objects = new Map<number, PdfValue>();
    for (const [number, { value }] of placed) if (number !== section.own) objects.set(number, value);
    checkLengths(placed);
    await checkRows(section, placed, objects);
    checkTrailer(section.trailer, startxref, base);
    startxref = takeEnd(cursor);
    if (startxref + base.shift !== section.at) throw new BadPdf("a cross-reference that is not where it is said to be");
    for (const [number, { at }] of placed) places.set(number, at);
    updates.push({ objects, trailer: section.trailer, end: end + cursor.at });
  }
  if (updates.length === 0) throw new BadPdf("bytes that are no update");
  return updates;

  /** That the cross-reference and what stands before it are the same objects. */
  async function checkRows(
    { rows, own }: { rows: Row[]; own?: number },
    placed: ReadonlyMap<number, Placed>,
    objects: Map<number, PdfValue>,
  ): Promise<void> {
    const listed = new Map<number, Entry>();
    const inside = new Map<number, Map<number, PdfValue>>();
    for (const [number, entry] of rows) {
      if (listed.has(number)) throw new BadPdf("an object that is listed twice");
      listed.set(number, entry);
      if (entry === "free") {
        if (base.has(number) || places.has(number)) throw new BadPdf(`object ${number} was taken away`);
      } else if ("at" in entry) {
        const here = placed.get(number);
        const at = here?.at ?? places.get(number) ?? base.placeOf(number);
        const isThere = entry.at + base.shift === at && (!here || here.generation === entry.generation);
        if (!isThere) throw new BadPdf(`object ${number} is not where the cross-reference says`);
      } else {
        const { container } = entry;
        const held = inside.get(container) ?? (await openContainer(container, placed));
        inside.set(container, held);
        const value = held.get(number);
        if (value === undefined || placed.has(number))
          throw new BadPdf(`object ${number} is not where the cross-reference says`);
        objects.set(number, value);
      }
    }
    for (const number of placed.keys()) {
      if (number !== own && !listed.has(number)) throw new BadPdf(`object ${number} is in no cross-reference`);
    }
    for (const held of inside.values()) {
      for (const number of held.keys()) {
        const entry = listed.get(number);
        if (entry === undefined || entry === "free" || !("container" in entry) || inside.get(entry.container) !== held)
          throw new BadPdf(`object ${number} is in no cross-reference`);
      }
    }
    for (const [number, { value }] of placed) {
      if (value instanceof Map && isName(value.get("Type"), "ObjStm") && !inside.has(number))
        throw new BadPdf(`object ${number} is in no cross-reference`);
    }
  }

  async function openContainer(number: number, placed: ReadonlyMap<number, Placed>): Promise<Map<number, PdfValue>> {
    const { value, bytes } = placed.get(number) ?? {};
    if (!(value instanceof Map) || bytes === undefined) throw new BadPdf("an object stream that is not there");
    const held = new Map<number, PdfValue>();
    for (const one of objectsIn(value, await decode(value, bytes))) {
      if (held.has(one.number) || held.size >= OBJECTS_MOST) throw new BadPdf("an object that is there twice");
      held.set(one.number, one.value);
    }
    return held;
  }
}

function rowsIn(dictionary: Dictionary, bytes: Buffer): Row[] {
  const rows: Row[] = [];
  for (const row of rowsOf(dictionary, bytes)) {
    if (rows.push(row) > ROWS_MOST) throw new BadPdf("more objects than are looked at");
  }
  return rows;
}

/** Blanks and comments; one with words of a PDF's frame in it could be taken for what it says. */
function skipRemarks(cursor: Cursor): void {
  const start = cursor.at;
  skipBlanks(cursor);
  if (/obj|trailer|xref|%%EOF/.test(cursor.text.slice(start, cursor.at))) throw new BadPdf("a comment that is a trap");
}

function takePlaced(cursor: Cursor, end: number): Placed & { number: number } {
  const start = cursor.at;
  const head = /^(\d{1,10})[\0\s]+(\d{1,5})[\0\s]+obj/.exec(cursor.text.slice(start, start + 64));
  if (!head) throw new BadPdf("bytes that are no update");
  const { value, stream } = takeObject(cursor, end, Number(head[1]));
  if (DISGUISED.test(cursor.text.slice(start + head[0].length, cursor.at)))
    throw new BadPdf("an object that is a trap");
  const object = { number: Number(head[1]), generation: Number(head[2]), at: end + start, value };
  if (!stream) {
    takeEndOf(cursor, "endobj");
    return object;
  }
  const from = stream.at - end;
  const closes = cursor.text.indexOf("endstream", typeof stream.length === "number" ? from + stream.length : from);
  if (closes < 0) throw new BadPdf("a stream without an end");
  const bytes = cursor.text.slice(from, typeof stream.length === "number" ? from + stream.length : closes);
  if (!/^[\0\s]{0,2}$/.test(cursor.text.slice(from + bytes.length, closes)))
    throw new BadPdf("a stream with a wrong length");
  if (DISGUISED.test(bytes)) throw new BadPdf("a stream that is a trap");
  cursor.at = closes;
  takeEndOf(cursor, "endstream");
  takeEndOf(cursor, "endobj");
  return { ...object, bytes };
}

function takeEndOf(cursor: Cursor, word: string): void {
  skipRemarks(cursor);
  if (!takeWord(cursor, word)) throw new BadPdf(`an object without its ${word}`);
}

/** That streams whose length stands elsewhere have that length, but for the line's end before "endstream". */
function checkLengths(placed: ReadonlyMap<number, Placed>): void {
  for (const { value, bytes } of placed.values()) {
    const length = value instanceof Map ? value.get("Length") : undefined;
    if (bytes === undefined || typeof length === "number") continue;
    const said = isReference(length) ? placed.get(length.number)?.value : undefined;
    const rest = typeof said === "number" ? bytes.slice(said) : undefined;
    if (rest === undefined || !/^(?:\r\n|\r|\n)?$/.test(rest)) throw new BadPdf("a stream with a wrong length");
  }
}

/** A table and its trailer, behind "xref". @source ISO 32000-2 §7.5.4, §7.5.5 */
function takeTable(cursor: Cursor): { rows: Row[]; trailer: Dictionary } {
  const rows: Row[] = [];
  const { text } = cursor;
  for (;;) {
    skipRemarks(cursor);
    if (takeWord(cursor, "trailer")) break;
    const run = /^(\d{1,10}) (\d{1,10})[ \t]*(?:\r\n|\r|\n)/.exec(text.slice(cursor.at, cursor.at + 64));
    if (!run) throw new BadPdf("a cross-reference table that is none");
    cursor.at += run[0].length;
    for (let n = 0; n < Number(run[2]); n++) {
      const entry = /^(\d{10}) (\d{5}) ([nf])[ \r][\r\n]$/.exec(text.slice(cursor.at, cursor.at + ENTRY_BYTES));
      if (!entry) throw new BadPdf("a cross-reference table that is none");
      const place = { at: Number(entry[1]), generation: Number(entry[2]) };
      if (rows.length >= ROWS_MOST) throw new BadPdf("more objects than are looked at");
      rows.push([Number(run[1]) + n, entry[3] === "f" ? "free" : place]);
      cursor.at += ENTRY_BYTES;
    }
  }
  const trailer = takeValue(cursor);
  if (!(trailer instanceof Map)) throw new BadPdf("a trailer that is none");
  skipRemarks(cursor);
  return { rows, trailer };
}

function checkTrailer(trailer: Dictionary, startxref: number, base: Revision): void {
  if (trailer.get("Prev") !== startxref) throw new BadPdf("an update that does not continue what is before it");
  for (const name of ["Encrypt", "XRefStm"]) if (trailer.has(name)) throw new BadPdf(`a trailer with /${name}`);
  const [root, before] = [trailer.get("Root"), base.trailer.get("Root")];
  const isSame = isReference(root) && isReference(before) && root.number === before.number;
  if (!isSame || root.generation !== before.generation) throw new BadPdf("another catalog");
}

/** Where the cross-reference is, by what stands behind it. */
function takeEnd(cursor: Cursor): number {
  if (!takeWord(cursor, "startxref")) throw new BadPdf("an update without an end");
  skipBlanks(cursor);
  const at = takeInteger(cursor);
  const found = /^[\0\s]*%%EOF(?=[\0\s]|$)/.exec(cursor.text.slice(cursor.at, cursor.at + 64));
  if (at === undefined || !found) throw new BadPdf("an update without an end");
  cursor.at += found[0].length;
  return at;
}
