import { createHash, createHmac } from "node:crypto";
import { type ConnectionOptions, DelayedError, type Job, Queue, Worker } from "bullmq";
import { exponential } from "../core/backoff.ts";
import { type Failure, isFailure, toFailure } from "../core/errors.ts";
import { type RequestId, type SignRequest, toRequestId } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import type { Answers, Refused } from "./answers.ts";
import { inRounds } from "./changed.ts";
import type { Keys } from "./keys.ts";
import { quiet } from "./queues.ts";
import { seal, unseal } from "./seal.ts";

const INTAKE_QUEUE = "intake";
const backoff = exponential("2s", { upTo: "5m" });
/** With these pauses what the world has against a job is given a day, and a file that is not there yet a few minutes. */
const TRIES = 380;
const TRIES_FOR_A_FILE = 8;
const ANSWER_AGAIN_MS = 5_000;
/** What BullMQ says of jobs that it gives up by itself. */
const GIVEN_UP = /more than allowable limit/;
const SWEEP_MS = 10_000;
const SWEPT_AT_ONCE = 100;
/** Beside the caller's fields: a manifest that came in the clear, encrypted by us. */
const KEPT = "kept";
/** Likewise, how often the job was held since its tenant had had its share: these were no tries. */
const HELD = "held";
/** After so many it is taken whatever the others do. */
const HELD_MOST = 5_000;

/** A job of the queue "intake", as its caller wrote it. */
export interface Given {
  /** The job's id. */
  job: string;
  /** The id of the request that it becomes: the same for the same job. */
  id: RequestId;
  data: Record<string, unknown>;
  /** Whether it has waited for its tenant's share before. */
  isAgain: boolean;
  /** Whether it may be made to wait (once more). */
  mayBeHeld: boolean;
}

/** What became of it. A failure that time may heal is thrown. */
export type Taken = { outcome: "held"; pauseMs: number } | Answerable;

type Answerable =
  | { outcome: "accepted"; request: SignRequest }
  | ({ outcome: "refused" } & Pick<Refused["data"], "code" | "message" | "errors">);

/**
 * Takes jobs of the public queue "intake", in which systems with a BullMQ client of their own hand in. Each is answered
 * in the queue "results", whatever it is, and goes: none fails and stays, none is tried for ever.
 */
