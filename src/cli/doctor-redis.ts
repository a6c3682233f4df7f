import { connect } from "node:net";
import { withoutPassword } from "../embedded/redis.ts";
import { fail, type Finding, ok, type Patient, warn } from "./doctor-finding.ts";
import { toSize } from "./doctor-files.ts";

const ANSWER_MS = 3_000;
const MEMORY_WARN = 0.7;
const MEMORY_FAIL = 0.9;

/** The settings of Redis that decide whether anything can be lost. @source BullMQ documentation, "Going to production" */
interface RedisFacts {
  version: string;
  policy: string;
  appendonly: boolean;
  /** Undefined when we may not ask. */
  appendfsync: string | undefined;
  usedBytes: number;
  /** 0 for no bound. */
  mostBytes: number;
  role: string;
}

/** Why nothing listens at a Redis' address; undefined when something does. */
export function whyUnreached(url: string): Promise<string | undefined> {
  if (!URL.canParse(url)) return Promise.resolve("the address cannot be read");
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, "") || "127.0.0.1", port: Number(port || 6379) });
    const end = (why: string | undefined) => {
      socket.destroy();
      resolve(why);
    };
    socket.setTimeout(ANSWER_MS, () => end("no answer"));
    socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? "no answer"));
    socket.once("connect", () => end(undefined));
  });
}

/** Redis answers, is new enough, and keeps what it was given. */
export async function checkRedis({ redisUrl, unreached, stores }: Patient): Promise<Finding[]> {
  if (redisUrl === undefined) return [ok("Redis", "none is set; a start finds one on this machine, or starts one")];
  const where = withoutPassword(redisUrl);
  if (!stores) {
    const todo = "Check REDIS_URL, and that Redis runs.";
    return [fail("Redis", `${where} cannot be reached (${unreached ?? "no answer"}).`, todo)];
  }
  try {
    await stores.redis.ping();
  } catch (error) {
    const isRefused = error instanceof Error && /NOAUTH|WRONGPASS|NOPERM/.test(error.message);
    if (isRefused) return [fail("Redis", `${where} refuses us.`, "Put the user and password into REDIS_URL.")];
    return [fail("Redis", `${where} does not answer.`, "Check that it is a Redis, and not one that loads its data.")];
  }
  const info = parseInfo(await stores.redis.info());
  const config = await stores.redis.config("GET", "append*").catch(() => []);
  const fsync = toMap(config as string[]).get("appendfsync");
  const facts: RedisFacts = {
    version: info.get("valkey_version") ?? info.get("redis_version") ?? "0",
    policy: info.get("maxmemory_policy") ?? "unknown",
    appendonly: info.get("aof_enabled") === "1",
    appendfsync: fsync,
    usedBytes: Number(info.get("used_memory") ?? 0),
    mostBytes: Number(info.get("maxmemory") ?? 0),
    role: info.get("role") ?? "master",
  };
  return [ok("Redis", `${facts.version} answers at ${where}`), ...judgeRedis(facts)];
}

/** What is to be said about these settings; pure. */
export function judgeRedis(facts: RedisFacts): Finding[] {
  const { version, policy, appendonly, appendfsync, usedBytes, mostBytes, role } = facts;
  const found: Finding[] = [];
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    found.push(fail("Redis version", `${version} is older than 6.2.`, "Use Redis 7 or newer."));
  } else if (major < 7) {
    found.push(warn("Redis version", `${version} works, but is no longer maintained.`, "Use Redis 7 or newer."));
  }
  if (role !== "master") {
    found.push(fail("Redis role", `It is a ${role}: it takes no writes.`, "Let REDIS_URL name the primary."));
  }
  if (policy !== "noeviction") {
    const todo = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.";
    found.push(
      fail("Redis eviction", `maxmemory-policy is ${policy}: requests would vanish when memory is short.`, todo),
    );
  }
  if (!appendonly) {
    const todo = "Set appendonly yes: without it the state is gone, or old, after a restart.";
    found.push(fail("Redis persistence", "appendonly is off.", todo));
  } else if (appendfsync === "everysec" || appendfsync === "no") {
    const lost = appendfsync === "no" ? "whatever the system had not written" : "the last second";
    const todo = "Set appendfsync always, unless that can be borne.";
    found.push(warn("Redis persistence", `appendfsync is ${appendfsync}: a power cut loses ${lost}.`, todo));
  } else if (policy === "noeviction") {
    const says =
      appendfsync === undefined
        ? "appendonly, noeviction (appendfsync may not be asked for)"
        : "appendonly, fsync always, noeviction";
    found.push(ok("Redis persistence", says));
  }
  const share = mostBytes > 0 ? usedBytes / mostBytes : 0;
  const says =
    mostBytes > 0 ? `${toSize(usedBytes)} of ${toSize(mostBytes)} used` : `${toSize(usedBytes)} used, no bound`;
  const todo = "Give it more memory: when it is full, nothing can be taken in.";
  if (share > MEMORY_FAIL) found.push(fail("Redis memory", says, todo));
  else found.push(share > MEMORY_WARN ? warn("Redis memory", says, todo) : ok("Redis memory", says));
  return found;
}

function parseInfo(text: string): Map<string, string> {
  return new Map(
    text
      .split(/\r?\n/)
      .map((line) => /^([a-z0-9_]+):(.*)$/i.exec(line))
      .filter((match) => match !== null)
      .map(([, key = "", value = ""]) => [key, value]),
  );
}

/** A list of names and values, one after the other. */
function toMap(list: string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (let i = 0; i + 1 < list.length; i += 2) map.set(list[i] ?? "", list[i + 1] ?? "");
  return map;
}
