import { z } from "zod";
import { BATCH_STATES, BatchId, ROW_STATES } from "../../core/batch.ts";
import { noSuchBatch } from "../../files/batches.ts";
import { type BatchReport } from "../batch/check.ts";
import { type BatchStanding, countsOf } from "../batch/door.ts";

const Time = z.iso.datetime();

export const RowStateView = z.enum(ROW_STATES);

const Reason = z.object({ code: z.string(), message: z.string() });

/** A batch as everybody with a key may see it. */
export const BatchView = z
  .object({
    id: z.string(),
    name: z.string().optional().describe("What its sender calls it."),
    tenant: z.string().optional(),
    state: z.enum(BATCH_STATES),
    priority: z.int().describe("How many turns it gets beside other batches, 1 to 10."),
    asked: z.enum(["cancel", "retry"]).optional().describe("What was asked, and is not carried out at every row yet."),
    held: Reason.optional().describe("Why it is paused, when nobody asked for it."),
    stands: Reason.optional().describe("Why nothing is submitted at the moment; it goes on by itself."),
    rows: z.int().describe("How many rows there are."),
    counts: z.record(z.string(), z.int()).describe("Rows by state, a few seconds old."),
    over: z.int().describe("Rows that are over."),
    waiting_for_people: z.int().describe("Rows that wait for somebody: nobody can tell for how long."),
    estimated_finish_at: Time.optional().describe(
      "When the rows that wait for nobody will be over, by the pace of the last ten minutes.",
    ),
    rows_erased_at: Time.optional().describe("Since then nothing of it can be tried again."),
    created_at: Time,
    updated_at: Time,
    links: z.object({ self: z.string(), rows: z.string(), results_csv: z.string(), results_json: z.string() }),
  })
  .meta({ id: "Batch" });
type BatchView = z.infer<typeof BatchView>;

export const BatchList = z
  .object({
    items: z.array(BatchView).describe("Newest first."),
    next_cursor: z.string().nullable().describe("Give it as cursor for the next page; null on the last one."),
  })
  .meta({ id: "BatchList" });

export const ReportView = z
  .object({
    rows: z.int(),
    good: z.int().describe("Rows that are submitted."),
    rejected: z.int().describe("Rows that are not: they are in the results, with what is wrong with them."),
    problems: z
      .array(z.object({ row: z.int(), column: z.string(), message: z.string() }))
      .describe("By row, as a spreadsheet counts (the header is row 1), and column. The first 200."),
    to_fetch: z
      .int()
      .describe("Documents that rows name by address: fetched when their row is submitted, and looked at then."),
    unused_files: z.array(z.string()).describe("Files that were sent and that no row names. The first 20."),
  })
  .meta({ id: "BatchReport" });

export const DryRun = z.object({ dry_run: z.literal(true), report: ReportView }).meta({ id: "BatchDryRun" });
export const BatchAccepted = z.object({ batch: BatchView, report: ReportView }).meta({ id: "BatchAccepted" });

export const RowView = z
  .object({
    row: z.int().describe("As a spreadsheet counts: the header is row 1. Of JSON, the first row is 1."),
    reference: z.string().optional(),
    files: z.array(z.string()),
    state: RowStateView,
    code: z.string().optional(),
    reason: z.string().optional().describe("Why, in a sentence."),
    request_id: z.string().optional().describe("The row's request; of a duplicate the one that has the same."),
    signed_files: z.array(z.string()).optional().describe("Where they are, seen from DATA_DIR."),
    sha256: z.array(z.string()).optional().describe("Of each of them."),
    batch: z.string().describe("The batch whose row it is."),
  })
  .meta({ id: "BatchRow" });
export const RowList = z
  .object({ items: z.array(RowView), next_cursor: z.string().nullable() })
  .meta({ id: "BatchRowList" });

/** An id that can exist. Throws PermanentError "no-such-batch", as for one that nobody has. */
export function toBatch(text: string): BatchId {
  const parsed = BatchId.safeParse(text);
  if (parsed.success) return parsed.data;
  throw noSuchBatch();
}

export function toBatchView(standing: BatchStanding): BatchView {
  const { record, progress } = standing;
  const { id, name, tenant, state, priority, asked, held, rows, erasedMs, createdMs, updatedMs } = record;
  const self = `/v1/batches/${id}`;
  return {
    id,
    ...(name !== undefined && { name }),
    ...(tenant !== undefined && { tenant }),
    state,
    priority,
    ...(asked && { asked: asked.what }),
    ...(held && { held }),
    ...(progress?.stands && { stands: progress.stands }),
    rows,
    counts: countsOf(standing),
    over: progress?.over ?? 0,
    waiting_for_people: progress?.waiting ?? 0,
    ...(progress?.finishMs !== undefined && { estimated_finish_at: toTime(progress.finishMs) }),
    ...(erasedMs !== undefined && { rows_erased_at: toTime(erasedMs) }),
    created_at: toTime(createdMs),
    updated_at: toTime(updatedMs),
    links: {
      self,
      rows: `${self}/rows`,
      results_csv: `${self}/results.csv`,
      results_json: `${self}/results.json`,
    },
  };
}

export function toReport(report: BatchReport): z.infer<typeof ReportView> {
  return report;
}

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
