import { describe, expect, test } from "vitest";
import { z } from "zod";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { noticeOf } from "../../src/core/notice.ts";
import { endAs } from "../../src/core/outcome.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { toNotification } from "../../src/core/notification.ts";
import { type Ending, ENDINGS } from "../../src/core/status.ts";
import { toView } from "../../src/producers/api/view.ts";
import { cleanup } from "../../src/workers/cleanup.ts";
import { startToy, toyStage, waitFor } from "../helpers/toy.ts";

const patience = { timeout: 10_000, interval: 10 };
const broken = () => new PermanentError("The provider does not allow it.", { code: "not-permitted" });

describe("cleanup that gives up", () => {
  /** A request that ends so, and whose cleanup fails until it is mended. */
  async function startBroken(ending: Ending, fail: () => Error = broken) {
    const seen = { isMended: false, begun: 0, attempts: [] as number[] };
    const first = toyStage("one", () => {
      seen.begun += 1;
      if (ending === "failed") return Promise.reject(new PermanentError("It is broken", { code: "broken" }));
      return Promise.resolve(endAs(ending, { code: "reason", message: "There was a reason" }));
    });
    const last = toyStage("last", ({ attempt }) => {
      seen.attempts.push(attempt);
      return seen.isMended ? Promise.resolve({}) : Promise.reject(fail());
    });
    const toy = await startToy([first, last]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "last", ending);
    return { toy, id, seen };
  }

  test.each(ENDINGS)(
    "on a request that is %s is told in its record, counted, and done again by a retry, which keeps the end",
    async (ending) => {
      const { toy, id, seen } = await startBroken(ending);
      const { facts, failure } = await toy.store.get(id);
      expect(facts["cleanupFailed"]).toMatchObject({ code: "not-permitted" });
      expect(failure?.stage).toBe("one");
      expect(noticeOf(await toy.store.get(id))).toMatchObject({
        code: "cleanup-given-up",
        message: expect.stringContaining("The provider does not allow it (not-permitted). Mend that") as string,
      });
      expect((await toy.pipeline.counts()).uncleaned).toBe(1);
      expect((await toy.store.uncleaned(10)).map((one) => one.id)).toEqual([id]);

      seen.isMended = true;
      expect(await toy.pipeline.retry(id, "api:anna")).toMatchObject({ stage: "last", phase: "queued", ending });
      expect((await toy.pipeline.counts()).uncleaned).toBe(0);
      await toy.reaches(id, "last", ending);
      const after = await toy.store.get(id);
      expect([after.failure, after.facts["cleanupFailed"], noticeOf(after)]).toEqual([failure, undefined, undefined]);
      expect(seen.begun).toBe(1);
      const clean = (await toy.store.history(id)).filter(({ event }) => event === "clean");
      expect(clean).toMatchObject([{ by: "api:anna", note: "retry", phase: "queued" }]);

      if (ending === "refused" || ending === "cancelled") {
        await expect(toy.pipeline.retry(id, "api:anna")).rejects.toMatchObject({ code: "not-possible-now" });
      } else {
        await toy.pipeline.retry(id, "api:anna");
        await expect.poll(() => seen.begun, patience).toBe(2);
        await toy.reaches(id, "last", ending);
      }
    },
  );

  test("and gives up once more is told again; its attempts begin anew each time", async () => {
    const { toy, id, seen } = await startBroken("cancelled", () => new RetryableError("away", { code: "unreachable" }));
    expect(seen.attempts).toEqual([0, 1, 2]);
    await toy.pipeline.retry(id, "api:anna");
    await expect.poll(() => seen.attempts, patience).toEqual([0, 1, 2, 0, 1, 2]);
    await toy.reaches(id, "last", "cancelled");
    expect((await toy.store.get(id)).facts["cleanupFailed"]).toMatchObject({ code: "unreachable" });
    expect((await toy.pipeline.counts()).uncleaned).toBe(1);
  });

  test("after a success leaves the request failed, as before, and is in no other list", async () => {
    const toy = await startToy([toyStage("one"), toyStage("last", () => Promise.reject(broken()))]);
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "last", "failed");
    expect((await toy.store.get(id)).failure).toMatchObject({ code: "not-permitted", stage: "last" });
    expect((await toy.pipeline.counts()).uncleaned).toBe(0);
  });

  test("is known again when Redis had lost it and the journal puts it back", async () => {
    const { toy, id } = await startBroken("refused");
    const { request, version } = (await toy.store.read(id)) ?? {};
    await toy.redis.del(toy.keys.request(id), toy.keys.uncleaned);
    if (request) await toy.store.restore(request, undefined, Number(version), []);
    expect((await toy.pipeline.counts()).uncleaned).toBe(1);
  });
});

