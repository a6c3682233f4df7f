import { exponential } from "../../core/backoff.ts";
import { RequestId, type SignRequest } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import { isEnd } from "../../core/status.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { Claims } from "./claim.ts";
import type { Ends } from "./ends.ts";
import { eachOf } from "./pace.ts";
import { codeOf } from "./pending.ts";
import type { StatusFiles } from "./status-file.ts";

const BATCH = 500;
const AT_ONCE = 8;
/** Attempts at the same file. */
const EARLIER_MOST = 20;
const RetryOf = RequestId.optional().catch(undefined);
const LATER = exponential("1s", { upTo: "5m" });

export type Follow = ReturnType<typeof createFollow>;

/** Follows the requests that came through the inbox: tells their status beside it, and moves the files at the end. */
export function createFollow({
  pipeline,
  claims,
  statusFiles,
  ends,
  log,
  now,
}: {
  pipeline: Pick<Pipeline, "find" | "isReplaced" | "takeChanged" | "putBackChanged">;
  claims: Claims;
  statusFiles: StatusFiles;
  ends: Ends;
  log: Log;
  now: () => number;
}) {
  /** Requests that could not be dealt with, and when to try again. */
  const later = new Map<RequestId, { dueMs: number; tries: number }>();
  const turns = new Map<RequestId, Promise<unknown>>();
  let isAway = false;

  /** One thing at a time for each request. */
  async function inTurn<T>(id: RequestId, act: () => Promise<T>): Promise<T> {
    const turn = (turns.get(id) ?? Promise.resolve()).then(act, act);
    turns.set(id, turn);
    try {
      return await turn;
    } finally {
      if (turns.get(id) === turn) turns.delete(id);
    }
  }

  /** Brings status and files in line with the record. Nothing of ours there: nothing to do. */
  async function apply(id: RequestId): Promise<void> {
    const claim = claims.read(id);
    if (claim === undefined || claim === "damaged") return;
    const request = await pipeline.find(id);
    if (!request) return;
    await statusFiles.tell(claim, request);
    if (!isEnd(request.phase)) return;
    if (request.phase === "done") {
      await releaseEarlier(request);
      return await ends.archive(claim, request);
    }
    if (wasGivenBack(claim.aside?.note.at, request)) return;
    await ends.giveBack(claim, request);
    await statusFiles.tell(claim, request);
  }

  /** What was kept for a retry of earlier attempts goes, once nobody can retry them: the documents are here, and signed. */
  async function releaseEarlier({ facts }: SignRequest): Promise<void> {
    let id = RetryOf.parse(facts["retryOf"]);
    for (let n = 0; id !== undefined && n < EARLIER_MOST; n++) {
      const earlier = id;
      if (await pipeline.isReplaced(earlier)) await inTurn(earlier, () => Promise.resolve(claims.release(earlier)));
      id = RetryOf.parse((await pipeline.find(earlier))?.facts["retryOf"]);
    }
  }

  function wasGivenBack(at: string | undefined, { updatedMs }: SignRequest): boolean {
    return at === new Date(updatedMs).toISOString();
  }

  async function tryOne(id: RequestId): Promise<void> {
    try {
      await inTurn(id, () => apply(id));
      later.delete(id);
    } catch (error) {
      const tries = (later.get(id)?.tries ?? 0) + 1;
      later.set(id, { tries, dueMs: now() + LATER(tries) });
      const level = tries === 3 ? "error" : "warn";
      if (tries <= 3)
        log[level]({ requestId: id, code: codeOf(error) }, "status or files of a request not brought up to date");
    }
  }

  return {
    inTurn,
    apply,

    /** Takes every change there is, and what is to be tried again. */
    async poll(): Promise<void> {
      const at = now();
      await eachOf(
        [...later].filter(([, { dueMs }]) => dueMs <= at),
        AT_ONCE,
        ([id]) => tryOne(id),
      );
      for (;;) {
        let ids: RequestId[];
        try {
          ids = await pipeline.takeChanged("inbox", BATCH);
          isAway = false;
        } catch (error) {
          if (!isAway) log.warn({ code: codeOf(error) }, "changes of requests not read");
          isAway = true;
          return;
        }
        await eachOf(ids, AT_ONCE, tryOne);
        if (ids.length < BATCH) return;
      }
    },

    /** Leaves what could not be dealt with to whoever comes next. */
    async stop(): Promise<void> {
      await pipeline.putBackChanged("inbox", [...later.keys()]).catch(() => {});
    },
    behind: () => later.size,
  };
}
