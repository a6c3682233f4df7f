import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { type Dispatcher, Pool } from "undici";
import type { Log } from "../core/stage.ts";
import { CALLS, type CallName, nameOf, type PathIds, pathOf } from "./calls.ts";
import { type Failure, RetryableError } from "../core/errors.ts";
import { fromAnswer, fromSilence, toRetryAfterMs, unexpected } from "./errors.ts";
import { type Credentials, type Guard, type Heard, UNGUARDED } from "./guard.ts";
import type { Streamed } from "./sending.ts";
import { type Body, isErrorBody, toBody } from "./wire.ts";

const LONGEST_JSON_BYTES = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** Below the five seconds after which common servers hang up: a POST must not be written into a closing connection. */
const KEEP_ALIVE_MS = 4_000;

/** One call on its way out. */
export interface Sending {
  call: CallName;
  ids?: PathIds | undefined;
  /** Sent as JSON. */
  json?: object | undefined;
  /** Sent as it comes, with the length told beforehand. */
  stream?: Streamed | undefined;
  /** Everything secret or personal that is sent; it is cut out of whatever the provider says. */
  secrets?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
  /** The credentials among what is sent. */
  credentials?: Credentials | readonly Credentials[] | undefined;
  /** A look whether the provider answers at all: the guard is not asked, because it is the one that asks. */
  isProbe?: boolean | undefined;
  /** Bound on the whole call, the body of the answer included. */
  totalMs: number;
  /** Longest silence in between; the whole time when left out. */
  idleMs?: number | undefined;
}

/** An answer whose body is still to be read. `close` must be called in the end, whatever happened to the body. */
export interface Opened {
  status: number;
  headers: IncomingHttpHeaders;
  body: Readable;
  close(): void;
  /** The failure that an error while reading the body stands for. */
  broken(error: unknown): Error;
}

/** A successful answer. */
export interface Answer {
  status: number;
  body: Body;
}

export interface Http {
  /** Sends the call and waits for the head of the answer. */
  open(sending: Sending): Promise<Opened>;
  /** Sends the call and reads its small answer. Throws what the ANSWERS table says for anything but a success. */
  ask(sending: Sending): Promise<Answer>;
  /** Reads the rest of an answer that is not a success, and throws what it stands for. */
  refuse(sending: Sending, opened: Opened, first?: Buffer): Promise<never>;
  close(): Promise<void>;
}

export interface HttpOptions {
  url: URL;
  connections: number;
  guard?: Guard | undefined;
  log?: Log | undefined;
}

/** What is known about a call under way. */
interface Progress {
  begun: boolean;
  stop: AbortSignal;
}

/**
 * Marks when a call leaves: undici says so right before it writes the first byte, and not while the call queues. A call
 * that was stopped before never leaves.
 */
const noteBegin: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
  const { opaque } = options as { opaque?: Progress };
  return dispatch(options, {
    ...bound(handler),
    onRequestStart(controller, context) {
      if (opaque) opaque.begun = !opaque.stop.aborted;
      handler.onRequestStart?.(controller, context);
    },
  });
};

function bound(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
  return {
    onResponseStart: (controller, status, headers, text) =>
      handler.onResponseStart?.(controller, status, headers, text),
    onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
    onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
    onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
  };
}

/**
 * The one connection pool to the provider. It repeats nothing by itself, follows no redirect, checks certificates, and
 * sets every timeout. Calls beyond `connections` wait their turn, and that wait is known not to have left.
 */
