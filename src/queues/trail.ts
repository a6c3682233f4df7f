import type { JournalLine } from "../core/journal.ts";
import type { RequestId, SignRequest } from "../core/request.ts";

/** The journal on the data volume. */
export interface Journal {
  append(line: JournalLine, options: { durable: boolean }): Promise<void>;
}

/** What the store tells of each change: the line, and the whole record after it. */
export interface Trail {
  append(line: JournalLine, options: { durable: boolean; whole: SignRequest }): Promise<void>;
}

/**
 * Writes changes down so that a request can be made again from its lines although one of them is missing. A line can
 * be: its process was killed between Redis and the disk, or the disk was full. Who writes a change that does not
 * follow from a line of this very process writes the whole record with it.
 */
export function createTrail(journal: Journal, most = 20_000): Trail {
  const ends = new Map<RequestId, string>();

  function follows({ request, before, mark }: JournalLine): boolean {
    const isNext = before !== undefined && ends.get(request) === before;
    ends.delete(request);
    ends.set(request, mark);
    const oldest = ends.size > most ? ends.keys().next() : undefined;
    if (oldest && !oldest.done) ends.delete(oldest.value);
    return isNext;
  }

  return {
    async append(line, { durable, whole }) {
      const entry = follows(line) ? line : { ...line, first: whole };
      try {
        await journal.append(entry, { durable });
      } catch (error) {
        ends.delete(line.request);
        throw error;
      }
    },
  };
}
