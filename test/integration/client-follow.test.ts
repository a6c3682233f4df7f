import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { followAll, followRequest } from "../../src/client/events.ts";
import {
  type Answer,
  aRequest,
  broken,
  brokenStream,
  change,
  end,
  failureOf,
  ID,
  json,
  problem,
  startClientStub,
  stream,
  take,
} from "../helpers/client-stub.ts";

const EVENTS = `GET /v1/requests/${ID}/events`;
const GET = `GET /v1/requests/${ID}`;
const HISTORY = `GET /v1/requests/${ID}/history`;
const FAST = { retryMs: 10, pollMs: 10, quietMs: 150 };
const nothing: Answer = (response) => void response.writeHead(204).end();

const line = (seconds: number, phase: string) => {
  return { at: new Date(seconds * 1000).toISOString(), event: "x", stage: "sign", phase };
};
const history = (...lines: object[]) => json(200, { items: lines });
const said = (events: { type: string; state?: string }[]) => events.map(({ type, state }) => `${type} ${state ?? ""}`);

test("a stream that breaks is taken up behind the last message, until the request is over", async () => {
  const { calls, to } = await startClientStub({
    [EVENTS]: [
      problem(503, "redis-unavailable"),
      brokenStream(change("1-a", "queued"), change("2-b", "running")),
      broken,
      stream(change("3-c", "waiting"), end("done")),
    ],
  });
  const events = await take(followRequest(calls, ID, FAST));
  expect(said(events)).toEqual(["change queued", "change running", "change waiting", "end done"]);
  expect(events[1]).toMatchObject({ type: "change", eventId: "2-b", stage: "sign" });
  const lastIds = to(`/v1/requests/${ID}/events`).map(({ headers }) => headers["last-event-id"]);
  expect(lastIds).toEqual([undefined, undefined, "2-b", "2-b"]);
});

test("when nothing more comes behind the last message, how it ended is asked for", async () => {
  const { calls } = await startClientStub({
    [EVENTS]: [nothing],
    [GET]: [json(200, aRequest("failed", { failure: { code: "x", message: "y" } }))],
  });
  const events = await take(followRequest(calls, ID, { ...FAST, lastEventId: "9-z" }));
  expect(events).toEqual([
    { type: "end", id: ID, stage: "sign", state: "failed", failure: { code: "x", message: "y" } },
  ]);
});

test.each([
  ["there are too many streams", problem(429, "too-many-streams", { "retry-after": "30" })],
  ["something on the way holds the stream back", stream()],
  ["something else answers", json(200, {})],
])("where %s it asks for the history instead, and tells nothing twice", async (_what, answer) => {
  const [one, two, three] = [line(1, "queued"), line(2, "running"), line(3, "done")];
  const { calls } = await startClientStub({
    [EVENTS]: [answer],
    [GET]: [json(200, aRequest("queued")), json(200, aRequest("running")), json(200, aRequest("done"))],
    [HISTORY]: [history(one), history(one, two), history(one, two, three)],
  });
  const events = await take(followRequest(calls, ID, FAST));
  expect(said(events)).toEqual(["change queued", "change running", "change done", "end done"]);
  expect(events[0]).toMatchObject({ eventId: `1-${(1_000).toString(36)}` });
});

test("after a while of asking a stream is tried again, behind what was told", async () => {
  const { calls, to } = await startClientStub({
    [EVENTS]: [problem(429, "too-many-streams"), stream(change("2-b", "done"), end("done"))],
    [GET]: [json(200, aRequest("queued"))],
    [HISTORY]: [history(line(1, "queued"))],
  });
  const events = await take(followRequest(calls, ID, { ...FAST, polledMs: 30 }));
  expect(said(events)).toEqual(["change queued", "change done", "end done"]);
  expect(to(`/v1/requests/${ID}/events`)[1]?.headers["last-event-id"]).toBe(`1-${(1_000).toString(36)}`);
});

test("a request that nobody has is no reason to ask again, and who stops to read lets go of the stream", async () => {
  let closed = () => {};
  const isClosed = new Promise<void>((resolve) => (closed = resolve));
  const { client, heard } = await startClientStub({
    [EVENTS]: [
      problem(404, "no-such-request"),
      (response, call) => {
        response.once("close", closed);
        stream(change("1-a", "queued"))(response, call);
      },
    ],
  });
  expect(await failureOf(take(client.events(ID)))).toMatchObject({ code: "no-such-request" });
  expect(heard).toHaveLength(1);
  expect(await take(client.events(ID), 1)).toHaveLength(1);
  await isClosed;
});

test("of all requests is told what was missed: by the last id, or as a gap where there was none yet", async () => {
  const path = "/v1/events?state=done";
  const { calls, to } = await startClientStub({
    [`GET ${path}`]: [
      brokenStream(),
      brokenStream(change("5-0", "done")),
      stream("event: gap\ndata: {}\n\n", change("7-0", "done")),
    ],
  });
  const events = await take(followAll(calls, { state: "done" }, FAST), 4);
  expect(said(events)).toEqual(["gap ", "change done", "gap ", "change done"]);
  expect(to(path).map(({ headers }) => headers["last-event-id"])).toEqual([undefined, undefined, "5-0"]);
});

