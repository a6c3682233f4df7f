import { z } from "zod";
import {
  type BatchId,
  batchOf,
  type BatchRecord,
  createTurns,
  progressOf,
  type RowOutcome,
  rowRequestId,
} from "../../core/batch.ts";
import { PermanentError, RetryableError, toFailure } from "../../core/errors.ts";
import type { RequestId, SignRequest } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import type { BatchFolders } from "../../files/batches.ts";
import type { Documents } from "../../files/documents.ts";
import type { Leader } from "../../queues/leader.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { RowSeals } from "../../queues/row-seals.ts";
import { createFetching, type FetchingParts } from "./fetching.ts";
import { openBatch, type OpenBatch, type RowAccount } from "./open-batch.ts";
import { outcomeOf } from "./outcome.ts";
import { toCsv, toJson } from "./results.ts";
import { createRowSubmitter, type RowReach } from "./submit-row.ts";

/** The process that feeds may be silent for so long before another one takes over. */
export const LEAD_LAPSE_MS = 10_000;
/** So many jobs wait for a worker at the most while rows are fed: whoever comes by another way meets a short queue. */
const WAITING_MOST = 20;
/** However long the queue is that others have made, a row is fed this often. */
const TRICKLE_MS = 5_000;
const AT_ONCE = 4;
const ROUND_MS = 500;
const CHANGES_AT_ONCE = 500;
/** Batches that are over are looked at this often: somebody may have asked for a retry. */
const OVER_LOOK_MS = 3_000;
/** Open rows are held against their requests this often, should a note of a change have been lost. */
const COMPARE_MS = 60_000;
const COMPARE_MOST = 1_000;
/** Results are written at most this often, and take at most a twentieth of the time. */
const WRITE_MS = 2_000;
const WRITE_SHARE = 20;
const WAIT_MS = 2_000;
/** Well before the lead lapses: a round may take longer than that. */
const RENEW_MS = LEAD_LAPSE_MS / 5;

/** What is told of a batch besides its record; written by the process that feeds it. */
export const BatchProgress = z.object({
  counts: z.record(z.string(), z.number()),
  over: z.number(),
  waiting: z.number(),
  finishMs: z.number().optional(),
  /** Why nothing is submitted at the moment, although there are rows. */
  stands: z.object({ code: z.string(), message: z.string() }).optional(),
  atMs: z.number(),
});
export type BatchProgress = z.infer<typeof BatchProgress>;

interface Taken {
  batch: OpenBatch;
  row: number;
}

export interface FeederParts {
  folders: BatchFolders;
  pipeline: Pick<Pipeline, "submit" | "find" | "mayTake" | "cancel" | "retry" | "takeChanged" | "putBackChanged">;
  documents: Pick<Documents, "adopt" | "endUpload" | "remove">;
  seals: Pick<RowSeals, "open">;
  leader: Leader;
  /** Jobs that wait for a worker, of all stages. */
  waiting: () => Promise<number>;
  /** For how many milliseconds no call to the provider may leave; 0 when all goes. */
  heldMs: () => Promise<number>;
  /** Brings the results of a batch that is over to where people were given them before. Safe to repeat. */
  renew?: (id: BatchId) => Promise<void>;
  /** How long rows that ended otherwise than done are kept for another try, in milliseconds. */
  keepMs: number;
  log: Log;
  now?: () => number;
  /** Why no row on this account is submitted at the moment; undefined when they are. */
  standsFor: (account: RowAccount) => Promise<{ code: string; message: string } | undefined>;
  /** What fetches documents that rows name by their addresses. */
  fetch: Pick<FetchingParts, "remote" | "appearances" | "room" | "maxBytes">;
  /** Told before each step at a row, with its request's id; for tests that crash there. */
  reach?: RowReach;
}

/**
 * Submits the rows of all batches, a few ahead of what the workers have taken up, and keeps their results. What it does
 * can be repeated at any instant: a row's request has an id that follows from the row, and what became of it is in the
 * request's record. One process of a deployment does it.
 */
