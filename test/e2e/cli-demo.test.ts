import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-demo-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function runDemo(prefix: string): Promise<{ exitCode: number | null; out: string }> {
  const env = {
    PATH: process.env["PATH"],
    HOME: process.env["HOME"],
    DATA_DIR: dir,
    REDIS_URL: inject("redisUrl"),
    REDIS_PREFIX: prefix,
    // A demo is a demo whatever the environment is made for.
    ONESHOT_URL: "http://127.0.0.1:1/oneshot/api/v1",
    APPROVAL: "auto",
  };
  const child = spawn(process.execPath, [CLI, "demo"], { env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const exitCode = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { exitCode, out };
}

test("the demo signs documents in every workflow, sets the broken one aside, names every file, and ends with 0, twice", async () => {
  const prefix = `{test-${randomUUID().slice(0, 8)}}`;
  for (let run = 1; run <= 2; run++) {
    const { exitCode, out } = await runDemo(prefix);
    expect(exitCode, out).toBe(0);
    expect(out).toContain("8 documents signed and checked, 1 set aside");
    expect(out).toContain("Nothing was legally signed");
    expect(out).toContain("approved by the demo, as registration officer");
    const places = [...out.matchAll(/→ (.+)$/gm)].map(([, path = ""]) => path);
    expect(places.filter((path) => path.endsWith(".signed.pdf"))).toHaveLength(7);
    expect(places.filter((path) => path.endsWith(".p7m"))).toHaveLength(1);
    const rows = out.slice(out.indexOf("WORKFLOW")).matchAll(/^(\S+) .*(signed PDF|\.p7m) +signpipe(, \w+)*$/gm);
    expect([...rows].map(([, name]) => name)).toEqual(["classic", "asynchronous", "videoid-external", "hash"]);
    expect(places.filter((path) => path.endsWith(".error.txt"))).toHaveLength(1);
    for (const path of places) expect(existsSync(path)).toBe(true);
    expect(out).not.toContain("\u001b");
  }
  expect(existsSync(join(dir, "run.json"))).toBe(false);
}, 180_000);
