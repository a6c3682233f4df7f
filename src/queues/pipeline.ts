import type { Redis } from "ioredis";
import type { WaitName } from "../core/ages.ts";
import { withFormer } from "../core/correction.ts";
import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { memberIds } from "../core/group.ts";
import { randomText } from "../core/random.ts";
import { refusesDuplicates, type RequestId, type SignRequest } from "../core/request.ts";
import { type Ending, isEnd, type Phase } from "../core/status.ts";
import type { OrderOf } from "../core/workflow.ts";
import { type AllowedParts, createAllowed } from "./allowed.ts";
import { createBundles } from "./bundles.ts";
import { under } from "./calls.ts";
import type { Codes } from "./codes.ts";
import { forgetFrom } from "./forget.ts";
import type { Gate } from "./gate.ts";
import type { Groups } from "./groups.ts";
import type { Handed } from "./handed.ts";
import { createIdentification } from "./identification.ts";
import { sealBinding } from "./idempotency.ts";
import type { Keys } from "./keys.ts";
import type { Lanes } from "./lanes.ts";
import { listRequests } from "./listing.ts";
import type { Pipeline, Submission, Submitted, Taking } from "./pipeline-types.ts";
import type { Queues } from "./queues.ts";
import { sealCallback } from "./seal.ts";
import { createSeen, documentsOf, printsOf, printsOfRequest } from "./seen.ts";
import type { Change, Held, Store } from "./store.ts";
import type { Strangers } from "./strangers.ts";
import type { NoteName, Vault } from "./vault.ts";

/** The provider sends no second code within a minute. @source docs/provider.md §OTP */
const OTP_PAUSE_MS = 60_000;
const OTP_MOST = 3;
/** The waits in which a new code is of use. In others the outcome of a signing may be open. */
const FOR_A_CODE: readonly (string | undefined)[] = ["code", "another code", "a new OTP"] satisfies WaitName[];
/** How long a caller waits for Redis to be compared with the journal, and when he is to ask again. */
const GATE_WITHIN_MS = 2_000;
const GATE_AGAIN_MS = 2_000;
/** Enough that no two reasons of one request have the same name. */
const NOTE_BYTES = 6;
/** Memory is not freed in a moment. */
const FULL_AGAIN_MS = 30_000;

export interface PipelineParts extends AllowedParts {
  redis: Redis;
  keys: Keys;
  store: Store;
  queues: Queues;
  vault: Vault;
  codes: Codes;
  strangers: Strangers;
  handed: Handed;
  gate: Pick<Gate, "trouble" | "epoch" | "isOpen" | "whenOpen">;
  groups: Pick<Groups, "complete">;
  lanes: Pick<Lanes, "list" | "resume">;
  /** Why nothing new may be taken in; undefined when there is room. */
  full: () => Promise<string | undefined>;
  masterKey: Uint8Array;
  stages: readonly { name: string; retryFrom: string }[];
  orderOf: OrderOf;
  now?: () => number;
}