export function createHttp({ url, connections, guard = UNGUARDED, log }: HttpOptions): Http {
  const basePath = url.pathname.replace(/\/+$/, "");
  const pool = new Pool(url.origin, {
    connections,
    pipelining: 1,
    allowH2: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
  });
  const dispatcher = pool.compose(noteBegin);
  const stillQueued = new WeakSet<Error>();

  /** Asks the guard, sends the call, and tells the guard when nothing came back. */
  async function send(sending: Sending): Promise<Opened> {
    if (sending.isProbe) return await dispatch(sending);
    const { call, signal } = sending;
    if (signal?.aborted) throw fromSilence(call, signal.reason, { begun: false, aborted: true });
    await guard.admit(sending);
    try {
      return await dispatch(sending);
    } catch (error) {
      throw (await guard.heard(sending, silenceOf(sending, error))) ?? error;
    }
  }

  /** Silence says something about the provider, unless we stopped the call, or it still waited for a connection. */
  function silenceOf({ signal, stream }: Sending, error: unknown): Heard {
    const isOurs = signal?.aborted || stream?.failure() !== undefined || stillQueued.has(error as Error);
    return isOurs || !(error instanceof RetryableError) ? { kind: "nothing" } : { kind: "fault" };
  }

  async function open(sending: Sending): Promise<Opened> {
    const opened = await send(sending);
    // Whoever opens reads a success by itself, and hands everything else to `refuse`.
    if (!sending.isProbe && opened.status < 300) await guard.heard(sending, { kind: "answer" });
    return opened;
  }

  /** Tells the guard of a failure that was read in an answer. The failure to throw. */
  async function told(sending: Sending, failure: Failure, opened: Opened): Promise<Failure> {
    return (await guard.heard(sending, heardIn(failure, opened))) ?? failure;
  }

  async function dispatch(sending: Sending): Promise<Opened> {
    const { call, json, stream, signal, totalMs, idleMs = totalMs } = sending;
    const path = basePath + pathOf(call, sending.ids);
    const stop = new AbortController();
    const progress: Progress = { begun: false, stop: stop.signal };
    const timer = setTimeout(() => stop.abort(new DOMException("no answer in time", "TimeoutError")), totalMs).unref();
    const giveUp = () => stop.abort(new DOMException("stopped by the caller", "AbortError"));
    const close = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", giveUp);
    };
    const broken = (error: unknown) => {
      const aborted = stop.signal.aborted;
      return fromSilence(call, aborted ? stop.signal.reason : error, { begun: progress.begun, aborted });
    };

    if (signal?.aborted) giveUp();
    else signal?.addEventListener("abort", giveUp, { once: true });
    const startedMs = performance.now();
    try {
      const request = dispatcher.request({
        method: CALLS[call].method,
        path,
        headers: headersOf(sending),
        body: stream ? (stream.body as unknown as Readable) : json ? JSON.stringify(json) : null,
        signal: stop.signal,
        headersTimeout: idleMs,
        bodyTimeout: idleMs,
        opaque: progress,
      });
      const { statusCode, headers, body } = await Promise.race([request, stoppedInQueue(progress)]);
      log?.debug({ call: nameOf(call), status: statusCode, durationMs: durationMs(startedMs) }, "provider answered");
      return { status: statusCode, headers, body, close, broken };
    } catch (error) {
      close();
      const failure = broken(error);
      if (stop.signal.aborted && !progress.begun) stillQueued.add(failure);
      log?.debug({ call: nameOf(call), code: failure.code, durationMs: durationMs(startedMs) }, "provider not heard");
      throw failure;
    }
  }

  async function readBody(sending: Sending, { body, close, broken }: Opened, first?: Buffer): Promise<Body> {
    const { call } = sending;
    const chunks: Buffer[] = first ? [first] : [];
    let sizeBytes = first?.length ?? 0;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        sizeBytes += chunk.length;
        if (sizeBytes > LONGEST_JSON_BYTES) throw unexpected(call, "a body of more than 1 MiB");
        chunks.push(chunk);
      }
    } catch (error) {
      if (sizeBytes > LONGEST_JSON_BYTES) throw error;
      const failure = broken(error);
      throw (await guard.heard(sending, silenceOf(sending, failure))) ?? failure;
    } finally {
      close();
    }
    return toBody(Buffer.concat(chunks).toString("utf8"));
  }

  async function refuse(sending: Sending, opened: Opened, first?: Buffer): Promise<never> {
    const body = await readBody(sending, opened, first);
    const retryAfter = one(opened.headers["retry-after"]);
    const { call, secrets } = sending;
    if (opened.status >= 300 || isErrorBody(body)) {
      throw await told(sending, fromAnswer(call, { status: opened.status, body, retryAfter }, secrets), opened);
    }
    throw unexpected(call, body.kind === "empty" ? "an empty body" : describe(body));
  }

  async function ask(sending: Sending): Promise<Answer> {
    const opened = await send(sending);
    const body = await readBody(sending, opened);
    const { status } = opened;
    if (status < 200 || status >= 300 || isErrorBody(body)) {
      const retryAfter = one(opened.headers["retry-after"]);
      throw await told(sending, fromAnswer(sending.call, { status, body, retryAfter }, sending.secrets), opened);
    }
    await guard.heard(sending, { kind: "answer" });
    if (body.kind === "html" || body.kind === "text") throw unexpected(sending.call, describe(body));
    return { status, body };
  }

  return { open, ask, refuse, close: () => pool.destroy() };
}

function heardIn(failure: Failure, { status, headers }: Opened): Heard {
  const waitMs = status === 429 || status === 503 ? toRetryAfterMs(one(headers["retry-after"])) : undefined;
  const isGeneral = failure.code === "rate-limited" || failure.code === "provider-error";
  if (waitMs !== undefined && isGeneral) return { kind: "busy", waitMs, failure };
  const isFault = failure.code === "provider-error" && (status >= 500 || status === 408);
  return isFault ? { kind: "fault" } : { kind: "answer", failure };
}

/** Rejects when a queueing call is stopped; undici by itself would say so only when the call's turn comes. */
function stoppedInQueue(progress: Progress): Promise<never> {
  return new Promise((_, reject) => {
    const giveUp = () => {
      if (!progress.begun) reject(progress.stop.reason as Error);
    };
    if (progress.stop.aborted) giveUp();
    else progress.stop.addEventListener("abort", giveUp, { once: true });
  });
}

function headersOf({ json, stream }: Sending): Record<string, string> {
  const headers: Record<string, string> = { accept: "application/json, application/pdf, */*;q=0.5" };
  if (json) headers["content-type"] = "application/json";
  if (stream) {
    headers["content-type"] = stream.contentType;
    headers["content-length"] = String(stream.contentLength);
  }
  return headers;
}

function describe(body: Body): string {
  if (body.kind === "html") return "an HTML page";
  return body.kind === "json" ? "JSON of another shape" : "neither JSON nor the file";
}

function one(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function durationMs(startedMs: number): number {
  return Math.round(performance.now() - startedMs);
}
