import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { House } from "./house.ts";

/** Runs `signpipe work` in a process of its own, on the data and the Redis of a house; ended with the test. */
export function startWorkProcess(house: House, stages: string[] = [], env: Record<string, string> = {}): ChildProcess {
  return startProcess(house, ["work", ...stages], env);
}

/** The same for `signpipe <args>`. */
export function startProcess(house: House, args: string[], env: Record<string, string> = {}): ChildProcess {
  const { settings } = house.app;
  const given = Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
  const child = spawn(process.execPath, ["src/cli.ts", ...args], {
    cwd: new URL("../../", import.meta.url).pathname,
    env: {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      ...given,
      REDIS_URL: house.redisUrl,
      ONESHOT_URL: house.oneshotUrl,
      DATA_DIR: join(house.dataDir),
      ...env,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  house.atEnd(async ({ task }) => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("exit", resolve));
    }
    if (task.result?.state === "fail") process.stderr.write(said.slice(-4_000));
  });
  return child;
}

/** Ends a process as a power cut would. */
export async function killHard(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}
