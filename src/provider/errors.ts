import { type Effect, type Failure, PermanentError, RetryableError } from "../core/errors.ts";
import { type CallName, hasEffect, nameOf } from "./calls.ts";
import { toFields } from "./fields.ts";
import { redact } from "./redact.ts";
import { type Body, toStatusCode, toStatusWords, toText } from "./wire.ts";

/** What one kind of answer means for us. */
export interface AnswerRule {
  /** The calls it holds for; all when left out. */
  call?: CallName | readonly CallName[];
  /** HTTP statuses; "3xx" is any of the hundred, and "any" is for rules that the text alone decides. */
  status: readonly (number | "3xx" | "4xx" | "5xx" | "any")[];
  /** What the body must say: the human text and the envelope's status words, as JSON where it was an object. */
  text?: RegExp;
  kind: "retryable" | "permanent";
  code: string;
  /** "unknown": it may have worked all the same. Counts only for calls that change something. */
  effect: Effect;
  /** The earliest useful moment to try again when the answer names none, in milliseconds. */
  afterMs?: number;
  source: string;
}

const OLD = "docs/provider.md §Errors, first-generation reference";
const UPSTREAM = "docs/provider.md §Errors, RA reference";
const INFERRED = "docs/provider.md §Errors, inferred";
const HTTP = "RFC 9110 §15";

/** Calls after which what is not found is taken as gone for good, and lists, which are empty then. */
const TAKEN_AS_GONE: readonly CallName[] = [
  ...(["getRequest", "cancel", "deleteDocument", "deleteDocuments"] as const),
  ...(["deleteToken", "listTokens", "deleteImage", "listImages", "deleteImages"] as const),
];

/**
 * What the provider's answers mean; the first match wins. The HTTP status alone decides nothing where a text is known:
 * this provider answers 500 to a malformed e-mail address and 400 to a request it cannot find. An error inside a 2xx
 * is matched by its text alone.
 */
