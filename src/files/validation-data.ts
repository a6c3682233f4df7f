import type { Content } from "./content.ts";
import { openRevision, type Revision, TRAILER } from "./pdf-revision.ts";
import { readUpdates, type Update } from "./pdf-updates.ts";
import {
  BadPdf,
  type Dictionary,
  eachReference,
  isName,
  isReference,
  isSame,
  isText,
  type PdfValue,
} from "./pdf-value.ts";

/** Certificates and revocation lists of years are some hundred kilobytes. */
const UPDATES_MOST_BYTES = 32 * 1024 ** 2;
/** Entries of the catalog that may be another; those of the form are looked at by themselves. */
const CATALOG_MAY = ["DSS", "Extensions", "AcroForm"];
const FORM_MAY = ["Fields", "SigFlags"];
/** What every writer of an update touches, and no page shows. */
const INFO_MAY = ["ModDate", "Producer"];
const WIDGET_MAY = ["Type", "Subtype", "FT", "T", "F", "Ff", "Rect", "P", "V", "AP"];

/** What a validation needs years later, as far as it is there. @source ETSI EN 319 142-1 §5.4.2 */
export interface ValidationData {
  certificates: number;
  /** Revocation lists, and answers about single certificates. */
  revocations: number;
}

/** What stands behind a signature, where it changes nothing that the signature is about. */
export interface Added {
  validationData: ValidationData | undefined;
  /** Of the document timestamps: what each covers, the oldest first. */
  stamps: number[][];
}

/** Throws what a later update did to what was signed; the message ends a sentence. */
export class Changed extends Error {
  override readonly name = "Changed";
}

/**
 * Looks at the updates behind the byte `end`, up to which a signature reaches, and finds out what they add. Allowed is
 * what makes a B-LT or a B-LTA of a B-T: new objects that nothing signed refers to, and that are reached through the
 * catalog's /DSS and /Extensions, or are document timestamps that show nothing. Throws Changed for everything else,
 * and what cannot be told; the reason of `signal`. Bounded memory and time, whatever the updates are.
 * @source ETSI EN 319 142-1 §5.4, ISO 32000-2 §12.8.4.3 (DSS), §12.8.5 (document timestamps)
 */
export async function readAdded(content: Content, end: number, signal?: AbortSignal): Promise<Added> {
  if (content.sizeBytes - end > UPDATES_MOST_BYTES) throw new Changed("more stands behind it than is looked at");
  const text = (await content.read(end, content.sizeBytes - end)).toString("latin1");
  try {
    const base = await openRevision(content, end);
    const updates = await readUpdates(text, end, base);
    return await compareAll(base, updates, signal);
  } catch (error) {
    throw error instanceof BadPdf ? new Changed(error.message) : error;
  }
}

/** The document after some of the updates. */
interface Later {
  has(number: number): boolean;
  resolve(value: PdfValue | undefined): Promise<PdfValue>;
}

async function compareAll(base: Revision, updates: readonly Update[], signal?: AbortSignal): Promise<Added> {
  const written = new Map<number, PdfValue>();
  const watched = new Set<number>();
  /** Objects that may be another, if nobody else refers to them. */
  const onlyFrom = new Map<number, Set<number>>();
  let added: Added = { validationData: undefined, stamps: [] };
  for (const { objects, trailer, end } of updates) {
    for (const [number, value] of objects) written.set(number, value);
    const later: Later = {
      has: (number) => written.has(number),
      resolve: async (value) => {
        let found = value ?? null;
        for (let hops = 0; isReference(found); hops++) {
          if (hops > 8) throw new BadPdf("a reference to itself");
          found = written.get(found.number) ?? (await base.get(found.number)) ?? null;
        }
        return found;
      },
    };
    added = await compareOne(base, later, { written, trailer, end, onlyFrom, stamped: added.stamps });
  }
  const root = base.trailer.get("Root");
  for (const number of written.keys()) {
    const isShared = isReference(root) && root.number === number;
    if (!isShared && (onlyFrom.has(number) || !base.has(number))) watched.add(number);
  }
  const referrers = await base.referrers(watched, signal);
  for (const [number, by] of referrers) {
    const allowed = onlyFrom.get(number);
    if ([...by].some((one) => !allowed?.has(one))) throw new Changed(`object ${number} is used by what was signed`);
  }
  return added;
}

interface Step {
  written: ReadonlyMap<number, PdfValue>;
  trailer: Dictionary;
  /** Where the update ends. */
  end: number;
  onlyFrom: Map<number, Set<number>>;
  stamped: number[][];
}

