import fc from "fast-check";
import { connect } from "node:net";
import { expect, test } from "vitest";
import type { ApiDocument } from "../../src/producers/api/openapi.ts";
import { AUTHORIZED, KEY, startApiHouse, type ApiHouse, until, WEBHOOK_SECRET, told } from "../helpers/api-house.ts";

const HOOK = `/webhooks/oneshot/${WEBHOOK_SECRET}`;
const notify = (house: ApiHouse, payload: string | Buffer, type?: string, url = HOOK) =>
  house.app.inject({ method: "POST", url, payload, headers: { ...(type !== undefined && { "content-type": type }) } });
const nudged = (house: ApiHouse) => house.calls.filter(([name]) => name === "nudge").map(([, pk]) => pk);

test("a notification is answered at once and makes the pipeline look", async () => {
  const house = await startApiHouse();
  const answer = await notify(
    house,
    '{"event_type":"VIDEOID_UPDATED","request":{"pk":4711,"status":"VIDEOREVIEW"}}',
    "application/json",
  );
  expect([answer.statusCode, answer.json()]).toEqual([200, { received: true }]);
  expect((await notify(house, '{"status":"ISSUED","request":4712}')).statusCode).toBe(200);
  await until(
    () => nudged(house),
    ({ length }) => length === 2,
  );
  expect(nudged(house)).toEqual([4711, 4712]);
  const { body } = await house.app.inject({ url: "/metrics", headers: AUTHORIZED });
  expect(body).toContain('signpipe_webhook_hints_total{outcome="known"} 1');
  expect(body).toContain('signpipe_webhook_hints_total{outcome="stranger"} 1');
  expect(body).toContain('signpipe_webhooks_total{outcome="accepted"} 2');
});

test("a notification is read whatever content type it claims", async () => {
  const house = await startApiHouse();
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/json; charset=x",
    "multipart/form-data; boundary=x",
  ]) {
    expect((await notify(house, '{"request":4711}', type)).statusCode, type).toBe(200);
  }
});

test("a notification is answered although the pipeline is away", async () => {
  const house = await startApiHouse();
  house.failures.set("nudge", new Error("Connection is closed."));
  expect((await notify(house, '{"request":4711}')).statusCode).toBe(200);
  await until(
    () => nudged(house),
    ({ length }) => length === 1,
  );
});

test("a wrong secret is answered like an address that does not exist, whatever comes with it", async () => {
  const house = await startApiHouse();
  const shape = ({ statusCode, headers, body }: Awaited<ReturnType<typeof notify>>) => {
    const problem = JSON.parse(body) as Record<string, unknown>;
    delete problem["correlation_id"];
    return [statusCode, problem, Object.keys(headers).sort()];
  };
  const nowhere = shape(await notify(house, "{}", "application/json", "/no/such/address"));
  for (const secret of ["x", WEBHOOK_SECRET.slice(0, -1), `${WEBHOOK_SECRET}x`, "a".repeat(400), "%00"]) {
    for (const body of ['{"request":4711}', "garbage", "x".repeat(20_000)]) {
      expect(shape(await notify(house, body, "text/plain", `/webhooks/oneshot/${secret}`))).toEqual(nowhere);
    }
  }
  expect(nudged(house)).toEqual([]);
});

test("a notification that names no request, or is too long, is refused", async () => {
  const house = await startApiHouse();
  for (const body of ["", "{}", "[]", "null", "{", '{"request":{"pk":-1}}']) {
    expect((await notify(house, body, "application/json")).json()).toMatchObject({
      status: 400,
      code: "webhook-unreadable",
    });
  }
  const long = JSON.stringify({ request: 4711, filler: "x".repeat(8_200) });
  expect((await notify(house, long, "application/json")).json()).toMatchObject({ status: 413, code: "too-large" });
  expect(nudged(house)).toEqual([]);
});

test("no notification crashes the door", async () => {
  const house = await startApiHouse();
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.json(),
    fc.json().map((value) => `{"request":${value}}`),
    fc.json().map((value) => `{"request":{"pk":${value}}}`),
    fc.json().map((value) => `{"__proto__":${value},"constructor":${value}}`),
    fc.json().map((text) => Buffer.from(text, "utf16le")),
  );
  const types = fc.constantFrom("application/json", "", "text/xml", "a/b; charset=utf-16", "multipart/form-data");
  await fc.assert(
    fc.asyncProperty(bodies, types, async (body, type) => {
      const { statusCode } = await notify(house, body, type);
      return statusCode === 200 || statusCode === 400;
    }),
    { numRuns: 500 },
  );
  expect((await notify(house, '{"request":4711}')).statusCode).toBe(200);
  expect(({} as Record<string, unknown>)["pk"]).toBeUndefined();
});

