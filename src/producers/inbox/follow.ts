import { exponential } from "../../core/backoff.ts";
import { claimsIn, isBundle } from "../../core/bundle.ts";
import { GroupPlace, memberIds } from "../../core/group.ts";
import { type Door, RequestId, type SignRequest } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { Claim, Claims } from "./claim.ts";
import { createInTurn } from "./in-turn.ts";
import type { Ends } from "./ends.ts";
import { eachOf } from "./pace.ts";
import { codeOf } from "./pending.ts";
import type { StatusFiles } from "./status-file.ts";
import { readWhole, type Whole } from "./whole.ts";

const BATCH = 500;
const AT_ONCE = 8;
/** Attempts at the same file. */
const EARLIER_MOST = 20;
const RetryOf = RequestId.optional().catch(undefined);
const LATER = exponential("1s", { upTo: "5m" });

/** Nobody can take these up again. */
const OVER_FOR_GOOD: ReadonlySet<string> = new Set(["done", "refused", "cancelled"]);

export type Follow = ReturnType<typeof createFollow>;

/** Follows the requests that came through the inbox: tells their status beside it, and moves the files at the end. */
export function createFollow({
  pipeline,
  claims,
  statusFiles,
  ends,
  together,
  bringsAll = false,
  mustBeHere = () => {},
  door = "inbox",
  tellOpen = () => {},
  log,
  now,
}: {
  pipeline: Pick<Pipeline, "find" | "isReplaced" | "takeChanged" | "putBackChanged">;
  claims: Claims;
  statusFiles: StatusFiles;
  ends: Ends;
  /** Brings results to where the person looks for them. */
  together: (claim: Claim, whole: Whole) => Promise<string[]>;
  /** Whether that is to be done for every claim, and not for those alone whose documents are in several requests. */
  bringsAll?: boolean;
  /** Throws when the inbox is away. */
  mustBeHere?: () => void;
  /** Whose requests are followed. */
  door?: Door;
  /** Told whether a claim is still on its way. */
  tellOpen?: (id: RequestId, isOpen: boolean) => void;
  log: Log;
  now: () => number;
}) {
  /** Requests that could not be dealt with, and when to try again. */
  const later = new Map<RequestId, { dueMs: number; tries: number }>();
  let isAway = false;

  /** One thing at a time for each request. */
  const inTurn = createInTurn();

  /**
   * Brings all that is of a request in line with it: of one that others have joined, each of their claims, whatever is the
   * matter with one of them. Throws what the first says that could not be.
   */
  async function applyAll(id: RequestId): Promise<void> {
    const failed: unknown[] = [];
    const noted = (error: unknown) => void failed.push(error);
    const request = (await apply(id).catch(noted)) ?? (await pipeline.find(id));
    for (const claim of request && isBundle(request) ? claimsIn(request) : []) {
      if (claim !== id) await inTurn(claim, () => apply(claim)).catch(noted);
    }
    if (failed.length > 0) throw failed[0];
  }

  /**
   * Brings status and files in line with the record, and with those of its group. Nothing of ours there: nothing to do.
   * The request, where it is known.
   */
  async function apply(id: RequestId): Promise<SignRequest | undefined> {
    const claim = claims.read(id);
    if (claim === undefined) {
      mustBeHere();
      return await applyGroup(id);
    }
    if (claim === "damaged") return undefined;
    const whole = await readWhole(pipeline, claim);
    if (!whole) return undefined;
    await applyWhole(claim, whole);
    return whole.requests[0];
  }

  async function applyWhole(claim: Claim, whole: Whole): Promise<void> {
    const isDivided = claim.requests !== undefined || claim.signedAs !== undefined;
    const signed = whole.isOver && (isDivided || bringsAll) ? await together(claim, whole) : undefined;
    await statusFiles.tell(claim, whole, signed);
    tellOpen(claim.id, !whole.isOver);
    if (!whole.isOver) return;
    if (whole.state === "done") {
      await releaseEarlier(whole.requests, claim);
      return await ends.archive(claim, whole);
    }
    if (wasGivenBack(claim, whole)) return;
    await ends.giveBack(claim, whole);
    await statusFiles.tell(claim, whole, signed);
  }

  /** The claim is that of the group's first request. */
  async function applyGroup(id: RequestId): Promise<SignRequest | undefined> {
    const request = await pipeline.find(id);
    const group = groupOf(request);
    if (group && group.id !== id) await inTurn(group.id, () => apply(group.id));
    return request;
  }

  /**
   * What was kept for a retry of earlier attempts goes, once nobody can retry them: the documents are here, and signed.
   */
  async function releaseEarlier([first]: readonly SignRequest[], claim: Claim): Promise<void> {
    const isOwn = claim.joined === undefined || first?.id !== claim.joined;
    let id = isOwn ? RetryOf.parse(first?.facts["retryOf"]) : claim.retryOf;
    for (let n = 0; id !== undefined && n < EARLIER_MOST; n++) {
      const earlier = id;
      const request = await pipeline.find(earlier);
      if (await isOfNoUse(request)) {
        const all = request && isBundle(request) ? claimsIn(request) : [earlier];
        for (const one of all) await inTurn(one, () => Promise.resolve(claims.release(one)));
      }
      id = RetryOf.parse(request?.facts["retryOf"]);
    }
  }

  /** Whether no request of an attempt can be retried any more: each is signed, or its documents were signed as another. */
  async function isOfNoUse(first: SignRequest | undefined): Promise<boolean> {
    if (!first) return false;
    const group = groupOf(first);
    let isReplaced = false;
    for (const id of group ? memberIds(group) : [first.id]) {
      const request = await pipeline.find(id);
      if (!request) continue; // never made: its documents are still those of the first
      if (await pipeline.isReplaced(id)) isReplaced = true;
      else if (!OVER_FOR_GOOD.has(request.phase)) return false;
    }
    return isReplaced;
  }

  function wasGivenBack({ aside }: Claim, { updatedMs }: Whole): boolean {
    return aside?.isUnderWay !== true && aside?.note.at === new Date(updatedMs).toISOString();
  }

  async function tryOne(id: RequestId): Promise<void> {
    try {
      await inTurn(id, () => applyAll(id));
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
          ids = await pipeline.takeChanged(door, BATCH);
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
      await pipeline.putBackChanged(door, [...later.keys()]).catch(() => {});
    },
    behind: () => later.size,
  };
}

function groupOf(request: SignRequest | undefined): GroupPlace | undefined {
  return GroupPlace.safeParse(request?.facts["group"]).data;
}
