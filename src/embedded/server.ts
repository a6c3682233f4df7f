import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { join } from "node:path";
import { untilItAnswers } from "./ping.ts";

/** A Redis program that can be started here. */
export interface Program {
  readonly path: string;
  /** Folders in which it finds its libraries, when they are not the system's. */
  readonly libraryPath?: string;
}

export interface ServerOptions {
  readonly dir: string;
  /** true: every write is on disk before it is answered. false: nothing is kept. */
  readonly keep: boolean;
  /** Loopback port; any free one when not given. */
  readonly port?: number | undefined;
  /** Set when the start is to be given up. */
  readonly signal?: AbortSignal | undefined;
}

/** A Redis that was started and answers. */
export interface StartedServer {
  readonly url: string;
  readonly pid: number | undefined;
  /** Told the number of the process whenever it had ended by itself and was started again. */
  onAgain?(listener: (pid: number | undefined) => void): void;
  /** Stops it in an orderly way; what it holds is on disk when this resolves (if it keeps anything). */
  stop(): Promise<void>;
}

/** Reading a large append-only file back takes its time. */
const READY_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 30_000;
/** Between its end and its next start. */
const AGAIN_MS = 1_000;

/**
 * Starts Redis on a free loopback port, with a password of its own and `dir` as its folder, and waits until it answers.
 *
 * It runs in a session of its own, so that Ctrl-C reaches us and not Redis: we stop it when the work is put away.
 * It ends with this process, also when this process is killed. When it ends by itself it is started again, as often as
 * it takes: with `appendfsync always` Redis gives up as soon as its disk is full.
 */
export async function startServer(
  program: Program,
  { dir, keep, port: wanted, signal }: ServerOptions,
): Promise<StartedServer> {
  for (let attempt = 1; ; attempt += 1) {
    const port = wanted ?? (await freePort());
    const password = passwordOf(dir);
    const conf = writeConf(dir, { bind: "127.0.0.1", port, password, keep, dataDir: dir, logfile: join(dir, LOG) });
    // Its log is begun anew, or an old message would be taken for the reason of this failure.
    rmSync(join(dir, LOG), { force: true });
    const first = launch(program, conf, dir);
    const gone = new AbortController();
    first.child.once("error", () => gone.abort());
    first.child.once("exit", () => gone.abort());
    const stopAsking = signal ? AbortSignal.any([gone.signal, signal]) : gone.signal;
    if (await untilItAnswers(port, password, { withinMs: READY_WITHIN_MS, signal: stopAsking })) {
      return keepUp(first, {
        url: `redis://:${password}@127.0.0.1:${port}`,
        again: () => launch(program, conf, dir),
      });
    }
    await stop(first);
    signal?.throwIfAborted();
    const reason = lastWords(dir);
    // Somebody took the port between our asking for a free one and Redis listening on it.
    if (wanted === undefined && /address already in use/i.test(reason) && attempt < 5) continue;
    throw new Error(`${program.path} does not start: ${reason}`);
  }
}

interface Process {
  child: ChildProcess;
  watchdog: ChildProcess | undefined;
}

function launch(program: Program, conf: string, dir: string): Process {
  const child = spawn(program.path, [conf], {
    cwd: dir,
    stdio: "ignore",
    detached: true,
    env: program.libraryPath === undefined ? {} : { LD_LIBRARY_PATH: program.libraryPath },
  });
  child.on("error", () => {}); // it does not answer, or ends: that is noticed
  return { child, watchdog: watch(child) };
}

/** Starts it again whenever it has ended and nobody stopped it. */
function keepUp(first: Process, { url, again }: { url: string; again: () => Process }): StartedServer {
  let current = first;
  let isStopping = false;
  let timer: NodeJS.Timeout | undefined;
  let tell: (pid: number | undefined) => void = () => {};

  function stand({ child, watchdog }: Process): void {
    child.once("exit", () => {
      watchdog?.kill("SIGKILL"); // the number it would end may soon be another process's
      if (!isStopping) timer = setTimeout(begin, AGAIN_MS).unref();
    });
  }

  function begin(): void {
    current = again();
    stand(current);
    tell(current.child.pid);
  }

  stand(first);
  return {
    url,
    get pid() {
      return current.child.pid;
    },
    onAgain: (listener) => void (tell = listener),
    async stop() {
      isStopping = true;
      clearTimeout(timer);
      await stop(current);
    },
  };
}

