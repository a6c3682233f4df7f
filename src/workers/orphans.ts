import { setTimeout as pause } from "node:timers/promises";
import { createBucket } from "../core/bucket.ts";
import { isFailure } from "../core/errors.ts";
import type { RequestId } from "../core/request.ts";
import type { Log } from "../core/stage.ts";
import { type AccountWishes, mayBeMadeWith, type TenantTraits } from "../core/tenant.ts";
import type { Provider, ProviderRequest } from "../provider/client.ts";
import type { Stranger, Strangers } from "../queues/strangers.ts";
import type { Vault } from "../queues/vault.ts";

/** How long after a doubtful creation its orphan may still surface. */
const SUSPECTED_MS = 24 * 3_600_000;
/** Anybody who knows the webhook's address can name numbers, and each is a call to the provider. */
const LOOKS_PER_SECOND = 5;
const LOOK_AGAIN_MS = 100;
/**
 * What a creation made is heard of after the call was about to leave. Of the two moments each is told by the clock of its
 * own host: one that was heard of earlier by no more than this counts as later. `signpipe doctor` warns of clocks that are
 * two seconds apart.
 */
const CLOCKS_APART_MS = 5_000;
/** How long a stage, and the housekeeping, go on looking; the rest is for the next time. */
const FIND_WITHIN_MS = 5_000;
const SWEEP_WITHIN_MS = 50_000;

export type Orphans = ReturnType<typeof createOrphans>;

/**
 * What a look for an orphan has come to. "unclear": one turned up that may as well be another tenant's, so nobody takes
 * it. "unfinished": there was no time left to look at all of them, which says nothing.
 */
export type Search = { is: "found"; request: ProviderRequest } | { is: "none" | "unclear" | "unfinished" };

/**
 * Finds the request that a creation made at the provider although we never heard so. The only trace is a webhook for
 * a request_pk that is nobody's; whether it is about our signer is read at the provider, once per request_pk.
 * Fingerprints are compared, so nothing personal is kept. Of two tenants with the same signer, each gets what was made
 * on its own account, as far as the provider shows whose it is.
 */
