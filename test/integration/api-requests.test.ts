import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { AUTHORIZED, freshId, KEY, PDF, record, startApiHouse, type ApiHouse, told } from "../helpers/api-house.ts";

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");
const ask = (house: ApiHouse, url: string, headers: Record<string, string> = {}) =>
  house.app.inject({ method: "GET", url, headers: { ...AUTHORIZED, ...headers } });
const act = (house: ApiHouse, url: string, payload?: object) =>
  house.app.inject({ method: "POST", url, headers: AUTHORIZED, ...(payload && { payload }) });

/** A request with two documents, of which the second was signed first. */
function signedRecord() {
  const id = freshId();
  const document = (n: number, name: string) => ({ id: `${id}/${n}.pdf`, name, sizeBytes: 9, sha256: sha256(name) });
  const documents = [document(1, "a.pdf"), document(2, 'Ünder "quotes".pdf')];
  const signed = PDF.toString() + "signed";
  const file = {
    id: `${id}/2.pdf`,
    name: "2.signed.pdf",
    sizeBytes: signed.length,
    sha256: sha256(signed),
    uid: "u-2",
  };
  const facts = {
    documents,
    uploaded: documents.map((one, i) => ({ ...one, uid: `u-${i + 1}` })),
    signed: [file],
    requestPk: 1012632,
    videoidPk: 9,
    videoidLink: "https://videoid.example/x",
    contract: { name: "contract.pdf", sizeBytes: PDF.length, sha256: sha256(PDF) },
    decision: { by: "canary-decider" },
  };
  return {
    id,
    signed,
    file,
    documents,
    request: record({ id, stage: "fetch", phase: "retrying", reference: "loan-1", facts }),
  };
}

test("what stands still is told, and goes on when an operator says so", async () => {
  const house = await startApiHouse();
  expect((await ask(house, "/v1/lanes")).json()).toEqual({ items: [] });
  const sinceMs = Date.UTC(2026, 0, 15, 8, 20);
  house.standstills.push({ lane: "billing", code: "billing-rejected", reason: "Creations stand still", sinceMs });
  const items = [
    { lane: "billing", code: "billing-rejected", reason: "Creations stand still", since: "2026-01-15T08:20:00.000Z" },
  ];
  expect((await ask(house, "/v1/lanes")).json()).toEqual({ items });
  expect((await house.app.inject({ method: "POST", url: "/v1/lanes/resume" })).statusCode).toBe(401);
  const resumed = await act(house, "/v1/lanes/resume");
  expect([resumed.statusCode, resumed.json()]).toEqual([200, { items }]);
  expect((await ask(house, "/v1/lanes")).json()).toEqual({ items: [] });
});

test("a request is shown by named fields, with times in UTC, and nothing else", async () => {
  const house = await startApiHouse();
  const { id, file, documents, request } = signedRecord();
  house.records.set(id, {
    ...request,
    failure: { code: "provider-error", message: "The provider answered 503", stage: "fetch" },
    waiting: { for: "code", whose: "signer", sinceMs: 0, untilMs: 600_000 },
  });
  const answer = await ask(house, `/v1/requests/${id}`);
  expect(answer.json()).toEqual({
    id,
    workflow: "videoid",
    stage: "fetch",
    phase: "retrying",
    state: "retrying",
    reference: "loan-1",
    waiting: { for: "code", since: "1970-01-01T00:00:00.000Z", until: "1970-01-01T00:10:00.000Z" },
    failure: { code: "provider-error", message: "The provider answered 503" },
    documents: [
      { name: "a.pdf", sha256: documents[0]?.sha256 },
      { name: 'Ünder "quotes".pdf', sha256: documents[1]?.sha256, signed_sha256: file.sha256 },
    ],
    request_pk: 1012632,
    videoid_link: "https://videoid.example/x",
    created_at: "2026-01-15T08:20:01.004Z",
    updated_at: "2026-01-15T08:36:33.120Z",
  });
});

test("facts of another form are left out of the view, not an error", async () => {
  const house = await startApiHouse();
  const request = record({ facts: { documents: "?", signed: [{}], requestPk: "x", videoidLink: 7, contract: [] } });
  house.records.set(request.id, request);
  const answer = await ask(house, `/v1/requests/${request.id}`);
  expect(answer.json()).toMatchObject({ id: request.id, documents: [] });
  expect(answer.json()).not.toHaveProperty("request_pk");
});

