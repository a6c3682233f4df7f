import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { onTestFinished } from "vitest";
import type { AtEnd } from "./house.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;

export interface SignpipeProcess {
  child: ChildProcess;
  pid: number;
  out(): string;
  err(): string;
  /** Exit code, or the name of the signal that ended it. */
  ended: Promise<number | string | null>;
}

/** `signpipe <args>` in a process of its own, with nothing but the environment given; ended with the test. */
export function spawnSignpipe(
  args: string[],
  env: Record<string, string | undefined>,
  atEnd: AtEnd = onTestFinished,
): SignpipeProcess {
  const child = spawn(process.execPath, [CLI, ...args], { cwd: tmpdir(), env, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const ended = new Promise<number | string | null>((resolve) =>
    child.once("close", (code, signal) => resolve(signal ?? code)),
  );
  atEnd(async ({ task }) => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await ended;
    clearTimeout(late);
    if (task.result?.state === "fail") process.stderr.write(`signpipe ${args.join(" ")}:\n${err.slice(-3_000)}`);
  });
  return { child, pid: child.pid ?? 0, out: () => out, err: () => err, ended };
}

/** A folder that goes with the test. Asked for before the processes that use it, it goes after them. */
export function freshFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-process-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

/** Asks until there is an answer. */
export async function until<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
  withinMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  while (Date.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    await pause(20);
  }
  throw new Error(`${what} did not happen within ${withinMs / 1000} s`);
}

/** Numbers and command lines of what a process started. Linux only, as `/proc` is. */
export function childrenOf(pid: number): { pid: number; command: string }[] {
  const path = `/proc/${pid}/task/${pid}/children`;
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean)
    .map((child) => ({ pid: Number(child), command: commandOf(Number(child)) }));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

/** A zombie does not run, although its number is still taken. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const stat = `/proc/${pid}/stat`;
  return !existsSync(stat) || !/^\d+ \(.*\) Z/s.test(readFileSync(stat, "utf8"));
}