const LOG = "redis.log";

/** Settings of one start; paths are as the Redis process sees them. */
interface Settings {
  readonly bind: string;
  readonly port: number;
  readonly password: string;
  readonly keep: boolean;
  readonly dataDir: string;
  readonly logfile: string;
}

/**
 * The password of this folder's Redis: made at the first start and kept with the data, so that whoever is connected
 * finds the door again after a restart.
 */
export function passwordOf(dir: string): string {
  try {
    const kept = /^requirepass ([0-9a-f]{48})$/m.exec(readFileSync(join(dir, "redis.conf"), "utf8"))?.[1];
    if (kept !== undefined) return kept;
  } catch {
    // The first start on this folder.
  }
  return randomBytes(24).toString("hex");
}

/**
 * Writes redis.conf into `dir` and gives its path. A file, because arguments can be read by every user of the machine.
 *
 * `appendfsync always`: an acknowledged write survives a power cut. `aof-load-truncated no`: rather refuse to start
 * than continue with less than was acknowledged.
 * @source https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
 */
export function writeConf(dir: string, settings: Settings): string {
  const { bind, port, password, keep, dataDir, logfile } = settings;
  const lines = [
    `bind ${bind}`,
    `port ${port}`,
    "protected-mode yes",
    `requirepass ${password}`,
    `dir ${JSON.stringify(dataDir)}`,
    `logfile ${JSON.stringify(logfile)}`,
    "daemonize no",
    "databases 16",
    "maxmemory-policy noeviction",
    'save ""',
    ...(keep ? ["appendonly yes", "appendfsync always", "aof-load-truncated no"] : ["appendonly no"]),
  ];
  const path = join(dir, "redis.conf");
  writeFileSync(path, `${lines.join("\n")}\n`, { mode: 0o600 });
  chmodSync(path, 0o600);
  return path;
}

/**
 * Ends Redis when this process is gone, however it went. The watching shell holds the reading end of a pipe whose only
 * writing end is ours: the system closes it, and `read` returns.
 */
export function watchUntilWeEnd(
  command: readonly string[],
  { env }: { env?: Record<string, string> } = {},
): ChildProcess {
  const watchdog = spawn("/bin/sh", ["-c", 'read -r _; exec "$@"', "sh", ...command], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    ...(env && { env }),
  });
  watchdog.on("error", () => {});
  watchdog.stdin?.on("error", () => {});
  watchdog.unref();
  // The pipe, a socket to Node, would keep the event loop alive although nothing ever comes through it.
  if (watchdog.stdin instanceof Socket) watchdog.stdin.unref();
  return watchdog;
}

function watch(child: ChildProcess): ChildProcess | undefined {
  child.unref();
  return child.pid === undefined ? undefined : watchUntilWeEnd(["kill", "-TERM", String(child.pid)], { env: {} });
}

async function stop({ child, watchdog }: Process): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    child.ref();
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
    await ended;
    clearTimeout(late);
  }
  watchdog?.kill("SIGKILL");
}

/** The last thing Redis wrote, in one line. */
function lastWords(dir: string): string {
  try {
    const lines = readFileSync(join(dir, LOG), "utf8").trim().split("\n");
    const telling = lines.filter((line) => /# |fatal|error|bad file|failed/i.test(line));
    return (telling.length > 0 ? telling : lines)
      .slice(-2)
      .join(" / ")
      .replace(/\d+:[A-Z] [^*#]*[*#] /g, "");
  } catch {
    return "it said nothing";
  }
}

/** A loopback port that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("the system gave no loopback port");
  return address.port;
}
