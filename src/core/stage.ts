import type { z } from "zod";
import type { Backoff } from "./backoff.ts";
import type { Duration } from "./duration.ts";
import type { Ended, SentBack, Waiting } from "./outcome.ts";
import type { RequestId, SignRequest } from "./request.ts";

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A costly call whose outcome we never recorded. */
export interface Intent {
  effect: string;
  /** When it was last about to leave, in milliseconds since the epoch. */
  atMs: number;
  /** When it was about to leave for the first time. */
  firstMs: number;
  /** How often this effect was begun without a recorded outcome. */
  tries: number;
}

/** What a stage sees while it runs: the facts it asked for, the tools, and a signal to stop. */
export type Run<Tools, Facts> = Tools & {
  requestId: RequestId;
  /** The record when the attempt began; for a stage that writes down what happened so far. */
  request: SignRequest;
  facts: Facts;
  /** Failed attempts at this stage so far. */
  attempt: number;
  /** Set when the request is on its way to end otherwise than done. */
  ending: string | undefined;
  signal: AbortSignal;
  /**
   * Whether this attempt can still have its job, as far as that is known here without asking. For what takes long: a
   * process that stood still learns by it, before it goes on, that another worker may have the request.
   */
  isOurs(): boolean;
  log: Log;
  now(): number;
  /**
   * Makes the stage's costly call. The intent is written first, under the lock of this job; if the outcome is never
   * recorded, the next attempt starts with `afterSilence`. Throws RetryableError "lost-lease" when another worker
   * took the request over. `grounds` are facts that justify the call: they stand in the journal with the intent, even
   * if the line that first told them was lost with its process.
   */
  effect<T>(name: string, call: () => Promise<T>, grounds?: Record<string, unknown>): Promise<T>;
};

/**
 * The answer to "did it work?" after silence: the facts it gave, a wait until we can know, "repeat" when it did not as
 * far as we can know, or "undone" when it did and was taken back: then the next call is a first one.
 */
export type Settled<Gives> = Gives | Waiting | Ended | "repeat" | "undone";

/** One step of the pipeline. The queue, the retry policy, the statuses and the board's row all follow from it. */
export interface Stage<Tools, Needs extends z.ZodObject, Gives extends z.ZodObject> {
  /** Queue name and status name. Persisted: renaming one needs a drained queue (docs/operations.md). */
  readonly name: string;
  /** For people, in the imperative. */
  readonly title: string;
  /** Facts this stage reads; parsed before `run`. */
  readonly needs: Needs;
  /** Facts this stage adds; parsed after `run`. */
  readonly gives: Gives;
  readonly attempts: number;
  readonly backoff: Backoff;
  /** Bound on one attempt. */
  readonly timeout: Duration;
  readonly concurrency: number;
  /** The stage at which a request that failed here is taken up again by a retry. */
  readonly retryFrom: string;
  /**
   * The costly call was begun and we never recorded how it ended (timeout, crash). What now?
   * "repeat": doing it twice is harmless. A function: ask the provider.
   */
  readonly afterSilence:
    "repeat" | ((run: Run<Tools, z.infer<Needs>>, intent: Intent) => Promise<Settled<z.infer<Gives>>>);
  /**
   * The costly call of an attempt ended after another worker had taken the request over: the facts that tell it so,
   * from the record as it is now and the facts that the call was made with; undefined when it makes no difference.
   */
  readonly late?: (
    request: SignRequest,
    madeWith: Record<string, unknown>,
    nowMs: number,
  ) => Record<string, unknown> | undefined;
  run(run: Run<Tools, z.infer<Needs>>): Promise<z.infer<Gives> | Waiting | Ended | SentBack>;
}

type Shape = Record<string, unknown>;

/** A stage in a list of stages, whose facts differ. What it reads and gives is checked as it runs, by its schemas. */
export interface AnyStage<Tools = object> extends Omit<
  Stage<Tools, z.ZodObject, z.ZodObject>,
  "needs" | "gives" | "afterSilence" | "run"
> {
  readonly needs: z.ZodObject;
  readonly gives: z.ZodObject;
  readonly afterSilence: "repeat" | AfterSilence<Tools>["ask"];
  run(run: Run<Tools, Shape>): Promise<Shape | Waiting | Ended | SentBack>;
}

/** As a method, so that a stage with narrower facts fits. */
interface AfterSilence<Tools> {
  ask(run: Run<Tools, Shape>, intent: Intent): Promise<Settled<Shape>>;
}
