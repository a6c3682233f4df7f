import { createHash } from "node:crypto";
import {
  type BatchId,
  type BatchRecord,
  type BatchState,
  type RowCounts,
  type RowState,
  toBatchId,
} from "../../core/batch.ts";
import { PermanentError } from "../../core/errors.ts";
import { randomText } from "../../core/random.ts";
import type { Source } from "../../core/request.ts";
import type { Appearances } from "../../files/appearances.ts";
import { type BatchFolders, type Incoming, noSuchBatch, type ResultName } from "../../files/batches.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { RowSeals } from "../../queues/row-seals.ts";
import type { ManifestFrame } from "../manifest.ts";
import { type BatchFile, type BatchReport, createCheck } from "./check.ts";
import type { Earlier } from "./earlier.ts";
import { BatchProgress } from "./feeder.ts";
import { mayBeTriedAgain } from "./outcome.ts";
import { latestOf, type RowResult, standard, toCsv, toJson, toResult } from "./results.ts";

/** What is said of a batch besides its rows. */
export interface BatchWishes {
  source: Source;
  name?: string | undefined;
  by: string;
  tenant?: string | undefined;
  /** What holds for its rows because of where it was handed in. */
  frame?: ManifestFrame | undefined;
  priority: number;
  /** One row goes ahead, the others wait until it is done. */
  canary: boolean;
  /** What was done before, by the results of an earlier batch that came with the table. */
  earlier?: Earlier["done"] | undefined;
}

/** What became of a batch that was handed in. */
export type BatchTaken =
  | { outcome: "accepted" | "known"; record: BatchRecord; report: BatchReport }
  /** All rows have problems: there is nothing to do. `results` says which, until what came in is discarded. */
  | { outcome: "refused"; report: BatchReport; results: () => Promise<RowResult[]> };

/** A batch as it is told. */
export interface BatchStanding {
  record: BatchRecord;
  /** Not there until the process that feeds has looked at it for the first time. */
  progress: BatchProgress | undefined;
}

/** Whether nothing more happens to it by itself, and all of that is written down. */
export function isOver({ record, progress }: BatchStanding): boolean {
  const { state, asked, rows } = record;
  return (state === "done" || state === "cancelled") && asked === undefined && progress?.over === rows;
}

export type BatchDoor = ReturnType<typeof createBatchDoor>;

/**
 * All that the outside may do with batches. Methods that name one throw PermanentError "no-such-batch"; those that act on
 * one "not-possible-now", and what the disk says.
 */
