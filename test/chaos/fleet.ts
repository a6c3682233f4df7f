import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, openSync, closeSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Exit } from "./evidence.ts";
import { type Proxy, startProxy } from "./proxy.ts";
import { EXIT_NOT_READY, type Order, type Report, type Start } from "./protocol.ts";

/** A process that is started again whenever it ends, with a way of its own to Redis and to the provider. */
export interface Member {
  name: string;
  redis: Proxy;
  provider: Proxy;
  /** Requests that it has taken up last, with their stages. */
  taken: Map<string, string>;
  pid(): number | undefined;
  order(order: Order): void;
  /** Ends it now; it is started again. How long it took, in milliseconds. */
  end(signal: "SIGKILL" | "SIGTERM"): Promise<number>;
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  /** Resolves when it works. */
  ready(): Promise<void>;
}

export interface Fleet {
  members: Member[];
  exits: Exit[];
  logs: string[];
  /** Told of every request that is taken up. */
  onTaken(listener: (id: string, stage: string, atMs: number) => void): void;
  /** Told of every end of a process, with what it had taken up. */
  onGone(listener: (name: string, how: "SIGKILL" | "other", taken: Map<string, string>) => void): void;
  /** Ends all for good, in an orderly way. How long each took, in milliseconds. */
  stop(): Promise<number[]>;
  /** Ends all at once. */
  kill(): Promise<void>;
}

const MAIN = new URL("./worker-main.ts", import.meta.url).pathname;
const RESPAWN_MS = 100;

/** Starts the processes, keeps them running, and keeps account of every end. */
export async function startFleet({
  dir,
  redisPort,
  providerUrl,
  members: wanted,
}: {
  /** For their logs. */
  dir: string;
  redisPort: number;
  providerUrl: URL;
  members: { name: string; start: Omit<Start, "redisUrl" | "oneshotUrl"> }[];
}): Promise<Fleet> {
  const exits: Exit[] = [];
  const logs: string[] = [];
  const takenListeners = new Set<(id: string, stage: string, atMs: number) => void>();
  const goneListeners = new Set<(name: string, how: "SIGKILL" | "other", taken: Map<string, string>) => void>();
  let isOver = false;
  mkdirSync(dir, { recursive: true });

  async function startMember({ name, start }: (typeof wanted)[number]): Promise<Member> {
    const redis = await startProxy({ host: "127.0.0.1", port: redisPort });
    const provider = await startProxy({ host: "127.0.0.1", port: Number(providerUrl.port) });
    const oneshotUrl = `http://127.0.0.1:${provider.port}${providerUrl.pathname}`;
    const startPath = join(dir, `${name}.json`);
    const logPath = join(dir, `${name}.log`);
    const given: Start = { ...start, redisUrl: `redis://127.0.0.1:${redis.port}`, oneshotUrl };
    writeFileSync(startPath, JSON.stringify(given), { mode: 0o600 });
    logs.push(logPath);
    let taken = new Map<string, string>();
    let child: ChildProcess;
    let isReady: Promise<void>;
    const planned = new WeakSet<ChildProcess>();

    function spawn(): void {
      const log = openSync(logPath, "a");
      const now = fork(MAIN, [startPath], {
        // Hundreds of starts: what was compiled is kept, so that the run measures the program and not the compiler.
        env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NODE_COMPILE_CACHE: join(dir, "code") },
        execArgv: [],
        stdio: ["ignore", log, log, "ipc"],
      });
      closeSync(log);
      now.on("error", () => {});
      child = now;
      const own = (taken = new Map<string, string>());
      isReady = new Promise((resolve) => {
        now.on("message", (report: Report) => {
          if (report.kind === "ready") resolve();
          if (report.kind !== "taken") return;
          own.set(report.id, report.stage);
          for (const listener of takenListeners) listener(report.id, report.stage, report.atMs);
        });
      });
      now.once("exit", (code, signal) => {
        const isPlanned = planned.has(now) || isOver || code === EXIT_NOT_READY || start.planPath !== undefined;
        exits.push({ name, code, signal, planned: isPlanned });
        for (const listener of goneListeners) listener(name, signal === "SIGKILL" ? "SIGKILL" : "other", own);
        if (!isOver) setTimeout(() => isOver || spawn(), RESPAWN_MS);
      });
    }

    spawn();
    return {
      name,
      redis,
      provider,
      get taken() {
        return taken;
      },
      pid: () => child.pid,
      order: (order) => {
        if (order.signal === "SIGKILL") planned.add(child);
        // It may be ending at this very moment: then there is nothing left to order.
        if (child.connected) child.send(order, () => {});
      },
      async end(signal) {
        const ending = child;
        planned.add(ending);
        if (ending.exitCode !== null || ending.signalCode !== null) return 0;
        const sinceMs = performance.now();
        const gone = once(ending, "exit");
        ending.kill(signal);
        await gone;
        return performance.now() - sinceMs;
      },
      signal: (signal) => void child.kill(signal),
      ready: () => isReady,
    };
  }

  const members: Member[] = [];
  for (const one of wanted) members.push(await startMember(one));

  async function endAll(signal: "SIGKILL" | "SIGTERM"): Promise<number[]> {
    isOver = true;
    for (const member of members) member.signal("SIGCONT");
    const times = await Promise.all(
      members.map(async (member) => {
        const late = pause(40_000).then(() => "late" as const);
        const tookMs = await Promise.race([member.end(signal), late]);
        if (tookMs !== "late") return tookMs;
        await member.end("SIGKILL");
        return 40_000;
      }),
    );
    await Promise.all(members.flatMap(({ redis, provider }) => [redis.close(), provider.close()]));
    return times;
  }

  return {
    members,
    exits,
    logs,
    onTaken: (listener) => void takenListeners.add(listener),
    onGone: (listener) => void goneListeners.add(listener),
    stop: () => endAll("SIGTERM"),
    kill: async () => void (await endAll("SIGKILL")),
  };
}
