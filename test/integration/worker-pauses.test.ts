import { Worker } from "bullmq";
import { describe, expect, test, vi } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { startToy, toyStage } from "../helpers/toy.ts";

const stage = (run: AnyStage["run"], more: Partial<AnyStage<object>> = {}) =>
  toyStage("one", run, { attempts: 2, ...more });

const paused = (pause = {}) => new RetryableError("calls wait", { code: "provider-paused", retryAfterMs: 5, pause });

describe("a pause", () => {
  test("is no attempt of the request's: it may last for ever", async () => {
    let looks = 0;
    const toy = await startToy([
      stage(() => {
        looks += 1;
        if (looks <= 6) throw paused();
        return Promise.resolve({});
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "retrying");
    expect(await toy.store.get(id)).toMatchObject({ attempt: 0, failure: { code: "provider-paused" } });
    await toy.reaches(id, "one", "done");
    expect(looks).toBe(7);
    expect((await toy.store.get(id)).failure).toBeUndefined();
  });

  test("leaves the intent of a call whose outcome is still open", async () => {
    let looks = 0;
    const toy = await startToy([
      stage(
        async ({ effect }) => {
          await effect("knock", () =>
            Promise.reject(new RetryableError("silence", { code: "no-answer", effect: "unknown" })),
          );
          return {};
        },
        {
          attempts: 5,
          afterSilence: async ({ effect }) => {
            looks += 1;
            if (looks === 1) await effect("knock", () => Promise.reject(paused()));
            return { settled: looks };
          },
        },
      ),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "done");
    // Had the pause settled the first knock, there would have been a second look at nothing.
    expect(looks).toBe(2);
    expect((await toy.store.get(id)).facts).toMatchObject({ settled: 2 });
  });

  test("until an operator acts is a wait, with its reason, that no attempt ends", async () => {
    let isMended = false;
    const toy = await startToy([
      stage(() => {
        if (!isMended) throw paused({ until: "accepted RAO credentials" });
        return Promise.resolve({});
      }),
    ]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "waiting");
    const { waiting } = await toy.store.get(id);
    expect(waiting).toMatchObject({ for: "accepted RAO credentials", whose: "operator", detail: "calls wait" });
    expect((waiting?.untilMs ?? 0) - Date.now()).toBeGreaterThan(300 * 86_400_000);
    isMended = true;
    await toy.store.nudge(id);
    await toy.queues.promote("one", id);
    await toy.reaches(id, "one", "done");
  });

  test("that is known beforehand keeps a request back without a write to its record", async () => {
    let heldMs = 150;
    let ran = 0;
    const toy = await startToy(
      [
        stage(() => {
          ran += 1;
          return Promise.resolve({});
        }),
      ],
      { heldMs: () => Promise.resolve(heldMs) },
    );
    const id = await toy.submit();
    toy.work();
    await expect.poll(async () => (await toy.queues.counts())["one"]?.["delayed"], { timeout: 5_000 }).toBe(1);
    expect(ran).toBe(0);
    expect(await toy.store.history(id)).toHaveLength(1);
    heldMs = 0;
    await toy.reaches(id, "one", "done");
    expect(ran).toBe(1);
  });
});

test("what befalls the cleanup does not take the place of why a request ended", async () => {
  let looks = 0;
  const toy = await startToy([
    stage(() => {
      throw new PermanentError("wrong", { code: "invalid-input" });
    }),
    stage(
      () => {
        looks += 1;
        if (looks === 1) throw paused();
        if (looks === 2) throw new RetryableError("away", { code: "no-answer" });
        return Promise.resolve({});
      },
      { name: "last", attempts: 5 },
    ),
  ]);
  toy.work();
  const id = await toy.submit();
  await toy.reaches(id, "last", "failed");
  expect(looks).toBe(3);
  expect((await toy.store.get(id)).failure).toMatchObject({ code: "invalid-input", stage: "one" });
});

describe("a worker that takes no jobs", () => {
  test("is replaced, and the jobs are done", async () => {
    const run = vi.spyOn(Worker.prototype, "run").mockImplementationOnce(() => new Promise(() => {}));
    const toy = await startToy([stage(() => Promise.resolve({}))], { deafMs: 600 });
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "one", "done");
    expect(run).toHaveBeenCalledTimes(2);
    run.mockRestore();
  });

  test("and whose successor takes none either asks for a new process", async () => {
    const run = vi.spyOn(Worker.prototype, "run").mockImplementation(() => new Promise(() => {}));
    const why: string[] = [];
    const toy = await startToy([stage(() => Promise.resolve({}))], { deafMs: 300, giveUp: (said) => why.push(said) });
    toy.work();
    await toy.submit();
    await expect.poll(() => why.length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(why[0]).toContain("one");
    run.mockRestore();
  });

  test("is left alone while it has nothing to do, and while it is at work", async () => {
    const run = vi.spyOn(Worker.prototype, "run");
    let finish = () => {};
    const slow = new Promise<void>((resolve) => (finish = resolve));
    const toy = await startToy([stage(() => slow.then(() => ({})), { concurrency: 1 })], { deafMs: 120 });
    toy.work();
    await new Promise((resolve) => setTimeout(resolve, 400)); // longer than three times deafness
    const first = await toy.submit();
    const second = await toy.submit();
    await toy.reaches(first, "one", "running");
    finish();
    await toy.reaches(second, "one", "done");
    expect(run).toHaveBeenCalledTimes(1);
    run.mockRestore();
  });
});
