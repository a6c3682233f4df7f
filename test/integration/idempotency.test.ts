import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { expect, inject, onTestFinished, test } from "vitest";
import type { Begun, Bound, Claim } from "../../src/producers/api/idempotency-types.ts";
import { createIdempotency } from "../../src/queues/idempotency.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { AUTHORIZED, filePart, manifestPart, PDF, startApiHouse, submit, told } from "../helpers/api-house.ts";
import { newId } from "../helpers/toy.ts";

const NAME = "crm:loan-2031-canary";

/** Two API processes with the same memory. */
function startMemory({ claimMs = 10_000, rememberMs = 60_000 } = {}) {
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const masterKey = randomBytes(32);
  const connect = () => {
    const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
    onTestFinished(() => redis.disconnect());
    return redis;
  };
  const redis = connect();
  onTestFinished(async () => {
    const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await redis.del(all);
  });
  const open = (key: Uint8Array = masterKey) =>
    createIdempotency({ redis: connect(), keys, masterKey: key, claimMs, rememberMs });
  const memory = keys.idempotency(NAME);
  return { redis, keys, memory, claimKey: `${memory}:claim`, one: open(), two: open(), open };
}

const bound = (): Bound => ({ bodyHash: randomBytes(32).toString("hex"), requestId: newId() });

function claimOf(begun: Begun): Claim {
  if (begun.state !== "yours") throw new Error(`the key is ${begun.state}`);
  return begun.claim;
}

test("a key is one process's until it is finished, and then stands for its request everywhere", async () => {
  const { one, two, redis, claimKey } = startMemory();
  const what = bound();
  const claim = claimOf(await one.begin(NAME));
  expect(await two.begin(NAME)).toEqual({ state: "busy" });
  expect(await one.begin(NAME)).toEqual({ state: "busy" });
  expect(await claim.bind(what)).toBe(true);
  expect(await two.begin(NAME)).toEqual({ state: "busy" });
  await claim.finish();
  await claim.release();
  for (const process of [one, two]) expect(await process.begin(NAME)).toEqual({ state: "done", bound: what });
  expect(await redis.exists(claimKey)).toBe(0);
});

test("of many who begin at once one gets the key", async () => {
  const { one, two } = startMemory();
  const begun = await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 ? one : two).begin(NAME)));
  expect(begun.filter(({ state }) => state === "yours")).toHaveLength(1);
  expect(begun.filter(({ state }) => state === "busy")).toHaveLength(39);
});

test("a key that was given up unbound is free at once", async () => {
  const { one, two } = startMemory();
  await claimOf(await one.begin(NAME)).release();
  expect(await two.begin(NAME)).toMatchObject({ state: "yours", earlier: undefined });
});

test("after a crash the claim lapses, and whoever comes next learns what was bound", async () => {
  const { one, two, redis, claimKey } = startMemory({ claimMs: 300 });
  const what = bound();
  const crashed = claimOf(await one.begin(NAME));
  await crashed.bind(what);
  expect(await two.begin(NAME)).toEqual({ state: "busy" });
  await expect.poll(() => redis.exists(claimKey), { timeout: 5_000 }).toBe(0);

  const begun = await two.begin(NAME);
  expect(begun).toMatchObject({ state: "yours", earlier: what });
  // The one who was taken for dead comes back: it may not do anything any more.
  expect(await crashed.extend()).toBe(false);
  expect(await crashed.bind(bound())).toBe(false);
  await crashed.finish();
  await crashed.release();
  expect(await redis.exists(claimKey)).toBe(1);
  await claimOf(begun).finish();
  expect(await one.begin(NAME)).toEqual({ state: "done", bound: what });
});

test("a claim that is extended does not lapse", async () => {
  const { one, redis, claimKey } = startMemory({ claimMs: 60_000 });
  const claim = claimOf(await one.begin(NAME));
  await redis.pexpire(claimKey, 500);
  expect(await claim.extend()).toBe(true);
  expect(await redis.pttl(claimKey)).toBeGreaterThan(50_000);
});

