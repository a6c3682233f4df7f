import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { KEY, startApiHouse, type ApiHouse, told } from "../helpers/api-house.ts";
import { freshPrefix, redisUrl } from "../helpers/redis.ts";

async function startBoard(now?: () => number) {
  const connection = new Redis(redisUrl(), { maxRetriesPerRequest: null });
  const prefix = freshPrefix();
  const queue = new Queue("create", { connection, prefix });
  await queue.add("create", { requestId: "req-1", email: "canary@example.com" }, { jobId: "req-1" });
  onTestFinished(async () => {
    await queue.obliterate({ force: true });
    await queue.close();
    connection.disconnect();
  });
  const house = await startApiHouse({ queues: [queue], ...(now && { now }) });
  return { house, queue };
}

const logIn = (house: ApiHouse, secret: string, headers: Record<string, string> = {}) =>
  house.app.inject({
    method: "POST",
    url: "/queues/login",
    headers: { "content-type": "application/x-www-form-urlencoded", host: "127.0.0.1", ...headers },
    payload: new URLSearchParams({ key: secret }).toString(),
  });

async function session(house: ApiHouse): Promise<string> {
  const answer = await logIn(house, KEY.secret);
  return String(answer.headers["set-cookie"]).split(";")[0] ?? "";
}

test("the board shows itself only after a login with a key", async () => {
  const { house } = await startBoard();
  const outside = await house.app.inject({ url: "/queues" });
  expect([outside.statusCode, outside.headers.location]).toEqual([303, "/queues/login"]);
  for (const url of ["/queues/", "/queues/queue/create", "/queues/static/js/main.js"]) {
    expect((await house.app.inject({ url })).headers.location, url).toBe("/queues/login");
  }
  expect((await house.app.inject({ url: "/queues/api/queues" })).statusCode).toBe(401);
  expect((await house.app.inject({ url: "/queues/login" })).body).toContain('type="password"');

  const wrong = await logIn(house, "wrong");
  expect([wrong.statusCode, wrong.headers["set-cookie"]]).toEqual([401, undefined]);
  const right = await logIn(house, KEY.secret);
  expect([right.statusCode, right.headers.location]).toEqual([303, "/queues"]);
  expect(right.headers["set-cookie"]).toMatch(
    /^signpipe_board=\S+; Max-Age=28800; Path=\/queues; HttpOnly; SameSite=Strict$/,
  );
  expect(String(right.headers["set-cookie"])).not.toContain(KEY.secret);

  const cookie = await session(house);
  const inside = await house.app.inject({ url: "/queues", headers: { cookie } });
  expect(inside.statusCode).toBe(200);
  expect(inside.body).not.toMatch(/(href|src)="https?:/);
  expect(inside.headers["content-security-policy"]).toContain("script-src 'self'");
  const script = /static\/js\/main\.[\w.]+\.js/.exec(inside.body)?.[0];
  expect((await house.app.inject({ url: `/queues/${script}`, headers: { cookie } })).statusCode).toBe(200);
});

test("the board shows of a job the request's id and nothing else", async () => {
  const { house } = await startBoard();
  const cookie = await session(house);
  const { body } = await house.app.inject({
    url: "/queues/api/queues?activeQueue=create&status=waiting&page=1",
    headers: { cookie },
  });
  expect(body).toContain("req-1");
  expect(body).not.toContain("canary");
  const job = await house.app.inject({ url: "/queues/api/queues/create/req-1", headers: { cookie } });
  expect(job.statusCode).toBe(200);
  expect(told(job).job.data).toEqual({ requestId: "req-1" });
  expect(job.body).not.toContain("canary");
});

test("nothing can be done to a queue through the board", async () => {
  const { house, queue } = await startBoard();
  const cookie = await session(house);
  for (const [method, url] of [
    ["PUT", "/queues/api/queues/create/pause"],
    ["PUT", "/queues/api/queues/pause"],
    ["PUT", "/queues/api/queues/create/obliterate"],
    ["PUT", "/queues/api/queues/create/req-1/clean"],
    ["POST", "/queues/api/queues/create/add"],
  ] as const) {
    const answer = await house.app.inject({ method, url, headers: { cookie } });
    expect([405, 404], url).toContain(answer.statusCode);
  }
  expect(await queue.isPaused()).toBe(false);
  expect(await queue.getWaitingCount()).toBe(1);
});

test("a form of another site logs nobody in", async () => {
  const { house } = await startBoard();
  const foreign: Record<string, string>[] = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { "sec-fetch-site": "cross-site" },
  ];
  for (const headers of foreign) {
    expect((await logIn(house, KEY.secret, headers)).statusCode).toBe(401);
  }
  expect(
    (await logIn(house, KEY.secret, { origin: "http://127.0.0.1", "sec-fetch-site": "same-origin" })).statusCode,
  ).toBe(303);
});

test("a login ends with its time, and with a logout", async () => {
  let nowMs = Date.now();
  const { house } = await startBoard(() => nowMs);
  const cookie = await session(house);
  const look = async () => (await house.app.inject({ url: "/queues", headers: { cookie } })).statusCode;
  expect(await look()).toBe(200);
  nowMs += 8 * 3_600_000;
  expect(await look()).toBe(303);
  const out = await house.app.inject({ method: "POST", url: "/queues/logout", headers: { cookie } });
  expect(String(out.headers["set-cookie"])).toMatch(/^signpipe_board=;.*Expires=Thu, 01 Jan 1970/);
});

test("keys are in no log line of the board, and a bad cookie is no login", async () => {
  const { house } = await startBoard();
  await logIn(house, KEY.secret);
  await logIn(house, "canary-typo");
  for (const cookie of ["signpipe_board=x", "signpipe_board=..", `signpipe_board=${KEY.secret}`]) {
    expect((await house.app.inject({ url: "/queues", headers: { cookie } })).statusCode).toBe(303);
  }
  expect(house.logged()).toContain("board login");
  expect(house.logged()).not.toContain("canary");
});
