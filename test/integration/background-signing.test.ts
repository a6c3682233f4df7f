import { describe, expect, test, vi } from "vitest";
import { RetryableError } from "../../src/core/errors.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import type { Submission } from "../../src/queues/pipeline-types.ts";
import { otp } from "../../src/workers/otp.ts";
import { sign } from "../../src/workers/sign.ts";
import { startToy, toyStage } from "../helpers/toy.ts";

const GRACE_MS = 1_800_000;
const patience = { timeout: 15_000, interval: 10 };
const nothing = () => Promise.resolve({});
const quick = (one: object) => ({ ...one, backoff: () => 50 }) as unknown as AnyStage<object>;

/** A request that the provider signs behind its answer, with a clock that can be put forward. */
async function startSigning(submission: Partial<Submission> = {}) {
  let offsetMs = 0;
  const now = () => Date.now() + offsetMs;
  const facts = {
    requestPk: 388_141,
    useasync: true,
    uploaded: [{ id: "1", name: "a.pdf", sizeBytes: 1, sha256: "0".repeat(64), uid: "u1" }],
  };
  const provider = {
    status: "ENROLLREADY",
    getRequest: vi.fn(() => Promise.resolve({ status: provider.status })),
    sign: vi.fn<(...call: unknown[]) => Promise<string>>(() => Promise.resolve("accepted")),
    otp: vi.fn(nothing),
  };
  const policy = {
    signSettleMs: 60_000,
    asyncGraceMs: GRACE_MS,
    signWithinMs: 7 * 86_400_000,
    longestPauseMs: () => 900_000,
  };
  const space = { need: nothing, book: () => Promise.resolve({ release() {} }) };
  const stages = [toyStage("create", () => Promise.resolve(facts)), quick(otp), quick(sign), toyStage("last", nothing)];
  const toy = await startToy(stages, { now, tools: ({ codes, vault }) => ({ provider, policy, codes, vault, space }) });
  toy.work();
  const id = await toy.submit(submission);
  const isAt = async () => {
    const { phase, waiting, failure } = await toy.store.get(id);
    return waiting?.for ?? failure?.code ?? phase;
  };
  return {
    toy,
    id,
    provider,
    reaches: (where: string) => expect.poll(isAt, patience).toBe(where),
    /** Puts the clock forward, and has the request looked at, as its own wait would. */
    async pass(ms: number): Promise<void> {
      offsetMs += ms;
      await toy.pipeline.nudge(388_141);
      await toy.queues.promote("sign", id);
    },
  };
}

/** The same, with a code that the provider has taken, and has yet to sign with. */
async function startAccepted() {
  const signing = await startSigning();
  await signing.reaches("code");
  await signing.toy.pipeline.giveCode(signing.id, "123456", "api:test");
  await signing.reaches("certificate");
  return signing;
}

