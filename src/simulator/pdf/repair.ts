import { BadSyntax, isDict, isName, isRef, NeedMore, parseValue } from "./syntax.ts";
import type { PdfDict } from "./syntax.ts";
import { objectAt } from "./reader.ts";
import type { Entry } from "./reader.ts";
import type { Source } from "./source.ts";

export type Repaired = { entries: Map<number, Entry>; trailer: PdfDict; containers: number[] };

const BLOCK_BYTES = 1 << 20;
const OVERLAP_BYTES = 64;

/**
 * Finds the objects of a file whose cross-reference is broken, by looking for "n g obj" from front to back;
 * a later object replaces an earlier one of the same number. The caller adds what is in `containers` (object streams).
 * Throws BadSyntax when no document catalog is found.
 */
export function repair(source: Source): Repaired {
  const entries = new Map<number, Entry>();
  const trailers: number[] = [];
  for (let at = 0; at < source.size; at += BLOCK_BYTES) {
    const start = Math.max(0, at - OVERLAP_BYTES);
    const text = source.read(start, at - start + BLOCK_BYTES).toString("latin1");
    for (const found of text.matchAll(
      /(?<![\d.])(\d{1,8})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+obj(?![a-z])|\btrailer\b/g,
    )) {
      const offset = start + found.index;
      if (found[1] === undefined) trailers.push(offset + "trailer".length);
      else entries.set(Number(found[1]), { kind: "at", offset, gen: Number(found[2]) });
    }
  }
  const trailer: PdfDict = new Map();
  const merge = (dict: PdfDict): void => {
    for (const key of ["Root", "Info", "ID", "Encrypt"]) {
      const value = dict.get(key);
      if (value !== undefined) trailer.set(key, value);
    }
  };
  for (const offset of trailers) {
    const dict = tryTo(() => parseFrom(source, offset));
    if (dict) merge(dict);
  }
  const containers: number[] = [];
  for (const [num, entry] of entries) {
    if (entry.kind !== "at") continue;
    const object = tryTo(() => objectAt(source, entry.offset));
    if (!object) entries.delete(num);
    else if (isDict(object.value)) {
      const type = object.value.get("Type");
      if (isName(type, "ObjStm")) containers.push(num);
      if (isName(type, "XRef")) merge(object.value);
      if (isName(type, "Catalog") && !trailer.has("Root")) trailer.set("Root", { kind: "ref", num, gen: entry.gen });
    }
  }
  if (!isRef(trailer.get("Root")) && containers.length === 0) throw new BadSyntax("no document catalog");
  return { entries, trailer, containers };
}

function parseFrom(source: Source, offset: number): PdfDict | undefined {
  const text = source.read(offset, 8192).toString("latin1");
  const value = parseValue({ text, at: 0, last: true });
  return isDict(value) ? value : undefined;
}

function tryTo<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof BadSyntax || error instanceof NeedMore) return undefined;
    throw error;
  }
}
