import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { Redis } from "ioredis";

export interface RedisServer {
  port: number;
  url: string;
  /** The files that it keeps. */
  files(): string[];
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
  /** Takes whole commands off the end of its file, at least `bytes`. How many bytes went. Only while it is down. */
  cutTail(bytes: number): number;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** So much before a cut is looked through for where commands begin. */
const TAIL_BYTES = 4 << 20;

/** A Redis of its own, on a port that stays; everything that it acknowledges is on disk. */
export async function startRedisServer(dir: string): Promise<RedisServer> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const port = await freePort();
  const conf = join(dir, "redis.conf");
  writeFileSync(
    conf,
    [
      `port ${port}`,
      "bind 127.0.0.1",
      `dir ${dir}`,
      `logfile ${join(dir, "redis.log")}`,
      'save ""',
      "appendonly yes",
      "appendfsync always",
      "aof-load-truncated no",
      "auto-aof-rewrite-percentage 100", // as it is by default: a file of a gigabyte takes half a minute to read
      "auto-aof-rewrite-min-size 64mb",
      "maxmemory-policy noeviction",
    ].join("\n"),
    { mode: 0o600 },
  );
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    const started = spawn("redis-server", [conf], { stdio: "ignore" });
    child = started;
    const endWithUs = () => started.kill("SIGKILL");
    process.once("exit", endWithUs);
    started.once("exit", () => process.off("exit", endWithUs));
    const redis = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    redis.on("error", () => {});
    const gone = once(started, "exit").then(() => "gone");
    const how = await Promise.race([redis.ping(), gone]);
    redis.disconnect();
    if (how !== "PONG")
      throw new Error(`redis-server ended: ${readFileSync(join(dir, "redis.log"), "utf8").slice(-400)}`);
  }

  async function end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }

  const folder = join(dir, "appendonlydir");
  const aofFiles = () =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".aof"))
      .map((name) => join(folder, name));

  await start();
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    files: aofFiles,
    kill: () => end("SIGKILL"),
    cutTail(bytes) {
      const number = (name: string) => Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1] ?? 0);
      const path = aofFiles().reduce((last, name) => (number(name) > number(last) ? name : last), "");
      if (number(path) === 0) throw new Error("Redis has no append-only file");
      const { size } = statSync(path);
      const from = Math.max(size - bytes - TAIL_BYTES, 0);
      const tail = slice(path, from, size);
      const start = from === 0 ? 0 : firstAfterTransaction(tail);
      const kept = from + start + boundaryBefore(tail.subarray(start), tail.length - start - bytes);
      truncateSync(path, kept);
      return size - kept;
    },
    start,
    stop: () => end("SIGTERM"),
  };
}

function slice(path: string, from: number, to: number): Buffer {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(to - from);
    readSync(file, bytes, 0, bytes.length, from);
    return bytes;
  } finally {
    closeSync(file);
  }
}

/** A place in a piece of the file where a command begins and no transaction is open. */
function firstAfterTransaction(piece: Buffer): number {
  const exec = "*1\r\n$4\r\nEXEC\r\n";
  const at = piece.indexOf(exec, 0, "latin1");
  if (at < 0) throw new Error("no transaction ends in this piece of the append-only file");
  return at + exec.length;
}

/** The last place at or before `at` where a command ends and no transaction is open. */
export function boundaryBefore(content: Buffer, at: number): number {
  let place = 0;
  let last = 0;
  let isOpen = false;
  while (place < content.length) {
    const [end, name] = commandAt(content, place);
    if (end > at || end > content.length) break;
    if (name === "MULTI") isOpen = true;
    if (name === "EXEC") isOpen = false;
    place = end;
    if (!isOpen) last = place;
  }
  return last;
}

/** Where the command at `place` ends, and its name. @source Redis serialization protocol (RESP), arrays of bulk strings */
function commandAt(content: Buffer, place: number): [end: number, name: string] {
  const lineAt = (from: number): [text: string, next: number] => {
    const end = content.indexOf("\r\n", from, "latin1");
    return end < 0 ? ["", Infinity] : [content.toString("latin1", from, end), end + 2];
  };
  const [head, first] = lineAt(place);
  if (head.startsWith("#")) return [first, "annotation"];
  let next = first;
  let name = "";
  for (let left = Number(head.slice(1)); left > 0 && next < content.length; left--) {
    const [size, from] = lineAt(next);
    const length = Number(size.slice(1));
    if (name === "") name = content.toString("latin1", from, from + length).toUpperCase();
    next = from + length + 2;
  }
  return [next, name];
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
