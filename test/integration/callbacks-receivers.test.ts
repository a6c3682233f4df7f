import { randomBytes } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { Redis } from "ioredis";
import { expect, inject, onTestFinished, test } from "vitest";
import type { RequestId, SignRequest } from "../../src/core/request.ts";
import { createTeller } from "../../src/producers/callback/tell.ts";
import { createCallbacks } from "../../src/queues/callbacks.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createNotifications } from "../../src/queues/notifications.ts";
import { sealCallback } from "../../src/queues/seal.ts";
import type { Store } from "../../src/queues/store.ts";
import { record } from "../helpers/api-house.ts";
import { newId, silent } from "../helpers/toy.ts";

const KEY = randomBytes(32);

async function startReceiver(answer: RequestListener) {
  let heard = 0;
  const server = createServer((request, response) => {
    heard += 1;
    request.resume();
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, heard: () => heard };
}

/** The queue of callbacks over real HTTP and Redis, for requests that name these receivers. */
async function startTelling(hosts: readonly string[]) {
  const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const requests = new Map<string, SignRequest>();
  const store = {
    read: (id: string) => Promise.resolve(requests.has(id) ? { request: requests.get(id) } : undefined),
  } as unknown as Store;
  const notifications = createNotifications({ redis, connection: redis, keys });
  const teller = createTeller({ keysOf: () => [KEY], allowedHosts: [...hosts] });
  const { tell } = teller;
  const parts = { redis, connection: redis, keys, store, notifications, masterKey: KEY, tell, log: silent };
  const callbacks = createCallbacks(parts);
  onTestFinished(async () => {
    await teller.close(); // what is under way ends with it
    await callbacks.stop();
    await notifications.close();
    const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await redis.del(all);
    redis.disconnect();
  });
  return {
    start: () => callbacks.start(),
    async note(host: string): Promise<RequestId> {
      const id = newId();
      const request = record({
        id,
        phase: "waiting",
        facts: { callbackUrl: sealCallback(KEY, id, `http://${host}/`) },
      });
      requests.set(id, request);
      await notifications.note(request);
      return id;
    },
    async logOf(id: RequestId) {
      return (await notifications.list(id)).map(({ state, attempts }) => [state, attempts]);
    },
  };
}

test("a receiver that never answers keeps nobody else waiting, and what it is not told yet counts as no attempt", async () => {
  const silentOne = await startReceiver(() => {});
  const other = await startReceiver((_request, response) => void response.writeHead(204).end());
  const telling = await startTelling([silentOne.host, other.host]);
  const held: RequestId[] = [];
  for (let n = 0; n < 60; n++) held.push(await telling.note(silentOne.host));
  telling.start();
  await expect.poll(silentOne.heard, { timeout: 5_000 }).toBe(10);
  // All sixty were there first; an answer takes twenty seconds to be given up, and the other is told at once.
  const sinceMs = performance.now();
  const ids: RequestId[] = [];
  for (let n = 0; n < 20; n++) ids.push(await telling.note(other.host));
  await expect.poll(other.heard, { timeout: 5_000, interval: 10 }).toBe(20);
  expect(performance.now() - sinceMs).toBeLessThan(5_000);
  for (const id of ids) await expect.poll(() => telling.logOf(id)).toEqual([["delivered", 1]]);
  expect(silentOne.heard()).toBe(10);
  for (const id of held) expect(await telling.logOf(id)).toEqual([["waiting", 0]]);
});

test("a receiver that comes back is told everything, each thing once, although most of it was turned away before", async () => {
  let isAway = true;
  const crm = await startReceiver((request, response) => {
    if (isAway) request.socket.destroy();
    else response.writeHead(204).end();
  });
  const telling = await startTelling([crm.host]);
  const ids: RequestId[] = [];
  for (let n = 0; n < 40; n++) ids.push(await telling.note(crm.host));
  telling.start();
  await expect.poll(crm.heard, { timeout: 5_000 }).toBeGreaterThan(0);
  isAway = false;
  const away = crm.heard();
  await expect
    .poll(async () => (await Promise.all(ids.map(telling.logOf))).map(([one]) => one?.[0]), { timeout: 20_000 })
    .toEqual(ids.map(() => "delivered"));
  // Ten at once at the most had met the broken connections.
  expect(away).toBeLessThanOrEqual(11);
  expect(crm.heard() - away).toBe(40);
});
