import type { FastifyRequest } from "fastify";
import { Readable } from "node:stream";
import { z } from "zod";
import { BatchId, type BatchRecord, Priority } from "../../core/batch.ts";
import { PermanentError } from "../../core/errors.ts";
import type { ResultName } from "../../files/batches.ts";
import type { BatchDoor } from "../batch/door.ts";
import { readBatchUpload } from "./batch-upload.ts";
import {
  BatchAccepted,
  BatchList,
  BatchView,
  DryRun,
  RowList,
  RowStateView,
  toBatch,
  toBatchView,
  toReport,
} from "./batch-view.ts";
import { rowJsonSchema } from "../batch/columns.ts";
import type { ApiParts, Server } from "./ports.ts";
import { ApiError, type FieldError, type ProblemCode } from "./problem.ts";
import { idempotencyKeyOf } from "./submit.ts";

type Parts = Pick<ApiParts, "pipeline" | "documents"> & { batches: BatchDoor };

const Params = z.object({ id: z.string().describe("The batch's id, like bat-… with 26 letters and digits.") });
const FLAG = z.enum(["true", "false", ""], "must be true or false").optional();
const LIMIT_HINT = "must be a number from 1 to 500";
const Limit = z
  .union([z.coerce.number().int().min(1, LIMIT_HINT).max(500, LIMIT_HINT), z.literal("")], LIMIT_HINT)
  .default(100)
  .describe("Most items of a page, 1 to 500.");
const STANDARD_LIMIT = 100;
const NoBody = z.looseObject({}).nullish();

/** What is wrong with a table as a whole, told with its columns. */
const TABLE_PROBLEMS = ["table-unreadable", "table-columns", "table-empty", "too-many-rows"] as const;

const NAMING_PROBLEMS = ["no-such-batch"] as const satisfies ProblemCode[];
const ACTING_PROBLEMS = [
  ...NAMING_PROBLEMS,
  "invalid-request",
  "invalid-json",
  "not-possible-now",
  "contended",
  "unsupported-media-type",
] as const satisfies ProblemCode[];

/** Adds the calls for batches. */
export function addBatches(app: Server, parts: Parts): void {
  app.after(() => {
    addHandIn(app, parts);
    addFollowing(app, parts);
    addActing(app, parts);
  });
}

function addHandIn(app: Server, parts: Parts): void {
  app.post(
    "/v1/batches",
    {
      schema: {
        operationId: "submitBatch",
        summary: "Hand in many requests at once, from a table",
        description:
          'Takes a table as the part "batch", CSV or JSON, and the files that its rows name, each as a part "file" under ' +
          "that name; a row may name an address instead, from which its document is fetched when the row is submitted. And, as " +
          'the part "options", JSON with name, priority (1 to 10) and canary (true: one row goes ahead, ' +
          "the others follow when it is done). Every row is checked as a request of its own would be: those that cannot " +
          "be used are named, by row and column, and the others are submitted. With dry_run=true nothing but the check is " +
          "done. The same Idempotency-Key with the same content gives the same batch, for as long as it is there.",
        tags: ["Batches"],
        querystring: z.strictObject({ dry_run: FLAG.describe("true: check everything, and keep nothing.") }),
        response: { 200: DryRun, 202: BatchAccepted },
        "x-answers": {
          200: { description: "With dry_run=true: what would happen." },
          202: {
            description: "Accepted: it is on disk, and rows are being submitted. The Location header names it.",
            headers: {
              Location: "Address of the batch.",
              "Idempotency-Replayed": "true when it was accepted before.",
            },
          },
        },
        "x-problems": [
          ...["invalid-request", "invalid-multipart", "invalid-json", "unknown-part", "table-missing"],
          ...["part-repeated", "invalid-idempotency-key", "too-large", "unsupported-media-type", "unusable-pdf"],
          ...["too-many-documents", ...TABLE_PROBLEMS, "no-good-row", "idempotency-mismatch"],
          ...["disk-full", "redis-full", "disk-read-only", "disk-error"],
        ] as ProblemCode[],
      },
    },
    async (request, reply) => {
      if (!request.isMultipart()) {
        throw new ApiError(
          "unsupported-media-type",
          'Send multipart/form-data with the table as part "batch" and its files as parts "file".',
        );
      }
      const isDryRun = request.query.dry_run === "true";
      if (!isDryRun) await parts.pipeline.mayTake();
      const answer = await handIn(request, parts, isDryRun);
      if (!("batch" in answer)) return await reply.code(200).send(answer);
      const { replayed, ...accepted } = answer;
      if (replayed) void reply.header("idempotency-replayed", "true");
      return await reply.code(202).header("location", accepted.batch.links.self).send(accepted);
    },
  );

  app.get(
    "/v1/schemas/batch-row",
    {
      schema: {
        operationId: "getBatchRowSchema",
        summary: "Read the schema of a batch's rows",
        description: "JSON Schema of a row: of one in batch.json, and of the columns of batch.csv.",
        tags: ["Batches"],
        "x-answers": { 200: { description: "The schema.", contentType: "application/schema+json" } },
        "x-problems": [],
      },
    },
    async (_request, reply) => await reply.type("application/schema+json").send(JSON.stringify(rowJsonSchema())),
  );
}

