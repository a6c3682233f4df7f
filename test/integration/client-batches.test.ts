import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { broken, failureOf, type Heard, json, problem, startClientStub, take } from "../helpers/client-stub.ts";

const BATCH = `bat-${"a".repeat(26)}`;
const SUBMIT = "POST /v1/batches";
const READ = `GET /v1/batches/${BATCH}`;
const REPORT = { rows: 2, good: 2, rejected: 0, problems: [], unused_files: [] };

const aBatch = (state: string, more: object = {}) => ({
  id: BATCH,
  state,
  priority: 5,
  rows: 2,
  counts: {},
  over: 0,
  waiting_for_people: 0,
  ...more,
});
const ACCEPTED = json(202, { batch: aBatch("running"), report: REPORT });

async function partsOf({ headers, body }: Heard): Promise<[string, string, string][]> {
  const form = await new Response(new Uint8Array(body), {
    headers: { "content-type": headers["content-type"] ?? "" },
  }).formData();
  return await Promise.all(
    [...form].map(async ([name, value]): Promise<[string, string, string]> =>
      typeof value === "string" ? [name, "", value] : [name, value.name, await value.text()],
    ),
  );
}

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-client-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

test("a batch goes as its table, its files and what is said of it, and again under the same key when nobody answered", async () => {
  const dir = await folder();
  await writeFile(join(dir, "lease 1.pdf"), "one");
  const { client, heard } = await startClientStub({ [SUBMIT]: [broken, problem(503, "redis-unavailable"), ACCEPTED] });
  const row = { files: "lease 1.pdf", email: "ana@example.com", mobile_phone_number: "+34699999999" };
  const table = { defaults: { workflow: "videoid" as const }, rows: [row] };
  const submitted = await client.batches.submit(table, [join(dir, "lease 1.pdf")], { name: "May", canary: true });
  expect(submitted).toMatchObject({ batch: { id: BATCH }, report: REPORT, replayed: false });
  expect(heard).toHaveLength(3);
  for (const call of heard) {
    expect(call.headers["idempotency-key"]).toBe(submitted.idempotencyKey);
    expect(Number(call.headers["content-length"])).toBe(call.body.length);
    expect(await partsOf(call)).toEqual([
      ["options", "", JSON.stringify({ name: "May", canary: true })],
      ["batch", "batch.json", JSON.stringify(table)],
      ["file", "lease 1.pdf", "one"],
    ]);
  }
});

test("a table may be a file, and is only checked in a dry run; a batch that is refused keeps its key and its rows' errors", async () => {
  const dir = await folder();
  await writeFile(join(dir, "batch.csv"), "files;email\nlease.pdf;ana@example.com\n");
  const errors = [{ field: "row 2, email", message: "must be an e-mail address" }];
  const { client, heard } = await startClientStub({
    [`${SUBMIT}?dry_run=true`]: [json(200, { dry_run: true, report: REPORT })],
    [SUBMIT]: [json(422, { code: "no-good-row", detail: "None of 1 rows can be submitted.", errors })],
  });
  expect(await client.batches.dryRun(join(dir, "batch.csv"), [])).toEqual(REPORT);
  const [checked] = heard as [Heard];
  expect(checked.headers["idempotency-key"]).toBeUndefined();
  expect(await partsOf(checked)).toEqual([["batch", "batch.csv", "files;email\nlease.pdf;ana@example.com\n"]]);
  const refused = await failureOf(client.batches.submit(join(dir, "batch.csv"), [], { idempotencyKey: "k-1" }));
  expect(refused).toMatchObject({ code: "no-good-row", status: 422, errors, idempotencyKey: "k-1" });
  const missing = await failureOf(client.batches.submit(join(dir, "none.csv"), []));
  expect(missing).toMatchObject({ code: "document-unreadable", detail: expect.stringMatching(/^The table cannot/) });
});

test("progress tells what has changed and ends with the batch; a cancellation is over when it is carried out", async () => {
  const { client } = await startClientStub({
    [READ]: [
      json(200, aBatch("running", { estimated_finish_at: "2026-01-15T08:00:00.000Z" })),
      json(200, aBatch("running", { estimated_finish_at: "2026-01-15T08:01:00.000Z" })),
      json(200, aBatch("running", { over: 1, counts: { done: 1 } })),
      json(200, aBatch("cancelled", { over: 1, asked: "cancel" })),
      json(200, aBatch("cancelled", { over: 2 })),
      problem(500, "internal"),
    ],
  });
  const seen = await take(client.batches.progress(BATCH, { pollMs: 5 }));
  expect(seen.map(({ state, over }) => `${state} ${over}`)).toEqual([
    "running 0",
    "running 1",
    "cancelled 1",
    "cancelled 2",
  ]);
});

