import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkNode } from "../../src/cli/doctor.ts";
import { checkFolders, checkKeys } from "../../src/cli/doctor-files.ts";
import { checkSettings } from "../../src/cli/doctor-provider.ts";
import { judgeRedis, whyUnreached } from "../../src/cli/doctor-redis.ts";
import { readSettings } from "../../src/config.ts";
import { runCommand } from "../helpers/cli-house.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-cli-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const GOOD = {
  version: "7.0.15",
  policy: "noeviction",
  appendonly: true,
  appendfsync: "always",
  usedBytes: 1e6,
  mostBytes: 0,
  role: "master",
};

test("a Redis that keeps everything is well", () => {
  expect(judgeRedis(GOOD).map(({ level }) => level)).toEqual(["ok", "ok"]);
});

test("each setting of Redis that can lose something is told with its remedy", () => {
  for (const [change, check, level] of [
    [{ version: "6.0.16" }, "Redis version", "fail"],
    [{ version: "6.2.14" }, "Redis version", "warn"],
    [{ policy: "allkeys-lru" }, "Redis eviction", "fail"],
    [{ appendonly: false }, "Redis persistence", "fail"],
    [{ appendfsync: "everysec" }, "Redis persistence", "warn"],
    [{ role: "slave" }, "Redis role", "fail"],
    [{ usedBytes: 80, mostBytes: 100 }, "Redis memory", "warn"],
    [{ usedBytes: 95, mostBytes: 100 }, "Redis memory", "fail"],
  ] as const) {
    const found = judgeRedis({ ...GOOD, ...change }).find((finding) => finding.level !== "ok");
    expect(found).toMatchObject({ check, level, todo: expect.any(String) });
  }
});

test("an old Node is refused, and one that may do is warned of", () => {
  expect(["24.21.0", "22.22.1", "20.20.0"].map((version) => checkNode(version).level)).toEqual(["ok", "warn", "fail"]);
});

test("what the real provider needs is asked for only when it is used", () => {
  expect(checkSettings(readSettings({}, { envFile: "" })).map(({ level }) => level)).toEqual(["ok"]);
  const found = checkSettings(readSettings({ ONESHOT_URL: "https://oneshot.example/oneshot/api/v1" }, { envFile: "" }));
  expect(found.map(({ level }) => level)).toEqual(["fail", "warn"]);
  expect(found[1]?.says).toContain("ONESHOT_REGISTRATION_AUTHORITY");
});

test("folders are tried by writing, renaming and linking, and nothing is left in them", () => {
  expect(checkFolders(join(dir, "none"))[0]?.level).toBe("warn");
  const folders = ["inbox", ".work", "signed", "failed"];
  for (const name of folders) mkdirSync(join(dir, name));
  expect(checkFolders(dir)[0]?.level).toBe("ok");
  for (const name of folders) expect(readdirSync(join(dir, name))).toEqual([]);
});

test("a folder that has gone from a used DATA_DIR may be a mount that is missing", () => {
  for (const name of [".work", "signed", "failed"]) mkdirSync(join(dir, name));
  expect(checkFolders(dir)[0]).toMatchObject({ level: "fail", todo: expect.stringContaining("mount") });
});

test("key files that others can read fail", () => {
  mkdirSync(join(dir, "keys"), { mode: 0o700 });
  writeFileSync(join(dir, "keys", "master-key"), "x", { mode: 0o600 });
  expect(checkKeys(dir)[0]?.level).toBe("ok");
  chmodSync(join(dir, "keys", "master-key"), 0o644);
  expect(checkKeys(dir)[0]).toMatchObject({ level: "fail", todo: `chmod -R go= ${join(dir, "keys")}` });
});

test("an address where nothing listens is found out at once", async () => {
  expect(await whyUnreached("redis://127.0.0.1:1")).toBe("ECONNREFUSED");
});

test("doctor ends with 1 when something fails, tells it as JSON too, and makes no folders", async () => {
  const env = { DATA_DIR: join(dir, "new"), REDIS_URL: "redis://:a-password@127.0.0.1:1" };
  const { exitCode, out } = await runCommand(["doctor", "--json"], { env });
  expect(exitCode).toBe(1);
  const { ok, findings } = JSON.parse(out) as { ok: boolean; findings: { check: string; level: string }[] };
  expect(ok).toBe(false);
  expect(findings.filter(({ level }) => level === "fail").map(({ check }) => check)).toEqual(["Redis"]);
  expect(out).not.toContain("a-password");
  expect(existsSync(join(dir, "new"))).toBe(false);
});

test("a run.json that another machine, or a container, left is not taken for a process of this one", async () => {
  const left = (host: string) =>
    writeFileSync(join(dir, "run.json"), JSON.stringify({ pid: process.pid, host, api: "http://127.0.0.1:1" }));
  left(hostname());
  expect((await runCommand(["doctor"], { env: { DATA_DIR: dir } })).out).not.toContain("No signpipe runs on this");
  left("elsewhere");
  expect((await runCommand(["doctor"], { env: { DATA_DIR: dir } })).out).toContain("No signpipe runs on this DATA_DIR");
});
