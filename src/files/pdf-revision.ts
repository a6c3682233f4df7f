import { setImmediate as othersTurn } from "node:timers/promises";
import type { Content } from "./content.ts";
import { decodeStream, objectsIn, type Row, rowsOf } from "./pdf-stream.ts";
import {
  BadPdf,
  type Cursor,
  type Dictionary,
  eachReference,
  isName,
  isReference,
  type PdfValue,
  skipBlanks,
  takeObjectHead,
  takeValue,
  takeWord,
} from "./pdf-value.ts";

/** What is spent on one file at the most. */
const OBJECTS_MOST = 2_000_000;
const ROWS_MOST = 2 * OBJECTS_MOST;
/** Read and looked through; objects that overlap are looked through again. */
const spentMost = (sizeBytes: number) => 3 * sizeBytes + 16 * 1024 ** 2;
const SPENT_AT_ONCE_BYTES = 4 * 1024 ** 2;
const SECTIONS_MOST = 1_000;
const INFLATED_MOST_BYTES = 128 * 1024 ** 2;
const STREAM_MOST_BYTES = 64 * 1024 ** 2;
const OBJECT_MOST_BYTES = 8 * 1024 ** 2;
const WINDOW_BYTES = 64 * 1024;
const TAIL_BYTES = 2_048;
/** Of an entry in a cross-reference table. @source ISO 32000-2 §7.5.4 */
const ENTRY_BYTES = 20;

/** What is known of an object: nothing, or where it is. */
const [UNKNOWN, FREE, AT, INSIDE] = [0, 1, 2, 3];
/** The one that refers to what a trailer refers to. */
export const TRAILER = -1;

interface Stream {
  at: number;
  length: PdfValue;
}
interface Found {
  value: PdfValue;
  stream?: Stream;
}

/** The objects of a PDF as it was when it ended at a certain byte. All its methods throw BadPdf. */
export interface Revision {
  /** Where its newest cross-reference is, as it says itself. */
  startxref: number;
  /** What it adds to offsets: the bytes before the header. */
  shift: number;
  /** Whether its last byte ends a line. */
  endsLine: boolean;
  trailer: Dictionary;
  /** Whether there is an object of that number. */
  has(number: number): boolean;
  /** The offset of an object, where it has one of its own. */
  placeOf(number: number): number | undefined;
  get(number: number): Promise<PdfValue | undefined>;
  /** The value itself, where it is a reference to one. */
  resolve(value: PdfValue | undefined): Promise<PdfValue>;
  /**
   * Who refers to these objects, by their numbers; TRAILER for trailers. Reads every object once, and also finds out
   * whether one of them reaches beyond the end.
   */
  referrers(watched: ReadonlySet<number>, signal?: AbortSignal): Promise<Map<number, Set<number>>>;
}

/**
 * Opens the PDF that the first `end` bytes are; what stands behind them is not read. Nothing is repaired: one whose
 * cross-reference cannot be followed is refused, since readers that rebuild it may each see something else.
 * Bounded memory: some 15 bytes for each object.
 * @source ISO 32000-2 §7.5
 */
