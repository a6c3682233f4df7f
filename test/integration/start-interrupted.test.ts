import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { childrenOf, freshFolder, isRunning, spawnSignpipe, until } from "../helpers/signpipe-process.ts";

/** A start is given up within this, whatever it is doing. */
const QUICK_MS = 5_000;

/** A folder for PATH, with a program that notes its number and then hangs. */
function hanging(dir: string, name: string, { first = "" } = {}): { path: string; pid(): number | undefined } {
  const path = join(dir, "bin");
  const noted = join(dir, `${name}.pid`);
  mkdirSync(path);
  for (const tool of ["sh", "sleep", "kill"]) symlinkSync(`/bin/${tool}`, join(path, tool));
  writeFileSync(
    join(path, name),
    `#!/bin/sh\n${first}\necho $$ > ${noted}.new; mv ${noted}.new ${noted}; exec sleep 60\n`,
  );
  symlinkSync("/bin/mv", join(path, "mv"));
  chmodSync(join(path, name), 0o755);
  return { path, pid: () => (existsSync(noted) ? Number(readFileSync(noted, "utf8")) : undefined) };
}

function begin(dir: string, PATH: string | undefined) {
  const DATA_DIR = join(dir, "data");
  const signpipe = spawnSignpipe(["start"], { PATH, HOME: dir, DATA_DIR, API_PORT: "0", LOG_LEVEL: "warn" });
  return { ...signpipe, DATA_DIR };
}

describe("a start that is interrupted ends quickly, with everything it had started", () => {
  test.for([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("while Redis does not come up, by %s", async ([signal, exitCode]) => {
    const dir = freshFolder();
    const redis = hanging(dir, "redis-server", {
      first: 'if [ "$1" = --version ]; then echo "Redis server v=7.0.0"; exit; fi',
    });
    const start = begin(dir, redis.path);
    const pid = await until("the start of Redis", redis.pid);
    const atMs = Date.now();
    start.child.kill(signal);
    expect(await start.ended).toBe(exitCode);
    expect(Date.now() - atMs).toBeLessThan(QUICK_MS);
    expect(isRunning(pid)).toBe(false);
    expect(existsSync(join(start.DATA_DIR, "redis", "owner.json"))).toBe(false);
    expect(start.err()).toContain("Interrupted");
  });

  test("while Redis is being fetched", async () => {
    const dir = freshFolder();
    const apt = hanging(dir, "apt-get");
    symlinkSync("/bin/true", join(apt.path, "dpkg"));
    const start = begin(dir, apt.path);
    const pid = await until("the fetching", apt.pid);
    const atMs = Date.now();
    start.child.kill("SIGINT");
    expect(await start.ended).toBe(130);
    expect(Date.now() - atMs).toBeLessThan(QUICK_MS);
    await until("the end of apt-get", () => (isRunning(pid) ? undefined : true), 2_000);
  });

  test("while the simulator comes up", async () => {
    const dir = freshFolder();
    const start = begin(dir, process.env["PATH"]);
    const started = await until("the simulator", () => {
      const children = childrenOf(start.pid);
      return children.some(({ command }) => command.includes("simulate")) ? children : undefined;
    });
    expect(start.out()).toBe("");
    const atMs = Date.now();
    start.child.kill("SIGTERM");
    expect(await start.ended).toBe(143);
    expect(Date.now() - atMs).toBeLessThan(QUICK_MS);
    expect(started.length).toBeGreaterThan(1);
    // What ends with its parent has to hear of it first.
    for (const { pid, command } of started) {
      await until(`the end of ${command}`, () => (isRunning(pid) ? undefined : true), 2_000);
    }
    expect(existsSync(join(start.DATA_DIR, "run.json"))).toBe(false);
  });
});