test("an unknown id and a malformed id are told apart by nothing", async () => {
  const house = await startApiHouse();
  const shapes = new Set<string>();
  for (const id of [
    freshId(),
    "1",
    "..%2f..%2fetc",
    "req-",
    "REQ-01JD8X3V5Q7R9T2W4Y6Z8A0C1E",
    "%00",
    "a".repeat(300),
  ]) {
    for (const [method, path] of [
      ["GET", ""],
      ["GET", "/history"],
      ["GET", "/contract"],
      ["GET", "/documents/1/signed"],
      ["POST", "/approve"],
      ["POST", "/cancel"],
      ["POST", "/retry"],
      ["POST", "/code/resend"],
    ] as const) {
      const { headers, body } = await house.app.inject({
        method,
        url: `/v1/requests/${id}${path}`,
        headers: AUTHORIZED,
      });
      const problem = JSON.parse(body) as Record<string, unknown>;
      delete problem["correlation_id"];
      shapes.add(JSON.stringify([problem, Object.keys(headers).sort()]));
    }
  }
  expect([...shapes]).toHaveLength(1);
  expect([...shapes][0]).toContain("no-such-request");
});

test("a list is paged by cursor and filtered by state and reference", async () => {
  const house = await startApiHouse();
  for (let i = 0; i < 5; i++) {
    const one = record({ reference: `loan-${i % 2}`, ...(i === 4 && { phase: "done" as const }) });
    house.records.set(one.id, one);
  }
  const ids: string[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const answer = await ask(house, `/v1/requests?limit=2&cursor=${cursor}`);
    const page = answer.json<{ items: { id: string }[]; next_cursor: string | null }>();
    expect(page.items.length).toBeLessThanOrEqual(2);
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor;
  }
  expect(ids.sort()).toEqual([...house.records.keys()].sort());
  expect(told(await ask(house, "/v1/requests?state=done")).items).toHaveLength(1);
  expect(told(await ask(house, "/v1/requests?reference=loan-1&state=queued")).items).toHaveLength(2);
  expect((await ask(house, "/v1/requests?state=&reference=&cursor=&limit=")).statusCode).toBe(200);
});

test.each([
  ["limit=0", "query.limit", "must be a number from 1 to 200"],
  ["limit=201", "query.limit", "must be a number from 1 to 200"],
  ["limit=many", "query.limit", "must be a number from 1 to 200"],
  ["limit=1.5", "query.limit", "must be a number from 1 to 200"],
  [
    "state=sleeping",
    "query.state",
    "must be one of queued, running, waiting, retrying, done, refused, cancelled, expired, failed",
  ],
  ["reference=a&reference=b", "query.reference", "must be a single text"],
  ["workflow=video", "query.workflow", "must be one of videoid, videoid-external, classic"],
  ["stage=nowhere", "query.stage", "must be one of create, sign"],
  ["source=fax", "query.source", "must be one of inbox, api, intake, batch"],
  [
    "created_since=yesterday",
    "query.created_since",
    "must be a day like 2026-01-31, or a time like 2026-01-31T08:00:00Z",
  ],
  [
    "created_until=2026-13-01",
    "query.created_until",
    "must be a day like 2026-01-31, or a time like 2026-01-31T08:00:00Z",
  ],
  ["stat=done", "query.stat", "is not a key that is known here"],
])("a list with %s is refused with the field named, and what it must be", async (query, field, message) => {
  const house = await startApiHouse();
  const answer = await ask(house, `/v1/requests?${query}`);
  expect(answer.json()).toMatchObject({ status: 400, code: "invalid-request", errors: [{ field, message }] });
});

test.each([
  [undefined, "body", "must be a JSON object"],
  [[], "body", "must be a JSON object"],
  [{ secret: 52174 }, "body.secret", "must be a string, because a code may begin with 0"],
  [{ secret: "1".repeat(65) }, "body.secret", "must not be longer than 64 characters"],
  [{ secret: "1", code: "2" }, "body.code", "is not a key that is known here"],
])("a code given as %j is refused with the field named, and what it must be", async (payload, field, message) => {
  const house = await startApiHouse();
  const request = record();
  house.records.set(request.id, request);
  const answer = await act(house, `/v1/requests/${request.id}/code`, payload);
  expect(answer.json()).toMatchObject({ status: 400, code: "invalid-request", errors: [{ field, message }] });
});

