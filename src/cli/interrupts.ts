import { constants } from "node:os";
import { CliError } from "./terminal.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * A signal that is set when somebody asks this process to stop; its reason is a CliError, for those who were in the
 * middle of something. Asked twice, it ends at once: `atOnce` may say so first.
 * @source POSIX shells, exit status of a command that a signal ended: 128 and the signal's number
 */
export function watchInterrupts(atOnce: () => void = () => {}): AbortSignal {
  const controller = new AbortController();
  for (const name of SIGNALS) {
    const exitCode = 128 + constants.signals[name];
    process.on(name, () => {
      if (controller.signal.aborted) {
        atOnce();
        process.exit(exitCode);
      }
      controller.abort(new CliError("Interrupted: what was begun is ended.", exitCode));
    });
  }
  return controller.signal;
}

/** Resolves when `signal` is set. */
export function untilSet(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