test("a batch is waited for until it is over or as said, no longer than said, and not when it never will be", async () => {
  const over = json(200, aBatch("done", { over: 2 }));
  const { client } = await startClientStub({ [READ]: [json(200, aBatch("running", { over: 1 })), over] });
  expect(await client.batches.wait(BATCH, { pollMs: 5 })).toMatchObject({ state: "done" });
  const never = client.batches.wait(BATCH, { until: ({ state }) => state === "paused", pollMs: 5 });
  expect(await failureOf(never)).toMatchObject({ code: "ended-otherwise" });
  const slow = await startClientStub({ [READ]: [json(200, aBatch("running"))] });
  const late = slow.client.batches.wait(BATCH, { timeoutMs: 60, pollMs: 5 });
  expect(await failureOf(late)).toMatchObject({ code: "wait-timeout", detail: expect.stringMatching(/^The batch/) });
  const reason = new Error("enough");
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 30);
  await expect(slow.client.batches.wait(BATCH, { signal: controller.signal, pollMs: 5 })).rejects.toBe(reason);
});

test("rows and batches are read page by page; results are saved whole, or not at all", async () => {
  const dir = await folder();
  const page = (n: number, next: string | null) => json(200, { items: [{ row: n, files: [] }], next_cursor: next });
  const cutOff: ReturnType<typeof json> = (response) => {
    response.writeHead(200, { "content-type": "text/csv; charset=utf-8" }).write("row,state\n");
    setTimeout(() => response.socket?.destroy(), 20);
  };
  const { client } = await startClientStub({
    [`${READ}/rows?state=done`]: [page(2, "2")],
    [`${READ}/rows?state=done&cursor=2`]: [page(3, null)],
    "GET /v1/batches": [json(200, { items: [aBatch("done")], next_cursor: "b" })],
    "GET /v1/batches?cursor=b": [json(200, { items: [aBatch("running")], next_cursor: null })],
    [`${READ}/results.csv`]: [
      (response) =>
        void response
          .writeHead(200, {
            "content-type": "text/csv; charset=utf-8",
            "content-disposition": 'attachment; filename="results.csv"',
          })
          .end("row,state\n2,done\n"),
      cutOff,
    ],
  });
  expect((await take(client.batches.rows(BATCH, { state: "done" }))).map(({ row }) => row)).toEqual([2, 3]);
  expect((await take(client.batches.list())).map(({ state }) => state)).toEqual(["done", "running"]);
  const results = await client.batches.results(BATCH, "csv");
  expect(results).toMatchObject({ name: "results.csv", contentType: "text/csv; charset=utf-8", sizeBytes: undefined });
  await results.saveTo(join(dir, "results.csv"));
  expect(await readFile(join(dir, "results.csv"), "utf8")).toBe("row,state\n2,done\n");
  const cut = await client.batches.results(BATCH, "csv");
  expect(await failureOf(cut.saveTo(join(dir, "cut.csv")))).toMatchObject({ code: "no-answer" });
  await expect(readFile(join(dir, "cut.csv"))).rejects.toThrow("ENOENT");
});

test("what is done to a batch is sent as said, and not a second time when it may have worked", async () => {
  const act = (path: string) => `POST /v1/batches/${BATCH}/${path}`;
  const { client, heard } = await startClientStub({
    ...Object.fromEntries(
      ["pause", "resume", "cancel", "priority"].map((path) => [act(path), [json(202, aBatch("running"))]]),
    ),
    [act("retry")]: [broken, json(202, aBatch("running"))],
  });
  const { batches } = client;
  for (const call of [batches.pause, batches.resume, batches.cancel]) await call(BATCH);
  await batches.setPriority(BATCH, 8);
  expect(heard.map(({ path }) => path.split("/").at(-1))).toEqual(["pause", "resume", "cancel", "priority"]);
  expect(String(heard.at(-1)?.body)).toBe('{"priority":8}');
  expect(await failureOf(batches.retry(BATCH))).toMatchObject({ code: "no-answer" });
  expect(heard).toHaveLength(5);
});

test("pictures and the film of an identification are read as they come, and what callers were told can be told again", async () => {
  const id = `req-${"b".repeat(26)}`;
  const told = {
    id: "msg_1",
    type: "request.done",
    timestamp: "2026-01-15T08:00:00.000Z",
    state: "failed",
    attempts: 45,
  };
  const { client, heard } = await startClientStub({
    [`GET /v1/requests/${id}/enclosures/document_front`]: [
      (response) => void response.writeHead(200, { "content-type": "image/jpeg", "content-length": "3" }).end("jpg"),
    ],
    [`GET /v1/requests/${id}/video`]: [
      (response) => void response.writeHead(200, { "content-type": "video/mp4" }).end("film"),
    ],
    [`GET /v1/requests/${id}/notifications`]: [json(200, { items: [told] })],
    [`POST /v1/requests/${id}/notifications/msg_1/replay`]: [json(202, { ...told, state: "waiting" })],
    "POST /v1/notifications/replay": [json(202, { replayed: 3 })],
  });
  const front = await client.enclosure(id, "document_front");
  expect([front.sizeBytes, String(Buffer.from(await front.bytes()))]).toEqual([3, "jpg"]);
  expect(String(Buffer.from(await (await client.video(id)).bytes()))).toBe("film");
  expect(await client.notifications(id)).toEqual([told]);
  expect(await client.replay(id, "msg_1")).toMatchObject({ state: "waiting" });
  expect(await client.replaySince("2026-01-15T08:00:00Z")).toBe(3);
  expect(String(heard.at(-1)?.body)).toBe('{"since":"2026-01-15T08:00:00Z"}');
});