export const ANSWERS: readonly AnswerRule[] = [
  // One-time codes and signing.
  {
    call: "otp",
    status: [412, 429],
    text: /less than (a|one|1) minute/i,
    kind: "retryable",
    code: "otp-too-soon",
    effect: "none",
    afterMs: 60_000,
    source: OLD,
  },
  { status: [412, 409], text: /\bISSUED\b/, kind: "permanent", code: "already-issued", effect: "none", source: OLD },
  {
    call: "sign",
    status: [400, 401, 403],
    text: /confirmation code|\b(code|otp|secret)\b.*\b(invalid|expired|wrong|incorrect)|\b(invalid|expired|wrong|incorrect)\b.*\b(code|otp|secret)\b/i,
    kind: "permanent",
    code: "code-rejected",
    effect: "none",
    source: OLD,
  },
  {
    call: "sign",
    status: [404],
    text: /documents are not found|not found in request's folders/i,
    kind: "permanent",
    code: "documents-missing",
    effect: "none",
    source: OLD,
  },
  {
    call: "sign",
    status: [400, 404],
    text: /\bimage\b.*(cannot be found|not found)/i,
    kind: "permanent",
    code: "image-missing",
    effect: "none",
    source: OLD,
  },

  // Create registers first and approves then: what fails in between leaves a registered request behind.
  {
    call: "createRequest",
    status: [400, 401, 403, 404, 412, 500],
    text: /during request approval\b.*\bRAO\b/i,
    kind: "permanent",
    code: "rao-rejected",
    effect: "unknown",
    source: INFERRED,
  },
  {
    call: "createRequest",
    status: [400, 403, 412, 422, 500],
    text: /during request approval\b.*\b(missing|invalid|required|not valid)\b/i,
    kind: "permanent",
    code: "invalid-input",
    effect: "unknown",
    source: OLD,
  },

  // Who we are to the provider: an operator must act, and repeating may lock an account.
  {
    status: [500],
    text: /\bRAO\b.*does not exist/i,
    kind: "permanent",
    code: "rao-rejected",
    effect: "none",
    source: OLD,
  },
  {
    status: [400, 401, 403, 404],
    text: /\bRAO(['’]s)?\b/i,
    kind: "permanent",
    code: "rao-rejected",
    effect: "none",
    source: OLD,
  },
  {
    status: [400, 401, 402, 403, 500],
    text: /\bbilling\b|remaining credit/i,
    kind: "permanent",
    code: "billing-rejected",
    effect: "none",
    source: OLD,
  },
  {
    status: [400, 404],
    text: /registration authority/i,
    kind: "permanent",
    code: "configuration-rejected",
    effect: "none",
    source: OLD,
  },
  {
    status: [400, 404],
    text: /\benvironment\b.*(not available|does not exist)|missing env parameter/i,
    kind: "permanent",
    code: "configuration-rejected",
    effect: "none",
    source: OLD,
  },
  {
    status: [500],
    text: /^configuration error/i,
    kind: "permanent",
    code: "configuration-rejected",
    effect: "none",
    source: OLD,
  },
  {
    status: [401, 403, 500],
    text: /do not have permission/i,
    kind: "permanent",
    code: "not-permitted",
    effect: "none",
    source: OLD,
  },

  {
    call: "createToken",
    status: [400, 409, 412],
    text: /\balready exists?\b/i,
    kind: "permanent",
    code: "token-exists",
    effect: "none",
    source: OLD,
  },

  // What we sent. Validation further up arrives as 500 with an object of arrays, or with these texts.
  {
    status: [400, 412, 422, 500],
    text: /\{"\w+":\[("|\{"(message|code)")/,
    kind: "permanent",
    code: "invalid-input",
    effect: "none",
    source: OLD,
  },
  {
    status: [400, 412, 500],
    text: /this field (is required|may not be)|valid email|ISO 3166|international prefix|invalid request fields|missing (required )?(parameter|docs)|no reason specified|is not valid\b/i,
    kind: "permanent",
    code: "invalid-input",
    effect: "none",
    source: OLD,
  },
  {
    status: [400],
    text: /invalid json|could not parse json|json parse error/i,
    kind: "permanent",
    code: "invalid-input",
    effect: "none",
    source: OLD,
  },
  {
    status: [400],
    text: /maximum number of document/i,
    kind: "permanent",
    code: "too-many-documents",
    effect: "none",
    source: OLD,
  },
  {
    status: [400, 415],
    text: /unsupported file type|file type not supported/i,
    kind: "permanent",
    code: "unsupported-file",
    effect: "none",
    source: OLD,
  },

  // Where the request is.
  {
    status: [400, 403, 409, 412],
    text: /invalid (request )?status/i,
    kind: "permanent",
    code: "wrong-state",
    effect: "none",
    source: UPSTREAM,
  },
  // A server that does not know the path, which is another matter than a document it does not have.
  {
    status: [404, 405, 501],
    text: /^(an HTML page|method not allowed|(route )?cannot (get|post|put|delete)\b.*|route .*not found)$/i,
    kind: "permanent",
    code: "call-unknown",
    effect: "none",
    source: INFERRED,
  },
  // What a router says of a wrong base path. Where it would be taken for "gone already", it is not believed so easily.
  {
    call: TAKEN_AS_GONE,
    status: [404],
    text: /^not found$/i,
    kind: "permanent",
    code: "path-unknown",
    effect: "none",
    source: INFERRED,
  },
  {
    status: [400, 404, 410],
    text: /not found|no (documents|images|tokens) found|cannot be found|does not exist/i,
    kind: "permanent",
    code: "not-found",
    effect: "none",
    source: OLD,
  },

  // By status alone.
  { status: [401], kind: "permanent", code: "not-permitted", effect: "none", source: UPSTREAM },
  {
    call: TAKEN_AS_GONE,
    status: [404],
    kind: "permanent",
    code: "path-unknown",
    effect: "none",
    source: INFERRED,
  },
  { status: [404, 410], kind: "permanent", code: "not-found", effect: "none", source: OLD },
  { status: [405], kind: "permanent", code: "call-unknown", effect: "none", source: UPSTREAM },
  { status: [408], kind: "retryable", code: "provider-error", effect: "unknown", source: HTTP },
  { status: [412], kind: "permanent", code: "wrong-state", effect: "none", source: OLD },
  { status: [413], kind: "permanent", code: "too-large", effect: "none", source: HTTP },
  { status: [415], kind: "permanent", code: "unsupported-file", effect: "none", source: OLD },
  { status: [422], kind: "permanent", code: "invalid-input", effect: "none", source: INFERRED },
  { status: [425], kind: "retryable", code: "provider-error", effect: "none", source: "RFC 8470 §5.2" },
  { status: [429], kind: "retryable", code: "rate-limited", effect: "none", source: "RFC 6585 §4" },
  { status: ["3xx"], kind: "permanent", code: "redirected", effect: "unknown", source: HTTP },
  { status: ["4xx"], kind: "permanent", code: "provider-refused", effect: "none", source: HTTP },
  // 5xx, an error inside a 2xx whose text says nothing to us, and status codes that do not exist.
  { status: ["5xx", "any"], kind: "retryable", code: "provider-error", effect: "unknown", source: HTTP },
];

/** An answer that was not a success. */
export interface Refusal {
  status: number;
  body: Body;
  /** The Retry-After header. */
  retryAfter?: string | undefined;
}

/** The rule that `refusal` falls under. */
export function ruleFor(call: CallName, { status, body }: Refusal): AnswerRule {
  const words = toStatusWords(body);
  const text = toText(body);
  const inSuccess = status >= 200 && status < 300;
  // Where the envelope contradicts the HTTP status, either may be the one a text rule knows.
  const stated = [inSuccess ? undefined : status, toStatusCode(words)];
  const found = ANSWERS.find((rule) => {
    if (rule.call && ![rule.call].flat().includes(call)) return false;
    if (rule.text) {
      const known = rule.status.some((one) => stated.includes(one as number)) || (inSuccess && stated[1] === undefined);
      return known && (rule.text.test(text) || rule.text.test(words));
    }
    if (inSuccess) return rule.status.includes("any");
    const hundred = `${Math.floor(status / 100)}xx`;
    return rule.status.some((one) => one === status || one === hundred || one === "any");
  });
  return found ?? (ANSWERS.at(-1) as AnswerRule);
}

/**
 * The failure that an answer stands for. Its message names the call and what the provider said, without identifiers,
 * personal data or anything secret that was sent; "invalid-input" has `fields` when the answer names any.
 */
export function fromAnswer(call: CallName, refusal: Refusal, secrets: readonly string[] = []): Failure {
  const { kind, code, effect: may, afterMs } = ruleFor(call, refusal);
  const effect = hasEffect(call) ? may : "none";
  const fields = code === "invalid-input" ? toFields(refusal.body, secrets) : undefined;
  const said = fields && Object.entries(fields).map(([name, sentence]) => `${name}: ${sentence}`);
  const text = said ? said.join("; ") : redact(toText(refusal.body), secrets, { atMost: 200 });
  const message = `${nameOf(call)} answered ${refusal.status}${text && `: ${text}`}`.slice(0, 200);
  if (kind === "permanent") return new PermanentError(message, { code, effect, fields });
  const retryAfterMs = [429, 503].includes(refusal.status) ? (toRetryAfterMs(refusal.retryAfter) ?? afterMs) : afterMs;
  return new RetryableError(message, { code, effect, ...(retryAfterMs !== undefined && { retryAfterMs }) });
}

/**
 * A 2xx whose body is not what the call gives. Whether it worked is not known.
 * Always RetryableError "unexpected-answer": a stage whose call has an effect asks before it repeats.
 */
export function unexpected(call: CallName, what: string): RetryableError {
  const message = `${nameOf(call)} answered with something else than expected: ${what}`.slice(0, 200);
  return new RetryableError(message, { code: "unexpected-answer", effect: hasEffect(call) ? "unknown" : "none" });
}

/**
 * The failure that silence stands for. `begun` is false as long as no byte of the request can have left: then it
 * certainly did nothing, and the code is "unreachable" when it was the connection that could not be made.
 */
export function fromSilence(call: CallName, cause: unknown, { begun, aborted = false }: Silence): RetryableError {
  const why = reasonOf(cause);
  if (!begun && !aborted) {
    return new RetryableError(`${nameOf(call)} did not reach the provider: ${why}`, { code: "unreachable", cause });
  }
  const effect = begun && hasEffect(call) ? "unknown" : "none";
  return new RetryableError(`${nameOf(call)} was not answered: ${why}`, { code: "no-answer", cause, effect });
}

interface Silence {
  begun: boolean;
  /** We gave up ourselves: the time was over, or the caller stopped. */
  aborted?: boolean;
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return "stopped";
  const { code } = cause as { code?: unknown };
  return typeof code === "string" ? code : cause.name;
}

const LEAST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15 * 60_000;

/**
 * A Retry-After header in milliseconds from now, within one second and a quarter of an hour; undefined when it is
 * neither seconds nor a date. @source RFC 9110 §10.2.3
 */
export function toRetryAfterMs(header: string | undefined, nowMs = Date.now()): number | undefined {
  const text = header?.trim();
  if (!text) return undefined;
  const waitMs = /^\d{1,12}$/.test(text)
    ? Number(text) * 1_000
    : /^[A-Za-z]{3,9},? /.test(text)
      ? Date.parse(text) - nowMs
      : NaN;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, LEAST_WAIT_MS), LONGEST_WAIT_MS);
}
