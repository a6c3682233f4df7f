import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { RetryableError } from "../../src/core/errors.ts";
import { toHashFile } from "../../src/files/hash-file.ts";
import {
  AUTHORIZED,
  filePart,
  KEY,
  MANIFEST,
  manifestPart,
  multipart,
  type Part,
  PDF,
  startApiHouse,
  submit,
  until,
  told,
} from "../helpers/api-house.ts";

const LOCKED =
  "%PDF-1.7\nxref\n0 1\n0000000000 65535 f \ntrailer\n<< /Size 1 /Root 1 0 R /Encrypt 5 0 R >>\nstartxref\n9\n%%EOF\n";
const CMS = { ...MANIFEST, signature: { format: "cms" } };
const many = (n: number): Part[] => Array.from({ length: n }, (_, i) => filePart(PDF, `document ${i + 1}.pdf`));

test("a submission is answered with the request's id, its state and where to go on", async () => {
  const house = await startApiHouse();
  const answer = await submit(house.app, [manifestPart(), filePart(), filePart(PDF, "annex.pdf")]);
  expect(answer.statusCode).toBe(202);
  const { id, state, links } = told(answer);
  expect(state).toBe("queued");
  expect(answer.headers.location).toBe(`/v1/requests/${id}`);
  expect(links).toMatchObject({ self: `/v1/requests/${id}`, code: `/v1/requests/${id}/code` });
  expect(links.signed_documents).toHaveLength(2);
  expect(house.submissions).toHaveLength(1);
  expect(house.submissions[0]).toMatchObject({
    id,
    source: "api",
    by: "api:crm",
    reference: "loan-1",
    signer: MANIFEST.signer,
  });
  expect(house.submissions[0]?.documents.map(({ name }) => name)).toEqual(["agreement.pdf", "annex.pdf"]);
  expect(await house.stored()).toEqual([id]);
});

test("the manifest may come after the files, and as a file of its own", async () => {
  const house = await startApiHouse();
  const asFile = { ...manifestPart(), filename: "request.json" };
  const untyped = { name: "manifest", content: JSON.stringify(MANIFEST) };
  for (const parts of [
    [filePart(), manifestPart()],
    [filePart(), asFile],
    [asFile, filePart()],
    [untyped, filePart()],
  ]) {
    expect((await submit(house.app, parts)).statusCode).toBe(202);
  }
});

test("with the format cms files of any kind are taken, wherever the manifest stands, and hash files give their digest", async () => {
  const house = await startApiHouse();
  const value = "ab".repeat(32);
  const files = [filePart("any\0thing", "photo.jpg"), filePart(toHashFile(value), "plan.dwg.hash.json"), filePart()];
  for (const parts of [
    [manifestPart(CMS), ...files],
    [...files, manifestPart(CMS)],
    [files[0] as Part, manifestPart(CMS), ...files.slice(1)],
  ]) {
    expect((await submit(house.app, parts)).statusCode).toBe(202);
    expect(house.submissions.at(-1)?.documents.map(({ name, digest }) => [name, digest])).toEqual([
      ["photo.jpg", undefined],
      ["plan.dwg.hash.json", { algorithm: "sha256", value }],
      ["agreement.pdf", undefined],
    ]);
  }
});

test.each([
  ["an empty file", filePart("", "a.bin"), "unusable-pdf", /Document 2 .*is empty/],
  ["a hash file without a digest", filePart("{}", "a.hash.json"), "hash-file-invalid", /messageDigest is missing/],
])("with the format cms %s is refused with the reason, and nothing stays", async (_what, bad, code, detail) => {
  const house = await startApiHouse();
  for (const parts of [
    [manifestPart(CMS), filePart("x", "x"), bad],
    [filePart("x", "x"), bad, manifestPart(CMS)],
  ]) {
    const answer = await submit(house.app, parts);
    expect(answer.json()).toMatchObject({ status: 422, code, errors: [{ field: "file[2]" }] });
    expect(told(answer).detail).toMatch(detail);
  }
  expect(await house.stored()).toEqual([]);
  expect(house.submissions).toEqual([]);
});

