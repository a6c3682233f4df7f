import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, type Mock, onTestFinished, test, vi } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { createResults } from "../../src/files/results.ts";
import { approve } from "../../src/workers/approve.ts";
import { cleanup } from "../../src/workers/cleanup.ts";
import { identify } from "../../src/workers/identify.ts";
import { sign } from "../../src/workers/sign.ts";
import { createOrphans } from "../../src/workers/orphans.ts";
import { contract } from "../../src/workers/contract.ts";
import { create } from "../../src/workers/create.ts";
import { upload } from "../../src/workers/upload.ts";
import { loseJobs } from "../helpers/jobs.ts";
import { plainPdf } from "../helpers/pdfs.ts";
import { newId, silent, startToy, submission, toyStage, waitFor } from "../helpers/toy.ts";

const stage = (name: string, run: AnyStage["run"], more: Partial<AnyStage<object>> = {}) =>
  toyStage(name, run, { attempts: 5, backoff: () => 50, timeout: "30s", concurrency: 5, ...more });
const nothing = () => Promise.resolve({});
const quick = (one: object) => ({ ...one, backoff: () => 50 }) as unknown as AnyStage<object>;
const patience = { timeout: 10_000, interval: 10 };
type TenantsOfOrphans = Parameters<typeof createOrphans>[0]["tenants"];

const unheard = () => new RetryableError("no answer", { code: "no-answer", effect: "unknown" });

/** A request whose signing is made, and never answered. */
async function startSigning(outcome: () => Promise<string> = () => Promise.reject(unheard())) {
  const facts = {
    requestPk: 388_141,
    uploaded: [{ id: "1", name: "a.pdf", sizeBytes: 1, sha256: "0".repeat(64), uid: "u1" }],
    otp: { sentMs: 1, count: 1 },
  };
  const provider = { sign: vi.fn(outcome), getRequest: () => Promise.resolve({ status: "ENROLLREADY" }) };
  const otps = vi.fn(nothing);
  const policy = { signSettleMs: 60_000, signWithinMs: 3_600_000 };
  const stages = [
    stage("create", () => Promise.resolve(facts)),
    stage("otp", otps),
    quick(sign),
    stage("last", nothing),
  ];
  const toy = await startToy(stages, {
    tools: ({ codes, vault }) => ({
      provider,
      policy,
      codes,
      vault,
      space: { book: () => Promise.resolve({ release() {} }) },
    }),
  });
  toy.work();
  const id = await toy.submit();
  const waitsFor = async () => (await toy.store.get(id)).waiting?.for;
  await expect.poll(waitsFor, patience).toBe("code");
  return { toy, id, provider, otps, waitsFor };
}

