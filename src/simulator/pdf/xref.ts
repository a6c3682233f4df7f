import { BadSyntax, isDict, NeedMore, parseValue, skipSpace } from "./syntax.ts";
import type { Cursor, PdfDict } from "./syntax.ts";
import { objectAt, streamData, withWindow } from "./reader.ts";
import type { Entry } from "./reader.ts";
import type { Source } from "./source.ts";

/** The cross-reference sections of a file, merged. `newest` says how the last one was written. */
export type Xref = {
  entries: Map<number, Entry>;
  trailer: PdfDict;
  startxref: number;
  newest: "table" | "stream";
  /** What stated offsets are counted from: the `%PDF-` header, which may stand behind other bytes. */
  base: number;
};

/**
 * Reads all cross-reference sections, newest first. Throws BadSyntax when they cannot be followed. @source ISO 32000-1
 * §7.5
 */
export function readXref(source: Source): Xref {
  const tail = source.read(Math.max(0, source.size - 2048), 2048).toString("latin1");
  const found = [...tail.matchAll(/startxref[\0\t\n\f\r ]+(\d+)/g)].at(-1);
  if (!found) throw new BadSyntax("no startxref");
  const header = Math.max(0, source.read(0, 1024).indexOf("%PDF-"));
  const startxref = Number(found[1]);
  const base = header > 0 && !looksLikeXref(source, startxref) ? header : 0;
  const xref: Xref = { entries: new Map(), trailer: new Map(), startxref, newest: "table", base };
  const pending = [startxref];
  const seen = new Set<number>();
  for (let offset = pending.shift(); offset !== undefined; offset = pending.shift()) {
    if (seen.has(offset)) continue;
    seen.add(offset);
    const section = readSection(source, offset + base, xref.entries);
    if (seen.size === 1) xref.newest = section.kind;
    for (const [key, value] of section.trailer) if (!xref.trailer.has(key)) xref.trailer.set(key, value);
    const hybrid = section.kind === "table" ? section.trailer.get("XRefStm") : undefined;
    const previous = section.trailer.get("Prev");
    if (typeof previous === "number") pending.unshift(previous);
    if (typeof hybrid === "number") pending.unshift(hybrid);
  }
  return xref;
}

const looksLikeXref = (source: Source, offset: number): boolean =>
  /^[\0\t\n\f\r ]*(xref|\d+[\0\t\n\f\r ]+\d+[\0\t\n\f\r ]+obj)/.test(source.read(offset, 64).toString("latin1"));

type Section = { kind: "table" | "stream"; trailer: PdfDict };

function readSection(source: Source, offset: number, entries: Map<number, Entry>): Section {
  if (/^[\0\t\n\f\r ]*xref/.test(source.read(offset, 32).toString("latin1"))) {
    const table = withWindow(source, offset, parseTable, 65_536);
    for (const [num, entry] of table.entries) if (!entries.has(num)) entries.set(num, entry);
    return { kind: "table", trailer: table.trailer };
  }
  const object = objectAt(source, offset);
  if (!isDict(object.value)) throw new BadSyntax(`no cross-reference section at offset ${offset}`);
  const refuse = (): never => {
    throw new BadSyntax("a cross-reference stream has an indirect length");
  };
  readStreamEntries(streamData(source, object, refuse), object.value, entries);
  return { kind: "stream", trailer: object.value };
}

const SUBSECTION = /(\d+)[\0\t\n\f\r ]+(\d+)[\0\t\n\f\r ]+(?=\d{1,10} |trailer|\d+[\0\t\n\f\r ]+\d+)/y;
const ENTRY = /[\0\t\n\f\r ]*(\d{1,10})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+([nf])/y;

function parseTable(c: Cursor): { entries: Map<number, Entry>; trailer: PdfDict } {
  const entries = new Map<number, Entry>();
  skipSpace(c);
  c.at += 4;
  for (;;) {
    skipSpace(c);
    if (c.text.length - c.at < 64 && !c.last) throw new NeedMore();
    if (c.text.startsWith("trailer", c.at)) break;
    SUBSECTION.lastIndex = c.at;
    const head = SUBSECTION.exec(c.text);
    if (!head) throw new BadSyntax("the cross-reference table cannot be read");
    c.at = SUBSECTION.lastIndex;
    const first = Number(head[1]);
    for (let i = 0; i < Number(head[2]); i++) {
      if (c.text.length - c.at < 40 && !c.last) throw new NeedMore();
      ENTRY.lastIndex = c.at;
      const row = ENTRY.exec(c.text);
      if (!row) throw new BadSyntax("an entry of the cross-reference table cannot be read");
      c.at = ENTRY.lastIndex;
      const free = row[3] === "f" || Number(row[1]) === 0;
      entries.set(first + i, free ? { kind: "free" } : { kind: "at", offset: Number(row[1]), gen: Number(row[2]) });
    }
  }
  c.at += "trailer".length;
  const trailer = parseValue(c);
  if (!isDict(trailer)) throw new BadSyntax("the trailer is no dictionary");
  return { entries, trailer };
}

function readStreamEntries(data: Buffer, dict: PdfDict, entries: Map<number, Entry>): void {
  const widths = dict.get("W");
  const size = dict.get("Size");
  if (!Array.isArray(widths) || typeof size !== "number")
    throw new BadSyntax("a cross-reference stream lacks W or Size");
  const [w0, w1, w2] = [0, 1, 2].map((i) => (typeof widths[i] === "number" ? widths[i] : 0)) as [
    number,
    number,
    number,
  ];
  const index = dict.get("Index");
  const ranges = Array.isArray(index) ? index.map(Number) : [0, size];
  let at = 0;
  const field = (width: number): number => {
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + (data[at++] ?? 0);
    return value;
  };
  for (let r = 0; r + 1 < ranges.length; r += 2) {
    for (let num = ranges[r] ?? 0, end = num + (ranges[r + 1] ?? 0); num < end; num++) {
      if (at + w0 + w1 + w2 > data.length) return;
      const kind = w0 === 0 ? 1 : field(w0);
      const [second, third] = [field(w1), field(w2)];
      if (entries.has(num)) continue;
      if (kind === 1) entries.set(num, { kind: "at", offset: second, gen: third });
      else if (kind === 2) entries.set(num, { kind: "in", container: second, index: third });
      else entries.set(num, { kind: "free" });
    }
  }
}
