import { z } from "zod";
import { ENCLOSURES, Identification } from "../../core/identity.ts";
import { Signer } from "../../core/signing.ts";
import { WORKFLOWS } from "../../core/workflow.ts";
import { Approval, Delivery, Format } from "../../core/signing.ts";
import type { ManifestProblem } from "../manifest.ts";
import { FILES, toColumnName } from "./headings.ts";
import { damageOf, PHONES, toBoolean, toPercent, toPhone } from "./spreadsheet.ts";

export { FILES };

/** Where what stands in a column goes in a manifest. */
interface Column {
  name: string;
  path: readonly string[];
  schema: z.ZodType;
  says: string;
  kind?: "boolean" | "number";
}

const text = z.string().min(1);
const SIGNER_SAYS: Record<string, string> = {
  email: "The signer's e-mail address.",
  mobile_phone_number: "The signer's mobile phone, like +34699999999.",
};
const OcrFields = Object.keys(Identification.shape.ocr_data.unwrap().shape);
const Checks = Object.keys({
  ...{ otp_validation: 0, documents_match: 0, data_integrity: 0, document_notcopy: 0 },
  ...{ document_notexpired: 0, document_notunderage: 0, liveliness: 0 },
});

/** Between the names of files in one cell: a semicolon, or a new line within the cell. */
const SEPARATOR = /[;\r\n]/;
/** Names that would change how objects behave instead of being data. */
const FORBIDDEN = ["__proto__", "constructor", "prototype"];

/** Every column but `files`: the manifest's fields, flat. */
const COLUMNS: readonly Column[] = [
  { name: "reference", path: ["reference"], schema: text, says: "Your own id; results and requests have it." },
  ...Object.entries(Signer.shape).map(([name, schema]) => ({
    ...{ name, path: ["signer", name], schema },
    says: SIGNER_SAYS[name] ?? `The signer's ${name.replaceAll("_", " ").replace(/ (\d)$/, " $1")}.`,
  })),
  { name: "workflow", path: ["workflow"], schema: z.enum(WORKFLOWS), says: "How the signer is identified." },
  { name: "tenant", path: ["tenant"], schema: text, says: "On whose account." },
  { name: "rao", path: ["rao"], schema: text, says: "Which of the tenant's registration officers, by name." },
  { name: "profile", path: ["profile"], schema: text, says: "Certificate profile." },
  { name: "registration_authority", path: ["registration_authority"], schema: text, says: "Its number." },
  {
    name: "authentication",
    path: ["authentication", "method"],
    schema: z.enum(["sms", "external"]),
    says: "How the signer confirms.",
  },
  {
    name: "authentication_type",
    path: ["authentication", "type"],
    schema: text,
    says: "Of an external authentication.",
  },
  {
    name: "authentication_value",
    path: ["authentication", "value"],
    schema: text,
    says: "Of an external authentication.",
  },
  {
    name: "authentication_secret",
    path: ["authentication", "secret"],
    schema: text,
    says: "Of an external authentication.",
  },
  {
    name: "delivery_method",
    path: ["authentication", "delivery_method"],
    schema: Delivery,
    says: "How the code travels.",
  },
  {
    name: "appearance",
    path: ["signature", "appearance"],
    schema: text,
    says: "Name of a template for the visible signature.",
  },
  { name: "format", path: ["signature", "format"], schema: Format, says: "What comes back." },
  { name: "approval", path: ["approval"], schema: Approval, says: "Who approves the identification." },
  { name: "callback_url", path: ["callback_url"], schema: text, says: "Told about the row's request." },
  {
    name: "useasync",
    path: ["useasync"],
    schema: z.boolean(),
    says: "Signed in the background; classic only.",
    kind: "boolean",
  },
  ...ENCLOSURES.map((name) => ({
    ...{ name, path: ["identity", name], schema: text },
    says: "Name of a file that shows who the signer is.",
  })),
  ...OcrFields.map((name) => ({
    ...{ name: `ocr_${name}`, path: ["identity", "ocr_data", name], schema: text },
    says: "As read off the identity document; videoid-external only.",
  })),
  ...Checks.map((name) => ({
    ...{ name: `check_${name}`, path: ["identity", "security_checks", name], schema: z.boolean() },
    ...{ says: "A check that you made; videoid-external only.", kind: "boolean" as const },
  })),
  {
    ...{
      name: "similarity_level",
      path: ["identity", "similarity_level"],
      schema: z.union([z.enum(["low", "medium", "high"]), z.int().min(0).max(100)]),
    },
    says: "low, medium, high, or 0 to 100; videoid-external only.",
  },
];
const PERCENT = "similarity_level";
const BY_NAME = new Map(COLUMNS.map((column) => [column.name, column]));
/** What results have besides; where they are handed in again, it is not data. */
const OF_RESULTS = ["batch", "row", "state", "code", "reason", "request_id", "signed_files", "sha256"];
/** A problem of a row: in which column, and what must be so, as the end of a sentence that begins with it. */
export interface RowProblem {
  column: string;
  message: string;
}

