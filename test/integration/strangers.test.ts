import { expect, test } from "vitest";
import { z } from "zod";
import type { RequestId } from "../../src/core/request.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { createLog } from "../../src/log.ts";
import type { Provider } from "../../src/provider/client.ts";
import type { Vault } from "../../src/queues/vault.ts";
import { createOrphans } from "../../src/workers/orphans.ts";
import { newId, startToy } from "../helpers/toy.ts";

const HALF_AN_HOUR_MS = 30 * 60_000;

async function startStrangers() {
  const clock = { atMs: Date.UTC(2026, 10, 24, 9) };
  const stage: AnyStage<object> = {
    name: "create",
    title: "create",
    needs: z.object({}),
    gives: z.object({}).loose(),
    attempts: 1,
    backoff: () => 10,
    timeout: "5s",
    concurrency: 1,
    retryFrom: "create",
    afterSilence: "repeat",
    run: () => Promise.resolve({}),
  };
  return { clock, ...(await startToy([stage], { now: () => clock.atMs })) };
}

test("a request_pk that is nobody's is kept with the print of its person, once, and dropped when it is settled", async () => {
  const { clock, strangers, redis, keys } = await startStrangers();
  const heardMs = clock.atMs;
  expect(await strangers.add(4711)).toBe(true);
  clock.atMs += 1_000;
  expect(await strangers.add(4711)).toBe(false);
  expect(await strangers.add(4712)).toBe(true);
  await strangers.keepPrint(4711, "print-of-ana");
  expect(await strangers.list()).toEqual([
    { requestPk: 4711, heardMs, print: "print-of-ana" },
    { requestPk: 4712, heardMs: heardMs + 1_000, print: undefined },
  ]);
  await strangers.drop(4711);
  expect((await strangers.list()).map(({ requestPk }) => requestPk)).toEqual([4712]);
  expect(await redis.hlen(keys.strangerPrints)).toBe(0);
});

test("one that turns out to be a request's own is no stranger any more", async () => {
  const { strangers, redis, keys } = await startStrangers();
  await strangers.add(4711);
  await redis.hset(keys.pks, "4711", newId());
  expect(await strangers.list()).toEqual([]);
});

test("strangers are forgotten after half an hour, their prints with them, whether or not others come after", async () => {
  const { clock, strangers, redis, keys } = await startStrangers();
  await strangers.add(1);
  await strangers.keepPrint(1, "print-of-ana");
  clock.atMs += HALF_AN_HOUR_MS - 1;
  expect(await strangers.list()).toHaveLength(1);
  await strangers.add(2);
  await strangers.keepPrint(2, "print-of-eva");
  clock.atMs += 2;
  expect(await strangers.list()).toMatchObject([{ requestPk: 2, print: "print-of-eva" }]);
  expect(await redis.hgetall(keys.strangerPrints)).toEqual({ "2": "print-of-eva" });
  await strangers.add(3);
  expect(await redis.zrange(keys.strangers, 0, "-1")).toEqual(["2", "3"]);
  clock.atMs += HALF_AN_HOUR_MS + 1;
  expect(await strangers.list()).toEqual([]);
  expect(await redis.exists(keys.strangerPrints)).toBe(0);
});

test("a flood of strangers fills a bounded list, and there is room again when they lapse", async () => {
  const { clock, strangers, redis, keys } = await startStrangers();
  const added = await Promise.all(Array.from({ length: 999 }, (_, i) => strangers.add(i + 1)));
  expect(added.every(Boolean)).toBe(true);
  expect(await strangers.add(1_000)).toBe(true);
  expect(await strangers.add(1_001)).toBe(false);
  expect(await redis.zcard(keys.strangers)).toBe(1_000);
  clock.atMs += HALF_AN_HOUR_MS;
  expect(await strangers.add(1_001)).toBe(true);
  expect(await redis.zcard(keys.strangers)).toBe(1);
});