export function createOrphans({
  provider,
  strangers,
  vault,
  print,
  whereabouts,
  tenants,
  answerWithinMs,
  log,
  now = Date.now,
}: {
  provider: Provider;
  strangers: Strangers;
  vault: Vault;
  /** Keyed fingerprint of a person. */
  print: (parts: string[]) => string;
  /** The request_pk that a request has, when it has one, whether it is still being created, is over, and on whose account. */
  whereabouts: (
    id: RequestId,
  ) => Promise<{ requestPk: number | undefined; isBeingCreated: boolean; isOver: boolean; wishes: AccountWishes }>;
  /** Whose requests there may be. */
  tenants: { traits: readonly TenantTraits[]; traitsOf: (wishes: AccountWishes) => TenantTraits };
  /** The answer of a creation comes within this, or never. */
  answerWithinMs: number;
  log: Log;
  now?: () => number;
}) {
  const toPrint = (email: string | undefined, phone: string | undefined) =>
    print([(email ?? "").toLowerCase(), (phone ?? "").replaceAll(/[^\d+]/g, "")]);

  const looks = createBucket(LOOKS_PER_SECOND, () => performance.now());

  /**
   * "ours" when this one may ask the provider; the fingerprint when somebody else has asked meanwhile, so that many
   * silences at once are one look at each stranger. Undefined when there was no time left.
   */
  async function turn(requestPk: number, untilMs: number): Promise<"ours" | { print: string } | undefined> {
    for (;;) {
      const print = await strangers.printOf(requestPk);
      if (print !== undefined) return { print };
      if (looks.take()) return "ours";
      if (performance.now() > untilMs) return undefined;
      await pause(LOOK_AGAIN_MS);
    }
  }

  /** Whom the stranger is about; undefined when there was no time left to ask. */
  async function look(
    stranger: Stranger,
    untilMs: number,
    signal: AbortSignal,
  ): Promise<{ print: string; found?: ProviderRequest } | undefined> {
    if (stranger.print !== undefined) return { print: stranger.print };
    const whose = await turn(stranger.requestPk, untilMs);
    if (whose !== "ours") return whose;
    try {
      const found = await provider.getRequest(stranger.requestPk as ProviderRequest["requestPk"], { signal });
      // One that is over already, such as an orphan that was cancelled, is nobody's business.
      const fingerprint = isOver(found) ? "" : toPrint(found.email, found.mobilePhoneNumber);
      await strangers.keepPrint(stranger.requestPk, fingerprint);
      return { print: fingerprint, found };
    } catch (error) {
      if (!isFailure(error, "not-found", "path-unknown")) throw error;
      // Should it be our base path that is wrong, the stranger is looked at again.
      if (isFailure(error, "not-found")) await strangers.keepPrint(stranger.requestPk, "");
      return { print: "" };
    }
  }

  /** While the outcome of a creation is open, what becomes of the stranger is the stage's business. */
  async function isUsedBy(id: RequestId, stranger: number): Promise<boolean> {
    const { requestPk, isBeingCreated } = await whereabouts(id);
    return isBeingCreated || requestPk === stranger;
  }

  /** The request at the provider as it is now; undefined when it is over, or gone. */
  async function read(requestPk: number, signal: AbortSignal): Promise<ProviderRequest | undefined> {
    try {
      const found = await provider.getRequest(requestPk as ProviderRequest["requestPk"], { signal });
      return isOver(found) ? undefined : found;
    } catch (error) {
      if (!isFailure(error, "not-found")) throw error;
      return undefined;
    }
  }

  /**
   * Whether `found`, which is about the person of `id`, was made on the account of `id`: the creations of other tenants,
   * of which one may be under way for the same person, are told by what the provider shows. Nothing has to be told, and
   * what it shows is not asked, where nobody else's account comes into question.
   */
  async function whose(
    found: ProviderRequest,
    id: RequestId,
    print: string,
  ): Promise<"ours" | "another's" | "unclear"> {
    const mine = tenants.traitsOf((await whereabouts(id)).wishes);
    const others = tenants.traits.filter(({ tenant }) => tenant !== mine.tenant);
    for (const suspect of await strangers.suspects()) {
      if (suspect.id === id || suspect.print !== print) continue;
      const theirs = tenants.traitsOf((await whereabouts(suspect.id)).wishes);
      if (theirs.tenant !== mine.tenant) others.push(theirs);
    }
    if (others.length === 0) return "ours";
    if (!mayBeMadeWith(mine, found)) return "another's";
    return others.some((theirs) => mayBeMadeWith(theirs, found)) ? "unclear" : "ours";
  }

  /** Those that stay at the provider because nobody can tell whose they are, and that was said. */
  const told = new Set<number>();

  function tell(requestPk: number): void {
    if (told.has(requestPk)) return;
    told.add(requestPk);
    log.warn({ request_pk: requestPk, code: "orphan-unclear" }, "orphan may be another tenant's: it is left alone");
  }

  async function personOf(id: RequestId): Promise<string | undefined> {
    const person = await vault.read(id);
    return person && toPrint(person.signer.email, person.signer.mobile_phone_number);
  }

  return {
    /**
     * From now on webhooks for unknown requests are looked into, for this one, whose creation was first about to leave
     * at `sinceMs`.
     */
    async suspect(id: RequestId, sinceMs: number): Promise<void> {
      const print = await personOf(id);
      if (print !== undefined) await strangers.suspect({ id, print, sinceMs }, now() + SUSPECTED_MS);
    },

    /**
     * The request at the provider that this one's creation made, when its webhook was seen, and not before the creation
     * was first about to leave (`sinceMs`): then somebody else made it for the same person. It is this one's from now on,
     * and stays so until it was cancelled or this one turns out to have another.
     */
    async find(id: RequestId, sinceMs: number, signal: AbortSignal): Promise<Search> {
      const mine = await personOf(id);
      if (mine === undefined) return { is: "none" };
      const untilMs = performance.now() + FIND_WITHIN_MS;
      let is: "none" | "unclear" | "unfinished" = "none";
      for (const stranger of (await strangers.list(id)).filter((one) => mayStemFrom(sinceMs, one))) {
        const { requestPk } = stranger;
        const looked = await look(stranger, untilMs, signal);
        if (!looked) is = "unfinished"; // it may be the one; others may have been looked at by somebody else
        if (looked?.print !== mine) continue;
        const request = looked.found ?? (await read(requestPk, signal));
        if (!request) {
          // Another one's, which has come to its end since it was looked at.
          if (await strangers.claim(requestPk, id)) await strangers.drop(requestPk);
          continue;
        }
        const owner = await whose(request, id, mine);
        if (owner === "unclear") {
          tell(requestPk);
          if (is === "none") is = owner;
        }
        if (owner === "ours" && (await strangers.claim(requestPk, id))) return { is: "found", request };
      }
      return { is };
    },

    /**
     * Makes what a creation has just answered its request's own. False when another request for the same person, whose
     * own creation was not answered, has taken it for its own meanwhile, because the webhook was faster than the answer.
     */
    async keep(requestPk: number, id: RequestId): Promise<boolean> {
      if (await strangers.claim(requestPk, id)) return true;
      const owner = await strangers.ownerOf(requestPk);
      if (owner === undefined || owner === id) return true;
      // A number that an earlier provider, or simulator, gave to one that is over says nothing.
      const theirs = await whereabouts(owner);
      return !theirs.isBeingCreated && (theirs.isOver || theirs.requestPk !== requestPk);
    },

    /** Cancels an orphan at the provider; it is never used for anything. */
    async cancel(requestPk: ProviderRequest["requestPk"], signal: AbortSignal): Promise<void> {
      await provider.cancel(requestPk, { signal }).catch((error: unknown) => {
        if (!isFailure(error, "not-found", "path-unknown", "wrong-state")) throw error; // gone or cancelled already
      });
      await strangers.drop(requestPk);
      log.warn({ request_pk: requestPk, code: "orphan-cancelled" }, "orphan cancelled");
    },

    /** Cancels orphans that surface after their request was created again. How many. */
    async sweep(signal: AbortSignal): Promise<number> {
      const list = await strangers.all();
      const suspects = list.length === 0 ? [] : await strangers.suspects();
      if (suspects.length === 0) return 0;
      let cancelled = 0;
      const untilMs = performance.now() + SWEEP_WITHIN_MS;
      for (const stranger of list) {
        // A creation for the same person may be under way, and its webhook faster than its answer.
        if (stranger.heardMs > now() - answerWithinMs - CLOCKS_APART_MS) continue;
        if (stranger.owner !== undefined && (await isUsedBy(stranger.owner, stranger.requestPk))) continue;
        const looked = await look(stranger, untilMs, signal);
        for (const { id, print: mine, sinceMs } of suspects) {
          if (mine !== looked?.print || !mayStemFrom(sinceMs, stranger)) continue;
          if (await isUsedBy(id, stranger.requestPk)) continue;
          const found = looked.found ?? (await read(stranger.requestPk, signal));
          if (!found) break;
          const owner = await whose(found, id, mine);
          if (owner === "unclear") tell(stranger.requestPk);
          if (owner !== "ours") continue;
          await this.cancel(stranger.requestPk as ProviderRequest["requestPk"], signal);
          cancelled += 1;
          break;
        }
      }
      return cancelled;
    },
  };
}

function mayStemFrom(sinceMs: number, { heardMs }: Stranger): boolean {
  return heardMs >= sinceMs - CLOCKS_APART_MS;
}

function isOver({ status }: ProviderRequest): boolean {
  return status === "CANCELLED" || status === "ISSUED";
}
