import type { FieldError, ProblemCode } from "./schema.ts";

/** What goes wrong on this side of the wire, beside the problems that the API tells. */
export type ClientCode =
  | "no-answer"
  | "unexpected-answer"
  | "document-unreadable"
  | "document-changed"
  | "download-differs"
  | "ended-otherwise"
  | "wait-timeout"
  | "notification-invalid"
  | "notification-forged"
  | "notification-too-old";

/** For programs, stable. A server that is newer than this client may have others. */
export type ErrorCode = ProblemCode | ClientCode | (string & {});

/** What is known of an error beside its code and its sentence. */
export interface ErrorFacts {
  status?: number | undefined;
  retryAfterMs?: number | undefined;
  correlationId?: string | undefined;
  errors?: readonly FieldError[] | undefined;
  idempotencyKey?: string | undefined;
  cause?: unknown;
}

/** The one error that this client throws, but for TypeError where it is called wrongly, and what an AbortSignal says. */
export class SignpipeError extends Error {
  override readonly name = "SignpipeError";
  readonly code: ErrorCode;
  /** What happened, for people. The same as `message`. */
  readonly detail: string;
  /** HTTP status; undefined when there was no answer, or when it is not about one. */
  readonly status: number | undefined;
  /** The server says that the same call may work after so many milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** Quote it when you ask the operator: the server's log has it. */
  readonly correlationId: string | undefined;
  /** The fields that are wrong, when it is about fields. */
  readonly errors: readonly FieldError[];
  /** Of a submission, or an act: with the same key it can be repeated later, and does nothing twice. */
  readonly idempotencyKey: string | undefined;

  constructor(code: ErrorCode, detail: string, facts: ErrorFacts = {}) {
    super(detail, facts.cause === undefined ? {} : { cause: facts.cause });
    this.code = code;
    this.detail = detail;
    this.status = facts.status;
    this.retryAfterMs = facts.retryAfterMs;
    this.correlationId = facts.correlationId;
    this.errors = facts.errors ?? [];
    this.idempotencyKey = facts.idempotencyKey;
  }
}

/** Makes a call, whose error then has the key under which it can be made again. */
export async function underKey<T>(idempotencyKey: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof SignpipeError)) throw error;
    throw new SignpipeError(error.code, error.detail, { ...error, idempotencyKey, cause: error.cause });
  }
}
