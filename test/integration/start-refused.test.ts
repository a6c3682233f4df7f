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
  const there = (name: string) => ({ DATA_DIR: join(dir, name), REDIS_URL: redis.url, REDIS_PREFIX: `{${name}}` });
  const wrong = new URL(redis.url);
  wrong.password = "wrong";
  writeFileSync(join(dir, "file"), "");

  // Side by side, each in a folder of its own: most of the time a start waits whether what it needs comes after all.
  const [inUse, elsewhere, refused, gone, nowhere] = await Promise.all([
    refusal({ ...there("1"), API_PORT: String(port) }),
    refusal({ ...there("2"), API_HOST: "192.0.2.1" }),
    refusal({ ...there("3"), REDIS_URL: wrong.href }),
    refusal({ ...there("4"), REDIS_URL: "redis://127.0.0.1:1" }),
    refusal({ ...there("5"), DATA_DIR: join(dir, "file", "data") }),
  ]);
  expect(inUse).toMatch(/\(EADDRINUSE\).*set API_PORT to another/);
  expect(elsewhere).toMatch(/\(EADDRNOTAVAIL\).*correct API_HOST/);
  expect(refused).toMatch(/refuses this user or password.*in REDIS_URL/);
  expect(gone).toMatch(/does not answer \(ECONNREFUSED\).*correct REDIS_URL/);
  expect(nowhere).toMatch(/DATA_DIR cannot be made at/);
}, 60_000);
