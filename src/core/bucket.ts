/** Lets `perSecond` through a second, and as many at once after a quiet time. `now` is in milliseconds. */
export function createBucket(perSecond: number, now: () => number) {
  let tokens = perSecond;
  let filledMs = now();
  return {
    /** Whether one more may go now. */
    take(): boolean {
      const atMs = now();
      tokens = Math.min(perSecond, tokens + (Math.max(0, atMs - filledMs) / 1000) * perSecond);
      filledMs = atMs;
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
