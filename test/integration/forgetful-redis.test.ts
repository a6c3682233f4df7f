import { expect, test } from "vitest";
import { newId, startToy, submission, toyStage } from "../helpers/toy.ts";

const codeOf = (act: Promise<unknown>) =>
  act.then(
    () => "fine",
    (error: unknown) => (error as { code?: string }).code,
  );

/** Nothing is worked at: what the outside does is looked at. Redis went away and is not compared with the journal yet when `away` is set. */
async function startHouse() {
  const redis = { away: false, epoch: 0 };
  const toy = await startToy([toyStage("sign"), toyStage("cleanup")], {
    gate: {
      epoch: () => redis.epoch,
      isOpen: () => !redis.away,
      whenOpen: () => Promise.resolve(!redis.away),
    },
  });
  return { toy, redis };
}

test("while Redis may have forgotten something nothing is decided a second time", async () => {
  const { toy, redis } = await startHouse();
  const { pipeline } = toy;
  const id = await toy.submit();
  const before = await pipeline.history(id);
  redis.away = true;
  const doings = [
    () => pipeline.mayTake(),
    () => pipeline.submit(submission(newId())),
    () => pipeline.approve(id, "ana"),
    () => pipeline.refuse(id, "no", "ana"),
    () => pipeline.giveCode(id, "123456", "ana"),
    () => pipeline.resendCode(id, "ana"),
    () => pipeline.cancel(id, "ana"),
    () => pipeline.retry(id, "ana"),
    () => pipeline.completeGroup(id),
  ];
  for (const act of doings) expect(await codeOf(act())).toBe("redis-away");
  expect(await pipeline.history(id)).toEqual(before);
  redis.away = false;
  expect((await pipeline.cancel(id, "ana")).failure?.code).toBe("cancelled");
});

test("what was asked of a Redis that has gone away since is no ground for a new request", async () => {
  const { toy, redis } = await startHouse();
  const { pipeline } = toy;
  const taking = await pipeline.mayTake();
  redis.epoch += 1; // it came back, and all that the journal knows is there again: the caller's key, too, which he did not see
  const id = newId();
  let writes = 0;
  const options = { taking, writes: () => (writes += 1) };
  expect(await codeOf(pipeline.submit(submission(id), options))).toBe("redis-away");
  expect(writes).toBe(0);
  expect(await pipeline.find(id)).toBeUndefined();
  await pipeline.submit(submission(id), { ...options, taking: await pipeline.mayTake() });
  expect(writes).toBe(1);
});
