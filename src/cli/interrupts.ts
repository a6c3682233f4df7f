import { EXIT } from "./terminal.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * A signal that is set when somebody asks this process to stop. Asked twice, it ends at once: `atOnce` may say so
 * first.
 */
export function watchInterrupts(atOnce: () => void = () => {}): AbortSignal {
  const controller = new AbortController();
  for (const name of SIGNALS) {
    process.on(name, () => {
      if (controller.signal.aborted) {
        atOnce();
        process.exit(EXIT.interrupted);
      }
      controller.abort();
    });
  }
  return controller.signal;
}

/** Resolves when `signal` is set. */
export function untilSet(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
