import { SignpipeError } from "./error.ts";

/** Longest delay of a timer, about 24 days. @source Node.js "Timers", setTimeout */
const TIMER_MOST_MS = 2 ** 31 - 1;

interface Limits {
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Something that is waited for, and no longer than said. `what` is the beginning of the sentence for "wait-timeout". */
export function deadline({ timeoutMs, signal }: Limits, what: string) {
  const late = timeoutMs === undefined ? undefined : AbortSignal.timeout(Math.min(timeoutMs, TIMER_MOST_MS));
  const signals = [signal, late].filter((one) => one !== undefined);
  return {
    /** Rejects with SignpipeError "wait-timeout" when it took too long, and with the reason of the caller's signal. */
    async run<T>(look: (options: { signal?: AbortSignal }) => Promise<T>): Promise<T> {
      try {
        return await look(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) });
      } catch (error) {
        signal?.throwIfAborted();
        if (!late?.aborted) throw error;
        throw new SignpipeError("wait-timeout", `${what} was not what was waited for within ${timeoutMs} ms.`);
      }
    },
  };
}
