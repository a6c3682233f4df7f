import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { isBundle } from "../../core/bundle.ts";
import { Reminded } from "../../core/correction.ts";
import { noticeOf } from "../../core/notice.ts";
import type { SignRequest } from "../../core/request.ts";
import { isEnd } from "../../core/status.ts";
import { replaceDurably } from "../../files/durable.ts";
import type { Claim, Note } from "./claim.ts";
import { type FolderNames, FOLDERS, type OnSuccess } from "./config.ts";
import { createInTurn } from "./in-turn.ts";
import { errnoOf } from "./look.ts";
import { folderOf, inFolderOf, type RawName, toNoteName, toText } from "./names.ts";
import { makeBelow } from "./place.ts";
import { resultsFor } from "./together.ts";
import type { Reason } from "./unusable.ts";
import type { Whole } from "./whole.ts";

/** What stands in status/<name>.status.json: where a file is, for the person who dropped it. */
export interface StatusFile {
  file: string;
  request_id?: string;
  /**
   * Instead of request_id: what it would have been, had the file been usable. Beside it: what it would have been, had it
   * not joined that request.
   */
  dropped_as?: string;
  /** How many documents the request has, where several files are one. */
  together?: number;
  /** queued, running, waiting, retrying, done, refused, cancelled, expired, failed; duplicate; unusable. */
  state: string;
  stage?: string;
  waiting?: { for: string; whose: string; since: string; until: string; detail?: string };
  failure?: { code: string; message: string };
  /** What the state does not say, such as that it was signed although somebody had cancelled it. */
  notice?: { code: string; message: string };
  videoid_link?: string;
  /** How often somebody asked to remind the signer, with the link above. */
  reminders?: { count: number; last_at: string };
  /** Each request that the documents are in, where one cannot take them all; what differs stands there. */
  requests?: RequestStatus[];
  /** Where the results are, from DATA_DIR, or from the folder of an inbox of its own. */
  signed?: string[];
  duplicate_of?: { request_id: string; state: string };
  /** Of a folder with a table: how many rows are where, and what is wrong with the first that cannot be submitted. */
  batch?: {
    id: string;
    rows: number;
    counts: Record<string, number>;
    problems?: { row: number; reason: string }[];
  };
  /** Where the file itself is now, from DATA_DIR, once it was given back or archived. */
  now_at?: string;
  claimed_at?: string;
  updated_at: string;
}

/** One of several requests of the same folder, with the names of its documents. */
interface RequestStatus extends Pick<
  StatusFile,
  "state" | "stage" | "waiting" | "failure" | "notice" | "videoid_link" | "reminders"
> {
  request_id: string;
  documents: string[];
}

const ENDING = ".status.json";
const Named = z.array(z.object({ name: z.string() })).catch([]);
const Link = z.string().optional().catch(undefined);
const Owner = z.looseObject({
  request_id: z.string().optional(),
  dropped_as: z.string().optional(),
  state: z.string(),
  claimed_at: z.string().optional(),
});

export type StatusFiles = ReturnType<typeof createStatusFiles>;

