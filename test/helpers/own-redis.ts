import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { onTestFinished } from "vitest";
import { findRedis } from "../../src/embedded/redis.ts";

/** A Redis for one test alone, with append-only files in `dir`, that can be killed; ended with the test. */
export async function startOwnRedis() {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-redis-"));
  const options = { dir, keep: true, env: process.env, ways: ["path", "debian"] as const };
  let redis = await findRedis(options);
  const port = Number(new URL(redis.url).port);
  const admin = new Redis(redis.url);
  admin.on("error", () => {}); // while it is away
  onTestFinished(async () => {
    admin.disconnect();
    await redis.stop();
    await rm(dir, { recursive: true, force: true });
  });
  return {
    url: redis.url,
    dir,
    admin,
    async set(name: string, value: string): Promise<void> {
      await admin.config("SET", name, value);
    },
    /** Ends it as a power cut would, and starts it again on its data after a while, or once `away` resolves. */
    async restart(away: number | Promise<unknown>): Promise<void> {
      if (redis.pid !== undefined) process.kill(redis.pid, "SIGKILL");
      await redis.stop();
      await (typeof away === "number" ? new Promise((resolve) => setTimeout(resolve, away)) : away);
      redis = await findRedis({ ...options, port });
    },
  };
}
