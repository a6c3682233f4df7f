import { Redis, type RedisOptions } from "ioredis";

/** Errors of a connection are told at the most this often. */
const QUIET_MS = 5_000;

/** A connection to Redis. `away` is told the error's code now and then while it cannot be reached. */
export function connect(
  url: string,
  options: Pick<
    RedisOptions,
    "maxRetriesPerRequest" | "commandTimeout" | "connectTimeout" | "enableOfflineQueue" | "connectionName"
  >,
  away: (code: string) => void = () => {},
): Redis {
  const redis = new Redis(url, { keepAlive: 10_000, connectionName: "signpipe", ...options });
  let quietUntilMs = 0;
  redis.on("error", (error) => {
    if (Date.now() < quietUntilMs) return;
    quietUntilMs = Date.now() + QUIET_MS;
    away((error as NodeJS.ErrnoException).code ?? "error");
  });
  return redis;
}
