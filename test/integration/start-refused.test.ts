import { createServer } from "node:net";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { startOwnRedis } from "../helpers/own-redis.ts";
import { freshFolder, spawnSignpipe } from "../helpers/signpipe-process.ts";

/** A start that needs neither a simulator nor a provider that answers. */
async function refusal(env: Record<string, string>): Promise<string> {
  const start = spawnSignpipe(["start"], {
    PATH: process.env["PATH"],
    LOG_LEVEL: "fatal",
    API_PORT: "0",
    ONESHOT_URL: "http://127.0.0.1:1/oneshot/api/v1",
    ONESHOT_RAO: "1400",
    ONESHOT_RAO_TOKEN: "token",
    ...env,
  });
  expect(await start.ended).toBe(1);
  return start.err();
}

test("a start that cannot have its address, its Redis or its folder says which setting to correct", async () => {
  const redis = await startOwnRedis();
  const dir = freshFolder();
  const busy = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void busy.close());
  await new Promise((resolve) => busy.once("listening", resolve));
  const { port } = busy.address() as { port: number };
  const there = { DATA_DIR: join(dir, "data"), REDIS_URL: redis.url };

  expect(await refusal({ ...there, API_PORT: String(port) })).toMatch(/\(EADDRINUSE\).*set API_PORT to another/);
  expect(await refusal({ ...there, API_HOST: "192.0.2.1" })).toMatch(/\(EADDRNOTAVAIL\).*correct API_HOST/);

  const wrong = new URL(redis.url);
  wrong.password = "wrong";
  expect(await refusal({ ...there, REDIS_URL: wrong.href })).toMatch(/refuses this user or password.*in REDIS_URL/);
  const gone = "redis://127.0.0.1:1";
  expect(await refusal({ ...there, REDIS_URL: gone })).toMatch(/does not answer \(ECONNREFUSED\).*correct REDIS_URL/);

  writeFileSync(join(dir, "file"), "");
  expect(await refusal({ ...there, DATA_DIR: join(dir, "file", "data") })).toMatch(/DATA_DIR cannot be made at/);
}, 60_000);
