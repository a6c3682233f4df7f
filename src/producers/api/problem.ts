import { STATUS_CODES } from "node:http";
import { z } from "zod";
import { PermanentError, RetryableError } from "../../core/errors.ts";
import { toDiskFailure } from "../../files/durable.ts";

/** What each code means over HTTP. The one table: the error handler, the OpenAPI document and /docs are read from it. */
export const PROBLEMS = {
  "invalid-request": { status: 400, title: "A field is missing or has the wrong form" },
  "invalid-http": { status: 400, title: "What was sent is not readable as HTTP" },
  "invalid-json": { status: 400, title: "The body is not a JSON object" },
  "bad-state": { status: 400, title: "There is no such state" },
  "bad-cursor": { status: 400, title: "The cursor is not one that a list returned" },
  "invalid-multipart": { status: 400, title: "The multipart body is broken, or was cut off" },
  "unknown-part": { status: 400, title: "A part is neither manifest, file nor enclosure" },
  "manifest-missing": { status: 400, title: "There is no part named manifest" },
  "manifest-repeated": { status: 400, title: "There is more than one part named manifest" },
  "no-documents": { status: 400, title: "There is no part named file" },
  "too-many-documents": { status: 400, title: "There are more documents than one submission takes" },
  "invalid-idempotency-key": { status: 400, title: "The Idempotency-Key cannot be used" },
  "table-missing": { status: 400, title: "There is no part named batch" },
  "part-repeated": { status: 400, title: "Two parts have one name" },
  "webhook-unreadable": { status: 400, title: "The notification names no request" },
  unauthorized: { status: 401, title: "The API key is missing or wrong" },
  "not-for-this-key": { status: 403, title: "The API key is for one tenant, and this is not its" },
  "not-found": { status: 404, title: "There is nothing at this address" },
  "no-such-request": { status: 404, title: "There is no such request" },
  "no-such-batch": { status: 404, title: "There is no such batch" },
  "no-such-notification": { status: 404, title: "The log has no such notification" },
  "no-such-enclosure": { status: 404, title: "The request has no such file" },
  "no-video": { status: 404, title: "There is no video of this identification" },
  "no-such-document": { status: 404, title: "The request has no document with this number" },
  "method-not-allowed": { status: 405, title: "The address does not take this method" },
  "not-acceptable": { status: 406, title: "The call has no answer of a type that Accept allows" },
  "request-timeout": { status: 408, title: "The call did not arrive in time" },
  "not-possible-now": { status: 409, title: "The request is not where this is possible" },
  "already-decided": { status: 409, title: "It was decided before" },
  "signer-erased": { status: 409, title: "The signer's data was erased" },
  "batch-erased": { status: 409, title: "The rows of the batch were erased" },
  "nothing-to-retry": { status: 409, title: "Nothing of the batch can be tried again" },
  "too-late": { status: 409, title: "The signature may have been made" },
  contended: { status: 409, title: "Others are changing the request", retryAfterSeconds: 1 },
  "otp-too-many": { status: 409, title: "No more codes can be sent for this request" },
  "not-signed-yet": { status: 409, title: "The file does not exist yet" },
  "idempotency-in-progress": { status: 409, title: "The same call is still being worked on", retryAfterSeconds: 5 },
  "too-large": { status: 413, title: "The body is larger than allowed" },
  "uri-too-long": { status: 414, title: "The address is longer than allowed" },
  "unsupported-media-type": { status: 415, title: "The content type is not one that this call takes" },
  "not-a-pdf": { status: 415, title: "A document is not a PDF" },
  "expectation-failed": { status: 417, title: "The Expect header asks for what is not done here" },
  "unusable-pdf": { status: 422, title: "A document cannot be signed as it is" },
  "document-host-not-allowed": { status: 422, title: "Documents may not be fetched from this address" },
  "document-not-fetched": { status: 422, title: "A document is not there to be fetched" },
  "document-differs": { status: 422, title: "A document is not the one that the submission means" },
  "hash-file-invalid": { status: 422, title: "A hash file does not hold what it should" },
  "invalid-manifest": { status: 422, title: "The manifest has fields that cannot be used" },
  "enclosure-missing": { status: 422, title: "A file that the manifest names was not sent" },
  "enclosure-not-named": { status: 422, title: "A file was sent that the manifest does not name" },
  "unusable-enclosure": { status: 422, title: "A file of the identification cannot be used" },
  "table-unreadable": { status: 422, title: "The table cannot be read" },
  "table-columns": { status: 422, title: "The table has columns that cannot be used" },
  "table-empty": { status: 422, title: "The table has no rows" },
  "too-many-rows": { status: 422, title: "The table has more rows than a batch takes" },
  "no-good-row": { status: 422, title: "No row of the batch can be submitted" },
  "auto-approval-not-allowed": { status: 422, title: "Approval without a decision is not allowed here" },
  "callback-not-allowed": { status: 422, title: "The callback_url is not one that may be told here" },
  "unknown-tenant": { status: 422, title: "There is no such tenant here" },
  "unknown-rao": { status: 422, title: "The tenant has no such registration officer" },
  "idempotency-mismatch": { status: 422, title: "The Idempotency-Key was used for another body" },
  "otp-too-soon": { status: 429, title: "The last code was sent a moment ago", retryAfterSeconds: 60 },
  "quota-exceeded": { status: 429, title: "Too many calls in a short time", retryAfterSeconds: 1 },
  "too-many-streams": { status: 429, title: "Too many streams of events are open", retryAfterSeconds: 30 },
  "headers-too-large": { status: 431, title: "The headers are larger than allowed" },
  internal: { status: 500, title: "Something went wrong on our side" },
  "record-damaged": { status: 500, title: "Something went wrong on our side" },
  "result-damaged": { status: 500, title: "A stored file is not what was stored" },
  "redis-unavailable": { status: 503, title: "The queue is away", retryAfterSeconds: 5 },
  "redis-away": { status: 503, title: "The queue was away and is being looked through", retryAfterSeconds: 2 },
  "redis-full": { status: 503, title: "The queue has no room for more", retryAfterSeconds: 30 },
  "document-host-unreachable": { status: 503, title: "A document cannot be fetched now", retryAfterSeconds: 30 },
  "video-unavailable": { status: 503, title: "The provider does not give the video", retryAfterSeconds: 30 },
  "too-busy": { status: 503, title: "Too much arrives at once", retryAfterSeconds: 5 },
  "disk-read-only": { status: 503, title: "The disk takes no documents", retryAfterSeconds: 60 },
  "disk-error": { status: 503, title: "The disk reports an error", retryAfterSeconds: 60 },
  "disk-full": { status: 507, title: "There is no room for the documents", retryAfterSeconds: 60 },
} as const satisfies Record<string, { status: number; title: string; retryAfterSeconds?: number }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** One error of a form, with the field it is about, as a path with dots. */
export const FieldError = z.object({ field: z.string(), message: z.string() });
export type FieldError = z.infer<typeof FieldError>;

