import { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";
import { foldLines } from "../../src/core/journal.ts";
import type { AnyStage } from "../../src/core/stage.ts";
import { type Ending, type Event, isEnd, move, type Phase, type Position } from "../../src/core/status.ts";
import { sorted } from "../../src/producers/api/upload.ts";
import { GROUPS, groupOf } from "../../src/queues/keys.ts";
import { fingerprint } from "../../src/queues/seal.ts";
import { approve } from "../../src/workers/approve.ts";
import { cleanup } from "../../src/workers/cleanup.ts";
import { create } from "../../src/workers/create.ts";
import { identify } from "../../src/workers/identify.ts";
import { createOrphans } from "../../src/workers/orphans.ts";
import { otp } from "../../src/workers/otp.ts";
import { sign } from "../../src/workers/sign.ts";
import type { Policy, Tools } from "../../src/workers/stage.ts";
import { upload } from "../../src/workers/upload.ts";
import { silent, startToy, submission } from "../helpers/toy.ts";
import { unpacked } from "../helpers/unpacked.ts";
import { createPaperProvider } from "./paper-provider.ts";

const DAY_MS = 86_400_000;
/** Short, so that what a dead worker held is soon taken over. */
const LOCK_MS = 500;
export const CREATE_GRACE_MS = 120_000;
const SETTLES_WITHIN_MS = 20_000;

const POLICY: Policy = {
  approval: "manual",
  identifyWithinMs: 14 * DAY_MS,
  approveWithinMs: 14 * DAY_MS,
  signWithinMs: 7 * DAY_MS,
  createGraceMs: CREATE_GRACE_MS,
  settleMs: 60_000,
  signSettleMs: 180_000,
  asyncGraceMs: 1_800_000,
  longestPauseMs: () => 900_000,
  deleteGraceMs: 0,
  incremental: true,
  asyncCallback: undefined,
  compare: "text",
};

/** Stands for the fetching of PDFs, of which there are none here. */
const fetchNothing: AnyStage<object> = {
  name: "fetch",
  title: "Fetch nothing",
  needs: z.object({ uploaded: z.array(z.looseObject({ id: z.string(), uid: z.string() })) }),
  gives: z.object({ signed: z.array(z.unknown()), fetchedMs: z.number() }),
  attempts: 200,
  backoff: () => 1_000,
  timeout: "1m",
  concurrency: 5,
  retryFrom: "fetch",
  afterSilence: "repeat",
  run: ({ facts, now }) => {
    const uploaded = facts["uploaded"] as { id: string; uid: string }[];
    const file = { name: "a.pdf", sizeBytes: 1, sha256: "0".repeat(64) };
    return Promise.resolve({ signed: uploaded.map(({ id, uid }) => ({ id, uid, ...file })), fetchedMs: now() });
  },
};

/**
 * The real stages, queues and scripts on a real Redis, with a provider that is a few lines of this process, no PDFs and
 * a clock that can be put forward.
 */
export async function startPaperPipeline({ wrap }: Pick<NonNullable<Parameters<typeof startToy>[1]>, "wrap"> = {}) {
  let offsetMs = 0;
  const now = () => Date.now() + offsetMs;
  const paper = createPaperProvider({ now, loseLock: async () => loseLocks() });
  const real = [create, identify, approve, upload, otp, sign] as unknown as AnyStage<object>[];
  const toy = await startToy([...real, fetchNothing, cleanup], {
    now,
    lockMs: LOCK_MS,
    ...(wrap && { wrap }),
    tools: ({ strangers, vault, codes, store }) =>
      ({
        provider: paper.provider,
        account: () => ({ rao: { rao: "1", token: "t" } }),
        documents: {
          open: () => Readable.from([Buffer.from("x")]),
          erase: () => Promise.resolve(),
        } as unknown as Tools["documents"],
        results: {
          rehash: () => Promise.resolve(true),
          readEvidence: () => Promise.resolve(undefined),
          writeEvidence: () => Promise.resolve(),
        } as unknown as Tools["results"],
        vault,
        codes,
        orphans: createOrphans({
          provider: paper.provider,
          strangers,
          vault,
          print: (parts) => fingerprint(new Uint8Array(32), parts),
          whereabouts: async (id) => {
            const request = (await store.read(id))?.request;
            const isOver = request === undefined || isEnd(request.phase);
            const isBeingCreated = request?.stage === "create" && !isOver;
            const requestPk = request?.facts["requestPk"] as number | undefined;
            return { requestPk, isBeingCreated, isOver, wishes: {} };
          },
          tenants: { traits: [], traitsOf: () => ({ tenant: "default" }) },
          answerWithinMs: 0,
          log: silent,
          now,
        }),
        historyOf: store.historyOf,
        // Nobody here asks for a visible signature.
        pictures: {} as unknown as Tools["pictures"],
        space: {
          need: () => Promise.resolve(),
          book: () => Promise.resolve({ release() {} }),
        } as unknown as Tools["space"],
        policy: POLICY,
      }) satisfies Tools,
  });
  const { redis, keys, queues, store, journal } = toy;

  async function loseLocks(): Promise<void> {
    const locks = await redis.keys(`${keys.queues.replaceAll(/[{}]/g, "[$&]")}:*:lock`);
    if (locks.length > 0) await redis.del(locks);
  }

  /** Lets what BullMQ's own clock holds back run when ours says so. */
  async function wakeDue(): Promise<void> {
    for (const stage of toy.stages) {
      const due = await redis.zrangebyscore(`${keys.queues}:${stage}:delayed`, "-inf", now() * 0x1000);
      for (const id of due) await queues.promote(stage, id);
    }
  }

  /** Waits until nothing is under way: every job is parked or gone, and no call is at the provider. */
  async function settle(): Promise<void> {
    const until = Date.now() + SETTLES_WITHIN_MS;
    let quiet = 0;
    while (quiet < 2) {
      const counts = Object.values(await queues.counts());
      const busy = counts.some(({ waiting = 0, active = 0 }) => waiting + active > 0) || paper.inFlight() > 0;
      quiet = busy ? 0 : quiet + 1;
      if (Date.now() > until) throw new Error(`it does not come to rest: ${JSON.stringify(await queues.counts())}`);
      await pause(busy ? 10 : 4);
    }
  }

  return {
    ...toy,
    paper,
    now,
    settle,
    wakeDue,
    loseLocks,
    submitFor: (id: string) =>
      toy.pipeline.submit({
        ...submission(id),
        signer: { email: `${id}@example.com`, mobile_phone_number: "+34699999999" },
      }),
    /** Removes everything, so that a run that failed leaves nothing to the next one. */
    async forget(): Promise<void> {
      journal.length = 0;
      paper.clearFaults();
      const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
      if (all.length > 0) await redis.del(all);
    },
    /** Puts the clock forward, with whatever that brings. */
    async pass(ms: number): Promise<void> {
      await settle();
      offsetMs += ms;
      await wakeDue();
      await settle();
    },

    /** What must hold at every moment; the version it has. With `atRest`, for when nothing is under way. */
    async check(id: string, { atRest }: { atRest: boolean }): Promise<number> {
      const reads = redis.multi().get(keys.request(id)).lrange(keys.history(id), 0, -1).zscore(keys.due, id);
      reads.hgetall(keys.pks);
      for (const group of GROUPS) reads.zscore(keys.index(group), id);
      const answers = (await reads.exec()) ?? [];
      const [, lines, due, pks, ...inGroups] = answers.map(([error, answer]) => {
        if (error) throw error;
        return answer;
      }) as [unknown, string[], string | null, Record<string, string>, ...(string | null)[]];
      const held = await store.read(id);
      if (!held) throw new Error(`${id} is gone`);
      const [raw = "", ...packed] = unpacked(keys.request(id), String(answers[0]?.[1])).split("\n");
      const [version = "", stage = "", phaseText = ""] = raw.split("|", 3);
      const phase = phaseText as Phase;
      const record = JSON.parse(raw.slice(raw.indexOf("{"))) as { mark: string; facts: { requestPk?: number } };

      demand(phase !== "done" || lines.length === 0, "what is done has its history in a list");
      const count = lines.length + packed.length;
      demand(Number(version) === count, `version ${version} with ${count} lines of history`);
      const groups = GROUPS.filter((_, i) => inGroups[i] !== null);
      demand(groups.join() === groupOf(phase), `${phase} is in the index of ${groups.join() || "nobody"}`);
      demand((due === null) === isEnd(phase), `${phase} with due time ${String(due)}`);
      const mine = Object.entries(pks).filter(([, owner]) => owner === id);
      const wanted = isEnd(phase) || record.facts.requestPk === undefined ? [] : [String(record.facts.requestPk)];
      // What its creation has answered is its own a moment before the record says so.
      const isAnswered = stage === "create" && wanted.length === 0 && mine.length === 1;
      demand(
        isAnswered || mine.map(([pk]) => pk).join() === wanted.join(),
        `webhooks of ${mine.join()} are for it, not of ${wanted.join()}`,
      );
      checkMoves(await store.history(id), toy.stages);

      // The journal may be a moment ahead, and of a worker that took it up it says nothing.
      const upTo = journal.findLast((line) => line.request === id && line.mark === record.mark);
      if (!upTo && !atRest) return Number(version);
      demand(upTo, "the journal does not have its newest change");
      const folded = foldLines(journal.filter((line) => line.request === id && line.version <= (upTo?.version ?? 0)));
      const { stage: s, phase: p, updatedMs, ...rest } = folded ?? {};
      demand(JSON.stringify(sorted(rest)) === JSON.stringify(sorted(record)), "the journal makes another record of it");
      demand(s === stage && (p === phase || phase === "running"), `the journal has it at ${String(s)} ${String(p)}`);
      void updatedMs;
      return Number(version);
    },
  };
}

function demand(holds: unknown, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}

/** Every line follows from the one before by the table of moves. */
function checkMoves(lines: { event: string; stage: string; phase: string }[], stages: readonly string[]): void {
  let at: Position | undefined;
  for (const { event, stage, phase } of lines) {
    const here = { stage, phase: phase as Phase };
    const told = `${at?.stage} ${at?.phase} → ${event} → ${stage} ${phase}`;
    if (!at) demand(event === "note" && phase === "queued", told);
    else if (event === "note") demand(at.stage === stage && at.phase === phase, told);
    else {
      const ending = isEnd(here.phase) && phase !== "done" ? (phase as Ending) : undefined;
      const had = event === "clean" ? (at.phase as Ending) : ending;
      const next = move(at, event as Event, { stages, to: stage, ...(event !== "end" && { ending: had }) });
      demand(next.stage === stage && next.phase === phase, told);
    }
    at = here;
  }
}
