import { SignpipeError } from "./error.ts";

/** Pauses begin with this and double, in milliseconds. */
const FIRST_MS = 250;
const LONGEST_MS = 10_000;
/** A server that wants a longer pause is not waited for: whoever called is told, and can do something else meanwhile. */
const PATIENCE_MS = 60_000;

/** A proxy on the way answers with the two others when what is behind it is away. */
const AWAY = [502, 503, 504];
/** Refused before anything was done, but meant for a person: another code a minute later is that person's wish or not. */
const NOT_BY_ITSELF = ["otp-too-soon", "too-many-streams"];
/** The connection never came about, so the call cannot have had an effect. @source Node.js "Common system errors"; undici "Errors" */
const NEVER_SENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"];

export interface Failed {
  error: unknown;
  /** How many attempts there were. */
  attempt: number;
  /** So many are made again at the most. */
  retries: number;
  /** Whether the call may be made again although the one before may have worked. */
  isSafe: boolean;
  /** 0 to 1. */
  random?: number;
}

/** How long to wait before a call is made again, in milliseconds; undefined when it must not be, or no more. Pure. */
export function pauseBeforeRetry({
  error,
  attempt,
  retries,
  isSafe,
  random = Math.random(),
}: Failed): number | undefined {
  if (attempt > retries || !(error instanceof SignpipeError) || !isWorthIt(error, isSafe)) return undefined;
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** (attempt - 1));
  // Half of it is chance, so that those who failed together do not come again together.
  const ownMs = most / 2 + (most / 2) * random;
  if (error.retryAfterMs === undefined) return ownMs;
  return error.retryAfterMs > PATIENCE_MS ? undefined : Math.max(ownMs, error.retryAfterMs);
}

function isWorthIt({ code, status, cause }: SignpipeError, isSafe: boolean): boolean {
  if (NOT_BY_ITSELF.includes(code)) return false;
  if (status === 429) return true;
  if (code === "no-answer") return isSafe || NEVER_SENT.includes(errnoOf(cause) ?? "");
  return isSafe && ((status !== undefined && AWAY.includes(status)) || code === "idempotency-in-progress");
}

/** The system's word for why a connection failed, however deep it lies. */
function errnoOf(cause: unknown): string | undefined {
  for (let at = cause, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const inner: unknown = at instanceof AggregateError ? at.errors[0] : at;
    const code = inner instanceof Error && "code" in inner ? inner.code : undefined;
    if (typeof code === "string") return code;
  }
  return undefined;
}
