import { Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { RequestId } from "../core/request.ts";
import type { AnyStage } from "../core/stage.ts";
import { isEnd } from "../core/status.ts";
import { type AttemptDeps, PASSED_BY, retryDelayMs, runAttempt } from "./attempt.ts";
import { createLeases } from "./lease.ts";
import { within } from "./pace.ts";
import type { StageJob } from "./queues.ts";
import { isOutOfMemory } from "./redis-watch.ts";
import { createWatchdog, dueJobs } from "./watchdog.ts";

/** A job whose worker died is taken over after this. */
const LOCK_MS = 15_000;
const STALLED_CHECK_MS = 5_000;
/** Redis has this long to tell the watchdog what is due. */
const ANSWER_MS = 2_000;
/** How long what was interrupted at a stop has to be written down. */
const RECORD_MS = 2_000;

export interface WorkerDeps<Tools> extends AttemptDeps<Tools> {
  connection: Redis;
  lockMs?: number;
  /** After how many milliseconds of deafness a worker is replaced (watchdog.ts). */
  deafMs?: number;
  /** Called when only a new process helps. */
  giveUp?: (why: string) => void;
  concurrency?: number;
}

export interface StageWorker {
  readonly stage: string;
  /** Takes no new job, gives running ones `graceMs`, then interrupts them; bounded even when Redis is away. */
  stop(graceMs?: number): Promise<void>;
}

/** Starts the worker of one stage. */
export function startWorker<Tools extends object>(stage: AnyStage<Tools>, deps: WorkerDeps<Tools>): StageWorker {
  const stopping = new AbortController();
  const { log } = deps;
  let quietUntilMs = 0;
  let worker = listen();
  const watchdog = createWatchdog({
    stage: stage.name,
    due: () => within(dueJobs(deps.connection, deps.keys, stage.name), ANSWER_MS),
    async replace() {
      await worker.close(true);
      if (!stopping.signal.aborted) worker = listen();
    },
    giveUp: () => deps.giveUp?.(`The worker of ${stage.name} takes no jobs`),
    deafMs: deps.deafMs,
    log,
  });

  function listen() {
    const { lockMs = LOCK_MS, random = Math.random } = deps;
    const leases = createLeases({ lockMs });
    const made = new Worker<StageJob, typeof PASSED_BY | undefined>(
      stage.name,
      async (job, token, lost) => {
        const ended = watchdog.began();
        const lease = leases.take(job.id ?? "");
        try {
          return await runAttempt({ stage, job, token: token ?? "", stopping: stopping.signal, lost, lease, deps });
        } finally {
          lease.end();
          ended();
        }
      },
      {
        connection: deps.connection,
        prefix: deps.keys.queues,
        concurrency: deps.concurrency ?? stage.concurrency,
        lockDuration: lockMs,
        stalledInterval: Math.min(STALLED_CHECK_MS, lockMs),
        maxStalledCount: 1_000,
        maxStartedAttempts: 100_000,
        drainDelay: 5,
        runRetryDelay: 1_000, // its own 15 s would be the pause after every outage
        removeOnComplete: { count: 0 },
        settings: { backoffStrategy: (n, _type, error) => retryDelayMs(stage, n, error, random) },
      },
    );
    made.on("error", (error) => {
      if (Date.now() < quietUntilMs) return; // an outage makes thousands of these
      quietUntilMs = Date.now() + 5_000;
      const code = isOutOfMemory(error) ? "redis-full" : "worker-error";
      log.warn({ stage: stage.name, code, reason: error.message.slice(0, 120) }, "worker error");
    });
    made.on("completed", ({ data }, result) => {
      if (result === PASSED_BY) void lookAfter(data.requestId).catch(() => {}); // else the reconciler finds it
    });
    made.on("locksRenewed", ({ jobIds }) => leases.renewed(jobIds));
    made.on("lockRenewalFailed", (ids) => {
      leases.lost(ids);
      for (const id of ids) made.cancelJob(id, "lock lost");
    });
    return made;
  }

  /**
   * A request that was taken back to an earlier stage may be here again before the job that it had here is over. A job
   * that is added meanwhile is none, since the old one has its name.
   */
  async function lookAfter(id: RequestId): Promise<void> {
    const request = (await deps.store.read(id))?.request;
    if (request?.stage === stage.name && !isEnd(request.phase)) await deps.queues.promote(stage.name, id);
  }

  return {
    stage: stage.name,
    async stop(graceMs = 20_000) {
      watchdog.stop();
      const closed = worker.close();
      const interrupt = setTimeout(() => stopping.abort(), graceMs);
      const late = AbortSignal.timeout(graceMs + RECORD_MS);
      const gaveUp = new Promise<"late">((resolve) => late.addEventListener("abort", () => resolve("late")));
      const how = await Promise.race([closed.then(() => "closed" as const), gaveUp]);
      clearTimeout(interrupt);
      if (how === "late") await worker.close(true); // BullMQ's close waits for Redis without end
    },
  };
}
