import { describe, expect, test } from "vitest";
import { claimsIn, hasClaim, joinable, waitsForMore } from "../../src/core/bundle.ts";
import type { SignRequest } from "../../src/core/request.ts";

const documents = (n: number) =>
  Array.from({ length: n }, (_, i) => ({
    id: `req-${String(i).padStart(26, "0")}/1.pdf`,
    name: `${i}.pdf`,
    sizeBytes: 1,
    sha256: "0".repeat(64),
  }));

function request(more: Partial<SignRequest> & { facts?: object } = {}): SignRequest {
  return {
    id: "req-00000000000000000000000000",
    workflow: "videoid",
    source: "inbox",
    stage: "identify",
    phase: "waiting",
    attempt: 0,
    createdMs: 0,
    updatedMs: 0,
    ...more,
    facts: { documents: documents(3), bundle: { untilMs: 1_000, most: 10 }, ...more.facts },
  };
}

const intent = { effect: "upload", atMs: 1, firstMs: 1, tries: 1 };

describe("whether a document may join", () => {
  test.each([
    ["while the signer identifies", {}, "open"],
    ["while the request is being opened, since that names no document", { stage: "create", intent }, "open"],
    ["while it waits for more", { stage: "upload" }, "open"],
    ["not while its documents are on their way", { stage: "upload", intent }, "busy"],
    ["while an upload waits to be tried again that surely did nothing", { stage: "upload", phase: "retrying" }, "open"],
    ["after the upload: then all are sent again", { stage: "contract", phase: "queued" }, "again"],
    ["right before the code", { stage: "otp", phase: "running" }, "again"],
    ["not while the code leaves", { stage: "otp", phase: "running", intent: { ...intent, effect: "otp" } }, "busy"],
    ["while the contract is to be tried again", { stage: "contract", phase: "retrying" }, "open"],
    ["while the code is, as long as none has left", { stage: "otp", phase: "retrying" }, "open"],
    ["not once a code is out", { stage: "otp", facts: { otp: { sentMs: 1, count: 1 } } }, "closed"],
    ["not when nobody knows whether one is out", { stage: "otp", facts: { begun: { otp: 1 } } }, "closed"],
    ["not at the signing", { stage: "sign" }, "closed"],
    ["not when it is full", { facts: { documents: documents(10) } }, "closed"],
    ["not when it is over", { phase: "failed" }, "closed"],
    ["not when it is on its way to end", { ending: "cancelled" }, "closed"],
    ["not when it is no bundle", { facts: { bundle: undefined } }, "closed"],
  ] as const)("%s", (_, more, expected) => {
    expect(joinable(request(more as Parameters<typeof request>[0]))).toBe(expected);
  });

  test("the time that a request waits for more is over with the window, or when it is full", () => {
    const bundle = { untilMs: 1_000, most: 3 };
    expect(waitsForMore(bundle, 2, 999)).toBe(true);
    expect(waitsForMore(bundle, 2, 1_000)).toBe(false);
    expect(waitsForMore(bundle, 3, 999)).toBe(false);
  });

  test("a request names the claims whose documents it has, each once", () => {
    const ids = documents(2).map(({ id }) => id.slice(0, 30));
    const whole = request({ facts: { documents: [...documents(2), ...documents(1)] } });
    expect(claimsIn(whole)).toEqual(ids);
    expect(hasClaim(whole, ids[1] ?? "")).toBe(true);
    expect(hasClaim(whole, "req-zzzzzzzzzzzzzzzzzzzzzzzzzz")).toBe(false);
  });
});
