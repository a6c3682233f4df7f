import { setTimeout as pause } from "node:timers/promises";
import {
  foldLines,
  inOrder,
  isRestored,
  isTip,
  type JournalLine,
  merged,
  noteTip,
  type Tips,
  unknownLines,
} from "../core/journal.ts";
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
/** Of the line with which a request begins. */
const FIRST_VERSION = 1;

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

/**
 * Reads the journal's lines, of all processes, in no particular order: all of them, or at least those of the time that
 * is asked for.
 */
export type ReadLines = (
  each: (line: JournalLine) => void,
  span?: { fromMs?: number; toMs?: number },
) => Promise<unknown>;

/** A request that may have changes which Redis does not know, and when its lines were written. */
interface Suspect {
  id: RequestId;
  held: Held | undefined;
  fromMs: number;
  toMs: number;
}

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
  restoreAround: (request: SignRequest, lines: readonly JournalLine[]) => Promise<unknown>;
  log: Log;
}) {
  /** Requests with changes since `sinceMs` that Redis does not know, those that began first before the others. */
  async function suspects(readLines: ReadLines, sinceMs: number): Promise<Suspect[]> {
    const recent = new Map<RequestId, Tips>();
    const eachRecent = async (each: (line: JournalLine) => void) =>
      await readLines((line) => line.atMs >= sinceMs && each(line), { fromMs: sinceMs });
    await eachRecent((line) => recent.set(line.request, noteTip(recent.get(line.request), line)));

    const found: Suspect[] = [];
    const unclear = new Map<RequestId, Suspect & { held: Held }>();
    for (const page of pagesOf([...recent], PAGE)) {
      const records = await store.readHeld(page.map(([id]) => id));
      for (const [id, tips] of page) {
        const held = records.get(id);
        const { fromMs, toMs } = tips;
        if (!held) found.push({ id, held, fromMs, toMs });
        else if (!isTip(tips, held.request.mark)) {
          unclear.set(id, { id, held, fromMs: Math.min(fromMs, held.request.createdMs), toMs });
        }
      }
    }
    for (const page of pagesOf([...unclear.values()], MANY)) {
      const lines = new Map(page.map(({ id }) => [id, [] as JournalLine[]]));
      await eachRecent((line) => lines.get(line.request)?.push(toShort(line)));
      for (const one of page) {
        const { mark } = one.held.request;
        const known = { mark, version: Number(one.held.version) };
        if (unknownLines(lines.get(one.id) ?? [], known).length > 0) found.push(one);
      }
    }
    return found.sort((a, b) => a.fromMs - b.fromMs);
  }

  /** All lines of some requests. Only those files are read that can have one, as long as the requests begin there. */
  async function linesOf(readLines: ReadLines, page: readonly Suspect[]): Promise<Map<RequestId, JournalLine[]>> {
    const lines = new Map(page.map(({ id }) => [id, [] as JournalLine[]]));
    const fromMs = Math.min(...page.map((one) => one.fromMs));
    const toMs = Math.max(...page.map((one) => one.toMs));
    await readLines((line) => lines.get(line.request)?.push(line), { fromMs, toMs });
    const headless = [...lines].filter(([, some]) => !some.some(({ version }) => version === FIRST_VERSION));
    if (headless.length === 0) return lines;
    for (const [id] of headless) lines.set(id, []);
    const again = new Set(headless.map(([id]) => id));
    await readLines((line) => again.has(line.request) && lines.get(line.request)?.push(line));
    return lines;
  }

  /** Requests with changes since `sinceMs` that Redis does not know. */
  async function* compare(readLines: ReadLines, sinceMs: number): AsyncGenerator<Finding> {
    for (const page of pagesOf(await suspects(readLines, sinceMs), MANY)) {
      const all = await linesOf(readLines, page);
      for (const { id, held } of page) {
        const lines = all.get(id) ?? [];
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
      await restoreAround(request, lines);
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

/** What `unknownLines` looks at. */
function toShort(line: JournalLine): JournalLine {
  const { request, version, mark, before, atMs, event, stage, phase } = line;
  const more = { ...(before && { before }), ...(isRestored(line) && { first: line.first }) };
  return { request, version, mark, atMs, event, stage, phase, ...more };
}

function* pagesOf<T>(all: readonly T[], most: number): Generator<T[]> {
  for (let at = 0; at < all.length; at += most) yield all.slice(at, at + most);
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
