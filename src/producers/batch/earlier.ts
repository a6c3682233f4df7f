import { BatchId } from "../../core/batch.ts";
import { PermanentError } from "../../core/errors.ts";
import { RequestId } from "../../core/request.ts";
import { isObject } from "./columns.ts";
import { isJson } from "./read.ts";
import { readTable } from "./table.ts";
import { decode } from "./text.ts";

/** What a file of results says of an earlier batch. */
export interface Earlier {
  batch: BatchId;
  /** Rows that were done then, by their number. */
  done: Map<number, DoneBefore>;
}

export interface DoneBefore {
  batch: BatchId;
  /** The request that is the row. */
  requestId: RequestId;
  /** The files that it named. */
  files: string[];
}

/**
 * Reads results.csv or results.json, as a batch gave it or as a spreadsheet saved it again. Throws PermanentError
 * "results-unreadable" for what names no batch.
 */
export async function readEarlier(bytes: Uint8Array): Promise<Earlier> {
  const { batch, rows } = await parse(bytes).catch((error: unknown) => {
    if (error instanceof PermanentError) throw unreadable(error);
    throw error;
  });
  const known = BatchId.safeParse(batch);
  if (!known.success) throw unreadable();
  const done: Earlier["done"] = new Map();
  for (const { row, state, request_id: requestId, files } of rows) {
    const request = RequestId.safeParse(requestId);
    if (state === "done" && request.success)
      done.set(Number(row), { batch: known.data, requestId: request.data, files });
  }
  return { batch: known.data, done };
}

interface Line {
  row: unknown;
  state: unknown;
  request_id: unknown;
  files: string[];
}

async function parse(bytes: Uint8Array): Promise<{ batch: unknown; rows: Line[] }> {
  if (isJson(bytes)) return parseJson(decode(bytes));
  let batch: string | undefined;
  let names: string[] | undefined;
  const rows: Line[] = [];
  for await (const { cells } of readTable(bytes)) {
    if (!names) {
      names = cells.map((cell) => cell.toLowerCase());
      continue;
    }
    const said: Record<string, string | undefined> = Object.fromEntries(names.map((name, i) => [name, cells[i]]));
    batch ??= said["batch"];
    const { row, state, request_id, files = "" } = said;
    rows.push({ row, state, request_id, files: files.split(";").map(toPlain) });
  }
  return { batch, rows };
}

function parseJson(json: string): { batch: unknown; rows: Line[] } {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw unreadable(cause);
  }
  if (!isObject(value) || !Array.isArray(value["rows"])) throw unreadable();
  const rows = value["rows"].filter(isObject).map(({ row, state, request_id, files }) => ({
    ...{ row, state, request_id },
    files: Array.isArray(files) ? files.map(String) : [],
  }));
  return { batch: value["batch"], rows };
}

/** Without what keeps a spreadsheet from calculating it. */
function toPlain(name: string): string {
  return name.trim().replace(/^'(?=[=+\-@])/, "");
}

function unreadable(cause?: unknown): PermanentError {
  const message = "It is called like the results of a batch, and names no batch in its column batch";
  return new PermanentError(message, { code: "results-unreadable", cause });
}
