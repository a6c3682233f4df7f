import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
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
      "auto-aof-rewrite-percentage 0",
      "maxmemory-policy noeviction",
    ].join("\n"),
    { mode: 0o600 },
  );
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    child = spawn("redis-server", [conf], { stdio: "ignore" });
    const redis = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    redis.on("error", () => {});
    const gone = once(child, "exit").then(() => "gone");
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
      const path = aofFiles().find((name) => name.endsWith(".incr.aof"));
      if (path === undefined) throw new Error("Redis has no append-only file");
      const content = readFileSync(path);
      const keep = boundaryBefore(content, content.length - bytes);
      truncateSync(path, keep);
      return content.length - keep;
    },
    start,
    stop: () => end("SIGTERM"),
  };
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