test("without the format cms a file of another kind is no PDF, also when it comes before the manifest", async () => {
  const house = await startApiHouse();
  const answer = await submit(house.app, [filePart("any", "photo.jpg"), manifestPart()]);
  expect(answer.json()).toMatchObject({ status: 415, code: "not-a-pdf", errors: [{ field: "file[1]" }] });
  expect(await house.stored()).toEqual([]);
});

test("ten documents are one request", async () => {
  const house = await startApiHouse();
  expect((await submit(house.app, [manifestPart(), ...many(10)])).statusCode).toBe(202);
  expect(house.submissions[0]?.documents).toHaveLength(10);
});

test.each<[string, Part[], number, string, string]>([
  ["a hundred and one documents", [manifestPart(), ...many(101)], 400, "too-many-documents", "100"],
  ["no document", [manifestPart()], 400, "no-documents", '"file"'],
  ["no manifest", [filePart()], 400, "manifest-missing", '"manifest"'],
  ["nothing at all", [], 400, "manifest-missing", '"manifest"'],
  ["two manifests", [manifestPart(), filePart(), manifestPart()], 400, "manifest-repeated", '"manifest"'],
  [
    "a part of another name",
    [manifestPart(), { ...filePart(), name: "documents" }],
    400,
    "unknown-part",
    '"documents"',
  ],
  [
    "a part named like a prototype",
    [manifestPart(), { ...filePart(), name: "__proto__" }],
    400,
    "unknown-part",
    "manifest",
  ],
  ["a manifest that is not JSON", [{ ...manifestPart(), content: "{" }, filePart()], 400, "invalid-json", '"manifest"'],
  ["a manifest that is empty", [{ ...manifestPart(), content: "" }, filePart()], 400, "invalid-json", '"manifest"'],
  [
    "a manifest that is not UTF-8",
    [{ ...manifestPart(), content: Buffer.from('{"reference":"caf\xe9"}', "latin1") }, filePart()],
    400,
    "invalid-json",
    "UTF-8",
  ],
  [
    "a manifest that names a key twice",
    [
      { ...manifestPart(), content: `{"reference":"a","reference":"b","signer":${JSON.stringify(MANIFEST.signer)}}` },
      filePart(),
    ],
    400,
    "invalid-json",
    'it must name each key once, but "reference" is there twice',
  ],
  [
    "an appearance without its place",
    [manifestPart({ ...MANIFEST, signature: { appearance: { page: 1 } } }), filePart()],
    422,
    "invalid-manifest",
    "signature.appearance.position is missing",
  ],
  [
    "a manifest with a field missing",
    [manifestPart({ ...MANIFEST, signer: {} }), filePart()],
    422,
    "invalid-manifest",
    "signer.email",
  ],
  [
    "a manifest with a field too many",
    [manifestPart({ ...MANIFEST, colour: 1 }), filePart()],
    422,
    "invalid-manifest",
    "colour",
  ],
  [
    "a manifest as long as a book",
    [{ ...manifestPart(), content: "x".repeat(70_000) }, filePart()],
    413,
    "too-large",
    "64 KiB",
  ],
  ["a document that is no PDF", [manifestPart(), filePart("hello", "a.pdf")], 415, "not-a-pdf", '1 ("a.pdf")'],
  ["a document without a byte", [manifestPart(), filePart("", "a.pdf")], 422, "unusable-pdf", '1 ("a.pdf")'],
  ["a document with a password", [manifestPart(), filePart(LOCKED, "a.pdf")], 422, "unusable-pdf", "password"],
  [
    "a document that is cut off",
    [manifestPart(), filePart(), filePart("%PDF-1.7", "b.pdf")],
    422,
    "unusable-pdf",
    '2 ("b.pdf")',
  ],
])("%s is refused with a sentence that names it", async (_what, parts, status, code, named) => {
  const house = await startApiHouse();
  const answer = await submit(house.app, parts);
  expect(answer.json()).toMatchObject({ status, code });
  expect(told(answer).detail).toContain(named);
  expect(answer.headers["content-type"]).toContain("application/problem+json");
  expect(house.submissions).toEqual([]);
  expect(await house.stored()).toEqual([]);
});