/** A column without a heading. */
export const NO_HEADING = "";
/** What each column of a table is; undefined for one that is left out, as those of results are. */
export type Header = readonly (string | undefined)[];

/**
 * What the columns of a table are, by its first row. Case, spaces and dashes play no part. Problems name columns that are
 * not known, with the nearest that is, and those that are there twice.
 */
export function readHeader(cells: readonly string[]): { header: Header; problems: RowProblem[] } {
  const problems: RowProblem[] = [];
  const [only = "", ...more] = cells;
  if (more.length === 0 && /[,;\t|]/.test(only)) {
    const message =
      "has the whole header in one cell: the table was opened with another separator and saved again; split it into columns in the spreadsheet, or export it anew";
    return { header: [], problems: [{ column: shown(only), message }] };
  }
  const seen = new Set<string>();
  const header = cells.map((cell, i) => {
    if (cell === "") return NO_HEADING;
    const name = toColumnName(cell);
    if (OF_RESULTS.includes(name)) return undefined;
    if (name !== FILES && !BY_NAME.has(name)) {
      problems.push({ column: shown(cell), message: `is not a column that is known here${hintFor(name)}` });
      return undefined;
    }
    if (seen.has(name))
      problems.push({ column: shown(cell), message: `is there twice (column ${i + 1}): keep one of them` });
    seen.add(name);
    return name;
  });
  const [first] = problems;
  if (first && seen.size === 0) first.message += ", nor is any other in this row: the header must be the first row";
  if (!seen.has(FILES)) problems.push({ column: FILES, message: "is missing: a column has to name each row's file" });
  return { header, problems };
}

function hintFor(name: string): string {
  const known = [FILES, ...BY_NAME.keys()].map((one) => ({ one, away: distance(name, one) }));
  const [best] = known.sort((a, b) => a.away - b.away);
  return best && best.away <= Math.max(2, Math.floor(name.length / 3)) ? `: is "${best.one}" meant?` : "";
}

/** How many letters must be changed, added or taken away (Levenshtein). Long names are not compared to the end. */
function distance(a: string, b: string): number {
  const left = a.slice(0, 40);
  let before = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= left.length; i++) {
    const here = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = left[i - 1] === b[j - 1] ? 0 : 1;
      here.push(Math.min((here[j - 1] ?? 0) + 1, (before[j] ?? 0) + 1, (before[j - 1] ?? 0) + same));
    }
    before = here;
  }
  return before[b.length] ?? 0;
}

/** A row before it is checked: the names of its files, and a manifest in the making. */
export interface RawRow {
  row: number;
  files: string[];
  manifest: Record<string, unknown>;
  /** What is wrong with it already. */
  problems: RowProblem[];
}

/** A row of a table as it is meant. */
export function toRawRow(row: number, header: Header, cells: readonly string[]): RawRow {
  const raw: RawRow = { row, files: [], manifest: {}, problems: [] };
  if (cells.length > header.length) {
    const message = `has a cell in column ${header.length + 1}, and the header ends with column ${header.length}: look for a separator or a quote too many`;
    raw.problems.push({ column: "row", message });
  }
  for (const [i, cell] of cells.entries()) {
    const name = header[i];
    if (name === undefined || cell === "") continue;
    if (name === NO_HEADING) {
      // Left out, it would be left out in silence.
      const message = `has a cell in column ${i + 1}, which has no heading: give it one, or empty the column`;
      raw.problems.push({ column: "row", message });
      continue;
    }
    if (name === FILES) raw.files = splitFiles(cell);
    else put(raw, name, cell);
  }
  return raw;
}

function splitFiles(cell: string): string[] {
  return cell
    .split(SEPARATOR)
    .map((one) => one.trim())
    .filter((one) => one !== "");
}

