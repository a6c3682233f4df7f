import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { encodeLine } from "../../src/core/history.ts";
import { newId, startToy, toyStage } from "../helpers/toy.ts";

const stage = (name: string) =>
  toyStage(name, () => Promise.resolve({ [name]: { sha256: randomBytes(32).toString("hex"), name: "a | b\nÅ.pdf" } }));

async function startDone() {
  const toy = await startToy(["one", "two", "three"].map(stage));
  toy.work();
  const id = await toy.submit();
  await toy.reaches(id, "three", "done");
  return { toy, id };
}

type Toy = Awaited<ReturnType<typeof startToy>>;

/** A request that is about to be done, at nobody's hands. */
async function startAlmostDone(): Promise<{ toy: Toy; id: string; finish: () => Promise<unknown> }> {
  const toy = await startToy([stage("one")]);
  const id = await toy.submit();
  const held = await toy.store.read(id);
  if (!held) throw new Error("not there");
  return { toy, id, finish: () => toy.store.write(held, { event: "succeed", patch: { facts: { one: 1 } } }) };
}

test("what is done is packed in Redis, and told as before", async () => {
  const { toy, id } = await startDone();
  const { redis, keys, store } = toy;
  const raw = (await redis.get(keys.request(id))) ?? "";
  expect(raw).toMatch(/^\d+\|three\|done\|0\|\d+\|z1:/);
  expect(raw).not.toContain("sha256");
  expect(await redis.exists(keys.history(id))).toBe(0);
  const request = await store.get(id);
  expect(request).toMatchObject({ id, phase: "done", facts: { three: { name: "a | b\nÅ.pdf" } } });
  expect((await store.readMany([id]))[0]).toEqual(request);
  expect((await store.readHeld([id])).get(id)?.request).toEqual(request);
  expect((await store.begin(id, "three", 1_000))?.request).toEqual(request);
  const told = (await store.history(id)).map(({ event, stage, note }) => [event, stage, note]);
  expect(told).toEqual([
    ["note", "one", "submitted"],
    ["succeed", "two", undefined],
    ["succeed", "three", undefined],
    ["succeed", "three", undefined],
  ]);
  expect(await toy.pipeline.list({ limit: 10 })).toMatchObject({ items: [{ id }] });
});

test("a nudge for what is done leaves it readable", async () => {
  const { toy, id } = await startDone();
  const request = await toy.store.get(id);
  expect(await toy.store.nudge(id)).toMatchObject({ phase: "done" });
  expect(await toy.store.get(id)).toEqual(request);
  expect(await toy.store.history(id)).toHaveLength(4);
});

test("a line that is added while a request is packed is not lost", async () => {
  const { toy, id, finish } = await startAlmostDone();
  const { redis, keys, store } = toy;
  const { lrange } = redis;
  const meanwhile = encodeLine({ atMs: 5, event: "note", stage: "one", phase: "queued", note: "meanwhile" }, 0);
  redis.lrange = async (...args: Parameters<typeof lrange>) => {
    const lines = await lrange.apply(redis, args);
    redis.lrange = lrange;
    await redis.rpush(keys.history(id), meanwhile);
    return lines;
  };
  await expect(finish()).rejects.toThrow("changed meanwhile");
  expect((await store.get(id)).phase).toBe("queued");
  await finish();
  expect((await store.history(id)).map(({ note }) => note)).toEqual(["submitted", "meanwhile", undefined]);
});

test("whoever lost the answer and sends the last write again is told that it was done", async () => {
  const { toy, id, finish } = await startAlmostDone();
  const { redis } = toy;
  const run = (redis as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>)["signpipeTransition"];
  let sent = 0;
  Object.assign(redis, {
    async signpipeTransition(...args: unknown[]) {
      sent += 1;
      await run?.apply(redis, args);
      return await run?.apply(redis, args);
    },
  });
  await finish();
  expect(sent).toBe(1);
  expect(await toy.store.history(id)).toHaveLength(2);
});

test("what is done is restored as it was, with what was known of it", async () => {
  const { toy, id } = await startDone();
  const { redis, keys, store } = toy;
  const [request, history] = [await store.get(id), await store.history(id)];
  await redis.del(keys.request(id), keys.history(id));
  const { mark, ...same } = request;
  const { request: restored } = await store.restore(request, undefined, 9, history.slice(0, 2));
  expect(restored).toMatchObject(same);
  expect(restored.mark).not.toBe(mark);
  expect(await redis.exists(keys.history(id))).toBe(0);
  // The rest of its history turns up when it is in Redis again.
  const held = await store.read(id);
  await store.restore(request, held, 10, history);
  const notes = (await store.history(id)).map(({ event, note }) => note ?? event);
  const twice = Array.from({ length: 2 }, () => "restored from the journal");
  expect(notes.toSorted()).toEqual([...twice, "submitted", "succeed", "succeed", "succeed"].toSorted());
  expect(await redis.exists(keys.history(id))).toBe(0);
});

test("one that the journal knows as not done gets its history back with its list", async () => {
  const { toy, id } = await startDone();
  const held = await toy.store.read(id);
  if (!held) throw new Error("not there");
  await toy.store.restore({ ...held.request, phase: "queued" }, held, 9, []);
  expect((await toy.store.history(id)).map(({ event }) => event)).toEqual([
    "note",
    "succeed",
    "succeed",
    "succeed",
    "note",
  ]);
  expect(await toy.redis.llen(toy.keys.history(id))).toBe(5);
});

test("a record that was done before records were packed is read as it is", async () => {
  const toy = await startToy([stage("one")]);
  const id = newId();
  const rest = { id, workflow: "videoid", source: "api", facts: {}, attempt: 0, createdMs: 5 };
  await toy.redis.set(toy.keys.request(id), `3|one|done|0|9|${JSON.stringify(rest)}`);
  await toy.redis.rpush(toy.keys.history(id), "0|n|one|q|bench|submitted", "4|d|one|done");
  expect(await toy.store.get(id)).toMatchObject({ ...rest, phase: "done", updatedMs: 9 });
  expect((await toy.store.history(id)).map(({ atMs }) => atMs)).toEqual([5, 9]);
});
