import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { createCodes } from "../../src/queues/codes.ts";
import { createReconciler } from "../../src/queues/reconciler.ts";
import { type House, startHouse } from "../helpers/house.ts";
import { silent } from "../helpers/toy.ts";

const SIGNER = { simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

/** Does something at a request under an Idempotency-Key. */
async function act(house: House, path: string, { key, body }: { key: string; body?: object }) {
  const answer = await fetch(`${house.api}${path}`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}`,
      "idempotency-key": key,
      ...(body && { "content-type": "application/json" }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  const told = JSON.parse(text) as Record<string, unknown>;
  return { status: answer.status, text, told, replayed: answer.headers.get("idempotency-replayed") };
}

/** Redis loses what it remembers of all Idempotency-Keys, as it would after their time, or when its newest writes are gone. */
async function forgetKeys(house: House): Promise<number> {
  const redis = new Redis(house.redisUrl);
  try {
    const pattern = `${house.app.keys.prefix.replaceAll(/[{}]/g, "[$&]")}:idempotency:*`;
    const found = await redis.keys(pattern);
    return found.length === 0 ? 0 : await redis.del(found);
  } finally {
    redis.disconnect();
  }
}

async function lines(house: House, id: string, note: string): Promise<number> {
  return (await house.app.store.history(id)).filter((line) => line.note === note).length;
}

test("an act under a key is done once: the same call is answered the same, another body is refused, a refusal binds nothing", async () => {
  const house = await startHouse(SIGNER);
  const id = await house.submit();
  await house.waits(id, "approval");
  const approve = `/v1/requests/${id}/approve`;

  // Too early for a code: refused, and the key is free for the same call later.
  const code = { key: "code-1", body: { secret: "000000" } };
  const early = await act(house, `/v1/requests/${id}/code`, code);
  expect([early.status, early.told["code"]]).toEqual([409, "not-possible-now"]);

  const first = await act(house, approve, { key: "approve-1" });
  expect([first.status, first.replayed]).toEqual([202, null]);
  const again = await act(house, approve, { key: "approve-1" });
  expect([again.status, again.replayed]).toEqual([202, "true"]);
  expect(again.text).toBe(first.text);
  expect(await lines(house, id, "approved")).toBe(1);
  // Without the key, or with another, the same call is a decision of its own.
  expect((await act(house, approve, { key: "approve-2" })).told["code"]).toBe("already-decided");
  // The key stands for that call: neither another act nor another request may have it.
  const reason = { key: "approve-1", body: { reason: "It is not she." } };
  expect((await act(house, `/v1/requests/${id}/refuse`, reason)).told["code"]).toBe("idempotency-mismatch");

  await house.waits(id, "code");
  expect((await act(house, `/v1/requests/${id}/code`, code)).status).toBe(202);
  await house.waits(id, "another code");
  // The answer that was lost is asked for again: the wrong code is not tried a second time.
  expect((await act(house, `/v1/requests/${id}/code`, code)).replayed).toBe("true");
  const other = await act(house, `/v1/requests/${id}/code`, { ...code, body: { secret: "111111" } });
  expect([other.status, other.told["code"]]).toEqual([422, "idempotency-mismatch"]);
  expect(await lines(house, id, "code given")).toBe(1);
  expect((await house.app.store.get(id)).facts["wrongCodes"]).toBe(1);

  const right = { key: "code-2", body: { secret: await house.codeFor(id) } };
  expect((await act(house, `/v1/requests/${id}/code`, right)).status).toBe(202);
  await house.reaches(id, "cleanup", "done");
  expect(house.effects("sign")).toBe(1);
});

test("an act whose process died after it, or whose key Redis has forgotten, is found in the record and not done again", async () => {
  const house = await startHouse(SIGNER);
  const id = await house.submit();
  await house.waits(id, "approval");
  const approve = `/v1/requests/${id}/approve`;
  expect((await act(house, approve, { key: "approve-1" })).status).toBe(202);
  expect(await forgetKeys(house)).toBeGreaterThan(0);
  const again = await act(house, approve, { key: "approve-1" });
  expect([again.status, again.replayed]).toEqual([202, "true"]);

  await house.waits(id, "code");
  const code = { key: "code-1", body: { secret: "000000" } };
  await act(house, `/v1/requests/${id}/code`, code);
  await house.waits(id, "another code");
  await forgetKeys(house);
  expect((await act(house, `/v1/requests/${id}/code`, code)).replayed).toBe("true");
  await forgetKeys(house);
  const other = await act(house, `/v1/requests/${id}/code`, { ...code, body: { secret: "111111" } });
  expect(other.told["code"]).toBe("idempotency-mismatch");
  expect(await lines(house, id, "code given")).toBe(1);
  // A code could be found by trying: what the record keeps is keyed, and nobody is shown it.
  const { facts } = await house.app.store.get(id);
  expect(facts["calls"]).toHaveLength(2);
  expect(JSON.stringify(facts)).not.toMatch(/code-1|approve-1|000000/);
  expect(JSON.stringify((await house.call("GET", `/v1/requests/${id}`)).body)).not.toContain("calls");
});

test("of the same act, sent many times at once under one key, one is done and the others wait or are answered alike", async () => {
  const house = await startHouse(SIGNER);
  const id = await house.submit();
  await house.waits(id, "approval");
  const all = await Promise.all(
    Array.from({ length: 8 }, () => act(house, `/v1/requests/${id}/approve`, { key: "approve-1" })),
  );
  const told = all.map(({ status, told }) => (status === 202 ? "202" : String(told["code"])));
  expect(told).toContain("202");
  expect(told.filter((one) => one !== "202" && one !== "idempotency-in-progress")).toEqual([]);
  expect(all.filter(({ status, replayed }) => status === 202 && replayed === null)).toHaveLength(1);
  expect(await lines(house, id, "approved")).toBe(1);
});

test("an act of a process that stood still while another one took its claim, and did it, is not done a second time", async () => {
  const house = await startHouse(SIGNER);
  const id = await house.submit();
  await house.waits(id, "approval");
  const { pipeline } = house.app;
  const how = async (acts: Promise<unknown>[]) =>
    (await Promise.allSettled(acts)).map((one) =>
      one.status === "fulfilled" ? "done" : (one.reason as { code?: string }).code,
    );
  const approvals = [1, 2].map(() => pipeline.approve(id, "api:test", "key-1.body-1"));
  expect((await how(approvals)).sort()).toEqual(["done", "idempotency-in-progress"]);
  await house.waits(id, "code");
  const codes = [1, 2].map(() => pipeline.giveCode(id, "000000", "api:test", "key-2.body-2"));
  expect((await how(codes)).sort()).toEqual(["done", "idempotency-in-progress"]);
  await house.waits(id, "another code");
  expect(await how([pipeline.giveCode(id, "111111", "api:test", "key-2.body-3")])).toEqual(["idempotency-mismatch"]);
  expect(await lines(house, id, "code given")).toBe(1);
  expect((await house.app.store.get(id)).facts["wrongCodes"]).toBe(1);
});

test("a code whose process died before it could wake the request is taken up within its lifetime", async () => {
  const house = await startHouse(SIGNER);
  const id = await house.submit();
  await house.waits(id, "approval");
  await act(house, `/v1/requests/${id}/approve`, { key: "approve-1" });
  await house.waits(id, "code");
  // What giving a code does, up to the waking.
  const { redis, keys, store, queues } = house.app;
  const { masterKey } = house.keyRing;
  await createCodes({ redis, keys, masterKey }).keep(id, await house.codeFor(id));
  await store.change(id, () => ({ event: "note", by: "api:test", note: "code given", nudge: true }));
  const inTwoMinutes = () => Date.now() + 120_000;
  await createReconciler({ redis, keys, store, queues, log: silent, now: inTwoMinutes }).sweep();
  await house.reaches(id, "cleanup", "done");
});
