/** How long a worker may go on with a job before another one may have it. */
export interface Lease {
  /** Whether the job's lock may have lapsed since it was last known to be held here. */
  isOver(): boolean;
  /** The job is over. */
  end(): void;
}

/**
 * The worker's own view of its locks, for what goes on for long without asking Redis. A frozen process hears nothing
 * of a lapsed lock; when it goes on it is to know so at once, and not when Redis has answered.
 *
 * Time is the longer of what the two clocks say: one stands still while a machine sleeps, the other can be set back.
 */
export function createLeases({
  lockMs,
  monotonic = () => performance.now(),
  wall = Date.now,
}: {
  lockMs: number;
  monotonic?: () => number;
  wall?: () => number;
}) {
  const held = new Map<string, { monotonic: number; wall: number }>();
  const moment = () => ({ monotonic: monotonic(), wall: wall() });

  return {
    /** This job's lock was just taken. Whoever had it here before has it no longer. */
    take(jobId: string): Lease {
      const mine = moment();
      held.set(jobId, mine);
      return {
        isOver() {
          if (held.get(jobId) !== mine) return true;
          return Math.max(monotonic() - mine.monotonic, wall() - mine.wall) >= lockMs;
        },
        end() {
          if (held.get(jobId) === mine) held.delete(jobId); // one that was taken since stays
        },
      };
    },
    renewed(jobIds: readonly string[]): void {
      for (const jobId of jobIds) Object.assign(held.get(jobId) ?? {}, moment());
    },
    lost(jobIds: readonly string[]): void {
      for (const jobId of jobIds) held.delete(jobId);
    },
  };
}