export async function openRevision(content: Content, end: number): Promise<Revision> {
  let kinds = new Uint8Array(1024);
  let places = new Float64Array(1024);
  let [inflated, spent, rows] = [0, 0, 0];
  /** Those that a reader would look for by itself, since the cross-reference says nothing of use. */
  const nowhere = new Set<number>();
  const trailers: Dictionary[] = [];
  const containers = new Map<number, Map<number, PdfValue>>();

  async function textAt(at: number, length: number): Promise<string> {
    if (!Number.isSafeInteger(at) || at < 0) throw new BadPdf("an offset that is none");
    const text = (await content.read(at, Math.max(0, Math.min(length, end - at)))).toString("latin1");
    spend(text.length);
    return text;
  }

  function spend(bytes: number): void {
    spent += bytes;
    if (spent > spentMost(end)) throw new BadPdf("more than is looked at");
  }

  function note([number, entry]: Row): void {
    if (number >= OBJECTS_MOST || ++rows > ROWS_MOST) throw new BadPdf("more objects than are looked at");
    if (number >= kinds.length) {
      const size = Math.min(Math.max(number + 1, kinds.length * 2), OBJECTS_MOST);
      [kinds, places] = [grown(kinds, new Uint8Array(size)), grown(places, new Float64Array(size))];
    }
    // The newest section comes first.
    if (kinds[number] !== UNKNOWN) return;
    if (entry === "free") kinds[number] = FREE;
    else if ("at" in entry) {
      // Written by some for objects that there are none of.
      if (entry.at === 0) nowhere.add(number);
      kinds[number] = entry.at === 0 ? FREE : AT;
      places[number] = entry.at + shift;
    } else {
      kinds[number] = INSIDE;
      places[number] = entry.container;
    }
  }

  /** Reads a value at a place, and on until it is whole; `take` moves over it. */
  async function takeAt<T>(at: number, take: (cursor: Cursor) => T): Promise<{ taken: T; cursor: Cursor }> {
    for (let length = TAIL_BYTES; ; length *= 8) {
      const text = await textAt(at, length);
      const cursor = { text, at: 0 };
      const isAll = text.length < length || length >= OBJECT_MOST_BYTES;
      try {
        const taken = take(cursor);
        // What ends with the text may go on behind it.
        if (isAll || cursor.at < text.length - 32) return { taken, cursor };
      } catch (error) {
        if (isAll || !(error instanceof BadPdf)) throw error;
      }
    }
  }

  async function objectAt(at: number, number?: number): Promise<Found> {
    return (await takeAt(at, (cursor) => takeObject(cursor, at, number))).taken;
  }

  async function bytesOf({ value, stream }: Found): Promise<{ dictionary: Dictionary; bytes: Buffer }> {
    if (!(value instanceof Map) || !stream) throw new BadPdf("no stream");
    const length = await resolve(stream.length);
    if (typeof length !== "number" || length < 0 || length > STREAM_MOST_BYTES || stream.at + length > end)
      throw new BadPdf("a stream without a length");
    const bytes = await decodeStream(value, await content.read(stream.at, length), INFLATED_MOST_BYTES - inflated);
    inflated += bytes.length;
    return { dictionary: value, bytes };
  }

  async function contained(number: number): Promise<Map<number, PdfValue>> {
    const kept = containers.get(number);
    if (kept) return kept;
    if (kinds[number] !== AT) throw new BadPdf("an object stream that is not there");
    const { dictionary, bytes } = await bytesOf(await objectAt(places[number] ?? 0, number));
    const found = new Map<number, PdfValue>();
    for (const { number: inside, value } of objectsIn(dictionary, bytes)) {
      if (kinds[inside] !== INSIDE || places[inside] !== number) continue;
      if (found.has(inside)) throw new BadPdf("an object that is there twice");
      found.set(inside, value);
    }
    // Only a few are ever asked for again.
    if (containers.size >= 2) containers.clear();
    containers.set(number, found);
    return found;
  }

  async function get(number: number): Promise<PdfValue | undefined> {
    if (kinds[number] === AT) return (await objectAt(places[number] ?? 0, number)).value;
    if (kinds[number] === INSIDE) return (await contained(places[number] ?? 0)).get(number);
    return undefined;
  }

  async function resolve(value: PdfValue | undefined): Promise<PdfValue> {
    let found = value ?? null;
    for (let hops = 0; isReference(found); hops++) {
      if (hops > 8) throw new BadPdf("a reference to itself");
      found = (await get(found.number)) ?? null;
    }
    return found;
  }

  async function readSections(startxref: number): Promise<void> {
    const seen = new Set<number>();
    const open = [startxref];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (seen.has(at)) continue;
      if (seen.size >= SECTIONS_MOST) throw new BadPdf("more updates than are looked at");
      seen.add(at);
      const trailer = await readSection(at + shift);
      trailers.push(trailer);
      // What stands in a stream beside a table comes before what is older.
      for (const link of ["Prev", "XRefStm"]) {
        const to = trailer.get(link);
        if (to !== undefined) open.push(typeof to === "number" ? to : Number.NaN);
      }
    }
  }

  async function readSection(at: number): Promise<Dictionary> {
    const head = /^[\0\s]*xref[\0\s]+/.exec(await textAt(at, 64));
    if (head) return await readTable(at + head[0].length);
    const found = await objectAt(at);
    const { dictionary, bytes } = await bytesOf(found);
    if (!isName(dictionary.get("Type"), "XRef")) throw new BadPdf("no cross-reference");
    for (const row of rowsOf(dictionary, bytes)) note(row);
    return dictionary;
  }

  async function readTable(from: number): Promise<Dictionary> {
    for (let at = from; ;) {
      const head = await textAt(at, 64);
      const trailer = /^[\0\s]*trailer/.exec(head);
      if (trailer) {
        const { taken } = await takeAt(at + trailer[0].length, takeValue);
        if (!(taken instanceof Map)) throw new BadPdf("no trailer");
        return taken;
      }
      const run = /^[\0\s]*(\d{1,10}) (\d{1,10})[ \t]*(?:\r\n|\r|\n)[\0\s]*/.exec(head);
      if (!run) throw new BadPdf("a cross-reference table that is none");
      const [first, count] = [Number(run[1]), Number(run[2])];
      at += run[0].length;
      if (first + count > OBJECTS_MOST) throw new BadPdf("more objects than are looked at");
      for (let done = 0; done < count;) {
        const now = Math.min(count - done, 4096);
        const text = await textAt(at, now * ENTRY_BYTES);
        for (let i = 0; i < now; i++) {
          const entry = /^(\d{10}) (\d{5}) ([nf])/.exec(text.slice(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES));
          if (!entry) throw new BadPdf("a cross-reference table that is none");
          const isFree = entry[3] === "f";
          note([first + done + i, isFree ? "free" : { at: Number(entry[1]), generation: Number(entry[2]) }]);
        }
        done += now;
        at += now * ENTRY_BYTES;
      }
    }
  }

  async function referrers(watched: ReadonlySet<number>, signal?: AbortSignal): Promise<Map<number, Set<number>>> {
    const found = new Map<number, Set<number>>();
    const look = (value: PdfValue, by: number) => {
      eachReference(value, (number) => {
        if (nowhere.has(number)) throw new BadPdf(`object ${number} is nowhere`);
        if (watched.has(number)) found.set(number, (found.get(number) ?? new Set()).add(by));
      });
    };
    for (const trailer of trailers) look(trailer, TRAILER);
    /** What lengths at the most are where, and the integers that lengths may be. */
    const limits = new Map<number, number>();
    const integers = new Map<number, number>();
    const streams = new Set<number>();
    const own: number[] = [];
    let inside = 0;
    for (const [number, kind] of kinds.entries()) {
      if (kind === AT) own.push(number);
      else if (kind === INSIDE) {
        streams.add(places[number] ?? 0);
        inside += 1;
      }
    }
    own.sort((a, b) => (places[a] ?? 0) - (places[b] ?? 0));
    let window = { text: "", from: 0 };
    let pausedAt = spent;
    const pause = async () => {
      signal?.throwIfAborted();
      if (spent - pausedAt < SPENT_AT_ONCE_BYTES) return;
      pausedAt = spent;
      await othersTurn();
    };
    for (const number of own) {
      const at = places[number] ?? 0;
      if (at >= end) throw new BadPdf(`object ${number} is not in what was signed`);
      if (at < window.from || at + TAIL_BYTES > window.from + window.text.length) {
        window = { text: await textAt(at, WINDOW_BYTES), from: at };
      }
      const { value, stream } = takeShort(window, at, number, spend) ?? (await objectAt(at, number));
      await pause();
      look(value, value instanceof Map && isName(value.get("Type"), "XRef") ? TRAILER : number);
      if (typeof value === "number") integers.set(number, value);
      if (!stream) continue;
      const limit = end - stream.at;
      if (isReference(stream.length)) {
        limits.set(stream.length.number, Math.min(limit, limits.get(stream.length.number) ?? limit));
      } else if (typeof stream.length !== "number" || stream.length > limit) throw beyond(number);
    }
    for (const container of streams) {
      signal?.throwIfAborted();
      const held = await contained(container);
      inside -= held.size;
      for (const [number, value] of held) {
        look(value, number);
        if (typeof value === "number") integers.set(number, value);
      }
    }
    if (inside > 0) throw new BadPdf("an object that is not in its object stream");
    for (const [number, limit] of limits) {
      if ((integers.get(number) ?? Number.POSITIVE_INFINITY) > limit) throw beyond(number);
    }
    return found;
  }

  const head = await textAt(0, 1024);
  let shift = Math.max(head.indexOf("%PDF-"), 0);
  const tail = await textAt(Math.max(0, end - TAIL_BYTES), TAIL_BYTES);
  const start = /startxref\s+(\d{1,15})\s+%%EOF\s*$/.exec(tail)?.[1];
  if (start === undefined) throw new BadPdf("what was signed is no whole PDF");
  const startxref = Number(start);
  // Offsets are counted from the header, or, by many, from the first byte.
  if (shift > 0 && (await isSectionAt(startxref))) shift = 0;
  await readSections(startxref);

  async function isSectionAt(at: number): Promise<boolean> {
    return /^\s*(?:xref\b|\d+\s+\d+\s+obj\b)/.test(await textAt(at, 64));
  }

  return {
    startxref,
    shift,
    endsLine: /[\r\n]$/.test(tail),
    trailer: trailers[0] ?? new Map<string, PdfValue>(),
    has: (number) => kinds[number] === AT || kinds[number] === INSIDE,
    placeOf: (number) => (kinds[number] === AT ? places[number] : undefined),
    get,
    resolve,
    referrers,
  };
}

