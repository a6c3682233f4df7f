import { randomBytes, type Hash } from "node:crypto";
import { isDict, isRef, literalString, name, raw, textString } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import { withPdf } from "./document.ts";
import type { PdfDocument } from "./document.ts";
import { increment } from "./increment.ts";
import type { Add, Replace } from "./increment.ts";
import type { Source } from "./source.ts";

/** What is drawn where: the rectangle in points from the lower left corner, and the objects that draw it. */
export type Visible = {
  page: number;
  rect: [number, number, number, number];
  /** Adds the objects of the drawing through `add` and returns the one of the appearance stream. */
  draw: (add: Add) => PdfRef;
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
  let signature: PdfRef = document.root;
  const { bytes, startOf } = increment(document, ({ add, replace }) => {
    const page = document.page(request.visible?.page ?? 0);
    const appearance = request.visible?.draw(add);
    signature = add(signatureDict(request));
    const widget = add(widgetDict(request, page.ref, signature, appearance));
    addTo(document, { owner: page.ref, dict: page.dict, key: "Annots" }, widget, replace);
    addField(document, widget, replace);
  });
  return { bytes, signatureAt: startOf(signature) };
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
