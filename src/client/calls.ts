import { setTimeout as pause } from "node:timers/promises";
import { SignpipeError } from "./error.ts";
import { pauseBeforeRetry } from "./retry.ts";
import type { FieldError } from "./schema.ts";

/** A body that can be sent, perhaps more than once. */
export interface Sending {
  headers: Record<string, string>;
  /** A fresh body for an attempt. */
  open(): ReadableStream<Uint8Array>;
  /** Whether another attempt can have the same body. */
  isRepeatable(): boolean;
  /** Why the last body could not be read to its end, when that is why the attempt failed. */
  failure(): unknown;
}

export interface Call {
  method?: "GET" | "POST";
  path: string;
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string>;
  json?: unknown;
  sending?: Sending;
  /** Whether it may be made again although the one before may have worked. */
  isSafe?: boolean;
  /** Instead of the client's. */
  retries?: number;
  /** For the answer to begin, or to be there as a whole where it is JSON. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

export interface CallsOptions {
  url: string;
  key: string;
  retries: number;
  timeoutMs: number;
  fetch: typeof fetch;
}

export type Calls = ReturnType<typeof createCalls>;

/** HTTP to the API: the key, problems as errors, retries. No error has the key or a body in it. */
export function createCalls({ url, key, retries: standardRetries, timeoutMs: standardMs, fetch }: CallsOptions) {
  const base = toBase(url);
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TypeError("key must be an API key: visible ASCII characters.");

  async function attempt(call: Call, over: AbortSignal): Promise<Response> {
    const { method = "GET", path, query = {}, headers = {}, json, sending } = call;
    const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
      value === undefined ? [] : [[name, String(value)]],
    );
    const search = given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
    const response = await fetch(`${base}${path}${search}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        accept: "application/json",
        ...(json !== undefined && { "content-type": "application/json" }),
        ...sending?.headers,
        ...headers,
      },
      ...(json !== undefined && { body: JSON.stringify(json) }),
      // "half" has to be said of a body that is a stream. @source Fetch Standard, RequestInit
      ...(sending && { body: sending.open(), duplex: "half" }),
      // The key is for this server, and no other.
      redirect: "error",
      signal: over,
    });
    if (response.status >= 400) throw toError(response, await response.text());
    return response;
  }

  /** The answer of a call, as `read` makes it of it, within the call's time and with its retries. */
  async function run<T>(call: Call, read: (response: Response, over: AbortController) => Promise<T>): Promise<T> {
    const { method = "GET", sending, isSafe = method === "GET", retries = standardRetries, signal } = call;
    const timeoutMs = call.timeoutMs ?? standardMs;
    for (let attempts = 1; ; attempts++) {
      signal?.throwIfAborted();
      const over = new AbortController();
      const timer = setTimeout(() => over.abort(noAnswer(`Nobody answered within ${timeoutMs / 1000} s`)), timeoutMs);
      const both = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
      try {
        return await read(await attempt(call, both), over);
      } catch (thrown) {
        signal?.throwIfAborted();
        const error = sending?.failure() ?? toFailure(thrown, over.signal);
        const canRepeat = sending?.isRepeatable() ?? true;
        const pauseMs = canRepeat ? pauseBeforeRetry({ error, attempt: attempts, retries, isSafe }) : undefined;
        if (pauseMs === undefined) throw error;
        await pause(pauseMs, undefined, { ...(signal && { signal }) });
      } finally {
        clearTimeout(timer);
      }
    }
  }

  return {
    /** An answer in JSON, with its headers. What it is, is up to the API of the same version. */
    async json<T extends object>(call: Call): Promise<{ value: T; headers: Headers }> {
      return await run(call, async (response) => {
        const value = toJson(await response.text());
        if (typeof value !== "object" || value === null) throw unexpected(response.status);
        return { value: value as T, headers: response.headers };
      });
    },

    /**
     * An answer whose body is still to be read, and what gives it up. `timeoutMs` is for its beginning; whoever reads the
     * body says how long that may take.
     */
    async open(call: Call): Promise<{ response: Response; over: AbortController }> {
      return await run(call, async (response, over) => ({ response, over }));
    },
  };
}

function toBase(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw new TypeError("url must be the address of the API, like https://signpipe.example.");
  }
  if (url.username !== "" || url.password !== "") throw new TypeError("url must have no name or password in it.");
  return url.href.replace(/\/+$/, "");
}

/** Why an attempt failed: our own reason, else that the connection did. */
function toFailure(thrown: unknown, over: AbortSignal): unknown {
  if (over.aborted) return over.reason;
  if (thrown instanceof SignpipeError) return thrown;
  // fetch says "TypeError" of whatever happened to the connection. @source Fetch Standard, "network error"
  const isNetwork = thrown instanceof TypeError || (thrown instanceof Error && "code" in thrown);
  return isNetwork ? noAnswer("The API did not answer, or its answer broke off", thrown) : thrown;
}

export function noAnswer(what: string, cause?: unknown): SignpipeError {
  return new SignpipeError("no-answer", `${what}: whether the call had an effect is not known.`, { cause });
}

export function unexpected(status: number): SignpipeError {
  const detail = `What answered (with ${status}) is not signpipe's API: look at the address.`;
  return new SignpipeError("unexpected-answer", detail, { status });
}

/** An answer that is no success, as the problem that it tells. @source RFC 9457 §3; RFC 9110 §10.2.3 */
function toError({ status, headers }: Response, text: string): SignpipeError {
  const told = toJson(text);
  const problem: Record<string, unknown> = typeof told === "object" && told !== null ? { ...told } : {};
  const { code, detail, title, correlation_id: correlationId, errors } = problem;
  const retryAfterMs = toWaitMs(headers.get("retry-after"));
  if (typeof code !== "string") {
    const { message } = unexpected(status);
    return new SignpipeError("unexpected-answer", message, { status, retryAfterMs });
  }
  return new SignpipeError(code, textOf(detail) ?? textOf(title) ?? `The API answered ${status}.`, {
    status,
    retryAfterMs,
    correlationId: textOf(correlationId) ?? headers.get("x-correlation-id") ?? undefined,
    errors: Array.isArray(errors) ? (errors as FieldError[]) : undefined,
  });
}

/** Seconds, or a date. */
function toWaitMs(text: string | null): number | undefined {
  if (text === null) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

const textOf = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

function toJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
