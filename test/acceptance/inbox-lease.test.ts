import { Redis } from "ioredis";
import { expect, inject, onTestFinished, test } from "vitest";
import { createInboxLease } from "../../src/queues/inbox-lease.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { makePdf, MANIFEST, startInboxHouse } from "../integration/inbox-house.ts";

function startRedis() {
  const redis = new Redis(inject("redisUrl"));
  const keys = createKeys(`{lease-${process.pid}-${Math.random().toString(36).slice(2)}}`);
  onTestFinished(async () => {
    await redis.del(keys.inboxLease("legal"));
    redis.disconnect();
  });
  return { redis, keys };
}

test("W15: of two that serve one inbox one has the lease, and the other gets it when that one ends or is silent", async () => {
  const { redis, keys } = startRedis();
  const open = () => createInboxLease({ redis, keys, name: "legal", leaseMs: 400 });
  const [one, other] = [open(), open()];
  expect(await one.renew()).toBe(true);
  expect(await other.renew()).toBe(false);
  expect([one.isHeld(), other.isHeld()]).toEqual([true, false]);
  await one.release();
  expect(one.isHeld()).toBe(false);
  expect(await other.renew()).toBe(true);
  // Silent from now on: by its own clock it has it no longer before anybody else can.
  await expect.poll(() => other.isHeld()).toBe(false);
  await expect.poll(() => one.renew()).toBe(true);
});

test("W15: the lease of a process that is gone is taken over at once, of one that lives, or of another machine, not", async () => {
  const { redis, keys } = startRedis();
  const one = createInboxLease({ redis, keys, name: "legal", leaseMs: 60_000 });
  await one.renew();
  const key = keys.inboxLease("legal");
  const token = (await redis.get(key)) ?? "";
  const ofPid = (pid: number) => token.replace(`:${process.pid}:`, `:${pid}:`);
  const other = createInboxLease({ redis, keys, name: "legal", leaseMs: 60_000 });
  await redis.set(key, ofPid(process.ppid));
  expect(await other.renew()).toBe(false);
  await redis.set(key, `elsewhere${ofPid(2 ** 22 + 1)}`);
  expect(await other.renew()).toBe(false);
  await redis.set(key, ofPid(2 ** 22 + 1));
  expect(await other.renew()).toBe(true);
});

test("W13, W15: whoever gets an inbox looks after what the other one had claimed; without the lease nothing is touched", async () => {
  let isOurs = false;
  const lease = { renew: async () => isOurs, isHeld: () => isOurs, release: async () => {}, renewMs: 1_000 };
  const house = startInboxHouse({ parts: { lease } });
  await house.put("inbox", { "x.pdf": makePdf("x"), "x.pdf.json": MANIFEST });
  await house.pass(1_000, 8);
  expect(house.pipeline.submissions).toHaveLength(0);
  expect(house.inbox().check()).toMatchObject({ ok: true, note: "another process serves it" });
  isOurs = true;
  await house.pass(1_000, 8);
  expect(house.pipeline.submissions).toHaveLength(1);
});