test("the secrets of addresses are in no log line", async () => {
  const house = await startApiHouse();
  await notify(house, '{"request":4711}');
  await notify(house, "garbage");
  await notify(house, "x".repeat(20_000));
  await house.app.inject({ method: "GET", url: HOOK });
  await notify(house, '{"request":4711}', undefined, `/webhooks/oneshot/${WEBHOOK_SECRET}/canary`);
  await notify(house, '{"request":4711}', undefined, `/webhooks/oneshot/${WEBHOOK_SECRET}%`);
  await notify(house, '{"canary@example.com":1}');
  house.failures.set("nudge", new Error("away"));
  await notify(house, '{"request":4712}');
  await until(
    () => nudged(house),
    ({ length }) => length === 2,
  );
  expect(house.logged()).not.toContain("canary");
});

test("a key is asked for at every address that needs one", async () => {
  const house = await startApiHouse();
  const addresses = [
    ["GET", "/v1/requests"],
    ["POST", "/v1/requests"],
    ["GET", "/v1/requests/x"],
    ["GET", "/v1/requests/x/history"],
    ["GET", "/v1/requests/x/contract"],
    ["GET", "/v1/requests/x/documents/1/signed"],
    ["POST", "/v1/requests/x/approve"],
    ["POST", "/v1/requests/x/refuse"],
    ["POST", "/v1/requests/x/code"],
    ["POST", "/v1/requests/x/code/resend"],
    ["POST", "/v1/requests/x/cancel"],
    ["POST", "/v1/requests/x/retry"],
    ["GET", "/metrics"],
    ["HEAD", "/v1/requests"],
  ] as const;
  for (const [method, url] of addresses) {
    for (const authorization of [undefined, "Bearer wrong", `Basic ${KEY.secret}`, KEY.secret, `Bearer ${KEY.name}`]) {
      const answer = await house.app.inject({ method, url, headers: { ...(authorization && { authorization }) } });
      expect(answer.statusCode, `${method} ${url}`).toBe(401);
      expect(answer.headers["www-authenticate"]).toBe('Bearer realm="signpipe"');
      if (method !== "HEAD") expect(answer.json()).toMatchObject({ code: "unauthorized" });
    }
  }
});

