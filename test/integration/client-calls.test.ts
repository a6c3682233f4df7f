import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { createClient } from "../../src/client/index.ts";
import {
  aRequest,
  broken,
  failureOf,
  type Heard,
  ID,
  json,
  KEY,
  problem,
  startClientStub,
  take,
} from "../helpers/client-stub.ts";

const MANIFEST = { signer: { email: "ana.canary@example.com", mobile_phone_number: "+34699000111" } };
const SUBMIT = "POST /v1/requests";
const ACCEPTED = json(202, { id: ID, state: "queued" });
const APPROVE = `POST /v1/requests/${ID}/approve`;

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-client-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** What a server reads of a multipart body. */
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

test("a submission that was not answered is sent again, whole, under the same Idempotency-Key", async () => {
  const dir = await folder();
  await writeFile(join(dir, "lease.pdf"), "from a file");
  const { client, heard } = await startClientStub({
    [SUBMIT]: [problem(503, "redis-unavailable"), broken, problem(409, "idempotency-in-progress"), ACCEPTED],
  });
  const submitted = await client.submit(
    MANIFEST,
    [
      join(dir, "lease.pdf"),
      { content: Buffer.from("from a buffer"), name: 'a "quoted\\" name.pdf' },
      { content: new Blob(["from a blob"]), name: "señal.pdf" },
      { path: join(dir, "lease.pdf"), name: "other.pdf" },
    ],
    { enclosures: [{ content: Buffer.from("a picture"), name: "front.jpg" }] },
  );
  expect(submitted).toMatchObject({ id: ID, replayed: false });
  expect(heard).toHaveLength(4);
  expect(new Set(heard.map(({ headers }) => headers["idempotency-key"]))).toEqual(new Set([submitted.idempotencyKey]));
  for (const call of heard) {
    expect(Number(call.headers["content-length"])).toBe(call.body.length);
    expect(await partsOf(call)).toEqual([
      ["manifest", "", JSON.stringify(MANIFEST)],
      ["file", "lease.pdf", "from a file"],
      ["file", 'a "quoted%5C" name.pdf', "from a buffer"],
      ["file", "señal.pdf", "from a blob"],
      ["file", "other.pdf", "from a file"],
      ["enclosure", "front.jpg", "a picture"],
    ]);
  }
});

test("a stream is sent once, a function that makes one as often as it takes; the error has the key for another try", async () => {
  const dir = await folder();
  const path = join(dir, "large.pdf");
  await writeFile(path, Buffer.alloc(3_000_000, "x"));
  const first = await startClientStub({ [SUBMIT]: [problem(503, "disk-error"), ACCEPTED] });
  const once = first.client.submit(MANIFEST, [{ content: createReadStream(path), name: "a.pdf" }], {
    idempotencyKey: "k-1",
  });
  expect(await failureOf(once)).toMatchObject({ code: "disk-error", status: 503, idempotencyKey: "k-1" });
  expect(first.heard).toHaveLength(1);
  const second = await startClientStub({ [SUBMIT]: [problem(503, "disk-error"), ACCEPTED] });
  await second.client.submit(MANIFEST, [{ content: () => createReadStream(path), name: "a.pdf" }]);
  expect(second.heard.map(({ body }) => body.length > 3_000_000)).toEqual([true, true]);
});

test("a file that is not there, or that is cut off while it is sent, is never sent as if it were whole", async () => {
  const dir = await folder();
  const { client, heard } = await startClientStub({ [SUBMIT]: [ACCEPTED] });
  const missing = await failureOf(client.submit(MANIFEST, [join(dir, "ana.canary.pdf")]));
  expect(missing).toMatchObject({
    code: "document-unreadable",
    detail: "Document 1 cannot be read (ENOENT): look at its path.",
  });
  const short = new Blob(["whole"]);
  Object.defineProperty(short, "size", { value: 9 });
  expect(await failureOf(client.submit(MANIFEST, [{ content: short, name: "a.pdf" }]))).toMatchObject({
    code: "document-changed",
  });
  expect(heard).toEqual([]);
});

test("documents by their address go as JSON, and not together with others", async () => {
  const { client, heard } = await startClientStub({
    [SUBMIT]: [json(202, { id: ID }, { "idempotency-replayed": "true" })],
  });
  const documents = [{ url: "https://files.example/lease.pdf", sha256: "0".repeat(64) }];
  expect(await client.submit(MANIFEST, documents)).toMatchObject({ replayed: true });
  expect(JSON.parse(String(heard[0]?.body))).toEqual({ manifest: MANIFEST, documents });
  const mixed = [...documents, { content: Buffer.from("x"), name: "a.pdf" }] as typeof documents;
  await expect(client.submit(MANIFEST, mixed)).rejects.toThrow(TypeError);
});

test.each([
  ["a broken connection", broken, "no-answer"],
  ["a queue that is away", problem(503, "redis-unavailable"), "redis-unavailable"],
])(
  "a decision after %s is asked for again under the key it had, and so is not taken twice",
  async (_what, answer, code) => {
    const { client, heard } = await startClientStub({ [APPROVE]: [answer, json(202, aRequest("queued"))] });
    expect(await client.approve(ID)).toMatchObject({ state: "queued" });
    const [first, again] = heard.map(({ headers }) => headers["idempotency-key"]);
    expect(heard).toHaveLength(2);
    expect(first).toMatch(/^[0-9a-f-]{36}$/);
    expect(again).toBe(first);
    // What is given up has its key, with which it can be asked for later.
    const other = await startClientStub({ [APPROVE]: [answer] });
    const impatient = createClient({ url: other.url, key: KEY, retries: 0 });
    const failure = await failureOf(impatient.approve(ID, { idempotencyKey: "approve-7" }));
    expect(failure).toMatchObject({ code, idempotencyKey: "approve-7" });
    expect(other.heard.map(({ headers }) => headers["idempotency-key"])).toEqual(["approve-7"]);
  },
);

