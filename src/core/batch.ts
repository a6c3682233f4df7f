import { createHash } from "node:crypto";
import { z } from "zod";
import { RequestId, Sha256, type SignRequest, Source, toRequestId } from "./request.ts";
import { PHASES } from "./status.ts";

/** Names a batch: "bat-" and 128 bits, written like a request's. Safe as a folder name and a URL segment. */
export const BatchId = z.string().regex(/^bat-[0-9a-z]{26}$/, "a batch id looks like bat-… with 26 letters and digits");
export type BatchId = z.infer<typeof BatchId>;

/** A batch id from 16 bytes. */
export function toBatchId(bytes: Uint8Array): BatchId {
  return toRequestId(bytes).replace(/^req-/, "bat-");
}

/**
 * The id of the request that a row becomes at its `n`th try, beginning with 1. It follows from the batch, the row and the
 * try alone: whoever submits a row that a crash left in doubt submits the same request, and not one more.
 */
export function rowRequestId(batch: BatchId, row: number, attempt: number): RequestId {
  return toRequestId(createHash("sha256").update(`${batch} ${row} ${attempt}`).digest());
}

/** Where a request comes from, as a fact of its record. */
export const BatchPlace = z.object({ id: BatchId, row: z.int().positive() });
export type BatchPlace = z.infer<typeof BatchPlace>;
const Place = BatchPlace.optional().catch(undefined);

/** Which row of which batch a request is; undefined of one that is none. */
export function batchOf({ facts }: Pick<SignRequest, "facts">): BatchPlace | undefined {
  return Place.parse(facts["batch"]);
}

export const LEAST_PRIORITY = 1;
export const MOST_PRIORITY = 10;
const STANDARD_PRIORITY = 5;
/** How many turns a batch gets beside others: 10 gets ten times as many as 1. */
export const Priority = z
  .int(`must be a whole number from ${LEAST_PRIORITY} to ${MOST_PRIORITY}`)
  .min(LEAST_PRIORITY, `must be at least ${LEAST_PRIORITY}`)
  .max(MOST_PRIORITY, `must be at most ${MOST_PRIORITY}`)
  .default(STANDARD_PRIORITY);

/**
 * canary: one row goes ahead, the others wait for it · running: rows are submitted as there is room · paused: nothing
 * more is submitted, what is open goes on · cancelled: nothing more is submitted, what is open is cancelled ·
 * done: every row is over.
 */
export const BATCH_STATES = ["canary", "running", "paused", "cancelled", "done"] as const;
export type BatchState = (typeof BATCH_STATES)[number];

/** What is written down about a batch as a whole. No personal data: who signs is sealed with the rows. */
export const BatchRecord = z.object({
  format: z.literal(1),
  /** Counts up with every change; the record is changed by whoever read its latest version. */
  version: z.int().positive(),
  id: BatchId,
  source: Source,
  /** What its sender calls it. */
  name: z.string().max(200).optional(),
  /** Who handed it in: "api:<key name>", "inbox". */
  by: z.string(),
  /** Whose it is, when the key was for one tenant: its rows are all of that one. */
  tenant: z.string().optional(),
  priority: Priority,
  state: z.enum(BATCH_STATES),
  /** What somebody asked that is not carried out at every row yet; a new number for each time. */
  asked: z.object({ what: z.enum(["cancel", "retry"]), n: z.int().positive(), by: z.string() }).optional(),
  /** What the last retry was asked by, of those that must not be asked twice. */
  retriedFor: z.string().optional(),
  /** Why it is paused, when nobody asked for it. */
  held: z.object({ code: z.string(), message: z.string() }).optional(),
  rows: z.int().positive(),
  /** SHA-256 of what was handed in: the same Idempotency-Key must come with the same. */
  bodyHash: Sha256,
  createdMs: z.number(),
  updatedMs: z.number(),
  /** When its rows were erased; until then what failed can be tried again. */
  erasedMs: z.number().optional(),
});
export type BatchRecord = z.infer<typeof BatchRecord>;

/**
 * rejected: it cannot be submitted as it is · pending: not submitted yet · duplicate: another request has the same
 * document for the same signer · cancelled before it was submitted, or its request was · the others are those of its
 * request.
 */
export const ROW_STATES = ["pending", "rejected", "duplicate", ...PHASES] as const;
export type RowState = (typeof ROW_STATES)[number];

