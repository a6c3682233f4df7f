import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { onTestFinished } from "vitest";
import { findRedis } from "../../src/embedded/redis.ts";

/** A Redis for this test alone, whose settings may be changed; stopped with the test. */
export async function startOwnRedis(): Promise<{
  url: string;
  admin: Redis;
  set(name: string, value: string): Promise<void>;
}> {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-redis-"));
  const redis = await findRedis({ dir, keep: true, env: process.env, ways: ["path", "debian"] });
  const admin = new Redis(redis.url);
  onTestFinished(async () => {
    admin.disconnect();
    await redis.stop();
    await rm(dir, { recursive: true, force: true });
  });
  return {
    url: redis.url,
    admin,
    async set(name, value) {
      await admin.config("SET", name, value);
    },
  };
}