function beyond(number: number): BadPdf {
  return new BadPdf(`object ${number} reaches beyond what was signed`);
}

function grown<T extends Uint8Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** An object that is in the window as a whole; undefined when that cannot be told. */
function takeShort(
  { text, from }: { text: string; from: number },
  at: number,
  number: number,
  spend: (bytes: number) => void,
): Found | undefined {
  const cursor = { text, at: at - from };
  try {
    const found = takeObject(cursor, from, number);
    return cursor.at < text.length - 32 ? found : undefined;
  } catch (error) {
    if (error instanceof BadPdf) return undefined;
    throw error;
  } finally {
    spend(cursor.at - at + from);
  }
}

/** The object at the cursor, in a text that begins at the byte `from`; and where its stream begins, if it has one. */
export function takeObject(cursor: Cursor, from: number, number?: number): Found {
  const head = takeObjectHead(cursor);
  if (!head || (number !== undefined && head.number !== number)) {
    throw new BadPdf(`object ${number ?? ""} is not where the cross-reference says`);
  }
  const value = takeValue(cursor);
  skipBlanks(cursor);
  if (!takeWord(cursor, "stream")) return { value };
  // A lone CR is taken by some readers as the end of this line.
  if (cursor.text.startsWith("\r\n", cursor.at)) cursor.at += 2;
  else if (cursor.text[cursor.at] === "\n" || cursor.text[cursor.at] === "\r") cursor.at += 1;
  const length = value instanceof Map ? (value.get("Length") ?? null) : null;
  return { value, stream: { at: from + cursor.at, length } };
}