test("requests that may have an orphan are remembered until their time is over", async () => {
  const { clock, strangers, redis, keys } = await startStrangers();
  const [one, other, late] = [newId(), newId(), newId()];
  await strangers.suspect({ id: one, print: "print-of-ana", sinceMs: 7 }, clock.atMs + 60_000);
  await strangers.suspect({ id: other, print: "print-of-eva", sinceMs: 8 }, clock.atMs + 60_000);
  expect((await strangers.suspects()).map(({ id }) => id).sort()).toEqual([one, other].sort());
  // Its creation was made once more, unheard as well: an orphan may still stem from the first.
  await strangers.suspect({ id: one, print: "print-of-ana", sinceMs: 9 }, clock.atMs + 60_000);
  expect(await strangers.suspects()).toContainEqual({ id: one, print: "print-of-ana", sinceMs: 7 });
  clock.atMs += 60_001;
  expect(await strangers.suspects()).toEqual([]);
  await strangers.suspect({ id: late, print: "print-of-ana", sinceMs: clock.atMs }, clock.atMs + 60_000);
  expect(await redis.zrange(keys.suspects, 0, "-1")).toEqual([late]);
});

test("a webhook about nobody's request makes the ones with an unheard creation look at once, and the others not", async () => {
  const { clock, pipeline, store, strangers, submit } = await startStrangers();
  const [unheard, other] = [await submit(), await submit()];
  await strangers.suspect({ id: unheard, print: "print-of-ana", sinceMs: clock.atMs }, clock.atMs + 60_000);
  expect(await pipeline.nudge(4711)).toBe(false);
  const nudged = async (id: string) => (await store.read(id))?.nudgedMs;
  expect([await nudged(unheard), await nudged(other)]).toEqual([clock.atMs, 0]);
  clock.atMs += 1_000;
  expect(await pipeline.nudge(4711)).toBe(false); // known by now: nothing new to look for
  expect(await nudged(unheard)).toBe(clock.atMs - 1_000);
});

test("of many creations that were not heard of at once each finds its own, and each stranger is asked about once", async () => {
  const { strangers } = await startStrangers();
  const many = Array.from({ length: 12 }, (_, n) => ({ id: newId(), pk: 100 + n, email: `${n}@example.com` }));
  for (const { pk } of many) await strangers.add(pk);
  const asked: number[] = [];
  const orphans = createOrphans({
    provider: {
      getRequest: async (pk: number) => {
        asked.push(pk);
        return { pk, requestPk: pk, status: "ENROLLREADY", email: many.find((one) => one.pk === pk)?.email };
      },
    } as unknown as Provider,
    strangers,
    vault: {
      read: async (id: string) => ({ signer: { email: many.find((one) => one.id === id)?.email } }),
    } as unknown as Vault,
    print: (parts) => parts.join("/"),
    whereabouts: async () => ({ requestPk: undefined, isBeingCreated: true, isOver: false, wishes: {} }),
    tenants: { traits: [], traitsOf: () => ({ tenant: "default" }) },
    answerWithinMs: 0,
    log: createLog("silent"),
  });
  const found = await Promise.all(many.map(({ id }) => orphans.find(id, 0, new AbortController().signal)));
  expect(found.map((one) => one.is === "found" && one.request.requestPk)).toEqual(many.map(({ pk }) => pk));
  // Once more each when it is found, by whoever has it.
  expect(asked.length).toBeLessThan(3 * many.length);
});

interface Made {
  registrationAuthority?: string;
  profile?: string;
}

