import { randomBytes } from "node:crypto";
import {
  AT_PROVIDER_ONLY,
  type Correction,
  corrected,
  fieldsOf,
  type Order,
  type Ordered,
  Reminded,
  withFormer,
} from "../core/correction.ts";
import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { contentOf, refusesDuplicates, type RequestId, type SignRequest } from "../core/request.ts";
import { isEnd } from "../core/status.ts";
import type { OrderOf } from "../core/workflow.ts";
import { under } from "./calls.ts";
import { forgetFrom } from "./forget.ts";
import type { Queues } from "./queues.ts";
import { type createSeen, documentsOf, printsOfRequest } from "./seen.ts";
import type { Change, Store } from "./store.ts";
import { personOf, type Vault } from "./vault.ts";

/** Where an identification is awaited or decided about. */
const IDENTIFYING: readonly string[] = ["identify", "approve"];

/**
 * What people can do about an identification that does not come about: have the signer reminded, have data corrected,
 * begin a new one. What concerns the provider is an order that stands in the record: the stage that has the request
 * carries it out, so that no call is made beside it.
 */
export function createIdentification({
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
}: {
  store: Store;
  queues: Queues;
  vault: Vault;
  seen: ReturnType<typeof createSeen>;
  masterKey: Uint8Array;
  orderOf: OrderOf;
  /** Resolves once Redis knows all that the journal knows. */
  opened: () => Promise<unknown>;
  refuseSecondTry: (request: SignRequest) => Promise<void>;
  notNow: (request: SignRequest, what: string) => PermanentError;
  now: () => number;
}) {
  /** Whether nobody has decided, asked for, or begun anything that an order would come in the way of. */
  function isFree({ phase, ending, intent, facts }: SignRequest): boolean {
    return !isEnd(phase) && !ending && !intent && facts["decision"] === undefined && facts["order"] === undefined;
  }

  /** Whether it is over without a signature, and nothing of it is left at the provider. */
  function isGone({ phase, facts }: SignRequest): boolean {
    const isLeftOver = facts["signedMs"] !== undefined || facts["cleanupFailed"] !== undefined;
    if ((phase !== "failed" && phase !== "expired") || isLeftOver) return false;
    return facts["requestPk"] === undefined || facts["providerGone"] === true;
  }

  /** Whether it has failed, and is kept at the provider for a retry: identified, and not signed. */
  function isKept({ workflow, phase, facts }: SignRequest): boolean {
    const isLeftOver = facts["signedMs"] !== undefined || facts["cleanupFailed"] !== undefined;
    if (workflow === "classic" || phase !== "failed" || isLeftOver) return false;
    return facts["requestPk"] !== undefined && facts["providerGone"] !== true;
  }

  /** Whether a correction concerns nobody but us: the provider has no request, or not yet. */
  function isOursAlone(request: SignRequest): boolean {
    const isNotYetThere = request.workflow === "classic" && request.stage === "approve" && isFree(request);
    return isGone(request) || isNotYetThere;
  }

  function isAtProvider(request: SignRequest): boolean {
    const { workflow, stage, facts } = request;
    if (workflow === "classic" || facts["requestPk"] === undefined) return false;
    return IDENTIFYING.includes(stage) && isFree(request);
  }

  /**
   * The documents count as the corrected signer's as well, so that they are not signed as another request. Which these were:
   * one that joins before the correction is written down would be nobody's.
   */
  function createClaim(correction: Correction) {
    let claimed: string | undefined;
    const print = (request: SignRequest) => documentsOf(request).map(contentOf).join();
    return {
      async take(request: SignRequest): Promise<void> {
        await claim(request, correction);
        claimed = print(request);
      },
      mustHold(fresh: SignRequest): void {
        if (claimed === undefined || claimed === print(fresh)) return;
        throw new RetryableError(`A document has just joined request ${fresh.id}; try again`, { code: "contended" });
      },
    };
  }

  async function claim(request: SignRequest, correction: Correction): Promise<void> {
    const person = await personOf(vault, request.id);
    const prints = printsOfRequest(masterKey, request, corrected(person.signer, correction));
    if (!refusesDuplicates(request.source)) return await seen.mark(request.id, prints);
    const other = await seen.claim(request.id, prints, documentsOf(request));
    if (!other) return;
    const message = `Request ${other.id} has a document of this one for the corrected signer: it is not signed twice`;
    throw new PermanentError(message, { code: "not-possible-now" });
  }

  async function correctHere(
    id: RequestId,
    correction: Correction,
    { by, call }: { by: string; call: string | undefined },
  ): Promise<SignRequest> {
    const elsewhere = AT_PROVIDER_ONLY.find((name) => correction[name] !== undefined);
    if (elsewhere !== undefined) {
      const message = `${elsewhere} is kept by the provider alone, which has no request ${id} now: leave it out`;
      throw new PermanentError(message, { code: "not-possible-now" });
    }
    const fields = fieldsOf(correction);
    const documents = createClaim(correction);
    return await store.change(
      id,
      under(call, (fresh): Change => {
        if (!isOursAlone(fresh)) throw notNow(fresh, "corrected");
        documents.mustHold(fresh);
        const atMs = now();
        const ordered: Ordered = { kind: "correction", outcome: "taken", fields, atMs };
        return { event: "note", patch: { facts: { ordered } }, by, note: `correction: ${fields.join(", ")}`, atMs };
      }),
      async () => {
        await documents.take(await store.get(id));
        const person = await vault.read(id);
        if (person) await vault.replaceSigner(id, corrected(person.signer, correction));
      },
    );
  }

  async function correctThere(
    id: RequestId,
    correction: Correction,
    { by, call }: { by: string; call: string | undefined },
  ): Promise<SignRequest> {
    const note = `correction-${randomBytes(6).toString("hex")}` as const;
    const fields = fieldsOf(correction);
    const documents = createClaim(correction);
    try {
      return await store.change(
        id,
        under(call, (fresh): Change => {
          if (!isAtProvider(fresh)) throw notNow(fresh, "corrected");
          documents.mustHold(fresh);
          const order: Order = { kind: "correction", atMs: now(), note, fields };
          const told = `correction: ${fields.join(", ")}`;
          return { event: "note", patch: { facts: { order } }, by, note: told, nudge: true };
        }),
        async () => {
          await documents.take(await store.get(id));
          await vault.keepNote(id, note, JSON.stringify(correction));
        },
      );
    } catch (error) {
      // Kept and not accepted: it is nobody's.
      if (error instanceof PermanentError || isFailure(error, "contended")) await vault.dropNote(id, note);
      throw error;
    }
  }

  return {
    async remind(id: RequestId, by: string, call?: string): Promise<SignRequest> {
      await opened();
      const decideNow = (fresh: SignRequest): Change => {
        const { stage, phase, ending, facts } = fresh;
        const isAwaited = stage === "identify" && !isEnd(phase) && !ending && facts["order"] === undefined;
        if (!isAwaited || typeof facts["videoidLink"] !== "string") throw notNow(fresh, "reminded of");
        const atMs = Math.max(now(), fresh.updatedMs);
        const count = (Reminded.safeParse(facts["reminded"]).data?.count ?? 0) + 1;
        const patch = { facts: { reminded: { count, atMs } satisfies Reminded } };
        return { event: "note", patch, by, note: "reminded", nudge: true, atMs };
      };
      const reminded = await store.change(id, under(call, decideNow));
      await queues.promote(reminded.stage, id);
      return reminded;
    },

    async correct(id: RequestId, correction: Correction, by: string, call?: string): Promise<SignRequest> {
      await opened();
      const request = await store.get(id);
      if (isOursAlone(request)) return await correctHere(id, correction, { by, call });
      const noted = await correctThere(id, correction, { by, call });
      await queues.promote(noted.stage, id);
      return noted;
    },

    async restart(id: RequestId, by: string, call?: string): Promise<SignRequest> {
      await opened();
      await refuseSecondTry(await store.get(id));
      const decideNow = (fresh: SignRequest): Change => {
        const { workflow } = fresh;
        if (isAtProvider(fresh)) {
          const order: Order = { kind: "restart", atMs: now() };
          return { event: "note", patch: { facts: { order } }, by, note: "restart", nudge: true };
        }
        if (isKept(fresh)) {
          // What is kept is cancelled first, by the stage that has always ended it; then it begins anew.
          const order: Order = { kind: "restart", atMs: now() };
          const patch = { ending: "failed" as const, waiting: null, intent: null, facts: { order } };
          return { event: "requeue", to: orderOf(workflow).at(-1) ?? "", patch, by, note: "restart" };
        }
        if (workflow === "classic" || !isGone(fresh)) throw notNow(fresh, "begun anew");
        const facts = { ...forgetFrom("create", orderOf(workflow)), ...withFormer(fresh.facts, now()) };
        const patch = { ending: null, failure: null, waiting: null, intent: null, facts };
        return { event: "requeue", to: "create", patch, by, note: "restart" };
      };
      const restarted = await store.change(id, under(call, decideNow));
      if (IDENTIFYING.includes(restarted.stage)) {
        await queues.promote(restarted.stage, id);
        return restarted;
      }
      await queues.moveTo(restarted.stage, id);
      return restarted;
    },
  };
}