test("sizes are bounded by document and by request", async () => {
  const house = await startApiHouse({ limits: { documentBytes: 5_000, totalBytes: 9_000 } });
  const pdf = (bytes: number) =>
    filePart(Buffer.concat([PDF.subarray(0, 9), Buffer.alloc(bytes - PDF.length, 32), PDF.subarray(9)]));
  expect((await submit(house.app, [manifestPart(), pdf(5_000)])).statusCode).toBe(202);
  const one = await submit(house.app, [manifestPart(), pdf(5_001)]);
  expect(one.json()).toMatchObject({ status: 413, code: "too-large", errors: [{ field: "file[1]" }] });
  const all = await submit(house.app, [manifestPart(), pdf(4_500), pdf(4_501)]);
  expect(all.json()).toMatchObject({ status: 413, code: "too-large" });
  const { headers } = multipart([]);
  const announced = await house.app.inject({
    method: "POST",
    url: "/v1/requests",
    headers: { ...AUTHORIZED, ...headers, "content-length": "1000000" },
    payload: Readable.from([Buffer.from("--")]),
  });
  expect(announced.statusCode).toBe(413);
});

test("a submission must be multipart, or JSON that names the documents", async () => {
  const house = await startApiHouse();
  for (const type of ["application/pdf", "multipart/mixed; boundary=x", "application/x-www-form-urlencoded"]) {
    const answer = await house.app.inject({
      method: "POST",
      url: "/v1/requests",
      headers: { ...AUTHORIZED, "content-type": type },
      payload: '{"workflow":"videoid"}',
    });
    expect(answer.json()).toMatchObject({ status: 415, code: "unsupported-media-type" });
  }
  const without = await house.app.inject({
    method: "POST",
    url: "/v1/requests",
    headers: { ...AUTHORIZED, "content-type": "multipart/form-data" },
    payload: "x",
  });
  expect(without.json()).toMatchObject({ status: 400, code: "invalid-multipart" });
});

test("file names are kept for people and lose what cannot be seen", async () => {
  const house = await startApiHouse();
  const names = [
    "../../etc/cron.d/x.pdf",
    "Cafe\u0301 \u202Efdp.pdf",
    "<img src=x onerror=alert(1)>.pdf",
    "a;b%0d%0aX-Y: z.pdf",
  ];
  await submit(house.app, [manifestPart(), ...names.map((name) => filePart(PDF, name))]);
  expect(house.submissions[0]?.documents.map(({ name }) => name)).toEqual([
    "x.pdf",
    "Café fdp.pdf",
    "<img src=x onerror=alert(1)>.pdf",
    "a;b%0d%0aX-Y: z.pdf",
  ]);
});

test("the same key with the same body gives the same answer and makes one request", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  const first = await submit(house.app, [manifestPart(), filePart()], key);
  const again = await submit(
    house.app,
    [filePart(), manifestPart({ ...MANIFEST, authentication: { method: "sms" } })],
    key,
  );
  expect(again.statusCode).toBe(202);
  expect(again.json()).toEqual(first.json());
  expect(again.headers["idempotency-replayed"]).toBe("true");
  expect(first.headers["idempotency-replayed"]).toBeUndefined();
  expect(house.submissions).toHaveLength(1);
  expect(await house.stored()).toEqual([told(first).id]);
});

test.each<[string, Part[]]>([
  ["another manifest", [manifestPart({ ...MANIFEST, reference: "loan-2" }), filePart()]],
  ["another document", [manifestPart(), filePart(Buffer.concat([PDF, Buffer.from(" ")]))]],
  ["another name", [manifestPart(), filePart(PDF, "other.pdf")]],
  ["one document more", [manifestPart(), filePart(), filePart()]],
])("the same key with %s is refused", async (_what, parts) => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  const first = await submit(house.app, [manifestPart(), filePart()], key);
  const other = await submit(house.app, parts, key);
  expect(other.json()).toMatchObject({ status: 422, code: "idempotency-mismatch" });
  expect(await house.stored()).toEqual([told(first).id]);
});

