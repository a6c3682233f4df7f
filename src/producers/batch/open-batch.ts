import {
  type BatchRecord,
  countRows,
  hasRequest,
  isRowOver,
  ROW_CODES,
  type RowCounts,
  type RowOutcome,
} from "../../core/batch.ts";
import type { BatchFolders, LineIndex } from "../../files/batches.ts";
import { isNews, mayBeTriedAgain } from "./outcome.ts";
import { standard } from "./results.ts";

/** So many notes more than rows: then what is noted is written anew, without what was before. */
const NOTES_SPARE = 5_000;

/** On whose account a row is, by names; left out for those of the configuration. */
export interface RowAccount {
  tenant?: string | undefined;
  rao?: string | undefined;
}

export type OpenBatch = Awaited<ReturnType<typeof openBatch>>;

/**
 * A batch in the memory of the process that feeds it: what became of each row, and where each stands in its file. The rows
 * themselves stay on the disk. Some two hundred bytes a row.
 */
export async function openBatch(folders: BatchFolders, first: BatchRecord) {
  const { id } = first;
  const index: LineIndex = await folders.index(id);
  const outcomes = new Map<number, RowOutcome>();
  const lines = new Map<number, number>();
  /** On whose account rows are; few are, so each row has a number. */
  const accounts: RowAccount[] = [];
  const accountOfLine = new Uint16Array(index.lines);
  const remote = new Set<number>();
  let line = 0;
  for await (const kept of folders.rows(id)) {
    outcomes.set(kept.row, standard(kept));
    lines.set(kept.row, line);
    if (kept.isRemote) remote.add(kept.row);
    accountOfLine[line++] = numberOf(accounts, { tenant: first.tenant, ...kept.account });
  }
  const accountOf = (row: number): RowAccount => accounts[accountOfLine[lines.get(row) ?? 0] ?? 0] ?? {};
  /** Rows that cannot be submitted whatever is tried. */
  const hopeless = new Set([...outcomes.values()].flatMap(({ row, state }) => (state === "pending" ? [] : [row])));
  let notes = 0;
  for await (const outcome of folders.outcomes(id)) {
    if (lines.has(outcome.row)) outcomes.set(outcome.row, outcome);
    notes += 1;
  }
  /** Rows that are to be submitted, in order. */
  let pending = [...outcomes.values()].flatMap(({ row, state }) => (state === "pending" ? [row] : []));

  let comparedTo = 0;
  let noting: Promise<void> = Promise.resolve();
  const open = () => [...outcomes.values()].filter((one) => hasRequest(one) && !isRowOver(one.state));

  return {
    id: id,
    record: first,
    /** Something changed since results and progress were written. */
    isChanged: true,
    /** Why none of its rows is submitted at the moment, although others may be. */
    stands: undefined as { code: string; message: string } | undefined,
    wroteMs: 0,
    tookMs: 0,

    outcome: (row: number): RowOutcome | undefined => outcomes.get(row),
    all: (): ReadonlyMap<number, RowOutcome> => outcomes,
    counts: (): RowCounts => countRows(outcomes.values()),
    /** When requests of rows became over. Rows that have none were no work, and say nothing of the pace. */
    ended: (): number[] => [...outcomes.values()].flatMap((one) => (hasRequest(one) ? (one.endedMs ?? []) : [])),
    isOver: (): boolean => [...outcomes.values()].every(({ state }) => isRowOver(state)),
    hasPending: (): boolean => pending.length > 0,
    /** Rows that have a request which is not over. */
    open,
    /** Some of them, from where the last call ended. */
    openInTurn(most: number): RowOutcome[] {
      const all = open();
      const rest = all.filter(({ row }) => row > comparedTo);
      const next = (rest.length > 0 ? rest : all).slice(0, most);
      comparedTo = next.at(-1)?.row ?? 0;
      return next;
    },
    /** Whether a row has gone ahead of the others. */
    canary: (): RowOutcome | undefined => [...outcomes.values()].find((one) => hasRequest(one)),

    /** On whose account its rows are. */
    accounts: (): readonly RowAccount[] => accounts,
    accountOf,
    hasRemote: (): boolean => remote.size > 0,
    /** Whether documents of the row have to be fetched first. */
    isRemote: (row: number): boolean => remote.has(row),
    /** The next row that is to be submitted, of those that may. */
    next: (mayGo: (row: number) => boolean): number | undefined => pending.find(mayGo),
    /** Takes a row that is to be submitted; `giveBack` puts it at the front again. */
    take(row: number): void {
      pending.splice(pending.indexOf(row), 1);
    },
    giveBack(row: number): void {
      pending.unshift(row);
    },

    kept: (row: number) => folders.row(id, index, lines.get(row) ?? 0),

    /** Notes what became of rows, where that is news. With `durable` it is on disk when this resolves. */
    async note(changes: readonly RowOutcome[], { durable = false } = {}): Promise<void> {
      // One after another: what is noted while all of it is written anew would be lost.
      const turn = noting.then(() => this.noteNow(changes, durable));
      noting = turn.catch(() => {});
      await turn;
    },

    async noteNow(changes: readonly RowOutcome[], durable: boolean): Promise<void> {
      const news = changes.filter((one) => lines.has(one.row) && isNews(outcomes.get(one.row), one));
      if (news.length === 0) return;
      await folders.append(id, news, { durable });
      for (const one of news) outcomes.set(one.row, one);
      notes += news.length;
      this.isChanged = true;
      if (notes < 2 * outcomes.size + NOTES_SPARE) return;
      await folders.compact(id, outcomes.values());
      notes = outcomes.size;
    },

    /** Nothing more of it is submitted. */
    async cancelPending(now: number): Promise<void> {
      const rows = pending;
      pending = [];
      const code = ROW_CODES.notSubmitted;
      const message = "The batch was cancelled before this row was submitted";
      const cancelled = rows.map((row): RowOutcome => {
        const attempt = outcomes.get(row)?.attempt ?? 1;
        return { row, state: "cancelled", attempt, code, message, endedMs: now };
      });
      await this.note(cancelled, { durable: true });
    },

    /** The rows that can be tried again, apart from those that could not be submitted whatever is tried. */
    retriable: (): RowOutcome[] =>
      [...outcomes.values()].filter((one) => mayBeTriedAgain(one) && !hopeless.has(one.row)),

    /** Has rows submitted as another request. */
    async tryAnew(rows: readonly RowOutcome[]): Promise<void> {
      const anew = rows.map(({ row, attempt }): RowOutcome => ({ row, state: "pending", attempt: attempt + 1 }));
      await this.note(anew, { durable: true });
      pending = [...new Set([...pending, ...anew.map(({ row }) => row)])].sort((a, b) => a - b);
    },
  };
}

function numberOf(accounts: RowAccount[], { tenant, rao }: RowAccount): number {
  const known = accounts.findIndex((one) => one.tenant === tenant && one.rao === rao);
  return known >= 0 ? known : accounts.push({ tenant, rao }) - 1;
}
