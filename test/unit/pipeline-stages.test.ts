import { describe, expect, test } from "vitest";
import type { ZodType } from "zod";
import { WORKFLOWS } from "../../src/core/workflow.ts";
import { INTAKE_FACTS, orderOf, stages } from "../../src/workers/index.ts";

/** Facts that people add while a request waits, and the queue or a later stage on the way. */
const FROM_OUTSIDE = [
  ...["decision", "order", "former", "unvalidated", "signAccepted", "acceptedMs"],
  ...["begun", "lateUploadMs", "sealBroken", "suspectedOrphan"],
];

const byName = new Map(stages.map((stage) => [stage.name, stage]));
const ordersOf = WORKFLOWS.map((workflow) => [workflow, orderOf(workflow).map((name) => byName.get(name)!)] as const);

describe.each(ordersOf)("in the workflow %s", (_workflow, order) => {
  test("every fact that a stage needs was given by the producer or by an earlier stage", () => {
    const known = new Set<string>([...INTAKE_FACTS, ...FROM_OUTSIDE]);
    for (const stage of order) {
      for (const fact of Object.keys(stage.gives.shape)) {
        // What is done again counts on from, or takes the place of, what was done before.
        if (["contract", "otp", "cleanup"].includes(stage.name)) known.add(fact);
      }
      for (const [fact, schema] of Object.entries<ZodType>(stage.needs.shape)) {
        if (schema.safeParse(undefined).success) continue; // it does without
        expect(known, `${stage.name} needs "${fact}", which nobody gave`).toContain(fact);
      }
      for (const fact of Object.keys(stage.gives.shape)) known.add(fact);
    }
  });

  test("a retry goes to a stage that exists and that is not later", () => {
    const names = order.map(({ name }) => name);
    for (const { name, retryFrom } of order) {
      expect(names).toContain(retryFrom);
      expect(names.indexOf(retryFrom as never)).toBeLessThanOrEqual(names.indexOf(name));
    }
  });
});

test("no fact that a stage asks for is one that nobody ever gives", () => {
  const given = new Set([...INTAKE_FACTS, ...FROM_OUTSIDE, ...stages.flatMap(({ gives }) => Object.keys(gives.shape))]);
  const asked = stages.flatMap(({ needs }) => Object.keys(needs.shape));
  expect(asked.filter((fact) => !given.has(fact))).toEqual([]);
});

test("the orders are those of the provider's workflows", () => {
  const signing = ["upload", "contract", "otp", "sign", "fetch", "cleanup"];
  expect(orderOf("videoid")).toEqual(["create", "identify", "approve", ...signing]);
  expect(orderOf("videoid-external")).toEqual(["create", "evidences", "identify", "approve", ...signing]);
  expect(orderOf("classic")).toEqual(["approve", "create", ...signing]);
});
