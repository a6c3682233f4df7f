import { setTimeout as pause } from "node:timers/promises";
import { type Calls, noAnswer, unexpected } from "./calls.ts";
import { SignpipeError } from "./error.ts";
import { type Message, readMessages } from "./event-stream.ts";
import type { History, Request, State } from "./schema.ts";

/** Something happened to the request that is followed. */
export interface ChangeEvent {
  type: "change";
  /** Give it as `lastEventId` to go on behind it. */
  eventId: string;
  /** ISO 8601, UTC, with milliseconds. */
  at: string;
  /** What happened. */
  event: string;
  stage: string;
  state: State;
  by?: string | undefined;
  note?: string | undefined;
}

/** The request is over. Nothing comes after it. */
export interface EndEvent {
  type: "end";
  id: string;
  stage: string;
  state: State;
  failure?: { code: string; message: string } | undefined;
  notice?: { code: string; message: string } | undefined;
}

export type RequestEvent = ChangeEvent | EndEvent;

/** Something happened to one of all requests. */
export interface AnyChangeEvent extends Omit<ChangeEvent, "by" | "note"> {
  /** The request's id. */
  id: string;
  reference?: string | undefined;
  tenant?: string | undefined;
  group?: { id: string; n: number; of: number } | undefined;
  waiting?: { for: string; until: string } | undefined;
  failure?: { code: string } | undefined;
}

/** Changes were missed: list the requests anew. */
export interface GapEvent {
  type: "gap";
}

export type AnyRequestEvent = AnyChangeEvent | GapEvent;