export function createFeeder(parts: FeederParts) {
  const { folders, pipeline, documents, seals, leader, waiting, heldMs, keepMs, log, now = Date.now, reach } = parts;
  const { standsFor, fetch } = parts;
  const turns = createTurns();
  /** Fetching has turns of its own: who waits for a slow host has had none of the others. */
  const fetchTurns = createTurns();
  const batches = new Map<BatchId, OpenBatch>();
  /** Those that are over, by the version at which they were. */
  const over = new Map<BatchId, number>();
  const rows = createRowSubmitter({ folders, pipeline, documents, seals, mustLead, now, reach });
  const fetching = createFetching({ ...fetch, folders, pipeline, read: rows.read, log, now, reach });
  let stands: { code: string; message: string; untilMs: number } | undefined;
  let fedMs = 0;
  let lookedMs = 0;
  let comparedMs = 0;
  let timer: NodeJS.Timeout | undefined;
  let renewing: NodeJS.Timeout | undefined;
  let running: Promise<unknown> = Promise.resolve();
  let isStopped = false;

  /** Throws when another process may have taken over: it goes on from what is on the disk. */
  function mustLead(): void {
    if (!leader.isLeading()) throw new RetryableError("Another process may be at it", { code: "lead-lost" });
  }

  async function change(batch: OpenBatch, choose: Parameters<BatchFolders["change"]>[1]): Promise<void> {
    batch.record = await folders.change(batch.id, choose, now());
    batch.isChanged = true;
  }

  /** Brings what is in memory in line with the records on the disk. */
  async function look(): Promise<void> {
    const lookAtOver = now() - lookedMs >= OVER_LOOK_MS;
    if (lookAtOver) lookedMs = now();
    for (const id of await folders.list()) {
      if (over.has(id) && !lookAtOver) continue;
      const record = await folders.find(id);
      if (!record || over.get(id) === record.version) {
        if (record) await eraseWhenDue(record);
        continue;
      }
      await take(record);
    }
  }

  async function take(record: BatchRecord): Promise<OpenBatch> {
    const there = batches.get(record.id);
    if (there) {
      if (there.record.version !== record.version) there.isChanged = true;
      there.record = record;
      return there;
    }
    over.delete(record.id);
    const batch = await openBatch(folders, record);
    batches.set(record.id, batch);
    await compare(batch);
    return batch;
  }

  /** Holds rows that are open against their requests: all, or those whose turn it is. */
  async function compare(batch: OpenBatch, most = Number.POSITIVE_INFINITY): Promise<void> {
    for (const { row, attempt } of batch.openInTurn(most)) {
      mustLead();
      const request = await pipeline.find(rowRequestId(batch.id, row, attempt));
      if (request) await batch.note([outcomeOf(request, row, attempt)]);
    }
  }

  async function follow(): Promise<void> {
    for (;;) {
      const ids = await pipeline.takeChanged("batch", CHANGES_AT_ONCE);
      try {
        const news = new Map<OpenBatch, RowOutcome[]>();
        for (const id of ids) await followOne(id, news);
        for (const [batch, outcomes] of news) await batch.note(outcomes);
      } catch (error) {
        await pipeline.putBackChanged("batch", ids).catch(() => {});
        throw error;
      }
      if (ids.length < CHANGES_AT_ONCE) return;
    }
  }

  async function followOne(id: RequestId, news: Map<OpenBatch, RowOutcome[]>): Promise<void> {
    const request = await pipeline.find(id);
    const place = request && batchOf(request);
    if (!place) return;
    const record = batches.get(place.id)?.record ?? (await folders.find(place.id));
    if (!record) return;
    const batch = await take(record);
    const attempt = batch.outcome(place.row)?.attempt ?? 1;
    // An earlier try of the row, which is over, says nothing of the one that counts.
    if (rowRequestId(place.id, place.row, attempt) !== id) return;
    news.set(batch, [...(news.get(batch) ?? []), outcomeOf(request, place.row, attempt)]);
  }

  /** Carries out at every row what somebody asked of the batch. */
  async function obey(batch: OpenBatch): Promise<void> {
    const { asked } = batch.record;
    if (!asked) return;
    if (asked.what === "cancel") {
      await batch.cancelPending(now());
      for (const one of batch.open()) await actOn(batch, one, (id) => pipeline.cancel(id, asked.by));
    } else {
      const rows = batch.retriable();
      const isTaken = ({ state }: RowOutcome) => state === "failed" || state === "expired";
      for (const one of rows.filter(isTaken)) await actOn(batch, one, (id) => pipeline.retry(id, asked.by));
      await batch.tryAnew(rows.filter((one) => !isTaken(one)));
    }
    await change(batch, (record) => (record.asked?.n === asked.n ? { asked: undefined } : undefined));
  }

  /** Acts on a row's request. That it cannot be done there, or comes too late, is said in the row's own result. */
  async function actOn(
    batch: OpenBatch,
    { row, attempt }: RowOutcome,
    act: (id: RequestId) => Promise<SignRequest>,
  ): Promise<void> {
    mustLead();
    const id = rowRequestId(batch.id, row, attempt);
    try {
      await batch.note([outcomeOf(await act(id), row, attempt)]);
    } catch (error) {
      if (!(error instanceof PermanentError)) throw error;
      const request = await pipeline.find(id);
      const { code, message } = error;
      const isTold = error.code === "too-late";
      if (request) await batch.note([{ ...outcomeOf(request, row, attempt), ...(isTold && { code, message }) }]);
    }
  }

  /** Submits rows as long as there is room. Whether any was. */
  async function feed(): Promise<boolean> {
    if (stands && stands.untilMs > now()) return false;
    const fed = [...batches.values()].filter(mayFeed);
    if (fed.length === 0) {
      stands = undefined;
      await fetching.keepOnly(() => false);
      return false;
    }
    try {
      await pipeline.mayTake();
      const pausedMs = await heldMs();
      if (pausedMs > 0) {
        // Requests that wait for the provider stand in no queue: one after the other would be added to them.
        const retryAfterMs = Math.min(pausedMs, WAIT_MS);
        throw new RetryableError("The provider is away, or asked for a pause", {
          code: "provider-paused",
          retryAfterMs,
        });
      }
      const free = await freeAccounts(fed);
      await fetching.keepOnly(
        (batch, row) =>
          fed.includes(batch) && batch.outcome(row)?.state === "pending" && free.has(batch.accountOf(row)),
      );
      beginFetching(fed, free);
      const room = WAITING_MOST - (await waiting());
      const most = room > 0 ? Math.min(room, AT_ONCE) : now() - fedMs >= TRICKLE_MS ? 1 : 0;
      stands = undefined;
      const taken = takeRows(fed, free, most);
      if (taken.length === 0) return false;
      fedMs = now();
      await submitAll(taken);
      return true;
    } catch (error) {
      const failure = toFailure(error);
      const { code, message } = failure;
      if (stands?.code !== code) log.warn({ code }, "rows of batches are not submitted at the moment");
      const pauseMs = failure.kind === "retryable" ? (failure.retryAfterMs ?? WAIT_MS) : WAIT_MS;
      stands = { code, message, untilMs: now() + pauseMs };
      for (const batch of batches.values()) batch.isChanged = true;
      return false;
    }
  }

  /**
   * The accounts whose rows are submitted. Where the provider rejects an account, each row more would only be one more
   * that waits for an operator; the rows of others go on.
   */
  async function freeAccounts(fed: readonly OpenBatch[]): Promise<ReadonlySet<RowAccount>> {
    const free = new Set<RowAccount>();
    for (const batch of fed) {
      let why: { code: string; message: string } | undefined;
      for (const account of batch.accounts()) {
        const found = await standsFor(account);
        if (found) why ??= found;
        else free.add(account);
      }
      const isHeld = why !== undefined && batch.next((row) => free.has(batch.accountOf(row))) === undefined;
      const next = isHeld ? why : undefined;
      if (batch.stands?.code === next?.code) continue;
      if (next) log.warn({ batch: batch.id, code: next.code }, "rows of a batch are not submitted at the moment");
      batch.stands = next;
      batch.isChanged = true;
    }
    return free;
  }

  /** Begins to fetch what the next rows name by address, so that it is there when their turn comes. */
  function beginFetching(fed: readonly OpenBatch[], free: ReadonlySet<RowAccount>): void {
    const nextOf = (batch: OpenBatch) =>
      batch.next((row) => free.has(batch.accountOf(row)) && fetching.mayBegin(batch, row));
    for (;;) {
      const ready = fed.filter((batch) => batch.hasRemote() && fetching.hasRoom(batch) && nextOf(batch) !== undefined);
      const batch = fetchTurns.next(ready.map((one) => ({ ...one.record, batch: one })))?.batch;
      const row = batch && nextOf(batch);
      if (!batch || row === undefined) return;
      fetching.begin(batch, row);
    }
  }

  function takeRows(fed: readonly OpenBatch[], free: ReadonlySet<RowAccount>, most: number): Taken[] {
    const taken: Taken[] = [];
    const mayGo = (batch: OpenBatch) => (row: number) =>
      free.has(batch.accountOf(row)) && (!batch.isRemote(row) || fetching.fetched(batch, row) !== undefined);
    while (taken.length < most) {
      const ready = fed.filter((batch) => !isTaken(taken, batch) && batch.next(mayGo(batch)) !== undefined);
      const batch = turns.next(ready.map((one) => ({ ...one.record, batch: one })))?.batch;
      const row = batch?.next(mayGo(batch));
      if (!batch || row === undefined) break;
      batch.take(row);
      taken.push({ batch, row });
    }
    return taken;
  }

  async function submitAll(taken: readonly Taken[]): Promise<void> {
    const done = await Promise.allSettled(
      taken.map(async ({ batch, row }) => {
        await rows.submitRow(batch, row, fetching.fetched(batch, row));
        await fetching.end(batch, row);
      }),
    );
    // Backwards, so that they stand in their order again.
    for (const [i, { batch, row }] of [...taken.entries()].reverse()) {
      if (done[i]?.status === "rejected") batch.giveBack(row);
    }
    const failed = done.find((one) => one.status === "rejected");
    if (failed) throw failed.reason;
  }

  function mayFeed(batch: OpenBatch): boolean {
    const { state, asked } = batch.record;
    if (asked || !batch.hasPending()) return false;
    return state === "running" || (state === "canary" && batch.canary() === undefined);
  }

  /** Of one that waits for its first row, one row is under way at a time. */
  function isTaken(taken: readonly Taken[], batch: OpenBatch): boolean {
    return batch.record.state === "canary" && taken.some((one) => one.batch === batch);
  }

  /** Lets the others follow the row that went ahead, or holds them back. */
  async function judgeCanary(batch: OpenBatch): Promise<void> {
    if (batch.record.state !== "canary") return;
    const canary = batch.canary();
    if (canary?.state === "done") {
      await change(batch, ({ state }) => (state === "canary" ? { state: "running" } : undefined));
    } else if (canary && ["refused", "cancelled", "expired", "failed"].includes(canary.state)) {
      const message = `Row ${canary.row}, which went ahead of the others, ended as ${canary.state}: mend that, then resume or cancel`;
      const held = { code: "canary-failed", message };
      await change(batch, ({ state }) => (state === "canary" ? { state: "paused", held } : undefined));
    }
  }

  async function write(batch: OpenBatch, { isLast = false } = {}): Promise<void> {
    const pauseMs = Math.max(WRITE_MS, batch.tookMs * WRITE_SHARE);
    if (!isLast && (!batch.isChanged || now() - batch.wroteMs < pauseMs)) return;
    const sinceMs = now();
    batch.isChanged = false;
    const { id, record } = batch;
    const counts = batch.counts();
    const why = stands ?? batch.stands ?? fetching.fault(batch);
    const how = progressOf({ counts, endedMs: batch.ended(), sinceMs: record.createdMs }, sinceMs);
    const progress: BatchProgress = {
      counts: counts,
      over: how.over,
      waiting: how.waiting,
      ...(how.finishMs !== undefined && record.state === "running" && !why && { finishMs: how.finishMs }),
      ...(why && batch.hasPending() && { stands: { code: why.code, message: why.message } }),
      atMs: sinceMs,
    };
    await folders.keepProgress(id, progress);
    await folders.writeResults(id, "results.csv", toCsv(record, folders.rows(id), batch.all()));
    await folders.writeResults(id, "results.json", toJson(record, folders.rows(id), batch.all()));
    batch.wroteMs = now();
    batch.tookMs = batch.wroteMs - sinceMs;
  }

  async function finish(batch: OpenBatch): Promise<void> {
    if (batch.record.asked || !batch.isOver()) {
      // It was over, and one of its requests was taken up again by itself.
      if (batch.record.state === "done" && !batch.isOver())
        await change(batch, ({ state }) => (state === "done" ? { state: "running" } : undefined));
      return;
    }
    const { state } = batch.record;
    if (state !== "done" && state !== "cancelled") await change(batch, () => ({ state: "done" }));
    await write(batch, { isLast: true });
    await parts.renew?.(batch.id);
    over.set(batch.id, batch.record.version);
    batches.delete(batch.id);
    rows.forget(batch.id);
    const isAllDone = [...batch.all().values()].every((one) => one.state === "done");
    if (isAllDone) await erase(batch.record);
    log.info({ batch: batch.id, rows: batch.record.rows, ...batch.counts() }, "batch is over");
  }

  async function eraseWhenDue(record: BatchRecord): Promise<void> {
    if (record.erasedMs === undefined && now() - record.updatedMs >= keepMs) await erase(record);
  }

  async function erase({ id }: BatchRecord): Promise<void> {
    await folders.erase(id);
    const record = await folders.change(
      id,
      ({ erasedMs }) => (erasedMs === undefined ? { erasedMs: now() } : undefined),
      now(),
    );
    over.set(id, record.version);
  }

  /** One round. Whether rows were submitted, and there may be room for more. */
  async function round(): Promise<boolean> {
    await look();
    await follow();
    if (now() - comparedMs >= COMPARE_MS) {
      comparedMs = now();
      for (const batch of batches.values()) await compare(batch, COMPARE_MOST);
    }
    for (const batch of batches.values()) {
      if (!leader.isLeading()) return false;
      await obey(batch);
      await judgeCanary(batch);
    }
    const isFed = leader.isLeading() && (await feed());
    for (const batch of batches.values()) {
      if (!leader.isLeading()) return false;
      await write(batch);
      await finish(batch);
    }
    return isFed;
  }

  async function turn(): Promise<boolean> {
    try {
      if (await leader.lead()) return await round();
      forget();
    } catch (error) {
      const { code, message } = toFailure(error);
      log.warn({ code, reason: message.slice(0, 120) }, "batches not looked after; tried again");
    }
    return false;
  }

  /** Another process may have gone on meanwhile: what is in memory is read anew. */
  function forget(): void {
    batches.clear();
    over.clear();
    rows.forget();
  }

  function schedule(waitMs: number): void {
    if (isStopped) return;
    timer = setTimeout(() => {
      running = turn().then((isFed) => schedule(isFed ? 0 : ROUND_MS));
    }, waitMs);
  }

  return {
    /** One round, for tests that want it now. */
    round: turn,
    start(): void {
      schedule(0);
      renewing = setInterval(() => void leader.lead().catch(() => false), RENEW_MS);
    },
    async stop(): Promise<void> {
      isStopped = true;
      clearTimeout(timer);
      clearInterval(renewing);
      await running;
      await fetching.stop();
      await leader.resign().catch(() => {});
    },
  };
}