test("a decision that was turned away at the door, or never got there, is made again", async () => {
  const limited = problem(429, "quota-exceeded", { "retry-after": "1" });
  const { client, heard, url } = await startClientStub({ [APPROVE]: [limited, json(202, aRequest("queued"))] });
  expect(await client.approve(ID)).toMatchObject({ state: "queued" });
  expect(heard).toHaveLength(2);
  // A port at which nobody listens any more.
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  const { port } = taken.address() as AddressInfo;
  await new Promise((resolve) => taken.close(resolve));
  const tried: unknown[] = [];
  const elsewhere: typeof fetch = (input, init) => {
    tried.push(input);
    return fetch(tried.length === 1 ? `http://127.0.0.1:${port}/` : input, init);
  };
  const other = createClient({ url, key: KEY, fetch: elsewhere });
  expect(await other.approve(ID)).toMatchObject({ state: "queued" });
  expect(tried).toHaveLength(2);
});

test("an error has what the problem says, and neither the key nor anything about the signer", async () => {
  const errors = [{ field: "manifest.signer.email", message: "must be an e-mail address" }];
  const { client, url } = await startClientStub({
    [SUBMIT]: [json(422, { code: "invalid-manifest", detail: "It cannot be used.", correlation_id: "c-9", errors })],
    [APPROVE]: [problem(429, "otp-too-soon", { "retry-after": "60" })],
  });
  const refused = await failureOf(client.submit(MANIFEST, [{ content: Buffer.from("x"), name: "ana.canary.pdf" }]));
  expect(refused).toMatchObject({
    name: "SignpipeError",
    code: "invalid-manifest",
    status: 422,
    correlationId: "c-9",
    errors,
  });
  expect(await failureOf(client.approve(ID))).toMatchObject({ code: "otp-too-soon", retryAfterMs: 60_000, errors: [] });
  const away = createClient({ url: "http://127.0.0.1:1", key: KEY, retries: 0 });
  for (const error of [
    refused,
    await failureOf(away.submit(MANIFEST, [{ content: Buffer.from("x"), name: "a.pdf" }])),
  ]) {
    expect(inspect(error, { depth: 10 })).not.toMatch(/canary/);
  }
  expect(url).not.toContain("canary");
});

test("what is not the API is said to be something else, and the key is not taken on to another address", async () => {
  const page = (response: { writeHead: (status: number) => { end: (text: string) => void } }) =>
    response.writeHead(200).end("<html>");
  const stub = await startClientStub({ [`GET /v1/requests/${ID}`]: [page] });
  expect(await failureOf(stub.client.get(ID))).toMatchObject({ code: "unexpected-answer", status: 200 });
  const target = await startClientStub({});
  const moved = await startClientStub({ [`GET /v1/requests/${ID}`]: [json(302, {}, { location: target.url })] });
  const client = createClient({ url: moved.url, key: KEY, retries: 0 });
  expect(await failureOf(client.get(ID))).toMatchObject({ code: "no-answer" });
  expect(target.heard).toEqual([]);
  for (const url of ["signpipe.example", "ftp://signpipe.example", "http://ana:secret@signpipe.example"]) {
    expect(() => createClient({ url, key: KEY })).toThrow(TypeError);
  }
  expect(() => createClient({ url: moved.url, key: "two\nlines" })).toThrow(TypeError);
});

test("who does not answer in time is given up, and whoever stops waiting gets the reason back at once", async () => {
  const silent = () => {};
  const { url, heard } = await startClientStub({ [`GET /v1/requests/${ID}`]: [silent] });
  const client = createClient({ url, key: KEY, timeoutMs: 100, retries: 1 });
  expect(await failureOf(client.get(ID))).toMatchObject({ code: "no-answer" });
  expect(heard).toHaveLength(2);
  const patient = createClient({ url, key: KEY });
  const reason = new Error("enough");
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 50);
  await expect(patient.get(ID, { signal: controller.signal })).rejects.toBe(reason);
});

test("a list is read page by page, as far as somebody reads", async () => {
  const page = (from: number, next: string | null) =>
    json(200, { items: [from, from + 1].map((n) => ({ id: String(n) })), next_cursor: next });
  const { client, heard } = await startClientStub({
    "GET /v1/requests?state=done&limit=2": [page(1, "c 2")],
    "GET /v1/requests?state=done&limit=2&cursor=c+2": [page(3, "c 3")],
    "GET /v1/requests?state=done&limit=2&cursor=c+3": [json(200, { items: [], next_cursor: null })],
  });
  const ids = (await take(client.list({ state: "done", limit: 2 }))).map(({ id }) => id);
  expect(ids).toEqual(["1", "2", "3", "4"]);
  expect(heard).toHaveLength(3);
  await take(client.list({ state: "done", limit: 2 }), 1);
  expect(heard).toHaveLength(4);
});