test("the history is told with times and who caused what", async () => {
  const house = await startApiHouse();
  const request = record();
  house.records.set(request.id, request);
  expect((await ask(house, `/v1/requests/${request.id}/history`)).json()).toEqual({
    items: [
      {
        at: "2026-01-15T08:20:01.004Z",
        event: "note",
        stage: "create",
        phase: "queued",
        by: "api:crm",
        note: "submitted",
      },
    ],
  });
});

test("every act is recorded as done by the key's name and answers with the request", async () => {
  const house = await startApiHouse();
  const { id, ...request } = record();
  house.records.set(id, { id, ...request });
  const acts: [string, object | undefined, unknown[]][] = [
    ["approve", undefined, ["approve", id, "api:crm"]],
    ["refuse", { reason: " not the\nsigner " }, ["refuse", id, "not the signer", "api:crm"]],
    ["code", { secret: "052174" }, ["giveCode", id, "052174", "api:crm"]],
    ["code/resend", {}, ["resendCode", id, "api:crm"]],
    ["cancel", undefined, ["cancel", id, "api:crm"]],
    ["retry", {}, ["retry", id, "api:crm"]],
  ];
  for (const [path, payload, call] of acts) {
    const answer = await act(house, `/v1/requests/${id}/${path}`, payload);
    expect(answer.statusCode, path).toBe(202);
    expect(answer.json()).toMatchObject({ id, state: "queued" });
    expect(house.calls.at(-1)).toEqual(call);
  }
});

test("an act without a body may say any content type, or none", async () => {
  const house = await startApiHouse();
  const request = record();
  house.records.set(request.id, request);
  const types = [
    undefined,
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "application/x-www-form-urlencoded",
  ];
  for (const type of types) {
    const answer = await house.app.inject({
      method: "POST",
      url: `/v1/requests/${request.id}/approve`,
      headers: { ...AUTHORIZED, ...(type && { "content-type": type }), "content-length": "0" },
    });
    expect(answer.statusCode, type).toBe(202);
  }
});

test.each<[string, string, string, number, string]>([
  ["refuse", "application/json", "", 400, "invalid-request"],
  ["refuse", "application/json", "{}", 400, "invalid-request"],
  ["refuse", "application/json", '{"reason":""}', 400, "invalid-request"],
  ["refuse", "application/json", '{"reason":"x","by":"me"}', 400, "invalid-request"],
  ["code", "application/json", '{"secret":123456}', 400, "invalid-request"],
  ["code", "application/json", '{"secret":"  "}', 400, "invalid-request"],
  ["code", "application/json", '{"secret":', 400, "invalid-json"],
  ["code", "application/json", '{"__proto__":{"secret":"1"}}', 400, "invalid-json"],
  ["code", "text/plain", "052174", 415, "unsupported-media-type"],
  ["code", "application/json", JSON.stringify({ secret: "1".repeat(70_000) }), 413, "too-large"],
  ["approve", "application/json", "[1]", 400, "invalid-request"],
])("%s with %s %s is answered with a clear problem", async (path, type, payload, status, code) => {
  const house = await startApiHouse();
  const request = record();
  house.records.set(request.id, request);
  const headers = { ...AUTHORIZED, "content-type": type };
  const answer = await house.app.inject({
    method: "POST",
    url: `/v1/requests/${request.id}/${path}`,
    headers,
    payload,
  });
  expect(answer.json()).toMatchObject({ status, code });
  expect(answer.body).not.toContain("123456");
  expect(house.calls).toEqual([]);
});

