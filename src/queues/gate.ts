import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Log } from "../core/stage.ts";
import type { Keys } from "./keys.ts";

/** Lines of the journal that are compared with Redis: at the start, and when a Redis came back as a new process. */
const LOOK_BACK_MS = { start: 24 * 3_600_000, restart: 3_600_000 };
/** Clocks of our machines are no further apart than this. */
const SKEW_MS = 10 * 60_000;
const AGAIN_MS = 5_000;
/** How soon it is noticed that Redis was emptied under us. */
const WATCH_MS = 8_000;
/** Somebody may change Redis' settings while it runs. */
const SETTINGS_MS = 5 * 60_000;

/** Thrown when the Redis at hand is not the one that belongs to this DATA_DIR, or cannot be relied on. */
export class WrongRedis extends Error {
  override readonly name = "WrongRedis";
  readonly code: "redis-empty" | "redis-foreign" | "redis-evicts";
  constructor(code: WrongRedis["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** Makes the Redis at hand the one that belongs to this DATA_DIR, after its records were restored. */
export async function adopt({ redis, keys, instance }: Pick<GateParts, "redis" | "keys" | "instance">): Promise<void> {
  const id = (await instance.read()) ?? randomUUID();
  await instance.write(id);
  await redis.mset(keys.instance, id, keys.alive, Date.now());
}

interface GateParts {
  redis: Redis;
  keys: Keys;
  /** The id on the data volume. `claim` writes one where there is none, and gives the one that is there then. */
  instance: {
    read(): Promise<string | undefined>;
    write(id: string): Promise<void>;
    claim(id: string): Promise<string>;
  };
  /** How many requests the journal knows to be under way; undefined when it is not whole, and nobody can tell. */
  openRequests: () => Promise<number | undefined>;
  /** Puts back what Redis lost since `sinceMs`. How many requests. */
  mend: (sinceMs: number) => Promise<number>;
  /** Why this Redis must not be used whatever is in it; undefined when it may. */
  unfit: () => Promise<string | undefined>;
  settingsMs?: number;
  log: Log;
  watchMs?: number;
}

export type Gate = ReturnType<typeof createGate>;

/**
 * Nothing costly is begun before Redis was found to be ours and to know all that the journal knows: at the start, and
 * whenever Redis comes back as another process than before. A Redis that is empty, or another pipeline's, stops the
 * pipeline; it never makes it start over.
 */
export function createGate({
  redis,
  keys,
  instance,
  openRequests,
  mend,
  unfit,
  settingsMs = SETTINGS_MS,
  log,
  watchMs = WATCH_MS,
}: GateParts) {
  let epoch = 0;
  let openFor: number | undefined;
  let trouble: WrongRedis | undefined;
  let verifiedRun: string | undefined;
  let looking: Promise<void> | undefined;
  let again: NodeJS.Timeout | undefined;
  let isStarted = false;
  let isClosed = false;
  const waiters = new Set<() => void>();

  redis.on("close", () => {
    epoch += 1;
  });
  const watch = setInterval(() => {
    if (openFor !== epoch || looking) return;
    watched().catch(() => {}); // away: the connection says so
  }, watchMs);
  watch.unref();
  const settingsWatch = setInterval(() => {
    if (openFor !== epoch || looking) return;
    unfit().then(
      (why) => {
        if (why !== undefined) standStill();
      },
      () => {},
    );
  }, settingsMs);
  settingsWatch.unref();

  function standStill(): void {
    verifiedRun = undefined;
    openFor = undefined;
    look();
  }

  async function watched(): Promise<void> {
    const [there, here] = await Promise.all([redis.get(keys.instance), instance.read()]);
    if (there === here) {
      await redis.set(keys.alive, Date.now());
      return;
    }
    standStill();
  }

  function look(): void {
    if (isClosed) return;
    clearTimeout(again);
    looking ??= verify().finally(() => {
      looking = undefined;
    });
  }

  async function verify(): Promise<void> {
    const forEpoch = epoch;
    try {
      const run = /run_id:(\w+)/.exec(await redis.info("server"))?.[1];
      if (run === undefined || run !== verifiedRun) {
        const why = await unfit();
        if (why !== undefined) throw new WrongRedis("redis-evicts", why);
        await checkInstance();
        const restored = await mend(await since(LOOK_BACK_MS[verifiedRun === undefined ? "start" : "restart"]));
        if (restored > 0)
          log.error({ code: "redis-lost-writes", restored }, "Redis had lost writes; they were restored");
        verifiedRun = run;
        await redis.set(keys.alive, Date.now());
      }
      trouble = undefined;
      openFor = forEpoch;
      wakeAll();
    } catch (error) {
      if (error instanceof WrongRedis) {
        trouble = error;
        wakeAll(); // who waits for the gate to open wants to know
      }
      const { code = "redis-away" } = error as { code?: string };
      log.error({ code, reason: trouble ? trouble.message : "not verified yet" }, "the pipeline stands still");
      again = setTimeout(look, AGAIN_MS);
    }
    if (forEpoch !== epoch && redis.status === "ready" && !isClosed) again = setTimeout(look, 0);
  }

  /**
   * From when on Redis has to be compared with the journal: `lookBackMs`, or further where Redis itself was last known
   * to be alive before that. It may have come back from an old backup.
   */
  async function since(lookBackMs: number): Promise<number> {
    const aliveMs = Number((await redis.get(keys.alive)) ?? 0);
    return Math.max(Math.min(Date.now() - lookBackMs, aliveMs - SKEW_MS), 0);
  }

  function wakeAll(): void {
    for (const wake of waiters) wake();
    waiters.clear();
  }

  async function checkInstance(): Promise<void> {
    const there = await redis.get(keys.instance);
    const here = await instance.read(); // after it: whoever claims writes here first
    if (there !== null && there === here) return;
    if (there !== null) {
      throw new WrongRedis(
        "redis-foreign",
        here === undefined
          ? "Redis belongs to another DATA_DIR: this one is new. Set DATA_DIR to the folder this Redis was used with, or REDIS_PREFIX to a name of its own."
          : "Redis belongs to another DATA_DIR than this one. Set REDIS_URL, REDIS_PREFIX or DATA_DIR so that they belong together.",
      );
    }
    const open = await openRequests();
    if (open !== 0) {
      const why =
        open === undefined
          ? "and the journal is not whole, so nobody can tell what is under way"
          : `but ${open} requests are under way by the journal`;
      throw new WrongRedis("redis-empty", `Redis is empty, ${why}. Bring its data back, or run: signpipe recover`);
    }
    // The disk first: a Redis that was claimed for a folder which could not be written to would be a foreign one for ever.
    const id = await instance.claim(randomUUID());
    if ((await redis.set(keys.instance, id, "NX")) === "OK") return;
    if ((await redis.get(keys.instance)) !== id) await checkInstance();
  }

  return {
    /** Begins to look. Before that the gate is shut, and nothing is written: whoever only looks never starts it. */
    start(): void {
      if (isStarted) return;
      isStarted = true;
      redis.on("ready", look);
      if (redis.status === "ready") look();
    },
    /** Changes with every interruption of the connection. */
    epoch: () => epoch,
    isOpen: () => openFor === epoch,
    /** Whether it is being found out at this moment. */
    isComparing: () => looking !== undefined,
    /** What stops the pipeline, when something does. */
    trouble: () => trouble,
    /** Waits until the gate is open, or cannot be; at most `withinMs`. Whether it is. */
    async whenOpen(withinMs: number): Promise<boolean> {
      if (openFor === epoch) return true;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, withinMs);
        function done() {
          clearTimeout(timer);
          waiters.delete(done);
          resolve();
        }
        waiters.add(done);
      });
      return openFor === epoch;
    },
    close(): void {
      isClosed = true;
      clearInterval(watch);
      clearInterval(settingsWatch);
      clearTimeout(again);
      wakeAll();
    },
  };
}
