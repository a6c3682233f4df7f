import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import type { lookup, LookupAllOptions } from "node:dns";
import { Redis } from "ioredis";
import { Webhook } from "standardwebhooks";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { Notification, notificationIdOf, toNotification } from "../../src/core/notification.ts";
import type { SignRequest } from "../../src/core/request.ts";
import { isPublicAddress } from "../../src/producers/address.ts";
import { createTeller } from "../../src/producers/callback/tell.ts";
import { readSecrets, readUrls, toSecret } from "../../src/producers/callback/secrets.ts";
import { type Answer, createCallbacks, type Message } from "../../src/queues/callbacks.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createNotifications } from "../../src/queues/notifications.ts";
import { sealCallback } from "../../src/queues/seal.ts";
import type { Store } from "../../src/queues/store.ts";
import { record } from "../helpers/api-house.ts";
import { newId, silent } from "../helpers/toy.ts";

const KEY = randomBytes(32);
const soon = () => AbortSignal.timeout(5_000);

interface Heard {
  headers: IncomingMessage["headers"];
  path: string;
  body: string;
}

/** A caller's server; every message it got is in `heard`. */
async function startCaller(answer: RequestListener = (_request, response) => void response.writeHead(204).end()) {
  const heard: Heard[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { headers, url = "" } = request;
      heard.push({ headers, path: url, body: Buffer.concat(chunks).toString() });
      answer(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { host: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}/hook?token=of-the-caller`, heard, server };
}

function teller(given: Partial<Parameters<typeof createTeller>[0]> = {}) {
  const made = createTeller({ keysOf: () => [KEY], allowedHosts: [], ...given });
  onTestFinished(() => made.close());
  return made;
}

const WAITING: SignRequest = record({
  stage: "sign",
  phase: "waiting",
  reference: "loan-1",
  facts: { videoidLink: "https://provider.example/identify/personal", documents: [{ name: "Ana Canaria.pdf" }] },
  waiting: { for: "code", whose: "signer", detail: "to +34699000111", sinceMs: 1, untilMs: Date.UTC(2026, 11, 1) },
  failure: { code: "code-rejected", message: "ana@example.com gave a wrong one", stage: "sign" },
});

function toMessage(url: string, request = WAITING): Message {
  return { id: notificationIdOf(request), notification: toNotification(request), url, tenant: undefined };
}

/** Throws unless the message is signed with this key, as the standard's own library sees it. */
function verify({ headers, body }: Heard, key: Uint8Array): unknown {
  const names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
  const given = Object.fromEntries(names.map((name) => [name, String(headers[name])]));
  return new Webhook(toSecret(key)).verify(body, given);
}

describe("a message", () => {
  test("is one to the library of Standard Webhooks, and says where the request is and nothing about people", async () => {
    const caller = await startCaller();
    await teller({ allowedHosts: [caller.host] }).tell(toMessage(caller.url), soon());
    const [message] = caller.heard as [Heard];
    expect(message.path).toBe("/hook?token=of-the-caller");
    expect(message.headers["webhook-id"]).toMatch(/^msg_req-/);
    const body = verify(message, KEY);
    expect(() => verify({ ...message, body: `${message.body} ` }, KEY)).toThrow(/signature/i);
    expect(() => verify(message, randomBytes(32))).toThrow(/signature/i);
    expect(Notification.parse(body)).toEqual(body);
    expect(body).toEqual({
      type: "request.waiting",
      timestamp: new Date(WAITING.updatedMs).toISOString(),
      data: {
        id: WAITING.id,
        reference: "loan-1",
        stage: "sign",
        state: "waiting",
        waiting: { for: "code", whose: "signer", until: "2026-12-01T00:00:00.000Z" },
        failure: { code: "code-rejected" },
        created_at: new Date(WAITING.createdMs).toISOString(),
        links: { self: `/v1/requests/${WAITING.id}` },
      },
    });
  });

  test("is signed with every secret of its tenant while these are exchanged, and with no other tenant's", async () => {
    const caller = await startCaller();
    const [newer, older, acme] = [randomBytes(32), randomBytes(24), randomBytes(64)];
    const given = `${toSecret(newer)}, ${toSecret(older)} acme=${toSecret(acme)}`;
    const { tell } = teller({ allowedHosts: [caller.host], keysOf: readSecrets(given, () => KEY) });
    await tell(toMessage(caller.url), soon());
    await tell({ ...toMessage(caller.url), tenant: "acme" }, soon());
    const [ours, theirs] = caller.heard as [Heard, Heard];
    expect(String(ours.headers["webhook-signature"]).split(" ")).toHaveLength(2);
    verify(ours, newer);
    verify(ours, older);
    expect(() => verify(ours, acme)).toThrow(/signature/i);
    verify(theirs, acme);
    expect(() => verify(theirs, newer)).toThrow(/signature/i);
  });

  test("of a tenant without secrets is signed with one of its own", () => {
    const keysOf = readSecrets(undefined, (tenant = "") => Buffer.from(tenant));
    expect([keysOf("acme"), keysOf()].map(([key]) => String(key))).toEqual(["acme", ""]);
    const urlOf = readUrls("https://all.example/a=b acme=https://acme.example/");
    expect([urlOf(), urlOf("acme"), urlOf("other")]).toEqual([
      "https://all.example/a=b",
      "https://acme.example/",
      "https://all.example/a=b",
    ]);
  });

  test("about the same state has the same id, and about another one another", async () => {
    const caller = await startCaller();
    const { tell } = teller({ allowedHosts: [caller.host] });
    for (const updatedMs of [1_000, 1_000, 2_000]) await tell(toMessage(caller.url, { ...WAITING, updatedMs }), soon());
    const [first, again, other] = caller.heard.map(({ headers }) => headers["webhook-id"]);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  test("is not told to an address behind a redirect", async () => {
    const elsewhere = await startCaller();
    const caller = await startCaller((_request, response) =>
      response.writeHead(307, { location: elsewhere.url }).end(),
    );
    const told = teller({ allowedHosts: [caller.host, elsewhere.host] }).tell(toMessage(caller.url), soon());
    await expect(told).resolves.toMatchObject({ status: 307 });
    expect(elsewhere.heard).toHaveLength(0);
  });

  test.each([
    ["120", 120_000],
    ["Thu, 26 Nov 2026 21:02:00 GMT", 120_000],
    ["Thu, 26 Nov 2026 20:00:00 GMT", 0],
    ["soon", undefined],
  ])("that is answered with Retry-After: %s tells when to come again", async (header, retryAfterMs) => {
    const caller = await startCaller((_request, response) => {
      response.writeHead(503, { "retry-after": header }).end("no");
    });
    const now = () => Date.UTC(2026, 10, 26, 21);
    const told = teller({ allowedHosts: [caller.host], now }).tell(toMessage(caller.url), soon());
    await expect(told).resolves.toEqual({ status: 503, retryAfterMs });
  });

  test("that nobody answers is given up in time", async () => {
    const caller = await startCaller(() => {});
    const told = teller({ allowedHosts: [caller.host] }).tell(toMessage(caller.url), AbortSignal.timeout(150));
    await expect(told).rejects.toMatchObject({ kind: "retryable", code: "callback-unreachable" });
  });

  test("whose answer has no end is delivered, and the answer is not read", async () => {
    let sent = 0;
    const hungUp = Promise.withResolvers<void>();
    const caller = await startCaller((_request, response) => {
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed && sent < 256 * 1024 ** 2) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536))) return void response.once("drain", more);
        }
      };
      response.once("close", () => hungUp.resolve());
      more();
    });
    await teller({ allowedHosts: [caller.host] }).tell(toMessage(caller.url), soon());
    await hungUp.promise;
    expect(sent).toBeLessThan(32 * 1024 ** 2);
  });

  test("that cannot be delivered fails without the address in its sentence", async () => {
    const { url, server, host } = await startCaller();
    await new Promise((resolve) => server.close(resolve));
    const told = teller({ allowedHosts: [host] }).tell(toMessage(url), soon());
    const error = await told.catch((failure: Error) => failure);
    expect(error).toMatchObject({ kind: "retryable", code: "callback-unreachable" });
    expect((error as Error).message).not.toMatch(/127|hook|token/);
  });
});

/** Addresses on the public internet, which nothing here connects to. */
const PUBLIC = ["1.1.1.1", "9.255.255.255", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"].concat([
  "192.167.255.255",
  "198.17.255.255",
  "223.255.255.255",
  "2001:4860:4860::8888",
  "2606:4700::1111",
  "2a00::1",
]);
const PRIVATE = [
  "0.0.0.0",
  "0.1.2.3",
  "10.0.0.1",
  "10.255.255.255",
  "100.64.0.1",
  "100.127.255.255",
  "127.0.0.1",
].concat(
  ["127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.170", "192.168.0.1", "198.18.0.1"],
  ["224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"],
  ["::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:db8::1"],
  ["2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1"],
);

describe("a caller's address", () => {
  test.each(PUBLIC)("%s is public", (address) => expect(isPublicAddress(address)).toBe(true));
  test.each(PRIVATE)("%s is not", (address) => expect(isPublicAddress(address)).toBe(false));
  test.each(["", "localhost", "127.1", "2130706433", "fe80::1%lo"])("%j is no public address at all", (text) => {
    expect(isPublicAddress(text)).toBe(false);
  });

  test.each([
    "http://example.com/hook",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://①②⑦.⓪.⓪.①/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
    "https://localhost/",
    "https://user:pass@127.0.0.1/",
  ])("%s is refused for good", async (url) => {
    const told = teller().tell(toMessage(url), soon());
    await expect(told).rejects.toMatchObject({ kind: "permanent", code: "callback-not-allowed" });
  });

  test("whose name leads to a private address is refused, and nothing is connected to", async () => {
    const inner = await startTcp("127.0.0.1");
    const { tell } = teller({ lookup: answering(["127.0.0.1"], ["10.0.0.1", "::1"]) });
    for (let i = 0; i < 2; i++) {
      const told = tell(toMessage(`https://caller.example:${inner.port}/`), soon());
      await expect(told).rejects.toMatchObject({ kind: "permanent", code: "callback-not-allowed" });
    }
    expect(inner.connections()).toBe(0);
  });

  test("that changes between look and connection is connected to as it was looked at", async () => {
    // Two loopback addresses stand for a public and a private one; the name moves from one to the other.
    const outer = await startTcp("127.0.0.2");
    const inner = await startTcp("127.0.0.1", outer.port);
    const looks: string[] = [];
    const resolve = answering(["127.0.0.2", "127.0.0.1"], ["127.0.0.1"]);
    const { tell } = teller({
      isPublic: (address) => address === "127.0.0.2",
      lookup: ((name: string, options: LookupAllOptions, done: () => void) => {
        looks.push(name);
        resolve(name, options, done);
      }) as unknown as typeof lookup,
    });
    const url = `https://caller.example:${outer.port}/`;
    await expect(tell(toMessage(url), soon())).rejects.toMatchObject({ code: "callback-unreachable" }); // it speaks no TLS
    expect([outer.connections(), inner.connections(), looks.length]).toEqual([1, 0, 1]);
    await expect(tell(toMessage(url), soon())).rejects.toMatchObject({ code: "callback-not-allowed" });
    expect([outer.connections(), inner.connections(), looks.length]).toEqual([1, 0, 2]);
  });

  test("that the operator allowed may be private, and only that one", async () => {
    const allowed = await startCaller();
    const other = await startCaller();
    const { tell } = teller({ allowedHosts: [allowed.host] });
    await tell(toMessage(allowed.url), soon());
    await expect(tell(toMessage(other.url), soon())).rejects.toMatchObject({ code: "callback-not-allowed" });
    expect([allowed.heard.length, other.heard.length]).toEqual([1, 0]);
    await teller({ allowedHosts: ["127.0.0.1"] }).tell(toMessage(other.url), soon());
    expect(other.heard).toHaveLength(1);
  });
});

