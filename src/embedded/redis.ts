import { resolve, join } from "node:path";
import { type Environment, findOnPath, run } from "./command.ts";
import { unpackDebianRedis } from "./debian.ts";
import { dockerHasRedis, REDIS_IMAGE, startContainer } from "./docker.ts";
import { lockFolder } from "./folder-lock.ts";
import { type ServerOptions, type StartedServer, startServer } from "./server.ts";

/** Ways to a Redis on this machine, in the order in which they are tried. */
export const WAYS = ["path", "docker", "debian"] as const;
export type Way = (typeof WAYS)[number];

/** What the caller wants, and what it knows of the machine. */
export interface RedisOptions {
  /** Address of a Redis that somebody else runs. When given it is taken as it is, and nothing is started. */
  readonly url?: string | undefined;
  /** Folder of the data; made when missing. The next start on the same folder finds its data again. */
  readonly dir: string;
  /** true: every acknowledged write is on disk (a run). false: nothing is kept (tests). */
  readonly keep: boolean;
  /** Loopback port to listen on; any free one when not given. */
  readonly port?: number | undefined;
  readonly env: Environment;
  /** Told what is going on, in plain words, when it takes longer than a moment. */
  readonly say?: (line: string) => void;
  /** Ways that may be used; all by default. */
  readonly ways?: readonly Way[];
  /** Set when the caller gives it up: whatever was begun is ended, and the signal's reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** A Redis that answers. */
export interface RunningRedis {
  /** Address with its password: never to be logged. */
  readonly url: string;
  /** Which Redis this is, in words for the person who started us; holds no secret. */
  readonly how: string;
  /** Process number of the Redis started here; `undefined` for one in a container or of somebody else. */
  readonly pid: number | undefined;
  /** Stops what was started here; does nothing to a Redis that somebody else runs. Safe to call twice. */
  stop(): Promise<void>;
}

/** Older ones lack commands that BullMQ needs. @source BullMQ documentation, "Compatibility" */
const OLDEST = [6, 2] as const;

/**
 * Finds or starts a Redis: the given address, else a server on PATH, else a Docker container, else Debian's packages
 * unpacked into the cache. What is started listens on loopback only, under a password of its own, and ends with this
 * process. Throws one clear sentence when there is no way, or when another start works on the same folder.
 */
export async function findRedis(options: RedisOptions): Promise<RunningRedis> {
  const { url, keep, port, env, say = () => {}, ways = WAYS, signal } = options;
  if (url !== undefined && url !== "") {
    return { url, how: `Redis at ${withoutPassword(url)} (REDIS_URL)`, pid: undefined, stop: () => Promise.resolve() };
  }
  const dir = resolve(options.dir);
  const lock = await lockFolder(dir, { signal });
  const failures: string[] = [];
  try {
    for (const way of ways) {
      signal?.throwIfAborted();
      try {
        const found = await START[way]({ dir, keep, port, env, say, signal });
        if (!found) continue;
        const { server } = found;
        lock.note({ pid: server.pid, url: server.url });
        server.onAgain?.((pid) => {
          try {
            lock.note({ pid, url: server.url });
          } catch {
            say("The owner of the Redis folder could not be written down; its disk takes nothing.");
          }
        });
        let stopping: Promise<void> | undefined;
        const stop = (): Promise<void> => (stopping ??= server.stop().finally(lock.release));
        return {
          url: server.url,
          how: found.how,
          get pid() {
            return server.pid;
          },
          stop,
        };
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
    }
    signal?.throwIfAborted();
    throw new Error(noRedis(failures));
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface Context extends ServerOptions {
  readonly env: Environment;
  readonly say: (line: string) => void;
}
type Starter = (context: Context) => Promise<{ server: StartedServer; how: string } | undefined>;

/** How each way is gone; `undefined` means that this machine does not offer it. */
const START: Record<Way, Starter> = {
  async path({ dir, keep, port, env, signal }) {
    const path = findOnPath(["redis-server", "valkey-server"], env);
    if (path === undefined) return undefined;
    const version = await versionOf(path);
    if (!isNewEnough(version)) throw new Error(`${path} is version ${version}, and ${OLDEST.join(".")} is needed`);
    return {
      server: await startServer({ path }, { dir, keep, port, signal }),
      how: `Redis ${version}, started from ${path}`,
    };
  },
  async docker({ dir, keep, port, env, signal }) {
    if (!(await dockerHasRedis(env, signal))) return undefined;
    return {
      server: await startContainer({ dir, keep, port, signal }),
      how: `Redis in a Docker container (${REDIS_IMAGE})`,
    };
  },
  async debian({ dir, keep, port, env, say, signal }) {
    if (!findOnPath(["apt-get"], env)) return undefined;
    const cache = cacheFolder(env);
    const program = await unpackDebianRedis(cache, env, say, signal);
    if (!program) return undefined;
    const version = await versionOf(program.path, program.libraryPath);
    const server = await startServer(program, { dir, keep, port, signal });
    return { server, how: `Redis ${version} from the Debian package, unpacked in ${cache}` };
  },
};

/**
 * The user's cache rather than the project's: the program belongs to the machine, and a fresh clone should not fetch it
 * again. @source XDG Base Directory Specification
 */
function cacheFolder(env: Environment): string {
  const base = env.XDG_CACHE_HOME || (env.HOME ? join(env.HOME, ".cache") : ".cache");
  return join(resolve(base), "signpipe");
}

async function versionOf(path: string, libraryPath?: string): Promise<string> {
  const env = libraryPath === undefined ? {} : { env: { LD_LIBRARY_PATH: libraryPath } };
  const { stdout } = await run(path, ["--version"], { timeoutMs: 10_000, ...env });
  return /v=([\d.]+)/.exec(stdout)?.[1] ?? "unknown";
}

/** A version nobody can read is given the benefit of the doubt: the start itself will tell. */
export function isNewEnough(version: string): boolean {
  const [major = NaN, minor = 0] = version.split(".").map(Number);
  if (Number.isNaN(major)) return true;
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/** The address as it may be shown: without user and password. */
export function withoutPassword(url: string): string {
  try {
    const { protocol, host } = new URL(url);
    return `${protocol}//${host}`;
  } catch {
    return "the given address";
  }
}

function noRedis(failures: readonly string[]): string {
  const tried = failures.length === 0 ? "" : ` Tried: ${failures.join("; ")}.`;
  const remedy =
    process.platform === "darwin"
      ? 'install it with "brew install redis", start Docker, or set REDIS_URL'
      : "install redis-server 6.2 or newer, start Docker, or set REDIS_URL";
  return `no Redis was found: ${remedy}.${tried}`;
}
