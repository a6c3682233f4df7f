import type { Redis } from "ioredis";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type Bundle, hasClaim, joinable } from "../core/bundle.ts";
import { isFailure, RetryableError } from "../core/errors.ts";
import { contentOf, type RequestId, type SignRequest, type StoredDocument } from "../core/request.ts";
import { inSameOrder } from "../core/same-order.ts";
import type { Keys } from "./keys.ts";
import type { Bundling, Submission, Submitted } from "./pipeline-types.ts";
import type { Queues } from "./queues.ts";
import { fingerprint } from "./seal.ts";
import { type createSeen, documentsOf, printsOf } from "./seen.ts";
import type { Change, Store } from "./store.ts";
import type { Vault } from "./vault.ts";

/** How long it is known which request of a signer is open: as long as it may wait for its signer and its officer. */
const KNOWN_MS = 90 * 86_400_000;
/** Between the name of a request and its record lie milliseconds. After this its process must be dead. */
const IN_FLIGHT_MS = 10_000;
const LOOK_AGAIN_MS = 25;
const GIVE_UP_MS = 2 * IN_FLIGHT_MS;
/** A call with the documents that are there takes about this long. */
const BUSY_MS = 1_000;
/** Given up by whoever began it: whoever comes next begins. */
const NOBODY = "";

interface Scripts {
  signpipeTakeOver(key: string, seen: string, id: string, lifeMs: number): Promise<0 | 1>;
}

/** The request has moved on, or its signer was corrected, since it was found open. */
class Closed extends Error {}

/** Another try of the same document was faster. */
class Joined extends Error {
  readonly request: SignRequest;
  constructor(request: SignRequest) {
    super();
    this.request = request;
  }
}

/** A document that is in the request already. */
class Twin extends Error {
  readonly of: SignRequest;
  constructor(of: SignRequest) {
    super();
    this.of = of;
  }
}

/**
 * Everything that a submission says but its documents and its own names, and what it is kept apart by: what is the same in
 * two of them can be one request. It is made with the master key, since it stands for a person.
 */
export function bundlePrint(masterKey: Uint8Array, submission: Submission, apart = ""): string {
  const { workflow, inbox, reference, signer, authentication, tenant, rao, profile, registration_authority } =
    submission;
  const { signature, picture, approval, callback_url, useasync, identification } = submission;
  const { email, ...rest } = signer;
  const whole = {
    ...{ workflow, inbox, reference, authentication, tenant, rao, profile, registration_authority },
    ...{ signature, picture, approval, callback_url, useasync, identification },
    signer: { ...rest, email: email.toLowerCase() },
  };
  return fingerprint(masterKey, ["bundle", inSameOrder(whole), ...(apart === "" ? [] : [apart])]);
}

/**
 * Has what an inbox takes in for one signer become one request. That is there with the first document; the others are
 * added to its record, by compare-and-set, for as long as no code for it has left. Which request of a signer is open is
 * known by a key of its own: should it be lost, another request begins, and nothing else happens.
 */