export function createPipeline(parts: PipelineParts): Pipeline {
  const {
    redis,
    keys,
    store,
    queues,
    vault,
    codes,
    strangers,
    handed,
    gate,
    groups,
    lanes,
    full,
    masterKey,
    stages,
    orderOf,
    now = Date.now,
  } = parts;
  const allowed = createAllowed(parts);
  const seen = createSeen({ redis, keys, store });
  const bundles = createBundles({ redis, keys, store, queues, vault, seen, masterKey, now });
  const lastStage = stages.at(-1)?.name;

  /** The stage at which a retry takes up a request that failed at `stage`. */
  function retryFrom(stage: string): string {
    return stages.find(({ name }) => name === stage)?.retryFrom ?? stage;
  }

  /**
   * Waits until Redis knows all that the journal knows. One that came back without its last writes has forgotten
   * requests, keys and decisions, and would let them be made a second time.
   */
  async function opened(): Promise<Taking> {
    if (!gate.trouble()) await gate.whenOpen(GATE_WITHIN_MS);
    const trouble = gate.trouble();
    if (trouble) throw new RetryableError(trouble.message, { code: trouble.code, cause: trouble });
    if (!gate.isOpen()) throw notCompared();
    return gate.epoch();
  }

  /** Throws when Redis has gone away since, and may have forgotten what it was asked. */
  function mustStillKnow(epoch: Taking): void {
    if (!gate.isOpen() || gate.epoch() !== epoch) throw notCompared();
  }

  async function mayTake(): Promise<Taking> {
    const taking = await opened();
    const why = await full();
    if (why !== undefined) throw new RetryableError(why, { code: "redis-full", retryAfterMs: FULL_AGAIN_MS });
    return taking;
  }

  function notNow(request: SignRequest, what: string): PermanentError {
    const where = isEnd(request.phase) ? request.phase : `at ${request.stage}, ${request.phase}`;
    return new PermanentError(`Request ${request.id} is ${where}: it cannot be ${what} now`, {
      code: "not-possible-now",
    });
  }

  /** A file that came back may have been dropped again: then its first request must not be taken up beside it. */
  async function refuseSecondTry(request: SignRequest): Promise<void> {
    const { id, source, phase, facts } = request;
    if (isUncleaned(request)) return; // it is not taken up
    if (!refusesDuplicates(source) || (phase !== "failed" && phase !== "expired") || facts["signedMs"] !== undefined)
      return;
    const person = await vault.read(id);
    if (!person) return;
    const prints = printsOfRequest(masterKey, request, person.signer);
    const later = await seen.claim(id, prints, documentsOf(request));
    if (!later) return;
    const message = `What request ${id} is about was handed in again: request ${later.id} is ${later.phase}; it is not signed twice`;
    throw new PermanentError(message, { code: "not-possible-now" });
  }

  /** `reason` is kept before the decision is written, under a name that stands in it: it is of the one that counts. */
  async function decide(
    id: RequestId,
    kind: "approve" | "refuse",
    { by, reason, call }: { by: string; reason?: string; call: string | undefined },
  ): Promise<SignRequest> {
    await opened();
    const named = reason === undefined ? undefined : (`reason:${randomText(NOTE_BYTES)}` as const);
    const choose = (request: SignRequest): Change => {
      const earlier = request.facts["decision"] as { kind: string; by: string; atMs: number } | undefined;
      const word = kind === "approve" ? "approved" : "refused";
      if (earlier) {
        const when = new Date(earlier.atMs).toISOString();
        throw new PermanentError(
          `Request ${id} was already ${earlier.kind === "approve" ? "approved" : "refused"} by ${earlier.by} at ${when}`,
          {
            code: "already-decided",
          },
        );
      }
      // An intent without a decision is an approval by policy, which may have been carried out.
      const isOver = request.stage !== "approve" || isEnd(request.phase) || request.ending || request.intent;
      // What a decision would be about is about to change.
      if (isOver || request.facts["order"] !== undefined) throw notNow(request, word);
      const decision = { kind, by, atMs: now(), ...(named && { reason: named }) };
      return { event: "note", patch: { facts: { decision } }, by, note: word, nudge: true };
    };
    const prepare = async () => {
      if (named && reason !== undefined) await vault.keepNote(id, named, reason);
    };
    const decided = await store.change(id, under(call, choose), prepare).catch(async (error: unknown) => {
      if (named && isAnswer(error)) await dropUnused(id, named).catch(() => {}); // why it is not done is the answer
      throw error;
    });
    await queues.promote(decided.stage, id);
    return decided;
  }

  /** Takes a reason back whose decision did not come about; it may have, although that could not be told. */
  async function dropUnused(id: RequestId, named: NoteName): Promise<void> {
    const decision = (await store.get(id)).facts["decision"] as { reason?: string } | undefined;
    if (decision?.reason !== named) await vault.dropNote(id, named);
  }

  /** Writes a request down: who signs first, then the record. What was kept of one that is not accepted goes again. */
  async function keepAll(submission: Submission): Promise<Held | undefined> {
    const { id, by, source, documents, signer, authentication, reference } = submission;
    const { identification: identified, enclosures = [], rest = [], useasync } = submission;
    const { method } = authentication;
    const external = authentication.method === "external" ? authentication : undefined;
    const delivery = authentication.method === "sms" ? authentication.delivery_method : undefined;
    /** What is said of every request of a group. A fact that names a file, or is encrypted for one request, is no such. */
    const alike = {
      authentication: { method, ...(external && { type: external.type }), ...(delivery && { delivery }) },
      ...(submission.inbox && { inbox: submission.inbox }),
      ...(submission.tenant && { tenant: submission.tenant }),
      ...(submission.rao && { rao: submission.rao }),
      ...(submission.profile && { profile: submission.profile }),
      ...(submission.registration_authority && { registrationAuthority: submission.registration_authority }),
      ...(submission.signature?.appearance && { appearance: submission.signature.appearance }),
      ...(submission.picture && { picture: submission.picture }),
      ...(submission.signature?.format === "cms" && { format: "cms" }),
      ...(useasync && { useasync }),
      ...(submission.approval && { approval: submission.approval }),
      ...(submission.intake && { intake: submission.intake }),
    };
    const note = submission.isPlaceUnchecked ? "submitted; place of the signature not checked" : undefined;
    let mayBeWritten = false;
    try {
      await vault.keep(id, {
        signer,
        ...(external && { unlock: external.value }),
        ...(external?.secret !== undefined && { secret: external.secret }),
        ...(identified && { identification: identified }),
      });
      if (reference) await redis.sadd(keys.reference(reference), id);
      mayBeWritten = true;
      return await store.add(
        {
          id,
          workflow: submission.workflow,
          source,
          ...(reference && { reference }),
          facts: {
            documents,
            ...alike,
            ...(enclosures.length > 0 && { enclosures }),
            ...(submission.callback_url && { callbackUrl: sealCallback(masterKey, id, submission.callback_url) }),
            ...(submission.retryOf && { retryOf: submission.retryOf }),
            ...(submission.batch && { batch: submission.batch }),
            ...(submission.bundle && { bundle: submission.bundle }),
            ...(rest.length > 0 && {
              group: { id, n: 1, of: rest.length + 1 },
              rest: { documents: rest, alike: Object.keys(alike), by, ...(note !== undefined && { note }) },
            }),
          },
          createdMs: now(),
        },
        by,
        {
          idempotency: submission.idempotency && sealBinding({ keys, masterKey }, id, submission.idempotency),
          ...(note !== undefined && { note }),
        },
      );
    } catch (error) {
      if (!mayBeWritten || isAnswer(error)) await forgetRefused(submission).catch(() => {}); // why, is the answer
      throw error;
    }
  }

  /** A request of its own, unless one of its documents has one. */
  async function accept(submission: Submission, epoch: Taking, writes?: () => void): Promise<Submitted> {
    const { id, documents, rest = [] } = submission;
    const prints = printsOf(masterKey, submission);
    const earlier = submission.refuseDuplicate
      ? await seen.claim(id, prints, [...documents, ...rest.flat()])
      : await seen.mark(id, prints);
    if (earlier) return { outcome: "duplicate", of: earlier };

    mustStillKnow(epoch);
    writes?.();
    const added = await keepAll(submission);
    const request = added?.request ?? (await store.get(id));
    // Accepted with its record: what of its group cannot be made now, the worker makes that takes it up.
    await groups.complete(request, () => mustStillKnow(epoch)).catch(() => {});
    const { duplicatesMs } = submission;
    // Should this not come about they count for as long as those of everybody else.
    if (duplicatesMs !== undefined) {
      await seen.limit(memberIds({ id, of: rest.length + 1 }), prints, duplicatesMs).catch(() => {});
    }
    const addedMs = now();
    if (added) handed.keep(added, addedMs);
    await queues.add(request.stage, id, addedMs);
    return { outcome: "accepted", request };
  }

  async function forgetRefused({ id, reference }: Submission): Promise<void> {
    if (await store.read(id)) return;
    await vault.withdraw(id);
    if (reference) await redis.srem(keys.reference(reference), id);
  }

  const identification = createIdentification({
    store,
    queues,
    vault,
    seen,
    masterKey,
    orderOf,
    opened,
    refuseSecondTry,
    notNow,
    now,
  });

  return {
    mayTake,
    ...identification,

    mustBeAllowed(wishes) {
      allowed.mustBeWished(wishes);
      allowed.tenantOf(wishes);
    },

    async submit(submission, { taking, writes } = {}): Promise<Submitted> {
      allowed.mustBeWished(submission);
      const known = (await store.read(submission.id))?.request;
      if (known) return { outcome: "known", request: known };
      const tenant = allowed.tenantOf(submission);
      return await accept({ ...submission, tenant }, taking ?? (await mayTake()), writes);
    },

    async bundle(submission, bundling): Promise<Submitted> {
      allowed.mustBeWished(submission);
      const known = (await store.read(submission.id))?.request;
      if (known) return { outcome: "known", request: known };
      const whole = { ...submission, tenant: allowed.tenantOf(submission) };
      const epoch = await mayTake();
      return await bundles.place(whole, {
        ...bundling,
        mustKnow: () => mustStillKnow(epoch),
        begin: async (bundle) => await accept({ ...whole, bundle }, epoch),
      });
    },

    signedBefore: (submission) => seen.doneAs(submission.documents, printsOf(masterKey, submission)),

    async completeGroup(id) {
      const epoch = await opened();
      await groups.complete(await store.get(id), () => mustStillKnow(epoch));
    },

    get: store.get,
    find: async (id) => (await store.read(id))?.request,
    list: (options) => listRequests({ redis, keys, store }, options),
    history: store.history,

    approve: (id, by, call) => decide(id, "approve", { by, call }),
    refuse: (id, reason, by, call) => decide(id, "refuse", { by, reason, call }),

    async giveCode(id, secret, by, call) {
      await opened();
      const open = (request: SignRequest) =>
        request.stage === "sign" && request.phase === "waiting" && request.waiting?.for !== "a new OTP";
      const noted = await store
        .change(
          id,
          under(call, (fresh) => {
            if (!open(fresh)) throw notNow(fresh, "given a code");
            return { event: "note", by, note: "code given", nudge: true };
          }),
          () => codes.keep(id, secret),
        )
        .catch(async (error: unknown) => {
          // Kept and not accepted: it would be tried in the place of the one that comes next.
          if (isFailure(error, "not-possible-now")) await codes.forget(id, secret);
          throw error;
        });
      await queues.promote(noted.stage, id);
      return noted;
    },

    async resendCode(id, by, call) {
      await opened();
      const decideNow = (fresh: SignRequest): Change => {
        const otp = fresh.facts["otp"] as { sentMs: number; count: number } | undefined;
        const isForCode = fresh.phase === "waiting" && FOR_A_CODE.includes(fresh.waiting?.for) && !fresh.intent;
        if (fresh.stage !== "sign" || !isForCode || !otp) throw notNow(fresh, "sent a new code");
        const waitMs = otp.sentMs + OTP_PAUSE_MS - now();
        if (waitMs > 0) {
          throw new RetryableError(
            `The last code was sent less than a minute ago; try again in ${Math.ceil(waitMs / 1000)} s`,
            {
              code: "otp-too-soon",
              retryAfterMs: waitMs,
            },
          );
        }
        if (otp.count >= OTP_MOST) {
          throw new PermanentError(`Request ${id} was sent ${otp.count} codes, which is the most`, {
            code: "otp-too-many",
          });
        }
        return {
          event: "requeue",
          to: "otp",
          patch: { waiting: null, failure: null, facts: { resend: now(), signAccepted: null } },
          by,
          note: "resend",
        };
      };
      const request = await store.change(id, under(call, decideNow));
      await codes.forget(id);
      await queues.moveTo(request.stage, id);
      return request;
    },

    async cancel(id, by, call) {
      await opened();
      const decideNow = (fresh: SignRequest): Change => {
        if (isEnd(fresh.phase) || fresh.ending) throw notNow(fresh, "cancelled");
        if (fresh.facts["signedMs"] !== undefined || fresh.facts["signAccepted"] || fresh.intent?.effect === "sign") {
          throw new PermanentError(`Request ${id} may already be signed: it cannot be cancelled any more`, {
            code: "too-late",
          });
        }
        const failure = { code: "cancelled", message: `Cancelled by ${by}`, stage: fresh.stage };
        const patch = { ending: "cancelled" as const, failure };
        // A worker is at it: it ends the request itself, with what its call gave, as soon as that is known.
        if (fresh.phase === "running" || fresh.intent) return { event: "note", patch, by, note: "cancel", nudge: true };
        return { event: "end", patch: { ...patch, waiting: null }, by, note: "cancel" };
      };
      const request = await store.change(id, under(call, decideNow));
      if (request.stage === lastStage) {
        await queues.moveTo(request.stage, id);
      } else {
        await queues.promote(request.stage, id);
      }
      return request;
    },

    async retry(id, by, call) {
      await opened();
      await refuseSecondTry(await store.get(id));
      const decideNow = (fresh: SignRequest): Change => {
        if (isUncleaned(fresh)) return toCleanAgain(fresh.phase, by);
        if (fresh.phase !== "failed" && fresh.phase !== "expired") throw notNow(fresh, "retried");
        const failedAt = fresh.failure?.stage ?? fresh.stage;
        const to = resumeAt(fresh, failedAt);
        const facts = {
          ...forgetFrom(to, orderOf(fresh.workflow)),
          ...(to === "create" && withFormer(fresh.facts, now())),
        };
        return {
          event: "requeue",
          to,
          patch: { ending: null, failure: null, waiting: null, intent: null, facts },
          by,
          note: "retry",
        };
      };
      const request = await store.change(id, under(call, decideNow));
      await queues.moveTo(request.stage, id);
      return request;
    },

    async isReplaced(id) {
      const request = (await store.read(id))?.request;
      if (!request || (request.phase !== "failed" && request.phase !== "expired")) return false;
      const person = request.facts["signedMs"] === undefined ? await vault.read(id) : undefined;
      if (!person) return false;
      return await seen.isSignedElsewhere(id, printsOfRequest(masterKey, request, person.signer));
    },

    async nudge(requestPk) {
      const id = await redis.hget(keys.pks, String(requestPk));
      if (id) {
        const at = await store.nudge(id);
        if (at && !isEnd(at.phase)) await queues.promote(at.stage, id);
        return true;
      }
      if (!(await strangers.add(requestPk))) return false;
      for (const { id: suspect } of await strangers.suspects()) {
        const at = await store.nudge(suspect);
        if (at?.stage === "create") await queues.promote(at.stage, suspect);
      }
      return false;
    },

    standstills: lanes.list,
    resume: lanes.resume,

    takeChanged: (door, limit) => redis.spop(keys.changed(door), limit),
    async putBackChanged(door, ids) {
      if (ids.length > 0) await redis.sadd(keys.changed(door), ...ids);
    },

    async counts() {
      const [groups, jobs, overdue, withoutNextStep, uncleaned, unreadable] = await Promise.all([
        store.counts(),
        queues.counts(),
        store.overdueCount(now()),
        redis.get(keys.withoutNextStep).then(Number),
        store.uncleanedCount(),
        redis.scard(keys.unreadable),
      ]);
      const sum = (state: string) => Object.values(jobs).reduce((total, one) => total + (one[state] ?? 0), 0);
      const { active, ...rest } = groups;
      const running = Math.min(active, sum("active"));
      const states = { ...rest, running, queued: active - running };
      return { states, queues: jobs, overdue, withoutNextStep, uncleaned, unreadable };
    },
  };

  function resumeAt(request: SignRequest, failedAt: string): string {
    const isSigned = request.facts["signedMs"] !== undefined;
    if (isSigned && (failedAt !== lastStage || request.failure?.code === "signed-file-changed")) return "fetch";
    if (isSigned) return failedAt;
    // A request that has no video identification at the provider any more starts over.
    return request.facts["providerGone"] === true ? "create" : retryFrom(failedAt);
  }
}

/** Over, and what it has left at the provider was not removed: what a half-done cleanup did there is not known. */
function isUncleaned({ phase, facts }: SignRequest): boolean {
  return isEnd(phase) && facts["cleanupFailed"] !== undefined;
}

function toCleanAgain(phase: Phase, by: string): Change {
  const patch = { ending: phase as Ending, attempt: 0, waiting: null, intent: null, facts: { cleanupFailed: null } };
  return { event: "clean", patch, by, note: "retry" };
}

/**
 * Whether a failure says what became of a write: Redis has answered, or the journal has refused. After a lost connection
 * the write may still be on its way, and a request that comes to be must find who signs.
 */
function isAnswer(error: unknown): boolean {
  if (error instanceof RetryableError || error instanceof PermanentError) return true;
  return error instanceof Error && error.name === "ReplyError";
}

function notCompared(): RetryableError {
  return new RetryableError("Redis was away and is being compared with the journal; try again in a few seconds", {
    code: "redis-away",
    retryAfterMs: GATE_AGAIN_MS,
  });
}
