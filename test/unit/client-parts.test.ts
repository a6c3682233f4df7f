import { describe, expect, test } from "vitest";
import { SignpipeError } from "../../src/client/error.ts";
import { newLines } from "../../src/client/events.ts";
import { readMessages } from "../../src/client/event-stream.ts";
import { pauseBeforeRetry } from "../../src/client/retry.ts";

const problem = (code: string, status?: number, retryAfterMs?: number) =>
  new SignpipeError(code, "Something.", { status, retryAfterMs });
const noAnswer = (cause?: string) =>
  new SignpipeError("no-answer", "Nothing.", {
    cause: new TypeError("fetch failed", { cause: Object.assign(new Error("connect"), { code: cause }) }),
  });

describe("what is made again by itself", () => {
  test.each([
    ["a quota", problem("quota-exceeded", 429), true, true],
    ["a quota of a proxy's", problem("unexpected-answer", 429), true, true],
    ["a code that was sent a moment ago", problem("otp-too-soon", 429), false, false],
    ["a queue that is away", problem("redis-unavailable", 503), true, false],
    ["a proxy that reaches nobody", problem("unexpected-answer", 502), true, false],
    ["the same submission at work", problem("idempotency-in-progress", 409), true, false],
    ["a connection that broke", noAnswer("ECONNRESET"), true, false],
    ["nobody at the address", noAnswer("ECONNREFUSED"), true, true],
    ["a full disk", problem("disk-full", 507), false, false],
    ["a decision that was taken", problem("already-decided", 409), false, false],
    ["a mistake inside", problem("internal", 500), false, false],
    ["an error of somebody else's", new Error("no"), false, false],
  ])("after %s", (_what, error, whenSafe, whenNot) => {
    const isAgain = (isSafe: boolean) => pauseBeforeRetry({ error, attempt: 1, retries: 4, isSafe }) !== undefined;
    expect([isAgain(true), isAgain(false)]).toEqual([whenSafe, whenNot]);
  });

  test("pauses double, have chance in them, and are bounded", () => {
    const error = problem("redis-unavailable", 503);
    const pauseOf = (attempt: number, random: number) =>
      pauseBeforeRetry({ error, attempt, retries: 20, isSafe: true, random });
    expect([1, 2, 3, 20].map((attempt) => pauseOf(attempt, 1))).toEqual([250, 500, 1_000, 10_000]);
    expect(pauseOf(2, 0)).toBe(250);
    expect(pauseBeforeRetry({ error, attempt: 5, retries: 4, isSafe: true })).toBeUndefined();
  });

  test("the server's pause is kept, unless it is longer than a minute", () => {
    const ask = (retryAfterMs: number) =>
      pauseBeforeRetry({ error: problem("redis-full", 503, retryAfterMs), attempt: 1, retries: 4, isSafe: true });
    expect([ask(30_000), ask(60_000), ask(61_000)]).toEqual([30_000, 60_000, undefined]);
  });
});

async function read(chunks: (string | Uint8Array)[]) {
  const retries: number[] = [];
  async function* body() {
    for (const chunk of chunks) yield typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
  }
  const messages = [];
  const options = { quietMs: 10_000, onQuiet: () => {}, onRetry: (ms: number) => retries.push(ms) };
  for await (const message of readMessages(body(), options)) messages.push(message);
  return { messages, retries };
}

describe("a stream of events is read as WHATWG has it", () => {
  test("ids stay, comments are none, a message of several lines is one, and the cut-off one is dropped", async () => {
    const { messages, retries } = await read([
      'retry: 1500\n\n:\n\nid: 1-a\nevent: change\ndata: {"a":1}\n\n',
      "data:one\ndata: two\ndata\n\nevent: lost\n\nid: 2\0\nid: 2\ndata: x\n\ndata: half",
    ]);
    expect(messages).toEqual([
      { lastId: "1-a", event: "change", data: '{"a":1}' },
      { lastId: "1-a", event: "message", data: "one\ntwo\n" },
      { lastId: "2", event: "message", data: "x" },
    ]);
    expect(retries).toEqual([1_500]);
  });

  test("it does not matter where it is cut, nor how lines end", async () => {
    const whole = new TextEncoder().encode("\uFEFFevent: change\r\ndata: señal\r\n\r\nevent: end\rdata: b\r\r:\n");
    const wanted = [
      { lastId: "", event: "change", data: "señal" },
      { lastId: "", event: "end", data: "b" },
    ];
    for (let at = 0; at <= whole.length; at++) {
      expect((await read([whole.slice(0, at), whole.slice(at)])).messages, `cut at ${at}`).toEqual(wanted);
    }
    expect((await read([...whole].map((byte) => Uint8Array.of(byte)))).messages).toEqual(wanted);
  });
});

describe("lines of a history that are new", () => {
  const at = (seconds: number) => new Date(seconds * 1000).toISOString();
  const line = (seconds: number) => ({ at: at(seconds), event: "note", stage: "create", phase: "queued" });
  const id = (n: number, seconds: number) => `${n}-${(seconds * 1000).toString(36)}`;
  const idsOf = (items: ReturnType<typeof line>[], last: string) => newLines(items, last).map(({ eventId }) => eventId);

  test("have the ids that the stream gives them, and are those behind the last one", () => {
    const items = [line(1), line(2), line(3)];
    expect(idsOf(items, "")).toEqual([id(1, 1), id(2, 2), id(3, 3)]);
    expect(idsOf(items, id(2, 2))).toEqual([id(3, 3)]);
    expect(idsOf(items, id(3, 3))).toEqual([]);
  });

  test("of a history that was shortened are those from the time of the last one on", () => {
    expect(idsOf([line(2), line(3)], id(2, 2))).toEqual([id(1, 2), id(2, 3)]);
  });
});
