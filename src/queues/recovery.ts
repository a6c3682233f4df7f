import { setTimeout as pause } from "node:timers/promises";
import { foldLines, inOrder, isRestored, type JournalLine, merged, unknownLines } from "../core/journal.ts";
import { PermanentError } from "../core/errors.ts";
import type { HistoryLine } from "../core/history.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import { isEnd } from "../core/status.ts";
import type { Queues } from "./queues.ts";
import { Conflict, type Held, type Store } from "./store.ts";

const PAGE = 500;
/** Requests whose lines are in memory at once. */
const MANY = 5_000;
/** A line that nobody waits for is on disk after this. */
const EARLY_MS = 250;

/** A request that Redis does not have as the journal knows it. */
export interface Finding {
  id: RequestId;
  /** "missing": Redis has no record of it. "older": it lacks the newest changes. */
  how: "missing" | "older";
  /** What the journal makes of it; undefined when the request's beginning is not in the journal. */
  request: SignRequest | undefined;
  held: Held | undefined;
  newestVersion: number;
  lines: JournalLine[];
}

/** Reads the journal's lines, of all processes, in no particular order. */
export type ReadLines = (each: (line: JournalLine) => void) => Promise<unknown>;

/**
 * Finds what Redis has lost and the journal knows: after a crash that cut the tail of its append-only file, after a
 * failover, or with an empty one. Puts it back so that no costly call is made again: what was begun and has no result
 * is an intent again, and its stage asks the provider.
 */
export function createRecovery({
  store,
  queues,
  restoreAround,
  log,
}: {
  store: Store;
  queues: Queues;
  /** Puts back what Redis keeps of a request beside its record, where it has lost it. */
  restoreAround: (request: SignRequest) => Promise<unknown>;
  log: Log;
}) {
  /** Requests with changes since `sinceMs` that Redis may not know. */
  async function suspects(readLines: ReadLines, sinceMs: number): Promise<Map<RequestId, Held | undefined>> {
    const recent = new Map<RequestId, JournalLine[]>();
    await readLines((line) => {
      if (line.atMs < sinceMs) return;
      const { request, version, mark, before, atMs, event, stage, phase } = line;
      const more = { ...(before && { before }), ...(isRestored(line) && { first: line.first }) };
      const short = { request, version, mark, atMs, event, stage, phase, ...more };
      const lines = recent.get(request);
      if (lines) lines.push(short);
      else recent.set(request, [short]);
    });
    const found = new Map<RequestId, Held | undefined>();
    const ids = [...recent.keys()];
    for (let at = 0; at < ids.length; at += PAGE) {
      const page = ids.slice(at, at + PAGE);
      const held = await store.readHeld(page);
      for (const id of page) {
        const record = held.get(id);
        const known = record && { mark: record.request.mark, version: Number(record.version) };
        if (unknownLines(recent.get(id) ?? [], known).length > 0) found.set(id, record);
      }
    }
    return found;
  }

  /** Requests with changes since `sinceMs` that Redis does not know. */
  async function* compare(readLines: ReadLines, sinceMs: number): AsyncGenerator<Finding> {
    const all = [...(await suspects(readLines, sinceMs))];
    for (let at = 0; at < all.length; at += MANY) {
      const page = new Map(all.slice(at, at + MANY).map(([id, held]) => [id, { held, lines: [] as JournalLine[] }]));
      await readLines((line) => page.get(line.request)?.lines.push(line));
      for (const [id, { held, lines }] of page) {
        const newestVersion = Math.max(...lines.map(({ version }) => version));
        const folded = foldLines(lines);
        const request = folded && merged(folded, held?.request, lines);
        yield { id, how: held ? "older" : "missing", request, held, newestVersion, lines };
      }
    }
  }

  /** Puts a request back. False when it cannot be, or when somebody else is at it: the next comparison tells. */
  async function restore({ id, request, held, newestVersion, lines, how }: Finding): Promise<boolean> {
    if (!request) {
      log.error({ requestId: id, code: "journal-incomplete" }, "the journal does not have the request's beginning");
      return false;
    }
    try {
      await restoreAround(request);
      const { request: restored } = await store.restore(request, held, newestVersion, toHistory(lines));
      if (!isEnd(restored.phase)) await queues.revive(restored.stage, id, { now: true });
      log.warn({ requestId: id, stage: restored.stage, code: "restored", how }, "request restored from the journal");
      return true;
    } catch (error) {
      if (error instanceof Conflict) return false;
      throw error;
    }
  }

  return {
    compare,
    restore,
    /**
     * Compares and restores until there is nothing left to restore. How many. Throws PermanentError "journal-differs"
     * when there is no end to it.
     */
    async mend(readLines: ReadLines, sinceMs: number): Promise<number> {
      let restored = 0;
      for (let round = 0; round < 5; round++) {
        let [left, early] = [0, 0];
        for await (const finding of compare(readLines, sinceMs)) {
          if (finding.request) left += 1;
          if (round === 0 && isEarly(finding)) early += 1;
          else if (await restore(finding)) restored += 1;
        }
        if (left === 0) return restored;
        if (early > 0) await pause(EARLY_MS);
      }
      throw new PermanentError("Redis and the journal still differ after five rounds; see signpipe recover", {
        code: "journal-differs",
      });
    },
  };
}

/** Somebody wrote the record since, and the line about it may still be on its way to the disk. */
function isEarly({ held, lines }: Finding): boolean {
  return held !== undefined && lines.every(({ mark }) => mark !== held.request.mark);
}

function toHistory(lines: readonly JournalLine[]): HistoryLine[] {
  return [...lines].sort(inOrder).map(({ atMs, event, stage, phase, by, note }) => ({
    atMs,
    event,
    stage,
    phase,
    ...(by && { by }),
    ...(note && { note }),
  }));
}
