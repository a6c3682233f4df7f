import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Ending,
  ENDINGS,
  type Event,
  IllegalMove,
  isEnd,
  move,
  MOVES,
  PHASES,
  phasesFor,
} from "../../src/core/status.ts";

const stages = ["create", "upload", "cleanup"];
const EVENTS: Event[] = ["start", "intend", "succeed", "wait", "retry", "end", "abandon", "requeue", "clean"];

describe("a request moves by the table and in no other way", () => {
  test("success goes to the next stage, and ends the request after the last one", () => {
    expect(move({ stage: "create", phase: "running" }, "succeed", { stages })).toEqual({
      stage: "upload",
      phase: "queued",
    });
    expect(move({ stage: "cleanup", phase: "running" }, "succeed", { stages })).toEqual({
      stage: "cleanup",
      phase: "done",
    });
  });

  test.each(ENDINGS)("a request that is to end %s does so after cleanup", (ending) => {
    const at = move({ stage: "upload", phase: "waiting" }, "end", { stages, ending });
    expect(at).toEqual({ stage: "cleanup", phase: "queued" });
    expect(move({ stage: "cleanup", phase: "running" }, "succeed", { stages, ending })).toEqual({
      stage: "cleanup",
      phase: ending,
    });
    expect(move({ stage: "cleanup", phase: "running" }, "abandon", { stages, ending }).phase).toBe(ending);
  });

  test("cleanup that gives up after a success leaves the request failed", () => {
    expect(move({ stage: "cleanup", phase: "running" }, "abandon", { stages }).phase).toBe("failed");
  });

  test("a request on its way to an end is not sent there again", () => {
    expect(() => move({ stage: "cleanup", phase: "queued" }, "end", { stages, ending: "failed" })).toThrow(IllegalMove);
  });

  test("a request goes back to another stage unless it is being repeated, or is over for good", () => {
    for (const phase of PHASES) {
      const go = () => move({ stage: "upload", phase }, "requeue", { stages, to: "create" });
      if (["queued", "running", "waiting", "failed", "expired"].includes(phase))
        expect(go()).toEqual({ stage: "create", phase: "queued" });
      else expect(go).toThrow(IllegalMove);
    }
    expect(() => move({ stage: "upload", phase: "failed" }, "requeue", { stages, to: "nowhere" })).toThrow(IllegalMove);
    expect(() => move({ stage: "upload", phase: "failed" }, "requeue", { stages })).toThrow(IllegalMove);
  });

  test("what is over is cleaned up again at the last stage, on the way to the end that it had, and done is done", () => {
    for (const phase of PHASES) {
      const go = () => move({ stage: "cleanup", phase }, "clean", { stages, ending: phase as Ending });
      if (ENDINGS.includes(phase as Ending)) expect(go()).toEqual({ stage: "cleanup", phase: "queued" });
      else expect(go).toThrow(IllegalMove);
    }
    const refused = { stage: "cleanup", phase: "refused" } as const;
    expect(() => move(refused, "clean", { stages, ending: "failed" })).toThrow(IllegalMove);
    expect(() => move(refused, "clean", { stages })).toThrow(IllegalMove);
    expect(() => move({ ...refused, stage: "upload" }, "clean", { stages, ending: "refused" })).toThrow(IllegalMove);
  });

  test("a workflow without stages moves nowhere", () => {
    expect(() => move({ stage: "create", phase: "queued" }, "start", { stages: [] })).toThrow(IllegalMove);
  });

  test("whatever happens, a request is at a known stage in a known phase, and an end stays an end", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...EVENTS), { maxLength: 40 }),
        fc.constantFrom(...ENDINGS),
        (events, ending) => {
          let at = { stage: "create", phase: "queued" as (typeof PHASES)[number] };
          let ended: typeof ending | undefined;
          for (const event of events) {
            const before = at;
            try {
              at = move(at, event, { stages, ending: event === "end" ? ending : ended, to: "create" });
            } catch (error) {
              expect(error).toBeInstanceOf(IllegalMove);
              continue;
            }
            if (event === "end") ended = ending;
            if (event === "requeue") ended = undefined;
            expect(stages).toContain(at.stage);
            expect(PHASES).toContain(at.phase);
            if (isEnd(before.phase)) expect(["requeue", "clean"]).toContain(event);
            if (event === "clean") expect(before.phase).toBe(ended);
          }
        },
      ),
    );
  });
});

test("ends are the phases in which nothing starts and nobody waits", () => {
  expect(PHASES.filter(isEnd)).toEqual(["done", "refused", "cancelled", "expired", "failed"]);
  expect(phasesFor("start")).toEqual(["queued", "running", "retrying"]);
  expect(Object.keys(MOVES)).toEqual([...PHASES]);
});