test("every answer carries the headers that keep a browser harmless", async () => {
  const house = await startApiHouse();
  for (const url of ["/v1/requests", "/nowhere", "/health/live", "/docs", "/openapi.json", "/docs/style.css"]) {
    const { headers } = await house.app.inject({ url });
    expect(headers, url).toMatchObject({
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "x-frame-options": "DENY",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(headers["content-security-policy"]).toContain("default-src 'none'");
    expect(headers["x-correlation-id"]).toMatch(/^c-[0-9a-f]{16}$/);
    expect(headers).not.toHaveProperty("access-control-allow-origin");
  }
  expect((await house.app.inject({ url: "/v1/requests" })).headers["cache-control"]).toBe("no-store");
});

test("an address says which methods it takes", async () => {
  const house = await startApiHouse();
  const wrong = await house.app.inject({ method: "DELETE", url: "/v1/requests/x" });
  expect([wrong.statusCode, wrong.headers.allow]).toEqual([405, "GET, HEAD, OPTIONS"]);
  const options = await house.app.inject({ method: "OPTIONS", url: "/v1/requests" });
  expect([options.statusCode, options.headers.allow]).toEqual([204, "GET, HEAD, OPTIONS, POST"]);
  expect((await house.app.inject({ method: "OPTIONS", url: "/nowhere" })).statusCode).toBe(404);
  expect((await house.app.inject({ method: "HEAD", url: "/health/live" })).statusCode).toBe(200);
});

test("bytes that are no HTTP are answered and the server goes on", async () => {
  const house = await startApiHouse();
  const address = await house.listen();
  for (const bytes of [
    "\x16\x03\x01\x02",
    "GET / HTTP/1.1\r\nBad Header\r\n\r\n",
    `GET /${"a".repeat(70_000)} HTTP/1.1\r\n\r\n`,
  ]) {
    const answer = await new Promise<string>((resolve) => {
      let read = "";
      const socket = connect(Number(new URL(address).port), "127.0.0.1", () => socket.write(bytes));
      socket.on("data", (chunk: Buffer) => (read += chunk.toString()));
      socket.on("error", () => {});
      socket.on("close", () => {
        resolve(read);
      });
    });
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
  }
  expect((await fetch(`${address}/health/live`)).status).toBe(200);
});

test("health tells life apart from readiness, with reasons", async () => {
  let redis = { ok: true } as { ok: boolean; note?: string };
  const house = await startApiHouse({
    status: async () => ({
      redis,
      provider: { ok: false, note: "the provider cannot be reached" },
      inbox: { ok: true, figures: { waiting: 4 } },
    }),
  });
  expect((await house.app.inject({ url: "/health/live" })).json()).toEqual({ status: "alive", version: "1.2.3" });
  const ready = await house.app.inject({ url: "/health/ready" });
  expect(ready.statusCode).toBe(200);
  expect(ready.json()).toEqual({
    status: "ready",
    reasons: [],
    checks: {
      redis: { ok: true },
      inbox: { ok: true },
      provider: { ok: false, note: "the provider cannot be reached" },
    },
  });
  redis = { ok: false, note: "Redis does not answer" };
  const away = await house.app.inject({ url: "/health/ready" });
  expect(away.statusCode).toBe(503);
  expect(told(away).reasons).toEqual(["redis: Redis does not answer"]);
});

test("readiness that cannot be found out is no readiness", async () => {
  const house = await startApiHouse({ status: () => Promise.reject(new Error("canary")) });
  const answer = await house.app.inject({ url: "/health/ready" });
  expect([answer.statusCode, answer.body.includes("canary")]).toEqual([503, false]);
});

test("metrics count requests by state, jobs by stage, what is overdue and how calls were answered", async () => {
  const house = await startApiHouse({
    metricsOpen: true,
    status: async () => ({ redis: { ok: true }, inbox: { ok: true, figures: { waiting: 4 } } }),
  });
  await house.app.inject({ url: "/v1/requests/req-1?canary=1", headers: AUTHORIZED });
  const { body, headers } = await house.app.inject({ url: "/metrics" });
  expect(headers["content-type"]).toContain("text/plain");
  for (const line of [
    'signpipe_requests{state="waiting"} 2',
    'signpipe_queue_jobs{stage="create",status="waiting"} 1',
    "signpipe_requests_overdue 3",
    "signpipe_redis_up 1",
    'signpipe_up{part="inbox"} 1',
    'signpipe_part{part="inbox",figure="waiting"} 4',
    'signpipe_http_request_duration_seconds_count{method="GET",route="/v1/requests/:id",status="4xx"} 1',
    "process_resident_memory_bytes",
  ]) {
    expect(body).toContain(line);
  }
  expect(body).not.toContain("canary");
  house.failures.set("counts", new Error("Connection is closed."));
  expect((await house.app.inject({ url: "/metrics" })).body).toContain("signpipe_redis_up 0");
});

test("the OpenAPI document describes every call, with every problem and an example of each", async () => {
  const house = await startApiHouse({ queues: [] });
  const document = told<ApiDocument>(await house.app.inject({ url: "/openapi.json" }));
  expect(document.openapi).toMatch(/^3\.1\./);
  expect(Object.keys(document.paths).sort()).toEqual([
    "/docs",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/v1/batches",
    "/v1/batches/{id}",
    "/v1/batches/{id}/cancel",
    "/v1/batches/{id}/pause",
    "/v1/batches/{id}/priority",
    "/v1/batches/{id}/results.csv",
    "/v1/batches/{id}/results.json",
    "/v1/batches/{id}/resume",
    "/v1/batches/{id}/retry",
    "/v1/batches/{id}/rows",
    "/v1/events",
    "/v1/lanes",
    "/v1/lanes/resume",
    "/v1/notifications/replay",
    "/v1/requests",
    "/v1/requests/{id}",
    "/v1/requests/{id}/approve",
    "/v1/requests/{id}/cancel",
    "/v1/requests/{id}/code",
    "/v1/requests/{id}/code/resend",
    "/v1/requests/{id}/contract",
    "/v1/requests/{id}/correct",
    "/v1/requests/{id}/documents/{n}/signed",
    "/v1/requests/{id}/enclosures/{name}",
    "/v1/requests/{id}/events",
    "/v1/requests/{id}/history",
    "/v1/requests/{id}/notifications",
    "/v1/requests/{id}/notifications/{notification}/replay",
    "/v1/requests/{id}/refuse",
    "/v1/requests/{id}/remind",
    "/v1/requests/{id}/restart",
    "/v1/requests/{id}/retry",
    "/v1/requests/{id}/video",
    "/v1/schemas/batch-row",
    "/webhooks/oneshot/{secret}",
  ]);
  for (const [path, item] of Object.entries(document.paths)) {
    for (const { summary, description, responses } of Object.values(item)) {
      expect(summary && description, path).toBeTruthy();
      for (const [status, { description: meaning, content }] of Object.entries(responses)) {
        expect(meaning, `${path} ${status}`).not.toMatch(/^(Default Response)?$/);
        if (Number(status) < 400 || status === "503") continue;
        expect(Object.keys(content?.["application/problem+json"]?.examples ?? {}), `${path} ${status}`).not.toEqual([]);
      }
    }
  }
  const text = JSON.stringify(document);
  for (const [, name = ""] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
    expect(Object.keys(document.components.schemas)).toContain(name);
  }
  expect(text).not.toMatch(/"x-(problems|answers|body-example)"/);
  expect(document.paths["/v1/requests"]?.["post"]?.requestBody?.content).toHaveProperty([
    "multipart/form-data",
    "example",
  ]);
});

test("every problem that a call answers is one that the OpenAPI document names for it", async () => {
  const house = await startApiHouse();
  const { paths } = told<ApiDocument>(await house.app.inject({ url: "/openapi.json" }));
  const calls = [
    ["POST", "/v1/requests", "/v1/requests", "application/json"],
    ["GET", "/v1/requests?limit=x", "/v1/requests", undefined],
    ["GET", "/v1/requests/x", "/v1/requests/{id}", undefined],
    ["POST", "/v1/requests/x/approve", "/v1/requests/{id}/approve", "text/plain"],
    ["POST", "/v1/requests/x/refuse", "/v1/requests/{id}/refuse", "application/json"],
    ["POST", HOOK, "/webhooks/oneshot/{secret}", undefined],
  ] as const;
  for (const [method, url, path, type] of calls) {
    const payload = method === "POST" ? "{" : undefined;
    const headers = { ...AUTHORIZED, ...(type && { "content-type": type }) };
    const answer = await house.app.inject({ method, url, headers, ...(payload && { payload }) });
    const { status, code } = told(answer);
    const named = paths[path]?.[method.toLowerCase()]?.responses[String(status)]?.content?.["application/problem+json"];
    expect(named?.examples).toHaveProperty(code);
  }
});

test("the page for people shows every call and loads nothing from elsewhere", async () => {
  const house = await startApiHouse();
  const { body, headers } = await house.app.inject({ url: "/docs", headers: { host: "sign.example:8443" } });
  expect(headers["content-security-policy"]).not.toContain("unsafe");
  expect(body).not.toMatch(/<script|\son\w+=|(src|href)="(https?:)?\/\//i);
  for (const id of ["submitRequest", "giveCode", "getSignedDocument", "receiveNotification", "problem-too-late"]) {
    expect(body).toContain(`id="${id}"`);
  }
  expect(body).toContain("export SIGNPIPE=http://sign.example:8443");
  expect((await house.app.inject({ url: "/docs/style.css" })).headers["content-type"]).toContain("text/css");
});

test.each(["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a'b", "javascript:alert(1)", "x${7*7}"])(
  "the page for people escapes what it is told: %s",
  async (evil) => {
    const house = await startApiHouse({ stages: [{ name: evil, title: evil }], version: evil });
    const { body } = await house.app.inject({ url: "/docs", headers: { host: evil } });
    expect(body).not.toMatch(/<script|<img|onerror=alert\(1\)>/);
    expect(body.split("<li><b>")[1]).toMatch(/^[^<>"']*<\/b>/);
    expect(body).toContain("export SIGNPIPE=http://127.0.0.1");
  },
);

test("a stop lets go of the port and of what was waiting", async () => {
  const house = await startApiHouse();
  const address = await house.listen();
  expect((await fetch(`${address}/health/live`)).status).toBe(200);
  await house.app.close();
  await expect(fetch(`${address}/health/live`)).rejects.toThrow();
});

test("an address that cannot be read is refused like everything else; the bare one leads to the manual", async () => {
  const house = await startApiHouse();
  const answer = await house.app.inject({ url: "/v1/requests/%zz", headers: AUTHORIZED });
  expect(answer.headers["content-type"]).toContain("application/problem+json");
  expect(answer.json()).toMatchObject({ status: 400, code: "invalid-request", type: "/docs#problem-invalid-request" });
  const bare = await house.app.inject({ url: "/" });
  expect([bare.statusCode, bare.headers.location]).toEqual([302, "/docs"]);
});
