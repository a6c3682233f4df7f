import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { Call, Calls } from "./calls.ts";
import type { ActOptions, CallOptions } from "./client.ts";
import { type DocumentSent, type Field, toMultipart } from "./documents.ts";
import { passOn, type Passed } from "./download.ts";
import { SignpipeError, underKey } from "./error.ts";
import { type AnyRequestEvent, followAll, type FollowOptions } from "./events.ts";
import type {
  Batch,
  BatchColumns,
  BatchList,
  BatchReport,
  BatchRow,
  BatchRowList,
  Manifest,
  RowState,
} from "./schema.ts";
import { deadline } from "./wait.ts";

/** A row: the columns of a table, and whatever else a manifest has. `files` names what is sent beside the table. */
export type BatchLine = BatchColumns & Partial<Omit<Manifest, keyof BatchColumns>>;

/** The table: rows, or a file with one (CSV or JSON), by its path or as bytes. */
export type BatchTable = DocumentSent | { rows: readonly BatchLine[]; defaults?: Partial<BatchLine> | undefined };

/** The files that rows name, under these names, each once. */
export type BatchFiles = readonly DocumentSent[];

export interface BatchOptions extends ActOptions {
  /** What you call it. */
  name?: string | undefined;
  /** How many turns it gets beside other batches, 1 to 10; 5 when not given. */
  priority?: number | undefined;
  /** One row goes ahead, and the others follow when it is done. */
  canary?: boolean | undefined;
}

export interface BatchSubmitted {
  batch: Batch;
  /** What is wrong with rows that are not submitted. */
  report: BatchReport;
  /** It was accepted before, under the same key. */
  replayed: boolean;
  idempotencyKey: string;
}

export interface BatchWaitOptions extends CallOptions {
  /** What is waited for; that it is over, when not given. */
  until?: ((batch: Batch) => boolean) | undefined;
  /** In milliseconds; for ever when not given. */
  timeoutMs?: number | undefined;
  /** How often is asked, in milliseconds; 2 s when not given. What the server counts is a second or so old. */
  pollMs?: number | undefined;
}

const POLL_MS = 2_000;

export type Batches = ReturnType<typeof createBatches>;