/** The body of every error. @source RFC 9457 §3 */
export const Problem = z
  .object({
    type: z.string().describe("Address of the description of this code, relative to the server."),
    title: z.string().describe("The same for every problem with this code."),
    status: z.int(),
    detail: z.string().describe("What happened this time, and what to do. For people."),
    code: z.string().describe("For programs: stable, in kebab-case."),
    correlation_id: z.string().describe("Quote it when you ask; the log has it too."),
    errors: z.array(FieldError).optional().describe("The fields that are wrong, when it is about fields."),
  })
  .meta({ id: "Problem", description: "The body of every error, as RFC 9457 has it, with a code for programs." });
export type Problem = z.infer<typeof Problem>;

/** A refusal by the API itself, before or beside the pipeline. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: ProblemCode;
  readonly errors: FieldError[] | undefined;
  constructor(code: ProblemCode, detail: string, errors?: FieldError[]) {
    super(detail);
    this.code = code;
    this.errors = errors;
  }
}

/** A problem on its way out, with the headers it needs. `expected` is false when somebody must read the log. */
export interface Refusal {
  body: Problem;
  retryAfterSeconds: number | undefined;
  expected: boolean;
}

/** What goes out for anything thrown. Messages of unknown errors stay inside: they may quote what nobody should see. */
export function toRefusal(thrown: unknown, correlationId: string): Refusal {
  const { code, detail, errors, retryAfterMs, status, expected } = sort(thrown);
  const known: { status: number; title: string; retryAfterSeconds?: number } | undefined =
    code in PROBLEMS ? PROBLEMS[code as ProblemCode] : undefined;
  const answered = known?.status ?? status;
  return {
    body: {
      type: known ? `/docs#problem-${code}` : "about:blank",
      title: known?.title ?? STATUS_CODES[answered] ?? "Error",
      status: answered,
      detail,
      code,
      correlation_id: correlationId,
      ...(errors && { errors }),
    },
    retryAfterSeconds:
      retryAfterMs === undefined ? known?.retryAfterSeconds : Math.max(1, Math.ceil(retryAfterMs / 1000)),
    expected: expected && answered !== 500,
  };
}