function put(raw: RawRow, name: string, cell: string): void {
  const column = BY_NAME.get(name);
  if (!column) return;
  const problem = damageOf(name, cell) ?? formProblem(column, cell);
  if (problem) raw.problems.push({ column: name, message: problem });
  set(raw.manifest, column.path, toValue(column, cell));
}

/** In small letters, or in capitals, however they were written. */
const SMALL = ["workflow", "format", "delivery_method", "approval", "authentication"];
const CAPITAL = ["id_document_type", "id_document_country", "ocr_id_document_type", "ocr_id_document_country"];

function toValue({ kind, name }: Column, cell: string): unknown {
  if (PHONES.includes(name)) return toPhone(cell);
  if (kind === "boolean") return toBoolean(cell);
  if (name === PERCENT) return toPercent(cell);
  if (SMALL.includes(name)) return cell.toLowerCase();
  if (CAPITAL.includes(name)) return cell.toUpperCase();
  return cell;
}

/** What must be so where a cell is no value of its column, in words for whoever fills in cells. */
function formProblem(column: Column, cell: string): string | undefined {
  const isGood = column.schema.safeParse(toValue(column, cell)).success;
  if (isGood) return undefined;
  if (column.kind === "boolean") return "must be true or false";
  if (column.name !== PERCENT) return undefined;
  return "must be low, medium, high, or a whole number from 0 to 100";
}

function set(into: Record<string, unknown>, [first = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    into[first] = value;
    return;
  }
  const inner = into[first];
  const isObject = typeof inner === "object" && inner !== null;
  const below = isObject ? (inner as Record<string, unknown>) : {};
  into[first] = below;
  set(below, rest, value);
}

/**
 * A row of batch.json as it is meant: what a column has, under its name; and what a manifest has, as it is. `defaults`
 * holds for what the row does not say.
 */
export function fromJson(row: number, given: unknown, defaults: Record<string, unknown>): RawRow {
  const raw: RawRow = { row, files: [], manifest: {}, problems: [] };
  if (!isObject(given)) {
    raw.problems.push({ column: "row", message: "must be an object in braces" });
    return raw;
  }
  for (const [key, value] of [...Object.entries(defaults), ...Object.entries(given)]) {
    const name = BY_NAME.has(key) ? key : toColumnName(key);
    const column = BY_NAME.get(name);
    if (value === null) continue;
    if (FORBIDDEN.includes(key)) {
      raw.problems.push({ column: key, message: "is not a key that is known here" });
      continue;
    }
    if (name === FILES) raw.files = toNames(value, raw.problems);
    else if (isObject(value)) set(raw.manifest, [key], merged(raw.manifest[key], value));
    else if (column && typeof value === "string") put(raw, name, value.trim());
    else set(raw.manifest, column?.path ?? [key], value);
  }
  return raw;
}

function toNames(value: unknown, problems: RowProblem[]): string[] {
  if (typeof value === "string") return splitFiles(value);
  if (Array.isArray(value) && value.every((one): one is string => typeof one === "string")) return value;
  problems.push({ column: FILES, message: "must be the name of a file, or a list of names" });
  return [];
}

function merged(earlier: unknown, later: Record<string, unknown>): Record<string, unknown> {
  return isObject(earlier) ? { ...earlier, ...later } : later;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is wrong with a manifest, told with the column. */
export function toRowProblems(problems: readonly ManifestProblem[]): RowProblem[] {
  return problems.map(({ field, message }) => {
    const column = COLUMNS.find(({ path }) => path.join(".") === field);
    return { column: column?.name ?? (field === "manifest" ? "row" : field), message };
  });
}

/** The JSON Schema of a row: of one in batch.json, and of the columns of a table. */
export function rowJsonSchema(): object {
  const shape = Object.fromEntries(COLUMNS.map(({ name, schema, says }) => [name, schema.optional().describe(says)]));
  const files = z
    .union([text, z.array(text).min(1)])
    .describe(
      'Name of the file that is signed, or its address (https, of hosts in DOCUMENT_HOSTS); or several: in a table with ";" or new lines between them, in JSON also as a list.',
    );
  const Row = z.object({ [FILES]: files, ...shape }).meta({
    title: "signpipe batch row",
    description:
      "A row of batch.csv, whose columns have these names, or of batch.json, where it may also have what a manifest has.",
  });
  return z.toJSONSchema(Row, { io: "input", unrepresentable: "any" });
}

/** A text of somebody's as it may be shown: short, and without what a person could not see. */
export function shown(cell: string): string {
  const clean = cell.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
  return clean.length > 60 ? `${clean.slice(0, 60)}…` : clean;
}
