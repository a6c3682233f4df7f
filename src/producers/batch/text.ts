import { PermanentError } from "../../core/errors.ts";

/** What a table may be separated by; of several that are as good, the first. */
const DELIMITERS = [",", ";", "\t", "|"] as const;

/** The encodings in which spreadsheets save tables, by what the platform calls them. */
export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";

/** How a ZIP file begins, which spreadsheets' own files are. @source APPNOTE.TXT 4.3.7 */
const ZIP = Buffer.from("504b0304", "hex");
/** How older spreadsheets' own files begin. @source MS-CFB 2.2 */
const OLE = Buffer.from("d0cf11e0a1b11ae1", "hex");
const LOOK_BYTES = 4_096;

/**
 * In which encoding a file was written: what its byte order mark says; without one, UTF-16 when every other byte is
 * zero, UTF-8 when it is valid as such, and Windows-1252 otherwise, in which every byte is a letter.
 * @source WHATWG Encoding Standard §6 "BOM sniff", §9.1
 */
export function encodingOf(bytes: Uint8Array): Encoding {
  const [a, b, c] = bytes;
  if (a === 0xef && b === 0xbb && c === 0xbf) return "utf-8";
  if (a === 0xff && b === 0xfe) return "utf-16le";
  if (a === 0xfe && b === 0xff) return "utf-16be";
  const head = bytes.subarray(0, LOOK_BYTES);
  const zeros = [0, 0];
  for (const [i, byte] of head.entries()) if (byte === 0) zeros[i % 2] = (zeros[i % 2] ?? 0) + 1;
  const most = head.length / 4;
  if ((zeros[1] ?? 0) > most) return "utf-16le";
  if ((zeros[0] ?? 0) > most) return "utf-16be";
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return "utf-8";
  } catch {
    return "windows-1252";
  }
}

/** The text of a file, without its byte order mark. Throws PermanentError "table-unreadable" for what is no text. */
export function decode(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.subarray(0, OLE.length));
  if (head.subarray(0, ZIP.length).equals(ZIP) || head.equals(OLE)) {
    throw unreadable("is a spreadsheet's own file, not a table in text: save it as CSV UTF-8");
  }
  try {
    const text = new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes);
    if (text.includes("\0")) throw unreadable("has bytes in it that are no text: save it as CSV UTF-8");
    return text;
  } catch (error) {
    if (error instanceof PermanentError) throw error;
    throw unreadable("is not text in the encoding that its first bytes name: save it as CSV UTF-8", error);
  }
}

/**
 * What stands between the cells, and where the table begins: behind a line "sep=;", which Excel reads and does not show;
 * also as that line is when it was taken for a row, and saved again.
 */
export function delimiterOf(text: string): { delimiter: string; from: number } {
  const [line, said] = /^"?sep=(.)"?[,;\t|]*(?:\r\n|\n|\r)/i.exec(text) ?? [];
  if (line !== undefined && said !== undefined) return { delimiter: said, from: line.length };
  const counts = new Map<string, number>();
  let isQuoted = false;
  for (const letter of text) {
    if (letter === '"') isQuoted = !isQuoted;
    else if (isQuoted) continue;
    else if (letter === "\n" || letter === "\r") {
      if (counts.size > 0 || !/^\s*$/.test(text.slice(0, text.indexOf(letter)))) break;
    } else if ((DELIMITERS as readonly string[]).includes(letter)) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  }
  const [best = ","] = [...DELIMITERS].sort((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0));
  return { delimiter: best, from: 0 };
}

/** What is thrown of a table that cannot be read as one. `what` is the end of a sentence. */
export function unreadable(what: string, cause?: unknown): PermanentError {
  return new PermanentError(`The table ${what}.`, { code: "table-unreadable", cause });
}
