import { describe, expect, test, vi } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { approve } from "../../src/workers/approve.ts";
import { identify } from "../../src/workers/identify.ts";
import { startToy, toyStage } from "../helpers/toy.ts";

const patience = { timeout: 15_000, interval: 10 };
const nothing = () => Promise.resolve({});
const quick = (one: object) => ({ ...one, backoff: () => 50 }) as unknown as AnyStage<object>;
const PK = 388_141;

/** A request before its approval, at a provider where people of its own act; in two steps, where it says so. */
async function startApproval({ approval, twoSteps }: { approval: "manual" | "auto"; twoSteps: boolean }) {
  const provider = {
    status: "VIDEOREVIEW",
    getRequest: vi.fn(() => Promise.resolve({ status: provider.status, requestPk: PK })),
    approve: vi.fn(async () => {
      if (provider.status === "ENROLLREADY" || (twoSteps && provider.status === "VIDEOREVIEW")) {
        throw new PermanentError("Invalid request status", { code: "wrong-state" });
      }
      provider.status = "ENROLLREADY";
    }),
    refuse: vi.fn(async () => {
      if (provider.status !== "VIDEOREVIEW") throw new PermanentError("Invalid status", { code: "wrong-state" });
      provider.status = "CANCELLED";
    }),
  };
  const minute = 60_000;
  const policy = {
    approval,
    identifyWithinMs: 60 * minute,
    approveWithinMs: 60 * minute,
    settleMs: minute,
    longestPauseMs: () => minute,
  };
  const facts = { requestPk: PK, videoidPk: 211 };
  const stages = [
    toyStage("create", () => Promise.resolve(facts)),
    quick(identify),
    quick(approve),
    toyStage("upload", nothing),
    toyStage("last", nothing),
  ];
  const toy = await startToy(stages, {
    tools: ({ vault }) => ({ provider, vault, account: () => ({ rao: {} }), policy }),
  });
  toy.work(["create", "identify", "approve", "last"]); // the upload stays in its queue
  const id = await toy.submit();
  const isAt = async () => {
    const { stage, waiting, failure } = await toy.store.get(id);
    return waiting?.for ?? failure?.code ?? stage;
  };
  return {
    toy,
    id,
    provider,
    reaches: (where: string) => expect.poll(isAt, patience).toBe(where),
    /** What a webhook does. */
    hear: async (status: string) => {
      provider.status = status;
      await toy.pipeline.nudge(PK);
    },
    approvedBy: async () => (await toy.store.get(id)).facts["approvedBy"],
  };
}

describe("an identification that somebody at the provider validates first", () => {
  test("is approved once it is validated, and what was decided before holds", async () => {
    const { toy, id, provider, reaches, hear, approvedBy } = await startApproval({
      approval: "manual",
      twoSteps: true,
    });
    await reaches("approval");
    await toy.pipeline.approve(id, "api:rao");
    await reaches("validation");
    expect(provider.approve).toHaveBeenCalledTimes(1);
    // Looked at in vain, it is not approved again.
    await hear("VIDEOREVIEW");
    await expect.poll(() => provider.getRequest.mock.calls.length, patience).toBeGreaterThan(4);
    expect(provider.approve).toHaveBeenCalledTimes(1);
    await hear("CREATED");
    await reaches("upload");
    expect(provider.approve).toHaveBeenCalledTimes(2);
    expect(await approvedBy()).toBe("api:rao");
  });

  test("before the officer decides, waits for that decision all the same", async () => {
    const { toy, id, provider, reaches, hear } = await startApproval({ approval: "manual", twoSteps: true });
    await reaches("approval");
    await hear("CREATED");
    await reaches("approval");
    expect(provider.approve).not.toHaveBeenCalled();
    await toy.pipeline.approve(id, "api:rao");
    await reaches("upload");
    expect(provider.approve).toHaveBeenCalledTimes(1);
  });

  test("goes on by itself where approval is by policy", async () => {
    const { provider, reaches, hear, approvedBy } = await startApproval({ approval: "auto", twoSteps: true });
    await reaches("validation");
    await hear("CREATED");
    await reaches("upload");
    expect(provider.approve).toHaveBeenCalledTimes(2);
    expect(await approvedBy()).toBe("policy:auto");
  });

  test("and is approved there with it goes on without an approval of ours", async () => {
    const { provider, reaches, hear, approvedBy } = await startApproval({ approval: "auto", twoSteps: true });
    await reaches("validation");
    await hear("ENROLLREADY");
    await reaches("upload");
    expect(provider.approve).toHaveBeenCalledTimes(1);
    expect(await approvedBy()).toBe("provider");
  });

  test("and is then refused here ends as refused, although the provider takes no refusal any more", async () => {
    const { toy, id, provider, reaches, hear } = await startApproval({ approval: "manual", twoSteps: true });
    await reaches("approval");
    await hear("CREATED");
    await toy.pipeline.refuse(id, "Not the signer", "api:rao");
    await expect.poll(async () => (await toy.store.get(id)).phase, patience).toBe("refused");
    expect(provider.refuse).toHaveBeenCalledTimes(1);
  });

  test("and not in time is expired", async () => {
    const { toy, id, reaches } = await startApproval({ approval: "auto", twoSteps: true });
    await reaches("validation");
    await toy.store.change(id, ({ waiting }) => ({
      event: "note",
      patch: { ...(waiting && { waiting: { ...waiting, sinceMs: 0 } }) },
    }));
    await toy.pipeline.nudge(PK);
    await reaches("validation-expired");
  });
});

test("an approval by an officer of the provider is carried on from, and ours is not asked for any more", async () => {
  const { provider, reaches, hear, approvedBy } = await startApproval({ approval: "manual", twoSteps: false });
  await reaches("approval");
  await hear("ENROLLREADY");
  await reaches("upload");
  expect(provider.approve).not.toHaveBeenCalled();
  expect(await approvedBy()).toBe("provider");
});