/** A lookup that gives each list of addresses once, and the last one for ever. */
function answering(...lists: string[][]): typeof lookup {
  return ((_name: string, _options: object, callback: (error: null, found: object[]) => void) => {
    const list = (lists.length > 1 ? lists.shift() : lists[0]) ?? [];
    callback(
      null,
      list.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  }) as unknown as typeof lookup;
}

/** Counts connections and ends them. */
async function startTcp(host: string, port = 0) {
  let connections = 0;
  const server = createTcpServer((socket: Socket) => {
    connections += 1;
    socket.on("error", () => {});
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

type Tell = (message: Message) => Promise<Answer>;
const ok: Tell = () => Promise.resolve({ status: 204 });

/** The queue of callbacks on real Redis, over one record. */
function startCallbacks(tell: Tell, facts: Record<string, unknown> = {}, standardUrl?: string) {
  const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const id = newId();
  const callbackUrl = sealCallback(KEY, id, "https://caller.example/hook?token=canary");
  const request = record({ id, phase: "waiting", facts: { callbackUrl, ...facts } });
  const store = { read: (asked: string) => Promise.resolve(asked === id ? { request } : undefined) } as Partial<Store>;
  const notifications = createNotifications({ redis, connection: redis, keys });
  const callbacks = createCallbacks({
    redis,
    connection: redis,
    keys,
    store: store as Store,
    notifications,
    masterKey: KEY,
    standardUrl: () => standardUrl,
    tell,
    log: silent,
  });
  callbacks.start();
  onTestFinished(async () => {
    await callbacks.stop();
    await notifications.close();
    const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await redis.del(all);
    redis.disconnect();
  });
  return {
    redis,
    keys,
    id,
    request,
    notifications,
    queue: notifications.queue,
    note: () => redis.sadd(keys.changed("callback"), id),
    /** The request comes to another state. */
    async change() {
      request.updatedMs += 1;
      await redis.sadd(keys.changed("callback"), id);
    },
    logOf: async () =>
      (await notifications.list(id)).map(({ state, attempts, status, code }) => [state, attempts, status ?? code]),
  };
}

const patient = { timeout: 15_000 };

describe("a change", () => {
  test("is told once, at the address that only the master key opens", async () => {
    const told: string[] = [];
    const { id, note, redis, keys, queue, logOf, request } = startCallbacks((message) => {
      told.push(`${message.id} ${message.notification.data.id} ${message.url}`);
      return ok(message);
    });
    await note();
    const one = `${notificationIdOf(request)} ${id} https://caller.example/hook?token=canary`;
    await expect.poll(() => told, patient).toEqual([one]);
    await expect.poll(logOf, patient).toEqual([["delivered", 1, 204]]);
    await note(); // noted once more, as after a crash
    await expect
      .poll(() => redis.exists(keys.changed("callback"), `${keys.changed("callback")}:taken`), patient)
      .toBe(0);
    await expect
      .poll(async () => (await queue.getJobCounts("active", "waiting", "delayed"))["active"], patient)
      .toBe(0);
    expect(told).toHaveLength(1);
  });

  test("that comes while an earlier one is being handed on is told as well", async () => {
    let told = 0;
    const toy = startCallbacks((message) => {
      told += 1;
      return ok(message);
    });
    // The next change of the record comes right after the job of the last one was added.
    const add = toy.queue.add.bind(toy.queue);
    toy.queue.add = async (...args: Parameters<typeof add>) => {
      const job = await add(...args);
      if (told < 1) await expect.poll(() => told).toBe(1);
      if (told === 1) await toy.change();
      return job;
    };
    await toy.change();
    await expect.poll(() => told, patient).toBe(2);
  });

  test("whose handing on was cut by a crash is handed on by the next one", async () => {
    let told = 0;
    const { redis, keys, id } = startCallbacks((message) => {
      told += 1;
      return ok(message);
    });
    await redis.sadd(`${keys.changed("callback")}:taken`, id);
    await expect.poll(() => told, patient).toBe(1);
  });

  test("that nobody answers is told again after a pause, the same under the same id, for two days or so", async () => {
    const at: number[] = [];
    const heard = new Set<string>();
    const toy = startCallbacks(({ id, notification }) => {
      at.push(Date.now());
      heard.add(`${id} ${JSON.stringify(notification)}`);
      toy.request.phase = "done"; // what it has come to since is another notification
      if (at.length > 1) return Promise.resolve({ status: 200 });
      return Promise.reject(new RetryableError("down", { code: "callback-unreachable" }));
    });
    await toy.change();
    await expect.poll(toy.logOf, patient).toEqual([["waiting", 1, "callback-unreachable"]]);
    await expect.poll(() => at.length, patient).toBe(2);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(2_500);
    expect(heard.size).toBe(1);
    await expect.poll(toy.logOf, patient).toEqual([["delivered", 2, 200]]);
    // 5 s, doubled up to 2 h, each spread over its upper half: three quarters on average.
    const attempts = toy.queue.opts.defaultJobOptions?.attempts ?? 0;
    const fullMs = Array.from({ length: attempts - 1 }, (_, i) => Math.min(5_000 * 2 ** i, 7_200_000));
    const meanDays = (fullMs.reduce((sum, ms) => sum + ms, 0) * 0.75) / 86_400_000;
    expect(meanDays).toBeGreaterThan(1.9);
    expect(meanDays).toBeLessThan(2.4);
  });

  test.each([400, 404, 429, 500, 503])("that is answered with %i is told again later", async (status) => {
    const { change, logOf } = startCallbacks(() => Promise.resolve({ status }));
    await change();
    await expect.poll(logOf, patient).toEqual([["waiting", 1, status]]);
  });

  test("waits for as long as the receiver asks, a day at the most", async () => {
    const { change, notifications, id } = startCallbacks(() => Promise.resolve({ status: 503, retryAfterMs: 5e9 }));
    await change();
    const waitMs = async () => {
      const [entry] = await notifications.list(id);
      return entry?.lastMs === undefined ? 0 : (entry.nextMs ?? 0) - entry.lastMs;
    };
    await expect.poll(waitMs, patient).toBeGreaterThan(86_000_000);
    expect(await waitMs()).toBeLessThan(86_500_000);
  });

  test("is told no more where 410 was the answer, until something is replayed there", async () => {
    let status = 410;
    const { change, logOf, notifications } = startCallbacks(() => Promise.resolve({ status }));
    await change();
    await expect.poll(logOf, patient).toEqual([["stopped", 1, 410]]);
    await change();
    await expect.poll(logOf, patient).toEqual([
      ["stopped", 1, 410],
      ["stopped", 0, "callback-gone"],
    ]);
    status = 200;
    expect(await notifications.replayUndelivered(0)).toBe(2);
    await expect.poll(logOf, patient).toEqual([
      ["delivered", 2, 200],
      ["delivered", 1, 200],
    ]);
    expect(await notifications.figures()).toMatchObject({ waiting: 0, failed: 0, deliveredEver: 2, failedEver: 2 });
  });

  test("that can never be delivered is tried once, and its job holds a code and nothing else", async () => {
    let told = 0;
    const { change, queue, id, redis, keys, logOf, request, notifications } = startCallbacks(({ url }) => {
      told += 1;
      return Promise.reject(new PermanentError(`${url} is private`, { code: "callback-not-allowed" }));
    });
    await change();
    await expect.poll(async () => (await queue.getFailed()).length, patient).toBe(1);
    expect(told).toBe(1);
    const [job] = await queue.getFailed();
    const notification = notificationIdOf(request);
    expect([job?.failedReason, job?.data]).toEqual(["callback-not-allowed", { requestId: id, notification }]);
    expect(await logOf()).toEqual([["failed", 1, "callback-not-allowed"]]);
    const written = [`${keys.queues}:callback:${job?.id}`, keys.notifications(id)].map((key) => redis.hgetall(key));
    expect(JSON.stringify(await Promise.all(written))).not.toMatch(/caller|canary/);
    await notifications.replay(id, notification);
    await expect.poll(() => told, patient).toBe(2);
  });

  test("is told at the operator's address when the request names none", async () => {
    const told: string[] = [];
    const { change } = startCallbacks(
      (message) => {
        told.push(message.url);
        return ok(message);
      },
      { callbackUrl: undefined },
      "https://standard.example/",
    );
    await change();
    await expect.poll(() => told, patient).toEqual(["https://standard.example/"]);
  });

  test("is told from a job of an earlier version as well", async () => {
    let told = 0;
    const { queue, id } = startCallbacks((message) => {
      told += 1;
      return ok(message);
    });
    await queue.add("callback", { requestId: id });
    await expect.poll(() => told, patient).toBe(1);
  });

  test("of a request that wants no callback, or is gone, is forgotten", async () => {
    let told = 0;
    const { change, redis, keys, queue, notifications, id } = startCallbacks(
      (message) => {
        told += 1;
        return ok(message);
      },
      { callbackUrl: undefined },
    );
    await change();
    await redis.sadd(keys.changed("callback"), newId());
    const left = async () => (await redis.scard(keys.changed("callback"))) + (await queue.count());
    await expect.poll(left, patient).toBe(0);
    await expect.poll(async () => (await queue.getJobCounts())["active"], patient).toBe(0);
    expect(told).toBe(0);
    expect(await notifications.list(id)).toEqual([]);
  });
});

test("a request's log keeps a hundred entries, and those that are still to be told", async () => {
  const { request, notifications, id, redis, keys, queue } = startCallbacks(ok);
  await queue.pause();
  for (let n = 0; n < 110; n++) {
    request.updatedMs += 1;
    await notifications.note(request);
    const [last] = (await notifications.list(id)).slice(-1);
    if (last && n > 2) await notifications.write(id, { ...last, state: "failed" });
  }
  const log = await notifications.list(id);
  expect(log).toHaveLength(100);
  expect(log.filter(({ state }) => state === "waiting")).toHaveLength(3);
  expect(await redis.pttl(keys.notifications(id))).toBeGreaterThan(29 * 86_400_000);
  expect((await notifications.figures()).failed).toBe(log.length - 3);
});
