import type { RequestId } from "../core/request.ts";
import type { Held } from "./store.ts";

export type Handed = ReturnType<typeof createHanded>;

/**
 * Records that this process has just written and handed on to the next stage's queue. When that job is taken up here
 * too, the record need not be read again. A record is given out only to the very job that was added with it, known by
 * the job's timestamp; it is never newer than what is in Redis, and every write is a compare-and-set.
 */
export function createHanded(most = 2_000) {
  const kept = new Map<RequestId, { held: Held; addedMs: number }>();
  return {
    /** Keeps the record that goes with a job added at `addedMs`. Beyond `most`, the oldest goes. */
    keep(held: Held, addedMs: number): void {
      const { id } = held.request;
      kept.delete(id);
      kept.set(id, { held, addedMs });
      const oldest = kept.size > most ? kept.keys().next() : undefined;
      if (oldest && !oldest.done) kept.delete(oldest.value);
    },
    /** The record that was kept for this job, once; undefined when it was not handed on here. */
    take(id: RequestId, stage: string, addedMs: number): Held | undefined {
      const entry = kept.get(id);
      if (!entry) return undefined;
      kept.delete(id);
      return entry.addedMs === addedMs && entry.held.request.stage === stage ? entry.held : undefined;
    },
  };
}
