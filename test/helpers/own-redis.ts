import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { findRedis } from "../../src/embedded/redis.ts";

/** A Redis for one test alone, with append-only files in `dir`, that can be killed; ended with the test. */
export async function startOwnRedis() {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-redis-"));
  const options = { dir, keep: true, env: process.env, ways: ["path", "debian"] as const };
  let redis = await findRedis(options);
  const port = Number(new URL(redis.url).port);
  onTestFinished(async () => {
    await redis.stop();
    await rm(dir, { recursive: true, force: true });
  });
  return {
    url: redis.url,
    dir,
    /** Ends it as a power cut would, and starts it again on its data after a while. */
    async restart(awayMs: number): Promise<void> {
      if (redis.pid !== undefined) process.kill(redis.pid, "SIGKILL");
      await redis.stop();
      await new Promise((resolve) => setTimeout(resolve, awayMs));
      redis = await findRedis({ ...options, port });
    },
  };
}
