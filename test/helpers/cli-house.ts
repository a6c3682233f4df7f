import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { runCli } from "../../src/cli/program.ts";
import type { Terminal, Writer } from "../../src/cli/terminal.ts";
import { readSettings } from "../../src/config.ts";

/** One call that reached the stub. */
export interface StubCall {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  body: string;
}

/** An answer of the stub; `destroy` breaks the connection instead. */
export type StubAnswer = { status: number; body: unknown } | { status: number; bytes: Buffer } | "destroy";

/** An API that answers as a test says, for the command line's half of the conversation. */
export async function startStub(answer: (call: StubCall) => StubAnswer) {
  const calls: StubCall[] = [];
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://stub");
    const { method = "GET", headers } = request;
    const call = { method, path: pathname, query: searchParams, headers, body: Buffer.concat(chunks).toString() };
    calls.push(call);
    const given = answer(call);
    if (given === "destroy") return void request.socket.destroy();
    if ("bytes" in given) return void response.writeHead(given.status).end(given.bytes);
    response.writeHead(given.status, { "content-type": "application/json" }).end(JSON.stringify(given.body));
  };
  const server = createServer((request, response) => void respond(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A request as the API would tell it. */
export function aRequest(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: `req-${"a".repeat(26)}`,
    workflow: "videoid",
    stage: "approve",
    phase: "waiting",
    state: "waiting",
    waiting: { for: "approval", since: "2026-11-24T08:00:00.000Z", until: "2026-12-08T08:00:00.000Z" },
    documents: [{ name: "lease.pdf", sha256: "0".repeat(64) }],
    created_at: "2026-11-24T08:00:00.000Z",
    updated_at: "2026-11-24T08:00:02.000Z",
    ...changes,
  };
}

function capture(width?: number): Writer & { text(): string } {
  let text = "";
  const stream = new PassThrough();
  stream.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return {
    line: (line = "") => {
      text += `${line}\n`;
    },
    paint: (_format, painted) => painted,
    isTTY: false,
    width,
    stream,
    text: () => text,
  };
}

/** Runs a command line as a script would: no terminal, `stdin` given at once. */
export async function runCommand(
  argv: string[],
  {
    env = {},
    stdin = "",
    width,
    signal = new AbortController().signal,
  }: { env?: Record<string, string>; stdin?: string; width?: number; signal?: AbortSignal } = {},
): Promise<{ exitCode: number; out: string; err: string }> {
  const [out, err] = [capture(width), capture()];
  const input = new PassThrough();
  input.end(stdin);
  const terminal: Terminal = { out, err, stdin: input as unknown as NodeJS.ReadStream };
  const exitCode = await runCli(argv, { terminal, settings: () => readSettings(env, { envFile: "" }), signal });
  return { exitCode, out: out.text(), err: err.text() };
}
