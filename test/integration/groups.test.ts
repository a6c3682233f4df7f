import { describe, expect, test, vi } from "vitest";
import { memberIds } from "../../src/core/group.ts";
import type { SignRequest } from "../../src/core/request.ts";
import { startToy, submission, newId, toyStage } from "../helpers/toy.ts";

const patience = { timeout: 10_000, interval: 20 };

function documentsOf(id: string, from: number, to: number) {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    const n = from + i;
    return { id: `${id}/${n}.pdf`, name: `${n}.pdf`, sizeBytes: 10, sha256: String(n).padStart(64, "0") };
  });
}

/** Three requests of 8, 8 and 7 documents. */
function handedIn(id = newId()) {
  return {
    ...submission(id),
    id,
    reference: "loan-9",
    tenant: "second",
    callback_url: "https://crm.example/hook?canary-token",
    documents: documentsOf(id, 1, 8),
    rest: [documentsOf(id, 9, 16), documentsOf(id, 17, 23)],
  };
}

const numbersOf = ({ facts }: SignRequest) => (facts["documents"] as { name: string }[]).map(({ name }) => name);

describe("a group", () => {
  test("is there as a whole when it is accepted: each request has its documents, its place and what was said of all", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    await toy.submit(whole);
    const ids = memberIds({ id: whole.id, of: 3 });
    const requests = await Promise.all(ids.map((id) => toy.store.get(id)));
    expect(requests.map(({ facts }) => facts["group"])).toEqual([1, 2, 3].map((n) => ({ id: whole.id, n, of: 3 })));
    expect(requests.flatMap(numbersOf)).toEqual(documentsOf("", 1, 23).map(({ name }) => name));
    for (const { id, reference, facts } of requests) {
      expect({ reference, tenant: facts["tenant"] }).toEqual({ reference: "loan-9", tenant: "second" });
      expect((facts["documents"] as { id: string }[]).map((one) => one.id.split("/")[0])).toEqual(
        numbersOf({ facts } as SignRequest).map(() => id),
      );
      expect((await toy.vault.read(id))?.signer).toEqual(whole.signer);
      expect((await toy.pipeline.history(id))[0]?.by).toBe(whole.by);
    }
    // Encrypted for each request: the address of one is no use to another.
    expect(new Set(requests.map(({ facts }) => facts["callbackUrl"])).size).toBe(3);
    const durable = toy.journal.filter(({ note, isDurable }) => note === "submitted" && isDurable);
    expect(durable.map(({ request }) => request).sort()).toEqual([...ids].sort());
  });

  test("is listed by its id, newest first, and by no other's", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    await toy.submit(whole);
    const alone = await toy.submit({ reference: "loan-9" });
    const ids = memberIds({ id: whole.id, of: 3 });
    const list = async (more: object) => (await toy.pipeline.list({ limit: 10, ...more })).items.map(({ id }) => id);
    expect((await list({ group: whole.id })).sort()).toEqual([...ids].sort());
    expect(await list({ group: whole.id, tenant: "third" })).toEqual([]);
    expect(await list({ group: ids[1] })).toEqual([]);
    expect(await list({ group: alone })).toEqual([]);
    const page = await toy.pipeline.list({ group: whole.id, limit: 2 });
    const next = await toy.pipeline.list({ group: whole.id, limit: 2, cursor: page.next_cursor ?? "" });
    expect([...page.items, ...next.items].map(({ id }) => id).sort()).toEqual([...ids].sort());
    expect(next.next_cursor).toBeUndefined();
  });

  test("whose process died after its first record is made whole by the worker, although nobody asks again", async () => {
    let nowMs = Date.now();
    const begun = new Map<string, number>();
    const ids: string[] = [];
    const toy = await startToy(
      [
        toyStage("create", async ({ requestId }) => {
          begun.set(requestId, (await toy.store.readMany(ids)).length);
          return {};
        }),
        toyStage("cleanup"),
      ],
      { now: () => nowMs },
    );
    const whole = handedIn();
    ids.push(...memberIds({ id: whole.id, of: 3 }));
    vi.spyOn(toy.groups, "complete").mockReturnValueOnce(new Promise(() => {}));
    void toy.submit(whole);
    await expect.poll(async () => (await toy.store.read(whole.id)) !== undefined, patience).toBe(true);
    expect(await toy.store.read(ids[1] ?? "")).toBeUndefined();

    toy.work();
    nowMs += 120_000;
    expect(await toy.reconciler.sweep()).toBe(1);
    const phases = async () => (await toy.store.readMany(ids)).map(({ phase }) => phase);
    await expect.poll(phases, patience).toEqual(["done", "done", "done"]);
    // All were there before the first of them went on.
    expect(begun.get(whole.id)).toBe(3);
    expect((await toy.store.get(whole.id)).facts["rest"]).toBeUndefined();
  });

  test("that stopped half-way is finished, and what is there of it is left as it is", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    const [, second = "", third = ""] = memberIds({ id: whole.id, of: 3 });
    const keep = toy.vault.keep.bind(toy.vault);
    vi.spyOn(toy.vault, "keep").mockImplementation(async (id, person) => {
      if (id === third) throw new Error("the connection is lost");
      await keep(id, person);
    });
    await toy.submit(whole);
    const before = await toy.store.get(second);
    // Corrected meanwhile: it must not become again what it was when it was handed in.
    await toy.vault.replaceSigner(second, { ...whole.signer, email: "corrected@example.com" });
    expect(await toy.store.read(third)).toBeUndefined();

    vi.mocked(toy.vault.keep).mockRestore();
    await Promise.all([toy.pipeline.completeGroup(whole.id), toy.pipeline.completeGroup(whole.id)]);
    expect(numbersOf(await toy.store.get(third))).toEqual(documentsOf("", 17, 23).map(({ name }) => name));
    expect(await toy.store.get(second)).toEqual(before);
    expect((await toy.vault.read(second))?.signer.email).toBe("corrected@example.com");
    await toy.pipeline.completeGroup(second);
  });

  test("is not made from a Redis that has gone away meanwhile: what it does not know may be signed", async () => {
    let epoch = 0;
    const toy = await startToy([toyStage("create"), toyStage("cleanup")], { gate: { epoch: () => epoch } });
    const whole = handedIn();
    const [, second = "", third = ""] = memberIds({ id: whole.id, of: 3 });
    const keep = toy.vault.keep.bind(toy.vault);
    vi.spyOn(toy.vault, "keep").mockImplementation(async (id, person) => {
      await keep(id, person);
      if (id === second) epoch += 1;
    });
    await toy.submit(whole);
    const there = async () => (await toy.store.readMany([second, third])).map(({ id }) => id);
    expect(await there()).toEqual([second]);
    expect(await toy.vault.read(third)).toBeUndefined();
    await toy.pipeline.completeGroup(whole.id);
    expect(await there()).toEqual([second, third]);
  });

  test("is made whole before its first request ends, and cancelling that one asks nothing of the others", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    const ids = memberIds({ id: whole.id, of: 3 });
    vi.spyOn(toy.groups, "complete").mockResolvedValueOnce();
    await toy.submit(whole);
    await toy.pipeline.cancel(whole.id, "api:test");
    expect(await toy.store.read(ids[2] ?? "")).toBeUndefined();
    toy.work();
    const phases = async () => (await toy.store.readMany(ids)).map(({ phase }) => phase);
    await expect.poll(phases, patience).toEqual(["cancelled", "done", "done"]);
  });

  test("that cannot be made whole any more is told: its first request fails, and says why", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    vi.spyOn(toy.groups, "complete").mockResolvedValueOnce();
    await toy.submit(whole);
    await toy.vault.erase(whole.id);
    toy.work();
    const failure = async () => {
      const { phase, failure } = await toy.store.get(whole.id);
      return [phase, failure?.code];
    };
    await expect.poll(failure, patience).toEqual(["failed", "signer-erased"]);
  });

  test("tells in the history of each of its requests when the place of the signature was not checked", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    await toy.submit({ ...whole, isPlaceUnchecked: true });
    for (const id of memberIds({ id: whole.id, of: 3 })) {
      expect((await toy.pipeline.history(id))[0]?.note).toBe("submitted; place of the signature not checked");
    }
  });

  test("has none of its documents taken a second time out of the inbox, however much of it is there", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = { ...handedIn(), source: "inbox" as const, refuseDuplicate: true };
    const [first = "", second = "", third = ""] = memberIds({ id: whole.id, of: 3 });
    const again = async (n: number) => {
      const id = newId();
      const one = { ...whole, id, documents: documentsOf(id, n, n), rest: [] };
      const submitted = await toy.pipeline.submit(one);
      return submitted.outcome === "duplicate" ? submitted.of.id : submitted.outcome;
    };
    const add = toy.store.add.bind(toy.store);
    vi.spyOn(toy.store, "add").mockImplementation(async (request, ...more) => {
      if (request.id === third) throw new Error("the connection is lost");
      return await add(request, ...more);
    });
    await toy.pipeline.submit(whole);
    expect([await again(1), await again(9), await again(17)]).toEqual([first, second, first]);
    vi.mocked(toy.store.add).mockRestore();
    await toy.pipeline.completeGroup(whole.id);
    expect([await again(1), await again(16), await again(23)]).toEqual([first, second, third]);
  });

  test("is asked which of its documents are signed for a signer, also when two of them are the same", async () => {
    const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
    const whole = handedIn();
    const [first = "", second = "", third = ""] = memberIds({ id: whole.id, of: 3 });
    const twin = { ...documentsOf(whole.id, 1, 1)[0], id: `${whole.id}/24.pdf`, name: "24.pdf" };
    const rest = whole.rest.map((documents, i) =>
      i === 1 ? [...documents, twin as (typeof documents)[number]] : documents,
    );
    await toy.submit({ ...whole, rest });
    await toy.pipeline.cancel(third, "api:test");
    toy.work();
    const phases = async () => (await toy.store.readMany([first, second, third])).map(({ phase }) => phase);
    await expect.poll(phases, patience).toEqual(["done", "done", "cancelled"]);
    const documents = [1, 9, 17].flatMap((n) => documentsOf(newId(), n, n)).concat(twin as never);
    const asked = async (signer = whole.signer) =>
      (await toy.pipeline.signedBefore({ ...whole, signer, documents })).map((request) => request?.id);
    expect(await asked()).toEqual([first, second, undefined, first]);
    expect(await asked({ ...whole.signer, email: "eva@example.com" })).toEqual(documents.map(() => undefined));
  });
});
