import { promisify } from "node:util";
import { inflate } from "node:zlib";
import type { PageShape } from "../core/place.ts";
import type { Content } from "./content.ts";
import { readDictionary } from "./pdf-syntax.ts";

/** What is spent on one file at the most: then the question stays open. */
const READ_MOST_BYTES = 64 * 1024 ** 2;
const OBJECTS_MOST = 20_000;
const INFLATED_MOST_BYTES = 64 * 1024 ** 2;
/** A short read takes as long as one of this size: many of them count like it. */
const LEAST_READ_BYTES = 1024;
const OBJECT_MOST_BYTES = 4 * 1024 ** 2;
const SECTIONS_MOST = 1_000;
const DEPTH_MOST = 64;
const STREAMS_KEPT = 4;
const FIRST_READ_BYTES = 2 * 1024;
/** Readers look for the end mark within this many bytes. @source ISO 32000-2 Annex I.2 */
const TAIL_BYTES = 2_048;
/** Of an entry in a cross-reference table. @source ISO 32000-2 §7.5.4 */
const ENTRY_BYTES = 20;

const toInflated = promisify(inflate);

type Dictionary = Map<string, string>;
/** Where an object is: at an offset, or the `index`th in an object stream. */
type Entry = { at: number } | { stream: number; index: number } | "free";
interface Section {
  trailer: Dictionary;
  find(number: number): Promise<Entry | undefined>;
}

/** Not within bounds, or not as the standard has it: nothing can be said then. */
export class Unreadable extends Error {}

/** How many pages there are, and the shape of the one that was asked for; undefined when there is no such page. */
export interface FoundPage {
  pages: number;
  shape: PageShape | undefined;
}

/**
 * Looks up one page (0 is the first) of a PDF by its cross-reference, reading what leads to it and nothing else, in
 * bounded memory and time. Undefined when that cannot be done, which says nothing about the file: readers rebuild what
 * is broken. Throws what the reading of the content throws.
 * @source ISO 32000-2 §7.5.4 (tables), §7.5.7 (object streams), §7.5.8 (cross-reference streams), §7.7.3 (pages)
 */
export async function findPage(content: Content, page: number): Promise<FoundPage | undefined> {
  try {
    return await createReader(content).find(page);
  } catch (error) {
    // The library for compressed data has codes of its own; all of them say that this is none.
    const isBroken = error instanceof Error && "code" in error && /^(Z_|ERR_BUFFER_TOO_LARGE)/.test(String(error.code));
    if (error instanceof Unreadable || isBroken) return undefined;
    throw error;
  }
}

