import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { batchOf } from "../../core/batch.ts";
import { isFeedId, isLater } from "../../core/feed-id.ts";
import type { HistoryLine } from "../../core/history.ts";
import type { RequestId, SignRequest } from "../../core/request.ts";
import { isEnd, type Phase } from "../../core/status.ts";
import { DEFAULT_TENANT } from "../../core/tenant.ts";
import type { Feed, FeedEntry } from "../../queues/feed.ts";
import { FILTERS } from "./filters.ts";
import type { ApiParts, Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import { IdParams, toId } from "./requests.ts";
import { type EventStream, type Message, sendStream, type Streams } from "./streams.ts";
import { State, toView } from "./view.ts";

type Parts = Pick<ApiParts, "pipeline" | "feed"> & { streams: Streams };

/** Changes that come while the earlier ones are still being read. A reader beyond it takes up again by its last id. */
const HELD_MOST = 10_000;

const STREAM = "text/event-stream";

/** Adds the calls that tell of changes as they happen. @source WHATWG HTML §9.2, "Server-sent events" */
export function addEvents(app: Server, parts: Parts): void {
  const headers = { "Content-Type": `${STREAM}; charset=utf-8` };
  app.get(
    "/v1/requests/:id/events",
    {
      exposeHeadRoute: false,
      schema: {
        operationId: "followRequest",
        summary: "Follow a request live",
        description:
          "Server-sent events: its history so far, as messages `change`, then each change as it happens. Ends with a message " +
          "`end` once the request is over. With Last-Event-ID it goes on behind that message; 204 when there is nothing " +
          "more to come, which ends a browser's reconnecting.",
        tags: ["Requests"],
        params: IdParams,
        "x-answers": {
          200: { description: "The stream.", contentType: STREAM, headers },
          204: { description: "It is over, and the last message was seen." },
        },
        "x-problems": ["no-such-request", "invalid-request", "too-many-streams"],
      },
    },
    async (request, reply) => {
      const id = toId(request.params.id);
      const last = readLast(request, /^\d{1,9}-[0-9a-z]{1,11}$/);
      const seen = last === undefined ? undefined : toPlace(last);
      const record = await parts.pipeline.get(id);
      if (seen && isEnd(record.phase) && newLines(await parts.pipeline.history(id), seen).length === 0) {
        return await reply.code(204).send();
      }
      return await sendStream(reply, followOne(id, request, parts, seen));
    },
  );

  app.get(
    "/v1/events",
    {
      exposeHeadRoute: false,
      schema: {
        operationId: "followRequests",
        summary: "Follow all requests live",
        description:
          "Server-sent events: a message `change` for each change of a request that the key may see, as it happens. Filters " +
          "combine. With Last-Event-ID, what came since is told first; when that is no longer known in whole, a message " +
          "`gap` comes before the rest: then list the requests anew.",
        tags: ["Requests"],
        querystring: EventsQuery,
        "x-answers": { 200: { description: "The stream. It has no end.", contentType: STREAM, headers } },
        "x-problems": ["invalid-request", "too-many-streams"],
      },
    },
    async (request, reply) => {
      const last = readLast(request, undefined);
      const isWanted = toFilter(request.query, request.keyTenant);
      return await sendStream(reply, followAll(request, parts, isWanted, last));
    },
  );
}

const EventsQuery = z.strictObject({
  state: z
    .union([State, z.literal("")], `must be one of ${State.options.join(", ")}`)
    .optional()
    .describe("Only changes into this state."),
  reference: FILTERS.reference,
  tenant: z.string().max(40).optional().describe("Only requests of this tenant."),
  group: FILTERS.group,
  batch: FILTERS.batch,
});

function readLast({ headers }: FastifyRequest, pattern: RegExp | undefined): string | undefined {
  const last = headers["last-event-id"];
  if (last === undefined || last === "") return undefined;
  if (typeof last === "string" && (pattern ? pattern.test(last) : isFeedId(last))) return last;
  throw new ApiError("invalid-request", "Last-Event-ID must be the id of a message of this stream.");
}

/** Where a reader of a history is: behind its nth line, which is of this time. */
interface Place {
  n: number;
  atMs: number;
}

function toPlace(id: string): Place {
  const [n = "0", at = "0"] = id.split("-");
  return { n: Number(n), atMs: Number.parseInt(at, 36) };
}

/**
 * The lines behind a place. A history that was shortened, or put back from the journal, may have other numbers: then all
 * from that time on, of which some are told twice.
 */
function newLines(lines: readonly HistoryLine[], { n, atMs }: Place): { line: HistoryLine; n: number }[] {
  const numbered = lines.map((line, i) => ({ line, n: i + 1 }));
  if (n === 0 || lines[n - 1]?.atMs === atMs) return numbered.slice(n);
  return numbered.filter(({ line }) => line.atMs >= atMs);
}

function toLineMessage({ line, n }: { line: HistoryLine; n: number }): Message {
  const { atMs, event, stage, phase, by, note } = line;
  return {
    id: `${n}-${atMs.toString(36)}`,
    event: "change",
    data: { at: toTime(atMs), event, stage, state: phase, ...(by && { by }), ...(note && { note }) },
  };
}

/** How it came out. */
function toEndMessage(record: SignRequest): Message {
  const { id, stage, state, failure, notice } = toView(record);
  return {
    event: "end",
    data: { id, stage, state, ...(failure && { failure }), ...(notice && { notice }) },
  };
}

/** The stream of one request. What woke it is not believed: its history is read, and what is new in it is sent. */
function followOne(id: RequestId, request: FastifyRequest, { pipeline, feed, streams }: Parts, seen?: Place) {
  let place = seen ?? { n: 0, atMs: 0 };
  let isReading = false;
  let isStale = false;

  // Each sign of life is a look as well, should a change have gone unheard.
  const { stream, body } = streams.begin(request.keyName, () => void look());

  async function look(): Promise<void> {
    isStale = true;
    if (isReading) return;
    isReading = true;
    try {
      while (isStale) {
        isStale = false;
        // The record first: the history that is read after it has all that led there.
        const record = await pipeline.get(id);
        for (const next of newLines(await pipeline.history(id), place)) {
          place = { n: next.n, atMs: next.line.atMs };
          if (!stream.send(toLineMessage(next))) return;
        }
        if (!isEnd(record.phase)) continue;
        stream.send(toEndMessage(record));
        stream.end();
      }
    } catch (error) {
      request.log.debug({ requestId: id, err: error }, "stream ended: the request cannot be read now");
      stream.end();
    } finally {
      isReading = false;
    }
  }

  listen(feed, stream, (entries) => {
    if (entries.some(({ requestId }) => requestId === id)) void look();
  })
    .then(look)
    .catch(() => stream.end());
  return body;
}

/** Has the feed's changes told while the stream is open. */
async function listen(feed: Feed, stream: EventStream, hear: (entries: readonly FeedEntry[]) => void): Promise<void> {
  let isOver = false;
  let stop = () => {};
  stream.onOver(() => {
    isOver = true;
    stop();
  });
  stop = await feed.follow(hear);
  if (isOver) stop();
}

/** The stream of all requests. */
function followAll(
  request: FastifyRequest,
  { feed, streams }: Parts,
  isWanted: (entry: FeedEntry) => boolean,
  seen: string | undefined,
) {
  const { stream, body } = streams.begin(request.keyName);
  let last = seen ?? "0-0";
  /** What comes while the backlog is read; undefined from then on. */
  let held: FeedEntry[] | undefined = [];

  function tell(entries: readonly FeedEntry[]): void {
    for (const entry of entries) {
      if (!isLater(entry.id, last)) continue;
      last = entry.id;
      if (isWanted(entry) && !stream.send(toEntryMessage(entry))) return;
    }
  }

  async function catchUp(): Promise<void> {
    for (let from = seen; from !== undefined;) {
      const { entries, isWhole, next } = await feed.since(from);
      if (from === seen && !isWhole) stream.send({ event: "gap", data: {} });
      tell(entries);
      await stream.drained();
      from = next;
    }
    const waiting = held ?? [];
    held = undefined;
    tell(waiting);
  }

  listen(feed, stream, (entries) => {
    if (!held) tell(entries);
    else if (held.length + entries.length <= HELD_MOST) held.push(...entries);
    else stream.end();
  })
    .then(catchUp)
    .catch((error: unknown) => {
      request.log.debug({ err: error }, "stream ended: the feed cannot be read now");
      stream.end();
    });
  return body;
}

function toFilter(query: z.infer<typeof EventsQuery>, keyTenant: string | undefined): (entry: FeedEntry) => boolean {
  const { state, reference, group, batch } = query;
  const tenant = keyTenant ?? query.tenant;
  return ({ phase, event, request }) =>
    event !== "intend" &&
    (!state || state === phase) &&
    (!reference || reference === request.reference) &&
    (!tenant || tenant === (request.facts["tenant"] ?? DEFAULT_TENANT)) &&
    (!group || group === toView(request).group?.id) &&
    (!batch || batch === batchOf(request)?.id);
}

/** A change, with what never changes of the request; what it waits for only while that is what the change was about. */
function toEntryMessage({ id, event, stage, phase, atMs, request }: FeedEntry): Message {
  const { reference, tenant, group, batch, waiting, failure } = toView(request);
  const isLast = request.updatedMs === atMs && request.phase === phase && request.stage === stage;
  return {
    id,
    event: "change",
    data: {
      id: request.id,
      at: toTime(atMs),
      event,
      stage,
      state: phase as Phase,
      ...(reference !== undefined && { reference }),
      ...(tenant !== undefined && { tenant }),
      ...(group && { group }),
      ...(batch && { batch }),
      ...(isLast && waiting && { waiting: { for: waiting.for, until: waiting.until } }),
      ...(isLast && failure && { failure: { code: failure.code } }),
    },
  };
}

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
