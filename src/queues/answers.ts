import { type ConnectionOptions, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { z } from "zod";
import { isTold, Notification, notificationIdOf, toNotification } from "../core/notification.ts";
import type { SignRequest } from "../core/request.ts";
import { inRounds, takeNoted } from "./changed.ts";
import type { Keys } from "./keys.ts";
import { quiet } from "./queues.ts";
import type { Store } from "./store.ts";

const RESULTS_QUEUE = "results";
const TAKE_EVERY_MS = 250;
/** What was taken is remembered so long, and so many of it: until then the same answer is not there twice. */
const REMEMBERED = { age: 86_400, count: 10_000 };
const TRIMMED_AT_ONCE = 1_000;

const JobName = z.string().describe("The id of the job of the queue intake that this is about.");
const Id = z.string().describe("The same however often it is told. Also the id of the job.");

/** Why a job of the queue "intake" was not taken. Says what is wrong, never what was there. */
export const Refused = z
  .strictObject({
    version: z.literal(1),
    id: Id,
    type: z.literal("intake.refused"),
    timestamp: z.iso.datetime(),
    data: z.strictObject({
      intake_job_id: JobName,
      code: z.string().describe("For programs; docs/operations.md has them."),
      message: z.string().describe("What to do, for people."),
      errors: z
        .array(z.strictObject({ field: z.string(), message: z.string() }))
        .optional()
        .describe("The fields that are wrong, when it is about fields."),
    }),
  })
  .describe("A job of the queue intake could not be taken: there is no request.");
export type Refused = z.infer<typeof Refused>;

const Told = Notification.extend({
  version: z.literal(1),
  id: Id,
  data: Notification.shape.data.extend({ intake_job_id: JobName }),
}).describe("How a request stands that came by the queue intake.");

/** The payload of a job of the queue "results". */
export const Result = z.union([Told, Refused]).meta({ title: "signpipe result" });
export type Result = z.infer<typeof Result>;

/** The JSON Schema of a job of the queue "results" (draft 2020-12). */
export function resultJsonSchema(): object {
  return z.toJSONSchema(Result);
}

export type Answers = ReturnType<typeof createAnswers>;

/**
 * The public queue "results": what became of the jobs of the queue "intake", one job for each thing that is told. Whoever
 * works on it takes them away. While nobody does, so many are kept, and the oldest go.
 */
export function createAnswers({
  redis,
  connection,
  keys,
  most,
}: {
  redis: Redis;
  connection: ConnectionOptions;
  keys: Keys;
  /** How many may wait to be taken. */
  most: number;
}) {
  const queue = quiet(
    new Queue<Result>(RESULTS_QUEUE, {
      connection,
      prefix: keys.queues,
      streams: { events: { maxLen: 1000 } },
      defaultJobOptions: {
        // A worker of theirs that throws is to get it again.
        attempts: 1_000,
        backoff: { type: "exponential", delay: 1_000 },
        removeOnComplete: REMEMBERED,
        removeOnFail: { age: 30 * 86_400, count: 10_000 },
        stackTraceLimit: 0,
        keepLogs: 0,
      },
    }),
  );

  let trimming: Promise<void> = Promise.resolve();

  async function add(result: Result): Promise<void> {
    await queue.add(result.type, result, { jobId: result.id });
    // One after the other: two that count at once would both remove what is too much.
    trimming = trimming.then(trim, trim);
    await trimming;
  }

  async function trim(): Promise<void> {
    const tooMany = (await queue.getWaitingCount()) - most;
    if (tooMany <= 0) return;
    // In one step: another process may trim as well, and each counts what it has removed itself.
    const removed = await queue.clean(0, Math.min(tooMany, TRIMMED_AT_ONCE), "wait");
    await redis.incrby(keys.resultsDropped, removed.length);
  }

  return {
    queue,

    /** Tells how a request stands; `type` as in toNotification. The same state is told once. */
    async tell(request: SignRequest, type?: "request.accepted"): Promise<void> {
      const intake = request.facts["intake"] as { job: string } | undefined;
      if (!intake) return;
      const notification = toNotification(request, type);
      // That it was accepted is told whatever it has come to since.
      const id = type ? `msg_${request.id}_accepted` : notificationIdOf(request);
      const data = { ...notification.data, intake_job_id: intake.job };
      await add({ ...notification, version: 1, id, data });
    },

    /** Tells that a job was not taken. */
    refuse: (refused: Refused) => add(refused),

    /** How many wait to be taken, and how many went because nobody took them, ever. */
    async figures(): Promise<{ waiting: number; droppedEver: number }> {
      const [waiting, dropped] = await Promise.all([queue.getWaitingCount(), redis.get(keys.resultsDropped)]);
      return { waiting, droppedEver: Number(dropped ?? 0) };
    },

    close: () => queue.close(),
  };
}

/** Follows requests that came by the queue "intake", and tells how they stand. */
export function startTelling({
  redis,
  keys,
  store,
  answers,
}: {
  redis: Redis;
  keys: Keys;
  store: Pick<Store, "read">;
  answers: Pick<Answers, "tell">;
}): { stop(): Promise<void> } {
  const deal = async (id: string) => {
    const request = (await store.read(id))?.request;
    // What has moved on since is told of when it comes to its next stop.
    if (request && isTold(request)) await answers.tell(request);
  };
  return inRounds(() => takeNoted(redis, keys.changed("intake"), deal), TAKE_EVERY_MS);
}