function createReader(content: Content) {
  let readBytes = 0;
  let inflatedBytes = 0;
  let objects = 0;
  const sections: Section[] = [];
  const streams = new Map<number, string[]>();

  async function bytesAt(at: number, length: number): Promise<Buffer> {
    readBytes += Math.max(length, LEAST_READ_BYTES);
    if (readBytes > READ_MOST_BYTES || !Number.isSafeInteger(at) || at < 0) throw new Unreadable();
    return await content.read(at, length);
  }

  async function textAt(at: number, length: number): Promise<string> {
    return (await bytesAt(at, length)).toString("latin1");
  }

  /** The sections from the newest on; where one has a stream beside its table, that one comes before the older ones. */
  async function open(): Promise<void> {
    const tail = await textAt(Math.max(0, content.sizeBytes - TAIL_BYTES), TAIL_BYTES);
    const start = [...tail.matchAll(/startxref\s+(\d+)/g)].at(-1)?.[1];
    const seen = new Set<number>();
    const links = [Number(start ?? Number.NaN)];
    for (let at = links.shift(); at !== undefined; at = links.shift()) {
      if (seen.has(at)) continue;
      if (seen.size >= SECTIONS_MOST) throw new Unreadable();
      seen.add(at);
      const section = await readSection(at);
      if (section.trailer.has("Encrypt")) throw new Unreadable();
      sections.push(section);
      const { trailer } = section;
      links.unshift(...["XRefStm", "Prev"].flatMap((name) => (trailer.has(name) ? [Number(trailer.get(name))] : [])));
    }
  }

  async function readSection(at: number): Promise<Section> {
    const head = await textAt(at, 64);
    const start = /^\s*xref\s+/.exec(head);
    return start ? await readTable(at + start[0].length) : await readStreamSection(at);
  }

  async function readTable(from: number): Promise<Section> {
    const runs: { first: number; count: number; at: number }[] = [];
    for (let at = from; ;) {
      const head = await textAt(at, 64);
      const trailer = /^\s*trailer\s*/.exec(head);
      if (trailer) return { trailer: await dictionaryAt(at + trailer[0].length), find: (n) => lookUp(runs, n) };
      const run = /^\s*(\d+)\s+(\d+)[ \t]*(?:\r\n|\r|\n)\s*/.exec(head);
      if (!run || runs.length >= OBJECTS_MOST) throw new Unreadable();
      const [first, count] = [Number(run[1]), Number(run[2])];
      at += run[0].length;
      runs.push({ first, count, at });
      at += count * ENTRY_BYTES;
    }
  }

  async function lookUp(runs: readonly { first: number; count: number; at: number }[], number: number) {
    const run = runs.find(({ first, count }) => number >= first && number < first + count);
    if (!run) return undefined;
    const entry = /^(\d{10}) \d{5} ([nf])/.exec(await textAt(run.at + (number - run.first) * ENTRY_BYTES, ENTRY_BYTES));
    if (!entry) throw new Unreadable();
    return entry[2] === "f" ? "free" : { at: Number(entry[1]) };
  }

  async function readStreamSection(at: number): Promise<Section> {
    const { dictionary: trailer, bytes } = await streamAt(at);
    const widths = numbersIn(trailer.get("W"));
    const [kind = 0, second = 0, third = 0] = widths;
    const width = kind + second + third;
    if (trailer.get("Type") !== "/XRef" || widths.length !== 3 || width === 0 || width > 24) throw new Unreadable();
    const index = numbersIn(trailer.get("Index") ?? `[0 ${trailer.get("Size") ?? ""}]`);
    const field = (from: number, length: number) => {
      let value = 0;
      for (const byte of bytes.subarray(from, from + length)) value = value * 256 + byte;
      return value;
    };
    return {
      trailer,
      async find(number) {
        let row = 0;
        for (let i = 0; i + 1 < index.length; i += 2) {
          const [first = 0, count = 0] = index.slice(i, i + 2);
          if (number >= first && number < first + count) {
            const from = (row + number - first) * width;
            if (from + width > bytes.length) throw new Unreadable();
            const type = kind === 0 ? 1 : field(from, kind);
            const [one, two] = [field(from + kind, second), field(from + kind + second, third)];
            return type === 0 ? "free" : type === 1 ? { at: one } : { stream: one, index: two };
          }
          row += count;
        }
        return undefined;
      },
    };
  }

  /** Reads on until what stands at `at` ends. */
  async function upTo(at: number, isWhole: (text: string) => boolean): Promise<string> {
    for (let length = FIRST_READ_BYTES; length <= OBJECT_MOST_BYTES; length *= 4) {
      const text = await textAt(at, length);
      if (isWhole(text)) return text;
      if (text.length < length) break;
    }
    throw new Unreadable();
  }

  async function dictionaryAt(at: number): Promise<Dictionary> {
    return toDictionary(await upTo(at, (text) => readDictionary(text, 0) !== undefined));
  }

  /** The dictionary and the decoded bytes of the stream object at an offset. */
  async function streamAt(at: number): Promise<{ dictionary: Dictionary; bytes: Buffer }> {
    const text = await upTo(at, (found) => />>[\s\0]*stream\r?\n/.test(found));
    const begin = />>[\s\0]*stream\r?\n/.exec(text);
    const head = /^\s*\d+\s+\d+\s+obj\s*/.exec(text);
    if (!begin || !head) throw new Unreadable();
    const dictionary = toDictionary(text.slice(head[0].length));
    const length = Number(await resolve(dictionary.get("Length") ?? ""));
    if (!Number.isSafeInteger(length) || length < 0) throw new Unreadable();
    return { dictionary, bytes: await decoded(dictionary, await bytesAt(at + begin.index + begin[0].length, length)) };
  }

  /** @source ISO 32000-2 §7.4.4 (Flate, and what was done to the bytes before) */
  async function decoded(dictionary: Dictionary, bytes: Buffer): Promise<Buffer> {
    const filter = (dictionary.get("Filter") ?? "").replaceAll(/[[\]\s]/g, "");
    if (filter === "") return bytes;
    if (filter !== "/FlateDecode") throw new Unreadable();
    const plain = await toInflated(bytes, { maxOutputLength: Math.max(INFLATED_MOST_BYTES - inflatedBytes, 1) });
    inflatedBytes += plain.length;
    const given = (dictionary.get("DecodeParms") ?? "").replace(/^\[\s*/, "");
    const parameters = given.startsWith("<<") ? toDictionary(given) : new Map<string, string>();
    const predictor = Number(parameters.get("Predictor") ?? 1);
    if (predictor === 1) return plain;
    if (predictor < 10 || parameters.has("Colors") || parameters.has("BitsPerComponent")) throw new Unreadable();
    return unfiltered(plain, Number(parameters.get("Columns") ?? 1));
  }

  /** Where the newest state of an object is, and its text up to its end. */
  async function objectOf(number: number): Promise<string> {
    if (++objects > OBJECTS_MOST) throw new Unreadable();
    for (const section of sections) {
      const entry = await section.find(number);
      if (entry === undefined) continue;
      if (entry === "free") throw new Unreadable();
      if ("stream" in entry) return (await objectsIn(entry.stream))[entry.index] ?? unreadable();
      const text = await upTo(entry.at, (found) => /\bendobj\b|>>[\s\0]*stream\r?\n/.test(found));
      const head = /^\s*(\d+)\s+\d+\s+obj\b\s*/.exec(text);
      if (Number(head?.[1]) !== number) throw new Unreadable();
      return text.slice(head?.[0].length).replace(/\s*endobj\b[^]*$/, "");
    }
    throw new Unreadable();
  }

  async function objectsIn(number: number): Promise<string[]> {
    const kept = streams.get(number);
    if (kept) return kept;
    let at: number | undefined;
    for (const section of sections) {
      const entry = await section.find(number);
      if (entry === undefined) continue;
      if (entry !== "free" && "at" in entry) at = entry.at;
      break;
    }
    if (at === undefined) throw new Unreadable();
    const { dictionary, bytes } = await streamAt(at);
    const text = bytes.toString("latin1");
    const first = Number(dictionary.get("First"));
    const table = numbersIn(`[${text.slice(0, first)}]`);
    const starts = table.filter((_, i) => i % 2 === 1);
    const found = starts.map((start, i) => text.slice(first + start, first + (starts[i + 1] ?? text.length)).trim());
    if (streams.size >= STREAMS_KEPT) streams.clear();
    streams.set(number, found);
    return found;
  }

  /** The value itself, where it is a reference to one. */
  async function resolve(value: string): Promise<string> {
    let found = value;
    for (let hops = 0; hops < 8; hops++) {
      const reference = /^(\d+)\s+\d+\s+R$/.exec(found.trim());
      if (!reference) return found;
      found = await objectOf(Number(reference[1]));
    }
    throw new Unreadable();
  }

  async function wholeOf(node: Dictionary, name: string): Promise<number> {
    const value = Number(await resolve(node.get(name) ?? ""));
    return Number.isSafeInteger(value) && value >= 0 && node.has(name) ? value : unreadable();
  }

  /** What a page takes from those above it. @source ISO 32000-2 §7.7.3.4 */
  function inherited(above: Dictionary, node: Dictionary): Dictionary {
    const own = ["MediaBox", "CropBox", "Rotate"].flatMap((name): [string, string][] => {
      const value = node.get(name) ?? above.get(name);
      return value === undefined ? [] : [[name, value]];
    });
    return new Map(own);
  }

  async function shapeOf(page: Dictionary): Promise<PageShape> {
    const media = toBox(await resolve(page.get("MediaBox") ?? ""));
    const crop = page.has("CropBox") ? toBox(await resolve(page.get("CropBox") ?? "")) : media;
    const box = {
      x1: Math.max(media.x1, crop.x1),
      y1: Math.max(media.y1, crop.y1),
      x2: Math.min(media.x2, crop.x2),
      y2: Math.min(media.y2, crop.y2),
    };
    const turned = page.has("Rotate") ? Number(await resolve(page.get("Rotate") ?? "")) : 0;
    if (turned % 90 !== 0 || box.x1 >= box.x2 || box.y1 >= box.y2) throw new Unreadable();
    return { box, turned: ((turned % 360) + 360) % 360 };
  }

  async function kidAt(kids: readonly string[], i: number): Promise<Dictionary> {
    return toDictionary(await resolve(kids[i] ?? unreadable()));
  }

  return {
    async find(page: number): Promise<FoundPage> {
      await open();
      const root = sections.find(({ trailer }) => trailer.has("Root"))?.trailer.get("Root") ?? unreadable();
      const catalog = toDictionary(await resolve(root));
      let node = toDictionary(await resolve(catalog.get("Pages") ?? unreadable()));
      const pages = await wholeOf(node, "Count");
      if (page >= pages) return { pages, shape: undefined };
      let above = inherited(new Map(), node);
      let left = page;
      for (let depth = 0; depth < DEPTH_MOST; depth++) {
        const kids = (await resolve(node.get("Kids") ?? "")).match(/\d+\s+\d+\s+R\b/g) ?? [];
        // As many kids as pages: each is one, and those before need not be read. Thousands are listed like this.
        let i = kids.length === (await wholeOf(node, "Count")) ? left : 0;
        if (i > 0) left = 0;
        let kid = await kidAt(kids, i);
        for (;;) {
          const count = kid.has("Kids") ? await wholeOf(kid, "Count") : 1;
          if (left < count) break;
          left -= count;
          kid = await kidAt(kids, ++i);
        }
        above = inherited(above, kid);
        if (!kid.has("Kids")) return { pages, shape: await shapeOf(above) };
        node = kid;
      }
      return unreadable();
    },
  };
}

function unreadable(): never {
  throw new Unreadable();
}

function toDictionary(text: string): Dictionary {
  return readDictionary(text.trimStart(), 0) ?? unreadable();
}

function numbersIn(array: string | undefined): number[] {
  const found = /^\s*\[([^\][]*)\]\s*$/.exec(array ?? "")?.[1]?.trim() ?? unreadable();
  const numbers = found === "" ? [] : found.split(/[\s\0]+/).map(Number);
  return numbers.every((one) => Number.isFinite(one)) ? numbers : unreadable();
}

/** The two corners come in any order. @source ISO 32000-2 §7.9.5 */
function toBox(array: string): PageShape["box"] {
  const [a, b, c, d, ...more] = numbersIn(array);
  if (a === undefined || b === undefined || c === undefined || d === undefined || more.length > 0) return unreadable();
  return { x1: Math.min(a, c), y1: Math.min(b, d), x2: Math.max(a, c), y2: Math.max(b, d) };
}

/** Undoes the filters of PNG, a byte a column. @source ISO/IEC 15948 §9 */
export function unfiltered(bytes: Buffer, columns: number): Buffer {
  if (!Number.isSafeInteger(columns) || columns < 1) throw new Unreadable();
  const rows = Math.floor(bytes.length / (columns + 1));
  const out = Buffer.alloc(rows * columns);
  for (let row = 0; row < rows; row++) {
    const from = row * (columns + 1);
    const type = bytes[from] ?? 0;
    for (let i = 0; i < columns; i++) {
      const at = row * columns + i;
      const left = i > 0 ? (out[at - 1] ?? 0) : 0;
      const up = row > 0 ? (out[at - columns] ?? 0) : 0;
      const corner = i > 0 && row > 0 ? (out[at - columns - 1] ?? 0) : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][type];
      if (guess === undefined) throw new Unreadable();
      out[at] = (bytes[from + 1 + i] ?? 0) + guess;
    }
  }
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const [a, b, c] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs) as [number, number, number];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
