import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { exponential, growing, lookAt } from "../../src/core/backoff.ts";
import { type Duration, toMs } from "../../src/core/duration.ts";
import { isFailure, PermanentError, RetryableError, toFailure } from "../../src/core/errors.ts";
import { decodeLine, encodeLine } from "../../src/core/history.ts";
import { endAs, waitFor } from "../../src/core/outcome.ts";
import { RequestId, toRequestId } from "../../src/core/request.ts";
import { Authentication, Signer } from "../../src/core/signing.ts";

describe("durations", () => {
  test.each([
    ["250ms", 250],
    ["1.5s", 1_500],
    ["90s", 90_000],
    ["5m", 300_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
  ] as const)("%s is %d milliseconds", (text, expected) => {
    expect(toMs(text)).toBe(expected);
  });

  test.each(["", "5", "s", "5 s", "-1s", "5w"])("%j is refused", (text) => {
    expect(() => toMs(text as Duration)).toThrow(/Not a duration/);
  });
});

describe("backoff", () => {
  test("doubles up to its bound, and is spread over the upper half", () => {
    const backoff = exponential("2s", { upTo: "10s" });
    expect([1, 2, 3, 4, 400].map((n) => backoff(n))).toEqual([2_000, 4_000, 8_000, 10_000, 10_000]);
    expect(backoff(2, 0)).toBe(2_000);
  });

  test("a wait looks less and less often, within its bounds", () => {
    const poll = growing("2s", { upTo: "15m" });
    expect([0, 30_000, 600_000, 86_400_000].map(poll)).toEqual([2_000, 3_000, 60_000, 900_000]);
  });

  test("looks after long pauses meet every two seconds and are never early, those after short ones come on time", () => {
    const atMs = 1_795_702_577_279;
    expect([50, 2_000, 59_999].map((pauseMs) => lookAt(atMs, pauseMs) - atMs)).toEqual([50, 2_000, 59_999]);
    const put = Array.from({ length: 500 }, (_, n) => lookAt(atMs + n * 37, 900_000));
    const late = put.map((at, n) => at - (atMs + n * 37 + 900_000));
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...late)).toBeLessThan(2_000);
    expect(new Set(put).size).toBeLessThanOrEqual(11);
  });
});

describe("failures", () => {
  test("are kept as they are", () => {
    const failure = new PermanentError("no", { code: "x" });
    expect(toFailure(failure)).toBe(failure);
    expect(failure).toMatchObject({ kind: "permanent", effect: "none" });
    expect(new PermanentError("no", { code: "x", cause: failure }).cause).toBe(failure);
    const again = new RetryableError("no", { code: "y", retryAfterMs: 5, effect: "unknown", cause: 1 });
    expect(toFailure(again)).toBe(again);
    expect(again).toMatchObject({ kind: "retryable", retryAfterMs: 5, cause: 1 });
  });

  test("of an unknown kind are retried, and may have done something", () => {
    expect(toFailure("broken")).toMatchObject({
      kind: "retryable",
      code: "unexpected",
      effect: "unknown",
      message: "broken",
    });
    expect(toFailure(new TypeError("odd")).cause).toBeInstanceOf(TypeError);
  });

  test("are recognised by their codes", () => {
    expect(isFailure(new PermanentError("", { code: "a" }), "b", "a")).toBe(true);
    expect(isFailure(new PermanentError("", { code: "a" }), "b")).toBe(false);
    expect(isFailure(new Error("a"), "a")).toBe(false);
  });
});

test("an outcome says who must act and by when, or how the request ends", () => {
  expect(waitFor("code", { whose: "signer", within: "10m" })).toMatchObject({ withinMs: 600_000, expires: "expired" });
  expect(waitFor("code", { whose: "signer", within: 5, expires: "failed" })).toMatchObject({
    withinMs: 5,
    expires: "failed",
  });
  expect(waitFor("code", { whose: "signer", within: 5 }).pollMs(0)).toBe(5_000);
  expect(endAs("refused", { code: "refused", message: "no" })).toMatchObject({ ending: "refused", code: "refused" });
});

test("request ids have 128 bits and differ when the bits do", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (a, b) => {
        expect(RequestId.safeParse(toRequestId(a)).success).toBe(true);
        expect(toRequestId(a) === toRequestId(b)).toBe(Buffer.from(a).equals(Buffer.from(b)));
      },
    ),
  );
});

test("a line of history comes back as it went in, and cannot break its neighbours", () => {
  fc.assert(
    fc.property(fc.nat(), fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 }), (ms, by, note) => {
      const line = {
        atMs: 1_000 + ms,
        event: "wait",
        stage: "sign",
        phase: "waiting",
        ...(by && { by }),
        ...(note && { note }),
      };
      const back = decodeLine(encodeLine(line, 1_000), 1_000);
      const clean = (text: string) => text.replaceAll(/[|\n]/g, " ");
      expect(back).toEqual({ ...line, ...(by && { by: clean(by) }), ...(note && { note: clean(note) }) });
    }),
  );
});

describe("what a person hands in", () => {
  test.each(["+34699999999", "+15550100200"])("the phone number %s is taken", (mobile_phone_number) => {
    expect(Signer.safeParse({ email: "ana@example.com", mobile_phone_number }).success).toBe(true);
  });
  test.each(["699999999", "+34 699 999 999", "0034699999999", "+0123456789", ""])(
    "the phone number %j is not",
    (mobile_phone_number) => {
      expect(Signer.safeParse({ email: "ana@example.com", mobile_phone_number }).success).toBe(false);
    },
  );
  test("a field that nobody asked for is refused", () => {
    const extra = { email: "ana@example.com", mobile_phone_number: "+34699999999", colour: "red" };
    expect(Signer.safeParse(extra).success).toBe(false);
    expect(Authentication.safeParse({ method: "external", type: "biometric" }).success).toBe(false);
  });
});