test("the same key of another client is another key", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  const first = await submit(house.app, [manifestPart(), filePart()], key);
  const other = await submit(house.app, [manifestPart(), filePart()], {
    ...key,
    authorization: "Bearer canary-other-91f3",
  });
  expect(told(other).id).not.toBe(told(first).id);
  expect(house.submissions.map(({ by }) => by)).toEqual(["api:crm", "api:ops"]);
});

test("a key that is at work is refused until its call is over", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  const begun = await house.idempotency.begin("crm:order-17");
  const busy = await submit(house.app, [manifestPart(), filePart()], key);
  expect(busy.json()).toMatchObject({ status: 409, code: "idempotency-in-progress" });
  expect(busy.headers["retry-after"]).toBe("5");
  if (begun.state === "yours") await begun.claim.release();
  expect((await submit(house.app, [manifestPart(), filePart()], key)).statusCode).toBe(202);
});

test("a key whose call was refused is free again", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  expect((await submit(house.app, [manifestPart()], key)).statusCode).toBe(400);
  expect((await submit(house.app, [manifestPart(), filePart()], key)).statusCode).toBe(202);
});

test("a key must be visible ASCII", async () => {
  const house = await startApiHouse();
  const refused = ["", "a b", "k".repeat(256), "é", '""', '"a', 'a"b', '"a"b"', '"a"; v=1', '"a", "b"', '"a\\\\"b"'];
  for (const value of refused) {
    const answer = await submit(house.app, [manifestPart(), filePart()], { "idempotency-key": value });
    expect(answer.json()).toMatchObject({ status: 400, code: "invalid-idempotency-key" });
  }
});

test("a key in quotes is the key without them, and may have spaces", async () => {
  const house = await startApiHouse();
  const send = (value: string) => submit(house.app, [manifestPart(), filePart()], { "idempotency-key": value });
  const first = await send('"order-18"');
  const again = await send("order-18");
  expect([again.statusCode, again.headers["idempotency-replayed"], again.body]).toEqual([202, "true", first.body]);
  const other = await send('"order 18 \\"b\\""');
  expect([other.statusCode, other.headers["idempotency-replayed"]]).toEqual([202, undefined]);
  expect(told(other).id).not.toBe(told(first).id);
});

test("a call that died between binding its key and submitting is finished by its repetition, under the same id", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  house.failures.set("submit", new Error("Connection is closed."));
  const away = await submit(house.app, [manifestPart(), filePart()], key);
  expect(away.json()).toMatchObject({ status: 503, code: "redis-unavailable" });
  expect(away.headers["retry-after"]).toBe("5");
  const bound = house.idempotency.bound.get("crm:order-17");
  const again = await submit(house.app, [manifestPart(), filePart()], key);
  expect(told(again).id).toBe(bound?.requestId);
  expect(await house.stored()).toEqual([told(again).id]);
});

test("a call that died after submitting is answered by its repetition, and nothing is submitted twice", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "order-17" };
  const first = await submit(house.app, [manifestPart(), filePart()], key);
  const bound = house.idempotency.bound.get("crm:order-17");
  if (bound) house.idempotency.bound.set("crm:order-17", { ...bound, done: false });
  const again = await submit(house.app, [manifestPart(), filePart()], key);
  expect(again.json()).toEqual(first.json());
  expect(house.submissions).toHaveLength(1);
  expect(house.idempotency.bound.get("crm:order-17")?.done).toBe(true);
});

test("documents stay while nobody knows whether their request was written", async () => {
  const house = await startApiHouse();
  house.failures.set("submit", new Error("Connection is closed."));
  house.failures.set("find", new Error("Connection is closed."));
  expect((await submit(house.app, [manifestPart(), filePart()])).statusCode).toBe(503);
  expect(await house.stored()).toHaveLength(1);
});

