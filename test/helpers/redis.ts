import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GenericContainer, Wait } from "testcontainers";
import { inject } from "vitest";
import type { TestProject } from "vitest/node";
import { REDIS_IMAGE } from "../../src/embedded/docker.ts";
import { findRedis } from "../../src/embedded/redis.ts";
import { watchUntilWeEnd } from "../../src/embedded/server.ts";

declare module "vitest" {
  interface ProvidedContext {
    redisUrl: string;
  }
}

interface SharedRedis {
  readonly url: string;
  stop(): Promise<void>;
}

/** Every project of a run loads this file anew; the Redis they share hangs on the process. */
const SHARED = Symbol.for("signpipe.test.redis");
const shared = globalThis as { [SHARED]?: { users: number; redis: Promise<SharedRedis> } };

/** vitest's globalSetup: one Redis for the whole run, stopped after its last project. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const entry = (shared[SHARED] ??= { users: 0, redis: startRedis() });
  entry.users += 1;
  project.provide("redisUrl", (await entry.redis).url);
  return async () => {
    entry.users -= 1;
    if (entry.users === 0) await (await entry.redis).stop();
  };
}

/** Address of the run's Redis, for tests. */
export function redisUrl(): string {
  return inject("redisUrl");
}

/** A key prefix nobody else uses: tests share the Redis and nothing else. */
export function freshPrefix(): string {
  return `test-${randomUUID().slice(0, 8)}`;
}

async function startRedis(): Promise<SharedRedis> {
  const given = process.env["TEST_REDIS_URL"];
  if (given !== undefined && given !== "") return { url: given, stop: () => Promise.resolve() };
  const contained = await startTestcontainer();
  if (contained) return contained;
  const dir = await mkdtemp(join(tmpdir(), "signpipe-test-redis-"));
  // A container was tried a moment ago, so Docker is left out of the ways.
  const ways = ["path", "debian"] as const;
  const { url, how, stop } = await findRedis({ dir, keep: false, env: process.env, say: tell, ways });
  tell(`tests use ${how}`);
  return {
    url,
    async stop() {
      await stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** `undefined` when no Docker engine answers or it cannot get the image; then says so when that is a surprise. */
async function startTestcontainer(): Promise<SharedRedis | undefined> {
  try {
    // Its own cleaner is one more image to pull; our watchdog removes the container of a killed run as well.
    process.env["TESTCONTAINERS_RYUK_DISABLED"] ??= "true";
    // testcontainers publishes its ports on every interface, hence the password.
    const password = randomUUID();
    const container = await new GenericContainer(REDIS_IMAGE)
      .withExposedPorts(6379)
      .withCommand([
        "redis-server",
        "--maxmemory-policy",
        "noeviction",
        "--save",
        "",
        "--appendonly",
        "no",
        "--requirepass",
        password,
      ])
      .withWaitStrategy(Wait.forListeningPorts())
      .withStartupTimeout(60_000)
      .start();
    tell(`tests use Redis in a container from testcontainers (${REDIS_IMAGE})`);
    const url = `redis://:${password}@${container.getHost()}:${container.getMappedPort(6379)}`;
    const watchdog = watchUntilWeEnd(["docker", "rm", "--force", container.getId()]);
    return {
      url,
      async stop() {
        await container.stop();
        watchdog.kill("SIGKILL");
      },
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (!/container runtime/i.test(reason)) tell(`testcontainers cannot start ${REDIS_IMAGE}: ${reason}`);
    return undefined;
  }
}

function tell(line: string): void {
  process.stderr.write(`signpipe: ${line}\n`);
}
