import { Redis } from "ioredis";
import { expect, onTestFinished, test, vi } from "vitest";
import { adopt, createGate } from "../../src/queues/gate.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createApp } from "../../src/app.ts";
import { createLog } from "../../src/log.ts";
import { startHouse } from "../helpers/house.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";
import { freshPrefix, redisUrl } from "../helpers/redis.ts";
import { startProxy } from "../helpers/tcp-proxy.ts";
import { silent } from "../helpers/toy.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };
const HOUR_MS = 3_600_000;

/** A data volume, as far as the gate sees it. */
function volume(id?: string) {
  let kept = id;
  return {
    id: () => kept,
    read: () => Promise.resolve(kept),
    write: (to: string) => {
      kept = to;
      return Promise.resolve();
    },
    claim: (to: string) => Promise.resolve((kept ??= to)),
  };
}

function openGate(
  more: Partial<Parameters<typeof createGate>[0]> & { url?: string; prefix?: string; open?: number } = {},
) {
  const { url = redisUrl(), prefix = freshPrefix(), open = 0, instance = volume(), ...rest } = more;
  const redis = new Redis(url, { maxRetriesPerRequest: null });
  redis.on("error", () => {});
  const keys = createKeys(`{${prefix}}`);
  const mend = vi.fn((_sinceMs: number) => Promise.resolve(0));
  const gate = createGate({
    redis,
    keys,
    instance,
    openRequests: () => Promise.resolve(open),
    mend,
    unfit: () => Promise.resolve(undefined),
    log: silent,
    ...rest,
  });
  gate.start();
  onTestFinished(async () => {
    gate.close();
    if (redis.status === "ready") await redis.del(keys.instance, keys.alive);
    redis.disconnect();
  });
  return { gate, redis, keys, mend, prefix, instance };
}

test("the first start makes Redis and the data volume each other's", async () => {
  const instance = volume();
  const { gate, redis, keys, mend } = openGate({ instance });
  expect(await gate.whenOpen(5_000)).toBe(true);
  expect(instance.id()).toMatch(/^[0-9a-f-]{36}$/);
  expect(await redis.get(keys.instance)).toBe(instance.id());
  expect(mend).toHaveBeenCalledTimes(1);
});

test("an empty Redis with requests under way stops everything, with one sentence, and is not taken over", async () => {
  for (const instance of [volume("mine"), volume()]) {
    const { gate, redis, keys, mend } = openGate({ instance, open: 3 });
    expect(await gate.whenOpen(500)).toBe(false);
    expect(gate.isOpen()).toBe(false);
    expect(gate.trouble()).toMatchObject({ code: "redis-empty" });
    expect(gate.trouble()?.message).toMatch(/3 requests.*signpipe recover$/);
    expect([await redis.get(keys.instance), mend.mock.calls.length]).toEqual([null, 0]);
  }
});

test("nor is one beside a journal that is not whole, and cannot tell what is under way", async () => {
  const { gate, redis, keys } = openGate({
    instance: volume("mine"),
    openRequests: () => Promise.resolve(undefined),
  });
  expect(await gate.whenOpen(500)).toBe(false);
  expect(gate.trouble()).toMatchObject({ code: "redis-empty" });
  expect(gate.trouble()?.message).toMatch(/not whole.*signpipe recover$/);
  expect(await redis.get(keys.instance)).toBeNull();
});

test("an empty Redis with nothing under way is taken, under the id that is there", async () => {
  const { gate, redis, keys } = openGate({ instance: volume("mine") });
  expect(await gate.whenOpen(5_000)).toBe(true);
  expect(await redis.get(keys.instance)).toBe("mine");
});

test("another pipeline's Redis stops everything, also for a data volume that is new", { timeout: 15_000 }, async () => {
  const theirs = openGate();
  expect(await theirs.gate.whenOpen(5_000)).toBe(true);
  for (const instance of [volume("mine"), volume()]) {
    const { gate, mend } = openGate({ prefix: theirs.prefix, instance });
    await expect.poll(() => gate.trouble(), { timeout: 5_000 }).toMatchObject({ code: "redis-foreign" });
    expect([gate.isOpen(), mend.mock.calls.length]).toEqual([false, 0]);
  }
});

test("it opens by itself when the right Redis is there, and after an adoption", { timeout: 15_000 }, async () => {
  const { gate, redis, keys, instance } = openGate({ instance: volume("mine"), open: 1 });
  await expect.poll(() => gate.trouble()?.code, { timeout: 5_000 }).toBe("redis-empty");
  await adopt({ redis, keys, instance });
  expect(await gate.whenOpen(8_000)).toBe(true);
  expect(gate.trouble()).toBeUndefined();
});

test("two processes that start at once on a new folder agree", async () => {
  for (let round = 0; round < 5; round++) {
    const [prefix, instance] = [freshPrefix(), volume()];
    const gates = [1, 2, 3].map(() => openGate({ prefix, instance }));
    expect(await Promise.all(gates.map(({ gate }) => gate.whenOpen(5_000)))).toEqual([true, true, true]);
    expect(await gates[0]?.redis.get(gates[0].keys.instance)).toBe(instance.id());
  }
});

