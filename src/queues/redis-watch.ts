import type { Redis } from "ioredis";
import type { Log } from "../core/stage.ts";

/** Nothing new is taken in from the first share of maxmemory on, until it is below the second. */
const FULL = 0.7;
const ROOM_AGAIN = 0.65;
const LOOK_MS = 1_000;

/** The settings and figures that decide whether Redis keeps what it is given. Undefined is what we may not ask. */
interface Facts {
  policy: string | undefined;
  usedBytes: number;
  /** 0 for no bound. */
  mostBytes: number;
}

export type RedisWatch = ReturnType<typeof createRedisWatch>;

/** Looks whether Redis can be relied on: that it evicts nothing, writes to disk, and has room. */
export function createRedisWatch({ redis, log, now = Date.now }: { redis: Redis; log: Log; now?: () => number }) {
  let isFull = false;
  let lookedMs = -Infinity;
  let looking: Promise<void> | undefined;
  let hasWarned = false;

  async function readFacts(): Promise<Facts> {
    const info = await unlessForbidden(redis.info("memory"));
    const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info ?? "")?.[1];
    const policy = field("maxmemory_policy") ?? (await configured("maxmemory*")).get("maxmemory-policy");
    return { policy, usedBytes: Number(field("used_memory") ?? 0), mostBytes: Number(field("maxmemory") ?? 0) };
  }

  async function configured(pattern: string): Promise<Map<string, string>> {
    const flat = ((await unlessForbidden(redis.config("GET", pattern))) ?? []) as string[];
    const found = new Map<string, string>();
    for (let i = 0; i + 1 < flat.length; i += 2) found.set(flat[i] ?? "", flat[i + 1] ?? "");
    return found;
  }

  async function measure(): Promise<void> {
    const { usedBytes, mostBytes } = await readFacts();
    const share = mostBytes > 0 ? usedBytes / mostBytes : 0;
    const was = isFull;
    isFull = share >= (was ? ROOM_AGAIN : FULL);
    if (isFull === was) return;
    const fields = { usedBytes, mostBytes };
    if (isFull) log.error({ ...fields, code: "redis-full" }, "Redis is nearly full: nothing new is taken in");
    else log.info(fields, "Redis has room again");
  }

  return {
    /** Why this Redis must not be used, in one sentence; undefined when it may. Throws when Redis is away. */
    async unfit(): Promise<string | undefined> {
      const { policy } = await readFacts();
      if (policy === undefined || policy === "noeviction") return undefined;
      return `Redis has maxmemory-policy ${policy} and would throw requests away when memory is short: set it to noeviction, now (redis-cli CONFIG SET maxmemory-policy noeviction) and in redis.conf.`;
    },

    /** Warns, once, of settings with which a power cut loses what was accepted. */
    async warn(): Promise<void> {
      if (hasWarned) return;
      const settings = new Map([...(await configured("append*")), ...(await configured("aof-load-truncated"))]);
      hasWarned = true;
      const risks = [
        ["appendonly", "yes"],
        ["appendfsync", "always"],
        ["aof-load-truncated", "no"],
      ].flatMap(([name = "", wanted = ""]) => {
        const is = settings.get(name);
        return is === undefined || is === wanted ? [] : [`${name} is ${is}, not ${wanted}`];
      });
      if (risks.length > 0) {
        log.warn(
          { code: "redis-not-durable", reason: risks.join("; ") },
          "a power cut may cost Redis what it accepted",
        );
      }
    },

    /** Why nothing new may be taken in, in one sentence; undefined when there is room. Asks once a second at most. */
    async full(): Promise<string | undefined> {
      if (now() - lookedMs >= LOOK_MS) {
        lookedMs = now();
        looking ??= measure().finally(() => (looking = undefined));
      }
      await looking;
      return isFull
        ? "Redis is nearly full: nothing new is taken in until it has room; give it more memory (maxmemory)"
        : undefined;
    },
  };
}

/** Undefined when the user of the connection may not ask that. */
async function unlessForbidden<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Error && /NOPERM|unknown command|no permissions/i.test(error.message)) return undefined;
    throw error;
  }
}

/** Whether Redis refused a command because its memory is used up. Then the command did nothing. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && /\bOOM command not allowed\b/.test(error.message);
}
