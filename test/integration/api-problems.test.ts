import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { Redis } from "ioredis";
import { expect, inject, onTestFinished, test } from "vitest";
import { PROBLEMS } from "../../src/producers/api/problem.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createQuota } from "../../src/queues/quota.ts";
import { type ApiHouse, AUTHORIZED, startApiHouse, told, WEBHOOK_SECRET } from "../helpers/api-house.ts";
import type { ApiDocument } from "../../src/producers/api/openapi.ts";

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Sends bytes and reads what comes until the connection is closed. */
async function send(address: string, bytes: string): Promise<Answer> {
  const text = await new Promise<string>((resolve) => {
    let read = "";
    const socket = connect(Number(new URL(address).port), "127.0.0.1", () => socket.write(bytes));
    socket.on("data", (chunk: Buffer) => (read += chunk.toString()));
    socket.on("error", () => {});
    socket.on("close", () => {
      resolve(read);
    });
  });
  const [head = "", body = ""] = text.split(/\r\n\r\n/, 2);
  const [first = "", ...lines] = head.split("\r\n");
  const headers = Object.fromEntries(
    lines.map((line): [string, string] => {
      const at = line.indexOf(":");
      return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
    }),
  );
  const isChunked = headers["transfer-encoding"] === "chunked";
  return {
    status: Number(first.split(" ")[1]),
    headers,
    body: isChunked ? body.replaceAll(/\r\n|^[\da-f]+\r\n/g, "") : body,
  };
}

function call(method: string, path: string, headers: Record<string, string> = {}, body = ""): string {
  const all = {
    host: "x",
    connection: "close",
    ...(body && { "content-length": String(Buffer.byteLength(body)) }),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}

/** What every refusal must be, wherever it comes from. */
function expectProblem(
  { status, headers, body }: Answer,
  code: string,
  documented: ReadonlySet<string>,
  what: string,
): void {
  expect(headers["content-type"], what).toBe("application/problem+json; charset=utf-8");
  const problem = JSON.parse(body) as Record<string, unknown>;
  const known = PROBLEMS[code as keyof typeof PROBLEMS];
  expect(problem, what).toMatchObject({ code, status, type: `/docs#problem-${code}`, title: known.title });
  expect(status, what).toBe(known.status);
  expect(problem["detail"], what).toMatch(/^\S.*\.$/s);
  expect(problem["correlation_id"], what).toBe(headers["x-correlation-id"]);
  expect(documented, what).toContain(String(problem["type"]).slice("/docs#".length));
  expect(headers["cache-control"], what).toBe("no-store");
  expect(JSON.stringify(problem), what).not.toContain("canary");
  if ("retryAfterSeconds" in known) expect(Number(headers["retry-after"]), what).toBeGreaterThan(0);
}

async function startDocumented(more: Parameters<typeof startApiHouse>[0] = {}) {
  const house = await startApiHouse({ queues: [], ...more });
  const page = await house.app.inject({ url: "/docs" });
  const documented = new Set([...page.body.matchAll(/id="(problem-[a-z-]+)"/g)].map(([, id = ""]) => id));
  return { house, documented, address: await house.listen() };
}

/** Every call there is, with something in the place of its parameters. */
async function callsOf(house: ApiHouse): Promise<{ method: string; path: string; isOpen: boolean }[]> {
  const { paths } = told<ApiDocument>(await house.app.inject({ url: "/openapi.json" }));
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, { security }]) => ({
      method: method.toUpperCase(),
      path: path.replaceAll(/\{secret\}/g, WEBHOOK_SECRET).replaceAll(/\{\w+\}/g, "1"),
      isOpen: security?.length === 0,
    })),
  );
}

test("every problem has its description on the page for people", async () => {
  const { documented } = await startDocumented();
  expect([...documented].sort()).toEqual(
    Object.keys(PROBLEMS)
      .map((code) => `problem-${code}`)
      .sort(),
  );
});

