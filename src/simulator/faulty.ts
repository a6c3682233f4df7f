import { STATUS_CODES } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Context } from "./context.ts";
import type { Fault } from "./faults.ts";
import { BASE_PATHS } from "./operations.ts";

const faultOf = new WeakMap<FastifyRequest, Fault>();
const never = new Promise<never>(() => undefined);
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

function htmlPage(status: number): string {
  const title = `${status} ${STATUS_CODES[status] ?? "Error"}`;
  const body = `<center><h1>${title}</h1></center>\r\n<hr><center>nginx</center>`;
  return `<html>\r\n<head><title>${title}</title></head>\r\n<body>\r\n${body}\r\n</body>\r\n</html>\r\n`;
}

/** What is answered instead of doing the work, by kind. */
function answerBefore(fault: Fault, reply: FastifyReply): FastifyReply {
  switch (fault.kind) {
    case "rate-limit":
      return reply
        .code(429)
        .header("retry-after", fault.retryAfterS)
        .send(fault.body ?? { status: "error", message: "Too many requests" });
    case "html":
      return reply
        .code(fault.status ?? 502)
        .type("text/html")
        .send(htmlPage(fault.status ?? 502));
    case "validation":
      // A rejected field arrives as HTTP 500. @source docs/provider.md §Errors
      return reply
        .code(500)
        .send(
          fault.body ?? { status: "500 Internal Server Error", details: { email: ["Enter a valid email address"] } },
        );
    default:
      return reply
        .code(fault.status ?? 503)
        .send(fault.body ?? { status: "error", message: "Service temporarily unavailable" });
  }
}

const BEFORE: ReadonlySet<Fault["kind"]> = new Set(["status-before", "rate-limit", "html", "validation"]);

/**
 * Takes a fault the moment a call arrives, before its body is read, so that a caller who dies cannot leave it to
 * another.
 */
export function installFaults(app: FastifyInstance, context: Context): void {
  app.addHook("onRequest", async (call, reply) => {
    const { operation, generation = "newest" } = call.routeOptions.config;
    if (operation === undefined) return;
    context.calls.set(operation, (context.calls.get(operation) ?? 0) + 1);
    const path = call.url.slice(BASE_PATHS[generation].length).split("?", 1)[0] ?? "";
    const fault = context.faults.take({ operation, method: call.method, path });
    const delayMs = context.settings.latencyMs + (fault?.ms ?? 0);
    if (delayMs > 0) await pause(delayMs);
    if (!fault) return;
    if (fault.kind === "hang") await never;
    if (fault.kind === "reset-before") {
      call.raw.socket.resetAndDestroy();
      await never;
    }
    if (BEFORE.has(fault.kind)) return answerBefore(fault, reply);
    faultOf.set(call, fault);
    return;
  });

  app.addHook("onSend", async (call, reply, payload: unknown) => {
    const fault = faultOf.get(call);
    if (!fault) return payload;
    faultOf.delete(call);
    switch (fault.kind) {
      case "hang-after":
        return never;
      case "reset-after":
        call.raw.socket.resetAndDestroy();
        return never;
      case "status-after":
        await drain(payload);
        reply
          .code(fault.status ?? 503)
          .removeHeader("content-length")
          .type("application/json");
        return JSON.stringify(fault.body ?? { status: "error", message: "Upstream did not answer in time" });
      case "malformed-json":
        return typeof payload === "string" ? payload.slice(0, Math.max(1, payload.length - 7)) : payload;
      case "corrupt":
        return flipped(await bytesOf(payload));
      case "truncate":
      case "truncate-close":
        await cutShort(reply, await bytesOf(payload), fault.kind === "truncate");
        return never;
      default:
        return payload;
    }
  });
}

async function bytesOf(payload: unknown): Promise<Buffer> {
  if (typeof payload === "string") return Buffer.from(payload);
  if (Buffer.isBuffer(payload)) return payload;
  const pieces: Buffer[] = [];
  for await (const piece of payload as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function drain(payload: unknown): Promise<void> {
  if (typeof payload === "object" && payload !== null && Symbol.asyncIterator in payload) {
    for await (const piece of payload as AsyncIterable<Buffer>) void piece;
  }
}

/** One bit is wrong, near the start: in what was signed, and not in a timestamp, which no signature covers. */
function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = copy.length >> 4;
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

/**
 * Sends the first half. With `declared` the length says otherwise; without it the end of the connection looks like the
 * end.
 */
function cutShort(reply: FastifyReply, bytes: Buffer, declared: boolean): Promise<void> {
  const { raw } = reply;
  const headers = {
    "content-type": String(reply.getHeader("content-type") ?? "application/octet-stream"),
    connection: "close",
  };
  raw.useChunkedEncodingByDefault = false;
  raw.writeHead(reply.statusCode, declared ? { ...headers, "content-length": bytes.length } : headers);
  return new Promise((done) => {
    raw.write(bytes.subarray(0, bytes.length >> 1), () => {
      raw.socket?.end(() => done());
      raw.socket?.destroySoon();
    });
  });
}
