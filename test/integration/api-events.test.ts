import { Redis } from "ioredis";
import { expect, inject, onTestFinished, test } from "vitest";
import { createFeed } from "../../src/queues/feed.ts";
import { createStore } from "../../src/queues/store.ts";
import { createTrail } from "../../src/queues/trail.ts";
import { type ApiHouse, AUTHORIZED, startApiHouse, told, until } from "../helpers/api-house.ts";
import { type Heard, openEvents } from "../helpers/event-stream.ts";
import { startToy, toyStage } from "../helpers/toy.ts";

const THIRD = { name: "third-crm", secret: "canary-third-51", tenant: "third" };
const KEYS = [{ name: "crm", secret: AUTHORIZED.authorization.slice(7) }, THIRD];

type Toy = Awaited<ReturnType<typeof startToy>>;

async function startFollowed(more: Parameters<typeof startApiHouse>[0] = {}) {
  const toy = await startToy([toyStage("create"), toyStage("sign")]);
  const house = await openDoor(toy, more);
  return { toy, ...house };
}

/** An API of a process of its own, as far as Redis can tell. */
async function openDoor(toy: Toy, more: Parameters<typeof startApiHouse>[0] = {}) {
  const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: 1, commandTimeout: 5_000 });
  const journal = createTrail({ append: async () => {} });
  const store = createStore({ redis, keys: toy.keys, orderOf: () => toy.stages, journal });
  const feed = createFeed({ redis, keys: toy.keys, store });
  onTestFinished(() => {
    feed.close();
    redis.disconnect();
  });
  const house: ApiHouse = await startApiHouse({ pipeline: toy.pipeline, feed, keys: KEYS, ...more });
  const address = await house.listen();
  return {
    house,
    address,
    follow: (path: string, headers: Record<string, string> = {}) =>
      openEvents(address + path, { ...AUTHORIZED, ...headers }),
  };
}

const states = (heard: readonly Heard[]) => heard.map(({ event, data }) => `${event} ${String(data["state"])}`);
const start = (toy: Toy, id: string) => toy.store.change(id, () => ({ event: "start" }));
const finish = (toy: Toy, id: string) =>
  toy.store.change(id, () => ({ event: "end", patch: { ending: "cancelled", failure: null } }));

/** To the end, by whoever ends it. */
async function over(toy: Toy, id: string): Promise<void> {
  await finish(toy, id);
  await start(toy, id);
  await toy.store.change(id, () => ({ event: "succeed" }));
}

test("a request is followed from its beginning to its end, and then the stream ends", async () => {
  const { toy, follow } = await startFollowed();
  const id = await toy.submit({ reference: "loan-1" });
  const stream = await follow(`/v1/requests/${id}/events`);
  expect([stream.status, stream.response.headers["content-type"], stream.response.headers["cache-control"]]).toEqual([
    200,
    "text/event-stream; charset=utf-8",
    "no-store",
  ]);
  const [first] = await stream.hears(1);
  expect(first).toMatchObject({
    event: "change",
    data: { event: "note", stage: "create", state: "queued", note: "submitted" },
  });
  await start(toy, id);
  expect(states(await stream.hears(2))).toEqual(["change queued", "change running"]);
  await over(toy, id);
  const all = await stream.ends();
  expect(all.at(-1)).toMatchObject({ event: "end", data: { id, state: "cancelled" } });
  const lines = await toy.pipeline.history(id);
  expect(all.slice(0, -1).map(({ data }) => data["event"])).toEqual(lines.map(({ event }) => event));
  expect(JSON.stringify(all)).not.toContain("canary");
});

test("who lost the connection goes on behind the last message, and is told when nothing more comes", async () => {
  const { toy, follow } = await startFollowed();
  const id = await toy.submit();
  await start(toy, id);
  const first = await follow(`/v1/requests/${id}/events`);
  const [one, two] = await first.hears(2);
  first.close();
  await over(toy, id);
  const second = await (await follow(`/v1/requests/${id}/events`, { "last-event-id": String(one?.id) })).ends();
  expect(second[0]).toEqual(two);
  const last = second.filter(({ event }) => event === "change").at(-1);
  // A browser stops to come again with this answer.
  const third = await follow(`/v1/requests/${id}/events`, { "last-event-id": String(last?.id) });
  expect([third.status, third.text()]).toEqual([204, ""]);
});

test("a history that has other numbers since is told from that time on, so that nothing is missed", async () => {
  const { toy, follow } = await startFollowed();
  const id = await toy.submit();
  await start(toy, id);
  const [, two] = await (await follow(`/v1/requests/${id}/events`)).hears(2);
  // A long history is shortened at its beginning.
  await toy.plain.lpop(toy.keys.history(id));
  await over(toy, id);
  const heard = await (await follow(`/v1/requests/${id}/events`, { "last-event-id": String(two?.id) })).ends();
  const events = (await toy.pipeline.history(id)).map(({ event }) => event);
  expect(heard.slice(0, -1).map(({ data }) => data["event"])).toEqual(events);
});

test("all requests are followed at once, filtered by state, reference, tenant and group", async () => {
  const { toy, follow } = await startFollowed();
  const all = await follow("/v1/events");
  const running = await follow("/v1/events?state=running");
  const loan = await follow("/v1/events?reference=loan-2");
  const third = await follow("/v1/events", { authorization: `Bearer ${THIRD.secret}` });
  const one = await toy.submit({ reference: "loan-1" });
  const two = await toy.submit({ reference: "loan-2", tenant: "third" });
  await start(toy, one);
  await start(toy, two);
  const heard = await all.hears(4);
  expect(heard.map(({ data }) => [data["id"], data["state"], data["reference"]])).toEqual([
    [one, "queued", "loan-1"],
    [two, "queued", "loan-2"],
    [one, "running", "loan-1"],
    [two, "running", "loan-2"],
  ]);
  const ids = heard.map(({ id = "" }) => id.split("-").map(Number));
  expect(ids).toEqual(ids.toSorted(([a = 0, b = 0], [c = 0, d = 0]) => a - c || b - d));
  expect((await running.hears(2)).map(({ data }) => data["id"])).toEqual([one, two]);
  for (const stream of [loan, third]) expect((await stream.hears(2)).map(({ data }) => data["id"])).toEqual([two, two]);
  expect([all, running, loan, third].map(({ heard: now }) => now().length)).toEqual([4, 2, 2, 2]);
});