describe("a signing in the background", () => {
  test("is over when the provider says so, and until then the request waits for its certificate", async () => {
    const { toy, id, provider, reaches, pass } = await startAccepted();
    await expect(toy.pipeline.cancel(id, "api:test")).rejects.toMatchObject({ code: "too-late" });
    provider.status = "ISSUED";
    await pass(1_000);
    await reaches("done");
    expect(provider.sign).toHaveBeenCalledTimes(1);
  });

  test("of which nothing is heard is asked after, and only past its grace a new code is asked for", async () => {
    const { toy, id, provider, reaches, pass } = await startAccepted();
    const looks = provider.getRequest.mock.calls.length;
    await pass(GRACE_MS - 60_000);
    await expect.poll(() => provider.getRequest.mock.calls.length, patience).toBeGreaterThan(looks);
    await reaches("certificate");
    await pass(120_000);
    await reaches("a new OTP");
    expect((await toy.store.get(id)).waiting?.detail).toMatch(/has not signed/);
    expect(await toy.codes.read(id)).toBeUndefined();
    expect(provider.sign).toHaveBeenCalledTimes(1);

    await toy.pipeline.resendCode(id, "api:test");
    await reaches("code");
    expect(provider.otp).toHaveBeenCalledTimes(2);
    await toy.pipeline.giveCode(id, "654321", "api:test");
    await reaches("certificate");
    expect(provider.sign).toHaveBeenCalledTimes(2);
    provider.status = "ISSUED";
    await pass(1_000);
    await reaches("done");
  });

  test("that worked after all, when a new code was asked for already, is not made a second time", async () => {
    const { toy, id, provider, reaches, pass } = await startAccepted();
    await pass(GRACE_MS + 60_000);
    await reaches("a new OTP");
    await toy.pipeline.resendCode(id, "api:test");
    await reaches("code");
    provider.status = "ISSUED";
    await toy.pipeline.giveCode(id, "654321", "api:test");
    await reaches("done");
    expect(provider.sign).toHaveBeenCalledTimes(1);
  });

  test("that worked after all, while nobody has asked for a new code, is found", async () => {
    const { provider, reaches, pass } = await startAccepted();
    await pass(GRACE_MS + 60_000);
    await reaches("a new OTP");
    provider.status = "ISSUED";
    await pass(900_000);
    await reaches("done");
    expect(provider.sign).toHaveBeenCalledTimes(1);
  });

  test("whose acceptance was not heard has the same grace, and is not begun again within it", async () => {
    const { toy, id, provider, reaches, pass } = await startSigning();
    const unheard = () => Promise.reject(new RetryableError("no answer", { code: "no-answer", effect: "unknown" }));
    provider.sign.mockImplementationOnce(unheard);
    await reaches("code");
    await toy.pipeline.giveCode(id, "123456", "api:test");
    await reaches("outcome of the signing");
    await pass(GRACE_MS - 60_000);
    await reaches("outcome of the signing");
    expect(provider.sign).toHaveBeenCalledTimes(1);
    provider.status = "ISSUED";
    await pass(1_000);
    await reaches("done");
    expect(provider.sign).toHaveBeenCalledTimes(1);
  });

  test("that the provider ends by cancelling is a failure that says so", async () => {
    const { toy, id, provider, reaches, pass } = await startAccepted();
    provider.status = "CANCELLED";
    await pass(1_000);
    await reaches("async-signing-failed");
    await expect.poll(async () => (await toy.store.get(id)).phase, patience).toBe("failed");
  });

  test("with an authentication of ours is not begun again by itself: past its grace it is a failure", async () => {
    const { toy, id, provider, reaches, pass } = await startSigning({
      authentication: { method: "external", type: "biometric", value: "operation-1" },
    });
    await reaches("certificate");
    await pass(GRACE_MS + 60_000);
    await reaches("async-signing-failed");
    await expect.poll(async () => (await toy.store.get(id)).phase, patience).toBe("failed");
    expect(provider.sign).toHaveBeenCalledTimes(1);
  });
});

describe("the signer's authentication", () => {
  test("by a code goes the way that the manifest names", async () => {
    const { provider, reaches } = await startSigning({
      authentication: { method: "sms", delivery_method: "whatsapp" },
    });
    await reaches("code");
    expect(provider.otp).toHaveBeenCalledWith(388_141, expect.objectContaining({ deliveryMethod: "whatsapp" }));
  });

  test("by an operation elsewhere brings its secret beside it, which is in the vault alone", async () => {
    const { toy, id, provider, reaches } = await startSigning({
      authentication: { method: "external", type: "biometric", value: "operation-1", secret: "canary-secret-7" },
    });
    await reaches("certificate");
    expect(provider.sign).toHaveBeenCalledWith(
      388_141,
      { ext_unlock_type: "biometric", ext_unlock_value: "operation-1", secret: "canary-secret-7" },
      expect.anything(),
    );
    expect(provider.otp).not.toHaveBeenCalled();
    expect(JSON.stringify([await toy.store.get(id), toy.journal])).not.toContain("canary-secret-7");
  });
});
