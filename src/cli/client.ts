import { setTimeout as pause } from "node:timers/promises";
import { type Dispatcher, request } from "undici";
import { z } from "zod";
import { isAlive, readRunFile, shown, type Target } from "./target.ts";
import { CliError, EXIT, visible } from "./terminal.ts";

/** A request as the API tells it. What is not named here is passed through to --json. */
const Request = z.looseObject({
  id: z.string(),
  workflow: z.string(),
  stage: z.string(),
  phase: z.string(),
  state: z.string(),
  reference: z.string().optional(),
  tenant: z.string().optional(),
  group: z.object({ id: z.string(), n: z.number(), of: z.number() }).optional(),
  waiting: z
    .object({ for: z.string(), since: z.string(), until: z.string(), detail: z.string().optional() })
    .optional(),
  failure: z.object({ code: z.string(), message: z.string() }).optional(),
  notice: z.object({ code: z.string(), message: z.string() }).optional(),
  bundle: z.object({ is_open: z.boolean(), most: z.number() }).optional(),
  documents: z.array(z.looseObject({ name: z.string(), sha256: z.string(), signed_sha256: z.string().optional() })),
  enclosures: z.array(z.looseObject({ name: z.string() })).optional(),
  request_pk: z.number().optional(),
  former_request_pks: z.array(z.number()).optional(),
  videoid_link: z.string().optional(),
  reminders: z.object({ count: z.number(), last_at: z.string() }).optional(),
  order: z
    .looseObject({
      kind: z.string(),
      outcome: z.string(),
      code: z.string().optional(),
      fields: z.array(z.string()).optional(),
    })
    .optional(),
  created_at: z.string(),
  updated_at: z.string(),
});
export type Request = z.infer<typeof Request>;

const Page = z.looseObject({ items: z.array(Request), next_cursor: z.string().nullish() });
const HistoryLine = z.looseObject({
  at: z.string(),
  event: z.string(),
  stage: z.string(),
  phase: z.string(),
  by: z.string().optional(),
  note: z.string().optional(),
});
export type HistoryLine = z.infer<typeof HistoryLine>;
const History = z.looseObject({ items: z.array(HistoryLine) });
const Accepted = z.looseObject({
  id: z.string(),
  state: z.string(),
  group: z.looseObject({ id: z.string(), requests: z.array(z.string()) }).optional(),
});
export type Accepted = z.infer<typeof Accepted>;

const Because = z.looseObject({ code: z.string(), message: z.string() });
/** A batch as the API tells it. */
const Batch = z.looseObject({
  id: z.string(),
  name: z.string().optional(),
  state: z.string(),
  priority: z.number(),
  asked: z.string().optional(),
  held: Because.optional(),
  stands: Because.optional(),
  rows: z.number(),
  counts: z.record(z.string(), z.number()),
  over: z.number(),
  waiting_for_people: z.number(),
  estimated_finish_at: z.string().optional(),
  created_at: z.string(),
});
export type Batch = z.infer<typeof Batch>;
const BatchPage = z.looseObject({ items: z.array(Batch), next_cursor: z.string().nullish() });
const Report = z.looseObject({
  rows: z.number(),
  good: z.number(),
  rejected: z.number(),
  problems: z.array(z.object({ row: z.number(), column: z.string(), message: z.string() })),
  to_fetch: z.number(),
  unused_files: z.array(z.string()),
});
export type Report = z.infer<typeof Report>;
const BatchAccepted = z.looseObject({ batch: Batch, report: Report });
const BatchChecked = z.looseObject({ report: Report });

const Standstills = z.looseObject({
  items: z.array(z.looseObject({ lane: z.string(), code: z.string(), reason: z.string(), since: z.string() })),
});

const Notification = z.looseObject({
  id: z.string(),
  type: z.string(),
  timestamp: z.string(),
  state: z.string(),
  attempts: z.number(),
  status: z.number().optional(),
  code: z.string().optional(),
  next_at: z.string().optional(),
});
export type Notification = z.infer<typeof Notification>;
const Notifications = z.looseObject({ items: z.array(Notification) });
const Replayed = z.looseObject({ replayed: z.number() });