test("whatever is wrong with a call, at whatever address, is answered with a problem document", async () => {
  const { house, documented, address } = await startDocumented();
  const calls = await callsOf(house);
  expect(calls.length).toBeGreaterThan(25);
  const withKey = { authorization: AUTHORIZED.authorization };
  for (const { method, path, isOpen } of calls) {
    const tell = async (code: string, bytes: string, why: string) => {
      const answer = await send(address, bytes);
      expectProblem(answer, code, documented, `${method} ${path}, ${why}`);
      return answer;
    };
    const { headers } = await tell("method-not-allowed", call("DELETE", path, withKey), "another method");
    expect(headers["allow"]?.split(", ")).toContain(method);
    await tell("uri-too-long", call(method, `${path}?q=${"a".repeat(8_000)}`, withKey), "a long address");
    await tell("uri-too-long", call(method, `${path}?q=${"a".repeat(40_000)}`, withKey), "a very long address");
    await tell("headers-too-large", call(method, path, { ...withKey, "x-much": "a".repeat(20_000) }), "large headers");
    await tell("invalid-http", `${method} ${path} HTTP/1.1\r\nconnection: close\r\n\r\n`, "no host");
    await tell("invalid-http", `${method} ${path} HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n`, "a header that is none");
    await tell("expectation-failed", call(method, path, { ...withKey, expect: "200-ok" }), "an expectation");
    await tell("unsupported-media-type", call(method, path, { ...withKey, "content-encoding": "gzip" }), "gzip");
    await tell("not-found", call(method, `/canary${path}`, withKey), "nowhere");
    if (isOpen) continue;
    const unauthorized = await tell("unauthorized", call(method, path), "no key");
    expect(unauthorized.headers["www-authenticate"]).toBe('Bearer realm="signpipe"');
    await tell("unauthorized", call(method, path, { authorization: "Bearer canary" }), "a wrong key");
    await tell("not-acceptable", call(method, path, { ...withKey, accept: "image/webp, */*;q=0" }), "a type of no use");
    if (method !== "POST") continue;
    const type = path === "/v1/requests" ? "text/plain" : "application/xml";
    await tell("unsupported-media-type", call(method, path, { ...withKey, "content-type": type }, "canary"), "a type");
  }
}, 120_000);

test.each([
  ["invalid-json", "/v1/requests/1/refuse", "application/json", '{"reason": canary'],
  ["invalid-request", "/v1/requests/1/refuse", "application/json", '{"reason": 5}'],
  ["too-large", "/v1/requests/1/refuse", "application/json", JSON.stringify({ reason: "x".repeat(70_000) })],
  ["no-such-request", "/v1/requests/1/refuse", "application/json", '{"reason": "no"}'],
  ["manifest-missing", "/v1/requests", "multipart/form-data; boundary=x", "--x--\r\n"],
  ["webhook-unreadable", `/webhooks/oneshot/${WEBHOOK_SECRET}`, "application/json", "canary"],
])("%s is a problem document as well", async (code, path, type, body) => {
  const { documented, address } = await startDocumented();
  const headers = { authorization: AUTHORIZED.authorization, "content-type": type };
  expectProblem(await send(address, call("POST", path, headers, body)), code, documented, path);
});

test("what fails inside is a problem document without a word of why", async () => {
  const { house, documented, address } = await startDocumented();
  const headers = { authorization: AUTHORIZED.authorization };
  for (const [failure, code] of [
    [new Error("canary"), "internal"],
    [new Error("Connection is closed."), "redis-unavailable"],
  ] as const) {
    house.failures.set("list", failure);
    expectProblem(await send(address, call("GET", "/v1/requests", headers)), code, documented, code);
  }
});

test("answers have a type that the client takes, with weights and wildcards", async () => {
  const { house } = await startDocumented();
  const ask = async (accept: string, url = "/v1/requests") =>
    (await house.app.inject({ url, headers: { ...AUTHORIZED, accept } })).statusCode;
  for (const accept of ["", "*/*", "application/*;q=0.1", "text/html, application/json;q=0.5", "APPLICATION/JSON"]) {
    expect(await ask(accept), accept).toBe(200);
  }
  for (const accept of ["text/html", "application/json;q=0", "text/*, image/png"])
    expect(await ask(accept), accept).toBe(406);
  expect(await ask("application/json", "/v1/events")).toBe(406);
});

/** A quota of its own in the run's Redis. */
function freshQuota() {
  const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: 1 });
  redis.on("error", () => {});
  onTestFinished(() => redis.disconnect());
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  return { redis, keys, quota: createQuota({ redis, keys }) };
}