interface Sorted {
  code: string;
  detail: string;
  status: number;
  expected: boolean;
  errors?: FieldError[] | undefined;
  retryAfterMs?: number | undefined;
}

const INTERNAL = "Something unexpected happened. It is in our log under the correlation id; trying again may help.";
const REDIS_AWAY = "The queue cannot be reached at the moment. Nothing was changed that you have to undo; try again.";
const REDIS_FULL = "The queue has no room at the moment. Nothing was changed that you have to undo; try again later.";
const NO_SUCH_REQUEST = "There is no request with this id.";
const DISK_FULL = "There is no room for the documents at the moment. Nothing was accepted; try again later.";

function sort(raw: unknown): Sorted {
  const thrown = toDiskFailure(raw);
  if (thrown instanceof ApiError) {
    return { code: thrown.code, detail: thrown.message, status: 400, expected: true, errors: thrown.errors };
  }
  if (thrown instanceof Error && /\bOOM command not allowed\b/.test(thrown.message)) {
    return { code: "redis-full", detail: REDIS_FULL, status: 503, expected: true };
  }
  if (isRedisAway(thrown)) return { code: "redis-unavailable", detail: REDIS_AWAY, status: 503, expected: true };
  const code = codeOf(thrown);
  if (code === "disk-full") return { code, detail: DISK_FULL, status: 507, expected: true };
  if (code === "record-damaged" || code === "vault-unreadable" || code === "unexpected") return unexpected(code);
  // In the same words whether the id is unknown or is none.
  if (code === "no-such-request") return { code, detail: NO_SUCH_REQUEST, status: 404, expected: true };
  if (thrown instanceof PermanentError)
    return { code: thrown.code, detail: thrown.message, status: 409, expected: true };
  if (thrown instanceof RetryableError) {
    const { message: detail, retryAfterMs } = thrown;
    return { code: thrown.code, detail, status: 503, expected: true, retryAfterMs: retryAfterMs ?? 5_000 };
  }
  if (code === "illegal-move" && thrown instanceof Error) {
    return {
      code: "not-possible-now",
      detail: `This is not possible now: ${thrown.message}.`,
      status: 409,
      expected: true,
    };
  }
  return sortFramework(thrown, code) ?? unexpected("internal");
}

function unexpected(code: string): Sorted {
  return { code: code === "record-damaged" ? code : "internal", detail: INTERNAL, status: 500, expected: false };
}

/** Fastify's own refusals, in our words. @source https://fastify.dev/docs/latest/Reference/Errors/ */
const FRAMEWORK: Record<string, { code: ProblemCode; detail: string }> = {
  FST_ERR_CTP_INVALID_JSON_BODY: { code: "invalid-json", detail: "The body is not valid JSON." },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: "too-large", detail: "The body is larger than this call takes." },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: "unsupported-media-type",
    detail: "Send JSON with content-type application/json, or no body where the call needs none.",
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: "invalid-request",
    detail: "The body is not as long as its content-length header says.",
  },
  FST_ERR_MAX_PARAM_LENGTH: { code: "uri-too-long", detail: "A part of the address is longer than any that there is." },
  FST_ERR_BAD_URL: { code: "invalid-request", detail: "The address is not a valid URL." },
  FST_PROTO_VIOLATION: { code: "unknown-part", detail: "Only parts named manifest, file and enclosure are taken." },
  FST_MP_PREMATURE_CLOSE: { code: "invalid-multipart", detail: "The upload ended before its last boundary." },
  FST_INVALID_MULTIPART_CONTENT_TYPE: {
    code: "unsupported-media-type",
    detail: "Send multipart/form-data with one part manifest and one to ten parts file.",
  },
};

function sortFramework(thrown: unknown, code: string | undefined): Sorted | undefined {
  const known = code === undefined ? undefined : FRAMEWORK[code];
  return known && thrown instanceof Error
    ? { ...known, status: PROBLEMS[known.code].status, expected: true }
    : undefined;
}

function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}

/** ioredis has no code of its own for these; its names and sentences are what there is. */
const REDIS_AWAY_MESSAGE =
  /^(Connection is closed|Command timed out|Stream isn't writeable|Reached the max retries per request|(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN) )/;

function isRedisAway(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  if (thrown.name === "MaxRetriesPerRequestError" || REDIS_AWAY_MESSAGE.test(thrown.message)) return true;
  const syscall = "syscall" in thrown ? thrown.syscall : undefined;
  return (
    syscall === "connect" &&
    /^(ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTFOUND|ENOENT|EAI_AGAIN)$/.test(codeOf(thrown) ?? "")
  );
}
