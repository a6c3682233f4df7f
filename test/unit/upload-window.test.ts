import { expect, test } from "vitest";
import { Waiting } from "../../src/core/outcome.ts";
import { upload } from "../../src/workers/upload.ts";

const HOUR_MS = 3_600_000;
const BEGUN_MS = 1_000;

/** What an upload of a request whose window is `windowMs` long says, looked at once more after `elapsedMs`. */
async function looked({ windowMs, elapsedMs }: { windowMs: number; elapsedMs: number }): Promise<unknown> {
  const bundle = { untilMs: BEGUN_MS + windowMs, most: 10 };
  const waiting = { for: "more documents", whose: "sender", sinceMs: BEGUN_MS, untilMs: bundle.untilMs + HOUR_MS };
  const run = { request: { waiting }, facts: { bundle, documents: [{}] }, now: () => BEGUN_MS + elapsedMs };
  return await upload.run(run as unknown as Parameters<typeof upload.run>[0]);
}

test.each([
  ["ten minutes", HOUR_MS / 6],
  ["eight hours", 8 * HOUR_MS],
  ["three days", 72 * HOUR_MS],
])(
  "a wait for more documents is not over before its window, however often it is looked at: %s",
  async (_, windowMs) => {
    for (const part of [0, 0.3, 0.6, 0.99]) {
      const waiting = await looked({ windowMs, elapsedMs: windowMs * part });
      expect(waiting).toBeInstanceOf(Waiting);
      expect(BEGUN_MS + (waiting as Waiting).withinMs).toBe(BEGUN_MS + windowMs + HOUR_MS);
    }
  },
);