export function createBatchDoor({
  folders,
  pipeline,
  appearances,
  seals,
  digest,
  whyNotFetched,
  maxRows,
  maxTableBytes,
  maxDocumentBytes,
  maxBytes,
  now = Date.now,
}: {
  folders: BatchFolders;
  pipeline: Pick<Pipeline, "mustBeAllowed">;
  appearances: Pick<Appearances, "fit">;
  seals: Pick<RowSeals, "create">;
  /** A keyed digest of at least 16 bytes: an id that follows from an Idempotency-Key tells nothing about it. */
  digest: (text: string) => Uint8Array;
  /** Why a document may not be fetched from an address, as the end of a sentence. Without it none may. */
  whyNotFetched?: (url: string) => string | undefined;
  maxRows: number;
  /** Largest table, in bytes; it is read as a whole. */
  maxTableBytes: number;
  maxDocumentBytes: number;
  /** All files of a batch together, in bytes. */
  maxBytes: number;
  now?: () => number;
}) {
  const check = createCheck({ pipeline, appearances, whyNotFetched, digest, maxBytes: maxDocumentBytes });

  async function must(id: BatchId): Promise<BatchRecord> {
    const record = await folders.find(id);
    if (!record) throw noSuchBatch();
    return record;
  }

  async function standing(record: BatchRecord): Promise<BatchStanding> {
    return { record, progress: BatchProgress.safeParse(await folders.readProgress(record.id)).data };
  }

  /** Changes the state, from one of these. */
  async function move(id: BatchId, from: readonly BatchState[], to: BatchState, what: string): Promise<BatchRecord> {
    return await folders.change(
      id,
      ({ state }) => {
        if (!from.includes(state)) throw notNow(id, state, what);
        return { state: to, held: undefined };
      },
      now(),
    );
  }

  /** How many rows could be tried again as they are. */
  async function countRetriable(id: BatchId): Promise<number> {
    await must(id);
    const latest = await latestOf(folders.outcomes(id));
    let count = 0;
    for await (const kept of folders.rows(id)) {
      if (standard(kept).state === "pending" && mayBeTriedAgain(latest.get(kept.row) ?? standard(kept))) count += 1;
    }
    return count;
  }

  /** With what the earlier batches know of the rows themselves, as far as they are there. */
  async function withPrints(earlier: Earlier["done"]) {
    const prints = new Map<string, string>();
    for (const batch of new Set([...earlier.values()].map((one) => one.batch))) {
      if (!(await folders.find(batch))) continue;
      for await (const { row, print } of folders.rows(batch)) if (print) prints.set(`${batch} ${row}`, print);
    }
    const all = [...earlier].map(([row, one]) => [row, { ...one, print: prints.get(`${one.batch} ${row}`) }] as const);
    return new Map(all);
  }

  return {
    limits: { maxRows, maxTableBytes, maxDocumentBytes, maxBytes },

    /**
     * The id of a batch that is handed in under this Idempotency-Key (with whose it is): the same one every time, so
     * that a repetition finds it, whatever Redis has forgotten. A new one without a key.
     */
    idFor: (key: string | undefined): BatchId =>
      toBatchId(digest(key === undefined ? `new ${randomText(24)}` : `key ${key}`)),

    begin: (id: BatchId): Promise<Incoming> => folders.begin(id),

    /**
     * Checks what has come in and makes it a batch, in one step. A batch of this id with the same content is "known".
     * Throws PermanentError "batch-mismatch" for one with other content; "table-unreadable", "table-columns",
     * "table-empty" and "too-many-rows"; and what the disk says.
     */
    async take(
      id: BatchId,
      incoming: Incoming,
      { table, files }: { table: Uint8Array; files: readonly BatchFile[] },
      wishes: BatchWishes,
    ): Promise<BatchTaken> {
      const bodyHash = hashOf(table, files, wishes);
      const { source, name, by, tenant, frame, priority, canary, earlier } = wishes;
      const key = seals.create(id);
      const done = earlier && (await withPrints(earlier));
      const { rows, report } = check(table, { files, maxRows, tenant, frame, earlier: done, seal: key.seal });
      await incoming.write(key.wrapped, rows);
      const known = await folders.find(id);
      if (known) return replay(known, bodyHash, report);
      if (report.good === 0) return { outcome: "refused", report, results: () => resultsOf({ id }, incoming) };
      const atMs = now();
      const record: BatchRecord = {
        format: 1,
        version: 1,
        id,
        source,
        ...(name !== undefined && { name }),
        by,
        ...(tenant !== undefined && { tenant }),
        priority,
        state: canary ? "canary" : "running",
        rows: report.rows,
        bodyHash,
        createdMs: atMs,
        updatedMs: atMs,
      };
      if (await incoming.commit(record)) return { outcome: "accepted", record, report };
      return replay(await must(id), bodyHash, report);
    },

    /** The same check, of which nothing stays. */
    async dryRun(
      incoming: Incoming,
      { table, files }: { table: Uint8Array; files: readonly BatchFile[] },
      { tenant }: Pick<BatchWishes, "tenant">,
    ): Promise<BatchReport> {
      const { rows, report } = check(table, { files, maxRows, tenant, seal: () => "" });
      for await (const _row of rows); // only the report is wanted
      await incoming.discard();
      return report;
    },

    find: (id: BatchId) => folders.find(id),
    get: async (id: BatchId): Promise<BatchStanding> => standing(await must(id)),

    /** Newest first; with `before`, those after that one. */
    async list({
      tenant,
      limit,
      before,
    }: {
      tenant?: string | undefined;
      limit: number;
      before?: BatchId | undefined;
    }): Promise<{ items: BatchStanding[]; next: BatchId | undefined }> {
      const found = await Promise.all((await folders.list()).map((id) => folders.find(id)));
      const records = found
        .filter((one): one is BatchRecord => one !== undefined)
        .filter((one) => tenant === undefined || one.tenant === tenant)
        .sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
      const from = before === undefined ? 0 : records.findIndex(({ id }) => id === before) + 1;
      const page = records.slice(from, from + limit);
      const hasMore = from + limit < records.length;
      return { items: await Promise.all(page.map(standing)), next: hasMore ? page.at(-1)?.id : undefined };
    },

    /** What came of the rows, in their order, after row `after`. */
    async rows(
      id: BatchId,
      { state, limit, after = 0 }: { state?: RowState | undefined; limit: number; after?: number | undefined },
    ): Promise<{ items: RowResult[]; next: number | undefined }> {
      const record = await must(id);
      const latest = await latestOf(folders.outcomes(id));
      const items: RowResult[] = [];
      for await (const kept of folders.rows(id)) {
        if (kept.row <= after) continue;
        const result = toResult(record, kept, latest.get(kept.row));
        if (state !== undefined && result.state !== state) continue;
        if (items.length === limit) return { items, next: items.at(-1)?.row };
        items.push(result);
      }
      return { items, next: undefined };
    },

    /** The results as they are now. */
    async results(id: BatchId, name: ResultName): Promise<AsyncGenerator<string, void, undefined>> {
      const record = await must(id);
      const latest = await latestOf(folders.outcomes(id));
      const write = name === "results.csv" ? toCsv : toJson;
      return write(record, folders.rows(id), latest);
    },

    pause: (id: BatchId) => move(id, ["running", "canary"], "paused", "paused"),
    /** The others go on, also when a row went ahead of them. */
    resume: (id: BatchId) => move(id, ["paused", "canary"], "running", "resumed"),
    async setPriority(id: BatchId, priority: number): Promise<BatchRecord> {
      return await folders.change(id, () => ({ priority }), now());
    },
    /** Nothing more is submitted, and what is open is cancelled, where it is not too late. */
    cancel: (id: BatchId, by: string) =>
      folders.change(
        id,
        ({ state, asked }) => {
          if (state === "done" || state === "cancelled") throw notNow(id, state, "cancelled");
          return { state: "cancelled", held: undefined, asked: { what: "cancel", n: (asked?.n ?? 0) + 1, by } };
        },
        now(),
      ),
    /**
     * Has tried again what failed, expired, was cancelled, or was refused when it was submitted; nothing else. Asked once
     * more for the same `once`, it changes nothing. Throws PermanentError "batch-erased", and "nothing-to-retry" where
     * nothing has ended so. With `mustBeOver` also "not-possible-now" for a batch that is not over.
     */
    async retry(
      id: BatchId,
      by: string,
      { once, mustBeOver = false }: { once?: string; mustBeOver?: boolean } = {},
    ): Promise<BatchRecord> {
      const retriable = await countRetriable(id);
      return await folders.change(
        id,
        ({ state, asked, erasedMs, retriedFor, rows }) => {
          if (once !== undefined && retriedFor === once) return undefined;
          if (erasedMs !== undefined && retriable > 0) {
            const message = `The rows of batch ${id} were erased: hand in anew what is to be tried again`;
            throw new PermanentError(message, { code: "batch-erased" });
          }
          // What was asked before is not carried out yet.
          if (asked) throw notNow(id, `being ${asked.what === "cancel" ? "cancelled" : "retried"}`, "retried");
          const isOver = state === "done" || state === "cancelled";
          if (mustBeOver && !isOver) throw notNow(id, `not over, it is ${state}`, "retried");
          if (retriable === 0) throw nothingToRetry(id, isOver, rows);
          const isHeld = state === "paused" || state === "canary";
          const mark = once === undefined ? {} : { retriedFor: once };
          return { state: isHeld ? state : "running", asked: { what: "retry", n: 1, by }, ...mark };
        },
        now(),
      );
    },
  };
}

