import { createHmac, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import type { lookup, LookupAllOptions } from "node:dns";
import { Redis } from "ioredis";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { SignRequest } from "../../src/core/request.ts";
import { isPublicAddress } from "../../src/producers/address.ts";
import { createTeller } from "../../src/producers/callback/tell.ts";
import { createCallbacks } from "../../src/queues/callbacks.ts";
import { createKeys } from "../../src/queues/keys.ts";
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
  const made = createTeller({ key: KEY, allowedHosts: [], ...given });
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

describe("a message", () => {
  test("is signed as Standard Webhooks has it, and says where the request is and nothing about people", async () => {
    const caller = await startCaller();
    const nowMs = Date.UTC(2026, 10, 24, 9, 0, 7, 900);
    await teller({ allowedHosts: [caller.host], now: () => nowMs }).tell(WAITING, caller.url, soon());
    const [message] = caller.heard;
    const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature } = message?.headers ?? {};
    expect(message?.path).toBe("/hook?token=of-the-caller");
    expect(timestamp).toBe(String(Math.floor(nowMs / 1000)));
    // Computed the way the specification words it, from what was received and the secret as receivers have it.
    const secret = `whsec_${KEY.toString("base64")}`;
    const signed = Buffer.from([id, timestamp, message?.body].join("."));
    const expected = createHmac("sha256", Buffer.from(secret.slice("whsec_".length), "base64"))
      .update(signed)
      .digest();
    const [version, given = ""] = String(signature).split(",");
    expect(version).toBe("v1");
    expect(Buffer.from(given, "base64").equals(expected)).toBe(true);

    expect(JSON.parse(message?.body ?? "")).toEqual({
      type: "request.waiting",
      timestamp: new Date(WAITING.updatedMs).toISOString(),
      data: {
        id: WAITING.id,
        reference: "loan-1",
        stage: "sign",
        state: "waiting",
        waiting: { for: "code", until: "2026-12-01T00:00:00.000Z" },
        failure: { code: "code-rejected" },
      },
    });
  });

  test("about the same state has the same id, and about another one another", async () => {
    const caller = await startCaller();
    const { tell } = teller({ allowedHosts: [caller.host] });
    for (const updatedMs of [1_000, 1_000, 2_000]) await tell({ ...WAITING, updatedMs }, caller.url, soon());
    const [first, again, other] = caller.heard.map(({ headers }) => headers["webhook-id"]);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  test("is not told to an address behind a redirect", async () => {
    const elsewhere = await startCaller();
    const caller = await startCaller((_request, response) =>
      response.writeHead(307, { location: elsewhere.url }).end(),
    );
    const told = teller({ allowedHosts: [caller.host, elsewhere.host] }).tell(WAITING, caller.url, soon());
    await expect(told).rejects.toMatchObject({ kind: "retryable", code: "callback-refused" });
    expect(elsewhere.heard).toHaveLength(0);
  });

  test.each([400, 404, 410, 429, 500, 503])("that is answered with %i is told again later", async (status) => {
    const caller = await startCaller((_request, response) => void response.writeHead(status).end("no"));
    const told = teller({ allowedHosts: [caller.host] }).tell(WAITING, caller.url, soon());
    await expect(told).rejects.toMatchObject({ kind: "retryable", code: "callback-refused" });
  });

  test("that nobody answers is given up in time", async () => {
    const caller = await startCaller(() => {});
    const told = teller({ allowedHosts: [caller.host] }).tell(WAITING, caller.url, AbortSignal.timeout(150));
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
    await teller({ allowedHosts: [caller.host] }).tell(WAITING, caller.url, soon());
    await hungUp.promise;
    expect(sent).toBeLessThan(32 * 1024 ** 2);
  });

  test("that cannot be delivered fails without the address in its sentence", async () => {
    const { url, server, host } = await startCaller();
    await new Promise((resolve) => server.close(resolve));
    const told = teller({ allowedHosts: [host] }).tell(WAITING, url, soon());
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
    const told = teller().tell(WAITING, url, soon());
    await expect(told).rejects.toMatchObject({ kind: "permanent", code: "callback-not-allowed" });
  });

  test("whose name leads to a private address is refused, and nothing is connected to", async () => {
    const inner = await startTcp("127.0.0.1");
    const { tell } = teller({ lookup: answering(["127.0.0.1"], ["10.0.0.1", "::1"]) });
    for (let i = 0; i < 2; i++) {
      const told = tell(WAITING, `https://caller.example:${inner.port}/`, soon());
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
    await expect(tell(WAITING, url, soon())).rejects.toMatchObject({ code: "callback-unreachable" }); // it speaks no TLS
    expect([outer.connections(), inner.connections(), looks.length]).toEqual([1, 0, 1]);
    await expect(tell(WAITING, url, soon())).rejects.toMatchObject({ code: "callback-not-allowed" });
    expect([outer.connections(), inner.connections(), looks.length]).toEqual([1, 0, 2]);
  });

  test("that the operator allowed may be private, and only that one", async () => {
    const allowed = await startCaller();
    const other = await startCaller();
    const { tell } = teller({ allowedHosts: [allowed.host] });
    await tell(WAITING, allowed.url, soon());
    await expect(tell(WAITING, other.url, soon())).rejects.toMatchObject({ code: "callback-not-allowed" });
    expect([allowed.heard.length, other.heard.length]).toEqual([1, 0]);
    await teller({ allowedHosts: ["127.0.0.1"] }).tell(WAITING, other.url, soon());
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

/** The queue of callbacks on real Redis, over one record. */
function startCallbacks(tell: Parameters<typeof createCallbacks>[0]["tell"], facts: Record<string, unknown> = {}) {
  const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const id = newId();
  const callbackUrl = sealCallback(KEY, id, "https://caller.example/hook?token=canary");
  const request = record({ id, phase: "waiting", facts: { callbackUrl, ...facts } });
  const store = { read: (asked: string) => Promise.resolve(asked === id ? { request } : undefined) } as Partial<Store>;
  const callbacks = createCallbacks({
    redis,
    connection: redis,
    keys,
    store: store as Store,
    masterKey: KEY,
    tell,
    log: silent,
  });
  callbacks.start();
  onTestFinished(async () => {
    await callbacks.stop();
    const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await redis.del(all);
    redis.disconnect();
  });
  return { redis, keys, id, request, queue: callbacks.queue, change: () => redis.sadd(keys.changed("callback"), id) };
}

describe("a change", () => {
  test("is told once, at the address that only the master key opens", async () => {
    const told: string[] = [];
    const { id, change, redis, keys, queue } = startCallbacks((request, url) => {
      told.push(`${request.id} ${url}`);
      return Promise.resolve();
    });
    await change();
    await expect.poll(() => told, { timeout: 10_000 }).toEqual([`${id} https://caller.example/hook?token=canary`]);
    await expect.poll(async () => (await queue.getJobCounts())["active"], { timeout: 5_000 }).toBe(0);
    expect(await redis.exists(keys.changed("callback"), `${keys.changed("callback")}:taken`)).toBe(0);
    expect(told).toHaveLength(1);
  });

  test("that comes while an earlier one is being handed on is told as well", async () => {
    let told = 0;
    const toy = startCallbacks(() => {
      told += 1;
      return Promise.resolve();
    });
    // The next change of the record comes right after the job of the last one was added.
    const add = toy.queue.add.bind(toy.queue);
    toy.queue.add = async (...args) => {
      const job = await add(...args);
      if (told < 1) await expect.poll(() => told).toBe(1);
      if (told === 1) await toy.change();
      return job;
    };
    await toy.change();
    await expect.poll(() => told, { timeout: 10_000 }).toBe(2);
  });

  test("whose handing on was cut by a crash is handed on by the next one", async () => {
    let told = 0;
    const { redis, keys, id } = startCallbacks(() => {
      told += 1;
      return Promise.resolve();
    });
    await redis.sadd(`${keys.changed("callback")}:taken`, id);
    await expect.poll(() => told, { timeout: 10_000 }).toBe(1);
  });

  test("that cannot be delivered is told again after a pause, for two days or so", async () => {
    const at: number[] = [];
    const { change, queue } = startCallbacks(() => {
      at.push(Date.now());
      return at.length > 1
        ? Promise.resolve()
        : Promise.reject(new RetryableError("down", { code: "callback-unreachable" }));
    });
    await change();
    await expect.poll(() => at.length, { timeout: 15_000 }).toBe(2);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(2_500);
    // 5 s, doubled up to 2 h, each spread over its upper half: three quarters on average.
    const attempts = queue.opts.defaultJobOptions?.attempts ?? 0;
    const fullMs = Array.from({ length: attempts - 1 }, (_, i) => Math.min(5_000 * 2 ** i, 7_200_000));
    const meanDays = (fullMs.reduce((sum, ms) => sum + ms, 0) * 0.75) / 86_400_000;
    expect(meanDays).toBeGreaterThan(1.9);
    expect(meanDays).toBeLessThan(2.4);
  });

  test("that can never be delivered is tried once, and its job holds a code and nothing else", async () => {
    let told = 0;
    const { change, queue, id, redis, keys } = startCallbacks((_request, url) => {
      told += 1;
      return Promise.reject(new PermanentError(`${url} is private`, { code: "callback-not-allowed" }));
    });
    await change();
    await expect.poll(async () => (await queue.getFailed()).length, { timeout: 10_000 }).toBe(1);
    expect(told).toBe(1);
    const [job] = await queue.getFailed();
    expect([job?.failedReason, job?.data]).toEqual(["callback-not-allowed", { requestId: id }]);
    expect(JSON.stringify(await redis.hgetall(`${keys.queues}:callback:${job?.id}`))).not.toMatch(/caller|canary/);
  });

  test("of a request that wants no callback, or is gone, is forgotten", async () => {
    let told = 0;
    const { change, redis, keys, queue } = startCallbacks(
      () => {
        told += 1;
        return Promise.resolve();
      },
      { callbackUrl: undefined },
    );
    await change();
    await redis.sadd(keys.changed("callback"), newId());
    const left = async () => (await redis.scard(keys.changed("callback"))) + (await queue.count());
    await expect.poll(left, { timeout: 10_000 }).toBe(0);
    await expect.poll(async () => (await queue.getJobCounts())["active"], { timeout: 5_000 }).toBe(0);
    expect(told).toBe(0);
  });
});