test("documents stay although the request is not there: Redis may have forgotten what the journal knows", async () => {
  const house = await startApiHouse();
  house.failures.set("submit", new Error("Connection is closed."));
  expect((await submit(house.app, [manifestPart(), filePart()])).statusCode).toBe(503);
  expect(await house.stored()).toHaveLength(1);
});

test("documents go when the request was refused before anything was written", async () => {
  const house = await startApiHouse();
  const compared = new RetryableError("Redis is being compared", { code: "redis-away", retryAfterMs: 2_000 });
  house.failures.set("refuse to submit", compared);
  const answer = await submit(house.app, [manifestPart(), filePart()]);
  expect(answer.json()).toMatchObject({ status: 503, code: "redis-away" });
  expect(answer.headers["retry-after"]).toBe("2");
  expect(await house.stored()).toEqual([]);
});

test("a request that was written is accepted although its submission failed afterwards", async () => {
  const house = await startApiHouse();
  const { submit: really } = house.pipeline;
  house.pipeline.submit = async (submission, options) => {
    await really(submission, options);
    throw new Error("Connection is closed.");
  };
  const answer = await submit(house.app, [manifestPart(), filePart()]);
  expect(answer.statusCode).toBe(202);
  expect(await house.stored()).toEqual([told(answer).id]);
});

test("a full disk refuses the request and leaves nothing", async () => {
  const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  const house = await startApiHouse({
    documents: {
      room: async () => {},
      receive: () => Promise.reject(full),
      receiveEnclosure: () => Promise.reject(full),
      toEnclosure: () => Promise.reject(full),
      check: async (document) => document,
      fit: async () => ({}),
      accept: async () => {},
      discard: async () => {},
    },
  });
  const answer = await submit(house.app, [manifestPart(), filePart(Buffer.alloc(1_000_000, "%PDF-"))]);
  expect(answer.json()).toMatchObject({ status: 507, code: "disk-full" });
  expect(answer.headers["retry-after"]).toBe("60");
});

test("an upload that is cut off leaves nothing behind and the server goes on", async () => {
  const house = await startApiHouse();
  const { port } = new URL(await house.listen());
  for (let times = 0; times < 5; times++) {
    const socket = connect(Number(port), "127.0.0.1");
    const { body, headers } = multipart([manifestPart(), filePart(Buffer.concat([PDF, Buffer.alloc(300_000)]))]);
    socket.write(
      `POST /v1/requests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${KEY.secret}\r\nIdempotency-Key: cut\r\n` +
        `Content-Type: ${headers["content-type"]}\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.subarray(0, 200_000));
    await until(house.stored, (names) => names.length > 0);
    socket.destroy();
    await until(house.stored, (names) => names.length === 0);
  }
  expect(house.submissions).toEqual([]);
  const after = await until(
    () => submit(house.app, [manifestPart(), filePart()], { "idempotency-key": "cut" }),
    ({ statusCode }) => statusCode === 202,
  );
  expect(await house.stored()).toEqual([told(after).id]);
});

test("a client that sends far too much still gets to read why", async () => {
  const house = await startApiHouse({ limits: { documentBytes: 100_000 } });
  const address = await house.listen();
  const { body, headers } = multipart([manifestPart(), filePart(Buffer.concat([PDF, Buffer.alloc(20_000_000)]))]);
  const answer = await fetch(`${address}/v1/requests`, {
    method: "POST",
    headers: { ...AUTHORIZED, ...headers },
    body: new Uint8Array(body),
  });
  expect(answer.status).toBe(413);
  expect(await answer.json()).toMatchObject({ code: "too-large", errors: [{ field: "file[1]" }] });
  const wrongKey = await new Promise<number | undefined>((resolve, reject) => {
    const sending = httpRequest(`${address}/v1/requests`, { method: "POST", headers }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sending.on("error", reject);
    sending.end(body);
  });
  expect(wrongKey).toBe(401);
});
