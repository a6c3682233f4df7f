import { randomBytes } from "node:crypto";
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { ApiError, toRefusal } from "./problem.ts";

/** The longest address that is read, in bytes. Node bounds it together with the headers, at 16 KiB. */
export const URL_BYTES = 8_000;

export function newCorrelationId(): string {
  return `c-${randomBytes(8).toString("hex")}`;
}

type ParserError = Error & { code?: string | undefined; rawPacket?: unknown };

function sort({ code, rawPacket }: ParserError): ApiError {
  if (code === "HPE_HEADER_OVERFLOW") {
    const line = rawPacket instanceof Buffer ? rawPacket.indexOf("\r\n") : 0;
    if (line < 0 || line > URL_BYTES) return tooLongAddress();
    return new ApiError("headers-too-large", "The headers together are larger than 16 KiB.");
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return new ApiError("request-timeout", "The call did not arrive in time; send it again.");
  }
  if (code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") return new ApiError("too-large", "The chunk extensions are too large.");
  return new ApiError("invalid-http", "What was sent is not HTTP as this server reads it.");
}

export function tooLongAddress(): ApiError {
  return new ApiError("uri-too-long", `The address is longer than ${URL_BYTES} bytes.`);
}

/** Answers what Node's parser does not take for a request: no handler and no hook comes to see it. */
export function answerUnparsed(error: ParserError, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, headers, text } = toAnswer(sort(error));
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Error"}`, ...head, "", text].join("\r\n"));
}

/** Answers a call whose Expect header asks for something else than to go on. @source RFC 9110 §10.1.1 */
export function answerExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { status, headers, text } = toAnswer(new ApiError("expectation-failed", "Expect may only be 100-continue."));
  response.writeHead(status, headers).end(text);
}

function toAnswer(error: ApiError): { status: number; headers: Record<string, string>; text: string } {
  const { body } = toRefusal(error, newCorrelationId());
  const text = JSON.stringify(body);
  const headers = {
    "content-type": "application/problem+json; charset=utf-8",
    "content-length": Buffer.byteLength(text).toString(),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-correlation-id": body.correlation_id,
    connection: "close",
  };
  return { status: body.status, headers, text };
}