test("Redis is compared a day back at the start, and as far back as it is old when it comes from a backup", async () => {
  const { prefix, instance, keys, redis, gate, mend } = openGate();
  expect(await gate.whenOpen(5_000)).toBe(true);
  expect(mend.mock.calls[0]?.[0]).toBe(0); // it never told when it was alive
  const second = openGate({ prefix, instance });
  expect(await second.gate.whenOpen(5_000)).toBe(true);
  expect(second.mend.mock.calls[0]?.[0]).toBeGreaterThan(Date.now() - 25 * HOUR_MS);
  await redis.set(keys.alive, Date.now() - 1_000 * HOUR_MS);
  const third = openGate({ prefix, instance });
  expect(await third.gate.whenOpen(5_000)).toBe(true);
  expect(third.mend.mock.calls[0]?.[0]).toBeLessThan(Date.now() - 1_000 * HOUR_MS);
});

test("Redis that comes back as another process is compared again; a connection that breaks is not enough", async () => {
  const own = await startOwnRedis();
  const proxy = await startProxy(own.url);
  const { gate, mend } = openGate({ url: proxy.url });
  expect(await gate.whenOpen(5_000)).toBe(true);
  const before = gate.epoch();
  proxy.cut();
  await expect.poll(() => gate.isOpen(), { timeout: 5_000 }).toBe(false);
  proxy.mend();
  expect(await gate.whenOpen(5_000)).toBe(true);
  expect([gate.epoch() > before, mend.mock.calls.length]).toEqual([true, 1]);
  await own.restart(100);
  await expect.poll(() => mend.mock.calls.length, { timeout: 10_000 }).toBe(2);
  expect(await gate.whenOpen(5_000)).toBe(true);
});

test("while Redis cannot be compared, for whatever reason, it stays shut", { timeout: 20_000 }, async () => {
  let broken = true;
  const mend = vi.fn(() => (broken ? Promise.reject(new Error("the journal cannot be read")) : Promise.resolve(0)));
  const { gate } = openGate({ mend });
  expect(await gate.whenOpen(500)).toBe(false);
  expect(mend).toHaveBeenCalled();
  broken = false;
  expect(await gate.whenOpen(8_000)).toBe(true);
});

test("a start waits for the comparison with a long journal however long, and gives up when Redis falls silent", async () => {
  const { app: other, keyRing, redisUrl, oneshotUrl } = await startHouse({ work: false });
  const proxy = await startProxy(redisUrl);
  const app = createApp({
    settings: other.settings,
    keyRing,
    redisUrl: proxy.url,
    oneshotUrl,
    log: createLog("silent"),
  });
  onTestFinished(() => app.close());
  const compare = app.recovery.mend;
  let isSlow = true;
  vi.spyOn(app.recovery, "mend").mockImplementation(async (...given) => {
    while (isSlow) await new Promise((resolve) => setTimeout(resolve, 20));
    return await compare(...given);
  });
  const started = app.ready(200);
  expect(
    await Promise.race([
      started.then(() => "ready"),
      new Promise((resolve) => setTimeout(() => resolve("comparing"), 1_500)),
    ]),
  ).toBe("comparing");
  isSlow = false;
  await started;
  expect(app.gate.isOpen()).toBe(true);

  const late = createApp({
    settings: other.settings,
    keyRing,
    redisUrl: proxy.url,
    oneshotUrl,
    log: createLog("silent"),
  });
  onTestFinished(() => late.close());
  vi.spyOn(late.recovery, "mend").mockImplementation(() => {
    proxy.cut();
    return new Promise(() => {});
  });
  await expect(late.ready(300)).rejects.toThrow(/Redis does not answer/);
});

test(
  "FLUSHALL under a running pipeline is noticed within 10 s, and nothing is made anew",
  { timeout: 60_000 },
  async () => {
    const own = await startOwnRedis();
    const house = await startHouse({ ...AUTO, redisUrl: own.url });
    const ids = [await house.submit(), await house.submit()];
    for (const id of ids) await house.waits(id, "code");
    const effects = () => house.simulator.ledger.length;
    const before = effects();
    await house.app.redis.flushall();
    const flushed = performance.now();
    await expect.poll(() => house.app.gate.trouble()?.code, { timeout: 15_000, interval: 20 }).toBe("redis-empty");
    expect(performance.now() - flushed).toBeLessThan(10_000);
    await expect(house.submit()).rejects.toThrow("503");
    const ready = await house.call("GET", "/health/ready");
    expect([ready.status, JSON.stringify(ready.body)]).toEqual([503, expect.stringContaining("signpipe recover")]);
    expect(effects()).toBe(before);
  },
);

test("a worker that is cut off from Redis begins no call", { timeout: 60_000 }, async () => {
  const own = await startOwnRedis();
  const proxy = await startProxy(own.url);
  const house = await startHouse({ simulator: AUTO.simulator, redisUrl: proxy.url });
  const id = await house.submit();
  await house.waits(id, "approval");
  // The worker looks at the provider before it approves: that is when it is cut off.
  house.simulator.fault({ operation: "getRequest", kind: "latency", ms: 800 });
  const looks = house.simulator.calls.get("getRequest") ?? 0;
  await house.call("POST", `/v1/requests/${id}/approve`);
  await expect
    .poll(() => house.simulator.calls.get("getRequest") ?? 0, { timeout: 10_000, interval: 5 })
    .toBe(looks + 1);
  proxy.cut();
  await new Promise((resolve) => setTimeout(resolve, 1_500)); // the look has been answered by then
  expect(house.effects("approve")).toBe(0);
  proxy.mend();
  await house.waits(id, "code", 30_000);
  expect(house.effects("approve")).toBe(1);
  expect(house.logged()).toMatch(/"stage":"approve".*"code":"redis-away"/);
});
