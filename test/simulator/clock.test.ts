import { afterEach, expect, test } from "vitest";
import { createClock } from "../../src/simulator/clock.ts";

const clock = createClock();
afterEach(() => clock.close());

test("what was to happen happens as much sooner as the clock was moved, in its order", async () => {
  const done: string[] = [];
  clock.later(3_600_000, () => done.push("in an hour"));
  clock.later(61_000, () => {
    done.push("after that");
    clock.later(1000, () => done.push("because of it"));
  });
  clock.later(60_000, () => done.push("in a minute"));
  clock.advance(120_000);
  expect(done).toEqual(["in a minute", "after that"]);
  clock.advance(1000);
  expect(done).toEqual(["in a minute", "after that", "because of it"]);
  clock.advance(3_600_000 - 121_000 - 50);
  await expect.poll(() => done.at(-1), { timeout: 5000 }).toBe("in an hour");
});

test("a closed clock does nothing more", () => {
  const closed = createClock(5000);
  expect(closed.now() - Date.now()).toBeGreaterThan(4000);
  let done = false;
  closed.later(10, () => (done = true));
  closed.close();
  closed.later(10, () => (done = true));
  closed.advance(1000);
  expect(done).toBe(false);
});
