import { Readable } from "node:stream";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse({ otpGuardMs: 0 })));
afterEach(() => house.simulator.clearFaults());
afterAll(() => house.simulator.close());

const creations = () => house.effects().filter((effect) => effect === "create").length;
const create = () => house.call("POST", "/videoid", SIGNER);

test("faults are taken in their order, each as often as it says, and then all is well again", async () => {
  house.simulator.fault({ operation: "createVideoId", kind: "status-before", status: 503, times: 2 });
  house.simulator.fault({ method: "post", path: "/videoid", kind: "rate-limit", retryAfterS: 7 });
  const before = creations();
  expect((await create()).status).toBe(503);
  expect((await house.call("GET", "/request/1")).status).toBe(404);
  expect((await create()).status).toBe(503);
  const limited = await create();
  expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "7"]);
  expect(creations()).toBe(before);
  expect((await create()).status).toBe(200);
  expect(creations()).toBe(before + 1);
});

test("a path pattern stands for any number, and calls can be let through first", async () => {
  const { pk } = await house.ready();
  house.simulator.fault({ path: "/request/{request_pk}", kind: "status-before", status: 500, skip: 1 });
  expect((await house.call("GET", `/request/${pk}`)).status).toBe(200);
  expect((await house.call("GET", `/request/${pk}`)).status).toBe(500);
  expect((await house.call("GET", `/request/${pk}`)).status).toBe(200);
});

test("a status after the effect hides work that was done", async () => {
  const before = creations();
  house.simulator.fault({ operation: "createVideoId", kind: "status-after", status: 502 });
  expect((await create()).status).toBe(502);
  expect(creations()).toBe(before + 1);
});

test("a reset before the effect does nothing, one after it has done everything", async () => {
  const { pk, secret } = await house.armed(await samplePdf());
  house.simulator.fault({ operation: "sign", kind: "reset-before" });
  await expect(house.call("POST", `/sign/${pk}`, { secret })).rejects.toThrow();
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  house.simulator.fault({ operation: "sign", kind: "reset-after" });
  await expect(house.call("POST", `/sign/${pk}`, { secret })).rejects.toThrow();
  expect(house.simulator.statusOf(pk)).toBe("ISSUED");
});

test.each([
  ["hang", false],
  ["hang-after", true],
] as const)("%s never answers (work done: %s)", async (kind, done) => {
  const { pk } = await house.ready();
  house.simulator.fault({ operation: "generateOtp", kind });
  const silent = fetch(`${house.simulator.url}/otp/${pk}`, { method: "POST", signal: AbortSignal.timeout(300) });
  await expect(silent).rejects.toThrow(/timeout/);
  expect(house.effects(pk).includes("otp")).toBe(done);
});

test("latency delays the answer and nothing else", async () => {
  house.simulator.fault({ operation: "createVideoId", kind: "latency", ms: 120 });
  const start = performance.now();
  expect((await create()).status).toBe(200);
  expect(performance.now() - start).toBeGreaterThanOrEqual(115);
});

test("a fault is used up when the call arrives, although its body never does", async () => {
  house.simulator.fault({ operation: "uploadDocument", kind: "status-after" });
  const { pk } = await house.ready();
  const abort = new AbortController();
  const body = new Readable({ read: () => undefined });
  body.push("--b\r\n");
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const call = request(`${house.simulator.url}/document/${pk}`, {
    method: "POST",
    body,
    headers,
    signal: abort.signal,
  });
  call.catch(() => undefined);
  await expect.poll(async () => (await house.call("GET", "/_sim/faults")).body).toEqual([]);
  abort.abort();
  await expect(call).rejects.toThrow();
  expect((await house.upload(pk, { file: await samplePdf() })).status).toBe(200);
});