async function resultsOf(batch: Pick<BatchRecord, "id">, incoming: Pick<Incoming, "rows">): Promise<RowResult[]> {
  const results: RowResult[] = [];
  for await (const kept of incoming.rows()) results.push(toResult(batch, kept, undefined));
  return results;
}

function replay(record: BatchRecord, bodyHash: string, report: BatchReport): BatchTaken {
  if (record.bodyHash === bodyHash) return { outcome: "known", record, report };
  throw new PermanentError("This Idempotency-Key was used for another batch; use a new key for a new one.", {
    code: "idempotency-mismatch",
  });
}

function notNow(id: BatchId, state: string, what: string): PermanentError {
  return new PermanentError(`Batch ${id} is ${state}: it cannot be ${what} now`, { code: "not-possible-now" });
}

function nothingToRetry(id: BatchId, isOver: boolean, rows: number): PermanentError {
  const message = isOver
    ? `Nothing of batch ${id} has failed, expired or was cancelled: of its ${rows} rows there is none to try again. Rows that were rejected are corrected in the table, and handed in anew`
    : `Nothing of batch ${id} has failed so far, and it is not over: there is nothing to try again`;
  return new PermanentError(message, { code: "nothing-to-retry" });
}

function hashOf(table: Uint8Array, files: readonly BatchFile[], { canary, tenant }: BatchWishes): string {
  const hash = createHash("sha256").update(table);
  const named = files.map(({ name, sha256 }) => [name, sha256]).sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
  return hash.update(JSON.stringify([named, canary, tenant])).digest("hex");
}

/** Rows by state, as far as is known. */
export function countsOf({ record, progress }: BatchStanding): RowCounts {
  return (progress?.counts as RowCounts | undefined) ?? { pending: record.rows };
}
