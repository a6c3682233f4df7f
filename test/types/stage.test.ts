/** Checked by the compiler alone: each @ts-expect-error must be one. */
import { z } from "zod";
import { exponential } from "../../src/core/backoff.ts";
import { RetryableError } from "../../src/core/errors.ts";
import { waitFor } from "../../src/core/outcome.ts";
import { defineStage } from "../../src/workers/stage.ts";
import type { StageName } from "../../src/workers/index.ts";

const sound = {
  name: "sample",
  title: "A sample",
  needs: z.object({ a: z.number() }),
  gives: z.object({ b: z.string() }),
  attempts: 1,
  backoff: exponential("1s", { upTo: "1m" }),
  timeout: "1s",
  concurrency: 1,
  retryFrom: "sample",
  afterSilence: "repeat",
} as const;

export const right = defineStage({ ...sound, run: ({ facts }) => Promise.resolve({ b: String(facts.a) }) });

export const fact = defineStage({
  ...sound,
  // @ts-expect-error -- a stage sees only the facts it asked for
  run: ({ facts }) => Promise.resolve({ b: String(facts.other) }),
});

// @ts-expect-error -- a stage gives what it promised
export const promise = defineStage({ ...sound, run: () => Promise.resolve({ c: 1 }) });

const { afterSilence: _, ...unanswered } = sound;
// @ts-expect-error -- nobody may leave open what happens after silence
export const silence = defineStage({ ...unanswered, run: () => Promise.resolve({ b: "" }) });

// @ts-expect-error -- a length of time has a unit
export const unit = exponential("1", { upTo: "1m" });

// @ts-expect-error -- there is no such stage
export const misspelt: StageName = "aprove";

export const known = waitFor("code", { whose: "signer", within: "1h" });

// @ts-expect-error -- nothing is waited for that has no limit and nobody whose turn it is
export const unknown = waitFor("better days", { whose: "operator", within: "1h" });

// @ts-expect-error -- nor while calls stand still
export const standstill = new RetryableError("no", { code: "sample", pause: { until: "better days" } });