test("who cannot follow all requests is told so after some tries, and a wrong filter at once", async () => {
  const { calls, heard } = await startClientStub({
    "GET /v1/events": [broken],
    "GET /v1/events?group=x": [problem(400, "invalid-request")],
  });
  expect(await failureOf(take(followAll(calls, {}, { retryMs: 1 })))).toMatchObject({ code: "no-answer" });
  expect(heard).toHaveLength(5);
  expect(await failureOf(take(followAll(calls, { group: "x" }, { retryMs: 1 })))).toMatchObject({
    code: "invalid-request",
  });
  expect(heard).toHaveLength(6);
});

test("waiting ends with what was waited for, with another end, or with its time", async () => {
  const waiting = { waiting: { for: "code", since: "", until: "" } };
  const stub = await startClientStub({
    [GET]: [json(200, aRequest("running")), json(200, aRequest("waiting", waiting)), json(200, aRequest("done"))],
    [EVENTS]: [stream(change("1-a", "waiting"))],
  });
  expect(await stub.client.wait(ID, { until: { waiting_for: ["another code", "code"] } })).toMatchObject(waiting);
  expect(await stub.client.wait(ID)).toMatchObject({ state: "done" });
  expect(await failureOf(stub.client.wait(ID, { until: { waiting_for: "code" } }))).toMatchObject({
    code: "ended-otherwise",
    detail: "The request is done, and not what was waited for.",
  });
  const slow = await startClientStub({ [GET]: [json(200, aRequest("running"))], [EVENTS]: [stream()] });
  expect(await failureOf(slow.client.wait(ID, { timeoutMs: 100 }))).toMatchObject({ code: "wait-timeout" });
  const reason = new Error("enough");
  await expect(slow.client.wait(ID, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

const BYTES = Buffer.alloc(200_000, "signed");
const SHA256 = createHash("sha256").update(BYTES).digest("hex");
const SIGNED = `GET /v1/requests/${ID}/documents/1/signed`;

const file =
  (bytes: Buffer, { sha256 = SHA256, sizeBytes = bytes.length, name = "lease.signed.pdf" } = {}): Answer =>
  (response) => {
    response.writeHead(200, {
      "content-type": "application/pdf",
      "content-length": sizeBytes,
      etag: `"${sha256}"`,
      "content-disposition": `attachment; filename="x"; filename*=UTF-8''${encodeURIComponent(name)}`,
    });
    response.write(bytes, () => (bytes.length < sizeBytes ? response.socket?.destroy() : response.end()));
  };

async function target(): Promise<{ dir: string; path: string }> {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-client-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, "lease.signed.pdf");
  await writeFile(path, "from before");
  return { dir, path };
}

test("a download is saved whole under its name, or read in memory, or as it comes", async () => {
  const { dir, path } = await target();
  const { client } = await startClientStub({ [SIGNED]: [file(BYTES, { name: "../../señal.pdf" })] });
  const one = await client.signed(ID, 1, { sha256: SHA256.toUpperCase() });
  expect(one).toMatchObject({
    name: "señal.pdf",
    contentType: "application/pdf",
    sizeBytes: BYTES.length,
    sha256: SHA256,
  });
  await one.saveTo(path);
  expect([await readdir(dir), (await readFile(path)).equals(BYTES)]).toEqual([["lease.signed.pdf"], true]);
  expect(Buffer.from(await (await client.signed(ID, 1)).bytes()).equals(BYTES)).toBe(true);
  expect(Buffer.concat(await take((await client.signed(ID, 1)).content)).equals(BYTES)).toBe(true);
});

test.each([
  ["is another file than announced", file(Buffer.alloc(BYTES.length, "forged")), "download-differs"],
  ["breaks off", file(BYTES.subarray(0, 100_000), { sizeBytes: BYTES.length }), "no-answer"],
])("of a download that %s nothing is left, and what was there before stays", async (_what, answer, code) => {
  const { dir, path } = await target();
  const { client } = await startClientStub({ [SIGNED]: [answer] });
  expect(await failureOf(client.signed(ID, 1).then((one) => one.saveTo(path)))).toMatchObject({ code });
  expect(await failureOf(client.signed(ID, 1).then((one) => one.bytes()))).toMatchObject({ code });
  expect([await readdir(dir), await readFile(path, "utf8")]).toEqual([["lease.signed.pdf"], "from before"]);
});

test("a file that is not the one in the record, or not the one that the caller knows, is not even begun", async () => {
  const documents = [{ name: "lease.pdf", sha256: "1".repeat(64), signed_sha256: "2".repeat(64) }];
  const { client } = await startClientStub({
    [SIGNED]: [file(BYTES)],
    [GET]: [json(200, aRequest("done", { documents }))],
  });
  expect(await failureOf(take(client.results(ID)))).toMatchObject({ code: "download-differs" });
  expect(await failureOf(client.signed(ID, 1, { sha256: "3".repeat(64) }))).toMatchObject({ code: "download-differs" });
});
