import { Readable } from "node:stream";
import { type CsvError, parse } from "csv-parse";
import { decode, delimiterOf, unreadable } from "./text.ts";

/** More than any row of people's has; a quote that is never closed would take in the whole file. */
const ROW_MOST_LETTERS = 1 << 20;
const PIECE_LETTERS = 64 * 1024;

/** A row of a table, as the spreadsheet counts: the header is row 1. */
export interface TableRow {
  row: number;
  cells: string[];
}

/**
 * The rows of a table as spreadsheets and people write it: whatever separates the cells and whatever the encoding, with
 * quotes or without. Rows in which nothing stands are counted and left out. Throws PermanentError "table-unreadable",
 * with the row.
 */
export async function* readTable(bytes: Uint8Array): AsyncGenerator<TableRow, void, undefined> {
  const text = decode(bytes);
  const { delimiter, from } = delimiterOf(text);
  const parser = parse({
    delimiter,
    // Not the first that is found: a table that was put together of two has both.
    record_delimiter: ["\r\n", "\n", "\r"],
    relax_column_count: true,
    max_record_size: ROW_MOST_LETTERS,
  });
  const source = Readable.from(piecesOf(text, from), { objectMode: false });
  source.on("error", (error) => parser.destroy(error)).pipe(parser);
  let row = 0;
  try {
    for await (const record of parser as AsyncIterable<string[]>) {
      row += 1;
      const cells = record.map(trimmed);
      while (cells.at(-1) === "") cells.pop();
      if (cells.length > 0) yield { row, cells };
    }
  } catch (error) {
    throw toRefusal(error);
  } finally {
    source.destroy();
    parser.destroy();
  }
}

function* piecesOf(text: string, from: number): Generator<string, void, undefined> {
  for (let at = from; at < text.length;) {
    let end = Math.min(at + PIECE_LETTERS, text.length);
    // A letter that takes two units must not be torn apart.
    if (end < text.length && /[\uD800-\uDBFF]/.test(text.charAt(end - 1))) end += 1;
    yield text.slice(at, end);
    at = end;
  }
}

/** Without the spaces around it, those included that do not break, and without what a spreadsheet puts around text. */
function trimmed(cell: string): string {
  const bare = cell.replaceAll(/^[\s\u00a0\u200b\ufeff]+|[\s\u00a0\u200b\ufeff]+$/gu, "");
  // ="+34699…" is how people keep a spreadsheet from making a number of it.
  return /^="(.*)"$/su.exec(bare)?.[1] ?? bare;
}

/** What the parser objects to, in words. @source https://csv.js.org/parse/errors/ */
const OBJECTIONS: Record<string, string> = {
  CSV_QUOTE_NOT_CLOSED: "begins with a quote that is never closed",
  CSV_INVALID_CLOSING_QUOTE: "has text behind a closing quote: write a quote inside of quotes twice",
  INVALID_OPENING_QUOTE:
    "has a quote inside of a cell that does not begin with one: put the cell in quotes, and write that quote twice",
  CSV_MAX_RECORD_SIZE: "is longer than a row can be: look for a quote that is never closed",
};

function toRefusal(error: unknown): unknown {
  // What is known of it besides its code is how many rows were in order before.
  const { code, records } = (error ?? {}) as Partial<CsvError> & { records?: unknown };
  if (code === undefined || !(code in OBJECTIONS)) return error;
  // The parser's own message quotes the cell.
  return unreadable(`cannot be read from row ${Number(records) + 1} on: it ${OBJECTIONS[code]}`);
}
