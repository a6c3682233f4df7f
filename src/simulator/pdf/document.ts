import { BadSyntax, isDict, isName, isRef, NeedMore, parseValue } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import { objectAt, streamData } from "./reader.ts";
import type { Entry } from "./reader.ts";
import { readXref } from "./xref.ts";
import { repair } from "./repair.ts";
import type { Source } from "./source.ts";

/** An opened PDF: its objects can be looked up, nothing is kept in memory but what was looked at. */
export type PdfDocument = {
  source: Source;
  entries: Map<number, Entry>;
  trailer: PdfDict;
  /** The last cross-reference section; absent when the file had to be repaired, so that a whole new one is due. */
  previous?: { startxref: number; kind: "table" | "stream" };
  base: number;
  root: PdfRef;
  lookUp: (ref: PdfRef) => PdfValue;
  /** The value itself, or what it refers to. */
  resolve: (value: PdfValue | undefined) => PdfValue;
  /** The page with this number (first is 0), or the last one when there are fewer. */
  page: (index: number) => { ref: PdfRef; dict: PdfDict };
};

/** The file cannot be signed: encrypted, or damaged beyond repair. */
export class Unsignable extends Error {
  override name = "Unsignable";
}

const isBad = (error: unknown): boolean => error instanceof BadSyntax || error instanceof NeedMore || isZlib(error);
const isZlib = (error: unknown): boolean =>
  error instanceof Error && "code" in error && typeof error.code === "string" && error.code.startsWith("Z_");

/**
 * Opens a PDF and runs `work` on it: by its cross-reference, or, when that leads nowhere, once more by searching
 * the file for objects. Throws Unsignable.
 */
export function withPdf<T>(source: Source, work: (document: PdfDocument) => T): T {
  try {
    const { entries, trailer, startxref, newest, base } = readXref(source);
    return work(assemble(source, entries, trailer, base, { startxref, kind: newest }));
  } catch (error) {
    if (!isBad(error)) throw error;
  }
  try {
    const { entries, trailer, containers } = repair(source);
    return work(assemble(source, entries, trailer, 0, undefined, containers));
  } catch (error) {
    throw isBad(error) ? new Unsignable("the PDF is damaged beyond repair") : error;
  }
}

function assemble(
  source: Source,
  entries: Map<number, Entry>,
  trailer: PdfDict,
  base: number,
  previous?: { startxref: number; kind: "table" | "stream" },
  containersToIndex: number[] = [],
): PdfDocument {
  if (trailer.has("Encrypt")) throw new Unsignable("the PDF is encrypted");
  const containers = new Map<number, Container>();

  const containerOf = (num: number): Container => {
    const known = containers.get(num);
    if (known) return known;
    const entry = entries.get(num);
    if (entry?.kind !== "at") throw new BadSyntax(`object stream ${num} is missing`);
    const opened = openContainer(source, entry.offset + base, lookUp);
    containers.set(num, opened);
    return opened;
  };
  const lookUp = (ref: PdfRef): PdfValue => {
    const entry = entries.get(ref.num);
    if (!entry || entry.kind === "free") return null;
    if (entry.kind === "in") return containerOf(entry.container).get(ref.num);
    const object = objectAt(source, entry.offset + base);
    if (object.num !== ref.num) throw new BadSyntax(`object ${ref.num} is not where the cross-reference says`);
    return object.value;
  };
  const resolve = (value: PdfValue | undefined): PdfValue => {
    let current = value ?? null;
    for (let hops = 0; isRef(current) && hops < 32; hops++) current = lookUp(current);
    return isRef(current) ? null : current;
  };

  for (const container of containersToIndex) {
    containerOf(container).numbers.forEach((num, index) => {
      if (!entries.has(num)) entries.set(num, { kind: "in", container, index });
    });
  }
  const root = trailer.get("Root") ?? findCatalog(entries, lookUp);
  if (!isRef(root) || !isDict(resolve(root))) throw new BadSyntax("no document catalog");
  const page = (index: number) => findPage(root, index, resolve) ?? strayPage(entries, resolve);
  return { source, entries, trailer, ...(previous ? { previous } : {}), base, root, lookUp, resolve, page };
}

type Container = { numbers: number[]; get: (num: number) => PdfValue };

function openContainer(source: Source, offset: number, lookUp: (ref: PdfRef) => PdfValue): Container {
  const object = objectAt(source, offset);
  const dict = object.value;
  const first = isDict(dict) ? dict.get("First") : undefined;
  const count = isDict(dict) ? dict.get("N") : undefined;
  if (typeof first !== "number" || typeof count !== "number") throw new BadSyntax("an object stream lacks First or N");
  const text = streamData(source, object, lookUp).toString("latin1");
  const head = (text.slice(0, first).match(/\d+/g) ?? []).map(Number);
  const offsets = new Map<number, number>();
  for (let i = 0; i < count; i++) offsets.set(head[2 * i] ?? -1, first + (head[2 * i + 1] ?? 0));
  const get = (num: number): PdfValue => {
    const at = offsets.get(num);
    return at === undefined ? null : parseValue({ text, at, last: true });
  };
  return { numbers: [...offsets.keys()], get };
}

function findCatalog(entries: Map<number, Entry>, lookUp: (ref: PdfRef) => PdfValue): PdfRef | undefined {
  for (const [num, entry] of entries) {
    if (entry.kind !== "in") continue;
    const value = lookUp({ kind: "ref", num, gen: 0 });
    if (isDict(value) && isName(value.get("Type"), "Catalog")) return { kind: "ref", num, gen: 0 };
  }
  return undefined;
}

type Page = { ref: PdfRef; dict: PdfDict };

function findPage(root: PdfRef, index: number, resolve: PdfDocument["resolve"]): Page | undefined {
  const catalog = resolve(root);
  const seen = new Set<number>();
  const stack: PdfValue[] = [isDict(catalog) ? (catalog.get("Pages") ?? null) : null];
  let left = index;
  let last: Page | undefined;
  while (stack.length > 0) {
    const ref = stack.pop();
    if (!isRef(ref) || seen.has(ref.num)) continue;
    seen.add(ref.num);
    const dict = resolve(ref);
    if (!isDict(dict)) continue;
    const kids = resolve(dict.get("Kids"));
    if (Array.isArray(kids)) {
      stack.push(...kids.toReversed());
      continue;
    }
    last = { ref, dict };
    if (left-- === 0) return last;
  }
  return last;
}

/** Any page of a file whose page tree is lost. */
function strayPage(entries: Map<number, Entry>, resolve: PdfDocument["resolve"]): Page {
  for (const [num, entry] of entries) {
    if (entry.kind === "free") continue;
    const ref: PdfRef = { kind: "ref", num, gen: entry.kind === "at" ? entry.gen : 0 };
    const dict = resolve(ref);
    if (isDict(dict) && isName(dict.get("Type"), "Page")) return { ref, dict };
  }
  throw new BadSyntax("no page");
}
