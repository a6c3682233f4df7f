import { type ManifestFrame, namedFiles } from "../manifest.ts";
import { isObject } from "./columns.ts";
import { isJson, readBatch } from "./read.ts";
import { toLine } from "./results.ts";
import { readTable } from "./table.ts";
import { decode } from "./text.ts";

/** Some of the rows of a table, as a table of their own. */
export interface Excerpt {
  table: string;
  /** Which row each of them is in there, by the row that it was. */
  rows: Map<number, number>;
  /** Everything that is written in them: names of files are among it, also of rows that could not be read. */
  words: Set<string>;
}

/**
 * The rows of batch.csv or batch.json that are wanted, to be corrected and handed in again; of CSV in UTF-8 with commas,
 * whatever it came in. The table was read before: throws what readBatch throws when it was not.
 */
export async function excerptOf(bytes: Uint8Array, wanted: ReadonlySet<number>): Promise<Excerpt> {
  const words = new Set<string>();
  const rows = new Map<number, number>();
  if (isJson(bytes)) {
    const value = JSON.parse(decode(bytes)) as unknown;
    const { rows: all, defaults } = isObject(value) ? value : { rows: value, defaults: undefined };
    const left = (all as unknown[]).filter((_, i) => wanted.has(i + 1));
    for (const row of [...wanted].sort((a, b) => a - b)) rows.set(row, rows.size + 1);
    addWords(words, [left, defaults]);
    const table = JSON.stringify({ ...(defaults !== undefined && { defaults }), rows: left }, null, 2);
    return { table: `${table}\n`, rows, words };
  }
  const lines: string[] = [];
  for await (const { row, cells } of readTable(bytes)) {
    if (lines.length > 0 && !wanted.has(row)) continue;
    if (lines.length > 0) rows.set(row, lines.length + 1);
    lines.push(toLine(cells.map(unchanged)));
    for (const cell of cells) for (const word of cell.split(";")) words.add(toWord(word));
  }
  return { table: `\ufeff${lines.join("")}`, rows, words };
}

/** Names of the files with which rows show who the signer is; of those for which `isWanted` says so. */
export async function enclosuresNamed(
  bytes: Uint8Array,
  isWanted: (row: number) => boolean,
  frame?: ManifestFrame,
): Promise<Set<string>> {
  const names = new Set<string>();
  for await (const read of readBatch(bytes, { maxRows: Number.POSITIVE_INFINITY, frame })) {
    if (!("manifest" in read) || !isWanted(read.row)) continue;
    for (const { name } of namedFiles(read.manifest.identity)) names.add(toWord(name));
  }
  return names;
}

/** How names of files are compared: systems change how accents are written. */
export function toWord(text: string): string {
  return text.trim().normalize("NFC");
}

/** A cell that spreadsheets make a number of, and lose its plus or its zeros, as they leave it alone. */
function unchanged(cell: string): string {
  return /^[+0]\d+$/.test(cell) ? `="${cell}"` : cell;
}

function addWords(words: Set<string>, value: unknown): void {
  if (typeof value === "string") for (const word of value.split(";")) words.add(toWord(word));
  else if (typeof value === "object" && value !== null) for (const one of Object.values(value)) addWords(words, one);
}
