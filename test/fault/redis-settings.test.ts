import { once } from "node:events";
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { createGate } from "../../src/queues/gate.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createRedisWatch } from "../../src/queues/redis-watch.ts";
import { SIGNER, samplePdf, startHouse } from "../helpers/house.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";
import { silent } from "../helpers/toy.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

/** Makes what is used now `share` of the most that may be used. */
async function fill(admin: Redis, share: number): Promise<void> {
  const used = Number(/^used_memory:(\d+)/m.exec(await admin.info("memory"))?.[1]);
  await admin.config("SET", "maxmemory", String(Math.round(used / share)));
}

test("a Redis that evicts is not started on, and one that begins to is stood still on until it is mended", async () => {
  const { url, set } = await startOwnRedis();
  await set("maxmemory-policy", "allkeys-lru");
  const dir = await mkdtemp(join(tmpdir(), "signpipe-test-"));
  const child = spawn(process.execPath, ["src/cli.ts", "start", "--only", "api"], {
    cwd: new URL("../../", import.meta.url).pathname,
    env: { PATH: process.env["PATH"], HOME: dir, DATA_DIR: dir, API_PORT: "0", REDIS_URL: url },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const [code] = (await once(child, "exit")) as [number];
  expect(code).toBe(1);
  expect(said).toMatch(/maxmemory-policy allkeys-lru .* set it to noeviction/);

  const redis = new Redis(url);
  const keys = createKeys("{gate}");
  let marker: string | undefined;
  const gate = createGate({
    redis,
    keys,
    instance: {
      read: () => Promise.resolve(marker),
      write: async (id) => void (marker = id),
      claim: (id) => Promise.resolve((marker ??= id)),
    },
    openRequests: () => Promise.resolve(0),
    mend: () => Promise.resolve(0),
    unfit: createRedisWatch({ redis, log: silent }).unfit,
    settingsMs: 100,
    log: silent,
  });
  onTestFinished(async () => {
    gate.close();
    redis.disconnect();
    await rm(dir, { recursive: true, force: true });
  });
  gate.start();
  await expect.poll(() => gate.trouble()?.code, { timeout: 5_000 }).toBe("redis-evicts");
  expect(gate.isOpen()).toBe(false);
  await set("maxmemory-policy", "noeviction");
  await expect.poll(() => gate.isOpen(), { timeout: 10_000 }).toBe(true);
  expect(gate.trouble()).toBeUndefined();
  await set("maxmemory-policy", "volatile-ttl");
  await expect.poll(() => gate.isOpen(), { timeout: 5_000 }).toBe(false);
});

test("a doctor leaves nothing in the Redis that it looks into", async () => {
  const { url, admin } = await startOwnRedis();
  const dir = await mkdtemp(join(tmpdir(), "signpipe-test-"));
  const child = spawn(process.execPath, ["src/cli.ts", "doctor", "--json"], {
    cwd: new URL("../../", import.meta.url).pathname,
    env: { PATH: process.env["PATH"], HOME: dir, DATA_DIR: dir, REDIS_URL: url },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await once(child, "exit");
  await rm(dir, { recursive: true, force: true });
  expect(said).toContain("appendonly, fsync always, noeviction");
  const left = await admin.keys("*");
  expect(left.filter((key) => !key.endsWith(":meta"))).toEqual([]); // BullMQ's note about itself
});

test("what a user of Redis may not ask is not asked again, and settings that lose writes are warned of once", async () => {
  const { url, admin, set } = await startOwnRedis();
  await set("appendfsync", "everysec");
  const said: object[] = [];
  const log = { ...silent, warn: (fields: object) => void said.push(fields) };
  const watch = createRedisWatch({ redis: admin, log });
  await watch.warn();
  await watch.warn();
  expect(said).toEqual([
    { code: "redis-not-durable", reason: expect.stringContaining("appendfsync is everysec") as string },
  ]);

  await admin.call("ACL", "SETUSER", "lean", "on", ">pw", "~*", "+@all", "-config", "-info");
  await admin.call("ACL", "SETUSER", "asks", "on", ">pw", "~*", "+@all", "-info");
  await set("maxmemory-policy", "allkeys-random");
  const as = (username: string) => {
    const { host } = new URL(url);
    const redis = new Redis(`redis://${username}:pw@${host}`);
    onTestFinished(() => redis.disconnect());
    return createRedisWatch({ redis, log: silent });
  };
  expect(await as("asks").unfit()).toContain("allkeys-random"); // by CONFIG GET
  expect(await as("lean").unfit()).toBeUndefined();
  await as("lean").warn();
  expect(await as("lean").full()).toBeUndefined();
  expect(await createRedisWatch({ redis: admin, log: silent }).unfit()).toContain("allkeys-random"); // by INFO
});

test("intake stops when Redis is nearly full, says why, and goes on once there is room", async () => {
  const own = await startOwnRedis();
  const house = await startHouse({ ...AUTO, redisUrl: own.url });
  const inbox = await house.app.startInbox();
  const refused = async () => {
    const answer = await fetch(`${house.api}/v1/requests`, {
      method: "POST",
      headers: { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` },
      body: await form(),
    });
    const retryAfter = answer.headers.get("retry-after");
    return [answer.status, ((await answer.json()) as { code?: string }).code ?? "", retryAfter ?? ""].join(" ");
  };
  await fill(own.admin, 0.75);
  await expect.poll(refused, { timeout: 5_000, interval: 300 }).toBe("503 redis-full 30");
  const ready = await house.call("GET", "/health/ready");
  expect(ready.status).toBe(503);
  expect(JSON.stringify(ready.body)).toContain("redis: Redis is nearly full");

  await writeFile(join(inbox.folders.inbox, "lease.pdf.json"), JSON.stringify({ signer: SIGNER }));
  await writeFile(join(inbox.folders.inbox, "lease.pdf"), await samplePdf());
  await expect.poll(() => inbox.check().note, { timeout: 10_000 }).toContain("intake is paused: Redis is nearly full");

  await fill(own.admin, 0.67); // less than 70 %, and not yet room
  await new Promise((resolve) => setTimeout(resolve, 1_100)); // the last look is older than a second
  expect(await refused()).toContain("503 redis-full");
  await fill(own.admin, 0.3);
  await expect.poll(async () => (await refused()).split(" ")[0], { timeout: 5_000, interval: 300 }).toBe("202");
  await expect.poll(() => inbox.status().pausedMs, { timeout: 40_000 }).toBe(0);
  await expect.poll(() => readdir(inbox.folders.inbox), { timeout: 10_000 }).toEqual([]);
});

test("Redis without memory in the middle of everything: nothing is lost, nothing is made twice, and logs stay short", async () => {
  const own = await startOwnRedis();
  const house = await startHouse({ ...AUTO, redisUrl: own.url });
  house.simulator.set({ latencyMs: 100 });
  const ids = await Promise.all(Array.from({ length: 12 }, () => house.submit()));
  await expect.poll(() => house.simulator.calls.get("createVideoId") ?? 0, { timeout: 10_000 }).toBeGreaterThan(2);
  const lines = () => house.logged().split("\n").length;
  const cpu = process.cpuUsage();
  await own.set("maxmemory", "100kb");
  const before = lines();
  await new Promise((resolve) => setTimeout(resolve, 8_000)); // how long Redis has no memory
  const { user, system } = process.cpuUsage(cpu);
  expect(lines() - before).toBeLessThan(400);
  expect((user + system) / 1_000).toBeLessThan(6_000); // milliseconds
  await own.set("maxmemory", "0");
  for (const id of ids) await house.waits(id, "code", 60_000);
  await own.set("maxmemory", "100kb");
  await new Promise((resolve) => setTimeout(resolve, 500)); // without memory, shortly
  const answer = await house.call("POST", `/v1/requests/${ids[0] ?? ""}/cancel`);
  expect([answer.status, answer.body["code"]]).toEqual([503, "redis-full"]);
  await own.set("maxmemory", "0");
  for (const id of ids) {
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  }
  for (const id of ids) await house.reaches(id, "cleanup", "done", 60_000);
  expect(["create", "approve", "otp", "sign"].map(house.effects)).toEqual([12, 12, 12, 12]);
});

async function form(): Promise<FormData> {
  const body = new FormData();
  body.set("manifest", JSON.stringify({ signer: SIGNER }));
  body.append("file", new Blob([new Uint8Array(await samplePdf())], { type: "application/pdf" }), "lease.pdf");
  return body;
}
