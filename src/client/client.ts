import { randomUUID } from "node:crypto";
import { type Call, createCalls } from "./calls.ts";
import { type DocumentSent, isByAddress, toMultipart } from "./documents.ts";
import { download, type Download, type DownloadOptions } from "./download.ts";
import { SignpipeError } from "./error.ts";
import {
  type AnyRequestEvent,
  followAll,
  followRequest,
  type FollowOptions,
  isOver,
  type RequestEvent,
} from "./events.ts";
import type {
  Accepted,
  Correction,
  DocumentByAddress,
  History,
  Manifest,
  Request,
  RequestList,
  State,
  WaitingFor,
} from "./schema.ts";

export interface ClientOptions {
  /** Address of the API, like https://signpipe.example. */
  url: string;
  /** One of the API keys: the part behind the colon. */
  key: string;
  /** How often a call is made again at the most, where that is safe; 4 when not given. */
  retries?: number;
  /** How long an answer may take, in milliseconds; 30 s when not given. */
  timeoutMs?: number;
  /** How long a submission may take, its documents included, in milliseconds; 30 minutes when not given. */
  uploadTimeoutMs?: number;
  /** What is called in the place of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface SubmitOptions extends CallOptions {
  /** The files that the manifest names under `identity`, under these names. Not with documents by their address. */
  enclosures?: readonly DocumentSent[];
  /** 1 to 255 visible ASCII characters. Made when not given. */
  idempotencyKey?: string;
}

export interface Submitted extends Accepted {
  /** It was accepted before, under the same key. */
  replayed: boolean;
  idempotencyKey: string;
}

/** Which requests; all that are given have to fit. */
export interface Filters {
  state?: State | undefined;
  stage?: string | undefined;
  workflow?: string | undefined;
  waiting_for?: WaitingFor | undefined;
  source?: "inbox" | "api" | undefined;
  reference?: string | undefined;
  tenant?: string | undefined;
  group?: string | undefined;
  /** `2026-01-31`, or `2026-01-31T08:00:00Z`. */
  created_since?: string | undefined;
  created_until?: string | undefined;
}

export interface EventFilters {
  state?: State | undefined;
  reference?: string | undefined;
  tenant?: string | undefined;
  group?: string | undefined;
}

/** What is waited for: that the request is over, a state, somebody's turn, or whatever a function says. */
export type Until =
  "over" | State | { waiting_for: WaitingFor | readonly WaitingFor[] } | ((request: Request) => boolean);

export interface WaitOptions extends CallOptions {
  /** "over" when not given. */
  until?: Until;
  /** In milliseconds; for ever when not given. */
  timeoutMs?: number;
}

const RETRIES = 4;
const TIMEOUT_MS = 30_000;
/** As long as the server lets an upload take. */
const UPLOAD_MS = 30 * 60_000;
/** Longest delay of a timer, about 24 days. @source Node.js "Timers", setTimeout */
const TIMER_MOST_MS = 2 ** 31 - 1;

export type Client = ReturnType<typeof createClient>;

/**
 * The HTTP API, one function for each call. They reject with SignpipeError, or with the reason of an aborted signal.
 * What may safely be made again is made again by itself: reading, submitting, and whatever never reached the server. A
 * decision, a code, a cancellation of which no answer came is not: look at the request first.
 */