test("what the pipeline refuses is told with its code, its sentence and when to try again", async () => {
  const house = await startApiHouse();
  const request = record();
  house.records.set(request.id, request);
  const tooSoon = new RetryableError("The last code was sent less than a minute ago", {
    code: "otp-too-soon",
    retryAfterMs: 41_000,
  });
  house.failures.set("resendCode", tooSoon);
  const later = await act(house, `/v1/requests/${request.id}/code/resend`);
  expect(later.json()).toMatchObject({ status: 429, code: "otp-too-soon" });
  expect(later.headers["retry-after"]).toBe("41");
  house.failures.set("cancel", new PermanentError("It may already be signed", { code: "too-late" }));
  const late = await act(house, `/v1/requests/${request.id}/cancel`);
  expect(late.json()).toMatchObject({ status: 409, code: "too-late", detail: "It may already be signed" });
  house.failures.set("approve", new Error("canary-inside"));
  const broken = await act(house, `/v1/requests/${request.id}/approve`);
  expect(broken.json()).toMatchObject({ status: 500, code: "internal" });
  expect(broken.body).not.toContain("canary-inside");
  expect(house.logged()).toContain(told(broken).correlation_id);
});

async function houseWithResults() {
  const house = await startApiHouse();
  const made = signedRecord();
  house.records.set(made.id, made.request);
  const dir = join(house.dir, "signed", made.id);
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "2.signed.pdf"), made.signed);
  await writeFile(join(dir, "contract.pdf"), PDF);
  return { house, dir, ...made };
}

test("a signed document is handed out under its name, harmless to a browser", async () => {
  const { house, id, signed, file } = await houseWithResults();
  const answer = await ask(house, `/v1/requests/${id}/documents/2/signed`);
  expect(answer.statusCode).toBe(200);
  expect(answer.body).toBe(signed);
  expect(answer.headers).toMatchObject({
    "content-type": "application/pdf",
    "content-length": String(signed.length),
    "content-disposition": `attachment; filename="_nder _quotes_.signed.pdf"; filename*=UTF-8''%C3%9Cnder%20%22quotes%22.signed.pdf`,
    etag: `"${file.sha256}"`,
    "x-content-type-options": "nosniff",
  });
  expect(answer.headers["content-security-policy"]).toContain("sandbox");
});

test("a signature apart is handed out as one, named after its document", async () => {
  const { house, id, signed, request, file, dir } = await houseWithResults();
  const p7m = { ...file, name: "Ünder quotes.docx.p7m" };
  house.records.set(id, { ...request, facts: { ...request.facts, format: "cms", signed: [p7m] } });
  await writeFile(join(dir, p7m.name), signed);
  const answer = await ask(house, `/v1/requests/${id}/documents/2/signed`);
  expect([answer.statusCode, answer.body]).toEqual([200, signed]);
  expect(answer.headers).toMatchObject({
    "content-type": "application/pkcs7-mime; smime-type=signed-data",
    "content-disposition": `attachment; filename="_nder quotes.docx.p7m"; filename*=UTF-8''%C3%9Cnder%20quotes.docx.p7m`,
  });
});

test("a signed document that the client has is not sent again, and HEAD sends its size alone", async () => {
  const { house, id, signed, file } = await houseWithResults();
  const url = `/v1/requests/${id}/documents/2/signed`;
  const known = await ask(house, url, { "if-none-match": `"x", W/"${file.sha256}"` });
  expect([known.statusCode, known.body]).toEqual([304, ""]);
  const head = await house.app.inject({ method: "HEAD", url, headers: AUTHORIZED });
  expect([head.statusCode, head.headers["content-length"], head.body]).toEqual([200, String(signed.length), ""]);
});

test("the contract is handed out", async () => {
  const { house, id } = await houseWithResults();
  const answer = await ask(house, `/v1/requests/${id}/contract`);
  expect([answer.statusCode, answer.rawPayload]).toEqual([200, PDF]);
});

test("documents are counted from 1", async () => {
  const { house, id } = await houseWithResults();
  for (const n of ["0", "3", "-1", "1.0", "01", "x", "1e0", "99999999999999999999"]) {
    const answer = await ask(house, `/v1/requests/${id}/documents/${n}/signed`);
    expect(answer.json()).toMatchObject({ status: 404, code: "no-such-document" });
    expect(told(answer).detail).toContain("documents 1 to 2");
  }
  const notYet = await ask(house, `/v1/requests/${id}/documents/1/signed`);
  expect(notYet.json()).toMatchObject({ status: 409, code: "not-signed-yet" });
});