export interface FollowOptions {
  /** `eventId` of the last event that you have seen. */
  lastEventId?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** How often is asked where no stream is to be had, in milliseconds. */
const POLL_MS = 2_000;
/** Asked for so long before a stream is tried again. */
const POLLED_MS = 60_000;
/** The server shows a sign of life every 15 seconds. */
const QUIET_MS = 45_000;
/** Until the server has said when to come again. */
const RETRY_MS = 2_000;
/** So many streams in a row may fail without a single message. */
const FAILURES_MOST = 5;

export interface Times {
  pollMs?: number | undefined;
  polledMs?: number | undefined;
  quietMs?: number | undefined;
  retryMs?: number | undefined;
}

/** Why there is no stream, as far as asking helps. */
const NO_STREAM = ["too-many-streams", "unexpected-answer", "not-found", "not-acceptable", "method-not-allowed"];
const FLEETING = [429, 502, 503, 504];

const isFleeting = (error: unknown) =>
  error instanceof SignpipeError &&
  error.code !== "too-many-streams" &&
  (error.code === "no-answer" || (error.status !== undefined && FLEETING.includes(error.status)));
const isNoStream = (error: unknown) => error instanceof SignpipeError && NO_STREAM.includes(error.code);

interface Following {
  lastId: string;
  retryMs: number;
  /** Whether the last stream was open and gave no sign of life: something on the way may be holding it back. */
  isSilent: boolean;
}

interface StreamOptions extends FollowOptions {
  query?: Record<string, string | undefined>;
  quietMs?: number | undefined;
  onOpen?: () => void;
}

/**
 * The messages of one stream, until it ends or breaks off. Nothing to come (204) is undefined. Throws SignpipeError
 * "no-answer" when it breaks off or falls silent.
 */
async function* readStream(
  calls: Calls,
  path: string,
  at: Following,
  { query, signal, quietMs = QUIET_MS, onOpen }: StreamOptions,
): AsyncGenerator<Message | undefined, void, undefined> {
  at.isSilent = false;
  const { response, over } = await calls.open({
    path,
    ...(query && { query }),
    headers: { accept: "text/event-stream", ...(at.lastId !== "" && { "last-event-id": at.lastId }) },
    retries: 0,
    signal,
  });
  try {
    if (response.status === 204) return yield undefined;
    if (!/^text\/event-stream\b/.test(response.headers.get("content-type") ?? "") || !response.body) {
      throw unexpected(response.status);
    }
    onOpen?.();
    const messages = readMessages(response.body, {
      quietMs,
      onQuiet() {
        at.isSilent = true;
        over.abort();
      },
      onRetry: (ms) => (at.retryMs = ms),
    });
    for await (const message of messages) {
      if (message.lastId !== "") at.lastId = message.lastId;
      yield message;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof SignpipeError ? error : noAnswer("The stream of events broke off", error);
  } finally {
    // Whoever stops to read lets go of the connection.
    over.abort();
  }
}

/** Follows one request to its end: as a stream, taken up again where it broke off; by asking, where there is none. */
export async function* followRequest(
  calls: Calls,
  id: string,
  { lastEventId = "", signal, ...times }: FollowOptions & Times,
): AsyncGenerator<RequestEvent, void, undefined> {
  const at: Following = { lastId: lastEventId, retryMs: times.retryMs ?? RETRY_MS, isSilent: false };
  const path = `/v1/requests/${encodeURIComponent(id)}`;
  for (let failures = 0; ;) {
    try {
      for await (const message of readStream(calls, `${path}/events`, at, { signal, quietMs: times.quietMs })) {
        failures = 0;
        if (message === undefined) return yield toEnd((await calls.json<Request>({ path, signal })).value);
        const told = toTold(message);
        if (message.event === "change") yield { type: "change", eventId: message.lastId, ...told } as ChangeEvent;
        if (message.event === "end") return yield { type: "end", ...told } as EndEvent;
      }
    } catch (error) {
      if (!isFleeting(error) && !isNoStream(error)) throw error;
      failures += isFleeting(error) && !at.isSilent ? 1 : FAILURES_MOST;
      if (failures >= FAILURES_MOST) {
        const isOver = yield* pollRequest(calls, id, at, { signal, ...times });
        if (isOver) return;
        failures = 0;
        continue;
      }
    }
    await pause(at.retryMs * (0.5 + Math.random()), undefined, { ...(signal && { signal }) });
  }
}

/** The same by asking for the history, for a while. Whether the request is over. Throws what its calls throw. */
async function* pollRequest(
  calls: Calls,
  id: string,
  at: Following,
  { signal, pollMs = POLL_MS, polledMs = POLLED_MS }: FollowOptions & Times,
): AsyncGenerator<RequestEvent, boolean, undefined> {
  const path = `/v1/requests/${encodeURIComponent(id)}`;
  for (const untilMs = Date.now() + polledMs; ;) {
    // The request first: the history that is read after it has all that led there.
    const { value: request } = await calls.json<Request>({ path, signal });
    const { items } = (await calls.json<History>({ path: `${path}/history`, signal })).value;
    for (const line of newLines(items, at.lastId)) {
      at.lastId = line.eventId;
      yield line;
    }
    if (isOver(request)) {
      yield toEnd(request);
      return true;
    }
    if (Date.now() >= untilMs) return false;
    await pause(pollMs, undefined, { ...(signal && { signal }) });
  }
}

/**
 * The lines of a history behind a message, under the ids that the stream gives them: the number of the line and its time.
 * A history that has other numbers since is told from that time on, of which some are told twice.
 */
export function newLines(items: History["items"], lastId: string): ChangeEvent[] {
  const lines = items.map(({ at, event, stage, phase, by, note }, i): ChangeEvent => {
    const eventId = `${i + 1}-${Date.parse(at).toString(36)}`;
    return { type: "change", eventId, at, event, stage, state: phase as State, by, note };
  });
  if (lastId === "") return lines;
  const n = Number.parseInt(lastId, 10);
  if (lines[n - 1]?.eventId === lastId) return lines.slice(n);
  const sinceMs = Number.parseInt(lastId.split("-")[1] ?? "0", 36);
  return lines.filter(({ at }) => Date.parse(at) >= sinceMs);
}

/** Follows all requests that the key may see. Has no end; throws when a stream is not to be had again and again. */
export async function* followAll(
  calls: Calls,
  query: Record<string, string | undefined>,
  { lastEventId = "", signal, ...times }: FollowOptions & Times,
): AsyncGenerator<AnyRequestEvent, void, undefined> {
  const at: Following = { lastId: lastEventId, retryMs: times.retryMs ?? RETRY_MS, isSilent: false };
  let failures = 0;
  const options = { query, signal, quietMs: times.quietMs, onOpen: () => (failures = 0) };
  for (;;) {
    let waitMs = 0;
    try {
      for await (const message of readStream(calls, "/v1/events", at, options)) {
        if (message?.event === "gap") yield { type: "gap" };
        if (message?.event === "change") {
          yield { type: "change", eventId: message.lastId, ...toTold(message) } as AnyChangeEvent;
        }
      }
    } catch (error) {
      if (!(error instanceof SignpipeError) || !(isFleeting(error) || error.code === "too-many-streams")) throw error;
      if (++failures >= FAILURES_MOST) throw error;
      waitMs = error.retryAfterMs ?? 0;
    }
    const againMs = Math.max(waitMs, at.retryMs * 2 ** failures) * (0.5 + Math.random());
    await pause(againMs, undefined, { ...(signal && { signal }) });
    // Without the id of any message the server cannot tell what was missed meanwhile.
    if (at.lastId === "") yield { type: "gap" };
  }
}

export function isOver({ state }: { state: State }): boolean {
  return !["queued", "running", "waiting", "retrying"].includes(state);
}

function toEnd({ id, stage, state, failure, notice }: Request): EndEvent {
  return { type: "end", id, stage, state, ...(failure && { failure }), ...(notice && { notice }) };
}

function toTold({ data }: Message): object {
  const told: unknown = JSON.parse(data);
  if (typeof told !== "object" || told === null) throw unexpected(200);
  return told;
}
