import type { Redis } from "ioredis";
import type { Log } from "../core/stage.ts";
import type { Keys } from "./keys.ts";

/** How long due jobs may lie there, with nobody at work, before the worker counts as deaf. */
const DEAF_MS = 60_000;
const LOOKS = 6;

/** Jobs of a stage that wait for a worker, or whose time has come. BullMQ scores a job with its time times 4096. */
export async function dueJobs(redis: Redis, keys: Keys, stage: string): Promise<number> {
  const [waiting, delayed] = await Promise.all([
    redis.llen(`${keys.queues}:${stage}:wait`),
    redis.zcount(`${keys.queues}:${stage}:delayed`, 0, Date.now() * 0x1000),
  ]);
  return waiting + delayed;
}

/**
 * Notices a worker that says it runs and takes no job, as has happened after outages of Redis: jobs are due, none is at
 * work and none was begun for a minute, although Redis answers. It is replaced; when the new one is deaf as well, only
 * a new process helps.
 */
export function createWatchdog({
  stage,
  due,
  replace,
  giveUp,
  deafMs = DEAF_MS,
  log,
}: {
  stage: string;
  /** How many jobs are due. Rejects when Redis does not answer. */
  due: () => Promise<number>;
  replace: () => Promise<void>;
  giveUp: () => void;
  deafMs?: number | undefined;
  log: Log;
}) {
  let active = 0;
  let sinceMs: number | undefined;
  let replaced = false;
  let looking = false;
  const timer = setInterval(() => {
    if (looking || active > 0) return;
    looking = true;
    void look().finally(() => (looking = false));
  }, deafMs / LOOKS);
  timer.unref();

  async function look(): Promise<void> {
    const at = performance.now();
    const jobs = await due().catch(() => 0);
    if (jobs === 0 || active > 0) return void (sinceMs = undefined);
    sinceMs ??= at;
    if (at - sinceMs < deafMs) return;
    sinceMs = undefined;
    if (replaced) {
      log.error({ stage, code: "worker-deaf", jobs }, "a new worker takes no jobs either: this process ends");
      return giveUp();
    }
    replaced = true;
    log.error({ stage, code: "worker-deaf", jobs }, "worker takes no jobs: it is replaced");
    await replace().catch(() => giveUp());
  }

  return {
    /** A job was taken up; call the answer when it is over. */
    began(): () => void {
      active += 1;
      sinceMs = undefined;
      replaced = false;
      return () => {
        active -= 1;
      };
    },
    stop(): void {
      clearInterval(timer);
    },
  };
}