async function signedDocument(size: number): Promise<{ path: string; whole: Buffer }> {
  const padded = Buffer.concat([await samplePdf(), Buffer.from(`\n%${"x".repeat(size)}\n`)]);
  const { pk, uids, secret } = await house.armed(padded);
  expect((await house.call("POST", `/sign/${pk}`, { secret })).status).toBe(200);
  const path = `/document/${pk}/signed/${uids[0]}`;
  return { path, whole: await house.download(path) };
}

test.each([1_000, 2_000_000])(
  "a download of more than %i bytes can be cut short against its declared length",
  async (size) => {
    const { path, whole } = await signedDocument(size);
    house.simulator.fault({ operation: "getSignedDocument", kind: "truncate" });
    const answer = await request(house.simulator.url + path);
    expect(answer.headers["content-length"]).toBe(String(whole.length));
    await expect(answer.body.arrayBuffer()).rejects.toThrow();
  },
);

test("a download can end early without a declared length, so that only its content tells", async () => {
  const { path, whole } = await signedDocument(2_000);
  house.simulator.fault({ operation: "getSignedDocument", kind: "truncate-close" });
  const answer = await request(house.simulator.url + path);
  expect(answer.headers["content-length"]).toBeUndefined();
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  expect(bytes.equals(whole.subarray(0, whole.length >> 1))).toBe(true);
});

test("a download can have one bit wrong", async () => {
  const { path, whole } = await signedDocument(2_000);
  house.simulator.fault({ operation: "getSignedDocument", kind: "corrupt" });
  const bytes = await house.download(path);
  expect(bytes.length).toBe(whole.length);
  expect(bytes.equals(whole)).toBe(false);
  expect((await house.download(path)).equals(whole)).toBe(true);
});

test("answers can be unreadable: broken JSON, a proxy's page, a rejected field as 500", async () => {
  house.simulator.fault({ operation: "createVideoId", kind: "malformed-json" });
  const broken = await fetch(`${house.simulator.url}/videoid`, {
    method: "POST",
    body: JSON.stringify(SIGNER),
    headers: { "content-type": "application/json" },
  });
  expect(broken.status).toBe(200);
  await expect(broken.json()).rejects.toThrow(SyntaxError);
  house.simulator.fault({ operation: "createVideoId", kind: "html" });
  const page = await create();
  expect([page.status, page.headers.get("content-type")]).toEqual([502, expect.stringContaining("text/html")]);
  house.simulator.fault({ operation: "createVideoId", kind: "validation" });
  expect(await create()).toMatchObject({ status: 500, body: { details: { email: ["Enter a valid email address"] } } });
});

test("another process sets faults, settings and the signer's part over HTTP", async () => {
  expect((await house.call("POST", "/_sim/faults", [{ operation: "getRequest", kind: "status-before" }])).status).toBe(
    200,
  );
  expect((await house.call("POST", "/_sim/faults", { kind: "no such kind" })).status).toBe(400);
  expect((await house.call("GET", "/request/1")).status).toBe(503);
  expect(
    (await house.call("POST", "/_sim/settings", { otpAttempts: 5, humans: { signerDelayMs: 3 } })).body,
  ).toMatchObject({ otpAttempts: 5, humans: { signer: "off", signerDelayMs: 3 } });
  expect((await house.call("POST", "/_sim/settings", { unknown: 1 })).status).toBe(400);
  const { request_pk: pk } = await house.create();
  const identified = await house.call("POST", `/_sim/requests/${pk}/identify`, {
    outcome: "complete",
    person: { given_name: "Eva" },
  });
  expect(identified).toMatchObject({ status: 200, body: { status: "VIDEOREVIEW" } });
  expect((await house.call("POST", `/_sim/requests/${pk}/identify`, { outcome: "complete" })).status).toBe(409);
  expect((await house.call("GET", `/_sim/ledger?request_pk=${pk}`)).body).toMatchObject([
    { effect: "create" },
    { effect: "identify" },
  ]);
  expect((await house.call("GET", "/_sim/calls")).body).toMatchObject({ getRequest: expect.any(Number) });
  expect((await house.call("GET", "/_sim/health")).body).toMatchObject({ status: "ok" });
});
