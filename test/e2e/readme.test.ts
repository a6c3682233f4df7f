import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { expect, inject, onTestFinished, test } from "vitest";
import { until } from "../helpers/signpipe-process.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const CLI = join(ROOT, "src", "cli.ts");
const MOST_MS = 90_000;
const missing = ["curl", "jq"].filter((tool) => spawnSync(tool, ["--version"], { stdio: "ignore" }).status !== 0);

interface Block {
  /** What is typed. */
  commands: string;
  /** Whether it is what starts the program, which then stays. */
  isStart: boolean;
  /** What is said to come of it, where that is shown. */
  shown: string | undefined;
}

/** The blocks of README.md that are meant to be run, in order, each with the output that stands below it. */
function blocksOf(document: string): Block[] {
  const text = readFileSync(join(ROOT, document), "utf8");
  const found = text.matchAll(/^<!-- (run|start) -->\n\n```sh\n([^]*?)^```$(?:\n\n```txt\n([^]*?)^```$)?/gm);
  return [...found].map(([, what, commands = "", shown]) => ({ commands, isStart: what === "start", shown }));
}

/** The same for what differs each time: ids, times, addresses, folders, and how wide a table is. */
function alike(text: string): string {
  return text
    .replaceAll(/\b(req|bat)-[0-9a-z]{26}\b/g, "$1-ID")
    .replaceAll(/\b(req|bat)-[0-9a-z]{8}\b/g, "$1-SHORT")
    .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{3}Z)?/g, "TIME")
    .replaceAll(/http:\/\/127\.0\.0\.1:\d+(\/identify\/)?[\w.~-]*/g, "http://HOST$1")
    .replaceAll(/\b[\d.]+ (?:ms|s|min)\b/g, "AGE")
    .replaceAll(/(?:…|\/\S*)\/share\b/g, "FOLDER/share")
    .split("\n")
    .map((line) => line.trimEnd().replaceAll(/(?<=\S) +/g, " "))
    .join("\n");
}

/** `npm start` and `npx signpipe` as they are in a clone, but for the installing. */
function shims(folder: string): string {
  const bin = join(folder, ".bin");
  mkdirSync(bin);
  const node = `exec "${process.execPath}" "${CLI}"`;
  for (const [name, script] of [
    ["npm", `[ "$1" = start ] && ${node} start\necho "npm $* is not known here" >&2\nexit 1\n`],
    ["npx", `[ "$1" = signpipe ] && shift && ${node} "$@"\necho "npx $* is not known here" >&2\nexit 1\n`],
  ] as const) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

interface Shell {
  /** Runs commands; what they printed. */
  run(commands: string): Promise<string>;
  start(command: string): Promise<void>;
}

/** One shell in which blocks are typed one after the other, and which keeps what they set. */
function openShell(folder: string, env: NodeJS.ProcessEnv): Shell {
  const shell = spawn("sh", ["-eu"], { cwd: folder, env, stdio: ["pipe", "pipe", "pipe"], detached: true });
  const children: ChildProcess[] = [shell];
  onTestFinished(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once("close", resolve));
      // A group of its own: what it started ends with it.
      if (child.pid !== undefined) process.kill(-child.pid, child === shell ? "SIGKILL" : "SIGTERM");
      const late = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, "SIGKILL"), 15_000);
      await ended;
      clearTimeout(late);
    }
  });
  let said = "";
  shell.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  shell.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  let n = 0;
  return {
    async run(commands) {
      const end = `end-of-block-${++n}`;
      const from = said.length;
      shell.stdin.write(`exec 2>&1\n${commands}\necho ${end}\n`);
      const what = () => `${commands}\n${said.slice(from)}`;
      await until(`the end of ${commands}`, () => {
        if (shell.exitCode !== null || shell.signalCode !== null) throw new Error(`It fails:\n${what()}`);
        return said.endsWith(`${end}\n`) || undefined;
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${what()}`);
      });
      return said.slice(from).replace(`${end}\n`, "");
    },
    async start(command) {
      const program = spawn("sh", ["-euc", command], {
        cwd: folder,
        env,
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      children.push(program);
      let [out, err] = ["", ""];
      program.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
      program.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
      await until("the start", () => {
        if (program.exitCode !== null) throw new Error(`The program ended:\n${err}`);
        return out.includes('"ready":true') || undefined;
      });
    },
  };
}

test.skipIf(missing.length > 0)(
  "README.md: an office with a share, a system with a queue and a program get what the text shows, step by step",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "signpipe-readme-"));
    const prefix = `{test-${randomUUID().slice(0, 8)}}`;
    onTestFinished(async ({ task }) => {
      if (task.result?.state === "fail") return; // left for whoever looks into it
      const redis = new Redis(inject("redisUrl"));
      const keys = await redis.keys(`${prefix.replaceAll(/[{}]/g, "[$&]")}*`);
      if (keys.length > 0) await redis.del(keys);
      redis.disconnect();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    });
    cpSync(join(ROOT, "examples"), join(folder, "examples"), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    const env = {
      PATH: `${shims(folder)}:${process.env["PATH"]}`,
      HOME: process.env["HOME"],
      NO_COLOR: "1",
      REDIS_URL: inject("redisUrl"),
      REDIS_PREFIX: prefix,
      API_PORT: "0",
      INBOX_SETTLE_MS: "300",
      INBOX_SWEEP_MS: "500",
    };
    const shell = openShell(folder, env);
    const blocks = blocksOf("README.md");
    expect(blocks.filter(({ isStart }) => isStart)).toHaveLength(1);
    expect(blocks.filter(({ shown }) => shown !== undefined).length).toBeGreaterThanOrEqual(7);
    for (const { commands, isStart, shown } of blocks) {
      if (isStart) {
        await shell.start(commands);
        continue;
      }
      const said = await shell.run(commands);
      if (shown !== undefined) expect(alike(said), commands).toBe(alike(shown));
    }
    expect(readFileSync(join(folder, "share/signed/lease/lease.pdf.signed.pdf"), "latin1")).toContain("/ByteRange");
  },
  MOST_MS,
);