test("a finished key is remembered for its time, and not for ever", async () => {
  const { one, redis, memory } = startMemory({ rememberMs: 86_400_000 });
  const claim = claimOf(await one.begin(NAME));
  await claim.bind(bound());
  await claim.finish();
  expect(await redis.pttl(memory)).toBeGreaterThan(86_000_000);
  await redis.pexpire(memory, 1);
  await expect.poll(async () => (await one.begin(NAME)).state).toBe("yours");
});

test("the answer to a finished key is kept with it, and what a record keeps of a key tells neither key nor body", async () => {
  const { one, two, open, redis, memory } = startMemory();
  const claim = claimOf(await one.begin(NAME));
  const what = bound();
  await claim.bind(what);
  const answer = JSON.stringify({ state: "waiting", videoid_link: "https://provider.example/canary" });
  await claim.finish(answer);
  expect(await two.begin(NAME)).toEqual({ state: "done", bound: { ...what, answer } });
  expect(await redis.get(memory)).not.toContain("canary");
  const print = one.printOf(NAME, what.bodyHash);
  expect(two.printOf(NAME, what.bodyHash)).toBe(print);
  const [key, body] = print.split(".");
  const [sameKey, otherBody] = one.printOf(NAME, bound().bodyHash).split(".");
  expect([sameKey === key, otherBody === body]).toEqual([true, false]);
  expect(open(randomBytes(32)).printOf(NAME, what.bodyHash)).not.toBe(print);
  expect(print).not.toMatch(/canary|loan/);
});

test("neither the caller's key nor the hash of the body can be read in Redis", async () => {
  const { one, redis, memory, claimKey } = startMemory();
  const what = bound();
  await claimOf(await one.begin(NAME)).bind(what);
  const stored = (await redis.get(memory)) ?? "";
  const seen = [memory, claimKey, stored, Buffer.from(stored, "base64").toString("latin1")].join("\n");
  for (const secret of [what.bodyHash, what.requestId, "loan-2031-canary"]) expect(seen).not.toContain(secret);
  expect(await redis.get(claimKey)).not.toContain("canary");
});

test("another master key, or a memory under another key's name, is refused and blocks nobody", async () => {
  const { one, open, redis, keys, memory, claimKey } = startMemory();
  const claim = claimOf(await one.begin(NAME));
  const what = bound();
  await claim.bind(what);
  await claim.finish();
  await expect(open(randomBytes(32)).begin(NAME)).rejects.toMatchObject({ code: "vault-unreadable" });
  expect(await redis.exists(claimKey)).toBe(0);
  await redis.copy(memory, keys.idempotency("crm:another"));
  await expect(one.begin("crm:another")).rejects.toMatchObject({ code: "vault-unreadable" });
  expect(await one.begin(NAME)).toEqual({ state: "done", bound: what });
});

test("over HTTP: the same call is answered with the same request, another body and a call under way are refused", async () => {
  const { one, two } = startMemory();
  const first = await startApiHouse({ idempotency: one });
  const second = await startApiHouse({ idempotency: two, pipeline: first.pipeline });
  const key = { "idempotency-key": "loan-2031" };
  const answer = await submit(first.app, [manifestPart(), filePart()], key);
  const again = await submit(second.app, [manifestPart(), filePart()], key);
  expect([answer.statusCode, again.statusCode]).toEqual([202, 202]);
  expect(again.body).toBe(answer.body);
  expect(again.headers["idempotency-replayed"]).toBe("true");
  expect(first.submissions).toHaveLength(1);

  const other = await submit(second.app, [manifestPart(), filePart(Buffer.concat([PDF, PDF]))], key);
  expect([other.statusCode, told(other).code]).toEqual([422, "idempotency-mismatch"]);

  const held = claimOf(await one.begin("crm:loan-2032"));
  const busy = await submit(second.app, [manifestPart(), filePart()], { "idempotency-key": "loan-2032" });
  expect([busy.statusCode, told(busy).code, busy.headers["retry-after"]]).toEqual([
    409,
    "idempotency-in-progress",
    "5",
  ]);
  await held.release();
  const now = await submit(second.app, [manifestPart(), filePart()], { "idempotency-key": "loan-2032" });
  expect(now.statusCode).toBe(202);
  expect(first.submissions).toHaveLength(2);
});

