import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { createClient } from "../../src/client/client.ts";
import { type Calls, createCalls } from "../../src/client/calls.ts";

/** One call that reached the stub. */
export interface Heard {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

export type Answer = (response: ServerResponse, call: Heard) => void;

export const KEY = "canary-client-key-77";
export const ID = `req-${"a".repeat(26)}`;

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));

export const problem = (status: number, code: string, headers: Record<string, string> = {}): Answer =>
  json(status, { status, code, title: "No", detail: `It is ${code}.`, correlation_id: "c-1" }, headers);

/** The connection breaks instead of an answer. */
export const broken: Answer = (response) => void response.socket?.destroy();

/** What a stream begins with; it stays open. */
export const stream =
  (...messages: string[]): Answer =>
  (response) =>
    void response.writeHead(200, { "content-type": "text/event-stream" }).write(messages.join(""));

/** The same, and then the connection breaks. */
export const brokenStream =
  (...messages: string[]): Answer =>
  (response) => {
    stream(...messages)(response, {} as Heard);
    setTimeout(() => response.socket?.destroy(), 20);
  };

export const change = (id: string, state: string) =>
  `id: ${id}\nevent: change\ndata: ${JSON.stringify({ at: "2026-01-15T08:00:00.000Z", event: "x", stage: "sign", state })}\n\n`;
export const end = (state: string) => `event: end\ndata: ${JSON.stringify({ id: ID, stage: "cleanup", state })}\n\n`;

export const aRequest = (state: string, more: object = {}) => ({
  id: ID,
  stage: "sign",
  state,
  documents: [],
  updated_at: "2026-01-15T08:00:00.000Z",
  ...more,
});

/**
 * A server that gives a path its answers one after the other, the last of them again and again, and a client for it. Both
 * end with the test.
 */
export async function startClientStub(answers: Record<string, Answer[]>) {
  const heard: Heard[] = [];
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const { method = "", url: path = "", headers } = request;
    const call = { method, path, headers, body: Buffer.concat(chunks) };
    heard.push(call);
    const list = answers[`${method} ${path}`];
    const answer = list && list.length > 1 ? list.shift() : list?.[0];
    (answer ?? problem(404, "not-found"))(response, call);
  };
  const server = createServer((request, response) => void respond(request, response).catch(() => {}));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const calls: Calls = createCalls({ url, key: KEY, retries: 4, timeoutMs: 5_000, fetch });
  return {
    url,
    heard,
    calls,
    client: createClient({ url, key: KEY, timeoutMs: 5_000 }),
    /** What came to a path, in order. */
    to: (path: string) => heard.filter((call) => call.path === path),
  };
}

/** The error that something ends with, and which must be one of the client's. */
export async function failureOf(promise: Promise<unknown>): Promise<Record<string, unknown>> {
  return await promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as Record<string, unknown>,
  );
}

/** Everything of an iterator, until it ends or has given so much. */
export async function take<T>(events: AsyncIterable<T>, most = Number.POSITIVE_INFINITY): Promise<T[]> {
  const taken: T[] = [];
  for await (const event of events) if (taken.push(event) >= most) break;
  return taken;
}
