import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { type Deployment, ENDS, PREFIX, readRecords, startDeployment } from "./deployment.ts";
import { makeWishes, post } from "./hand-in.ts";
import type { Violation } from "./invariants.ts";
import { startPeople } from "./people.ts";
import { type Proxy, startProxy } from "./proxy.ts";
import { randomFrom } from "./random.ts";

/** What is around a worker when it is asked to stop. */
const WEATHERS = ["at work", "provider hangs", "Redis away", "Redis silent", "neither answers"] as const;
type Weather = (typeof WEATHERS)[number];

/** A supervisor's patience is 30 s, and some of it is for us. */
export const STOP_WITHIN_MS = 25_000;
const PER_STOP = 4;
const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;

export interface Ended {
  weather: Weather;
  /** Exit code, or the signal that ended it. */
  code: number | string | null;
  tookMs: number;
  /** The last of what it said. */
  said: string;
}

/** Starts workers as an operator does, asks each to stop in the middle of its work, and sees all requests through. */
export async function runStops({
  stops,
  seed,
  graceMs,
  together = 4,
  restWithinMs = 180_000,
  say = () => {},
}: {
  stops: number;
  seed: number;
  /** SHUTDOWN_GRACE_MS. */
  graceMs: number;
  /** Workers that are asked at the same time. */
  together?: number;
  restWithinMs?: number;
  say?: (line: string) => void;
}): Promise<{ ended: Ended[]; violations: Violation[]; dir: string; remove: () => void }> {
  const deployment = await startDeployment({
    lockMs: 5_000,
    settings: { SHUTDOWN_GRACE_MS: String(graceMs), ONESHOT_TIMEOUT_MS: "30000", ONESHOT_SIGN_TIMEOUT_MS: "180000" },
  });
  const { api, simulator, redis, dir } = deployment;
  const wishes = makeWishes(stops * PER_STOP, randomFrom(seed).fork("wishes"), { unusable: 0 }) //
    .map((wish) => ({ ...wish, way: "api" as const, copies: 1 }));
  const people = startPeople({
    wishes,
    api,
    codesOf: (phone) => simulator.outbox.filter((message) => message.phone === phone).map(({ code }) => code),
  });
  const ended: Ended[] = [];
  try {
    simulator.set({ latencyMs: 250 });
    await deployment.start([{ name: "front", parts: ["api", "keeping"] }]);
    for (let n = 0; n < stops; n += together) {
      const weathers = Array.from({ length: Math.min(together, stops - n) }, (_, i) => weatherOf(n + i));
      const workers = await Promise.all(weathers.map((weather) => startWorker(deployment, weather)));
      await Promise.all(
        wishes.slice(n * PER_STOP, (n + weathers.length) * PER_STOP).map((wish) => post(wish, api, () => false)),
      );
      await someWork(deployment, weathers.length);
      ended.push(...(await Promise.all(workers.map((worker) => worker.stop()))));
      say(`${ended.length} of ${stops} stopped; the last took ${Math.round(ended.at(-1)?.tookMs ?? 0)} ms`);
    }
    simulator.set({ latencyMs: 0 });
    await deployment.start([{ name: "last", parts: ["workers"] }]);
    await untilOver(deployment, restWithinMs);
    await people.stop();
    await deployment.stop();
    const violations = await deployment.check(wishes);
    const records = await readRecords(redis);
    const open = records.filter(({ phase }) => !ENDS.includes(phase));
    if (open.length > 0)
      violations.push({ invariant: "I9", text: `I9: ${open.length} requests did not come to an end` });
    return { ended, violations, dir, remove: deployment.remove };
  } finally {
    await people.stop();
    await deployment.close();
  }
}

function weatherOf(n: number): Weather {
  return WEATHERS[n % WEATHERS.length] ?? "at work";
}

async function startWorker({ settings, redisServer, simulator }: Deployment, weather: Weather) {
  const url = new URL(simulator.url);
  const redis = await startProxy({ host: "127.0.0.1", port: redisServer.port });
  const provider = await startProxy({ host: "127.0.0.1", port: Number(url.port) });
  const child = spawn(process.execPath, [CLI, "work"], {
    env: {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      ...settings,
      REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      ONESHOT_URL: `http://127.0.0.1:${provider.port}${url.pathname}`,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  const isReady = new Promise<void>((resolve) => {
    child.stderr.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000);
      if (said.includes("Working on")) resolve();
    });
  });
  const gone = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  await Promise.race([isReady, gone.then(() => Promise.reject(new Error(`a worker did not start: ${said}`)))]);
  if (weather === "provider hangs" || weather === "neither answers") await provider.set({ kind: "blackhole" });
  return { stop: () => stopIt(child, gone, { weather, redis, provider, said: () => said }) };
}

async function stopIt(
  child: ChildProcess,
  gone: Promise<[number | null, NodeJS.Signals | null]>,
  { weather, redis, provider, said }: { weather: Weather; redis: Proxy; provider: Proxy; said: () => string },
): Promise<Ended> {
  if (weather === "Redis away") await redis.set({ kind: "refuse" });
  if (weather === "Redis silent" || weather === "neither answers") await redis.set({ kind: "blackhole" });
  const sinceMs = performance.now();
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS + 20_000);
  const [code, signal] = await gone;
  clearTimeout(late);
  const tookMs = performance.now() - sinceMs;
  await Promise.all([redis.close(), provider.close()]);
  return { weather, code: signal ?? code, tookMs, said: said().slice(-600) };
}

/** Waits until workers have something in their hands; not for ever, where those that answer were faster. */
async function someWork({ redis }: Deployment, workers: number): Promise<void> {
  for (const lateMs = Date.now() + 4_000; Date.now() < lateMs;) {
    const keys = await redis.keys(`[{]${PREFIX.slice(1)}:queue:*:active`);
    const counts = await Promise.all(keys.map((key) => redis.llen(key)));
    if (counts.reduce((sum, count) => sum + count, 0) >= workers) return;
    await pause(25);
  }
}

async function untilOver({ redis }: Deployment, withinMs: number): Promise<void> {
  for (const lateMs = Date.now() + withinMs; Date.now() < lateMs;) {
    const records = await readRecords(redis);
    if (records.every(({ phase }) => ENDS.includes(phase))) return;
    await pause(250);
  }
}
