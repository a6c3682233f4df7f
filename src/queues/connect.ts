import { Redis, type RedisOptions } from "ioredis";

/** Errors of a connection are told at the most this often. */
const QUIET_MS = 5_000;

/**
 * Sends together what is asked in one turn of the event loop: one system call, and one for Redis to read, instead of one
 * for each command. Nothing waits for more to come, and each command keeps its own answer, which is what ioredis's
 * pipelines and its automatic ones cost more for than they save.
 */
class Gathering extends Redis {
  #gathered: unknown;

  override sendCommand(...[command, given]: Parameters<Redis["sendCommand"]>): unknown {
    const { stream } = this;
    if (!given && stream && this.#gathered !== stream && this.status === "ready") {
      this.#gathered = stream;
      stream.cork();
      process.nextTick(() => {
        this.#gathered = undefined;
        stream.uncork();
      });
    }
    return super.sendCommand(command, given);
  }
}

/** A connection to Redis. `away` is told the error's code now and then while it cannot be reached. */
export function connect(
  url: string,
  options: Pick<
    RedisOptions,
    "maxRetriesPerRequest" | "commandTimeout" | "connectTimeout" | "enableOfflineQueue" | "connectionName"
  >,
  away: (code: string) => void = () => {},
): Redis {
  const redis = new Gathering(url, { keepAlive: 10_000, connectionName: "signpipe", ...options });
  let quietUntilMs = 0;
  redis.on("error", (error) => {
    if (Date.now() < quietUntilMs) return;
    quietUntilMs = Date.now() + QUIET_MS;
    away((error as NodeJS.ErrnoException).code ?? "error");
  });
  return redis;
}

/** What a refused login is told as; everything else is passed through. @source Redis documentation, "ACL": codes of refused logins and commands */
export function toLoginError(error: unknown): unknown {
  const code = error instanceof Error ? /^(NOAUTH|WRONGPASS|NOPERM)\b/.exec(error.message)?.[1] : undefined;
  if (code === undefined) return error;
  return new Error(
    `Redis refuses this user or password (${code}): correct them in REDIS_URL, like redis://user:password@host:6379.`,
  );
}
