/**
 * A signal that aborts with a TimeoutError when the time is over, as AbortSignal.timeout does, unless it was ended before.
 * One of those stays in memory until its time is over, whatever became of the work: of half an hour, tens of thousands.
 */
export function startOvertime(timeoutMs: number): { signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
  }, timeoutMs);
  timer.unref();
  return {
    signal: controller.signal,
    end: () => {
      clearTimeout(timer);
    },
  };
}
