import { name, ref, write } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import type { PdfDocument } from "./document.ts";
import type { Entry } from "./reader.ts";

/** Adds an object, with a stream where it has one, and says where it is. */
export type Add = (value: PdfValue, stream?: Buffer) => PdfRef;
/** Puts a new value in the place of an object. */
export type Replace = (target: PdfRef, value: PdfValue) => void;

type NewObject = { num: number; gen: number; head: string; stream?: Buffer };

/** The bytes to append, and where in them an object begins. */
export type Increment = { bytes: Buffer; startOf: (target: PdfRef) => number };

/**
 * An incremental update: what `work` adds and replaces, as bytes to append to the file, which stays as it is.
 * @source ISO 32000-1 §7.5.6
 */
export function increment(document: PdfDocument, work: (change: { add: Add; replace: Replace }) => void): Increment {
  let highest = 0;
  for (const num of document.entries.keys()) highest = Math.max(highest, num);
  const size = document.trailer.get("Size");
  let next = Math.max(highest + 1, typeof size === "number" ? size : 0);
  const objects: NewObject[] = [];
  work({
    add(value, stream) {
      const whole = stream && value instanceof Map ? new Map(value).set("Length", stream.length) : value;
      objects.push({ num: next, gen: 0, head: write(whole), ...(stream ? { stream } : {}) });
      return ref(next++);
    },
    replace(target, value) {
      const entry = document.entries.get(target.num);
      objects.push({ num: target.num, gen: entry?.kind === "at" ? entry.gen : 0, head: write(value) });
    },
  });
  return compose(document, objects, next);
}

function compose(document: PdfDocument, objects: NewObject[], next: number): Increment {
  const start = document.source.size;
  const parts: Buffer[] = [Buffer.from("\n")];
  let length = 1;
  const push = (part: Buffer): void => {
    parts.push(part);
    length += part.length;
  };
  const starts = new Map<number, number>();
  const changed = new Map<number, Entry>();
  for (const object of objects) {
    starts.set(object.num, length);
    changed.set(object.num, { kind: "at", offset: start + length - document.base, gen: object.gen });
    push(Buffer.from(`${object.num} ${object.gen} obj\n${object.head}\n`, "latin1"));
    if (object.stream) push(Buffer.concat([Buffer.from("stream\n"), object.stream, Buffer.from("\nendstream\n")]));
    push(Buffer.from("endobj\n"));
  }
  push(crossReference(document, changed, start + length - document.base, next));
  return { bytes: Buffer.concat(parts), startOf: ({ num }) => starts.get(num) ?? 0 };
}

/** The new section in the form of the last one; a repaired file gets a whole new one instead. */
function crossReference(document: PdfDocument, changed: Map<number, Entry>, offset: number, next: number): Buffer {
  const entries = document.previous ? changed : new Map([...document.entries, ...changed]);
  const asStream = document.previous
    ? document.previous.kind === "stream"
    : [...entries.values()].some((entry) => entry.kind === "in");
  const trailer: PdfDict = new Map<string, PdfValue>([["Root", document.root]]);
  for (const key of ["Info", "ID"]) {
    const value = document.trailer.get(key);
    if (value !== undefined) trailer.set(key, value);
  }
  if (document.previous) trailer.set("Prev", document.previous.startxref);
  else entries.set(0, { kind: "free" });
  const end = `\nstartxref\n${offset}\n%%EOF\n`;
  if (!asStream)
    return Buffer.from(`xref\n${table(entries)}trailer\n${write(trailer.set("Size", next))}${end}`, "latin1");

  entries.set(next, { kind: "at", offset, gen: 0 });
  const runs = runsOf(entries);
  trailer.set("Type", name("XRef")).set("Size", next + 1);
  trailer.set("W", [1, 6, 2]).set(
    "Index",
    runs.flatMap((run) => [run.first, run.entries.length]),
  );
  const data = Buffer.concat(runs.flatMap((run) => run.entries.map(streamRow)));
  trailer.set("Length", data.length);
  const head = Buffer.from(`${next} 0 obj\n${write(trailer)}\nstream\n`, "latin1");
  return Buffer.concat([head, data, Buffer.from(`\nendstream\nendobj${end}`)]);
}

type Run = { first: number; entries: Entry[] };

function runsOf(entries: Map<number, Entry>): Run[] {
  const runs: Run[] = [];
  for (const [num, entry] of [...entries].sort(([a], [b]) => a - b)) {
    const run = runs.at(-1);
    if (run && run.first + run.entries.length === num) run.entries.push(entry);
    else runs.push({ first: num, entries: [entry] });
  }
  return runs;
}

/** The rows of a classic cross-reference table. */
export function table(entries: Map<number, Entry>): string {
  const row = (entry: Entry): string =>
    entry.kind === "at"
      ? `${String(entry.offset).padStart(10, "0")} ${String(entry.gen).padStart(5, "0")} n \n`
      : "0000000000 65535 f \n";
  return runsOf(entries)
    .map((run) => `${run.first} ${run.entries.length}\n${run.entries.map(row).join("")}`)
    .join("");
}

function streamRow(entry: Entry): Buffer {
  const row = Buffer.alloc(9);
  row[0] = entry.kind === "at" ? 1 : entry.kind === "in" ? 2 : 0;
  if (entry.kind === "at") row.writeUIntBE(entry.offset, 1, 6);
  if (entry.kind === "in") row.writeUIntBE(entry.container, 1, 6);
  row.writeUInt16BE(entry.kind === "at" ? entry.gen : entry.kind === "in" ? entry.index : 65_535, 7);
  return row;
}