/** Compares the document after an update with what was signed: every object that is another must be allowed to. */
async function compareOne(base: Revision, later: Later, step: Step): Promise<Added> {
  const { written, trailer, end, onlyFrom, stamped } = step;
  const root = base.trailer.get("Root");
  if (!isReference(root)) throw new BadPdf("no catalog");
  const allowed = new Set([root.number]);
  /** An object that may be another: the entry `value` in the object `by`, and nothing else there, refers to it. */
  const allow = async (value: PdfValue | undefined, by: number) => {
    if (!isReference(value) || !later.has(value.number) || !base.has(value.number)) return;
    let times = 0;
    const holder = by === TRAILER ? base.trailer : ((await base.get(by)) ?? null);
    eachReference(holder, (number) => (times += Number(number === value.number)));
    if (times !== 1) throw new Changed(`object ${value.number} is used by what was signed`);
    allowed.add(value.number);
    onlyFrom.set(value.number, (onlyFrom.get(value.number) ?? new Set()).add(by));
  };
  const [was, is] = [toDictionary(await base.resolve(root)), toDictionary(await later.resolve(root))];
  compareEntries(was, is, CATALOG_MAY, "the catalog");
  const validationData = await compareStore(later, was, is);
  await allow(sameReference(was, is, "DSS"), root.number);
  checkExtensions(await base.resolve(was.get("Extensions")), await later.resolve(is.get("Extensions")));
  await allow(sameReference(was, is, "Extensions"), root.number);

  const [formWas, formIs] = [was.get("AcroForm"), is.get("AcroForm")];
  const [form, formLater] = [toForm(await base.resolve(formWas)), toForm(await later.resolve(formIs))];
  compareEntries(form, formLater, FORM_MAY, "the form");
  checkFlags(form.get("SigFlags"), formLater.get("SigFlags"));
  await allow(sameReference(was, is, "AcroForm"), root.number);
  const formAt = isReference(formWas) ? formWas.number : root.number;
  await allow(sameReference(form, formLater, "Fields"), formAt);
  const fields = await longer(base, later, [form.get("Fields"), formLater.get("Fields")], "the form's /Fields");
  const widgets = new Set<number>();
  const stamps: number[][] = [];
  const pages = new Set<number>();
  for (const field of fields) {
    if (!isReference(field) || base.has(field.number)) throw new Changed("it adds a field that was there");
    const { range, page } = await toStamp(later, field);
    widgets.add(field.number);
    stamps.push(range);
    if (page !== undefined) pages.add(page);
  }
  checkStamps(stamps, stamped, end);
  for (const number of [...pages, ...written.keys()]) {
    if (allowed.has(number) || !base.has(number)) continue;
    const page = await base.get(number);
    if (!(page instanceof Map) || !isName(page.get("Type"), "Page")) continue;
    const pageLater = toDictionary(await later.resolve({ kind: "reference", number, generation: 0 }));
    compareEntries(page, pageLater, ["Annots"], "a page");
    const more = await longer(base, later, [page.get("Annots"), pageLater.get("Annots")], "a page's /Annots");
    if (!more.every((one) => isReference(one) && widgets.has(one.number))) throw new Changed("it adds an annotation");
    allowed.add(number);
    await allow(sameReference(page, pageLater, "Annots"), number);
  }
  await compareInfo(base, later, trailer);
  await allow(sameReference(base.trailer, trailer, "Info"), TRAILER);
  for (const number of written.keys()) {
    if (base.has(number) && !allowed.has(number)) throw new Changed(`it replaces object ${number}`);
  }
  return { validationData, stamps };
}

