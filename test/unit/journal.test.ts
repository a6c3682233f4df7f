import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { changed, foldLines, type JournalLine, RESTORER, unknownLines } from "../../src/core/journal.ts";
import { type SignRequest, toRequestId } from "../../src/core/request.ts";

const ID = toRequestId(new Uint8Array(16).fill(7));
const FIRST: SignRequest = {
  id: ID,
  workflow: "videoid",
  source: "api",
  stage: "create",
  phase: "queued",
  attempt: 0,
  facts: { documents: [] },
  mark: "m1",
  createdMs: 1_000,
  updatedMs: 1_000,
};

function line(version: number, mark: string, before: string | undefined, more: Partial<JournalLine> = {}): JournalLine {
  const where = { event: "note", stage: "create", phase: "queued" as const };
  return { atMs: 1_000 + version, request: ID, version, mark, ...(before && { before }), ...where, ...more };
}

const INTENT = { effect: "create", atMs: 1_002, firstMs: 1_002, tries: 1 };
const BEGUN = line(1, "m1", undefined, { first: FIRST });
const INTENDED = line(2, "m2", "m1", { event: "intend", phase: "running", patch: { intent: INTENT } });
const DONE = line(3, "m3", "m2", {
  event: "succeed",
  stage: "identify",
  patch: { facts: { requestPk: 5 }, intent: null, waiting: null },
});

describe("a record is made again from its lines", () => {
  test("in whatever order they are read", () => {
    const whole = foldLines([DONE, BEGUN, INTENDED]);
    expect(whole).toMatchObject({
      stage: "identify",
      phase: "queued",
      facts: { documents: [], requestPk: 5 },
      mark: "m3",
    });
    expect(whole?.intent).toBeUndefined();
  });
  test("with what was begun and has no result as an intent", () => {
    expect(foldLines([BEGUN, INTENDED])).toMatchObject({ phase: "running", intent: INTENT });
  });
  test("from where it was restored last, when it was", () => {
    const restored = line(9, "m9", "m2", { first: { ...FIRST, stage: "sign", mark: "m9" } });
    expect(foldLines([BEGUN, INTENDED, restored])).toMatchObject({ stage: "sign", mark: "m9" });
  });
  test("and not at all without its beginning", () => {
    expect(foldLines([INTENDED, DONE])).toBeUndefined();
  });
});

test("a change to another stage forgets the attempts, and null removes", () => {
  const at = { ...FIRST, attempt: 3, waiting: { for: "code", whose: "signer", sinceMs: 1, untilMs: 2 } };
  const next = changed(at, {
    event: "succeed",
    stage: "identify",
    phase: "queued",
    patch: { waiting: null },
    atMs: 500,
  });
  expect(next).toMatchObject({ attempt: 0, stage: "identify", updatedMs: 1_000 });
  expect("waiting" in next).toBe(false);
  expect(changed(at, { event: "note", stage: "create", phase: "queued", atMs: 2_000 })).toMatchObject({ attempt: 3 });
  expect(changed(at, { event: "requeue", stage: "create", phase: "queued", atMs: 2_000 })).toMatchObject({
    attempt: 0,
  });
});

describe("what Redis does not know", () => {
  const lines = [BEGUN, INTENDED, DONE];
  test("is nothing when it has the newest state", () => {
    expect(unknownLines(lines, { mark: "m3", version: 3 })).toEqual([]);
  });
  test("is everything when it has no record", () => {
    expect(unknownLines(lines, undefined)).toEqual(lines);
  });
  test("is what came after the state it has", () => {
    expect(unknownLines(lines, { mark: "m1", version: 1 })).toEqual([INTENDED, DONE]);
  });
  test("is what was lost, even when somebody has written on since", () => {
    const note = line(2, "n2", "m1", { by: "api:admin" });
    expect(unknownLines([...lines, note], { mark: "n2", version: 2 })).toEqual([INTENDED, DONE]);
  });
  test("is nothing when Redis is ahead: a line that was not on disk yet when a process died", () => {
    expect(unknownLines(lines, { mark: "unwritten", version: 4 })).toEqual([]);
    const later = line(5, "m5", "unwritten");
    expect(unknownLines([...lines, later], { mark: "m5", version: 5 })).toEqual([]);
  });

  test("is nothing of what was there when it was restored, from no record or from an older one", () => {
    const fromNothing = line(4, "r4", undefined, { first: FIRST, by: RESTORER });
    expect(unknownLines([...lines, fromNothing], { mark: "r4", version: 4 })).toEqual([]);
    const fromOlder = line(4, "r4", "m1", { first: FIRST, by: RESTORER });
    const after = line(5, "m5", "r4");
    expect(unknownLines([...lines, fromOlder], { mark: "r4", version: 4 })).toEqual([]);
    expect(unknownLines([...lines, fromOlder, after], { mark: "m5", version: 5 })).toEqual([]);
    expect(unknownLines([...lines, fromOlder, after], { mark: "r4", version: 4 })).toEqual([after]);
  });
  test("is the restoration too, when that was lost as well", () => {
    const restored = line(4, "r4", "m1", { first: FIRST, by: RESTORER });
    expect(unknownLines([...lines, restored], { mark: "m1", version: 1 })).toEqual([INTENDED, DONE, restored]);
  });

  test("is, for any history with any tail lost, just the tail", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.nat(29), (count, cut) => {
        const all = Array.from({ length: count }, (_, i) => line(i + 1, `s${i + 1}`, i === 0 ? undefined : `s${i}`));
        const has = Math.min(cut, count - 1) + 1;
        expect(unknownLines(all, { mark: `s${has}`, version: has })).toEqual(all.slice(has));
      }),
    );
  });
});
