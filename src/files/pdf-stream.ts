import { promisify } from "node:util";
import { inflate } from "node:zlib";
import { unfiltered, Unreadable } from "./pdf-pages.ts";
import { BadPdf, type Dictionary, isName, type PdfValue, skipBlanks, takeInteger, takeValue } from "./pdf-value.ts";

const toInflated = promisify(inflate);
/** Of an entry in a cross-reference stream, in bytes. */
const WIDTH_MOST = 24;

/** Where an object is, by a cross-reference: at an offset, or in an object stream; or it is free. */
export type Entry = { at: number; generation: number } | { container: number; index: number } | "free";
export type Row = [number: number, entry: Entry];

/**
 * The decoded bytes of a stream, `mostBytes` at the most. Throws BadPdf, for what is compressed in another way than
 * cross-references and object streams are as well.
 * @source ISO 32000-2 §7.4.4
 */
export async function decodeStream(dictionary: Dictionary, bytes: Buffer, mostBytes: number): Promise<Buffer> {
  const [filter, ...more] = listOf(dictionary.get("Filter"));
  if (filter === undefined) return bytes;
  if (!isName(filter, "FlateDecode") || more.length > 0) throw new BadPdf("a stream with an unknown filter");
  const plain = await toInflated(bytes, { maxOutputLength: Math.max(mostBytes, 1) }).catch(() => {
    throw new BadPdf("a stream that cannot be unpacked");
  });
  const [given] = listOf(dictionary.get("DecodeParms"));
  const parameters: Dictionary = given instanceof Map ? given : new Map<string, PdfValue>();
  const predictor = parameters.get("Predictor") ?? 1;
  if (predictor === 1) return plain;
  const isPlain = !parameters.has("Colors") && !parameters.has("BitsPerComponent");
  if (typeof predictor !== "number" || predictor < 10 || !isPlain) throw new BadPdf("a stream with an unknown filter");
  try {
    return unfiltered(plain, Number(parameters.get("Columns") ?? 1));
  } catch (error) {
    throw error instanceof Unreadable ? new BadPdf("a stream that cannot be unpacked") : error;
  }
}

function listOf(value: PdfValue | undefined): PdfValue[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : [value];
}

/** The rows of a cross-reference stream, each object's. Throws BadPdf. @source ISO 32000-2 §7.5.8 */
export function* rowsOf(dictionary: Dictionary, bytes: Buffer): Generator<Row> {
  const widths = numbersIn(dictionary.get("W"));
  const [kind = 0, second = 0, third = 0] = widths;
  const width = kind + second + third;
  if (widths.length !== 3 || width === 0 || width > WIDTH_MOST) throw new BadPdf("a cross-reference without widths");
  const index = dictionary.has("Index") ? numbersIn(dictionary.get("Index")) : [0, ...numbersIn([sizeIn(dictionary)])];
  let from = 0;
  const field = (length: number) => {
    let value = 0;
    for (const byte of bytes.subarray(from, from + length)) value = value * 256 + byte;
    from += length;
    return value;
  };
  for (let i = 0; i + 1 < index.length; i += 2) {
    const [first = 0, count = 0] = index.slice(i, i + 2);
    for (let n = 0; n < count; n++) {
      if (from + width > bytes.length) throw new BadPdf("a cross-reference that is cut off");
      const type = kind === 0 ? 1 : field(kind);
      const [one, two] = [field(second), field(third)];
      if (type > 2) throw new BadPdf("a cross-reference of an unknown kind");
      yield [
        first + n,
        type === 0 ? "free" : type === 1 ? { at: one, generation: two } : { container: one, index: two },
      ];
    }
  }
}

const sizeIn = (dictionary: Dictionary): PdfValue => dictionary.get("Size") ?? null;

function numbersIn(value: PdfValue | undefined): number[] {
  const isNumbers = (list: PdfValue[]): list is number[] =>
    list.every((one) => Number.isSafeInteger(one) && Number(one) >= 0);
  if (!Array.isArray(value) || !isNumbers(value)) throw new BadPdf("a cross-reference without numbers");
  return value;
}

/** The objects in an object stream, in their order. Throws BadPdf. @source ISO 32000-2 §7.5.7 */
export function* objectsIn(dictionary: Dictionary, bytes: Buffer): Generator<{ number: number; value: PdfValue }> {
  const [first, count] = [dictionary.get("First"), dictionary.get("N")];
  if (!isName(dictionary.get("Type"), "ObjStm") || typeof first !== "number" || typeof count !== "number")
    throw new BadPdf("no object stream");
  const table = { text: bytes.toString("latin1", 0, first), at: 0 };
  const text = bytes.toString("latin1", first);
  for (let i = 0; i < count; i++) {
    skipBlanks(table);
    const number = takeInteger(table);
    skipBlanks(table);
    const at = takeInteger(table);
    if (number === undefined || at === undefined) throw new BadPdf("an object stream without numbers");
    yield { number, value: takeValue({ text, at }) };
  }
}