/** The status beside the inbox. A convenience: it is written anew from the records whenever it is missing or old. */
export function createStatusFiles({
  dir,
  places = FOLDERS,
  onSuccess = "archive",
}: {
  dir: string;
  /** What the folders are called. */
  places?: FolderNames;
  onSuccess?: OnSuccess;
}) {
  const path = (raw: RawName, ending = ENDING) => join(dir, toNoteName(raw, ending));
  /** One thing at a time for each name: two of one name would both find it free, and the second overwrite the first. */
  const inTurn = createInTurn();

  async function read(at: string): Promise<z.infer<typeof Owner> | undefined> {
    try {
      const parsed = Owner.safeParse(JSON.parse(await readFile(at, "utf8")));
      return parsed.success ? parsed.data : undefined;
    } catch (error) {
      if (errnoOf(error) !== "" && errnoOf(error) !== "ENOENT") throw error;
      return undefined;
    }
  }

  /**
   * Writes the status of a claim. The plain name belongs to what was dropped last under it; what was dropped earlier
   * and is still under way goes on under its request id.
   */
  async function write(claim: Claim, status: StatusFile): Promise<void> {
    await inTurn(path(claim.raw), () => writeNow(claim, status));
  }

  async function writeNow({ id, raw, claimedMs }: Claim, status: StatusFile): Promise<void> {
    const plain = path(raw);
    const own = path(raw, `.${id}${ENDING}`);
    const there = await read(plain);
    await makeBelow(dir, toText(folderOf(raw)), 0o770);
    let target = plain;
    const owner = there && ownerOf(there);
    if (there && owner !== undefined && owner !== id) {
      if ((there.claimed_at ?? "") > toTime(claimedMs)) target = own;
      else if (!isOver(there.state)) await rename(plain, path(raw, `.${owner}${ENDING}`));
    }
    await replaceDurably(target, `${JSON.stringify(status, null, 2)}\n`, { fsync: false });
  }

  return {
    /** Writes what the records say. `signed` is where the results are, from DATA_DIR, when not in the one request's folder. */
    async tell(claim: Claim, whole: Whole, signed?: string[]): Promise<void> {
      await write(claim, toStatus(claim, whole, { signed, places, onSuccess }));
    },

    /** Whether the status on disk is as old as the record. */
    async isCurrent({ id, raw }: Claim, { updatedMs }: Pick<Whole, "updatedMs">): Promise<boolean> {
      for (const at of [path(raw), path(raw, `.${id}${ENDING}`)]) {
        const there = await read(at);
        if (there && ownerOf(there) === id) return there.updated_at === toTime(updatedMs);
      }
      return false;
    },

    /** Tells of something that was set aside without having become a request. */
    async tellAside(claim: Claim, note: Note, where: keyof FolderNames, signed: string[] = []): Promise<void> {
      const { code, message, state, at, duplicate_of } = note;
      await write(claim, {
        file: toText(claim.raw),
        dropped_as: claim.id,
        state,
        failure: { code, message },
        ...(duplicate_of && { duplicate_of }),
        ...(signed.length > 0 && { signed }),
        now_at: `${places[where]}/${toText(claim.aside?.raw ?? claim.raw)}`,
        claimed_at: toTime(claim.claimedMs),
        updated_at: at,
      });
    },

    /** Tells of something that is to join a request and cannot at this moment. */
    async tellBusy(claim: Claim, { code, message }: Reason, nowMs: number): Promise<void> {
      await write(claim, {
        file: toText(claim.raw),
        dropped_as: claim.id,
        state: "queued",
        notice: { code, message },
        claimed_at: toTime(claim.claimedMs),
        updated_at: toTime(nowMs),
      });
    },

    /** Tells of a batch that is under way. */
    async tellBatch(
      claim: Claim,
      { state, batch, updatedMs }: { state: string; batch: NonNullable<StatusFile["batch"]>; updatedMs: number },
    ): Promise<void> {
      await write(claim, {
        file: toText(claim.raw),
        dropped_as: claim.id,
        state,
        batch,
        claimed_at: toTime(claim.claimedMs),
        updated_at: toTime(updatedMs),
      });
    },

    /** Tells of one that is over, and of which nothing came back. */
    async tellBatchDone(
      claim: Claim,
      batch: NonNullable<StatusFile["batch"]>,
      { updatedMs, signed, archive }: { updatedMs: number; signed: string; archive: string },
    ): Promise<void> {
      await write(claim, {
        file: toText(claim.raw),
        dropped_as: claim.id,
        state: "done",
        batch,
        signed: [`${signed}/results.csv`],
        now_at: archive,
        claimed_at: toTime(claim.claimedMs),
        updated_at: toTime(updatedMs),
      });
    },

    /** Tells of a file that stays in the inbox because nobody can use it. */
    async tellUnusable(raw: RawName, failure: Reason, nowMs: number): Promise<void> {
      const status: StatusFile = { file: toText(raw), state: "unusable", failure, updated_at: toTime(nowMs) };
      await inTurn(path(raw), async () => {
        const there = await read(path(raw));
        if (there && !isOver(there.state)) return;
        await makeBelow(dir, toText(folderOf(raw)), 0o770);
        await replaceDurably(path(raw), `${JSON.stringify(status, null, 2)}\n`, { fsync: false });
      });
    },

    /** Takes that back, once the file is gone from the inbox. */
    async forgetUnusable(raw: RawName): Promise<void> {
      await inTurn(path(raw), async () => {
        const there = await read(path(raw));
        if (there?.state === "unusable") await rm(path(raw), { force: true });
      });
    },
  };
}

