import { z } from "zod";
import { WAIT_NAMES } from "../../core/ages.ts";
import { Source } from "../../core/request.ts";
import { WORKFLOWS } from "../../core/workflow.ts";
import type { Wanted } from "../../queues/pipeline-types.ts";
import { FILTERS, oneOf } from "./filters.ts";
import { isFresh, toEtag } from "./fresh.ts";
import type { ApiParts, Server } from "./ports.ts";
import { IdParams, toId } from "./requests.ts";
import { HistoryView, RequestList, RequestView, State, toHistory, toView } from "./view.ts";

const PAGE = 50;
const LIMIT_HINT = "must be a number from 1 to 200";
const TIME_HINT = "must be a day like 2026-01-31, or a time like 2026-01-31T08:00:00Z";

const Time = z.union([z.iso.datetime({ offset: true }), z.iso.date(), z.literal("")], TIME_HINT).optional();

function toQuery(stages: readonly string[]) {
  return z.strictObject({
    state: oneOf(State.options).describe("Only requests in this state."),
    workflow: oneOf(WORKFLOWS).describe("Only requests of this workflow."),
    stage: oneOf(stages).describe("Only requests at this step."),
    waiting_for: oneOf(WAIT_NAMES).describe("Only requests that wait for this."),
    source: oneOf(Source.options).describe("Only requests that came in this way."),
    reference: FILTERS.reference,
    tenant: z.string().max(40).optional().describe("Only requests of this tenant, default for those that name none."),
    group: FILTERS.group,
    batch: FILTERS.batch,
    created_since: Time.describe("Only requests that were made at this time or later; a day begins in UTC."),
    created_until: Time.describe("Only requests that were made before this time."),
    limit: z
      .union([z.coerce.number().int().min(1, LIMIT_HINT).max(200, LIMIT_HINT), z.literal("")], LIMIT_HINT)
      .default(PAGE)
      .describe("Most items of a page, 1 to 200."),
    cursor: z.string().max(500).optional().describe("next_cursor of the page before."),
  });
}
type Query = z.infer<ReturnType<typeof toQuery>>;

/** What is asked for. What was given as nothing is not asked for. */
function toWanted(query: Query, keyTenant: string | undefined): Wanted {
  const { state, workflow, stage, waiting_for, source, reference, group, batch, created_since, created_until } = query;
  const tenant = keyTenant ?? query.tenant;
  return {
    ...(state && { state }),
    ...(workflow && { workflow }),
    ...(stage && { stage }),
    ...(waiting_for && { waitingFor: waiting_for }),
    ...(source && { source }),
    ...(reference && { reference }),
    ...(group && { group }),
    ...(batch && { batch }),
    ...(tenant && { tenant }),
    ...(created_since && { createdSinceMs: Date.parse(created_since) }),
    ...(created_until && { createdUntilMs: Date.parse(created_until) }),
  };
}

/** The same call for the next page. @source RFC 8288 §3 */
function toNextLink(query: Query, cursor: string): string {
  const parameters = Object.entries({ ...query, cursor }).flatMap(([name, value]): [string, string][] =>
    value === "" ? [] : [[name, String(value)]],
  );
  return `</v1/requests?${new URLSearchParams(parameters).toString()}>; rel="next"`;
}

/** Adds the calls that read requests. */
export function addReading(
  app: Server,
  { pipeline, stages, version }: Pick<ApiParts, "pipeline" | "stages" | "version">,
): void {
  app.get(
    "/v1/requests",
    {
      schema: {
        operationId: "listRequests",
        summary: "List requests",
        description:
          "Newest first, a page at a time; what comes in meanwhile does not move the pages. Filters combine. A bounded " +
          "number of requests is looked at for one page, so that a page may be short, or empty, and still not the last.",
        tags: ["Requests"],
        querystring: toQuery(stages.map(({ name }) => name)),
        response: { 200: RequestList },
        "x-answers": {
          200: {
            description: "One page.",
            headers: { Link: 'Address of the next page, as rel="next"; none on the last.' },
          },
        },
        "x-problems": ["invalid-request", "bad-cursor"],
      },
    },
    async ({ query, keyTenant }, reply) => {
      const { limit, cursor } = query;
      const wanted = toWanted(query, keyTenant);
      const page = await pipeline.list({ ...wanted, limit: limit || PAGE, ...(cursor && { cursor }) });
      if (page.next_cursor !== undefined) void reply.header("link", toNextLink(query, page.next_cursor));
      return { items: page.items.map(toView), next_cursor: page.next_cursor ?? null };
    },
  );

  app.get(
    "/v1/requests/:id",
    {
      schema: {
        operationId: "getRequest",
        summary: "Read a request",
        description:
          "Where it is, whose turn it is, and what has come of its documents. With If-None-Match, whoever has it already is " +
          "told so and is sent nothing.",
        tags: ["Requests"],
        params: IdParams,
        response: { 200: RequestView, 304: z.null() },
        "x-answers": {
          200: { description: "The request.", headers: { ETag: "Another one for every change." } },
          304: { description: "It is as the tag in If-None-Match has it." },
        },
        "x-problems": ["no-such-request"],
      },
    },
    async (request, reply) => {
      const record = await pipeline.get(toId(request.params.id));
      const etag = toEtag(record, version);
      void reply.header("etag", etag).header("cache-control", "private, no-cache");
      if (isFresh(request.headers["if-none-match"], etag)) return await reply.code(304).send(null);
      return toView(record);
    },
  );

  app.get(
    "/v1/requests/:id/history",
    {
      schema: {
        operationId: "getHistory",
        summary: "Read a request's history",
        description: "Every change of its state with its time and, when somebody outside caused it, who.",
        tags: ["Requests"],
        params: IdParams,
        response: { 200: HistoryView },
        "x-answers": { 200: { description: "The lines, oldest first." } },
        "x-problems": ["no-such-request"],
      },
    },
    async ({ params }) => toHistory(await pipeline.history(toId(params.id))),
  );
}