type Answer = z.infer<typeof DryRun> | (z.infer<typeof BatchAccepted> & { replayed: boolean });

async function handIn(request: FastifyRequest, { batches, documents }: Parts, isDryRun: boolean): Promise<Answer> {
  const key = idempotencyKeyOf(request);
  try {
    await documents.room(Number(request.headers["content-length"] ?? 0));
  } catch (error) {
    request.raw.resume(); // the client, which sends first, gets to read the answer
    throw error;
  }
  const id = batches.idFor(key);
  const incoming = await batches.begin(id);
  try {
    const { table, files, options } = await readBatchUpload(request, { incoming, limits: batches.limits });
    const { keyTenant: tenant, keyName } = request;
    if (isDryRun) {
      const report = await batches.dryRun(incoming, { table, files }, { tenant });
      return { dry_run: true, report: toReport(report) };
    }
    const wishes = { ...options, source: "api" as const, by: `api:${keyName}`, tenant };
    const taken = await batches.take(id, incoming, { table, files }, wishes);
    if (taken.outcome === "refused") throw noGoodRow(taken.report);
    const batch = toBatchView(await batches.get(taken.record.id));
    return { batch, report: toReport(taken.report), replayed: taken.outcome === "known" };
  } catch (error) {
    throw toTableError(error);
  } finally {
    await incoming
      .discard()
      .catch((error: unknown) => request.log.warn({ batch: id, err: error }, "upload not removed"));
  }
}

function noGoodRow({ rows, problems }: { rows: number; problems: { row: number; column: string; message: string }[] }) {
  const errors = problems.map(({ row, column, message }): FieldError => ({ field: `row ${row}, ${column}`, message }));
  const [first] = errors;
  return new ApiError(
    "no-good-row",
    `None of ${rows} rows can be submitted: ${first?.field} ${first?.message}.`,
    errors,
  );
}

function toTableError(error: unknown): unknown {
  const code = TABLE_PROBLEMS.find((one) => error instanceof PermanentError && error.code === one);
  if (!code || !(error instanceof PermanentError)) return error;
  const errors = Object.entries(error.fields ?? {}).map(([field, message]) => ({ field, message }));
  return new ApiError(code, error.message, errors.length > 0 ? errors : undefined);
}

function addFollowing(app: Server, { batches }: Parts): void {
  app.get(
    "/v1/batches",
    {
      schema: {
        operationId: "listBatches",
        summary: "List batches",
        description: "Newest first, a page at a time.",
        tags: ["Batches"],
        querystring: z.strictObject({
          limit: Limit,
          cursor: z.string().max(100).optional().describe("next_cursor of the page before."),
        }),
        response: { 200: BatchList },
        "x-answers": { 200: { description: "One page." } },
        "x-problems": ["invalid-request", "bad-cursor"],
      },
    },
    async ({ query: { limit, cursor }, keyTenant: tenant }) => {
      const before = cursor === undefined || cursor === "" ? undefined : BatchId.safeParse(cursor);
      if (before && !before.success) throw badCursor();
      const page = await batches.list({ tenant, limit: limit || STANDARD_LIMIT, before: before?.data });
      return { items: page.items.map(toBatchView), next_cursor: page.next ?? null };
    },
  );

  app.get(
    "/v1/batches/:id",
    {
      schema: {
        operationId: "getBatch",
        summary: "Read a batch",
        description: "Its state, how many of its rows are where, and when it will be over.",
        tags: ["Batches"],
        params: Params,
        response: { 200: BatchView },
        "x-answers": { 200: { description: "The batch." } },
        "x-problems": NAMING_PROBLEMS,
      },
    },
    async ({ params }) => toBatchView(await batches.get(toBatch(params.id))),
  );

  app.get(
    "/v1/batches/:id/rows",
    {
      schema: {
        operationId: "listBatchRows",
        summary: "List what came of a batch's rows",
        description: "In their order, a page at a time.",
        tags: ["Batches"],
        params: Params,
        querystring: z.strictObject({
          state: z.union([RowStateView, z.literal("")], `must be one of ${RowStateView.options.join(", ")}`).optional(),
          limit: Limit,
          cursor: z.string().max(20).optional().describe("next_cursor of the page before."),
        }),
        response: { 200: RowList },
        "x-answers": { 200: { description: "One page." } },
        "x-problems": [...NAMING_PROBLEMS, "invalid-request", "bad-cursor"],
      },
    },
    async ({ params, query: { state, limit, cursor } }) => {
      if (cursor && !/^\d{1,9}$/.test(cursor)) throw badCursor();
      const page = await batches.rows(toBatch(params.id), {
        state: state || undefined,
        limit: limit || STANDARD_LIMIT,
        after: cursor ? Number(cursor) : undefined,
      });
      return {
        items: page.items.map((row) => ({ ...row, state: RowStateView.parse(row.state) })),
        next_cursor: page.next === undefined ? null : String(page.next),
      };
    },
  );

  const results = (name: ResultName, operationId: string, contentType: string) => {
    app.get(
      `/v1/batches/:id/${name}`,
      {
        schema: {
          operationId,
          summary: `Download the results as ${name.endsWith("csv") ? "a table" : "JSON"}`,
          description: "As many rows as were handed in, in their order, each with what came of it until now.",
          tags: ["Batches"],
          params: Params,
          "x-answers": { 200: { description: "The results.", contentType } },
          "x-problems": NAMING_PROBLEMS,
        },
      },
      async (request, reply) => {
        const pieces = await batches.results(toBatch(request.params.id), name);
        void reply
          .type(`${contentType}; charset=utf-8`)
          .header("content-disposition", `attachment; filename="${name}"`);
        return await reply.send(Readable.from(pieces, { objectMode: false }));
      },
    );
  };
  results("results.csv", "getBatchResultsCsv", "text/csv");
  results("results.json", "getBatchResultsJson", "application/json");
}

