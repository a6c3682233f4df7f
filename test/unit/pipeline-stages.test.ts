import { expect, test } from "vitest";
import { INTAKE_FACTS, STAGE_NAMES, stages } from "../../src/workers/index.ts";

/** Facts that people add while a request waits, and the queue or a later stage on the way. */
const FROM_OUTSIDE = ["decision", "signAccepted", "begun", "lateUploadMs", "sealBroken", "suspectedOrphan"];

test("every fact that a stage needs was given by the producer or by an earlier stage", () => {
  const known = new Set<string>([...INTAKE_FACTS, ...FROM_OUTSIDE]);
  for (const stage of stages) {
    for (const fact of Object.keys(stage.gives.shape)) {
      // What is done again counts on from, or takes the place of, what was done before.
      if (["contract", "otp", "cleanup"].includes(stage.name)) known.add(fact);
    }
    for (const fact of Object.keys(stage.needs.shape)) {
      expect(known, `${stage.name} needs "${fact}", which nobody gave`).toContain(fact);
    }
    for (const fact of Object.keys(stage.gives.shape)) known.add(fact);
  }
});

test("a retry goes to a stage that exists and that is not later", () => {
  for (const { name, retryFrom } of stages) {
    expect(STAGE_NAMES).toContain(retryFrom);
    expect(STAGE_NAMES.indexOf(retryFrom as never)).toBeLessThanOrEqual(STAGE_NAMES.indexOf(name));
  }
});

test("the order is the one of the provider's workflow", () => {
  expect(STAGE_NAMES).toEqual([
    "create",
    "identify",
    "approve",
    "upload",
    "contract",
    "otp",
    "sign",
    "fetch",
    "cleanup",
  ]);
});
