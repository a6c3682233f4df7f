import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  changed,
  foldLines,
  isTip,
  type JournalLine,
  merged,
  noteTip,
  RESTORER,
  type Tips,
  unknownLines,
} from "../../src/core/journal.ts";
import { type SignRequest, toRequestId } from "../../src/core/request.ts";
import { createTrail } from "../../src/queues/trail.ts";

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
  test("although a line is missing, when the next one has the whole record with it", () => {
    const whole = { ...FIRST, stage: "approve", facts: { requestPk: 5, identifiedMs: 7 }, mark: "m4" };
    const later = line(4, "m4", "m3", { stage: "approve", patch: { facts: { identifiedMs: 7 } }, first: whole });
    expect(foldLines([BEGUN, INTENDED, later])).toMatchObject({ stage: "approve", facts: whole.facts });
  });
  test("with what was lost, when somebody who did not know of it wrote a whole record since", () => {
    const note = { by: "api:admin", patch: { facts: { approval: "auto" } }, first: { ...FIRST, mark: "n2" } };
    const both = foldLines([BEGUN, INTENDED, DONE, line(2, "n2", "m1", { ...note, atMs: 9_000 })]);
    expect(both).toMatchObject({ stage: "identify", facts: { requestPk: 5, approval: "auto" } });
  });
  test("with every call that was begun, also one that whoever wrote since did not know of", () => {
    const begun = line(3, "m3", "m2", { event: "intend", patch: { facts: { begun: { create: 1, upload: 2 } } } });
    const late = line(3, "n3", "m2", { atMs: 9_000, patch: { facts: { begun: { create: 1, lateUpload: 1 } } } });
    expect(foldLines([BEGUN, INTENDED, begun, late])?.facts["begun"]).toEqual({ create: 1, upload: 2, lateUpload: 1 });
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

  test("is nothing once the record was put back, whatever it was made from", () => {
    const back = { first: { ...FIRST, mark: "r9" }, by: "recovery" };
    for (const before of [undefined, "m1", "unwritten"]) {
      expect(unknownLines([...lines, line(9, "r9", before, back)], { mark: "r9", version: 9 })).toEqual([]);
      const on = line(10, "m10", "r9", { patch: {} });
      expect(unknownLines([...lines, line(9, "r9", before, back), on], { mark: "m10", version: 10 })).toEqual([]);
    }
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

describe("whether Redis knows all lines is told without keeping them", () => {
  const tipsOf = (lines: readonly JournalLine[]) =>
    lines.reduce<Tips | undefined>((tips, one) => noteTip(tips, one), undefined) as Tips;

  test("when it has the only state that no line follows from, in whatever order they are read", () => {
    for (const lines of [
      [BEGUN, INTENDED, DONE],
      [DONE, BEGUN, INTENDED],
      [INTENDED, DONE],
    ]) {
      expect(isTip(tipsOf(lines), "m3")).toBe(true);
      for (const mark of ["m1", "m2", "other", undefined]) expect(isTip(tipsOf(lines), mark)).toBe(false);
    }
  });
  test("when it has what was made of a record that was put back", () => {
    const back = line(9, "r9", undefined, { first: FIRST, by: RESTORER });
    expect(isTip(tipsOf([BEGUN, back, INTENDED]), "r9")).toBe(true);
    expect(isTip(tipsOf([line(10, "m10", "r9", { patch: {} }), BEGUN, back]), "m10")).toBe(true);
    expect(isTip(tipsOf([BEGUN, back, line(10, "m10", "m1", { patch: {} })]), "r9")).toBe(false);
  });
  test("from when to when its lines are", () => {
    expect(tipsOf([DONE, INTENDED])).toMatchObject({ fromMs: 1_002, toMs: 1_003 });
    expect(tipsOf([DONE, BEGUN])).toMatchObject({ fromMs: 1_000, toMs: 1_003 });
  });

  test("never when a line is unknown, whatever was lost, forked, missing or put back", () => {
    const change = fc.record({
      from: fc.nat(30),
      kind: fc.constantFrom("on", "on", "on", "lost", "restored", "restored from nothing"),
    });
    const arbitrary = fc.tuple(fc.array(change, { maxLength: 12 }), fc.infiniteStream(fc.nat(100)), fc.nat(30));
    let known = 0;
    fc.assert(
      fc.property(arbitrary, ([changes, order, at]) => {
        const states = [{ mark: "m0", version: 1 }];
        const lines: JournalLine[] = [line(1, "m0", undefined, { first: FIRST })];
        for (const [i, { from, kind }] of changes.entries()) {
          const last = states.length - 1;
          const made = states[from % 4 === 0 ? from % states.length : last] ?? { mark: "", version: 0 };
          const isBack = kind.startsWith("restored");
          const version = isBack ? Math.max(...states.map((one) => one.version)) + 1 : made.version + 1;
          const mark = `m${i + 1}`;
          states.push({ mark, version });
          const before = kind === "restored from nothing" ? undefined : made.mark;
          if (kind !== "lost") lines.push(line(version, mark, before, isBack ? { first: FIRST } : { patch: {} }));
        }
        const record = states[at % states.length] ?? { mark: "", version: 0 };
        const shuffled = lines
          .map((one) => ({ one, at: order.next().value ?? 0 }))
          .sort((a, b) => a.at - b.at)
          .map(({ one }) => one);
        if (!isTip(tipsOf(shuffled), record.mark)) return;
        known += 1;
        expect(unknownLines(lines, record)).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
    expect(known).toBeGreaterThan(100);
  });
});

test("what is put back keeps what only Redis has, when the line about it was never written", () => {
  const whole = { ...FIRST, stage: "identify", facts: { requestPk: 5 }, mark: "m3" };
  const held: SignRequest = {
    ...FIRST,
    facts: { approval: "auto", requestPk: 4 },
    ending: "cancelled",
    mark: "unwritten",
  };
  const lines = [BEGUN, INTENDED, DONE];
  expect(merged(whole, held, lines)).toMatchObject({ facts: { requestPk: 5, approval: "auto" }, ending: "cancelled" });
  expect(merged(whole, { ...held, mark: "m1" }, lines)).toBe(whole);
  expect(merged(whole, undefined, lines)).toBe(whole);
});

describe("a change is written down with its whole record", () => {
  async function written(...changes: [mark: string, before: string | undefined, broken?: boolean][]) {
    const entries: JournalLine[] = [];
    let isBroken = false;
    const trail = createTrail({
      append: (entry) => (isBroken ? Promise.reject(new Error("full")) : Promise.resolve(void entries.push(entry))),
    });
    for (const [i, [mark, before, broken = false]] of changes.entries()) {
      isBroken = broken;
      await trail.append(line(i + 1, mark, before), { durable: true, whole: { ...FIRST, mark } }).catch(() => {});
    }
    return entries.map(({ mark, first }) => `${mark}${first ? " whole" : ""}`);
  }
  test("where the request begins, and not where it follows from a line of this process", async () => {
    expect(await written(["a", undefined], ["b", "a"], ["c", "b"])).toEqual(["a whole", "b", "c"]);
  });
  test("where somebody else wrote the line before, or nobody did", async () => {
    expect(await written(["a", undefined], ["c", "b"], ["d", "c"])).toEqual(["a whole", "c whole", "d"]);
  });
  test("where the line before could not be written", async () => {
    expect(await written(["a", undefined], ["b", "a", true], ["c", "b"])).toEqual(["a whole", "c whole"]);
  });
});
