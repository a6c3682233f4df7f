import { isDict, isName, isRef, write } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import { withPdf } from "./document.ts";
import type { PdfDocument } from "./document.ts";
import { table } from "./increment.ts";
import { objectAt, streamPlace } from "./reader.ts";
import type { Entry } from "./reader.ts";
import type { Source } from "./source.ts";

const BLOCK_BYTES = 1 << 20;
/** Entries of the catalog that only a signed document has. */
const OF_SIGNATURES = ["Perms", "DSS"];
/** Entries of a form dictionary that say that there are signatures. */
const OF_FORM = ["SigFlags"];

/**
 * Writes a PDF anew, as an Optimizer with `usepdfclean` does: every object once, in the order of its number, with a
 * plain cross-reference table; signatures and their fields are left out, and everything else is as it was. Objects are
 * copied one by one, so memory does not grow with the file. Returns how many bytes were written. Throws Unsignable.
 */
export function cleanPdf(source: Source, put: (bytes: Buffer) => void): number {
  return withPdf(source, (document) => {
    const gone = signatureFields(document);
    const entries = new Map<number, Entry>([[0, { kind: "free" }]]);
    let length = 0;
    const push = (bytes: Buffer): void => {
      put(bytes);
      length += bytes.length;
    };
    push(Buffer.from("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "latin1"));
    for (const num of [...document.entries.keys()].sort((a, b) => a - b)) {
      const entry = document.entries.get(num);
      if (!entry || entry.kind === "free" || gone.has(num) || num === 0) continue;
      const object = entry.kind === "at" ? objectAt(source, entry.offset + document.base) : undefined;
      const value = object ? object.value : document.lookUp({ kind: "ref", num, gen: 0 });
      if (isDict(value) && (isName(value.get("Type"), "XRef") || isName(value.get("Type"), "ObjStm"))) continue;
      const gen = entry.kind === "at" ? entry.gen : 0;
      entries.set(num, { kind: "at", offset: length, gen });
      push(Buffer.from(`${num} ${gen} obj\n`));
      if (object?.streamAt === undefined) {
        const kept = num === document.root.num && isDict(value) ? withoutKeys(value, OF_SIGNATURES) : value;
        push(Buffer.from(`${write(without(kept, gone))}\n`, "latin1"));
      } else {
        const { dict, at, length: bytes } = streamPlace(source, object, document.lookUp);
        push(Buffer.from(`${write(new Map(dict).set("Length", bytes))}\nstream\n`, "latin1"));
        for (let done = 0; done < bytes; done += BLOCK_BYTES)
          push(source.read(at + done, Math.min(BLOCK_BYTES, bytes - done)));
        push(Buffer.from("\nendstream\n"));
      }
      push(Buffer.from("endobj\n"));
    }
    const start = length;
    push(Buffer.from(`xref\n${table(entries)}trailer\n${write(trailerOf(document, entries))}\n`, "latin1"));
    push(Buffer.from(`startxref\n${start}\n%%EOF\n`));
    return length;
  });
}

function trailerOf(document: PdfDocument, entries: Map<number, Entry>): PdfDict {
  const trailer: PdfDict = new Map<string, PdfValue>([
    ["Size", Math.max(...entries.keys()) + 1],
    ["Root", document.root],
  ]);
  for (const key of ["Info", "ID"]) {
    const value = document.trailer.get(key);
    if (value !== undefined) trailer.set(key, value);
  }
  return trailer;
}

/** Numbers of the objects that are signature fields, with what they hold. */
function signatureFields(document: PdfDocument): Set<number> {
  const gone = new Set<number>();
  const catalog = document.resolve(document.root);
  const form = document.resolve(isDict(catalog) ? catalog.get("AcroForm") : null);
  const fields = document.resolve(isDict(form) ? form.get("Fields") : null);
  const drop = (field: PdfRef, dict: PdfDict): void => {
    gone.add(field.num);
    const value = dict.get("V");
    if (isRef(value)) gone.add(value.num);
  };
  const visit = (field: PdfValue, inherited: boolean, depth: number): void => {
    const dict = document.resolve(field);
    if (!isRef(field) || !isDict(dict) || gone.has(field.num) || depth > 32) return;
    const type = document.resolve(dict.get("FT"));
    const signs = isName(type, "Sig") || (type === null && inherited);
    if (signs) drop(field, dict);
    const kids = document.resolve(dict.get("Kids"));
    if (Array.isArray(kids)) for (const kid of kids) visit(kid, signs, depth + 1);
  };
  if (Array.isArray(fields)) for (const field of fields) visit(field, false, 0);
  return gone;
}

function withoutKeys(dict: PdfDict, keys: string[]): PdfDict {
  return new Map([...dict].filter(([key]) => !keys.includes(key)));
}

/** The value without references to what is gone. */
function without(value: PdfValue, gone: Set<number>): PdfValue {
  if (Array.isArray(value)) {
    return value.filter((item) => !(isRef(item) && gone.has(item.num))).map((item) => without(item, gone));
  }
  if (!isDict(value)) return value;
  const kept = withoutKeys(value, OF_FORM);
  return new Map([...kept].map(([key, item]) => [key, without(item, gone)]));
}
