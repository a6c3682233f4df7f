import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { RetryableError } from "../../src/core/errors.ts";
import { approve } from "../../src/workers/approve.ts";
import { newId, startToy, submission, toyStage } from "../helpers/toy.ts";

describe("a submission that is refused after the signer was encrypted", () => {
  /** A pipeline whose first writing of a record goes as the test wants. */
  async function startRefusing(refuse: (write: () => Promise<unknown>) => Promise<unknown>) {
    const wrap = (redis: Redis) =>
      new Proxy(redis, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== "function") return value;
          const call = (...args: unknown[]) => value.apply(target, args) as Promise<unknown>;
          return name === "signpipeTransition" ? (...args: unknown[]) => refuse(() => call(...args)) : call;
        },
      });
    const toy = await startToy([toyStage("one")], { wrap });
    const id = newId();
    const submitted = toy.pipeline.submit({ ...submission(id), reference: "loan-2031" });
    const kept = async () => [
      await toy.plain.exists(toy.keys.vault(id)),
      await toy.plain.scard(toy.keys.reference("loan-2031")),
    ];
    return { toy, id, submitted, kept };
  }

  test.each([
    [
      "by Redis",
      () => Promise.reject(Object.assign(new Error("OOM command not allowed"), { name: "ReplyError" })),
      /OOM/,
    ],
    [
      "by the journal",
      async (write: () => Promise<unknown>) => {
        await write();
        throw new RetryableError("The disk is full", { code: "disk-full" });
      },
      /disk/,
    ],
  ] as const)("%s leaves nothing of the signer in Redis", async (_who, refuse, why) => {
    const { toy, id, submitted, kept } = await startRefusing(refuse);
    await expect(submitted).rejects.toThrow(why);
    expect(await kept()).toEqual([0, 0]);
    // Should the request come back from the journal all the same, it has the copy beside its documents.
    await toy.vault.restore(id);
    expect((await toy.vault.read(id))?.signer).toEqual(submission(id).signer);
  });

  test("as far as is known, by a connection that was lost, keeps what a request needs that came to be", async () => {
    const { submitted, kept } = await startRefusing(() => Promise.reject(new Error("Connection is closed.")));
    await expect(submitted).rejects.toThrow(/closed/);
    expect(await kept()).toEqual([1, 1]);
  });
});

describe("of two refusals at once", () => {
  async function startRefusals() {
    const reasons: string[] = [];
    const provider = {
      getRequest: () => Promise.resolve({ status: "VIDEOREVIEW" }),
      refuse: (_pk: number, _rao: object, reason: string) => Promise.resolve(void reasons.push(reason)),
    };
    const facts = { requestPk: 1, videoidPk: 2, providerStatus: "VIDEOREVIEW" };
    const policy = { approval: "manual", longestPauseMs: () => 60_000, approveWithinMs: 3_600_000 };
    const account = () => ({ rao: {} });
    const stages = [toyStage("create", () => Promise.resolve(facts)), approve, toyStage("last")];
    const toy = await startToy(stages, {
      tools: ({ vault }) => ({ provider, account, policy, vault }),
    });
    const id = await toy.submit();
    toy.work(["create"]);
    await toy.reaches(id, "approve", "queued");
    return { toy, id, reasons };
  }

  test("the reason that the provider is told is that of the one that counts, and the other one is not kept", async () => {
    const { toy, id, reasons } = await startRefusals();
    const refuse = (who: string) => toy.pipeline.refuse(id, `The reason of ${who}`, `api:${who}`);
    const answers = await Promise.allSettled(["anna", "bert", "cleo"].map(refuse));
    expect(answers.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected", "rejected"]);
    const { by } = (await toy.store.get(id)).facts["decision"] as { by: string };
    const fields = Object.keys(await toy.redis.hgetall(toy.keys.vault(id)));
    expect(fields.filter((name) => name.startsWith("reason"))).toHaveLength(1);
    // What is beside, for a Redis that is lost, has it too.
    await toy.redis.del(toy.keys.vault(id));
    await toy.vault.restore(id);
    toy.work(["approve", "last"]);
    await toy.reaches(id, "last", "refused");
    expect(reasons).toEqual([`The reason of ${by.slice("api:".length)}`]);
  });

  test("one that comes after an approval leaves no reason behind", async () => {
    const { toy, id } = await startRefusals();
    await toy.pipeline.approve(id, "api:anna");
    const late = toy.pipeline.refuse(id, "Too late", "api:bert");
    await expect(late).rejects.toMatchObject({ code: "already-decided" });
    expect(Object.keys(await toy.redis.hgetall(toy.keys.vault(id))).sort()).toEqual(["key", "person"]);
  });

  test("a refusal that was written down before reasons had names of their own still has its reason", async () => {
    const { toy, id, reasons } = await startRefusals();
    await toy.vault.keepNote(id, "reason", "As it was kept then");
    const decision = { kind: "refuse", by: "api:anna", atMs: 1 };
    await toy.store.change(id, () => ({
      event: "note",
      patch: { facts: { decision } },
      by: "api:anna",
      note: "refused",
      nudge: true,
    }));
    toy.work(["approve", "last"]);
    await toy.reaches(id, "last", "refused");
    expect(reasons).toEqual(["As it was kept then"]);
  });
});
