import { type BatchRecord, hasRequest, type RowOutcome, rowRequestId } from "../../core/batch.ts";
import type { KeptRow } from "../../files/batches.ts";

/** The columns of results.csv, in order; the fields of results.json have the same names. */
export const RESULT_COLUMNS = [
  "row",
  "reference",
  "files",
  "state",
  "code",
  "reason",
  "request_id",
  "signed_files",
  "sha256",
  "batch",
] as const;

/** What came of a row. Of people it has what the caller wrote as reference and file names, and nothing else. */
export interface RowResult {
  row: number;
  reference?: string;
  files: string[];
  state: string;
  code?: string;
  reason?: string;
  request_id?: string;
  /** Seen from DATA_DIR. */
  signed_files?: string[];
  sha256?: string[];
  /** Whose row it is: by it, results that are handed in again find their batch. */
  batch: string;
}

export function toResult({ id }: Pick<BatchRecord, "id">, kept: KeptRow, outcome: RowOutcome | undefined): RowResult {
  const { row, reference, files, problems } = kept;
  const { state, attempt, code, message, waiting, of, signed } = outcome ?? standard(kept);
  const requestId = hasRequest({ state, ...(code !== undefined && { code }) })
    ? rowRequestId(id, row, attempt)
    : undefined;
  const wrong = problems?.map((problem) => `${problem.column} ${problem.message}`).join("; ");
  const said = message ?? (waiting === undefined ? undefined : `It waits for ${waiting}.`);
  const reason = wrong ?? said;
  return {
    row,
    ...(reference !== undefined && { reference }),
    files,
    state,
    ...(problems && { code: "invalid-row" }),
    ...(!problems && code !== undefined && { code }),
    ...(reason !== undefined && { reason }),
    ...((requestId ?? of) !== undefined && { request_id: requestId ?? of ?? "" }),
    ...(signed && {
      signed_files: signed.map(({ name }) => `signed/${requestId ?? ""}/${name}`),
      sha256: signed.map(({ sha256 }) => sha256),
    }),
    batch: id,
  };
}

/** What is known of a row that nothing was noted of. */
export function standard({ row, problems, signedAs }: Pick<KeptRow, "row" | "problems" | "signedAs">): RowOutcome {
  if (signedAs !== undefined) {
    const message = "It is signed already, as the results that came with the table say";
    return { row, state: "duplicate", attempt: 1, code: "duplicate", message, of: signedAs };
  }
  return { row, state: problems ? "rejected" : "pending", attempt: 1 };
}

/** What became of the rows so far: the last that was noted of each. */
export async function latestOf(outcomes: AsyncIterable<RowOutcome>): Promise<Map<number, RowOutcome>> {
  const latest = new Map<number, RowOutcome>();
  for await (const outcome of outcomes) latest.set(outcome.row, outcome);
  return latest;
}

type Rows = AsyncIterable<KeptRow>;
type Latest = ReadonlyMap<number, RowOutcome>;

/** The results as a table that spreadsheets read: with a byte order mark, without which they take it for another encoding. */
export async function* toCsv(record: BatchRecord, rows: Rows, latest: Latest): AsyncGenerator<string, void, undefined> {
  yield `\ufeff${RESULT_COLUMNS.join(",")}\r\n`;
  for await (const kept of rows) {
    const result = toResult(record, kept, latest.get(kept.row));
    yield toResultLine(result);
  }
}

/** A table of some of the results. */
export function toCsvOf(results: readonly RowResult[]): string {
  return `\ufeff${RESULT_COLUMNS.join(",")}\r\n${results.map(toResultLine).join("")}`;
}

function toResultLine(result: RowResult): string {
  return toLine(RESULT_COLUMNS.map((name) => toSafe(result[name])));
}

/** A line of a table, each cell quoted where it has to be. @source RFC 4180 §2 */
export function toLine(cells: readonly string[]): string {
  return `${cells.map((cell) => (/[",;\r\n\t]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")}\r\n`;
}

/** The same for programs. */
export async function* toJson(
  record: BatchRecord,
  rows: Rows,
  latest: Latest,
): AsyncGenerator<string, void, undefined> {
  const { id, name, state } = record;
  const head = JSON.stringify({ batch: id, ...(name !== undefined && { name }), state });
  yield `${head.slice(0, -1)},"rows":[`;
  let separator = "\n";
  for await (const kept of rows) {
    yield `${separator}${JSON.stringify(toResult(record, kept, latest.get(kept.row)))}`;
    separator = ",\n";
  }
  yield "\n]}\n";
}

/**
 * A cell. What a spreadsheet would carry out as a formula gets an apostrophe in front: it is the caller's text, and not
 * ours to have executed.
 * @source OWASP, "CSV Injection"
 */
function toSafe(value: RowResult[keyof RowResult]): string {
  const text = Array.isArray(value) ? value.join(";") : String(value ?? "");
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}