function ownerOf({ request_id, dropped_as }: z.infer<typeof Owner>): string | undefined {
  return dropped_as ?? request_id;
}

function isOver(state: string): boolean {
  return ["done", "refused", "cancelled", "expired", "failed", "duplicate", "unusable"].includes(state);
}

function toStatus(
  claim: Claim,
  whole: Whole,
  { signed, places, onSuccess }: { signed: string[] | undefined; places: FolderNames; onSuccess: OnSuccess },
): StatusFile {
  const { raw, claimedMs, aside } = claim;
  const { requests, earlier, lead, state, isOver, updatedMs } = whole;
  const isDone = isOver && state === "done";
  const isOne = claim.requests === undefined && claim.signedAs === undefined;
  const isJoined = claim.joined === lead.id;
  const { stage, failure, ...own } = partsOf(lead);
  const results =
    signed ?? (isDone ? resultsFor(claim, lead).map(({ name }) => `${places.signed}/${lead.id}/${name}`) : []);
  return {
    file: toText(raw),
    request_id: isJoined ? lead.id : claim.id,
    ...(isJoined && { dropped_as: claim.id }),
    ...(isBundle(lead) && { together: Named.parse(lead.facts["documents"]).length }),
    state,
    stage,
    ...(failure && { failure }),
    // Of several, each has its own.
    ...(isOne ? own : { requests: [...requests, ...earlier].map(toRequestStatus) }),
    ...(isOver && (isDone || results.length > 0) && { signed: results }),
    ...(isDone &&
      onSuccess === "archive" && { now_at: `${places.archive}/${toText(inFolderOf(folderOf(raw), claim.id))}` }),
    ...(isDone &&
      onSuccess === "keep" && { now_at: results[0]?.replace(/\/[^/]*$/, "") ?? `${places.signed}/${claim.id}` }),
    ...(isOver && !isDone && aside && { now_at: `${places[aside.where]}/${toText(aside.raw)}` }),
    claimed_at: toTime(claimedMs),
    updated_at: toTime(updatedMs),
  };
}

function toRequestStatus(request: SignRequest): RequestStatus {
  const documents = Named.parse(request.facts["documents"]).map(({ name }) => name);
  return { request_id: request.id, documents, state: request.phase, ...partsOf(request) };
}

/** What a status says of one request. */
function partsOf(request: SignRequest) {
  const { stage, phase, waiting, failure, facts } = request;
  const notice = noticeOf(request);
  const link = isEnd(phase) ? undefined : Link.parse(facts["videoidLink"]);
  const reminded = link === undefined ? undefined : Reminded.safeParse(facts["reminded"]).data;
  return {
    stage,
    ...(waiting && {
      waiting: {
        for: waiting.for,
        whose: waiting.whose,
        since: toTime(waiting.sinceMs),
        until: toTime(waiting.untilMs),
        ...(waiting.detail !== undefined && { detail: waiting.detail }),
      },
    }),
    ...(failure && phase !== "done" && { failure: { code: failure.code, message: failure.message } }),
    ...(notice && { notice }),
    ...(link !== undefined && { videoid_link: link }),
    ...(reminded && { reminders: { count: reminded.count, last_at: toTime(reminded.atMs) } }),
  };
}

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
