import { PermanentError } from "../../core/errors.ts";
import { type Manifest, type ManifestFrame, findRepeatedKey, readManifest } from "../manifest.ts";
import {
  FILES,
  fromJson,
  type Header,
  isObject,
  type RawRow,
  readHeader,
  type RowProblem,
  toRawRow,
  toRowProblems,
} from "./columns.ts";
import { readTable } from "./table.ts";
import { decode, unreadable } from "./text.ts";

/** The provider takes this many in one request, and a row is one. @source docs/provider.md §Upload */
const ROW_FILES_MOST = 10;

/** A row as it can be submitted, or what is wrong with it. */
export type ReadRow = { row: number; files: string[]; reference?: string | undefined } & (
  { manifest: Manifest; problems?: undefined } | { problems: RowProblem[] }
);

/**
 * The rows of batch.csv or batch.json, told apart by what is in them, each checked as a manifest. Throws PermanentError
 * for what is wrong with the whole: "table-unreadable", "table-columns" with the columns in `fields`, "table-empty",
 * "too-many-rows".
 */
export async function* readBatch(
  bytes: Uint8Array,
  { maxRows, frame }: { maxRows: number; frame?: ManifestFrame | undefined },
): AsyncGenerator<ReadRow, void, undefined> {
  let rows = 0;
  for await (const raw of isJson(bytes) ? readJsonRows(bytes) : readTableRows(bytes)) {
    rows += 1;
    if (rows > maxRows) {
      throw new PermanentError(`The table has more than ${maxRows} rows, which is the most: split it.`, {
        code: "too-many-rows",
      });
    }
    yield check(raw, frame);
  }
  if (rows === 0) throw new PermanentError("The table has no row below its header.", { code: "table-empty" });
}

/** Whether it is batch.json, to go by how it begins. */
export function isJson(bytes: Uint8Array): boolean {
  return /^[\s\ufeff\u00ef\u00bb\u00bf]*[{[]/.test(Buffer.from(bytes.subarray(0, 100)).toString("latin1"));
}

async function* readTableRows(bytes: Uint8Array): AsyncGenerator<RawRow, void, undefined> {
  let header: Header | undefined;
  for await (const { row, cells } of readTable(bytes)) {
    if (header) {
      yield toRawRow(row, header, cells);
      continue;
    }
    const read = readHeader(cells);
    const [first] = read.problems;
    if (first) {
      const fields = Object.fromEntries(read.problems.map(({ column, message }) => [column, message]));
      throw new PermanentError(`In row ${row} of the table, column "${first.column}" ${first.message}.`, {
        code: "table-columns",
        fields,
      });
    }
    header = read.header;
  }
}

function* readJsonRows(bytes: Uint8Array): Generator<RawRow, void, undefined> {
  const json = decode(bytes);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw unreadable("must be JSON, as it begins like it: look for a missing quote, comma or brace");
  }
  const twice = findRepeatedKey(json);
  if (twice !== undefined) throw unreadable("names a key twice in one place");
  const { rows, defaults = {}, ...more } = isObject(value) ? value : { rows: value };
  if (!Array.isArray(rows) || !isObject(defaults) || Object.keys(more).length > 0) {
    throw unreadable('must be {"defaults": {…}, "rows": […]}, where the defaults may be left out');
  }
  for (const [i, row] of rows.entries()) yield fromJson(i + 1, row, defaults);
}

function check({ row, files, manifest, problems: found }: RawRow, frame?: ManifestFrame): ReadRow {
  const problems = [...found];
  if (files.length === 0) problems.push({ column: FILES, message: "is empty: name the file that is to be signed" });
  if (files.length > ROW_FILES_MOST) {
    const message = `names ${files.length} files, and one request takes ${ROW_FILES_MOST}: make several rows of it`;
    problems.push({ column: FILES, message });
  }
  const read = readManifest(manifest, frame);
  const { reference: given } = manifest;
  const reference = typeof given === "string" && given.length <= 200 ? given : undefined;
  if (!read.ok) {
    // What was said of a column already is the cause of what is wrong with it here.
    const said = new Set(problems.map(({ column }) => column));
    problems.push(...toRowProblems(read.problems).filter(({ column }) => !said.has(column)));
  }
  if (problems.length > 0 || !read.ok) return { row, files, reference, problems };
  return { row, files, reference, manifest: read.manifest };
}