test("a stored file that is not what was stored is not handed out", async () => {
  const { house, id, dir } = await houseWithResults();
  await writeFile(join(dir, "2.signed.pdf"), "short");
  const changed = await ask(house, `/v1/requests/${id}/documents/2/signed`);
  expect(changed.json()).toMatchObject({ status: 500, code: "result-damaged" });
  await writeFile(join(dir, "contract.pdf"), "");
  expect((await ask(house, `/v1/requests/${id}/contract`)).statusCode).toBe(500);
});

test("keys, codes and signers are in no log line", async () => {
  const house = await startApiHouse();
  const request = record();
  house.records.set(request.id, request);
  await act(house, `/v1/requests/${request.id}/code`, { secret: "canary-code-1" });
  await act(house, `/v1/requests/${request.id}/code`, { secret: 17, canary: "canary-code-2" });
  await act(house, `/v1/requests/${request.id}/refuse`, { reason: "canary-reason" });
  house.failures.set("giveCode", new Error("Connection is closed."));
  await act(house, `/v1/requests/${request.id}/code`, { secret: "canary-code-3" });
  await house.app.inject({
    url: `/v1/requests?token=${KEY.secret}`,
    headers: { authorization: "Bearer canary-wrong" },
  });
  await house.app.inject({ url: `/no/such/${KEY.secret}` });
  expect(house.logged()).toContain("call answered");
  expect(house.logged()).not.toContain("canary");
});

test("a list leads to its next page by a Link, with the same filters", async () => {
  const house = await startApiHouse();
  for (let i = 0; i < 3; i++) {
    const one = record({ reference: "loan & lease" });
    house.records.set(one.id, one);
  }
  const first = await ask(house, "/v1/requests?reference=loan+%26+lease&limit=2&state=");
  const [, next = ""] = /^<(.+)>; rel="next"$/.exec(String(first.headers.link)) ?? [];
  const second = await ask(house, next);
  expect([told(first).items.length, told(second).items.length, second.headers.link]).toEqual([2, 1, undefined]);
  expect(house.calls.filter(([name]) => name === "list").at(-1)?.[1]).toMatchObject({
    reference: "loan & lease",
    limit: 2,
  });
});

test("every filter of a list reaches the pipeline, with its times in milliseconds", async () => {
  const house = await startApiHouse();
  const group = freshId();
  const query = new URLSearchParams({
    state: "waiting",
    workflow: "classic",
    stage: "sign",
    waiting_for: "another code",
    source: "inbox",
    reference: "loan-1",
    tenant: "third",
    group,
    created_since: "2026-01-15",
    created_until: "2026-01-15T10:00:00+02:00",
  });
  expect((await ask(house, `/v1/requests?${query.toString()}`)).statusCode).toBe(200);
  expect(house.calls.at(-1)).toEqual([
    "list",
    {
      state: "waiting",
      workflow: "classic",
      stage: "sign",
      waitingFor: "another code",
      source: "inbox",
      reference: "loan-1",
      tenant: "third",
      group,
      createdSinceMs: Date.UTC(2026, 0, 15),
      createdUntilMs: Date.UTC(2026, 0, 15, 8),
      limit: 50,
    },
  ]);
});

test("a request that the client has is not sent again, until it changes", async () => {
  const house = await startApiHouse();
  const request = record({ mark: "a1" });
  house.records.set(request.id, request);
  const first = await ask(house, `/v1/requests/${request.id}`);
  const etag = String(first.headers.etag);
  expect(etag).toMatch(/^"[\w-]{22}"$/);
  expect(first.headers["cache-control"]).toBe("private, no-cache");
  for (const header of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
    const again = await ask(house, `/v1/requests/${request.id}`, { "if-none-match": header });
    expect([again.statusCode, again.body, again.headers.etag], header).toEqual([304, "", etag]);
  }
  // A worker that takes it up writes no new mark.
  for (const changed of [{ mark: "a2" }, { phase: "running" as const }, { updatedMs: request.updatedMs + 1 }]) {
    house.records.set(request.id, { ...request, ...changed });
    const again = await ask(house, `/v1/requests/${request.id}`, { "if-none-match": etag });
    expect([again.statusCode, again.headers.etag === etag], JSON.stringify(changed)).toEqual([200, false]);
  }
});
