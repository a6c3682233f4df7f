import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { AnyStage } from "../../src/core/stage.ts";
import { otp } from "../../src/workers/otp.ts";
import { sign } from "../../src/workers/sign.ts";
import { upload } from "../../src/workers/upload.ts";
import { startToy } from "../helpers/toy.ts";

type Toy = Awaited<ReturnType<typeof startToy>>;
const open = () => Promise.withResolvers<undefined>();

const create: AnyStage = {
  ...plain("create"),
  gives: z.object({ requestPk: z.number() }),
  run: () => Promise.resolve({ requestPk: 388_141 }),
};

function plain(name: string): AnyStage {
  return {
    name,
    title: name,
    needs: z.object({}),
    gives: z.object({}),
    attempts: 5,
    backoff: () => 50,
    timeout: "30s",
    concurrency: 5,
    retryFrom: name,
    afterSilence: "repeat",
    run: () => Promise.resolve({}),
  };
}

/** The real stages from upload to sign, over a provider on paper; its first upload answers when it is let go. */
async function startStages(seal?: { check(): Promise<"intact"> }, gate?: Parameters<Toy["work"]>[1]) {
  const held = open();
  const at = { uploads: 0, otps: 0, documents: [] as string[], signed: [] as string[][], shiftMs: 0 };
  const provider = {
    async upload() {
      at.uploads += 1;
      const uid = `u${at.uploads}`;
      if (at.uploads === 1) await held.promise;
      at.documents.push(uid);
      return [uid];
    },
    deleteDocuments: () => Promise.resolve(void (at.documents = [])),
    otp: () => Promise.resolve(void (at.otps += 1)),
    getRequest: () => Promise.resolve({ status: "ENROLLREADY" }),
    sign: () => Promise.resolve(void at.signed.push(at.documents)).then(() => "signed"),
  };
  const policy = { settleMs: 200, signSettleMs: 200, signWithinMs: 3_600_000 };
  const quick = (stage: object) => ({ ...stage, backoff: () => 100 }) as unknown as AnyStage<object>;
  const toy = await startToy([create, quick(upload), quick(otp), quick(sign), plain("last")], {
    now: () => Date.now() + at.shiftMs,
    tools: ({ codes, vault }) => ({
      provider,
      policy,
      codes,
      vault,
      seal,
      documents: { open: () => [] },
      space: { need: () => Promise.resolve(), book: () => Promise.resolve({ release() {} }) },
    }),
  });
  toy.work(undefined, gate);
  const id = await toy.submit();
  // The lock of the first lapses while it uploads, as it does when its process is frozen.
  const lock = `${toy.keys.queues}:upload:${id}:lock`;
  await expect.poll(() => at.uploads, { timeout: 10_000 }).toBe(1);
  const token = await toy.redis.get(lock);
  await expect
    .poll(
      async () => {
        if ((await toy.redis.get(lock)) === token) await toy.redis.set(lock, "nobody", "PX", 1);
        return at.uploads;
      },
      { timeout: 20_000, interval: 20 },
    )
    .toBe(2);
  const waitsFor = async () => (await toy.store.get(id)).waiting?.for;
  return { toy, id, at, letGo: () => held.resolve(undefined), waitsFor };
}

describe("an upload that comes through after its worker was taken over from", () => {
  test("before the code is out: everything is deleted and sent again, and one code is sent", async () => {
    const [looking, go] = [open(), open()];
    const check = async () => {
      looking.resolve(undefined);
      await go.promise;
      return "intact" as const;
    };
    const { toy, id, at, letGo, waitsFor } = await startStages({ check });
    await looking.promise; // the code is about to be sent
    letGo();
    await expect.poll(async () => (await toy.store.history(id)).map(({ note }) => note)).toContain("late-upload");
    expect(at.documents).toHaveLength(2);
    go.resolve(undefined);
    await expect.poll(waitsFor, { timeout: 20_000 }).toBe("code");
    expect(at).toMatchObject({ uploads: 3, otps: 1, documents: ["u3"] });
  });

  test("is not told to a Redis that came back and may lack what it would be added to", async () => {
    let isOpen = true;
    const compared = open();
    const gate = { epoch: () => 0, isOpen: () => isOpen, whenOpen: () => compared.promise.then(() => isOpen) };
    const { toy, id, letGo, waitsFor } = await startStages(undefined, gate);
    await expect.poll(waitsFor, { timeout: 20_000 }).toBe("code");
    isOpen = false;
    letGo();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await toy.store.get(id)).facts["begun"]).not.toHaveProperty("lateUpload");
    isOpen = true;
    compared.resolve(undefined);
    await expect.poll(waitsFor, { timeout: 20_000 }).toBe("a new OTP");
  });

  test("after the code is out: nothing is signed with it, and a new one comes with the documents sent again", async () => {
    const { toy, id, at, letGo, waitsFor } = await startStages();
    await expect.poll(waitsFor, { timeout: 20_000 }).toBe("code");
    letGo();
    await expect.poll(waitsFor, { timeout: 20_000 }).toBe("a new OTP");
    expect((await toy.store.get(id)).waiting?.detail).toContain("documents are sent again");
    await expect(toy.pipeline.giveCode(id, "123456", "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
    expect(at.otps).toBe(1);
    at.shiftMs = 61_000;
    await toy.pipeline.resendCode(id, "api:test");
    await expect.poll(waitsFor, { timeout: 20_000 }).toBe("code");
    await toy.pipeline.giveCode(id, "123456", "api:test");
    await toy.reaches(id, "last", "done");
    expect(at).toMatchObject({ uploads: 3, otps: 2, signed: [["u3"]] });
  });
});

test.each([
  ["of which nothing is known", {}, undefined, ["upload"]],
  ["after one that was begun", { upload: 1 }, undefined, ["delete", "upload"]],
  ["after one that was only told of late", { lateUpload: 1 }, undefined, ["delete", "upload"]],
  ["after one that only the intent tells of", {}, "upload", ["delete", "upload"]],
])("an upload %s: is anything deleted first?", async (_what, begun, effect, expected) => {
  const calls: string[] = [];
  const run = {
    request: { intent: effect && { effect } },
    facts: { requestPk: 1, documents: [{ id: "d", name: "a.pdf", sizeBytes: 1, sha256: "" }], begun },
    provider: {
      deleteDocuments: () => Promise.resolve(void calls.push("delete")),
      upload: () => Promise.resolve([`uid-${calls.push("upload")}`]),
    },
    effect: (_name: string, call: () => Promise<unknown>) => call(),
    isOurs: () => true,
    policy: { settleMs: 0 },
    now: Date.now,
  };
  await upload.run(run as unknown as Parameters<typeof upload.run>[0]);
  expect(calls).toEqual(expected);
});