export function createClient({
  url,
  key,
  retries = RETRIES,
  timeoutMs = TIMEOUT_MS,
  uploadTimeoutMs = UPLOAD_MS,
  fetch = globalThis.fetch,
}: ClientOptions) {
  const calls = createCalls({ url, key, retries, timeoutMs, fetch });
  const at = (id: string, rest = "") => `/v1/requests/${encodeURIComponent(id)}${rest}`;

  async function act(id: string, what: string, json?: unknown, { signal }: CallOptions = {}): Promise<Request> {
    const call: Call = { method: "POST", path: at(id, `/${what}`), ...(json !== undefined && { json }), signal };
    return (await calls.json<Request>(call)).value;
  }

  async function get(id: string, { signal }: CallOptions = {}): Promise<Request> {
    return (await calls.json<Request>({ path: at(id), signal })).value;
  }

  async function listPage(
    filters: Filters & { limit?: number | undefined; cursor?: string | undefined } = {},
    { signal }: CallOptions = {},
  ): Promise<RequestList> {
    return (await calls.json<RequestList>({ path: "/v1/requests", query: { ...filters }, signal })).value;
  }

  async function signed(id: string, n: number, options: DownloadOptions = {}): Promise<Download> {
    return await download(calls, at(id, `/documents/${n}/signed`), options);
  }

  return {
    /**
     * Hands documents in. They are read while they are sent; with the same Idempotency-Key the call is made again as long as
     * that may help, and makes nothing twice. After an error, `idempotencyKey` of the error is what to repeat it with.
     */
    async submit(
      manifest: Manifest,
      documents: readonly DocumentSent[] | readonly DocumentByAddress[],
      { enclosures = [], idempotencyKey = randomUUID(), signal }: SubmitOptions = {},
    ): Promise<Submitted> {
      const call = { method: "POST", path: "/v1/requests", isSafe: true, timeoutMs: uploadTimeoutMs, signal } as const;
      const headers = { "idempotency-key": idempotencyKey };
      const body = await toBody(manifest, documents, enclosures);
      try {
        const { value, headers: answered } = await calls.json<Accepted>({ ...call, headers, ...body });
        return { ...value, replayed: answered.get("idempotency-replayed") === "true", idempotencyKey };
      } catch (error) {
        if (!(error instanceof SignpipeError)) throw error;
        throw new SignpipeError(error.code, error.detail, { ...error, idempotencyKey, cause: error.cause });
      }
    },

    get,

    /** Every change of its state, oldest first. */
    async history(id: string, { signal }: CallOptions = {}): Promise<History["items"]> {
      return (await calls.json<History>({ path: at(id, "/history"), signal })).value.items;
    },

    listPage,

    /** All requests that fit, newest first, a page at a time as they are read. */
    async *list(
      filters: Filters & { limit?: number | undefined } = {},
      options: CallOptions = {},
    ): AsyncGenerator<Request, void, undefined> {
      for (let cursor: string | undefined; ;) {
        const page = await listPage({ ...filters, cursor }, options);
        yield* page.items;
        if (page.next_cursor === null) return;
        cursor = page.next_cursor;
      }
    },

    /**
     * Waits until the request is as said, and gives it. Rejects with SignpipeError "ended-otherwise" when it is over and is
     * not, and "wait-timeout". What lasts for a moment only may be over before it is seen.
     */
    async wait(id: string, { until = "over", timeoutMs, signal }: WaitOptions = {}): Promise<Request> {
      const isThere = toPredicate(until);
      const late = timeoutMs === undefined ? undefined : AbortSignal.timeout(Math.min(timeoutMs, TIMER_MOST_MS));
      const signals = [signal, late].filter((one) => one !== undefined);
      const options = signals.length === 0 ? {} : { signal: AbortSignal.any(signals) };
      /** The request when it is as said; throws when it will never be. */
      const look = async (seen: Request): Promise<Request | undefined> => {
        if (isThere(seen)) return seen;
        if (!isOver(seen)) return undefined;
        const why = seen.failure ? ` (${seen.failure.code})` : "";
        throw new SignpipeError("ended-otherwise", `The request is ${seen.state}${why}, and not what was waited for.`);
      };
      try {
        let seen = await get(id, options);
        let found = await look(seen);
        if (found) return found;
        for await (const event of followRequest(calls, id, options)) {
          if (event.type === "change" && event.at < seen.updated_at) continue;
          seen = await get(id, options);
          found = await look(seen);
          if (found) return found;
        }
        throw new SignpipeError("ended-otherwise", "The request is over, and not what was waited for.");
      } catch (error) {
        signal?.throwIfAborted();
        if (!late?.aborted) throw error;
        throw new SignpipeError("wait-timeout", `The request was not what was waited for within ${timeoutMs} ms.`);
      }
    },

    /**
     * Follows a request: its history so far, or what came after `lastEventId`, then each change as it happens, then how it
     * ended. Taken up again by itself where the connection breaks; by asking every other second where there is no stream.
     */
    events: (id: string, options: FollowOptions = {}): AsyncGenerator<RequestEvent, void, undefined> =>
      followRequest(calls, id, options),

    /**
     * Follows all requests that the key may see, from now on or from `lastEventId` on; has no end. A `gap` says that changes
     * were missed: list the requests anew.
     */
    allEvents: (
      filters: EventFilters = {},
      options: FollowOptions = {},
    ): AsyncGenerator<AnyRequestEvent, void, undefined> => followAll(calls, { ...filters }, options),

    /** Has the signer reminded: the link once more, to be passed on. */
    remind: (id: string, options?: CallOptions) => act(id, "remind", undefined, options),
    /** Corrects the signer's data; `order` of the request tells what comes of it. */
    correct: (id: string, correction: Correction, options?: CallOptions) => act(id, "correct", correction, options),
    /** Begins the identification anew. */
    restart: (id: string, options?: CallOptions) => act(id, "restart", undefined, options),
    /** Approves the identification. The first decision holds. */
    approve: (id: string, options?: CallOptions) => act(id, "approve", undefined, options),
    /** Refuses the identification, for a reason in a sentence. */
    refuse: (id: string, reason: string, options?: CallOptions) => act(id, "refuse", { reason }, options),
    /** Hands over the signer's code. Whether it is the right one shows in the request a moment later. */
    code: (id: string, secret: string, options?: CallOptions) => act(id, "code", { secret }, options),
    /** Has a new code sent. */
    resend: (id: string, options?: CallOptions) => act(id, "code/resend", undefined, options),
    /** Cancels a request. How it ended shows in the request. */
    cancel: (id: string, options?: CallOptions) => act(id, "cancel", undefined, options),
    /** Takes a failed or expired request up again. */
    retry: (id: string, options?: CallOptions) => act(id, "retry", undefined, options),

    /** The nth signed document, counted from 1. */
    signed,
    /** The service contract, from the time on at which the signer is sent the code. */
    contract: (id: string, options: DownloadOptions = {}): Promise<Download> =>
      download(calls, at(id, "/contract"), options),

    /**
     * All signed documents of a request, one after the other, each of which has to be the one that the request's record says.
     * Whatever of one is not read when the next is asked for is let go.
     */
    async *results(id: string, options: CallOptions = {}): AsyncGenerator<Download, void, undefined> {
      const { documents } = await get(id, options);
      for (const [i, { signed_sha256: sha256 }] of documents.entries()) {
        const file = await signed(id, i + 1, { ...options, sha256 });
        try {
          yield file;
        } finally {
          file.cancel();
        }
      }
    },
  };
}

/** Documents that are sent, or that are fetched: one or the other. */
async function toBody(
  manifest: Manifest,
  documents: readonly (DocumentSent | DocumentByAddress)[],
  enclosures: readonly DocumentSent[],
): Promise<Pick<Call, "json" | "sending">> {
  const named = documents.filter(isByAddress);
  if (named.length === 0) return { sending: await toMultipart(manifest, documents as DocumentSent[], enclosures) };
  if (named.length < documents.length || enclosures.length > 0) {
    throw new TypeError("Documents by their address go with no other documents, and with no enclosures.");
  }
  return { json: { manifest, documents: named } };
}

function toPredicate(until: Until): (request: Request) => boolean {
  if (typeof until === "function") return until;
  if (until === "over") return isOver;
  if (typeof until === "string") return ({ state }) => state === until;
  const wanted: readonly string[] = [until.waiting_for].flat();
  return ({ state, waiting }) => state === "waiting" && waiting !== undefined && wanted.includes(waiting.for);
}
