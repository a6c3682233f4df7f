import type { WaitName } from "./ages.ts";

/**
 * Why an attempt did not succeed. Two kinds only, because there are only two things to do about it: try again, or stop
 * and tell a person. (Waiting for somebody is not an error: see outcome.ts.)
 */
export type Failure = RetryableError | PermanentError;

/**
 * What a failed call did outside: "none" when it certainly did nothing, "unknown" when it may have worked.
 * A stage whose call ends "unknown" asks the provider before it repeats (see Stage.afterSilence).
 */
export type Effect = "none" | "unknown";

/**
 * Calls stand still for a reason that is not the request's: the attempt does not count. `until` is for an operator, in
 * words, who must bring it before they go on; left out when it passes by itself.
 */
export interface Pause {
  until?: WaitName;
}

interface Details {
  /** Kebab-case; every code is listed in docs/operations.md with what to do about it. */
  code: string;
  cause?: unknown;
  effect?: Effect;
}

type Fields = Readonly<Record<string, string>>;

/** Trying again later may work: network, timeout, 429, 5xx, Redis away, disk full. */
export class RetryableError extends Error {
  override readonly name = "RetryableError";
  readonly kind = "retryable";
  readonly code: string;
  readonly effect: Effect;
  /** The earliest useful moment for the next attempt, in milliseconds from now, when the other side told us. */
  readonly retryAfterMs: number | undefined;
  readonly pause: Pause | undefined;

  constructor(
    message: string,
    { code, cause, effect = "none", retryAfterMs, pause }: Details & { retryAfterMs?: number; pause?: Pause },
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.effect = effect;
    this.retryAfterMs = retryAfterMs;
    this.pause = pause;
  }
}

/** Trying again cannot work: bad input, rejected by the provider, expired, a bug in our data. */
export class PermanentError extends Error {
  override readonly name = "PermanentError";
  readonly kind = "permanent";
  readonly code: string;
  readonly effect: Effect;
  /** What is wrong with which field of what was sent, a sentence each, when the other side told us; never the values. */
  readonly fields: Fields | undefined;

  constructor(message: string, { code, cause, effect = "none", fields }: Details & { fields?: Fields | undefined }) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.effect = effect;
    this.fields = fields;
  }
}

/**
 * Sorts anything thrown into one of the two kinds. What we do not know is retried a bounded number of times, and is
 * taken to have had an unknown effect, because the other mistake signs something twice.
 */
export function toFailure(thrown: unknown): Failure {
  if (thrown instanceof RetryableError || thrown instanceof PermanentError) return thrown;
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return new RetryableError(withoutPaths(error.message, error), {
    code: "unexpected",
    cause: error,
    effect: "unknown",
  });
}

/** What an error of the file system says, without the paths: people name documents after people. */
export function withoutPaths(text: string, error: object): string {
  const { path, dest } = error as { path?: unknown; dest?: unknown };
  return [path, dest].reduce<string>(
    (rest, one) => (typeof one === "string" && one !== "" ? rest.replaceAll(one, "…") : rest),
    text,
  );
}

export function isFailure(error: unknown, ...codes: string[]): error is Failure {
  return (error instanceof RetryableError || error instanceof PermanentError) && codes.includes(error.code);
}
