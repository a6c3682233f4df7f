import { randomBytes, type Hash } from "node:crypto";
import { isDict, isRef, literalString, name, raw, ref, textString, write } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import { withPdf } from "./document.ts";
import type { PdfDocument } from "./document.ts";
import type { Entry } from "./reader.ts";
import type { Source } from "./source.ts";

/** What is drawn where: the rectangle in points from the lower left corner, and the objects that draw it. */
export type Visible = {
  page: number;
  rect: [number, number, number, number];
  /** Adds the objects of the drawing through `add` and returns the one of the appearance stream. */
  draw: (add: (dict: PdfDict, stream?: Buffer) => PdfRef) => PdfRef;
};

export type SignatureRequest = {
  signerName: string;
  at: Date;
  /** Room for the signature. */
  maxSignatureBytes: number;
  visible?: Visible;
};

/** Ten digits hold offsets up to 9.3 GB; the places are blank-padded after the fact. */
const BYTE_RANGE_PLACES = "0 0000000000 0000000000 0000000000";

type NewObject = { num: number; gen: number; head: string; stream?: Buffer };

/**
 * The bytes to append to a PDF so that it carries one more signature: an incremental update, which leaves every byte
 * before it as it is. `prefixHash` is SHA-256 over the present file and is used up; `sign` makes the CMS structure.
 * Throws Unsignable. @source ISO 32000-1 §12.8; ETSI EN 319 142-1 for the sub-filter
 */
export function signatureUpdate(
  source: Source,
  request: SignatureRequest,
  prefixHash: Hash,
  sign: (contentSha256: Buffer) => Buffer,
): Buffer {
  const tail = withPdf(source, (document) => layOut(document, request));
  const opens = tail.bytes.indexOf("/Contents <", tail.signatureAt) + "/Contents ".length;
  const closes = opens + 2 * request.maxSignatureBytes + 2;
  const range = `0 ${source.size + opens} ${source.size + closes} ${tail.bytes.length - closes}`;
  tail.bytes.write(range.padEnd(BYTE_RANGE_PLACES.length), tail.bytes.indexOf("[", tail.signatureAt) + 1, "latin1");
  prefixHash.update(tail.bytes.subarray(0, opens)).update(tail.bytes.subarray(closes));
  const cms = sign(prefixHash.digest());
  if (cms.length > request.maxSignatureBytes) throw new RangeError(`the signature needs ${cms.length} bytes`);
  tail.bytes.write(cms.toString("hex"), opens + 1, "latin1");
  return tail.bytes;
}

function layOut(document: PdfDocument, request: SignatureRequest): { bytes: Buffer; signatureAt: number } {
  let highest = 0;
  for (const num of document.entries.keys()) highest = Math.max(highest, num);
  const size = document.trailer.get("Size");
  let next = Math.max(highest + 1, typeof size === "number" ? size : 0);
  const objects: NewObject[] = [];
  const add = (value: PdfValue, stream?: Buffer): PdfRef => {
    objects.push({ num: next, gen: 0, head: write(value), ...(stream ? { stream } : {}) });
    return ref(next++);
  };
  const replace = (target: PdfRef, value: PdfValue): void => {
    const entry = document.entries.get(target.num);
    objects.push({ num: target.num, gen: entry?.kind === "at" ? entry.gen : 0, head: write(value) });
  };

  const page = document.page(request.visible?.page ?? 0);
  const appearance = request.visible?.draw((dict, stream) =>
    add(stream ? new Map(dict).set("Length", stream.length) : dict, stream),
  );
  const signature = add(signatureDict(request));
  const widget = add(widgetDict(request, page.ref, signature, appearance));
  addTo(document, { owner: page.ref, dict: page.dict, key: "Annots" }, widget, replace);
  addField(document, widget, replace);
  return compose(document, objects, signature.num, next);
}

