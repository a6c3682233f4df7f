import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { expect, onTestFinished } from "vitest";
import { createProvider, type Account, type Provider, type ProviderOptions } from "../../src/provider/client.ts";

export const ACCOUNT = {
  registrationAuthority: "139",
  profile: "PFnubeQAFCiudadano",
  billingUsername: "billing-user-canary",
  billingPassword: "billing/pass+canary",
  rao: { rao: "1400", username: "9001800", password: "rao-password-canary", pin: "pin-canary-77" },
} satisfies Account;

/** A call as it arrived. */
export interface Arrived {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

/** What the server does with a call: an answer, or whatever it likes with the response. */
export type Reply =
  | { status?: number; headers?: Record<string, string>; body?: string | Buffer | object }
  | ((response: ServerResponse, request: IncomingMessage) => void);

export interface TestServer {
  url: string;
  calls: Arrived[];
  provider: Provider;
}

/** A real HTTP server that answers with `replies`, the last one for ever; it and its client end with the test. */
export async function startServer(
  replies: Reply | Reply[],
  options: Partial<ProviderOptions> = {},
): Promise<TestServer> {
  const queue = [replies].flat();
  const calls: Arrived[] = [];
  const listener: RequestListener = (request, response) => {
    const reply = queue.length > 1 ? queue.shift() : queue[0];
    if (typeof reply === "function") return reply(response, request);
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      calls.push({ method, url, headers, body: Buffer.concat(chunks) });
      const { status = 200, headers: given = {}, body = "" } = reply ?? {};
      const raw = typeof body === "string" || Buffer.isBuffer(body);
      response.writeHead(status, { ...(!raw && { "content-type": "application/json" }), ...given });
      response.end(raw ? body : JSON.stringify(body));
    });
  };
  const url = await listen(listener);
  const provider = createProvider({ url: `${url}/oneshot/api/v1/`, ...options });
  onTestFinished(() => provider.close());
  return { url, calls, provider };
}

/** Listens on a free loopback port until the test ends, and cuts every connection then. */
export async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export const PDF = Buffer.from(`%PDF-1.7\n${"x".repeat(5_000)}\n%%EOF\n`);

/** The parts of a multipart body, split by hand: an independent reading of what was sent. */
export function partsOf(body: Buffer, contentType: string): { head: string; bytes: Buffer }[] {
  const boundary = /boundary=(.+)$/.exec(contentType)?.[1] ?? "";
  const text = body.toString("latin1");
  const pieces = text.split(`--${boundary}`);
  expect(pieces[0]).toBe("");
  expect(pieces.at(-1)).toBe("--\r\n");
  return pieces.slice(1, -1).map((piece) => {
    const end = piece.indexOf("\r\n\r\n");
    const head = Buffer.from(piece.slice(2, end), "latin1").toString("utf8");
    return { head, bytes: Buffer.from(piece.slice(end + 4, -2), "latin1") };
  });
}

/** What a form's parts hold, by their names; a file's head says what it is. */
export function formOf({ body, headers }: Arrived): Record<string, { value: string; head: string; bytes: Buffer }> {
  const parts = partsOf(body, headers["content-type"] ?? "");
  expect(headers["content-length"]).toBe(String(body.length));
  const named = parts.map(({ head, bytes }) => {
    const name = /; name="([^"]*)"/.exec(head)?.[1] ?? "";
    return [name, { value: bytes.toString("utf8"), head, bytes }] as const;
  });
  expect(new Set(named.map(([name]) => name)).size).toBe(parts.length);
  return Object.fromEntries(named);
}