function compareEntries(was: Dictionary, is: Dictionary, may: readonly string[], what: string): void {
  for (const name of new Set([...was.keys(), ...is.keys()])) {
    if (may.includes(name) || isSame(was.get(name), is.get(name))) continue;
    // A name could be anything, and messages are kept.
    throw new Changed(`it changes ${what}${/^[A-Z][A-Za-z]{0,30}$/.test(name) ? `'s /${name}` : ""}`);
  }
}

/** The reference that an entry is, before and after. */
function sameReference(was: Dictionary, is: Dictionary, name: string): PdfValue | undefined {
  const [before, after] = [was.get(name), is.get(name)];
  return isSame(before, after) ? before : undefined;
}

async function compareStore(later: Later, was: Dictionary, is: Dictionary): Promise<ValidationData | undefined> {
  if (!is.has("DSS")) {
    if (was.has("DSS")) throw new Changed("it takes the /DSS away");
    return undefined;
  }
  const store = toDictionary(await later.resolve(is.get("DSS")));
  const count = async (name: string) => {
    const list = await later.resolve(store.get(name));
    return Array.isArray(list) ? list.length : 0;
  };
  return { certificates: await count("Certs"), revocations: (await count("CRLs")) + (await count("OCSPs")) };
}

/** Nothing but which version of which extension. @source ISO 32000-2 §7.12 */
function checkExtensions(was: PdfValue, is: PdfValue): void {
  const leaves = (one: PdfValue): PdfValue[] =>
    one instanceof Map ? [...one.values()].flatMap(leaves) : Array.isArray(one) ? one.flatMap(leaves) : [one];
  if (!isSame(was, is) && leaves(is).some(isReference)) throw new Changed("its /Extensions refer to other objects");
}

/** Signatures exist, and only appending is allowed; what was set stays. @source ISO 32000-2 §12.7.3 */
function checkFlags(was: PdfValue = 0, is: PdfValue = 0): void {
  const isRight =
    typeof was === "number" && typeof is === "number" && (was | 3 | is) === (was | 3) && (was & is) === was;
  if (!isRight) throw new Changed("it changes the form's /SigFlags");
}

/** What a list has gained at its end. */
async function longer(
  base: Revision,
  later: Later,
  [before, after]: [PdfValue | undefined, PdfValue | undefined],
  what: string,
): Promise<PdfValue[]> {
  const [was, is] = [(await base.resolve(before)) ?? [], (await later.resolve(after)) ?? []];
  if (!Array.isArray(was) || !Array.isArray(is) || !isSame(was, is.slice(0, was.length)))
    throw new Changed(`it changes ${what}`);
  return is.slice(was.length);
}

/** A field that is a document timestamp and shows nothing: what it covers, and the page that it says it is on. */
async function toStamp(later: Later, field: PdfValue): Promise<{ range: number[]; page: number | undefined }> {
  const widget = toDictionary(await later.resolve(field));
  const isKnown =
    [...widget.keys()].every((name) => WIDGET_MAY.includes(name)) && isName(widget.get("Subtype"), "Widget");
  const rect = await later.resolve(widget.get("Rect"));
  const isEmpty = Array.isArray(rect) && rect.length === 4 && rect[0] === rect[2] && rect[1] === rect[3];
  const stamp = await later.resolve(widget.get("V"));
  const isStamp = stamp instanceof Map && isName(stamp.get("Type"), "DocTimeStamp");
  if (!isKnown || !isName(widget.get("FT"), "Sig") || !isStamp)
    throw new Changed("it adds a field that is no timestamp");
  if (!isEmpty || !rect.every((one) => typeof one === "number"))
    throw new Changed("it adds a timestamp that can be seen");
  const range = await later.resolve(stamp.get("ByteRange"));
  if (!Array.isArray(range) || range.length !== 4) throw new Changed("it adds a timestamp that covers nothing");
  const page = widget.get("P");
  return { range: range.map(Number), page: isReference(page) ? page.number : undefined };
}

/** A timestamp covers everything up to the end of its update; those before it stay what they were. */
function checkStamps(stamps: readonly number[][], before: readonly number[][], end: number): void {
  for (const [i, [from, , after = 0, length = 0]] of stamps.entries()) {
    const known = before[i];
    const isRight = known ? known.join() === stamps[i]?.join() : from === 0 && isEnd(after + length, end);
    if (!isRight) throw new Changed("it adds a timestamp that does not cover what is before it");
  }
  if (stamps.length < before.length) throw new Changed("it takes a timestamp away");
}

/** Whether a signature ends with the update: at its end mark, or behind the end of that line. */
const isEnd = (covered: number, end: number) => covered >= end && covered <= end + 2;

/** @source ISO 32000-2 §14.3.3 */
async function compareInfo(base: Revision, later: Later, trailer: Dictionary): Promise<void> {
  if (!trailer.has("Info")) return;
  const [was, is] = [await base.resolve(base.trailer.get("Info")), await later.resolve(trailer.get("Info"))];
  if (isSame(was, is)) return;
  compareEntries(toForm(was), toForm(is), INFO_MAY, "the document information");
  const isPlain = is instanceof Map && INFO_MAY.every((name) => !is.has(name) || isText(is.get(name)));
  if (!isPlain) throw new Changed("it changes the document information");
}

function toDictionary(value: PdfValue): Dictionary {
  if (!(value instanceof Map)) throw new BadPdf("an object that is no dictionary");
  return value;
}

/** One that may not be there. */
const toForm = (value: PdfValue): Dictionary => (value === null ? new Map<string, PdfValue>() : toDictionary(value));