export function createBundles({
  redis,
  keys,
  store,
  queues,
  vault,
  seen,
  masterKey,
  now = Date.now,
}: {
  redis: Redis;
  keys: Keys;
  store: Pick<Store, "read" | "change">;
  queues: Pick<Queues, "promote" | "moveTo">;
  vault: Pick<Vault, "read">;
  /** Has defined the script for taking over, too. */
  seen: Pick<ReturnType<typeof createSeen>, "claim" | "mark" | "markedFor" | "handOver">;
  masterKey: Uint8Array;
  now?: () => number;
}) {
  const scripts = redis as unknown as Scripts;
  const takeOver = async (key: string, from: string, to: string) =>
    (await scripts.signpipeTakeOver(key, from, to, KNOWN_MS)) === 1;

  /** The request that is open for what has this key; `id` itself when there is none, which it is from now on. */
  async function openOne(key: string, submission: Submission): Promise<SignRequest | RequestId> {
    const { id } = submission;
    const untilMs = performance.now() + GIVE_UP_MS;
    while (performance.now() < untilMs) {
      const holder = await redis.get(key);
      if (holder === id) return id;
      if (holder === null) {
        if ((await redis.set(key, id, "PX", KNOWN_MS, "NX")) === "OK") return id;
        continue;
      }
      const there = holder === NOBODY ? undefined : (await store.read(holder))?.request;
      if (there && (hasClaim(there, id) || (await isOpen(there, submission)))) return there;
      const isInFlight = !there && holder !== NOBODY && KNOWN_MS - (await redis.pttl(key)) < IN_FLIGHT_MS;
      if (isInFlight) await pause(LOOK_AGAIN_MS);
      else if (await takeOver(key, holder, id)) return id;
    }
    throw busy();
  }

  /** Whether it can be joined, now or in a moment, and its signer is still the one that it was opened for. */
  async function isOpen(request: SignRequest, { signer }: Submission): Promise<boolean> {
    if (joinable(request) === "closed") return false;
    const person = await vault.read(request.id).catch((error: unknown) => {
      if (isFailure(error, "vault-unreadable")) return undefined;
      throw error;
    });
    if (!person) return false;
    const same = (one: typeof signer) => inSameOrder({ ...one, email: one.email.toLowerCase() });
    return same(person.signer) === same(signer);
  }

  async function join(lead: SignRequest, submission: Submission, mustKnow: () => void): Promise<SignRequest> {
    const { id, documents, by, refuseDuplicate } = submission;
    let isMoved = false;
    mustKnow();
    const request = await store.change(lead.id, (fresh): Change => {
      if (hasClaim(fresh, id)) throw new Joined(fresh);
      const there = documentsOf(fresh);
      const contents = new Set(there.map(contentOf));
      if (refuseDuplicate && documents.some((one) => contents.has(contentOf(one)))) throw new Twin(fresh);
      const how = joinable(fresh);
      if (how === "busy") throw busy();
      if (how === "closed" || !isDeepStrictEqual(fresh.facts["ordered"], lead.facts["ordered"])) throw new Closed();
      const all = [...there];
      for (const document of documents) all.push({ ...document, name: freeName(document, all) });
      const note = `document ${all.length} joined`;
      isMoved = how === "again";
      if (isMoved) {
        const facts = { documents: all, uploaded: null, contract: null };
        const patch = { waiting: null, failure: null, facts };
        // Whoever parks its job at this moment learns that there is none to park.
        return { event: "requeue", to: "upload", patch, by, note, nudge: true };
      }
      return { event: "note", patch: { facts: { documents: all } }, by, note, nudge: fresh.stage === "upload" };
    });
    if (isMoved) await queues.moveTo(request.stage, request.id);
    // Full, it need not wait any longer.
    else if (request.stage === "upload") await queues.promote(request.stage, request.id);
    return request;
  }

  /**
   * Marks for `to` what is marked for a request that it was to join and will not. Only what that has not, and cannot get any
   * more: the mark of another claim's document that is the same looks like ours. Any other mark lapses by itself.
   */
  async function passOn(tried: RequestId, to: RequestId, submission: Submission): Promise<void> {
    const request = (await store.read(tried))?.request;
    if (request && (await isOpen(request, submission))) return;
    const has = new Set(request && documentsOf(request).map(contentOf));
    const documents = submission.documents.filter((one) => !has.has(contentOf(one)));
    await seen.handOver(tried, to, printsOf(masterKey, { ...submission, documents }));
  }

  return {
    /**
     * `begin` makes the request that further documents may join. Throws RetryableError "bundle-busy", and what `begin`
     * and `mustKnow` throw: that Redis may have forgotten what it was asked.
     */
    async place(
      submission: Submission,
      {
        windowMs,
        most,
        apart,
        joined,
        joining,
        mustKnow,
        begin,
      }: Bundling & { mustKnow: () => void; begin: (bundle: Bundle) => Promise<Submitted> },
    ): Promise<Submitted> {
      const { id, documents } = submission;
      // A crash came after it had joined.
      const before = joined === undefined ? undefined : (await store.read(joined))?.request;
      if (before && hasClaim(before, id)) return { outcome: "known", request: before };

      const key = keys.bundle(bundlePrint(masterKey, submission, apart));
      const prints = printsOf(masterKey, submission);
      // The same, of a claim that has forgotten it.
      for (const other of joined === undefined ? await seen.markedFor(prints) : []) {
        if (hasClaim(other, id)) return await asJoined(other, id, joining);
      }
      /** What its document is marked for, should it not have joined that. */
      let tried = joined;
      const untilMs = performance.now() + GIVE_UP_MS;
      while (performance.now() < untilMs) {
        const lead = await openOne(key, submission);
        if (typeof lead === "string") {
          await joining(undefined);
          if (tried !== undefined) await passOn(tried, id, submission);
          const begun = await begin({ untilMs: now() + windowMs, most });
          if (begun.outcome === "duplicate") {
            await takeOver(key, id, NOBODY);
            return await asJoined(begun.of, id, joining);
          }
          return begun;
        }
        await joining(lead.id);
        if (tried !== undefined && tried !== lead.id) await passOn(tried, lead.id, submission);
        tried = lead.id;
        if (hasClaim(lead, id)) return { outcome: "known", request: lead };
        if (submission.refuseDuplicate) {
          const earlier = await seen.claim(lead.id, prints, documents);
          if (earlier) return await asJoined(earlier, id, joining);
        } else await seen.mark(lead.id, prints);
        try {
          return { outcome: "accepted", request: await join(lead, submission, mustKnow) };
        } catch (error) {
          if (error instanceof Joined) return { outcome: "known", request: error.request };
          if (error instanceof Twin) return { outcome: "duplicate", of: error.of };
          if (!(error instanceof Closed)) throw error;
        }
      }
      throw busy();
    },
  };

  /** What looks like a duplicate is the very document, where a crash came after it had joined and the claim forgot which. */
  async function asJoined(of: SignRequest, id: RequestId, joining: Bundling["joining"]): Promise<Submitted> {
    if (!hasClaim(of, id)) return { outcome: "duplicate", of };
    await joining(of.id);
    return { outcome: "known", request: of };
  }
}

function busy(): RetryableError {
  return new RetryableError(
    "The request that this document is to join is being handed to the provider at this moment; it is tried again",
    { code: "bundle-busy", retryAfterMs: BUSY_MS },
  );
}

/** Results are named after documents: two of one name get a counter. */
function freeName({ name }: StoredDocument, there: readonly StoredDocument[]): string {
  let free = name;
  for (let n = 2; there.some((one) => one.name === free); n++) free = name.replace(/(\.[^.]{1,11})?$/, ` (${n})$1`);
  return free;
}
