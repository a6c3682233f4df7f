import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

/** What a file goes through on its way to the disk, by the names of the calls. */
export const STEPS = ["open", "writev", "sync", "stat", "read", "link", "unlink"] as const;
export type Step = (typeof STEPS)[number];

/** Told before and after each call; what it throws, the call throws. `n` counts the calls of that name. */
export type OnStep = (step: Step, n: number, when: "before" | "after") => void;

/**
 * Lets `onStep` into every call that touches a file, for all of this process. Returns what undoes it. Calls of open
 * files are caught on their prototype, the others where modules import them from.
 */
export async function watchSteps(onStep: OnStep): Promise<() => void> {
  const file = await fs.open("/dev/null");
  const prototype = Object.getPrototypeOf(file) as Record<string, unknown>;
  await file.close();
  const counts = new Map<Step, number>();
  const undo = STEPS.map((step) => {
    const owner = (step in prototype ? prototype : fs) as Record<string, (...args: unknown[]) => Promise<unknown>>;
    const original = owner[step];
    owner[step] = async function (this: unknown, ...args: unknown[]) {
      const n = (counts.get(step) ?? 0) + 1;
      counts.set(step, n);
      onStep(step, n, "before");
      const result = await original?.apply(this, args);
      onStep(step, n, "after");
      return result;
    };
    return () => {
      if (original) owner[step] = original;
    };
  });
  syncBuiltinESMExports();
  return () => {
    for (const step of undo) step();
    syncBuiltinESMExports();
  };
}