/** What became of a row, as it is written down when it changes. */
export const RowOutcome = z.object({
  /** As the spreadsheet counts: the header is row 1. Rows of JSON begin with 1. */
  row: z.int().positive(),
  state: z.enum(ROW_STATES),
  attempt: z.int().positive(),
  code: z.string().optional(),
  /** One sentence without personal data. */
  message: z.string().optional(),
  /** Whose turn it is while it waits. */
  waiting: z.string().optional(),
  /** The request that has the same, of a duplicate. */
  of: RequestId.optional(),
  /** The signed files, in the folder of the request. */
  signed: z.array(z.object({ name: z.string(), sha256: z.string() })).optional(),
  /** When it was over, in milliseconds since the epoch. */
  endedMs: z.number().optional(),
});
export type RowOutcome = z.infer<typeof RowOutcome>;

const OVER: ReadonlySet<RowState> = new Set([
  ...(["rejected", "duplicate", "done", "refused", "cancelled", "expired", "failed"] as const),
]);

/** Whether nothing more happens to a row by itself. */
export function isRowOver(state: RowState): boolean {
  return OVER.has(state);
}

/** Whether a row has, or had, a request of its own. */
export function hasRequest({ state, code }: Pick<RowOutcome, "state" | "code">): boolean {
  if (state === "cancelled") return code !== ROW_CODES.notSubmitted;
  return state !== "pending" && state !== "rejected" && state !== "duplicate";
}

/** Codes of rows that have, and had, no request. */
export const ROW_CODES = { notSubmitted: "cancelled-before-submission" } as const;

/** Rows by state; those in which there is none are left out. */
export type RowCounts = Partial<Record<RowState, number>>;

export function countRows(outcomes: Iterable<Pick<RowOutcome, "state">>): RowCounts {
  const counts: RowCounts = {};
  for (const { state } of outcomes) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/** How far a batch is. */
export interface Progress {
  /** Rows that are over. */
  over: number;
  /** Rows that wait for people, or for an operator: nobody can tell for how long. */
  waiting: number;
  /** When the rows that wait for nobody will be over, by the pace of the last minutes; undefined when that has none. */
  finishMs: number | undefined;
}

/** What counts as the last minutes. */
export const PACE_MS = 10 * 60_000;

/** Fewer rows that are over say nothing of a pace. */
const PACE_LEAST = 3;

/** How far it is, and when it is over. `endedMs` are the times at which requests of rows became over, in any order. Pure. */
export function progressOf(
  { counts, endedMs, sinceMs }: { counts: RowCounts; endedMs: readonly number[]; sinceMs: number },
  now: number,
): Progress {
  const states = Object.entries(counts) as [RowState, number][];
  const sum = (wanted: (state: RowState) => boolean) =>
    states.reduce((total, [state, count]) => total + (wanted(state) ? count : 0), 0);
  const over = sum(isRowOver);
  const waiting = counts.waiting ?? 0;
  const left = sum(() => true) - over - waiting;
  const fromMs = Math.max(now - PACE_MS, sinceMs);
  const recent = endedMs.filter((ms) => ms >= fromMs).length;
  const spanMs = now - fromMs;
  const finishMs = left > 0 && recent >= PACE_LEAST && spanMs > 0 ? now + (left / recent) * spanMs : undefined;
  return { over, waiting, finishMs: finishMs === undefined ? undefined : Math.round(finishMs) };
}

/**
 * Whose turn is next, by priority: of turns given one after the other, each gets its share, spread evenly (smooth
 * weighted round robin). Whoever is new begins level with the others, and not with what it never waited for.
 */
export function createTurns() {
  const credits = new Map<string, number>();
  return {
    /** The one of these that is next; undefined when there is none. */
    next<T extends { id: string; priority: number }>(ready: readonly T[]): T | undefined {
      const present = new Set(ready.map(({ id }) => id));
      for (const id of credits.keys()) if (!present.has(id)) credits.delete(id);
      let best: T | undefined;
      for (const one of ready) {
        credits.set(one.id, (credits.get(one.id) ?? 0) + one.priority);
        if (!best || (credits.get(one.id) ?? 0) > (credits.get(best.id) ?? 0)) best = one;
      }
      if (best) {
        const total = ready.reduce((sum, { priority }) => sum + priority, 0);
        credits.set(best.id, (credits.get(best.id) ?? 0) - total);
      }
      return best;
    },
  };
}