describe("a request that was to end otherwise and turns out to be signed", () => {
  const uploaded = [{ id: "1", name: "a.pdf", sizeBytes: 1, sha256: "0".repeat(64), uid: "u1" }];
  const signed = [{ id: "1", uid: "u1", name: "a.signed.pdf", sizeBytes: 1, sha256: "1".repeat(64) }];

  /** It waits for its code; `ends` is how its own stage ends it, once it is woken. */
  async function startSigned({ ends = () => Promise.resolve({}), known = true } = {}) {
    const world = { status: "ENROLLREADY", calls: [] as string[], isSpoilt: false, isWoken: false };
    const say = (what: string) => () => Promise.resolve(void world.calls.push(what));
    const provider = {
      getRequest: () => Promise.resolve({ status: world.status }),
      deleteDocument: say("delete"),
      deleteDocuments: say("delete the rest"),
      cancel: say("cancel"),
    };
    const tools = {
      provider,
      results: {
        rehash: () => Promise.resolve(true),
        readEvidence: () => Promise.resolve(undefined),
        writeEvidence: say("evidence"),
      },
      documents: { erase: () => Promise.resolve() },
      policy: { deleteGraceMs: 0 },
    };
    const facts = { requestPk: 388_141, ...(known && { uploaded }) };
    const fetch = toyStage("fetch", async () => {
      await say("fetch")();
      if (world.isSpoilt) throw new PermanentError("It is spoilt.", { code: "signature-invalid" });
      return { signed, fetchedMs: Date.now() };
    });
    const wait = waitFor("code", { whose: "signer", within: "1h", poll: () => 3_600_000 });
    const sign = toyStage("sign", () => (world.isWoken ? ends() : Promise.resolve(wait)), {
      needs: z.object({}),
    });
    const stages = [toyStage("create", () => Promise.resolve(facts)), sign, fetch, cleanup];
    const toy = await startToy(stages, {
      tools: ({ vault, store }) => ({ ...tools, vault, historyOf: store.historyOf }),
    });
    toy.work();
    const id = await toy.submit();
    await toy.reaches(id, "sign", "waiting");
    const wake = async () => {
      world.isWoken = true;
      await toy.store.nudge(id);
      await toy.queues.promote("sign", id);
    };
    return { toy, id, world, provider, wake };
  }

  const WAYS: Record<Ending, () => ReturnType<AnyStage["run"]>> = {
    refused: () => Promise.resolve(endAs("refused", { code: "refused", message: "It was refused by anna." })),
    cancelled: () => Promise.resolve(endAs("cancelled", { code: "cancelled", message: "Cancelled by anna." })),
    expired: () => Promise.resolve(endAs("expired", { code: "code-expired", message: "The code did not come." })),
    failed: () => Promise.reject(new PermanentError("It broke.", { code: "broken" })),
  };

  test.each(ENDINGS)("because it was %s has its documents fetched, is done, and everybody is told", async (ending) => {
    const { toy, id, world, wake } = await startSigned({ ends: WAYS[ending] });
    world.status = "ISSUED";
    await wake();
    await toy.reaches(id, "cleanup", "done");
    expect(world.calls).toEqual(["fetch", "evidence", "delete", "delete the rest", "evidence"]);
    const request = await toy.store.get(id);
    const code = `${ending}-but-signed`;
    expect(request.ending).toBeUndefined();
    const notice = { code, message: expect.stringMatching(/but turned out to be signed: .* are here\.$/) as string };
    expect(toView(request)).toMatchObject({ state: "done", notice });
    expect(toNotification(request)).toMatchObject({ type: "request.done", data: { notice: { code } } });
    const lines = (await toy.store.history(id)).map(({ event, stage, note }) => `${event} ${stage} ${note ?? ""}`);
    expect(lines).toContain(`requeue fetch ${code}`);
    expect(await toy.vault.read(id)).toBeUndefined();
  });

  test("because somebody cancelled it says who, and cannot be cancelled a second time", async () => {
    const { toy, id, world } = await startSigned();
    world.status = "ISSUED";
    await toy.pipeline.cancel(id, "api:clerk");
    await toy.reaches(id, "cleanup", "done");
    expect(noticeOf(await toy.store.get(id))?.message).toContain("It was cancelled (Cancelled by api:clerk), but");
    await expect(toy.pipeline.cancel(id, "api:clerk")).rejects.toMatchObject({ code: "not-possible-now" });
  });

  test("between the look at it and its cancellation is no less signed", async () => {
    const { toy, id, world, provider } = await startSigned();
    provider.cancel = () => {
      world.status = "ISSUED";
      return Promise.reject(new PermanentError("it is ISSUED", { code: "wrong-state" }));
    };
    await toy.pipeline.cancel(id, "api:clerk");
    await toy.reaches(id, "cleanup", "done");
    // Nothing is deleted before its signed documents are safe.
    expect(world.calls).toEqual(["fetch", "evidence", "delete", "delete the rest", "evidence"]);
  });

  test("cannot be signed any more while its documents are deleted: it is cancelled first", async () => {
    const { toy, id, world } = await startSigned();
    await toy.pipeline.cancel(id, "api:clerk");
    await toy.reaches(id, "cleanup", "cancelled");
    expect(world.calls).toEqual(["cancel", "delete the rest"]);
  });

  test("has its documents deleted where it cannot be cancelled, and then that is told", async () => {
    const { toy, id, world, provider } = await startSigned();
    provider.cancel = () => Promise.reject(new PermanentError("There is no such call", { code: "call-unknown" }));
    await toy.pipeline.cancel(id, "api:clerk");
    await toy.reaches(id, "cleanup", "cancelled");
    expect(world.calls).toEqual(["delete the rest"]);
    expect((await toy.store.get(id)).facts["cleanupFailed"]).toMatchObject({ code: "call-unknown" });
  });

  test("while a failed one is kept for its retry, and its documents are deleted, is known as signed", async () => {
    const { toy, id, world, provider, wake } = await startSigned({ ends: WAYS.failed });
    const { deleteDocuments } = provider;
    provider.deleteDocuments = () => {
      world.status = "ISSUED";
      return deleteDocuments();
    };
    await wake();
    await toy.reaches(id, "cleanup", "done");
    expect(world.calls.slice(0, 2)).toEqual(["delete the rest", "fetch"]);
    expect(noticeOf(await toy.store.get(id))?.code).toBe("failed-but-signed");
  });

  test("and whose documents do not verify fails, keeps them at the provider, and is not fetched for ever", async () => {
    const { toy, id, world } = await startSigned();
    Object.assign(world, { status: "ISSUED", isSpoilt: true });
    await toy.pipeline.cancel(id, "api:clerk");
    await toy.reaches(id, "cleanup", "failed");
    expect(world.calls).toEqual(["fetch"]);
    const request = await toy.store.get(id);
    expect(request.failure).toMatchObject({ code: "signature-invalid", stage: "fetch" });
    expect(noticeOf(request)?.message).toMatch(/cancelled .* and its documents are still at the provider\.$/);
    expect(await toy.vault.read(id)).toBeDefined();
    world.isSpoilt = false;
    await toy.pipeline.retry(id, "api:clerk");
    await toy.reaches(id, "cleanup", "done");
    expect(noticeOf(await toy.store.get(id))?.code).toBe("cancelled-but-signed");
  });

  test("with documents that nobody here knows keeps its end, and what happened is told", async () => {
    const { toy, id, world } = await startSigned({ known: false });
    world.status = "ISSUED";
    await toy.pipeline.cancel(id, "api:clerk");
    await toy.reaches(id, "cleanup", "cancelled");
    expect(world.calls).toEqual([]);
    expect(noticeOf(await toy.store.get(id))).toMatchObject({ code: "cancelled-but-signed" });
    expect(await toy.vault.read(id)).toBeUndefined();
  });

  test("is not one that was signed and could not be fetched: that fails, without a notice", async () => {
    const { toy, id, world, wake } = await startSigned({ ends: () => Promise.resolve({ signedMs: 1 }) });
    Object.assign(world, { status: "ISSUED", isSpoilt: true });
    await wake();
    await toy.reaches(id, "cleanup", "failed");
    expect(world.calls).toEqual(["fetch"]);
    expect(noticeOf(await toy.store.get(id))).toBeUndefined();
  });
});
