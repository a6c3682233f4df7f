import { expect, test } from "vitest";
import { createReceivers, type Entry } from "../../src/queues/receivers.ts";

function startAt(nowMs = 1_000_000, random = 1) {
  const clock = { nowMs };
  const receivers = createReceivers({ now: () => clock.nowMs, random: () => random });
  return { clock, known: () => receivers.known(), enter: (host = "crm.example") => receivers.enter(host) };
}

function letIn(entry: Entry): (isAnswered: boolean) => void {
  if ("leave" in entry) return entry.leave;
  throw new Error(`it was turned away for ${entry.pauseMs} ms`);
}

function pauseOf(entry: Entry): number {
  if ("pauseMs" in entry) return entry.pauseMs;
  throw new Error("it was let in");
}

test("a receiver is told ten things at once, and others have places of their own", () => {
  const { enter } = startAt();
  const leaves = Array.from({ length: 10 }, () => letIn(enter()));
  expect(pauseOf(enter())).toBeGreaterThan(0);
  letIn(enter("billing.example"))(true);
  leaves[0]?.(true);
  letIn(enter());
});

test("one that did not answer rests, longer each time, and is then tried with one thing", () => {
  const { clock, enter } = startAt();
  letIn(enter())(false);
  const rests = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
  for (const restMs of rests) {
    clock.nowMs += restMs - 1;
    expect(pauseOf(enter())).toBeGreaterThan(0);
    clock.nowMs += 1;
    const leave = letIn(enter());
    pauseOf(enter());
    leave(false);
  }
});

test("what was under way together when nobody answered is one silence", () => {
  const { clock, enter } = startAt();
  const leaves = Array.from({ length: 10 }, () => letIn(enter()));
  clock.nowMs += 50;
  for (const leave of leaves) leave(false);
  clock.nowMs += 1_000;
  letIn(enter());
});

test("one that answers again has all its places again; one that is slow has two", () => {
  const { clock, enter } = startAt();
  letIn(enter())(false);
  clock.nowMs += 1_000;
  letIn(enter())(true);
  const all = Array.from({ length: 10 }, () => letIn(enter()));
  clock.nowMs += 2_001;
  for (const leave of all) leave(true);
  for (let n = 0; n < 2; n++) letIn(enter());
  pauseOf(enter());
});

test("those that are turned away come back spread over a time that grows with their number, up to half a minute", () => {
  const { enter } = startAt();
  for (let n = 0; n < 10; n++) letIn(enter());
  const pauses = Array.from({ length: 5_000 }, () => pauseOf(enter()));
  expect(pauses[0]).toBeLessThan(400);
  expect(pauses[999]).toBeGreaterThan(15_000);
  expect(Math.max(...pauses)).toBe(30_250);
});

test("of many hosts those are kept at which something is under way or that rest", () => {
  const { enter, known } = startAt();
  const leave = letIn(enter("busy.example"));
  letIn(enter("silent.example"))(false);
  for (let n = 0; n < 3_000; n++) letIn(enter(`host-${n}.example`))(true);
  expect(known()).toBeLessThanOrEqual(1_000);
  expect(pauseOf(enter("silent.example"))).toBeGreaterThan(0);
  for (let n = 0; n < 9; n++) letIn(enter("busy.example"));
  pauseOf(enter("busy.example"));
  leave(true);
});
