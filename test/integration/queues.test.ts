import { describe, expect, test } from "vitest";
import { z } from "zod";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { endAs } from "../../src/core/outcome.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { createHanded } from "../../src/queues/handed.ts";
import { Conflict, type Held } from "../../src/queues/store.ts";
import { newId, startToy, submission, toyStage as stage, waitFor } from "../helpers/toy.ts";

const nothing = () => Promise.resolve({});

describe("a request", () => {
  test("goes through its stages in order, and every step is in its history", async () => {
    const seen: string[] = [];
    const toy = await startToy(
      ["one", "two", "three"].map((name) =>
        stage(name, () => {
          seen.push(name);
          return Promise.resolve({ [name]: 1 });
        }),
      ),
    );
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "three", "done");
    expect(seen).toEqual(["one", "two", "three"]);
    expect((await toy.store.get(id)).facts).toMatchObject({ one: 1, two: 1, three: 1 });
    const lines = (await toy.store.history(id)).map(({ event, stage, phase }) => `${event} ${stage} ${phase}`);
    expect(lines).toEqual(["note one queued", "succeed two queued", "succeed three queued", "succeed three done"]);
    expect(await toy.redis.zcard(toy.keys.due)).toBe(0);
  });

  test("is shown as running where a stage takes its time", async () => {
    let finish = () => {};
    const slow = new Promise<void>((resolve) => (finish = resolve));
    const toy = await startToy([stage("one", nothing), stage("two", () => slow.then(() => ({})))]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "two", "running");
    finish();
    await toy.reaches(id, "two", "done");
    const lines = (await toy.store.history(id)).map(({ event, stage }) => `${event} ${stage}`);
    expect(lines.slice(-2)).toEqual(["start two", "succeed two"]);
  });

  test("is read anew when the job is not the one that was handed on here", async () => {
    const held = { request: { id: newId(), stage: "two" }, version: "3", nudgedMs: 0 } as unknown as Held;
    const { id } = held.request;
    const handed = createHanded(2);
    handed.keep(held, 1_000);
    expect(handed.take(id, "two", 1_001)).toBeUndefined();
    expect(handed.take(id, "two", 1_000)).toBeUndefined(); // once is enough to know that somebody else was at it
    handed.keep(held, 1_000);
    expect(handed.take(id, "three", 1_000)).toBeUndefined();
    handed.keep(held, 1_000);
    expect(handed.take(id, "two", 1_000)).toBe(held);
    handed.keep(held, 1_000);
    for (const other of [newId(), newId()]) handed.keep({ ...held, request: { ...held.request, id: other } }, 1_000);
    expect(handed.take(id, "two", 1_000)).toBeUndefined();
  });

  test("keeps no intent once its call was answered, even when the answer is followed by a wait", async () => {
    let answers = 0;
    const toy = await startToy([
      stage("one", async ({ effect }) => {
        await effect("knock", () => Promise.resolve((answers += 1)));
        return waitFor("another knock", { whose: "signer", within: "1h" });
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "waiting");
    expect(answers).toBe(1);
    expect((await toy.store.get(id)).intent).toBeUndefined();
  });

  test("that is submitted twice is made once", async () => {
    const toy = await startToy([stage("one", nothing)]);
    const id = newId();
    const [first, second] = await Promise.all([
      toy.pipeline.submit(submission(id)),
      toy.pipeline.submit(submission(id)),
    ]);
    expect([first.outcome, second.outcome]).toContain("accepted");
    expect(await toy.pipeline.submit(submission(id))).toMatchObject({ outcome: "known" });
    toy.work();
    await toy.reaches(id, "one", "done");
    expect((await toy.store.history(id)).filter(({ note }) => note === "submitted")).toHaveLength(1);
  });

  test("with the same documents for the same signer is a duplicate while the first is open or done, and not after it failed", async () => {
    let fail = true;
    const toy = await startToy([
      stage("one", () => (fail ? Promise.reject(new PermanentError("no", { code: "no" })) : nothing())),
      stage("two", nothing),
    ]);
    const first = submission(newId());
    await toy.pipeline.submit({ ...first, refuseDuplicate: true });
    const again = { ...first, id: newId(), refuseDuplicate: true };
    expect(await toy.pipeline.submit(again)).toMatchObject({ outcome: "duplicate", of: { id: first.id } });
    toy.work();
    await toy.reaches(first.id, "two", "failed");
    fail = false;
    const third = { ...first, id: newId(), refuseDuplicate: true };
    expect(await toy.pipeline.submit(third)).toMatchObject({ outcome: "accepted" });
    await toy.reaches(third.id, "two", "done");
    expect(await toy.pipeline.submit({ ...first, id: newId(), refuseDuplicate: true })).toMatchObject({
      outcome: "duplicate",
    });
    const other = {
      ...first,
      id: newId(),
      signer: { ...first.signer, email: "eva@example.com" },
      refuseDuplicate: true,
    };
    expect(await toy.pipeline.submit(other)).toMatchObject({ outcome: "accepted" });
  });

  test("that fails for good is cleaned up, ends failed with its reason, and can be taken up again", async () => {
    let fail = true;
    const toy = await startToy([
      stage("one", () =>
        fail ? Promise.reject(new PermanentError("The thing is broken", { code: "broken" })) : nothing(),
      ),
      stage("two", nothing),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "two", "failed");
    expect((await toy.store.get(id)).failure).toEqual({ code: "broken", message: "The thing is broken", stage: "one" });
    const failedJobs = await toy.queues.all()[0]?.getFailed();
    expect(failedJobs?.map((job) => [job.failedReason, job.data as unknown])).toEqual([["broken", { requestId: id }]]);
    fail = false;
    await toy.pipeline.retry(id, "api:test");
    await toy.reaches(id, "two", "done");
    expect((await toy.store.get(id)).failure).toBeUndefined();
  });

  test("that fails for a time is retried, and its attempts are counted in the record", async () => {
    let calls = 0;
    const toy = await startToy([
      stage("one", () => (++calls < 3 ? Promise.reject(new RetryableError("later", { code: "later" })) : nothing())),
      stage("two", () => Promise.reject(new RetryableError("never", { code: "never" })), { attempts: 2 }),
      stage("three", nothing),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "three", "failed");
    expect(calls).toBe(3);
    expect(
      (await toy.store.history(id)).filter(({ event }) => event === "retry").map(({ stage, note }) => [stage, note]),
    ).toEqual([
      ["one", "later"],
      ["one", "later"],
      ["two", "never"],
    ]);
  });

  test("that ends before its last stage is cleaned up and keeps its reason", async () => {
    const toy = await startToy([
      stage("one", () => Promise.resolve(endAs("refused", { code: "refused", message: "Refused by somebody" }))),
      stage("two", () => Promise.reject(new Error("not reached"))),
      stage("three", nothing),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "three", "refused");
    expect((await toy.store.get(id)).failure).toMatchObject({ code: "refused", stage: "one" });
    await expect(toy.pipeline.retry(id, "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
  });
});

describe("the reason for which a request ended", () => {
  /** A stage that fails for a time once, and then does as it is told. */
  function onceLater(name: string, then: AnyStage["run"], more: Partial<AnyStage<object>> = {}): AnyStage<object> {
    let calls = 0;
    const run: AnyStage["run"] = (how) =>
      ++calls === 1 ? Promise.reject(new RetryableError("busy", { code: "busy" })) : then(how);
    return stage(name, run, more);
  }
  const refused = () => Promise.resolve(endAs("refused", { code: "refused", message: "Refused by somebody" }));

  test("is not an earlier failure of the same stage, nor a later one of cleanup", async () => {
    const toy = await startToy([onceLater("one", refused), onceLater("two", nothing)]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "two", "refused");
    expect((await toy.store.get(id)).failure).toEqual({
      code: "refused",
      message: "Refused by somebody",
      stage: "one",
    });
  });

  test("tells a retry where to go on, even when cleanup had to be repeated", async () => {
    const broken = () => Promise.reject(new PermanentError("The thing is broken", { code: "broken" }));
    const toy = await startToy([stage("one", broken), onceLater("two", nothing)]);
    const workers = toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "two", "failed");
    await Promise.all(workers.map((worker) => worker.stop(100)));
    await toy.pipeline.retry(id, "api:test");
    expect((await toy.store.get(id)).stage).toBe("one");
  });

  test("stays that somebody cancelled it, although its call failed meanwhile", async () => {
    let entered = () => {};
    let leave = () => {};
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const gate = new Promise<void>((resolve) => (leave = resolve));
    const call = async () => {
      entered();
      await gate;
      throw new RetryableError("busy", { code: "busy" });
    };
    const toy = await startToy([stage("one", ({ effect }) => effect("open", call)), stage("two", nothing)]);
    toy.work();
    const id = await toy.submit();
    await inside;
    await toy.pipeline.cancel(id, "api:test");
    leave();
    await toy.reaches(id, "two", "cancelled");
    expect((await toy.store.get(id)).failure?.code).toBe("cancelled");
  });

  test("is none when it was done after all", async () => {
    const toy = await startToy([stage("one", nothing), onceLater("two", nothing)]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "two", "done");
    expect((await toy.store.get(id)).failure).toBeUndefined();
  });
});

describe("a wait", () => {
  test("is woken by a nudge at once, even one that comes while the stage is still looking", async () => {
    let ready = false;
    let looks = 0;
    let entered = () => {};
    let leave = () => {};
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const gate = new Promise<void>((resolve) => (leave = resolve));
    const toy = await startToy([
      stage("one", async () => {
        looks += 1;
        const answer = ready;
        if (looks === 1) {
          entered();
          await gate; // the answer is old by the time it is used
        }
        return answer ? {} : waitFor("word", { whose: "signer", poll: () => 3_600_000, within: "2h" });
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await inside;
    ready = true;
    await toy.redis.hset(toy.keys.pks, "77", id);
    expect(await toy.pipeline.nudge(77)).toBe(true);
    leave();
    await toy.reaches(id, "one", "done");
    expect(looks).toBe(2);
    expect(await toy.pipeline.nudge(78)).toBe(false);
  });

  test("keeps its beginning over looks that fail, and ends the request when its time is over", async () => {
    let at = Date.now();
    let looks = 0;
    const toy = await startToy(
      [
        stage("one", () => {
          looks += 1;
          if (looks === 2) return Promise.reject(new RetryableError("away", { code: "away" }));
          return Promise.resolve(waitFor("word", { whose: "signer", poll: () => 20, within: "1h" }));
        }),
        stage("two", nothing),
      ],
      { now: () => at },
    );
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "waiting");
    const began = (await toy.store.get(id)).waiting?.sinceMs;
    await expect.poll(() => looks, { timeout: 10_000 }).toBeGreaterThan(3);
    expect((await toy.store.get(id)).waiting?.sinceMs).toBe(began);
    at += 3_600_001;
    await toy.store.nudge(id);
    await toy.queues.promote("one", id);
    await toy.reaches(id, "two", "expired");
    expect((await toy.store.get(id)).failure?.code).toBe("word-expired");
  });

  test("for long is looked at together with others, so that one waking serves them all", async () => {
    const toy = await startToy([
      stage("one", () => Promise.resolve(waitFor("word", { whose: "signer", poll: () => 3_600_000, within: "2h" }))),
    ]);
    toy.work();
    const ids = [await toy.submit(), await toy.submit(), await toy.submit()];
    for (const id of ids) await toy.reaches(id, "one", "waiting");
    const parked = () => toy.redis.zrange(`${toy.keys.queues}:one:delayed`, "0", "-1", "WITHSCORES");
    await expect.poll(async () => (await parked()).length, { timeout: 10_000 }).toBe(6);
    const times = (await parked()).filter((_, n) => n % 2 === 1).map((score) => Math.floor(Number(score) / 0x1000));
    expect(times.map((ms) => ms % 2_000)).toEqual([0, 0, 0]);
  });

  test("that goes on unchanged writes no history", async () => {
    let looks = 0;
    const toy = await startToy([
      stage("one", () => {
        looks += 1;
        return Promise.resolve(waitFor("word", { whose: "signer", poll: () => 5, within: "1h" }));
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await expect.poll(() => looks, { timeout: 10_000 }).toBeGreaterThan(5);
    expect((await toy.store.history(id)).length).toBe(2);
  });

  test("writes what has changed of its facts, and nothing when they are as they were", async () => {
    let looks = 0;
    let wrongCodes = 0;
    const toy = await startToy([
      stage("one", () => {
        looks += 1;
        const facts = { wrongCodes, ...(looks < 3 && { asked: null }) };
        return Promise.resolve(waitFor("code", { whose: "signer", poll: () => 5, within: "1h", facts }));
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await expect.poll(() => looks, { timeout: 10_000 }).toBeGreaterThan(5);
    expect((await toy.store.history(id)).length).toBe(2);
    wrongCodes = 1;
    await expect.poll(async () => (await toy.store.get(id)).facts["wrongCodes"], { timeout: 10_000 }).toBe(1);
    expect((await toy.store.history(id)).length).toBe(3);
  });
});

describe("a costly call", () => {
  test("that is not heard of is settled before it is repeated", async () => {
    const calls: string[] = [];
    const toy = await startToy([
      stage(
        "one",
        ({ effect }) =>
          effect("pay", () => {
            calls.push("pay");
            return Promise.reject(new RetryableError("silence", { code: "no-answer", effect: "unknown" }));
          }),
        {
          afterSilence: (_run, { effect, tries }) => {
            calls.push(`ask about ${effect}, tried ${tries}`);
            return Promise.resolve({ paid: true });
          },
        },
      ),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "done");
    expect(calls).toEqual(["pay", "ask about pay, tried 1"]);
  });

  test("stands in the journal with what justifies it, and so does what a person has decided", async () => {
    const toy = await startToy([
      stage("one", async ({ effect }) => {
        await effect("pay", () => Promise.resolve(), { approvedFor: 7 });
        return waitFor("nobody", { whose: "signer", within: "1h" });
      }),
      stage("last", nothing),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "waiting");
    await toy.pipeline.cancel(id, "api:anna");
    const kept = toy.journal
      .filter(({ isDurable }) => isDurable)
      .map(({ event, by, patch }) => ({ event, by, facts: patch?.["facts"] }));
    expect(kept).toEqual([
      { event: "note", by: "api:test", facts: undefined },
      { event: "intend", by: undefined, facts: { approvedFor: 7, begun: { pay: 1 } } },
      { event: "end", by: "api:anna", facts: undefined },
    ]);
  });

  test("that was surely refused is not asked about", async () => {
    let calls = 0;
    const toy = await startToy([
      stage(
        "one",
        ({ effect }) =>
          effect("pay", () =>
            ++calls === 1 ? Promise.reject(new RetryableError("429", { code: "rate-limited" })) : nothing(),
          ),
        { afterSilence: () => Promise.reject(new PermanentError("asked", { code: "asked" })) },
      ),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "done");
    expect(calls).toBe(2);
  });

  test("keeps its intent when a worker that was taken over from comes back with a failure of its own", async () => {
    const open = <T>() => Promise.withResolvers<T>();
    const [frozen, called] = [open<void>(), open<void>()];
    let looks = 0;
    const toy = await startToy([
      stage(
        "one",
        async ({ effect }) => {
          looks += 1;
          if (looks === 1) {
            await frozen.promise;
            throw new RetryableError("the look was not answered", { code: "no-answer" });
          }
          await effect("pay", () => called.promise);
          return {};
        },
        { attempts: 10, afterSilence: () => Promise.resolve("repeat") },
      ),
    ]);
    toy.work();
    const id = await toy.submit();
    await expect.poll(() => looks, { timeout: 10_000 }).toBe(1);
    // Its lock lapses while it is frozen: the job is given to somebody else, who makes the call.
    const lock = `${toy.keys.queues}:one:${id}:lock`;
    await expect
      .poll(
        async () => {
          await toy.redis.set(lock, "nobody", "PX", 1);
          return looks;
        },
        { timeout: 20_000, interval: 20 },
      )
      .toBe(2);
    await expect.poll(async () => (await toy.store.get(id)).intent?.effect, { timeout: 10_000 }).toBe("pay");
    const { intent } = await toy.store.get(id);
    frozen.resolve();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await toy.store.get(id)).intent).toEqual(intent);
    called.resolve();
    await toy.reaches(id, "one", "done");
  });

  test("is not made by a worker that lost its job", async () => {
    let calls = 0;
    const toy = await startToy([
      stage("one", async ({ effect, requestId }) => {
        if (calls === 0) await toy.redis.set(`${toy.keys.queues}:one:${requestId}:lock`, "somebody else");
        return await effect("pay", () => {
          calls += 1;
          return nothing();
        });
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await expect.poll(async () => (await toy.store.get(id)).phase, { timeout: 10_000 }).toBe("retrying");
    expect(calls).toBe(0);
  });
});

describe("cancelling", () => {
  test("a request that waits ends it at once", async () => {
    const toy = await startToy([
      stage("one", () => Promise.resolve(waitFor("word", { whose: "signer", poll: () => 60_000, within: "1h" }))),
      stage("two", nothing),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "waiting");
    await toy.pipeline.cancel(id, "api:test");
    await toy.reaches(id, "two", "cancelled");
    await expect(toy.pipeline.cancel(id, "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
  });

  test("a request in the middle of a call keeps what the call gave, for cleanup", async () => {
    let entered = () => {};
    let leave = () => {};
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const gate = new Promise<void>((resolve) => (leave = resolve));
    let cleaned: unknown;
    const toy = await startToy([
      stage("one", ({ effect }) =>
        effect("open", async () => {
          entered();
          await gate;
          return { requestPk: 4711 };
        }),
      ),
      stage("two", () => Promise.reject(new Error("not reached"))),
      stage(
        "three",
        ({ facts }) => {
          cleaned = facts;
          return nothing();
        },
        { needs: z.object({ requestPk: z.number() }) },
      ),
    ]);
    toy.work();
    const id = await toy.submit();
    await inside;
    await toy.pipeline.cancel(id, "api:test");
    leave();
    await toy.reaches(id, "three", "cancelled");
    expect(cleaned).toEqual({ requestPk: 4711 });
  });

  test("is too late once the signature may have been made", async () => {
    let entered = () => {};
    let leave = () => {};
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const gate = new Promise<void>((resolve) => (leave = resolve));
    const toy = await startToy([
      stage("one", ({ effect }) =>
        effect("sign", async () => {
          entered();
          await gate;
          return { signedMs: 1 };
        }),
      ),
    ]);
    toy.work();
    const id = await toy.submit();
    await inside;
    await expect(toy.pipeline.cancel(id, "api:test")).rejects.toMatchObject({ code: "too-late" });
    leave();
    await toy.reaches(id, "one", "done");
  });
});

describe("the reconciler", () => {
  test("gives every request a next step, whatever became of its job", async () => {
    let at = Date.now();
    const toy = await startToy([stage("one", nothing), stage("two", nothing)], { now: () => at });
    const ids = await Promise.all([1, 2, 3].map(() => toy.submit()));
    for (const queue of toy.queues.all()) await queue.obliterate({ force: true });
    expect(await toy.reconciler.sweep()).toBe(0); // nothing is overdue yet
    at += 120_000;
    expect(await toy.reconciler.sweep()).toBe(3);
    expect(await toy.reconciler.sweep()).toBe(0);
    toy.work();
    for (const id of ids) await toy.reaches(id, "two", "done");
  });
});

describe("a record", () => {
  test("is written by one of two that read the same version", async () => {
    const toy = await startToy([stage("one", nothing), stage("two", nothing)]);
    const id = await toy.submit();
    const held = await toy.store.begin(id, "one", 1_000);
    expect(held).toBeDefined();
    if (!held) return;
    const results = await Promise.allSettled([
      toy.store.write(held, { event: "succeed", patch: { facts: { by: "a" } } }),
      toy.store.write(held, { event: "succeed", patch: { facts: { by: "b" } } }),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(results.find(({ status }) => status === "rejected")).toMatchObject({
      reason: expect.any(Conflict) as Conflict,
    });
  });

  test("keeps people apart: neither the record nor the jobs hold the signer or a code", async () => {
    const toy = await startToy([
      stage("sign", () => Promise.resolve(waitFor("code", { whose: "signer", poll: () => 60_000, within: "1h" }))),
    ]);
    toy.work();
    const id = await toy.submit({ authentication: { method: "external", type: "biometric", value: "canary-unlock" } });
    await toy.reaches(id, "sign", "waiting");
    await toy.pipeline.giveCode(id, "canary-904417", "api:test");
    expect(await toy.codes.read(id)).toBe("canary-904417");
    expect((await toy.vault.read(id))?.unlock).toBe("canary-unlock");
    const all = await toy.redis.keys(`${toy.keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    expect(all.length).toBeGreaterThan(5);
    const dumps = await Promise.all(all.map((key) => toy.redis.dumpBuffer(key)));
    const everything = Buffer.concat(dumps.map((dump) => dump ?? Buffer.alloc(0))).toString("latin1") + all.join();
    for (const canary of ["canary-904417", "canary-unlock", "ana@example.com", "+34699999999"]) {
      expect(everything).not.toContain(canary);
    }
    await toy.vault.erase(id);
    expect(await toy.vault.read(id)).toBeUndefined();
  });

  test("is listed newest first, page by page, without gaps or repeats", async () => {
    let at = 1_700_000_000_000;
    const toy = await startToy([stage("one", nothing)], { now: () => at });
    const ids: string[] = [];
    for (let i = 0; i < 25; i++) {
      if (i % 3 === 0) at += 1; // several have the same time
      ids.push(await toy.submit({ reference: i % 2 ? "odd" : "even" }));
    }
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await toy.pipeline.list({ limit: 4, ...(cursor && { cursor }) });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
    } while (cursor);
    expect([...seen].sort()).toEqual([...ids].sort());
    const times = await Promise.all(seen.map(async (id) => (await toy.store.get(id)).createdMs));
    expect(times).toEqual([...times].sort((a, b) => b - a));
    expect((await toy.pipeline.list({ limit: 50, reference: "odd" })).items).toHaveLength(12);
    expect((await toy.pipeline.list({ limit: 50, state: "done" })).items).toHaveLength(0);
    await expect(toy.pipeline.list({ limit: 5, cursor: "nonsense" })).rejects.toMatchObject({ code: "bad-cursor" });
    await expect(toy.pipeline.list({ limit: 5, state: "odd" })).rejects.toMatchObject({ code: "bad-state" });
  });
});

test("a record that was handed on and is older than a call begun by somebody else makes no second call", async () => {
  let paid = 0;
  let asked = 0;
  const pay: AnyStage["run"] = async ({ effect }) => {
    await effect("pay", async () => void (paid += 1));
    return { receipt: "of this one" };
  };
  const afterSilence = async () => {
    asked += 1;
    return { receipt: "of the one that was silent" };
  };
  const toy = await startToy([stage("pay", pay, { afterSilence })]);
  const id = await toy.submit(); // kept by this process, for the job that it has added
  // Another process takes it up first, begins the call, and is killed.
  const held = await toy.store.read(id);
  const intent = { effect: "pay", atMs: Date.now(), firstMs: Date.now(), tries: 1 };
  if (held)
    await toy.store.write(held, { event: "intend", patch: { intent, facts: { begun: { pay: 1 } } }, note: "pay" });
  toy.work();
  await toy.reaches(id, "pay", "done");
  expect([paid, asked]).toEqual([0, 1]);
  expect((await toy.store.get(id)).facts["receipt"]).toBe("of the one that was silent");
});
