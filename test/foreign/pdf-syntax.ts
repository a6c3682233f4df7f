/**
 * As much of PDF's syntax as it takes to sign a file that somebody else made: objects, cross-reference tables and
 * streams, object streams, and a second look for objects where the table is wrong.
 *
 * @source ISO 32000-2, 7.3 (objects), 7.5.4 (tables), 7.5.7 (object streams), 7.5.8 (cross-reference streams).
 */
import { inflateSync } from "node:zlib";

/** A name ("/Type") or a string, as it is written in the file. */
export interface Raw {
  raw: string;
}
export interface Ref {
  ref: number;
  gen: number;
}
export type Dict = Map<string, Value>;
export type Value = number | boolean | null | Raw | Ref | Value[] | Dict;

type Place = { offset: number; gen: number } | { stream: number; index: number };

export interface PdfFile {
  trailer: Dict;
  /** Where the header is; offsets that are written in the file are counted from there. */
  shift: number;
  /** Where the newest cross-reference section begins; undefined where it could not be used. */
  startxref: number | undefined;
  /** The newest section is a stream, or has to be one. */
  streamed: boolean;
  places: Map<number, Place>;
  object(number: number): Value;
  resolve(value: Value | undefined): Value | undefined;
}

const isDict = (value: Value | undefined): value is Dict => value instanceof Map;
const isRef = (value: Value | undefined): value is Ref => typeof value === "object" && value !== null && "ref" in value;
const isName = (value: Value | undefined, name: string): boolean =>
  typeof value === "object" && value !== null && "raw" in value && value.raw === name;

const SPACE = /[\0\t\n\f\r ]/;
const DELIMITER = /[\0\t\n\f\r ()<>[\]{}/%]/;

/** Reads one object after another from a text in which each character is a byte. */
function reader(text: string, from: number) {
  let at = from;
  function skip(): void {
    for (;;) {
      while (at < text.length && SPACE.test(text.charAt(at))) at += 1;
      if (text.charAt(at) !== "%") return;
      while (at < text.length && !/[\r\n]/.test(text.charAt(at))) at += 1;
    }
  }
  function word(): string {
    skip();
    const start = at;
    while (at < text.length && !DELIMITER.test(text.charAt(at))) at += 1;
    return text.slice(start, at);
  }
  function literal(): Raw {
    const start = at;
    let depth = 0;
    do {
      const character = text.charAt(at);
      if (character === "") throw new Error("a string has no end");
      if (character === "\\") at += 1;
      else if (character === "(") depth += 1;
      else if (character === ")") depth -= 1;
      at += 1;
    } while (depth > 0);
    return { raw: text.slice(start, at) };
  }
  function dict(): Dict {
    const entries: Dict = new Map();
    at += 2;
    for (;;) {
      skip();
      if (text.startsWith(">>", at)) break;
      const key = value();
      if (!(typeof key === "object" && key !== null && "raw" in key)) throw new Error("a key is no name");
      entries.set(key.raw, value());
    }
    at += 2;
    return entries;
  }
  function array(): Value[] {
    const items: Value[] = [];
    at += 1;
    for (;;) {
      skip();
      if (text.charAt(at) === "]") break;
      items.push(value());
    }
    at += 1;
    return items;
  }
  function number(): Value {
    const first = Number(word());
    if (!Number.isFinite(first)) throw new Error(`no object at ${at}`);
    const reference = /^[\0\t\n\f\r ]+(\d+)[\0\t\n\f\r ]+R(?![^\0\t\n\f\r ()<>[\]{}/%])/.exec(text.slice(at, at + 24));
    if (!reference || !Number.isInteger(first)) return first;
    at += reference[0].length;
    return { ref: first, gen: Number(reference[1]) };
  }
  function value(): Value {
    skip();
    const character = text.charAt(at);
    if (character === "") throw new Error("the text ends within an object");
    if (text.startsWith("<<", at)) return dict();
    if (character === "[") return array();
    if (character === "(") return literal();
    if (character === "<") {
      const start = at;
      at = text.indexOf(">", at) + 1;
      if (at === 0) throw new Error("a string has no end");
      return { raw: text.slice(start, at) };
    }
    if (character === "/") {
      at += 1;
      return { raw: `/${text.charAt(at) === "" || DELIMITER.test(text.charAt(at)) ? "" : word()}` };
    }
    if (/[\d+\-.]/.test(character)) return number();
    const keyword = word();
    if (keyword === "true" || keyword === "false") return keyword === "true";
    if (keyword === "null") return null;
    throw new Error(`"${keyword.slice(0, 20)}" is no object`);
  }
  return { value, word, skip, at: () => at, to: (position: number) => void (at = position) };
}

/** An object as it would be written. */
export function write(value: Value): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return `[${value.map(write).join(" ")}]`;
  if (isDict(value)) return `<<${[...value].map(([key, item]) => `${key} ${write(item)}`).join("\n")}>>`;
  if (typeof value !== "object") return typeof value === "number" ? plain(value) : String(value);
  return "ref" in value ? `${value.ref} ${value.gen} R` : value.raw;
}
const plain = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(6));

