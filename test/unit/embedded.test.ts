import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findRedis, isNewEnough, withoutPassword } from "../../src/embedded/redis.ts";
import { passwordOf, writeConf } from "../../src/embedded/server.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-embedded-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const settings = { bind: "127.0.0.1", port: 7000, password: "x", dataDir: "/data", logfile: "" };

test("a given address is used as it is, and its password is not shown", async () => {
  const url = "redis://someone:secret@10.0.0.1:6379/2";
  const redis = await findRedis({ url, dir, keep: true, env: {} });
  expect(redis.url).toBe(url);
  expect(redis.how).toBe("Redis at redis://10.0.0.1:6379 (REDIS_URL)");
  expect(redis.pid).toBeUndefined();
  await redis.stop();
});

test("an address that cannot be read is not repeated", () => {
  expect(withoutPassword("secret")).toBe("the given address");
});

test("a machine that offers no way gets one sentence with the remedy, and the folder is free again", async () => {
  for (let time = 0; time < 2; time += 1) {
    await expect(findRedis({ dir, keep: true, env: { PATH: dir } })).rejects.toThrow(
      /^no Redis was found: install .*REDIS_URL/,
    );
  }
});

test.for([
  ["6.0.16", false],
  ["5.9", false],
  ["6.2.0", true],
  ["7.0.15", true],
  ["8.1.3", true],
  ["unknown", true],
] as const)("Redis %s is new enough: %s", ([version, expected]) => {
  expect(isNewEnough(version)).toBe(expected);
});

test("the settings of a run put every write on disk and never evict", () => {
  const conf = readFileSync(writeConf(dir, { ...settings, keep: true }), "utf8");
  for (const line of ["appendonly yes", "appendfsync always", "aof-load-truncated no", "maxmemory-policy noeviction"]) {
    expect(conf.split("\n")).toContain(line);
  }
});

test("the settings of a test run keep nothing", () => {
  const conf = readFileSync(writeConf(dir, { ...settings, keep: false }), "utf8").split("\n");
  expect(conf).toContain("appendonly no");
  expect(conf).toContain('save ""');
});

test("the file with the password can be read by its owner alone", () => {
  const path = writeConf(dir, { ...settings, keep: false });
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a folder keeps its password from one start to the next", () => {
  const password = passwordOf(dir);
  expect(password).toMatch(/^[0-9a-f]{48}$/);
  writeConf(dir, { ...settings, password, keep: true });
  expect(passwordOf(dir)).toBe(password);
});