/** Two tenants whose creations for the same signer were not heard of, and what the provider has of that signer. */
async function startTwoTenants({ acme, beta, shown }: { acme: Made; beta: Made; shown: Record<number, Made> }) {
  const { clock, strangers } = await startStrangers();
  const signer = { email: "ana@example.com", mobile_phone_number: "+34699999999" };
  const ids = { acme: newId(), beta: newId() };
  for (const pk of Object.keys(shown)) await strangers.add(Number(pk));
  const cancelled: number[] = [];
  const traits = [
    { tenant: "acme", ...acme },
    { tenant: "beta", ...beta },
  ];
  const having = new Map<string, number>();
  const orphans = createOrphans({
    provider: {
      getRequest: async (pk: number) => ({
        requestPk: pk,
        status: cancelled.includes(pk) ? "CANCELLED" : "VIDEOPENDING",
        email: signer.email,
        mobilePhoneNumber: signer.mobile_phone_number,
        ...shown[pk],
      }),
      cancel: async (pk: number) => void cancelled.push(pk),
    } as unknown as Provider,
    strangers,
    vault: { read: async () => ({ signer }) } as unknown as Vault,
    print: (parts) => parts.join("/"),
    whereabouts: async (id) => ({
      requestPk: having.get(id),
      isBeingCreated: !having.has(id),
      isOver: false,
      wishes: { tenant: id === ids.acme ? "acme" : "beta" },
    }),
    tenants: {
      traits,
      traitsOf: ({ tenant }) => traits.find((one) => one.tenant === tenant) ?? { tenant: tenant ?? "" },
    },
    answerWithinMs: 0,
    log: createLog("silent"),
    now: () => clock.atMs,
  });
  const { signal } = new AbortController();
  /** When nobody waits for the answer of a creation any more. */
  const sweep = async () => {
    clock.atMs += 10_000;
    return await orphans.sweep(signal);
  };
  const find = async (id: RequestId) => {
    await orphans.suspect(id, clock.atMs);
    const found = await orphans.find(id, clock.atMs, signal);
    return found.is === "found" ? found.request.requestPk : found.is;
  };
  return { ids, cancelled, having, strangers, find, suspect: orphans.suspect, sweep };
}

test.each([
  ["registration authority", { registrationAuthority: "0139" }, { registrationAuthority: "140" }],
  ["profile", { registrationAuthority: "139", profile: "A" }, { registrationAuthority: "139", profile: "B" }],
] as const)(
  "of two tenants with the same signer, told apart by their %s, each gets what it has made",
  async (_by, acme, beta) => {
    const shown = { 7: beta, 8: { ...acme, registrationAuthority: "139" } };
    const { ids, find } = await startTwoTenants({ acme, beta, shown });
    expect([await find(ids.acme), await find(ids.beta)]).toEqual([8, 7]);
  },
);

test.each([
  ["the same", { registrationAuthority: "139", profile: "A" }, { 7: { registrationAuthority: "139", profile: "A" } }],
  ["left to the provider's settings", {}, { 7: { registrationAuthority: "139", profile: "A" } }],
  ["not shown", { registrationAuthority: "139" }, { 7: {} }],
] as const)("a request of two tenants' signer is nobody's when what tells them apart is %s", async (_, made, shown) => {
  const { ids, find, strangers, having, cancelled, sweep } = await startTwoTenants({ acme: made, beta: made, shown });
  expect([await find(ids.acme), await find(ids.beta)]).toEqual(["unclear", "unclear"]);
  expect(await strangers.list()).toHaveLength(1);
  // Nor is it cancelled once one of them has another: it may be what the other one has paid for.
  having.set(ids.acme, 99);
  expect([await sweep(), cancelled]).toEqual([0, []]);
});

test("a late orphan is cancelled for the tenant that has made it, and not for the other with the same signer", async () => {
  const [acme, beta] = [{ registrationAuthority: "139" }, { registrationAuthority: "140" }];
  const two = await startTwoTenants({ acme, beta, shown: { 7: acme, 8: beta } });
  await two.suspect(two.ids.acme, 0);
  two.having.set(two.ids.acme, 99);
  expect([await two.sweep(), two.cancelled]).toEqual([1, [7]]);
});