test("what was missed is told first, and what is no longer known is said to be a gap", async () => {
  const { toy, follow } = await startFollowed();
  const first = await follow("/v1/events");
  const one = await toy.submit();
  const [seen] = await first.hears(1);
  first.close();
  for (let i = 0; i < 450; i++) await toy.store.change(one, () => ({ event: "note", note: `n${i}` }));
  const second = await follow("/v1/events", { "last-event-id": String(seen?.id) });
  await until(
    () => second.heard().length,
    (count) => count === 450,
    8_000,
  );
  await toy.store.change(one, () => ({ event: "note", note: "live" }));
  expect((await second.hears(451)).map(({ event }) => event)).not.toContain("gap");
  expect(new Set(second.heard().map(({ id }) => id)).size).toBe(451);
  // Redis keeps the last ones only.
  await toy.plain.xtrim(toy.keys.feed, "MAXLEN", 10);
  const third = await follow("/v1/events", { "last-event-id": String(seen?.id) });
  expect((await third.hears(11)).map(({ event }) => event)).toEqual([
    "gap",
    ...Array.from({ length: 10 }, () => "change"),
  ]);
});

test("a change that one process makes is heard at the doors of all of them", async () => {
  const { toy, follow } = await startFollowed();
  const other = await openDoor(toy);
  const id = await toy.submit();
  const streams = [
    await follow("/v1/events"),
    await other.follow("/v1/events"),
    await other.follow(`/v1/requests/${id}/events`),
  ];
  toy.work(["create"]);
  for (const stream of streams) {
    await until(stream.heard, (heard) => heard.some(({ data }) => data["stage"] === "sign"), 8_000);
  }
});

test("a key has so many streams and no more, and gets them back", async () => {
  const { house, follow } = await startFollowed({ limits: { streams: 2 } });
  const first = await follow("/v1/events");
  await follow("/v1/events");
  const refused = await house.app.inject({ url: "/v1/events", headers: AUTHORIZED });
  expect(told(refused)).toMatchObject({ status: 429, code: "too-many-streams" });
  expect(refused.headers["retry-after"]).toBe("30");
  expect((await follow("/v1/events", { authorization: `Bearer ${THIRD.secret}` })).status).toBe(200);
  first.close();
  await until(
    () => follow("/v1/events").then(({ status }) => status),
    (status) => status === 200,
  );
});

test("an idle stream shows that it lives", async () => {
  const { follow } = await startFollowed({ beatMs: 20 });
  const stream = await follow("/v1/events");
  await until(stream.text, (text) => text.split("\n:\n\n").length > 3);
  expect(stream.heard()).toEqual([]);
});

test("a reader who does not keep up is cut off, and what was kept for it is let go", async () => {
  const { toy, house, follow } = await startFollowed();
  const slow = await follow("/v1/events");
  slow.response.pause();
  const quick = await follow("/v1/events");
  const id = await toy.submit({ reference: "r".repeat(2_000) });
  // More than sockets and the bound together keep.
  const server = house.app.server;
  const connections = () => new Promise<number>((resolve) => server.getConnections((_error, count) => resolve(count)));
  for (let round = 0; round < 60 && (await connections()) > 1; round++) {
    const entry = `${id}|note|create|queued|${round}`;
    const pipe = toy.plain.pipeline();
    for (let i = 0; i < 200; i++) pipe.xadd(toy.keys.feed, "*", "e", entry);
    await pipe.exec();
    const told = new Date(round).toISOString();
    await until(
      () => quick.text().slice(-5_000).includes(told),
      (is) => is,
      8_000,
    );
  }
  expect(await connections()).toBe(1);
  expect(quick.response.destroyed).toBe(false);
}, 60_000);

test("a stop ends the streams and waits for none of them", async () => {
  const { toy, house, follow } = await startFollowed();
  const id = await toy.submit();
  const streams = [await follow("/v1/events"), await follow(`/v1/requests/${id}/events`)];
  const beganMs = Date.now();
  await house.app.close();
  expect(Date.now() - beganMs).toBeLessThan(3_000);
  for (const stream of streams) await stream.ends();
});

test.each([
  ["/v1/events", "yesterday"],
  ["/v1/events", "12"],
  ["/v1/requests/ID/events", "1700000000000-0\u00e9"],
])("%s with the last id %s, which it never gave, is refused", async (path, last) => {
  const { toy, house } = await startFollowed();
  const id = await toy.submit();
  const answer = await house.app.inject({
    url: path.replace("ID", id),
    headers: { ...AUTHORIZED, "last-event-id": last },
  });
  expect(told(answer)).toMatchObject({ status: 400, code: "invalid-request" });
});

test("an unknown request, and one of another tenant, has no stream", async () => {
  const { toy, house } = await startFollowed();
  const id = await toy.submit();
  const headers = { authorization: `Bearer ${THIRD.secret}` };
  expect(told(await house.app.inject({ url: `/v1/requests/${id}/events`, headers })).code).toBe("no-such-request");
  expect(told(await house.app.inject({ url: "/v1/requests/x/events", headers: AUTHORIZED })).code).toBe(
    "no-such-request",
  );
});
