import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { lockFolder, readRunningRedis } from "../../src/embedded/folder-lock.ts";
import { findRedis, type RunningRedis } from "../../src/embedded/redis.ts";
import { freePort } from "../../src/embedded/server.ts";
import { freshPrefix, redisUrl } from "../helpers/redis.ts";

const WAYS = ["path", "debian"] as const;

test("the Redis of the test run answers and evicts nothing", async () => {
  const redis = client(redisUrl());
  const key = `${freshPrefix()}:greeting`;
  await redis.set(key, "hello", "PX", 10_000);
  expect(await redis.get(key)).toBe("hello");
  expect(await redis.config("GET", "maxmemory-policy")).toEqual(["maxmemory-policy", "noeviction"]);
});

test("a restart on the same folder finds its data again, behind the same password", async () => {
  const dir = folder();
  const port = await freePort();
  const first = await start(dir, port);
  await client(first.url).set("kept", "yes");
  await first.stop();
  const second = await start(dir, port);
  expect(second.url).toBe(first.url);
  expect(await client(second.url).get("kept")).toBe("yes");
});

test("what was acknowledged survives a kill -9 of Redis", async () => {
  const dir = folder();
  const first = await start(dir);
  const redis = client(first.url);
  await Promise.all(Array.from({ length: 200 }, (_, n) => redis.set(`key-${n}`, n)));
  process.kill(first.pid ?? 0, "SIGKILL");
  await first.stop();
  const second = await start(dir);
  expect(await client(second.url).dbsize()).toBe(200);
});

test("a second start on the same folder is refused with the reason", async () => {
  const dir = folder();
  const first = await start(dir);
  await expect(start(dir)).rejects.toThrow(`another signpipe (process ${process.pid}) works on ${dir}`);
  expect(await client(first.url).ping()).toBe("PONG");
});

test("of many starts on one folder at once exactly one gets it", async () => {
  const dir = folder();
  const locks = await Promise.allSettled(Array.from({ length: 10 }, () => lockFolder(dir)));
  expect(locks.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(readdirSync(dir)).toEqual(["owner.json"]);
});

test("other commands find the address of a running Redis in its folder, and none after it has stopped", async () => {
  const dir = folder();
  const running = await start(dir);
  expect(readRunningRedis(dir)).toBe(running.url);
  await running.stop();
  expect(readRunningRedis(dir)).toBeUndefined();
});

test("nobody gets in without the password", async () => {
  const { port } = new URL((await start(folder())).url);
  const socket = connect({ host: "127.0.0.1", port: Number(port) });
  onTestFinished(() => void socket.destroy());
  socket.write("PING\r\n");
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^-NOAUTH/);
});

test.for(["SIGKILL", "SIGTERM"] as const)(
  "Redis ends when its starter ends by %s, and the folder can be used again",
  async (signal) => {
    const dir = folder();
    const starter = spawnStarter(dir);
    const [line] = (await once(starter.stdout ?? starter, "data")) as [Buffer];
    const redisPid = Number(line.toString());
    expect(isRunning(redisPid)).toBe(true);
    starter.kill(signal);
    await once(starter, "exit");
    const until = Date.now() + 10_000;
    while (isRunning(redisPid) && Date.now() < until) await pause(20);
    expect(isRunning(redisPid)).toBe(false);
    expect(await client((await start(dir)).url).get("from")).toBe("starter");
  },
);

test("an append-only file with a torn end is not silently shortened", async () => {
  const dir = folder();
  const first = await start(dir);
  await client(first.url).set("kept", "x".repeat(1_000));
  await first.stop();
  const aof = join(dir, "appendonlydir");
  const name = readdirSync(aof).find((file) => file.endsWith(".incr.aof")) ?? "";
  writeFileSync(join(aof, name), readFileSync(join(aof, name)).subarray(0, -100));
  await expect(start(dir)).rejects.toThrow(/does not start: .*(Unexpected end of file|append only file)/is);
});

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-redis-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

async function start(dir: string, port?: number): Promise<RunningRedis> {
  const redis = await findRedis({ dir, keep: true, port, env: process.env, ways: WAYS });
  onTestFinished(() => redis.stop());
  return redis;
}

/** A client that ends with the test and bears with a Redis that ends before it. */
function client(url: string): Redis {
  const redis = new Redis(url);
  redis.on("error", () => {});
  onTestFinished(() => redis.disconnect());
  return redis;
}

/** Another process that starts a Redis, writes a key and prints the Redis's process number. */
function spawnStarter(dir: string): ChildProcess {
  const module = new URL("../../src/embedded/redis.ts", import.meta.url).href;
  const code = `
    const { findRedis } = await import(${JSON.stringify(module)});
    const { Redis } = await import("ioredis");
    const found = await findRedis({ dir: ${JSON.stringify(dir)}, keep: true, env: process.env, ways: ["path", "debian"] });
    const redis = new Redis(found.url);
    redis.on("error", () => {});
    await redis.set("from", "starter");
    console.log(found.pid);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** A zombie does not run, although its number is still taken. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const stat = `/proc/${pid}/stat`;
  return !existsSync(stat) || !/^\d+ \(.*\) Z/.test(readFileSync(stat, "utf8"));
}
