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

  /** Whether a step was carried out. BullMQ refuses it when the job is not, or no longer, where it was seen. */
  async function ifThere(step: Promise<void>): Promise<boolean> {
    try {
      await step;
      return true;
    } catch (error) {
      if (error instanceof Error && /not in the \w+ state|Missing key/i.test(error.message)) return false;
      throw error;
    }
  }

  function jobOf(stage: string, id: RequestId): Job<StageJob> {
    return new Job<StageJob>(queueOf(stage), stage, { requestId: id }, {}, id);
  }

  /**
   * Has a request looked at now: its parked job runs at once; one that is lost is made anew. A job that has nothing to
   * do at its stage any more hands the request on and is over, so that one too many does no harm. Whether anything
   * was done: nothing needs to be for a job that runs or waits its turn.
   */
  async function promote(stage: string, id: RequestId): Promise<boolean> {
    if (await ifThere(jobOf(stage, id).promote())) return true;
    if ((await queueOf(stage).getJobState(id)) !== "unknown") return false;
    await add(stage, id);
    return true;
  }

  /** `addedMs` becomes the job's timestamp; now, when left out. Adding a job that is there already does nothing. */
  async function add(stage: string, id: RequestId, addedMs = Date.now()): Promise<void> {
    await queueOf(stage).add(stage, { requestId: id }, { jobId: id, timestamp: addedMs });
  }

  /** Runs what a stage has left of a request, parked or failed, so that it is not in the way of a new job there. */
  async function wakeLeft(stage: string, id: RequestId): Promise<void> {
    const state = await queueOf(stage).getJobState(id);
    if (state === "delayed") await ifThere(jobOf(stage, id).promote());
    else if (state === "failed" || state === "completed") await ifThere(retry(stage, id, state));
  }

  function retry(stage: string, id: RequestId, state: "failed" | "completed"): Promise<void> {
    return jobOf(stage, id).retry(state, { resetAttemptsMade: true });
  }

  /**
   * Makes sure that a job for the request will run, whatever is there: nothing, an old failed one, a parked one.
   * Returns "missing" when there was none.
   */
  async function revive(stage: string, id: RequestId, { now }: { now: boolean }): Promise<"missing" | "there"> {
    const state = await queueOf(stage).getJobState(id);
    switch (state) {
      case "unknown":
        await add(stage, id);
        return "missing";
      case "completed":
      case "failed":
        if (!(await ifThere(retry(stage, id, state)))) await add(stage, id);
        return "missing";
      case "delayed":
        if (now) await promote(stage, id);
        return "there";
      default:
        return "there";
    }
  }

  return {
    /** For the board. */
    all: (): Queue[] => [...queues.values()],
    add,
    promote,

    revive,

    /**
     * Puts a request's job at a stage that it was taken back to. Jobs of before that stand in the way at other stages
     * run and are over. None is removed: when this comes late, it may be the one that the request has by now.
     */
    async moveTo(stage: string, id: RequestId): Promise<void> {
      const others = [...queues.keys()].filter((one) => one !== stage);
      await Promise.all(others.map((one) => wakeLeft(one, id)));
      await revive(stage, id, { now: true });
    },

    /** BullMQ's word for the request's job at a stage: "waiting", "delayed", …; "unknown" when there is none. */
    async stateOf(stage: string, id: RequestId): Promise<string> {
      return await queueOf(stage).getJobState(id);
    },

    /** How many jobs wait for a worker, of all stages together. Those that are parked are not among them. */
    async waiting(): Promise<number> {
      const counts = await Promise.all([...queues.values()].map((queue) => queue.getWaitingCount()));
      return counts.reduce((sum, one) => sum + one, 0);
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
