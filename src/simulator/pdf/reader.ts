import { inflateSync, constants } from "node:zlib";
import { BadSyntax, isDict, isName, isRef, NeedMore, parseValue, skipSpace } from "./syntax.ts";
import type { Cursor, PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import type { Source } from "./source.ts";

/** Where an object is: at an offset of the file, in an object stream, or nowhere (free). */
export type Entry =
  { kind: "at"; offset: number; gen: number } | { kind: "in"; container: number; index: number } | { kind: "free" };
/** An indirect object; `streamAt` is the offset of its stream's first byte. */
export type PdfObject = { num: number; gen: number; value: PdfValue; streamAt?: number };

const FIRST_WINDOW_BYTES = 2048;

/** Runs `parse` on a growing window of the file until the object fits into it. */
export function withWindow<T>(source: Source, offset: number, parse: (c: Cursor) => T, first = FIRST_WINDOW_BYTES): T {
  if (offset < 0 || offset >= source.size) throw new BadSyntax(`offset ${offset} is outside the file`);
  for (let length = first; ; length *= 4) {
    const bytes = source.read(offset, length);
    const last = offset + bytes.length >= source.size;
    try {
      return parse({ text: bytes.toString("latin1"), at: 0, last });
    } catch (error) {
      if (!(error instanceof NeedMore) || last) throw error;
    }
  }
}

const OBJECT_HEAD = /(\d+)[\0\t\n\f\r ]+(\d+)[\0\t\n\f\r ]+obj/y;

/** The indirect object that starts at `offset`. */
export function objectAt(source: Source, offset: number): PdfObject {
  return withWindow(source, offset, (c) => {
    skipSpace(c);
    if (c.text.length - c.at < 40 && !c.last) throw new NeedMore();
    OBJECT_HEAD.lastIndex = c.at;
    const head = OBJECT_HEAD.exec(c.text);
    if (!head) throw new BadSyntax(`no object at offset ${offset}`);
    c.at = OBJECT_HEAD.lastIndex;
    const value = parseValue(c);
    const object: PdfObject = { num: Number(head[1]), gen: Number(head[2]), value };
    if (!isDict(value)) return object;
    skipSpace(c);
    if (c.text.length - c.at < 12 && !c.last) throw new NeedMore();
    const stream = /stream(\r\n|\n|\r)?/y;
    stream.lastIndex = c.at;
    if (stream.exec(c.text)) object.streamAt = offset + stream.lastIndex;
    return object;
  });
}

/** Where the bytes of a stream object are, as they stand in the file. `lookUp` finds an indirect Length. */
export function streamPlace(
  source: Source,
  object: PdfObject,
  lookUp: (ref: PdfRef) => PdfValue,
): { dict: PdfDict; at: number; length: number } {
  const { value: dict, streamAt: at } = object;
  if (!isDict(dict) || at === undefined) throw new BadSyntax(`object ${object.num} is no stream`);
  const stated = dict.get("Length");
  let length = isRef(stated) ? lookUp(stated) : stated;
  if (typeof length !== "number" || !endsHere(source, at + length)) length = searchEnd(source, at);
  return { dict, at, length };
}

/** The decoded bytes of a stream object. */
export function streamData(source: Source, object: PdfObject, lookUp: (ref: PdfRef) => PdfValue): Buffer {
  const { dict, at, length } = streamPlace(source, object, lookUp);
  return decode(source.read(at, length), dict);
}

const endsHere = (source: Source, offset: number): boolean =>
  /^[\0\t\n\f\r ]*endstream/.test(source.read(offset, 16).toString("latin1"));

function searchEnd(source: Source, from: number): number {
  for (let at = from; at < source.size; at += 65_536) {
    const found = source.read(at, 65_536 + 16).indexOf("endstream");
    if (found >= 0) return at + found - from;
  }
  throw new BadSyntax("a stream does not end");
}

function decode(bytes: Buffer, dict: PdfDict): Buffer {
  const only = <T>(value: T | T[] | undefined): T | undefined => (Array.isArray(value) ? value[0] : value);
  const filter = dict.get("Filter");
  if (filter === undefined || filter === null || (Array.isArray(filter) && filter.length === 0)) return bytes;
  if ((Array.isArray(filter) && filter.length > 1) || !isName(only(filter), "FlateDecode")) {
    throw new BadSyntax("a cross-reference or object stream has a filter other than FlateDecode");
  }
  const plain = inflateSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH });
  const parms = only(dict.get("DecodeParms"));
  if (!isDict(parms)) return plain;
  const predictor = parms.get("Predictor") ?? 1;
  if (predictor === 1) return plain;
  if (typeof predictor !== "number" || predictor < 10) throw new BadSyntax("an unusual predictor");
  const columns = parms.get("Columns");
  return unpredict(plain, typeof columns === "number" ? columns : 1, 1);
}

/** Undoes PNG prediction; `rowBytes` without the filter byte, `step` is the bytes of one pixel. @source RFC 2083 §6 */
export function unpredict(data: Buffer, rowBytes: number, step: number): Buffer {
  const rows = Math.floor(data.length / (rowBytes + 1));
  const out = Buffer.alloc(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    const filter = data[row * (rowBytes + 1)] ?? 0;
    const from = row * (rowBytes + 1) + 1;
    const to = row * rowBytes;
    for (let i = 0; i < rowBytes; i++) {
      const left = i >= step ? (out[to + i - step] ?? 0) : 0;
      const up = row > 0 ? (out[to + i - rowBytes] ?? 0) : 0;
      const upLeft = row > 0 && i >= step ? (out[to + i - rowBytes - step] ?? 0) : 0;
      out[to + i] = (data[from + i] ?? 0) + predicted(filter, left, up, upLeft);
    }
  }
  return out;
}

function predicted(filter: number, left: number, up: number, upLeft: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const estimate = left + up - upLeft;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - upLeft)];
  return a <= b && a <= c ? left : b <= c ? up : upLeft;
}