function signatureDict(request: SignatureRequest): PdfDict {
  const day = request.at.toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return new Map<string, PdfValue>([
    ["Type", name("Sig")],
    ["Filter", name("Adobe.PPKLite")],
    ["SubFilter", name("ETSI.CAdES.detached")],
    ["ByteRange", raw(`[${BYTE_RANGE_PLACES}]`)],
    ["Contents", raw(`<${"0".repeat(2 * request.maxSignatureBytes)}>`)],
    ["M", literalString(`D:${day}+00'00'`)],
    ["Name", textString(request.signerName)],
  ]);
}

function widgetDict(
  request: SignatureRequest,
  page: PdfRef,
  signature: PdfRef,
  appearance: PdfRef | undefined,
): PdfDict {
  return new Map<string, PdfValue>([
    ["Type", name("Annot")],
    ["Subtype", name("Widget")],
    ["FT", name("Sig")],
    ["T", literalString(`Signature-${randomBytes(6).toString("hex")}`)],
    ["F", 132], // printed, locked
    ["Rect", request.visible ? [...request.visible.rect] : [0, 0, 0, 0]],
    ["P", page],
    ["V", signature],
    ...(appearance ? [["AP", new Map([["N", appearance]])] as [string, PdfValue]] : []),
  ]);
}

type Replace = (target: PdfRef, value: PdfValue) => void;
type ArrayPlace = { owner: PdfRef; dict: PdfDict; key: string };

/** Appends to an array that stands in a dictionary or in an object of its own; only what changes is written again. */
function addTo(
  document: PdfDocument,
  place: ArrayPlace,
  item: PdfRef,
  replace: Replace,
  extra?: [string, PdfValue],
): void {
  const present = place.dict.get(place.key);
  const items = document.resolve(present);
  const longer: PdfValue[] = Array.isArray(items) ? [...items, item] : [item];
  if (isRef(present) && Array.isArray(items)) {
    replace(present, longer);
    if (!extra || place.dict.get(extra[0]) === extra[1]) return;
    replace(place.owner, new Map(place.dict).set(...extra));
    return;
  }
  const dict = new Map(place.dict).set(place.key, longer);
  replace(place.owner, extra ? dict.set(...extra) : dict);
}

function addField(document: PdfDocument, widget: PdfRef, replace: Replace): void {
  const catalog = document.resolve(document.root) as PdfDict;
  const present = catalog.get("AcroForm");
  const form = document.resolve(present);
  const flags: [string, PdfValue] = ["SigFlags", 3]; // signatures exist, append only
  if (isRef(present) && isDict(form)) {
    addTo(document, { owner: present, dict: form, key: "Fields" }, widget, replace, flags);
    return;
  }
  const base: PdfDict = isDict(form) ? new Map(form) : new Map<string, PdfValue>();
  const fields = base.get("Fields");
  const items = document.resolve(fields);
  if (isRef(fields) && Array.isArray(items)) replace(fields, [...items, widget]);
  else base.set("Fields", Array.isArray(items) ? [...items, widget] : [widget]);
  replace(document.root, new Map(catalog).set("AcroForm", base.set(...flags)));
}

function compose(
  document: PdfDocument,
  objects: NewObject[],
  signatureNum: number,
  next: number,
): { bytes: Buffer; signatureAt: number } {
  const start = document.source.size;
  const parts: Buffer[] = [Buffer.from("\n")];
  let length = 1;
  let signatureAt = 0;
  const push = (part: Buffer): void => {
    parts.push(part);
    length += part.length;
  };
  const changed = new Map<number, Entry>();
  for (const object of objects) {
    if (object.num === signatureNum) signatureAt = length;
    changed.set(object.num, { kind: "at", offset: start + length - document.base, gen: object.gen });
    push(Buffer.from(`${object.num} ${object.gen} obj\n${object.head}\n`, "latin1"));
    if (object.stream) push(Buffer.concat([Buffer.from("stream\n"), object.stream, Buffer.from("\nendstream\n")]));
    push(Buffer.from("endobj\n"));
  }
  push(crossReference(document, changed, start + length - document.base, next));
  return { bytes: Buffer.concat(parts), signatureAt };
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

function table(entries: Map<number, Entry>): string {
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