/** Undoes the PNG prediction that cross-reference streams are often written with. */
function unpredict(data: Buffer, parameters: Value | undefined): Buffer {
  if (!isDict(parameters) || Number(parameters.get("/Predictor") ?? 1) < 10) return data;
  const width = Number(parameters.get("/Columns") ?? 1);
  const rows = Math.ceil(data.length / (width + 1));
  const out = Buffer.alloc(rows * width);
  for (let row = 0; row < rows; row += 1) {
    const kind = data[row * (width + 1)];
    for (let column = 0; column < width; column += 1) {
      const raw = data[row * (width + 1) + 1 + column] ?? 0;
      const left = column > 0 ? (out[row * width + column - 1] ?? 0) : 0;
      const up = row > 0 ? (out[(row - 1) * width + column] ?? 0) : 0;
      const corner = row > 0 && column > 0 ? (out[(row - 1) * width + column - 1] ?? 0) : 0;
      const guess = left + up - corner;
      const [toLeft, toUp, toCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
      const paeth = toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
      const add = [0, left, up, (left + up) >> 1, paeth][kind ?? 0] ?? 0;
      out[row * width + column] = (raw + add) & 0xff;
    }
  }
  return out;
}

/** Reads a file's structure; throws where no catalog can be found. */
export function readPdf(bytes: Buffer): PdfFile {
  const text = bytes.toString("latin1");
  const shift = Math.max(0, text.slice(0, 1024).indexOf("%PDF-"));
  const places = new Map<number, Place>();
  const opened = new Map<number, Value[]>();
  const trailer: Dict = new Map();

  function indirect(offset: number): { number: number; value: Value; after: number } {
    const read = reader(text, offset);
    const number = Number(read.word());
    read.word();
    if (read.word() !== "obj" || !Number.isInteger(number)) throw new Error(`no object at ${offset}`);
    return { number, value: read.value(), after: read.at() };
  }
  function streamAt(offset: number): { dict: Dict; data: Buffer } {
    const { value: dict, after } = indirect(offset);
    const begin = /^[\0\t\n\f\r ]*stream(\r\n|\n|\r)/.exec(text.slice(after, after + 64));
    if (!isDict(dict) || !begin) throw new Error(`no stream at ${offset}`);
    const start = after + begin[0].length;
    const length = Number(resolve(dict.get("/Length")));
    const raw = bytes.subarray(start, Number.isFinite(length) ? start + length : text.indexOf("endstream", start));
    const filter = [resolve(dict.get("/Filter")) ?? []].flat();
    const parameters = [resolve(dict.get("/DecodeParms")) ?? []].flat()[0];
    if (filter.length === 0) return { dict, data: raw };
    if (filter.length > 1 || !isName(filter[0], "/FlateDecode")) throw new Error("a filter that is not known here");
    return { dict, data: unpredict(inflateSync(raw), resolve(parameters)) };
  }
  function inside(stream: number): Value[] {
    const known = opened.get(stream);
    if (known) return known;
    const place = places.get(stream);
    if (!place || !("offset" in place)) throw new Error("an object stream is missing");
    const { dict, data } = streamAt(place.offset);
    const inner = data.toString("latin1");
    const head = reader(inner, 0);
    const count = Number(resolve(dict.get("/N")));
    const first = Number(resolve(dict.get("/First")));
    const offsets = Array.from({ length: count }, () => [Number(head.word()), Number(head.word())][1] ?? 0);
    const values = offsets.map((offset) => reader(inner, first + offset).value());
    opened.set(stream, values);
    return values;
  }
  function object(number: number): Value {
    const place = places.get(number);
    if (!place) return null;
    if ("stream" in place) return inside(place.stream)[place.index] ?? null;
    const found = indirect(place.offset);
    if (found.number !== number) throw new Error(`object ${number} is not where the table says`);
    return found.value;
  }
  function resolve(value: Value | undefined): Value | undefined {
    for (let hop = 0; isRef(value); hop += 1) {
      if (hop > 32) throw new Error("references go round in a circle");
      value = object(value.ref);
    }
    return value;
  }

  function inherit(dict: Dict): void {
    for (const [key, value] of dict) if (!trailer.has(key)) trailer.set(key, value);
  }
  function table(offset: number): Dict {
    const read = reader(text, offset);
    read.word();
    for (;;) {
      const word = read.word();
      if (word === "trailer") break;
      const first = Number(word);
      const count = Number(read.word());
      if (!Number.isInteger(first) || !Number.isInteger(count)) throw new Error("a table that cannot be read");
      for (let index = 0; index < count; index += 1) {
        const [at, gen, use] = [Number(read.word()), Number(read.word()), read.word()];
        if (use === "n" && !places.has(first + index)) places.set(first + index, { offset: at + shift, gen });
        else if (use === "f" && !places.has(first + index)) freed.add(first + index);
        else if (use !== "n" && use !== "f") throw new Error("a table that cannot be read");
      }
    }
    const dict = read.value();
    if (!isDict(dict)) throw new Error("no trailer");
    return dict;
  }
  const freed = new Set<number>();
  function section(offset: number): Dict {
    const { dict, data } = streamAt(offset);
    const widths = [resolve(dict.get("/W")) ?? []].flat().map(Number);
    const [kindWidth = 0, midWidth = 0, endWidth = 0] = widths;
    const index = dict.has("/Index")
      ? [resolve(dict.get("/Index")) ?? []].flat().map(Number)
      : [0, Number(dict.get("/Size"))];
    let at = 0;
    const field = (width: number): number => {
      const value = width === 0 ? 0 : Number(`0x${data.toString("hex", at, at + width)}`);
      at += width;
      return value;
    };
    for (let pair = 0; pair + 1 < index.length; pair += 2) {
      for (let nth = 0; nth < (index[pair + 1] ?? 0); nth += 1) {
        const kind = kindWidth === 0 ? 1 : field(kindWidth);
        const [middle, end] = [field(midWidth), field(endWidth)];
        const number = (index[pair] ?? 0) + nth;
        if (places.has(number) || freed.has(number)) continue;
        if (kind === 1) places.set(number, { offset: middle + shift, gen: end });
        else if (kind === 2) places.set(number, { stream: middle, index: end });
        else freed.add(number);
      }
    }
    return dict;
  }
  function follow(start: number): boolean {
    const seen = new Set<number>();
    let streamed = false;
    for (let next: number | undefined = start; next !== undefined && !seen.has(next);) {
      seen.add(next);
      const isTable = /^[\0\t\n\f\r ]*xref/.test(text.slice(next, next + 16));
      if (next === start) streamed = !isTable;
      const dict = isTable ? table(next) : section(next);
      const hybrid = dict.get("/XRefStm");
      if (typeof hybrid === "number") section(hybrid + shift);
      inherit(dict);
      const previous = resolve(dict.get("/Prev"));
      next = typeof previous === "number" ? previous + shift : undefined;
    }
    return streamed;
  }
  /** Where the tables cannot be trusted: every object that can be seen, the last of a number wins. */
  function search(): void {
    places.clear();
    freed.clear();
    opened.clear();
    trailer.clear();
    for (const match of text.matchAll(/(?<![\d])(\d{1,9})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+obj(?![a-z])/g))
      places.set(Number(match[1]), { offset: match.index, gen: Number(match[2]) });
    for (const match of [...text.matchAll(/trailer/g)].reverse()) {
      const dict = attempt(() => reader(text, match.index + 7).value());
      if (isDict(dict)) inherit(dict);
    }
    for (const [number] of [...places]) {
      const dict = attempt(() => object(number));
      if (!isDict(dict)) continue;
      if (isName(dict.get("/Type"), "/XRef")) inherit(dict);
      if (isName(dict.get("/Type"), "/ObjStm")) openAll(number, dict);
      if (isName(dict.get("/Type"), "/Catalog") && !trailer.has("/Root")) trailer.set("/Root", { ref: number, gen: 0 });
    }
  }
  function openAll(stream: number, dict: Dict): void {
    const place = places.get(stream);
    if (!place || !("offset" in place)) return;
    const inner = attempt(() => streamAt(place.offset).data.toString("latin1"));
    if (inner === undefined) return;
    const head = reader(inner, 0);
    for (let index = 0; index < Number(resolve(dict.get("/N"))); index += 1) {
      const number = Number(head.word());
      head.word();
      if (!places.has(number)) places.set(number, { stream, index });
    }
  }
  const usable = (): boolean => {
    const root = attempt(() => resolve(trailer.get("/Root")));
    return isDict(root) && attempt(() => pageAt(file(undefined, true), 0)) !== undefined;
  };
  const file = (startxref: number | undefined, streamed: boolean): PdfFile => ({
    trailer,
    shift,
    startxref,
    streamed,
    places,
    object,
    resolve,
  });

  const last = text.lastIndexOf("startxref");
  const named = Number(/^startxref[\0\t\n\f\r ]+(\d+)/.exec(text.slice(last, last + 40))?.[1]);
  const streamed = Number.isInteger(named) ? attempt(() => follow(named + shift)) : undefined;
  if (streamed !== undefined && usable()) return file(named, streamed);
  search();
  if (!usable()) throw new Error("no catalog and no page were found");
  return file(undefined, true);
}

function attempt<Found>(look: () => Found): Found | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** The page with this number, counted from 0; the last one where there are fewer. */
export function pageAt(file: PdfFile, wanted: number): { ref: Ref; dict: Dict } {
  const root = file.resolve(file.trailer.get("/Root"));
  const pages = isDict(root) ? root.get("/Pages") : undefined;
  let seen = -1;
  let found: { ref: Ref; dict: Dict } | undefined;
  function walk(node: Value | undefined, depth: number): boolean {
    const dict = file.resolve(node);
    if (!isDict(dict) || !isRef(node) || depth > 64) return false;
    const kids = file.resolve(dict.get("/Kids"));
    if (Array.isArray(kids)) return kids.some((kid) => walk(kid, depth + 1));
    seen += 1;
    found = { ref: node, dict };
    return seen >= wanted;
  }
  walk(pages, 0);
  if (!found) throw new Error("no page was found");
  return found;
}

export { isDict, isRef };
