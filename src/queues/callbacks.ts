import { type ConnectionOptions, Queue, UnrecoverableError, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { exponential } from "../core/backoff.ts";
import { toFailure } from "../core/errors.ts";
import type { SignRequest } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import type { Keys } from "./keys.ts";
import { quiet, StageJob } from "./queues.ts";
import { unsealCallback } from "./seal.ts";
import type { Store } from "./store.ts";

const QUEUE = "callback";
/** With these pauses the last attempt comes a day and a half to three days after the first, two days mostly. */
const ATTEMPTS = 45;
const backoff = exponential("5s", { upTo: "2h" });
const TAKE_EVERY_MS = 1_000;
const TAKE_AT_ONCE = 200;

/**
 * Tells callers how their requests stand, at the address they gave: one job for each change that matters, retried for
 * two days or so. Each tells the state at the time of telling, so a late one is never wrong.
 */
export function createCallbacks({
  redis,
  connection,
  keys,
  store,
  masterKey,
  tell,
  log,
}: {
  redis: Redis;
  connection: ConnectionOptions;
  keys: Keys;
  store: Store;
  masterKey: Uint8Array;
  /** Sends one message. Throws a Failure. */
  tell: (request: SignRequest, url: string, signal: AbortSignal) => Promise<void>;
  log: Log;
}) {
  const queue = quiet(
    new Queue<StageJob>(QUEUE, {
      connection,
      prefix: keys.queues,
      streams: { events: { maxLen: 1000 } },
      defaultJobOptions: {
        attempts: ATTEMPTS,
        backoff: { type: "callback" },
        removeOnComplete: true,
        removeOnFail: { age: 7 * 86_400, count: 1_000 },
        stackTraceLimit: 0,
        keepLogs: 0,
      },
    }),
  );
  let worker: Worker<StageJob> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let taking: Promise<void> = Promise.resolve();

  /**
   * Turns noted changes into jobs. A note is put aside before its job is added and goes after it: neither a crash nor a
   * change that comes in between is lost.
   */
  async function take(): Promise<void> {
    const aside = `${keys.changed("callback")}:taken`;
    const ids = await redis.srandmember(keys.changed("callback"), TAKE_AT_ONCE);
    for (const id of ids) await redis.smove(keys.changed("callback"), aside, id);
    const left = await redis.srandmember(aside, TAKE_AT_ONCE);
    for (const id of new Set([...ids, ...left])) {
      await queue.add(QUEUE, { requestId: id });
      await redis.srem(aside, id);
    }
  }

  return {
    queue,
    start(): void {
      worker = new Worker<StageJob>(
        QUEUE,
        async (job) => {
          const { requestId } = StageJob.parse(job.data);
          const request = (await store.read(requestId))?.request;
          const sealed = request?.facts["callbackUrl"];
          if (!request || typeof sealed !== "string") return;
          try {
            await tell(request, unsealCallback(masterKey, requestId, sealed), AbortSignal.timeout(30_000));
          } catch (error) {
            const failure = toFailure(error);
            log.warn({ requestId, code: failure.code, attempt: job.attemptsStarted }, "callback failed");
            if (failure.kind === "permanent") throw new UnrecoverableError(failure.code);
            throw new Error(failure.code, { cause: error });
          }
        },
        {
          connection,
          prefix: keys.queues,
          concurrency: 10,
          removeOnComplete: { count: 0 },
          settings: { backoffStrategy: (n) => backoff(n, Math.random()) },
        },
      );
      worker.on("error", () => {}); // the stage workers report an outage already
      timer = setInterval(() => {
        taking = taking.then(take).catch(() => {});
      }, TAKE_EVERY_MS);
    },
    async stop(): Promise<void> {
      clearInterval(timer);
      await taking;
      if (worker) {
        const late = new Promise<void>((resolve) => setTimeout(resolve, 5_000).unref());
        await Promise.race([worker.close(), late.then(() => worker?.close(true))]);
      }
      await queue.close();
    },
  };
}
