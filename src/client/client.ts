import { randomUUID } from "node:crypto";
import { type Batches, createBatches } from "./batches.ts";
import { type Call, createCalls } from "./calls.ts";
import { type DocumentSent, type Field, isByAddress, toMultipart } from "./documents.ts";
import { download, type Download, type DownloadOptions, passOn, type Passed } from "./download.ts";
import { SignpipeError, underKey } from "./error.ts";
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
  Delivery,
  DocumentByAddress,
  History,
  Manifest,
  Request,
  RequestList,
  State,
  WaitingFor,
} from "./schema.ts";
import { deadline } from "./wait.ts";

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

/** Of a call that does something. */
export interface ActOptions extends CallOptions {
  /** 1 to 255 visible ASCII characters. Made when not given. */
  idempotencyKey?: string;
}

export interface SubmitOptions extends ActOptions {
  /** The files that the manifest names under `identity`, under these names. Not with documents by their address. */
  enclosures?: readonly DocumentSent[];
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
  /** The id of a batch. */
  batch?: string | undefined;
  /** `2026-01-31`, or `2026-01-31T08:00:00Z`. */
  created_since?: string | undefined;
  created_until?: string | undefined;
}

export interface EventFilters {
  state?: State | undefined;
  reference?: string | undefined;
  tenant?: string | undefined;
  group?: string | undefined;
  batch?: string | undefined;
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

export type Client = ReturnType<typeof createClient>;

/** Which file of the identification. */
export type EnclosureName = NonNullable<Request["enclosures"]>[number]["name"];

/**
 * The HTTP API, one function for each call. They reject with SignpipeError, or with the reason of an aborted signal.
 * What may safely be made again is made again by itself: reading, and whatever goes under an Idempotency-Key, which are
 * submissions and what is done at a request. The server does it once, however often it is asked.
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

  async function act(
    id: string,
    what: string,
    json?: unknown,
    { idempotencyKey = randomUUID(), signal }: ActOptions = {},
  ): Promise<Request> {
    const headers = { "idempotency-key": idempotencyKey };
    const body = json === undefined ? {} : { json };
    const call: Call = { method: "POST", path: at(id, `/${what}`), headers, ...body, isSafe: true, signal };
    return (await underKey(idempotencyKey, () => calls.json<Request>(call))).value;
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
      const { value, headers: answered } = await underKey(idempotencyKey, () =>
        calls.json<Accepted>({ ...call, headers, ...body }),
      );
      return { ...value, replayed: answered.get("idempotency-replayed") === "true", idempotencyKey };
    },

    /** Many requests at once, from a table. */
    batches: createBatches(calls, { uploadTimeoutMs }) satisfies Batches,

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
      /** The request when it is as said; throws when it will never be. */
      const look = async (seen: Request): Promise<Request | undefined> => {
        if (isThere(seen)) return seen;
        if (!isOver(seen)) return undefined;
        const why = seen.failure ? ` (${seen.failure.code})` : "";
        throw new SignpipeError("ended-otherwise", `The request is ${seen.state}${why}, and not what was waited for.`);
      };
      return await deadline({ timeoutMs, signal }, "The request").run(async (options) => {
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
      });
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
    remind: (id: string, options?: ActOptions) => act(id, "remind", undefined, options),
    /** Corrects the signer's data; `order` of the request tells what comes of it. */
    correct: (id: string, correction: Correction, options?: ActOptions) => act(id, "correct", correction, options),
    /** Begins the identification anew. */
    restart: (id: string, options?: ActOptions) => act(id, "restart", undefined, options),
    /** Approves the identification. The first decision holds. */
    approve: (id: string, options?: ActOptions) => act(id, "approve", undefined, options),
    /** Refuses the identification, for a reason in a sentence. */
    refuse: (id: string, reason: string, options?: ActOptions) => act(id, "refuse", { reason }, options),
    /** Hands over the signer's code. Whether it is the right one shows in the request a moment later. */
    code: (id: string, secret: string, options?: ActOptions) => act(id, "code", { secret }, options),
    /** Has a new code sent. */
    resend: (id: string, options?: ActOptions) => act(id, "code/resend", undefined, options),
    /** Cancels a request. How it ended shows in the request. */
    cancel: (id: string, options?: ActOptions) => act(id, "cancel", undefined, options),
    /** Takes a failed or expired request up again. */
    retry: (id: string, options?: ActOptions) => act(id, "retry", undefined, options),

    /** The nth signed document, counted from 1. */
    signed,
    /** The service contract, from the time on at which the signer is sent the code. */
    contract: (id: string, options: DownloadOptions = {}): Promise<Download> =>
      download(calls, at(id, "/contract"), options),
    /** A file with which it was shown who the signer is, for whoever decides; erased with the end of the request. */
    enclosure: (id: string, name: EnclosureName, options: CallOptions = {}): Promise<Passed> =>
      passOn(calls, at(id, `/enclosures/${name}`), options),
    /** The film of the identification, as the provider has it, for whoever decides. */
    video: (id: string, options: CallOptions = {}): Promise<Passed> => passOn(calls, at(id, "/video"), options),

    /** What the request's callback address was told, oldest first, and what became of it. */
    async notifications(id: string, { signal }: CallOptions = {}): Promise<Delivery[]> {
      return (await calls.json<{ items: Delivery[] }>({ path: at(id, "/notifications"), signal })).value.items;
    },
    /** Has one of these told once more, under the same id. */
    async replay(id: string, notification: string, { signal }: CallOptions = {}): Promise<Delivery> {
      const path = at(id, `/notifications/${encodeURIComponent(notification)}/replay`);
      return (await calls.json<Delivery>({ method: "POST", path, signal })).value;
    },
    /**
     * Has told once more what came about since then, an ISO 8601 time, and was not delivered, of all requests. How many these
     * are, a thousand at the most.
     */
    async replaySince(since: string, { signal }: CallOptions = {}): Promise<number> {
      const call = { method: "POST", path: "/v1/notifications/replay", json: { since }, signal } as const;
      return (await calls.json<{ replayed: number }>(call)).value.replayed;
    },

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
  if (named.length === 0) {
    const fields: Field[] = [
      { field: "file", label: (n) => `Document ${n}`, files: documents as DocumentSent[] },
      { field: "enclosure", label: (n) => `Enclosure ${n}`, files: enclosures },
    ];
    return { sending: await toMultipart({ manifest }, fields) };
  }
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