export function startIntakeWorker({
  connection,
  keys,
  masterKey,
  take,
  find,
  answers,
  log,
  concurrency = 4,
  now = Date.now,
}: {
  connection: ConnectionOptions;
  keys: Keys;
  masterKey: Uint8Array;
  take: (given: Given) => Promise<Taken>;
  /** The request that a job has become, if it has. */
  find: (id: RequestId) => Promise<SignRequest | undefined>;
  answers: Pick<Answers, "tell" | "refuse">;
  log: Log;
  concurrency?: number;
  now?: () => number;
}): { queue: Queue; stop(): Promise<void> } {
  const queue = quiet(new Queue<unknown>(INTAKE_QUEUE, { connection, prefix: keys.queues }));

  /**
   * Takes what is not to be read out of Redis: a manifest in the clear goes before anything else is done, and comes
   * back encrypted, so that a crash in between costs nothing.
   */
  async function hide(job: Job<unknown>): Promise<Record<string, unknown>> {
    const data = typeof job.data === "object" && job.data !== null ? { ...(job.data as Record<string, unknown>) } : {};
    const context = `intake:${job.id}`;
    if (data["manifest"] !== undefined) {
      const { manifest, ...rest } = data;
      await job.updateData({ ...rest, [KEPT]: seal(masterKey, JSON.stringify(manifest), context) });
      return { ...rest, manifest };
    }
    const { [KEPT]: kept, ...rest } = data;
    if (typeof kept !== "string") return data;
    return { ...rest, manifest: JSON.parse(unseal(masterKey, kept, context).toString()) as unknown };
  }

  /** How often a job was held; undefined when what stands there is not ours. Whoever could write it would be tried for ever. */
  function heldOf(job: Job<unknown>): number | undefined {
    const sealed = (job.data as Record<string, unknown> | null | undefined)?.[HELD];
    if (sealed === undefined) return 0;
    if (typeof sealed !== "string") return undefined;
    try {
      return Number(unseal(masterKey, sealed, `intake:${job.id}:${HELD}`).toString());
    } catch {
      return undefined;
    }
  }

  async function hold(job: Job<unknown>, { pauseMs, held }: { pauseMs: number; held: number }, token: string) {
    const sealed = seal(masterKey, String(held + 1), `intake:${job.id}:${HELD}`);
    await job.updateData({ ...(job.data as Record<string, unknown>), [HELD]: sealed });
    await job.moveToDelayed(now() + pauseMs, token);
    throw new DelayedError();
  }

  async function work(job: Job<unknown>, token = ""): Promise<void> {
    const name = job.id ?? "";
    const id = idOf(masterKey, job);
    let taken: Taken;
    const known = heldOf(job);
    const held = known ?? 0;
    try {
      const { [HELD]: noted, ...rest } = await hide(job);
      // What is not ours is the caller's, and no field of a job.
      const data = known === undefined ? { ...rest, [HELD]: noted } : rest;
      taken = await take({ job: name, id, data, isAgain: held > 0, mayBeHeld: held < HELD_MOST });
    } catch (error) {
      const failure = toFailure(error);
      const most = isFailure(failure, "document-missing") ? TRIES_FOR_A_FILE : TRIES;
      if (failure.kind === "retryable" && job.attemptsStarted - held < most) {
        log.warn({ requestId: id, code: failure.code, attempt: job.attemptsStarted }, "intake will be retried");
        const n = Math.max(1, job.attemptsStarted - held);
        const pauseMs = Math.max(failure.retryAfterMs ?? 0, backoff(n, Math.random()));
        await job.moveToDelayed(now() + pauseMs, token);
        throw new DelayedError();
      }
      taken = refusedBy(failure);
    }
    if (taken.outcome === "held") return await hold(job, { pauseMs: taken.pauseMs, held }, token);
    try {
      await answer(job, taken);
    } catch (error) {
      // The same work leads to the same answer: it is not to be taken for one that was given up.
      log.warn({ requestId: id, code: toFailure(error).code }, "intake not answered yet");
      await job.moveToDelayed(now() + ANSWER_AGAIN_MS, token);
      throw new DelayedError();
    }
  }

  async function answer(job: Job<unknown>, taken: Answerable): Promise<void> {
    const requestId = idOf(masterKey, job);
    if (taken.outcome === "accepted") {
      await answers.tell(taken.request, "request.accepted");
      log.info({ requestId }, "intake accepted");
    } else {
      await answers.refuse(toRefused(job, taken));
      log.warn({ requestId, code: taken.code }, "intake refused");
    }
  }

  function toRefused(
    job: Job<unknown>,
    { code, message, errors }: Omit<Answerable & { outcome: "refused" }, "outcome">,
  ) {
    const timestamp = new Date(now()).toISOString();
    const data = { intake_job_id: job.id ?? "", code, message, ...(errors && { errors }) };
    return { version: 1, id: refusalIdOf(job), type: "intake.refused", timestamp, data } satisfies Refused;
  }

  /** What BullMQ itself gave up, since its worker died again and again; what failed otherwise is taken up again. */
  async function sweep(): Promise<void> {
    for (const job of await queue.getFailed(0, SWEPT_AT_ONCE - 1)) {
      if (!GIVEN_UP.test(job.failedReason)) {
        await job.retry("failed");
        continue;
      }
      const request = await find(idOf(masterKey, job));
      const message = "It could not be dealt with, several times over; tell the operator.";
      await answer(
        job,
        request ? { outcome: "accepted", request } : { outcome: "refused", code: "intake-failed", message },
      );
      await job.remove();
    }
  }

  const worker = new Worker<unknown>(INTAKE_QUEUE, work, {
    connection,
    prefix: keys.queues,
    concurrency,
    maxStalledCount: 5,
    maxStartedAttempts: HELD_MOST + TRIES + 10,
    removeOnComplete: { count: 0 },
  });
  worker.on("error", () => {}); // the stage workers report an outage already
  const rounds = inRounds(sweep, SWEEP_MS);

  return {
    queue,
    async stop() {
      await rounds.stop();
      const late = new Promise<void>((resolve) => setTimeout(resolve, 5_000).unref());
      await Promise.race([worker.close(), late.then(() => worker.close(true))]);
      await queue.close();
    },
  };
}

/** Ids that BullMQ makes up are counted, and begin anew in a Redis that has lost its own: they are told by their time. */
function nameOf({ id = "", timestamp }: Pick<Job, "id" | "timestamp">): string {
  return /^\d+$/.test(id) ? `${id} ${timestamp}` : id;
}

function idOf(masterKey: Uint8Array, job: Pick<Job, "id" | "timestamp">): RequestId {
  return toRequestId(
    createHmac("sha256", masterKey)
      .update(`intake ${nameOf(job)}`)
      .digest(),
  );
}

/** A job that is put right and added again under its id may be refused again: that is told as well. */
function refusalIdOf(job: Job<unknown>): string {
  const print = createHash("sha256").update(`${job.id} ${job.timestamp}`).digest("base64url").slice(0, 22);
  return `msg_refused_${print}`;
}

function refusedBy({
  code,
  kind,
  fields,
  message,
}: Failure & { fields?: Readonly<Record<string, string>> | undefined }) {
  const errors =
    fields && Object.entries(fields).map(([field, what]) => ({ field: `manifest.${field}`, message: what }));
  const words =
    kind === "permanent"
      ? message
      : "It was tried until its time was over; hand it in anew when the cause has been mended.";
  return { outcome: "refused" as const, code, message: words, ...(errors && { errors }) };
}
