import { z } from "zod";
import { isRowOver, type RowOutcome } from "../../core/batch.ts";
import { noticeOf } from "../../core/notice.ts";
import type { SignRequest } from "../../core/request.ts";
import { isEnd } from "../../core/status.ts";

const Signed = z.array(z.object({ name: z.string(), sha256: z.string() })).catch([]);

/** What became of a row, by its request. */
export function outcomeOf(request: SignRequest, row: number, attempt: number): RowOutcome {
  const { phase, waiting, failure, facts, updatedMs } = request;
  const notice = noticeOf(request);
  const signed = phase === "done" ? Signed.parse(facts["signed"]) : [];
  const said = notice ?? (phase === "done" || phase === "waiting" || phase === "running" ? undefined : failure);
  return {
    row,
    state: phase,
    attempt,
    ...(said && { code: said.code, message: said.message }),
    ...(phase === "waiting" && waiting && { waiting: waiting.for }),
    ...(signed.length > 0 && { signed: signed.map(({ name, sha256 }) => ({ name, sha256 })) }),
    ...(isEnd(phase) && { endedMs: updatedMs }),
  };
}

/** Whether the second says what the first does not. */
export function isNews(before: RowOutcome | undefined, after: RowOutcome): boolean {
  if (!before) return true;
  const { endedMs: _a, ...was } = before;
  const { endedMs: _b, ...is } = after;
  return JSON.stringify(was) !== JSON.stringify(is);
}

/** Whether the row can be tried again by itself: nothing of it is open, nothing signed, and nobody has refused it. */
export function mayBeTriedAgain({ state }: Pick<RowOutcome, "state">): boolean {
  return isRowOver(state) && state !== "done" && state !== "refused";
}