const Problem = z.looseObject({
  detail: z.string().optional(),
  title: z.string().optional(),
  code: z.string().optional(),
  errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
});

/** The API said no. `code` is the problem's, for the few commands that care. */
export class Refused extends CliError {
  readonly code: string;
  readonly status: number;
  constructor(message: string, status: number, code: string) {
    super(message, EXIT.error);
    this.code = code;
    this.status = status;
  }
}

/** A body to send: made anew for each attempt, because a stream can be sent only once. */
export interface Sending {
  headers: Record<string, string>;
  body(): AsyncIterable<Uint8Array>;
}

export type Client = ReturnType<typeof createClient>;

const HEADERS_MS = 30_000;
/** An upload is answered only after its documents are stored and checked. */
const UPLOAD_MS = 10 * 60_000;
/** The same for a batch, whose files are many. */
const BATCH_MS = 60 * 60_000;
const TRIES = 4;
const ENDS = ["done", "refused", "cancelled", "expired", "failed"];

export function isOver(state: string): boolean {
  return ENDS.includes(state);
}

/** The HTTP API, one function per call. Each throws CliError with one sentence that says what to do. */
export function createClient(
  target: Target,
  { dataDir, signal }: { dataDir: string; signal?: AbortSignal | undefined },
) {
  async function call<T>(
    schema: z.ZodType<T>,
    method: Dispatcher.HttpMethod,
    path: string,
    { json, sending, timeoutMs = HEADERS_MS }: { json?: unknown; sending?: Sending; timeoutMs?: number } = {},
  ): Promise<T> {
    const { statusCode, body } = await request(`${target.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${target.key}`,
        accept: "application/json",
        ...(json !== undefined && { "content-type": "application/json" }),
        ...sending?.headers,
      },
      ...(json !== undefined && { body: JSON.stringify(json) }),
      ...(sending && { body: sending.body() as unknown as Dispatcher.DispatchOptions["body"] & {} }),
      headersTimeout: timeoutMs,
      bodyTimeout: HEADERS_MS,
      ...(signal && { signal }),
    }).catch((error: unknown) => {
      throw noAnswer(error);
    });
    const text = await body.text().catch((error: unknown) => {
      throw noAnswer(error);
    });
    const value = toJson(text);
    if (statusCode >= 400) throw refused(statusCode, value);
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new CliError(`What answers at ${shown(target.url)} is not signpipe's API: check API_URL.`);
  }

  /** A file that the API gives, as it comes. The stream fails with CliError when it breaks off. */
  async function* download(path: string): AsyncGenerator<Buffer, void, undefined> {
    try {
      const { statusCode, body } = await request(`${target.url}${path}`, {
        headers: { authorization: `Bearer ${target.key}` },
        headersTimeout: HEADERS_MS,
        bodyTimeout: HEADERS_MS,
        ...(signal && { signal }),
      });
      if (statusCode >= 400) throw refused(statusCode, toJson(await body.text()));
      yield* body as AsyncIterable<Buffer>;
    } catch (error) {
      throw noAnswer(error);
    }
  }

  function noAnswer(error: unknown): Error {
    if (signal?.aborted) return new CliError("Interrupted.", EXIT.interrupted);
    if (error instanceof CliError) return error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "no answer";
    const run = target.from === "run.json" ? readRunFile(dataDir) : undefined;
    if (run && !isAlive(run.pid)) {
      return new NoAnswer(
        `The signpipe on ${dataDir} has stopped (its process ${run.pid} is gone): start it with "npm start".`,
      );
    }
    const remedy = target.from === "run.json" ? 'start it with "npm start"' : "check API_URL, and that it runs";
    return new NoAnswer(`The API at ${shown(target.url)} does not answer (${code}): ${remedy}.`);
  }

  function refused(status: number, value: unknown): Refused {
    const { detail, title, code = "unknown", errors = [] } = Problem.catch({}).parse(value);
    if (status === 401) {
      const remedy = "set API_KEY to the secret of one of its API_KEYS";
      return new Refused(
        `The API at ${shown(target.url)} does not know the key that was sent: ${remedy}.`,
        status,
        code,
      );
    }
    // The detail tells the first of them.
    const more = errors.filter(({ field, message }, i) => !detail?.includes(i === 0 ? message : field));
    const fields = more.map(({ field, message }) => `${field} ${message.replace(/\.$/, "")}.`);
    const sentence = [detail ?? title ?? `The API answered ${status}.`, ...fields].join(" ");
    return new Refused(visible(sentence), status, code);
  }

  /** What is not answered is sent again under the same Idempotency-Key, so that nothing is made twice. */
  async function send<T>(
    schema: z.ZodType<T>,
    path: string,
    sending: Sending,
    { again, timeoutMs }: { again: (waitMs: number) => void; timeoutMs: number },
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await call(schema, "POST", path, { sending, timeoutMs });
      } catch (error) {
        const isBusy = error instanceof Refused && (error.status === 503 || error.code === "idempotency-in-progress");
        if (attempt >= TRIES || !(isBusy || error instanceof NoAnswer)) throw error;
        const waitMs = 250 * 2 ** attempt;
        again(waitMs);
        await pause(waitMs);
      }
    }
  }

  const page = (query: Record<string, string | undefined>) => {
    const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return call(Page, "GET", `/v1/requests?${new URLSearchParams(given).toString()}`);
  };
  const at = (id: string, rest = "") => `/v1/requests/${encodeURIComponent(id)}${rest}`;

  return {
    target,
    page,
    get: (id: string) => call(Request, "GET", at(id)),
    /** The film of the identification. */
    video: (id: string) => download(at(id, "/video")),
    /** A file that was handed in to show who the signer is. */
    enclosure: (id: string, name: string) => download(at(id, `/enclosures/${encodeURIComponent(name)}`)),
    history: async (id: string) => (await call(History, "GET", at(id, "/history"))).items,
    /** What the request's callback address was told. */
    notifications: async (id: string) => (await call(Notifications, "GET", at(id, "/notifications"))).items,
    /** Tells one of them once more. */
    replay: (id: string, notification: string) =>
      call(Notification, "POST", at(id, `/notifications/${encodeURIComponent(notification)}/replay`)),
    /** The same with all that came about since then and were not delivered. How many. */
    replaySince: async (since: string) =>
      (await call(Replayed, "POST", "/v1/notifications/replay", { json: { since } })).replayed,
    /** Calls to the provider that stand still. */
    standstills: async () => (await call(Standstills, "GET", "/v1/lanes")).items,
    resume: async () => (await call(Standstills, "POST", "/v1/lanes/resume")).items,
    /** Acts on a request: remind, correct, restart, approve, refuse, code, code/resend, cancel, retry. */
    act: (id: string, act: string, json?: unknown) =>
      call(Request, "POST", at(id, `/${act}`), json === undefined ? {} : { json }),

    /**
     * Hands documents in. What is not answered is sent again under the same Idempotency-Key, so that nothing is made
     * twice; `again` is told.
     */
    submit: (sending: Sending, again: (waitMs: number) => void): Promise<Accepted> =>
      send(Accepted, "/v1/requests", sending, { again, timeoutMs: UPLOAD_MS }),

    batches: {
      page: (query: Record<string, string>) =>
        call(BatchPage, "GET", `/v1/batches?${new URLSearchParams(query).toString()}`),
      get: (id: string) => call(Batch, "GET", `/v1/batches/${encodeURIComponent(id)}`),
      /** Acts on a batch: pause, resume, cancel, retry, priority. */
      act: (id: string, act: string, json?: unknown) =>
        call(Batch, "POST", `/v1/batches/${encodeURIComponent(id)}/${act}`, json === undefined ? {} : { json }),
      results: (id: string, name: string) => download(`/v1/batches/${encodeURIComponent(id)}/${name}`),
      submit: (sending: Sending, again: (waitMs: number) => void) =>
        send(BatchAccepted, "/v1/batches", sending, { again, timeoutMs: BATCH_MS }),
      dryRun: (sending: Sending, again: (waitMs: number) => void) =>
        send(BatchChecked, "/v1/batches?dry_run=true", sending, { again, timeoutMs: BATCH_MS }),
    },
  };
}

/** Nobody answered: whether the call worked is not known. */
export class NoAnswer extends CliError {}

function toJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