test("a key has so many calls a minute at all processes together, and each answer says how many are left", async () => {
  const { quota, redis, keys } = freshQuota();
  const rates = { perKey: 3, perAddress: 0 };
  const { house, documented, address } = await startDocumented({ quota, rates });
  const other = await startApiHouse({ quota: createQuota({ redis, keys }), rates });
  const headers = { authorization: AUTHORIZED.authorization };
  const first = await send(address, call("GET", "/v1/requests", headers));
  expect([first.status, first.headers["ratelimit-policy"], first.headers["ratelimit"]]).toEqual([
    200,
    '"key";q=3;w=60',
    '"key";r=2;t=20',
  ]);
  expect((await other.app.inject({ url: "/v1/requests/x", headers: AUTHORIZED })).headers["ratelimit"]).toMatch(
    /r=1;t=\d+$/,
  );
  expect((await house.app.inject({ url: "/v1/requests", headers: AUTHORIZED })).statusCode).toBe(200);
  const refused = await send(address, call("GET", "/v1/requests", headers));
  expectProblem(refused, "quota-exceeded", documented, "the fourth");
  expect(refused.headers["ratelimit"]).toMatch(/^"key";r=0;t=\d+$/);
  expect(Number(refused.headers["retry-after"])).toBeLessThanOrEqual(20);
  // Others are not in its way, and those who watch are counted by nobody.
  const ops = { authorization: "Bearer canary-other-91f3" };
  expect((await house.app.inject({ url: "/v1/requests", headers: ops })).statusCode).toBe(200);
  for (const url of ["/metrics", "/health/live", "/health/ready"]) {
    const watched = await house.app.inject({ url, headers: AUTHORIZED });
    expect([watched.statusCode, watched.headers["ratelimit"]], url).toEqual([200, undefined]);
  }
});

test("a quota fills up again steadily, and no address stands in Redis", async () => {
  const { quota, redis, keys } = freshQuota();
  for (let i = 0; i < 5; i++) expect((await quota.take("canary", 5, 500))?.ok).toBe(true);
  const refused = await quota.take("canary", 5, 500);
  expect(refused).toMatchObject({ ok: false, left: 0 });
  expect(refused?.waitMs).toBeLessThanOrEqual(100);
  await expect.poll(async () => (await quota.take("canary", 5, 500))?.ok, { interval: 10 }).toBe(true);
  const names = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
  expect(names.join()).not.toContain("canary");
  await expect.poll(() => redis.exists(keys.quota("canary")), { interval: 20 }).toBe(0);
});

test("an address that shows wrong keys is told to wait, and keeps nobody there who has the right one", async () => {
  const { quota } = freshQuota();
  const { house, documented, address } = await startDocumented({ quota, rates: { perKey: 0, perAddress: 2 } });
  const ask = (authorization: string, remoteAddress: string) =>
    house.app.inject({ url: "/v1/requests", headers: { authorization }, remoteAddress });
  // The right key costs nothing.
  for (let i = 0; i < 4; i++) expect((await ask(AUTHORIZED.authorization, "203.0.113.9")).statusCode).toBe(200);
  for (let i = 0; i < 2; i++) expect((await ask("Bearer wrong", "203.0.113.9")).statusCode).toBe(401);
  expect((await ask(AUTHORIZED.authorization, "203.0.113.9")).statusCode).toBe(200);
  const refused = await ask("Bearer wrong", "203.0.113.9");
  expect(told(refused)).toMatchObject({ status: 429, code: "quota-exceeded" });
  expect(refused.headers["ratelimit-policy"]).toBe('"address";q=2;w=60');
  expect((await ask(AUTHORIZED.authorization, "203.0.113.10")).statusCode).toBe(200);
  // A machine has 2^64 addresses of its own.
  for (const end of ["1", "2"]) expect((await ask("Bearer wrong", `2001:db8:1:2::${end}`)).statusCode).toBe(401);
  expect((await ask("Bearer wrong", "2001:db8:1:2:aaaa::3")).statusCode).toBe(429);
  expect((await ask("Bearer wrong", "2001:db8:1:3::1")).statusCode).toBe(401);
  for (let i = 0; i < 2; i++) await send(address, call("GET", "/v1/requests"));
  expectProblem(await send(address, call("GET", "/v1/requests")), "quota-exceeded", documented, "the third");
});

test("only a proxy that the operator names may say where a call comes from", async () => {
  for (const [proxies, third] of [
    [["127.0.0.1"], 401],
    [[], 429],
  ] as const) {
    const { quota } = freshQuota();
    const house = await startApiHouse({ quota, rates: { perAddress: 2 }, proxies });
    const ask = (from: string) => house.app.inject({ url: "/v1/requests", headers: { "x-forwarded-for": from } });
    for (const from of ["203.0.113.1", "203.0.113.2"]) expect((await ask(from)).statusCode).toBe(401);
    expect((await ask("203.0.113.3")).statusCode).toBe(third);
  }
});

test("while Redis does not answer nobody is counted, and nobody waits for it", async () => {
  const { quota, redis } = freshQuota();
  redis.disconnect();
  const house = await startApiHouse({ quota, rates: { perKey: 1, perAddress: 1 } });
  for (let i = 0; i < 3; i++) {
    expect((await house.app.inject({ url: "/v1/requests", headers: AUTHORIZED })).statusCode).toBe(200);
  }
});