function addActing(app: Server, { batches }: Parts): void {
  const act = (
    path: string,
    { operationId, summary, description }: { operationId: string; summary: string; description: string },
    { problems = [], run }: { problems?: ProblemCode[]; run: (id: BatchId, by: string) => Promise<BatchRecord> },
  ) => {
    app.post(
      `/v1/batches/:id/${path}`,
      {
        schema: {
          operationId,
          summary,
          description,
          tags: ["Batches"],
          params: Params,
          body: NoBody,
          response: { 202: BatchView },
          "x-answers": { 202: { description: "Recorded. The batch as it is now; its rows follow within seconds." } },
          "x-problems": [...ACTING_PROBLEMS, ...problems],
        },
      },
      async (request, reply) => {
        const id = toBatch(request.params.id);
        await run(id, `api:${request.keyName}`);
        return await reply.code(202).send(toBatchView(await batches.get(id)));
      },
    );
  };

  act(
    "pause",
    {
      operationId: "pauseBatch",
      summary: "Submit no more rows for now",
      description: "Rows that were submitted go on.",
    },
    { run: (id) => batches.pause(id) },
  );
  act(
    "resume",
    {
      operationId: "resumeBatch",
      summary: "Submit rows again",
      description: "Of a paused batch; of one whose first row goes ahead, without waiting for it.",
    },
    { run: (id) => batches.resume(id) },
  );
  act(
    "cancel",
    {
      operationId: "cancelBatch",
      summary: "Cancel a batch",
      description:
        "Rows that were not submitted are not, and open requests are cancelled; those for which it is too late say so.",
    },
    { run: (id, by) => batches.cancel(id, by) },
  );
  act(
    "retry",
    {
      operationId: "retryBatch",
      summary: "Try again what did not end well",
      description:
        "Rows that failed, expired, were cancelled, or were refused when they were submitted; never one that is done, open, " +
        "or was refused by a person. Rows with something wrong in them are handed in anew, corrected, as another batch.",
    },
    { problems: ["batch-erased", "nothing-to-retry"], run: (id, by) => batches.retry(id, by) },
  );

  app.post(
    "/v1/batches/:id/priority",
    {
      schema: {
        operationId: "setBatchPriority",
        summary: "Give a batch another priority",
        description: "Beside other batches it gets that many turns, 1 to 10; single requests wait for none of them.",
        tags: ["Batches"],
        params: Params,
        body: z.strictObject({ priority: Priority }),
        response: { 202: BatchView },
        "x-answers": { 202: { description: "Recorded." } },
        "x-body-example": { priority: 8 },
        "x-problems": ACTING_PROBLEMS,
      },
    },
    async (request, reply) => {
      const id = toBatch(request.params.id);
      await batches.setPriority(id, request.body.priority);
      return await reply.code(202).send(toBatchView(await batches.get(id)));
    },
  );
}

function badCursor(): ApiError {
  return new ApiError(
    "bad-cursor",
    "The cursor is not one that a page gave; leave it out to begin with the first page.",
  );
}
