/**
 * Health check of a container: `node /app/docker/healthy.mjs api|inbox|workers`. Exit code 0 when the part is well,
 * else 1 and one sentence. Plain JavaScript, so that it starts fast.
 *
 * The API answers for itself. Parts without a port are asked of Redis: a process that hangs, or whose connection has
 * died unnoticed, stops talking to it. Workers ask for jobs every few seconds even when there are none, and the inbox
 * asks for news every second.
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { Redis } from "ioredis";

const QUIET_MOST_S = 60;
const WITHIN_MS = 8_000;

const part = process.argv[2] ?? "";
setTimeout(() => end(`no answer within ${WITHIN_MS / 1000} s`), WITHIN_MS).unref();
try {
  end(part === "api" ? await askApi() : await askRedis());
} catch (error) {
  end(error instanceof Error ? error.message : String(error));
}

/** What is wrong with the API; undefined when it is ready. */
async function askApi() {
  const answer = await fetch(`http://127.0.0.1:${process.env.API_PORT ?? 8080}/health/ready`);
  const { reasons = [] } = await answer.json();
  return answer.ok ? undefined : `not ready: ${reasons.join("; ")}`;
}

/** What is wrong with this container's talk to Redis; undefined when nothing is. */
async function askRedis() {
  const redis = new Redis(redisUrl(), { maxRetriesPerRequest: 0, connectTimeout: 3_000, retryStrategy: () => null });
  redis.on("error", () => {});
  try {
    const self = Number(await redis.client("ID"));
    const own = new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)));
    const clients = String(await redis.client("LIST", "TYPE", "NORMAL"))
      .split("\n")
      .map(toClient);
    const mine = clients.filter(({ id, host }) => id !== self && own.has(host));
    if (mine.length === 0) return `Redis knows no connection of the ${part} in this container`;
    const quietS = Math.min(...mine.map(({ idleS }) => idleS));
    return quietS > QUIET_MOST_S ? `the ${part} has not talked to Redis for ${quietS} s` : undefined;
  } finally {
    redis.disconnect();
  }
}

function toClient(line) {
  const fields = Object.fromEntries(
    line
      .trim()
      .split(" ")
      .map((field) => [field.split("=", 1)[0], field.slice(field.indexOf("=") + 1)]),
  );
  const { id, addr = "", idle } = fields;
  return { id: Number(id), host: addr.slice(0, Math.max(addr.lastIndexOf(":"), 0)), idleS: Number(idle) };
}

/** As the program reads it: the environment, then the file that REDIS_URL_FILE names. */
function redisUrl() {
  const { REDIS_URL: url, REDIS_URL_FILE: file } = process.env;
  if (url) return url;
  if (!file) throw new Error("REDIS_URL is not set");
  return readFileSync(file, "utf8").trim();
}

function end(trouble) {
  if (trouble === undefined) process.exit(0);
  console.error(`${part || "nothing"}: ${trouble}`);
  process.exit(1);
}