test("over HTTP: a process that died between binding and submitting has its call finished by the next, under its id", async () => {
  const { one, two } = startMemory({ claimMs: 1_000 });
  const house = await startApiHouse({ idempotency: two });
  const key = { "idempotency-key": "loan-2033" };
  // The body's hash is what the API itself makes of it: taken from a first call under another key.
  let bodyHash = "";
  const spying = await startApiHouse({
    idempotency: {
      printOf: one.printOf,
      begin: () =>
        Promise.resolve({
          state: "yours",
          earlier: undefined,
          claim: {
            extend: () => Promise.resolve(true),
            bind: (what) => {
              bodyHash = what.bodyHash;
              return Promise.resolve(true);
            },
            finish: () => Promise.resolve(),
            release: () => Promise.resolve(),
          },
        }),
    },
  });
  await submit(spying.app, [manifestPart(), filePart()], key);

  const dead = claimOf(await one.begin("crm:loan-2033"));
  const requestId = newId();
  await dead.bind({ bodyHash, requestId });
  const early = await submit(house.app, [manifestPart(), filePart()], key);
  expect(told(early).code).toBe("idempotency-in-progress");
  await expect
    .poll(async () => (await submit(house.app, [manifestPart(), filePart()], key)).statusCode, { timeout: 5_000 })
    .toBe(202);
  expect(house.submissions.map(({ id }) => id)).toEqual([requestId]);
  const again = await submit(house.app, [manifestPart(), filePart()], key);
  expect([told(again).id, again.headers["idempotency-replayed"]]).toEqual([requestId, "true"]);
});

test("over HTTP: an act whose process died before it could say so is found in the record by the next, and not done again", async () => {
  const { one } = startMemory({ claimMs: 700 });
  const dying = {
    ...one,
    async begin(name: string): Promise<Begun> {
      const begun = await one.begin(name);
      if (begun.state !== "yours") return begun;
      // Dead after the act: the key is never finished, and its claim is not given up but lapses.
      const finish = () => Promise.reject(new Error("killed"));
      return { ...begun, claim: { ...begun.claim, finish, release: () => Promise.resolve() } };
    },
  };
  const first = await startApiHouse({ idempotency: dying });
  const id = String(told(await submit(first.app, [manifestPart(), filePart()])).id);
  let done = 0;
  first.pipeline.approve = (_id, _by, call) => {
    done += 1;
    const known = first.records.get(id);
    if (!known) throw new Error("it is gone");
    const request = { ...known, facts: { ...known.facts, calls: [call] } };
    first.records.set(id, request);
    return Promise.resolve(request);
  };
  const second = await startApiHouse({ idempotency: one, pipeline: first.pipeline });
  const headers = { ...AUTHORIZED, "idempotency-key": "approve-1" };
  const approve = (app: typeof first.app, act = "approve") =>
    app.inject({ method: "POST", url: `/v1/requests/${id}/${act}`, headers });
  expect((await approve(first.app)).statusCode).toBe(202);
  expect(told(await approve(second.app)).code).toBe("idempotency-in-progress");
  await expect.poll(async () => (await approve(second.app)).statusCode, { timeout: 5_000 }).toBe(202);
  const again = await approve(second.app);
  expect([again.statusCode, again.headers["idempotency-replayed"], done]).toEqual([202, "true", 1]);
  expect(told(await approve(second.app, "cancel")).code).toBe("idempotency-mismatch");
});
