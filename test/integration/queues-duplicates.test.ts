import { expect, test } from "vitest";
import { z } from "zod";
import type { SignRequest } from "../../src/core/request.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import type { Submission } from "../../src/queues/pipeline-types.ts";
import { newId, startToy, submission, waitFor } from "../helpers/toy.ts";

/** A pipeline in which nothing happens: what it holds is moved by the tests. */
const IDLE: AnyStage<object> = {
  name: "idle",
  title: "Wait",
  needs: z.object({}),
  gives: z.object({}),
  attempts: 1,
  backoff: () => 0,
  timeout: "5s",
  concurrency: 1,
  retryFrom: "idle",
  afterSilence: "repeat",
  run: async () => waitFor("nothing", { whose: "operator", within: "1h" }),
};

const document = (id: string, n: number) => ({
  id: `${id}/${n}.pdf`,
  name: `${n}.pdf`,
  sizeBytes: 10,
  sha256: `${n}`.repeat(64),
});

/** What the inbox hands in: the same documents each time, under a new id. */
function dropped(numbers = [1], more: Partial<Submission> = {}): Submission {
  const id = newId();
  const documents = numbers.map((n) => document(id, n));
  return { ...submission(id), source: "inbox", by: "inbox", documents, refuseDuplicate: true, ...more };
}

type Toy = Awaited<ReturnType<typeof startToy>>;

async function fail(toy: Toy, id: string, facts: SignRequest["facts"] = {}) {
  const failure = { code: "x", message: "x", stage: "idle" };
  await toy.store.change(id, () => ({ event: "abandon", patch: { failure, facts } }));
}

test("of one document that is handed in many times at once, one is accepted and the others name it", async () => {
  const toy = await startToy([IDLE]);
  for (let round = 1; round <= 5; round++) {
    const all = await Promise.all(Array.from({ length: 8 }, () => toy.pipeline.submit(dropped([round]))));
    const accepted = all.filter(({ outcome }) => outcome === "accepted");
    expect(accepted).toHaveLength(1);
    const of = all.flatMap((one) => (one.outcome === "duplicate" ? [one.of.id] : []));
    expect(of).toEqual(Array.from({ length: 7 }, () => accepted[0]?.outcome === "accepted" && accepted[0].request.id));
  }
});

test("two requests that share documents in another order do not both get through, and do not wait for each other", async () => {
  const toy = await startToy([IDLE]);
  const startedMs = Date.now();
  for (let round = 0; round < 5; round++) {
    const numbers = [2 * round, 2 * round + 1];
    const both = [dropped(numbers), dropped(numbers.toReversed())];
    const outcomes = (await Promise.all(both.map((one) => toy.pipeline.submit(one)))).map(({ outcome }) => outcome);
    expect(outcomes.sort()).toEqual(["accepted", "duplicate"]);
  }
  expect(Date.now() - startedMs).toBeLessThan(5_000);
});

test("after a request that failed, one of many new attempts is accepted", async () => {
  const toy = await startToy([IDLE]);
  const first = dropped();
  await toy.pipeline.submit(first);
  await fail(toy, first.id);
  const all = await Promise.all(Array.from({ length: 8 }, () => toy.pipeline.submit(dropped())));
  expect(all.filter(({ outcome }) => outcome === "accepted")).toHaveLength(1);
});

test("a document that was signed is not signed again although its request failed afterwards", async () => {
  const toy = await startToy([IDLE]);
  const first = dropped();
  await toy.pipeline.submit(first);
  await fail(toy, first.id, { signedMs: 1 });
  expect(await toy.pipeline.submit(dropped())).toMatchObject({ outcome: "duplicate", of: { id: first.id } });
});

test("a failed request is replaced once its documents were signed as another one, and not before", async () => {
  const toy = await startToy([IDLE]);
  const first = dropped([1, 2]);
  const isReplaced = () => toy.pipeline.isReplaced(first.id);
  await toy.pipeline.submit(first);
  expect(await isReplaced()).toBe(false);
  await fail(toy, first.id);
  expect(await isReplaced()).toBe(false);
  const [one, other] = [dropped([1]), dropped([2])];
  for (const part of [one, other]) await toy.pipeline.submit(part);
  const done = (id: string) => toy.store.change(id, () => ({ event: "succeed" }));
  await done(one.id);
  expect(await isReplaced()).toBe(false); // the other document is under way
  await done(other.id);
  expect(await isReplaced()).toBe(true);
  await expect(toy.pipeline.retry(first.id, "api:test")).rejects.toMatchObject({ code: "not-possible-now" });
  expect(await toy.pipeline.isReplaced(one.id)).toBe(false);
});

test("a failed request is not replaced by the same document for another signer", async () => {
  const toy = await startToy([IDLE]);
  const [first, second] = [dropped(), dropped([1], { signer: { ...submission("").signer, email: "eva@example.com" } })];
  await toy.pipeline.submit(first);
  await fail(toy, first.id);
  await toy.pipeline.submit(second);
  await toy.store.change(second.id, () => ({ event: "succeed" }));
  expect(await toy.pipeline.isReplaced(first.id)).toBe(false);
});

test("a failed request is not taken up again while its document is under way as another request", async () => {
  const toy = await startToy([IDLE]);
  const [first, second] = [dropped(), dropped()];
  await toy.pipeline.submit(first);
  await fail(toy, first.id);
  expect(await toy.pipeline.submit(second)).toMatchObject({ outcome: "accepted" });
  await expect(toy.pipeline.retry(first.id, "api:test")).rejects.toMatchObject({
    code: "not-possible-now",
    message: expect.stringContaining(`was handed in again: request ${second.id} is queued`),
  });
  await fail(toy, second.id);
  expect(await toy.pipeline.retry(first.id, "api:test")).toMatchObject({ phase: "queued" });
  expect(await toy.pipeline.submit(dropped())).toMatchObject({ outcome: "duplicate", of: { id: first.id } });
});

test("a claim whose process died before its request was written does not bar the document for good", async () => {
  let nowMs = 0;
  const toy = await startToy([IDLE], { now: () => Date.now() + nowMs });
  const lost = dropped();
  await toy.pipeline.submit(lost);
  await toy.redis.del(toy.keys.request(lost.id));
  const [key = ""] = await toy.redis.keys(`${toy.keys.prefix.replaceAll(/[{}]/g, "[$&]")}:seen:*`);
  // As old as a claim is when nobody is at work on it any more.
  await toy.redis.pexpire(key, (await toy.redis.pttl(key)) - 60_000);
  nowMs += 60_000;
  expect(await toy.pipeline.submit(dropped())).toMatchObject({ outcome: "accepted" });
});

test("the API may hand in the same document twice: it has keys of its own against that", async () => {
  const toy = await startToy([IDLE]);
  for (let n = 0; n < 2; n++) {
    const outcome = await toy.pipeline.submit(dropped([1], { source: "api", refuseDuplicate: false }));
    expect(outcome).toMatchObject({ outcome: "accepted" });
  }
});