/** The calls for batches. They reject like those of the client itself. */
export function createBatches(calls: Calls, { uploadTimeoutMs }: { uploadTimeoutMs: number }) {
  const at = (id: string, rest = "") => `/v1/batches/${encodeURIComponent(id)}${rest}`;

  async function get(id: string, { signal }: CallOptions = {}): Promise<Batch> {
    return (await calls.json<Batch>({ path: at(id), signal })).value;
  }

  /** No key is known for these: they are made again only when they surely had no effect. */
  async function act(id: string, what: string, json?: unknown, { signal }: CallOptions = {}): Promise<Batch> {
    const call: Call = { method: "POST", path: at(id, `/${what}`), ...(json !== undefined && { json }), signal };
    return (await calls.json<Batch>(call)).value;
  }

  async function rowsPage(
    id: string,
    filters: { state?: RowState | undefined; limit?: number | undefined; cursor?: string | undefined } = {},
    { signal }: CallOptions = {},
  ): Promise<BatchRowList> {
    return (await calls.json<BatchRowList>({ path: at(id, "/rows"), query: { ...filters }, signal })).value;
  }

  async function* progress(
    id: string,
    { signal, pollMs = POLL_MS }: Pick<BatchWaitOptions, "signal" | "pollMs"> = {},
  ): AsyncGenerator<Batch, void, undefined> {
    for (let last = ""; ;) {
      const batch = await get(id, { signal });
      // When it will be over is estimated anew each time: that alone is no news.
      const news = JSON.stringify({ ...batch, estimated_finish_at: undefined });
      if (news !== last) yield batch;
      last = news;
      if (isBatchOver(batch)) return;
      await pause(pollMs, undefined, { ...(signal && { signal }) });
    }
  }

  return {
    /**
     * Hands a batch in. Every row is checked; those that cannot be used are named in `report`, and keep no other back. With
     * the same Idempotency-Key the call is made again as long as that may help, and makes nothing twice.
     */
    async submit(
      table: BatchTable,
      files: BatchFiles,
      { idempotencyKey = randomUUID(), signal, ...options }: BatchOptions = {},
    ): Promise<BatchSubmitted> {
      const sending = await toBody(table, files, options);
      const headers = { "idempotency-key": idempotencyKey };
      const call = { method: "POST", path: "/v1/batches", isSafe: true, timeoutMs: uploadTimeoutMs, signal } as const;
      const { value, headers: answered } = await underKey(idempotencyKey, () =>
        calls.json<Pick<BatchSubmitted, "batch" | "report">>({ ...call, headers, sending }),
      );
      return { ...value, replayed: answered.get("idempotency-replayed") === "true", idempotencyKey };
    },

    /** Has all of it checked, and nothing kept. */
    async dryRun(table: BatchTable, files: BatchFiles, { signal }: CallOptions = {}): Promise<BatchReport> {
      const sending = await toBody(table, files, {});
      const call = { method: "POST", path: "/v1/batches", isSafe: true, timeoutMs: uploadTimeoutMs, signal } as const;
      return (await calls.json<{ report: BatchReport }>({ ...call, query: { dry_run: "true" }, sending })).value.report;
    },

    get,

    /** All batches that the key may see, newest first, a page at a time as they are read. */
    async *list({ limit, signal }: CallOptions & { limit?: number } = {}): AsyncGenerator<Batch, void, undefined> {
      for (let cursor: string | undefined; ;) {
        const query = { limit, cursor };
        const page: BatchList = (await calls.json<BatchList>({ path: "/v1/batches", query, signal })).value;
        yield* page.items;
        if (page.next_cursor === null) return;
        cursor = page.next_cursor;
      }
    },

    rowsPage,

    /** What became of the rows until now, in their order, a page at a time as they are read. */
    async *rows(
      id: string,
      filters: { state?: RowState | undefined; limit?: number | undefined } = {},
      options: CallOptions = {},
    ): AsyncGenerator<BatchRow, void, undefined> {
      for (let cursor: string | undefined; ;) {
        const page: BatchRowList = await rowsPage(id, { ...filters, cursor }, options);
        yield* page.items;
        if (page.next_cursor === null) return;
        cursor = page.next_cursor;
      }
    },

    /** The batch as it is, and again whenever it has moved on; ends when all of it is over. */
    progress,

    /**
     * Waits until all rows are over, or until it is as said, and gives the batch. Rejects with SignpipeError
     * "ended-otherwise" when it is over and is not, and "wait-timeout".
     */
    async wait(id: string, { until = isBatchOver, timeoutMs, signal, pollMs }: BatchWaitOptions = {}): Promise<Batch> {
      const within = deadline({ timeoutMs, signal }, "The batch");
      return await within.run(async (options) => {
        let last: Batch | undefined;
        for await (const batch of progress(id, { ...options, pollMs })) {
          if (until(batch)) return batch;
          last = batch;
        }
        throw new SignpipeError("ended-otherwise", `The batch is ${last?.state}, and not what was waited for.`);
      });
    },

    /** Follows the requests that its rows become, from now on or from `lastEventId` on; has no end. */
    events: (id: string, options: FollowOptions = {}): AsyncGenerator<AnyRequestEvent, void, undefined> =>
      followAll(calls, { batch: id }, options),

    /** The results as a file: as many rows as were handed in, each with what came of it until now. */
    results: (id: string, form: "csv" | "json", options: CallOptions = {}): Promise<Passed> =>
      passOn(calls, at(id, `/results.${form}`), options),

    /** Has no more rows submitted; what was submitted goes on. */
    pause: (id: string, options?: CallOptions) => act(id, "pause", undefined, options),
    /** Has rows submitted again. */
    resume: (id: string, options?: CallOptions) => act(id, "resume", undefined, options),
    /** Has no more rows submitted, and open requests cancelled. */
    cancel: (id: string, options?: CallOptions) => act(id, "cancel", undefined, options),
    /** Has tried again what did not end well; never what is done or open. */
    retry: (id: string, options?: CallOptions) => act(id, "retry", undefined, options),
    /** Gives it another priority, 1 to 10. */
    setPriority: (id: string, priority: number, options?: CallOptions) => act(id, "priority", { priority }, options),
  };
}

/** Whether every row is over, and nothing that was asked is still to be carried out. */
export function isBatchOver({ state, asked, over, rows }: Batch): boolean {
  return (state === "done" || state === "cancelled") && asked === undefined && over >= rows;
}

async function toBody(table: BatchTable, files: BatchFiles, options: Omit<BatchOptions, keyof ActOptions>) {
  const isRows = typeof table === "object" && "rows" in table;
  const sent: DocumentSent = isRows ? { content: Buffer.from(JSON.stringify(table)), name: "batch.json" } : table;
  const fields: Field[] = [
    { field: "batch", label: () => "The table", files: [sent] },
    { field: "file", label: (n) => `File ${n}`, files },
  ];
  const said = Object.keys(options).length > 0 ? { options } : {};
  return await toMultipart(said, fields);
}
