import { foldLines, type JournalLine, unknownLines } from "../core/journal.ts";
import { PermanentError } from "../core/errors.ts";
import type { HistoryLine } from "../core/history.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import { isEnd } from "../core/status.ts";
import type { Queues } from "./queues.ts";
import { Conflict, type Held, type Store } from "./store.ts";

const PAGE = 500;

/** A request that Redis does not have as the journal knows it. */
export interface Finding {
  id: RequestId;
  /** "missing": Redis has no record of it. "older": it lacks the newest changes. */
  how: "missing" | "older";
  /** What the journal makes of it. */
  request: SignRequest;
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
  restoreVault,
  log,
}: {
  store: Store;
  queues: Queues;
  /** Puts the signer's encrypted data back, where Redis has lost it and the request still needs it. */
  restoreVault: (id: RequestId) => Promise<void>;
  log: Log;
}) {
  /** Requests with changes since `sinceMs` that Redis does not know. */
  async function compare(readLines: ReadLines, sinceMs: number): Promise<Finding[]> {
    const recent = new Map<RequestId, JournalLine[]>();
    await readLines((line) => {
      if (line.atMs < sinceMs) return;
      const { request, version, mark, before, atMs, event, stage, phase, by } = line;
      const short = { request, version, mark, atMs, event, stage, phase, ...(before && { before }), ...(by && { by }) };
      const lines = recent.get(request);
      if (lines) lines.push(short);
      else recent.set(request, [short]);
    });
    const suspects = new Map<RequestId, { held: Held | undefined; lines: JournalLine[] }>();
    const ids = [...recent.keys()];
    for (let at = 0; at < ids.length; at += PAGE) {
      const page = ids.slice(at, at + PAGE);
      const held = await store.readHeld(page);
      for (const id of page) {
        const record = held.get(id);
        const known = record && { mark: record.request.mark, version: Number(record.version) };
        if (unknownLines(recent.get(id) ?? [], known).length > 0) suspects.set(id, { held: record, lines: [] });
      }
    }
    if (suspects.size === 0) return [];
    await readLines((line) => suspects.get(line.request)?.lines.push(line));
    return [...suspects].flatMap(([id, { held, lines }]) => {
      const request = foldLines(lines);
      if (!request) {
        log.error({ requestId: id, code: "journal-incomplete" }, "the journal does not have the request's beginning");
        return [];
      }
      const newestVersion = Math.max(...lines.map(({ version }) => version));
      return [{ id, how: held ? ("older" as const) : ("missing" as const), request, held, newestVersion, lines }];
    });
  }

  async function restore({ id, request, held, newestVersion, lines, how }: Finding): Promise<boolean> {
    try {
      if (!isEnd(request.phase)) await restoreVault(id);
      const { request: restored } = await store.restore(request, held, newestVersion, toHistory(lines));
      if (!isEnd(restored.phase)) await queues.revive(restored.stage, id, { now: true });
      log.warn({ requestId: id, stage: restored.stage, code: "restored", how }, "request restored from the journal");
      return true;
    } catch (error) {
      if (error instanceof Conflict) return false; // somebody else is at it: the next comparison tells
      throw error;
    }
  }

  return {
    compare,
    restore,
    /** Compares and restores until there is nothing left to restore. How many. */
    async mend(readLines: ReadLines, sinceMs: number): Promise<number> {
      let restored = 0;
      for (let round = 0; round < 5; round++) {
        const findings = await compare(readLines, sinceMs);
        if (findings.length === 0) return restored;
        for (const finding of findings) if (await restore(finding)) restored += 1;
      }
      throw new PermanentError("Redis and the journal still differ after five rounds; see signpipe recover", {
        code: "journal-differs",
      });
    },
  };
}

function toHistory(lines: readonly JournalLine[]): HistoryLine[] {
  return [...lines]
    .sort((a, b) => a.version - b.version || a.atMs - b.atMs)
    .map(({ atMs, event, stage, phase, by, note }) => ({
      atMs,
      event,
      stage,
      phase,
      ...(by && { by }),
      ...(note && { note }),
    }));
}