describe("while nobody knows whether a signing has worked", () => {
  test("no new code is sent, and the signing stays one that may have been made", async () => {
    const { toy, id, provider, otps, waitsFor } = await startSigning();
    await toy.pipeline.giveCode(id, "123456", "api:test");
    await expect.poll(waitsFor, patience).toBe("outcome of the signing");
    await expect(toy.pipeline.resendCode(id, "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
    await expect(toy.pipeline.cancel(id, "api:test")).rejects.toMatchObject({ code: "too-late" });
    expect([otps, provider.sign].map(({ mock }) => mock.calls.length)).toEqual([1, 1]);
    expect((await toy.store.get(id)).intent?.effect).toBe("sign");
  });

  test("nor while an accepted one is carried out", async () => {
    const { toy, id, waitsFor } = await startSigning(() => Promise.resolve("accepted"));
    await toy.pipeline.giveCode(id, "123456", "api:test");
    await expect.poll(waitsFor, patience).toBe("certificate");
    await expect(toy.pipeline.resendCode(id, "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
  });
});

test("a resend that is slow, and overtaken by what it has asked for, leaves the request its job", async () => {
  const { toy, id, provider, otps, waitsFor } = await startSigning(() => Promise.resolve("accepted"));
  const forget = toy.codes.forget.bind(toy.codes);
  toy.codes.forget = async (...code) => {
    toy.codes.forget = forget;
    await toy.queues.promote("sign", id); // it finds that there is a new code to be sent, and hands on
    await expect.poll(() => otps.mock.calls.length, patience).toBe(2);
    await expect.poll(waitsFor, patience).toBe("code");
    await expect.poll(() => toy.queues.stateOf("sign", id), patience).toBe("delayed");
    await forget(...code);
  };
  await toy.pipeline.resendCode(id, "api:test");
  await expect.poll(() => toy.queues.stateOf("otp", id), patience).toBe("unknown");
  await expect.poll(() => toy.queues.stateOf("sign", id), patience).toBe("delayed");
  expect([otps, provider.sign].map(({ mock }) => mock.calls.length)).toEqual([2, 0]);
});

test("a person's word, or the provider's, makes anew a job that is lost", async () => {
  const { toy, id, waitsFor } = await startSigning(() => Promise.resolve("accepted"));
  const state = () => toy.queues.stateOf("sign", id);
  const lose = async () => {
    await expect.poll(state, patience).toBe("delayed");
    await loseJobs(toy.queues, id);
    expect(await state()).toBe("unknown");
  };
  await lose();
  await toy.pipeline.giveCode(id, "123456", "api:test");
  await expect.poll(waitsFor, patience).toBe("certificate");
  await lose();
  await toy.pipeline.nudge(388_141);
  await expect.poll(state, patience).toBe("delayed");
});

test("a job that failed long ago is not in the way of a request that comes by again", async () => {
  const runs: string[] = [];
  const two = stage(
    "two",
    () => {
      runs.push("two");
      return runs.length === 1 ? Promise.reject(new PermanentError("no", { code: "no" })) : Promise.resolve({});
    },
    { retryFrom: "one" },
  );
  const toy = await startToy([stage("one", nothing), two, stage("last", nothing)]);
  toy.work();
  const id = await toy.submit();
  await toy.reaches(id, "last", "failed");
  expect(await toy.queues.stateOf("two", id)).toBe("failed");
  await toy.pipeline.retry(id, "api:test");
  await toy.reaches(id, "last", "done");
  expect(runs).toEqual(["two", "two"]);
});

test("a code that was not accepted, because a new one was asked for meanwhile, is not tried in its place", async () => {
  const { toy, id } = await startSigning();
  const keep = toy.codes.keep.bind(toy.codes);
  let isResent = false;
  toy.codes.keep = async (...code) => {
    if (!isResent) await toy.pipeline.resendCode(id, "api:other");
    isResent = true;
    await keep(...code);
  };
  await expect(toy.pipeline.giveCode(id, "123456", "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
  expect(await toy.codes.read(id)).toBeUndefined();
});

describe("a registration officer's refusal, where approval is by policy,", () => {
  async function startApproving() {
    const [looked, look] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    const [called, call] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    const provider = {
      async getRequest() {
        looked.resolve(undefined);
        await look.promise;
        return { status: "VIDEOREVIEW" };
      },
      approve: vi.fn(async () => {
        called.resolve(undefined);
        await call.promise;
      }),
      refuse: vi.fn(nothing),
    };
    const facts = { requestPk: 388_141, videoidPk: 211, providerStatus: "CREATED", approval: "auto" };
    const toy = await startToy(
      [stage("create", () => Promise.resolve(facts)), quick(approve), stage("last", nothing)],
      {
        tools: ({ vault }) => ({ provider, vault, account: () => ({ rao: {} }), policy: { approval: "auto" } }),
      },
    );
    toy.work();
    const id = await toy.submit();
    await looked.promise;
    const letLook = () => look.resolve(undefined);
    return { toy, id, provider, called, letLook, letCall: () => call.resolve(undefined) };
  }

  test("holds when it comes before the call leaves", async () => {
    const { toy, id, provider, letLook, letCall } = await startApproving();
    await toy.pipeline.refuse(id, "Not the person of the document", "api:ana");
    letLook();
    letCall();
    await toy.reaches(id, "last", "refused");
    expect([provider.approve, provider.refuse].map(({ mock }) => mock.calls.length)).toEqual([0, 1]);
  });

  test("is turned away when the call has left", async () => {
    const { toy, id, called, letLook, letCall } = await startApproving();
    letLook();
    await called.promise;
    const late = toy.pipeline.refuse(id, "Not the person of the document", "api:ana");
    await expect(late).rejects.toMatchObject({ code: "not-possible-now" });
    letCall();
    await toy.reaches(id, "last", "done");
  });
});

describe("while Redis is being compared with the journal", () => {
  test("nothing is taken in, and nothing decided over what may be long past", async () => {
    let isOpen = false;
    const toy = await startToy([stage("one", nothing), stage("last", nothing)], {
      gate: { isOpen: () => isOpen, whenOpen: () => Promise.resolve(isOpen) },
    });
    const id = newId();
    const later = { code: "redis-away", kind: "retryable" };
    const { pipeline } = toy;
    await expect(pipeline.mayTake()).rejects.toMatchObject(later);
    await expect(pipeline.submit(submission(id))).rejects.toMatchObject(later);
    await expect(pipeline.approve(id, "api:test")).rejects.toMatchObject(later);
    await expect(pipeline.refuse(id, "No", "api:test")).rejects.toMatchObject(later);
    await expect(pipeline.giveCode(id, "1", "api:test")).rejects.toMatchObject(later);
    await expect(pipeline.resendCode(id, "api:test")).rejects.toMatchObject(later);
    await expect(pipeline.cancel(id, "api:test")).rejects.toMatchObject(later);
    await expect(pipeline.retry(id, "api:test")).rejects.toMatchObject(later);
    expect(toy.journal).toEqual([]);
    isOpen = true;
    expect(await pipeline.submit(submission(id))).toMatchObject({ outcome: "accepted" });
  });
});

test("a worker that loses its job after it has announced a call does not make it", async () => {
  const calls = vi.fn(nothing);
  const one = stage("one", ({ effect }) => effect("pay", calls).then(nothing));
  let lost = false;
  const toy = await startToy([one, stage("last", nothing)], {
    lockMs: 1_000,
    async crashPoint(point, id) {
      if (point !== "pay:in-journal" || lost) return;
      lost = true;
      await toy.redis.set(`${toy.keys.queues}:one:${id}:lock`, "nobody", "PX", 1_200);
      await new Promise((resolve) => setTimeout(resolve, 900)); // its renewal fails meanwhile
    },
  });
  toy.work();
  const id = await toy.submit();
  await expect.poll(() => lost, patience).toBe(true);
  await toy.reaches(id, "last", "done");
  expect(calls).toHaveBeenCalledOnce();
  expect((await toy.store.history(id)).map(({ note }) => note)).toContain("lost-lease");
});

describe("a request that somebody cancels", () => {
  test("in the last moment before a call ends at once, without the call", async () => {
    const calls = vi.fn(nothing);
    const one = stage("one", ({ effect }) => effect("pay", calls).then(nothing));
    const toy = await startToy([one, stage("last", nothing)], {
      async crashPoint(point, id) {
        if (point !== "pay:before-intent") return;
        await toy.store.change(id, () => ({ event: "start" })); // as it is once it has taken its time
        await toy.pipeline.cancel(id, "api:test");
      },
    });
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "last", "cancelled", 5_000);
    expect(calls).not.toHaveBeenCalled();
  });

  test.each([
    ["for now", () => new RetryableError("away", { code: "away" })],
    ["for good", () => new PermanentError("no", { code: "no" })],
  ])("while its step fails %s is cancelled, and not after the next attempt", async (_, fail) => {
    const [began, go] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    const one = stage(
      "one",
      async ({ effect }) => {
        await effect("pay", async () => {
          began.resolve(undefined);
          await go.promise;
          throw fail();
        });
        return {};
      },
      { backoff: () => 60_000 },
    );
    const toy = await startToy([one, stage("last", nothing)]);
    toy.work();
    const id = await toy.submit();
    await began.promise;
    await toy.pipeline.cancel(id, "api:test");
    go.resolve(undefined);
    await toy.reaches(id, "last", "cancelled", 5_000);
    expect((await toy.store.get(id)).failure?.code).toBe("cancelled");
  });
});

test("a call that surely failed does not undo that the one before it may have worked", async () => {
  const tries: number[] = [];
  const answers = [unheard(), new RetryableError("too many", { code: "too-many" }), undefined];
  const one = stage(
    "one",
    async ({ effect }) => {
      await effect("pay", () => {
        const answer = answers.shift();
        return answer ? Promise.reject(answer) : Promise.resolve();
      });
      return {};
    },
    {
      afterSilence: (_run, intent) => {
        tries.push(intent.tries);
        return Promise.resolve("repeat");
      },
    },
  );
  const toy = await startToy([one, stage("last", nothing)]);
  toy.work();
  const id = await toy.submit();
  await toy.reaches(id, "last", "done");
  expect(tries).toEqual([1, 1]);
  expect((await toy.store.get(id)).intent).toBeUndefined();
});

test("a record that is damaged keeps no other request from its next step", async () => {
  const toy = await startToy([stage("one", nothing), stage("last", nothing)]);
  const [damaged, other] = [await toy.submit(), await toy.submit()];
  await loseJobs(toy.queues, damaged);
  await loseJobs(toy.queues, other);
  await toy.redis.set(toy.keys.request(damaged), "what somebody typed");
  await toy.redis.zadd(toy.keys.due, 1, damaged, 2, other);
  expect(await toy.reconciler.sweep()).toBe(1);
  expect(await toy.queues.stateOf("one", other)).toBe("waiting");
  expect(await toy.redis.get(toy.keys.request(damaged))).toBe("what somebody typed");
});

test("an open request whose record cannot be read is counted from when it was found until it can be read again", async () => {
  const toy = await startToy([stage("one", nothing), stage("last", nothing)]);
  const [damaged, gone] = [await toy.submit(), await toy.submit()];
  const unreadable = async () => (await toy.pipeline.counts()).unreadable;
  const record = await toy.redis.get(toy.keys.request(damaged));
  for (const id of [damaged, gone]) await toy.redis.set(toy.keys.request(id), "what somebody typed");
  await toy.redis.zadd(toy.keys.due, 1, damaged, 2, gone);
  expect(await unreadable()).toBe(0);
  await toy.reconciler.sweep();
  expect(await unreadable()).toBe(2);
  // It is looked at again after a quarter of an hour: until then it counts all the same.
  await toy.reconciler.sweep();
  expect(await unreadable()).toBe(2);
  await toy.redis.set(toy.keys.request(damaged), record ?? "");
  await toy.redis.del(toy.keys.request(gone));
  await toy.reconciler.sweep();
  expect(await unreadable()).toBe(0);
});

describe("a worker that stood still for so long that another one has the request", () => {
  const document = { id: "1", name: "a.pdf", sizeBytes: 1, sha256: "0".repeat(64) };
  const provider = () => {
    const calls: string[] = [];
    const say = (what: string) => () => Promise.resolve(void calls.push(what));
    const getRequest = () => Promise.resolve({ status: "VIDEOPENDING" });
    return { calls, getRequest, deleteDocuments: say("delete"), upload: say("upload"), cancel: say("cancel") };
  };
  const base = { now: Date.now, signal: new AbortController().signal };

  test("deletes nothing before its upload, which may have been signed meanwhile", async () => {
    const paper = provider();
    const run = {
      ...base,
      facts: { requestPk: 1, documents: [document], begun: { upload: 1 } },
      provider: paper,
      documents: { open: () => [] },
      effect: () => Promise.reject(new RetryableError("taken over", { code: "lost-lease" })),
      isOurs: () => false,
    };
    await expect(upload.run(run as never)).rejects.toMatchObject({ code: "lost-lease" });
    expect(paper.calls).toEqual([]);
  });

  test.each([
    ["deleted", "its upload", upload, "deleteDocuments", { documents: [document], begun: { upload: 1 } }, undefined],
    ["cancelled", "its deletion", cleanup, "cancel", {}, "expired"],
  ] as const)("after it has %s does not go on with %s", async (_done, _next, { run }, call, facts, ending) => {
    const paper = provider();
    let isOurs = true;
    const last = async () => {
      await paper[call]();
      isOurs = false;
    };
    const all = {
      ...base,
      ending,
      facts: { requestPk: 1, ...facts },
      provider: { ...paper, [call]: last },
      documents: { open: () => [] },
      effect: (_name: string, call: () => Promise<unknown>) => call(),
      isOurs: () => isOurs,
    };
    await expect(run(all as never)).rejects.toMatchObject({ code: "lost-lease", effect: "unknown" });
    expect(paper.calls).toEqual([call === "cancel" ? "cancel" : "delete"]);
  });
});

test("a retry after a failed look for the identification opens no second one while the first is as good as new", async () => {
  let isBroken = true;
  const provider = {
    getRequest: () =>
      isBroken
        ? Promise.reject(new PermanentError("a wrong address", { code: "path-unknown" }))
        : Promise.resolve({ status: "VIDEOREVIEW" }),
  };
  const opened = vi.fn(() => Promise.resolve({ requestPk: 388_141 }));
  // As cleanup does with a failed request that is ready at the provider.
  const last = stage("last", ({ ending }) => Promise.resolve(ending ? { providerGone: false } : {}));
  const toy = await startToy([stage("create", opened), quick(identify), last], {
    tools: () => ({ provider, policy: { identifyWithinMs: 60_000, longestPauseMs: () => 1_000 } }),
  });
  toy.work();
  const id = await toy.submit();
  await toy.reaches(id, "last", "failed");
  isBroken = false;
  await toy.pipeline.retry(id, "api:test");
  await toy.reaches(id, "last", "done");
  expect(opened).toHaveBeenCalledOnce();
  expect((await toy.store.get(id)).facts).toMatchObject({ requestPk: 388_141 });
});

describe("a request at the provider that nobody heard of", () => {
  const ana = { email: "ana@example.com", mobilePhoneNumber: "+34699999999" };

  const ONE_TENANT: TenantsOfOrphans = { traits: [], traitsOf: () => ({ tenant: "default" }) };

  async function startCreations({
    graceMs = 60_000,
    tenants = ONE_TENANT,
    link = "https://x",
  }: { graceMs?: number; tenants?: TenantsOfOrphans; link?: string | undefined } = {}) {
    let pks = 4_000;
    const cancelled: number[] = [];
    /** Those that are about somebody else. */
    const strange = new Set<number>();
    const provider = {
      createVideoId: vi.fn(() => Promise.reject(unheard())),
      async getRequest(requestPk: number) {
        await new Promise((resolve) => setTimeout(resolve, 100)); // all look before one has written
        const status = cancelled.includes(requestPk) ? "CANCELLED" : "VIDEOPENDING";
        const person = strange.has(requestPk) ? { email: "eva@example.com" } : ana;
        return { ...person, requestPk, videoidPk: requestPk + 1, videoidLink: link, status };
      },
      cancel: (requestPk: number) => Promise.resolve(void cancelled.push(requestPk)),
    };
    let orphans: ReturnType<typeof createOrphans> | undefined;
    let aheadMs = 0;
    const idle = stage("idle", () =>
      Promise.resolve(waitFor("code", { whose: "signer", within: "1h", poll: () => 3_600_000 })),
    );
    const toy = await startToy([quick(create), idle, stage("last", nothing)], {
      tools({ strangers, vault, store }) {
        orphans = createOrphans({
          provider: provider as never,
          strangers,
          vault,
          print: (parts) => parts.join("/"),
          async whereabouts(id) {
            const request = (await store.read(id))?.request;
            const requestPk = request?.facts["requestPk"] as number | undefined;
            const isOver = request === undefined || request.phase === "done";
            return { requestPk, isBeingCreated: request?.stage === "create", isOver, wishes: {} };
          },
          tenants,
          answerWithinMs: 0,
          log: silent,
          now: () => Date.now() + aheadMs,
        });
        return { provider, vault, orphans, account: () => ({}), policy: { createGraceMs: graceMs } };
      },
    });
    toy.work();
    const pkOf = async (id: string) => (await toy.store.get(id)).facts["requestPk"];
    /** Later, when nobody waits for the answer of a creation any more. */
    const sweep = async (afterMs = 10_000) => {
      aheadMs = afterMs;
      await orphans?.sweep(new AbortController().signal);
      aheadMs = 0;
    };
    /** A request whose creation is answered, just before the process dies. */
    const answerUnwritten = async (requestPk: number) => {
      const creations = provider.createVideoId as unknown as Mock<() => Promise<unknown>>;
      creations.mockImplementationOnce(() => Promise.resolve({ requestPk, videoidPk: 7, videoidLink: "https://x" }));
      const write = toy.store.write.bind(toy.store);
      toy.store.write = async (...change) => {
        if (change[1].event !== "succeed") return await write(...change);
        toy.store.write = write;
        throw new Error("Redis is away");
      };
      const id = await toy.submit();
      await expect.poll(async () => (await toy.store.get(id)).waiting?.for, patience).toBe("word of the creation");
      return id;
    };
    return { toy, provider, cancelled, strange, pkOf, sweep, answerUnwritten, newPk: () => (pks += 1) };
  }

  test("becomes one request's, and not that of two for the same person who look at the same time", async () => {
    const { toy, pkOf, newPk } = await startCreations();
    const ids = await Promise.all([toy.submit(), toy.submit(), toy.submit()]);
    for (const id of ids) {
      await expect.poll(async () => (await toy.store.get(id)).waiting?.for, patience).toBe("word of the creation");
    }
    const requestPk = newPk();
    await toy.pipeline.nudge(requestPk);
    const have = async () => (await Promise.all(ids.map(pkOf))).filter((pk) => pk !== undefined);
    await expect.poll(have, patience).toEqual([requestPk]);
    const another = newPk();
    await toy.pipeline.nudge(another);
    await expect.poll(have, patience).toHaveLength(2);
    expect(new Set(await have())).toEqual(new Set([requestPk, another]));
  });

  test("does not count among the unanswered creations once it was cancelled; one after the other they are made, and not for ever", async () => {
    const { toy, provider, newPk, cancelled } = await startCreations({ link: "", graceMs: 600 });
    const creations = provider.createVideoId as unknown as Mock<() => Promise<unknown>>;
    // Each works, and is not answered; its webhook comes at once.
    creations.mockImplementation(async () => {
      if (creations.mock.calls.length <= 5) await toy.pipeline.nudge(newPk());
      throw unheard();
    });
    const id = await toy.submit();
    await toy.reaches(id, "last", "failed");
    expect((await toy.store.get(id)).failure?.code).toBe("unknown-outcome");
    expect(cancelled).toHaveLength(5);
    expect(creations.mock.calls.length).toBe(6);
  });

  test("stays with the request that took it for its own before the answer came; the one it was made for makes another", async () => {
    const { toy, provider, pkOf, newPk } = await startCreations();
    const unanswered = await toy.submit();
    await expect
      .poll(async () => (await toy.store.get(unanswered)).waiting?.for, patience)
      .toBe("word of the creation");
    const [first, second] = [newPk(), newPk()];
    const answer = (requestPk: number) => ({ requestPk, videoidPk: requestPk + 1, videoidLink: "https://x" });
    const creations = provider.createVideoId as unknown as Mock<() => Promise<unknown>>;
    creations.mockImplementationOnce(async () => {
      await toy.pipeline.nudge(first); // its webhook is faster than its answer
      await expect.poll(() => pkOf(unanswered), patience).toBe(first);
      return answer(first);
    });
    creations.mockImplementationOnce(() => Promise.resolve(answer(second)));
    const other = await toy.submit();
    await expect.poll(() => pkOf(other), patience).toBe(second);
    expect(await pkOf(unanswered)).toBe(first);
    expect((await toy.pipeline.history(other)).map(({ note }) => note)).toContain("taken-by-another");
  });

  test("is the answered one's, when its number was that of a request which is over", async () => {
    const { toy, provider, pkOf, newPk } = await startCreations();
    const requestPk = newPk();
    expect(await toy.strangers.claim(requestPk, newId())).toBe(true);
    const creations = provider.createVideoId as unknown as Mock<() => Promise<unknown>>;
    creations.mockImplementationOnce(() => Promise.resolve({ requestPk, videoidPk: 7, videoidLink: "https://x" }));
    const id = await toy.submit();
    await expect.poll(() => pkOf(id), patience).toBe(requestPk);
    expect(creations).toHaveBeenCalledTimes(1);
  });

  test("is found by its webhook, when what its creation answered was never written down", async () => {
    const { toy, provider, pkOf, newPk, answerUnwritten } = await startCreations();
    const requestPk = newPk();
    const id = await answerUnwritten(requestPk);
    await toy.pipeline.nudge(requestPk);
    await expect.poll(() => pkOf(id), patience).toBe(requestPk);
    expect(provider.createVideoId).toHaveBeenCalledTimes(1);
  });

  test("is cancelled when its webhook comes, after its request was cancelled without ever having written it down", async () => {
    const { toy, newPk, sweep, cancelled, answerUnwritten } = await startCreations();
    const requestPk = newPk();
    const id = await answerUnwritten(requestPk);
    await toy.pipeline.cancel(id, "api:test");
    await toy.reaches(id, "last", "cancelled");
    await toy.strangers.suspect(
      { id, print: `${ana.email}/${ana.mobilePhoneNumber}`, sinceMs: 0 },
      Date.now() + 60_000,
    );
    await toy.pipeline.nudge(requestPk);
    await sweep();
    expect(cancelled).toEqual([requestPk]);
  });

  test("is found again by the request that had claimed it and died, and cancelled when that one goes another way", async () => {
    const { toy, pkOf, newPk, sweep, cancelled } = await startCreations();
    const id = await toy.submit();
    await expect.poll(async () => (await toy.store.get(id)).waiting?.for, patience).toBe("word of the creation");
    const requestPk = newPk();
    expect(await toy.strangers.claim(requestPk, id)).toBe(true);
    await toy.strangers.add(requestPk);
    await sweep();
    expect(cancelled).toEqual([]); // it is still being created
    await toy.store.nudge(id);
    await toy.queues.promote("create", id);
    await expect.poll(() => pkOf(id), patience).toBe(requestPk);
    const second = newPk(); // of a second creation, which nobody heard of either
    await toy.strangers.add(second);
    await toy.strangers.claim(second, id);
    await sweep(0);
    expect(cancelled).toEqual([]); // another one's, perhaps, whose answer is on its way
    await sweep();
    expect(cancelled).toEqual([second]);
  });

  test("is not one that has come to its end since somebody looked whom it is about", async () => {
    const { toy, newPk, cancelled } = await startCreations();
    const id = await toy.submit();
    const wait = async () => (await toy.store.get(id)).waiting?.for;
    await expect.poll(wait, patience).toBe("word of the creation");
    const requestPk = newPk();
    cancelled.push(requestPk);
    await toy.strangers.add(requestPk);
    await toy.strangers.keepPrint(requestPk, `${ana.email}/${ana.mobilePhoneNumber}`);
    await toy.store.nudge(id);
    await toy.queues.promote("create", id);
    await expect.poll(() => toy.strangers.list(), patience).toEqual([]);
    expect(await wait()).toBe("word of the creation");
  });

  test("is not one that was heard of before the creation left: somebody else has made it for the same person", async () => {
    const { toy, pkOf, newPk, sweep, cancelled } = await startCreations();
    const id = await toy.submit();
    const wait = async () => (await toy.store.get(id)).waiting?.for;
    await expect.poll(wait, patience).toBe("word of the creation");
    const { intent } = await toy.store.get(id);
    const [early, apart] = [newPk(), newPk()];
    await toy.redis.zadd(toy.keys.strangers, (intent?.firstMs ?? 0) - 6_000, String(early));
    await toy.store.nudge(id);
    await toy.queues.promote("create", id);
    await expect.poll(async () => (await toy.strangers.suspects()).length, patience).toBe(1);
    await sweep();
    expect([await pkOf(id), cancelled]).toEqual([undefined, []]);
    // As far as clocks may be apart, it may be this one's.
    await toy.redis.zadd(toy.keys.strangers, (intent?.firstMs ?? 0) - 4_000, String(apart));
    await toy.store.nudge(id);
    await toy.queues.promote("create", id);
    await expect.poll(() => pkOf(id), patience).toBe(apart);
    await sweep();
    expect(cancelled).toEqual([]);
  });

  test("is looked for until all that came in were looked at: running out of time makes no second creation", async () => {
    const { toy, provider, strange, pkOf, newPk } = await startCreations({ graceMs: 100 });
    // Five are looked at in a second, and a look ends after five seconds: it takes several to come to the last one.
    const others = Array.from({ length: 40 }, newPk);
    for (const pk of others) {
      strange.add(pk);
      await toy.strangers.add(pk);
    }
    const own = newPk();
    await toy.redis.zadd(toy.keys.strangers, Date.now() + 1_000, String(own));
    const id = await toy.submit();
    await expect.poll(() => pkOf(id), { timeout: 45_000 }).toBe(own);
    expect(provider.createVideoId).toHaveBeenCalledOnce();
  }, 60_000);

  test("is nobody's when it may be another tenant's: no second creation is made, and it is said who has to look", async () => {
    const same = { registrationAuthority: "139", profile: "PFnube" };
    const tenants = {
      traits: [
        { tenant: "acme", ...same },
        { tenant: "beta", ...same },
      ],
      traitsOf: () => ({ tenant: "acme", ...same }),
    };
    const { toy, provider, cancelled, pkOf, newPk, sweep } = await startCreations({ graceMs: 1_000, tenants });
    const id = await toy.submit();
    await expect.poll(async () => (await toy.store.get(id)).waiting?.for, patience).toBe("word of the creation");
    await toy.pipeline.nudge(newPk());
    const detail = async () => (await toy.store.get(id)).waiting?.detail;
    await expect.poll(detail, patience).toBe("one is there that may be another tenant's");
    await toy.reaches(id, "last", "failed");
    expect((await toy.store.get(id)).failure).toMatchObject({
      code: "unknown-outcome",
      message: expect.stringContaining("find out whose it is"),
    });
    await sweep();
    expect([await pkOf(id), cancelled]).toEqual([undefined, []]);
    expect(provider.createVideoId).toHaveBeenCalledOnce();
  });

  test("is not the one that a failed request keeps for its retry", async () => {
    const facts = { requestPk: 388_141 };
    const broken = stage("one", () => Promise.reject(new PermanentError("no", { code: "no" })));
    const toy = await startToy([stage("create", () => Promise.resolve(facts)), broken, stage("last", nothing)]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "last", "failed");
    expect(await toy.pipeline.nudge(388_141)).toBe(true);
    expect(await toy.strangers.list()).toEqual([]);
  });
});

test("the contract of an earlier identification does not stand for that of the new one", async () => {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-contract-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const requestId = newId();
  const results = createResults({ dir });
  const fetchFor = async (requestPk: number, contractOf?: number) => {
    const pdf = await plainPdf({ text: `Contract of ${requestPk}` });
    const provider = { contract: () => Promise.resolve({ body: Readable.from([pdf]) }) };
    const facts = { requestPk, ...(contractOf && { contractOf }) };
    const signal = new AbortController().signal;
    return { pdf, given: await contract.run({ requestId, facts, provider, results, signal } as never) };
  };
  const first = await fetchFor(1);
  expect(first.given).toMatchObject({ contract: { sizeBytes: first.pdf.length }, contractOf: 1 });
  expect((await fetchFor(1, 1)).given).toEqual(first.given);
  const second = await fetchFor(22, 1);
  expect(second.given).toMatchObject({ contractOf: 22 });
  expect(second.given).not.toMatchObject({ contract: (first.given as { contract: object }).contract });
  expect(readdirSync(join(dir, requestId)).filter((name) => /earlier\.contract\.pdf$/.test(name))).toHaveLength(1);
});

test("a request at work whose job was lost is given one within minutes, however long its stage may take", async () => {
  const go = Promise.withResolvers<undefined>();
  let shiftMs = 0;
  const one = stage("one", ({ effect }) => effect("pay", () => go.promise).then(nothing), { timeout: "30m" });
  const toy = await startToy([one, stage("last", nothing)], { now: () => Date.now() + shiftMs });
  toy.work();
  const id = await toy.submit();
  await toy.reaches(id, "one", "running");
  shiftMs = 180_000;
  expect(await toy.reconciler.sweep()).toBe(0); // it is at work
  await toy.redis.lrem(`${toy.keys.queues}:one:active`, 0, id);
  await toy.redis.del(`${toy.keys.queues}:one:${id}`);
  shiftMs = 540_000;
  expect(await toy.reconciler.sweep()).toBe(1);
  go.resolve(undefined);
});
