import { expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { IllegalMove } from "../../src/core/status.ts";
import { ApiError, PROBLEMS, toRefusal } from "../../src/producers/api/problem.ts";

const refuse = (thrown: unknown) => toRefusal(thrown, "c-1");
const permanent = (code: string) => new PermanentError("a plain sentence", { code });

test.each([
  [permanent("no-such-request"), 404, "no-such-request"],
  [permanent("not-possible-now"), 409, "not-possible-now"],
  [permanent("already-decided"), 409, "already-decided"],
  [permanent("too-late"), 409, "too-late"],
  [permanent("otp-too-many"), 409, "otp-too-many"],
  [permanent("bad-cursor"), 400, "bad-cursor"],
  [permanent("auto-approval-not-allowed"), 422, "auto-approval-not-allowed"],
  [permanent("callback-not-allowed"), 422, "callback-not-allowed"],
  [permanent("a-code-of-tomorrow"), 409, "a-code-of-tomorrow"],
  [permanent("record-damaged"), 500, "record-damaged"],
  [new IllegalMove({ stage: "sign", phase: "done" }, "requeue"), 409, "not-possible-now"],
  [new ApiError("too-large", "too large"), 413, "too-large"],
  [Object.assign(new Error("no space"), { code: "ENOSPC" }), 507, "disk-full"],
  [new Error("Connection is closed."), 503, "redis-unavailable"],
  [new Error("Command timed out"), 503, "redis-unavailable"],
  [Object.assign(new Error("x"), { name: "MaxRetriesPerRequestError" }), 503, "redis-unavailable"],
  [Object.assign(new Error("x"), { code: "ECONNREFUSED", syscall: "connect" }), 503, "redis-unavailable"],
  [new RetryableError("away", { code: "a-retryable-of-tomorrow" }), 503, "a-retryable-of-tomorrow"],
  [new Error("secret inside"), 500, "internal"],
  ["not even an error", 500, "internal"],
])("%s is answered with %i", (thrown, status, code) => {
  const { body } = refuse(thrown);
  expect(body).toMatchObject({ status, code, correlation_id: "c-1" });
});

test("what was not expected keeps its words to itself", () => {
  expect(JSON.stringify(refuse(new Error("secret inside")).body)).not.toContain("secret");
  expect(refuse(new Error("secret inside")).expected).toBe(false);
});

test("what may be repeated says when", () => {
  expect(refuse(new Error("Connection is closed.")).retryAfterSeconds).toBe(5);
  const tooSoon = new RetryableError("too soon", { code: "otp-too-soon", retryAfterMs: 41_200 });
  expect(refuse(tooSoon)).toMatchObject({ body: { status: 429 }, retryAfterSeconds: 42 });
  expect(refuse(permanent("too-late")).retryAfterSeconds).toBeUndefined();
});

test("codes are in kebab-case and titles are sentences without a full stop", () => {
  for (const [code, { status, title }] of Object.entries(PROBLEMS)) {
    expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(title).toMatch(/^[A-Z].*[^.]$/);
    expect(status).toBeGreaterThanOrEqual(400);
  }
});
