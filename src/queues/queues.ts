import { type ConnectionOptions, Job, Queue } from "bullmq";
import { z } from "zod";
import { RequestId } from "../core/request.ts";
import type { Keys } from "./keys.ts";

/** The payload of every job, in every queue. Everything else is in the request's record. */
export const StageJob = z.object({ requestId: RequestId });
export type StageJob = z.infer<typeof StageJob>;

/** More than any stage ever tries: the record counts attempts and decides, BullMQ only spaces them. */
const JOB_ATTEMPTS = 1_000;
const FAILED_KEPT_SECONDS = 7 * 86_400;

/**
 * Without a listener BullMQ prints a connection's errors as they are, AUTH arguments included. The connection's owner
 * tells of an outage already (app.ts), and whoever called is told by the call.
 */
export function quiet<Q extends Queue>(queue: Q): Q {
  queue.on("error", () => {});
  return queue;
}

export type Queues = ReturnType<typeof createQueues>;

/**
 * One queue per stage, under the stage's name. A job is a wake-up for one request: its id is the request's id, so that
 * adding it twice adds one.
 */
export function createQueues({
  stages,
  connection,
  keys,
}: {
  stages: readonly string[];
  connection: ConnectionOptions;
  keys: Keys;
}) {
  const queues = new Map(
    stages.map((stage) => [
      stage,
      quiet(
        new Queue<StageJob>(stage, {
          connection,
          prefix: keys.queues,
          streams: { events: { maxLen: 1000 } },
          defaultJobOptions: {
            attempts: JOB_ATTEMPTS,
            backoff: { type: "stage" },
            removeOnComplete: true,
            removeOnFail: { age: FAILED_KEPT_SECONDS, count: 10_000 },
            stackTraceLimit: 0,
            keepLogs: 0,
          },
        }),
      ),
    ]),
  );

  function queueOf(stage: string): Queue<StageJob> {
    const queue = queues.get(stage);
    if (!queue) throw new TypeError(`There is no stage "${stage}"`);
    return queue;
  }

  /** Moves a parked job to the front. False when it is not parked: it runs, waits its turn, or is gone. */
  async function promote(stage: string, id: RequestId): Promise<boolean> {
    const job = new Job<StageJob>(queueOf(stage), stage, { requestId: id }, {}, id);
    try {
      await job.promote();
      return true;
    } catch (error) {
      if (error instanceof Error && /not in the delayed state|Missing key/i.test(error.message)) return false;
      throw error;
    }
  }

  /** `addedMs` becomes the job's timestamp; now, when left out. Adding a job that is there already does nothing. */
  async function add(stage: string, id: RequestId, addedMs = Date.now()): Promise<void> {
    await queueOf(stage).add(stage, { requestId: id }, { jobId: id, timestamp: addedMs });
  }

  return {
    /** For the board. */
    all: (): Queue[] => [...queues.values()],
    add,
    promote,

    /**
     * Makes sure that a job for the request will run, whatever is there: nothing, an old failed one, a parked one.
     * Returns "missing" when there was none.
     */
    async revive(stage: string, id: RequestId, { now }: { now: boolean }): Promise<"missing" | "there"> {
      const job = await queueOf(stage).getJob(id);
      const state = job ? await job.getState() : "unknown";
      switch (state) {
        case "unknown":
          await add(stage, id);
          return "missing";
        case "completed":
        case "failed":
          await job?.remove();
          await add(stage, id);
          return "missing";
        case "delayed":
          if (now) await promote(stage, id);
          return "there";
        default:
          return "there";
      }
    },

    /** BullMQ's word for the request's job at a stage: "waiting", "delayed", …; "unknown" when there is none. */
    async stateOf(stage: string, id: RequestId): Promise<string> {
      return await queueOf(stage).getJobState(id);
    },

    /** How many workers are connected, of all processes; undefined when Redis does not let us ask. */
    async workers(): Promise<number | undefined> {
      try {
        const counts = await Promise.all([...queues.values()].map((queue) => queue.getWorkersCount()));
        return counts.reduce((sum, one) => sum + one, 0);
      } catch {
        return undefined;
      }
    },

    /** Removes the request's jobs from every queue but the ones that are running. */
    async clear(id: RequestId): Promise<void> {
      await Promise.all([...queues.values()].map((queue) => queue.remove(id).catch(() => 0)));
    },

    /** Jobs per queue and BullMQ state. */
    async counts(): Promise<Record<string, Record<string, number>>> {
      const entries = [...queues].map(
        async ([stage, queue]) => [stage, await queue.getJobCounts("waiting", "active", "delayed", "failed")] as const,
      );
      return Object.fromEntries(await Promise.all(entries));
    },

    async close(): Promise<void> {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
    },
  };
}
