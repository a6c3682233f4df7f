import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { Former, Order, Ordered, withFormer } from "../core/correction.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { Enclosure } from "../core/identity.ts";
import { DESPITE_CODES, SignedDespite } from "../core/notice.ts";
import { backTo, waitFor } from "../core/outcome.ts";
import { DocumentUid, RequestPk, VideoIdPk } from "../core/signing.ts";
import type { Run } from "../core/stage.ts";
import { forgetFrom } from "../queues/forget.ts";
import { isEvidenceOf, writeEvidence } from "./evidence.ts";
import { Signed } from "./fetch.ts";
import { mustBeOurs } from "./ours.ts";
import { defineStage, type Tools } from "./stage.ts";
import { Uploaded } from "./upload.ts";

const Needs = z.object({
  requestPk: RequestPk.optional(),
  uploaded: z.array(Uploaded).optional(),
  signed: z.array(Signed).optional(),
  signedMs: z.number().optional(),
  fetchedMs: z.number().optional(),
  signedDespite: SignedDespite.optional(),
  enclosures: z.array(Enclosure).default([]),
  /** A creation was given up whose outcome is not known: when it was first about to leave. */
  suspectedOrphan: z.number().optional(),
  /** A person wants another identification in the place of what a failed request keeps at the provider. */
  order: Order.optional(),
  videoidPk: VideoIdPk.optional(),
  former: z.array(Former).default([]),
});
type Facts = z.infer<typeof Needs>;

const Gives = z.object({
  removedMs: z.number().optional(),
  /** The request can no longer be used at the provider: a retry starts a new identification. */
  providerGone: z.boolean().optional(),
  signedMs: z.number().optional(),
  signedDespite: SignedDespite.optional(),
  note: z.string().optional(),
  uploaded: z.null().optional(),
  begun: z.null().optional(),
  providerStatus: z.null().optional(),
  wrongCodes: z.null().optional(),
  fetchedMs: z.null().optional(),
  videoidLink: z.null().optional(),
  contractOf: z.null().optional(),
  order: z.null().optional(),
  ordered: Ordered.optional(),
});

/**
 * Removes the documents at the provider: after success only when every signed file is safe here, looked at again at
 * this very moment, and the evidence names it; after any other end so that nothing of the person is left behind. One
 * that turns out to be signed goes back to have its documents fetched first: what is cancelled cannot be signed any more,
 * so that comes before anything is deleted. Safe to repeat.
 * @source docs/provider.md §Delete, §Guards
 */
export const cleanup = defineStage({
  name: "cleanup",
  title: "Delete the documents at the provider",
  needs: Needs,
  gives: Gives,

  attempts: 500,
  backoff: exponential("5s", { upTo: "15m" }),
  timeout: "10m",
  concurrency: 50,
  retryFrom: "cleanup",
  afterSilence: "repeat",

  async run(run) {
    return run.ending === undefined ? await afterSuccess(run) : await afterAnotherEnd(run);
  },
});

async function afterSuccess(run: Run<Tools, Facts>) {
  const { requestId, facts, provider, documents, results, vault, policy, effect, signal, now } = run;
  const { requestPk, uploaded = [], signed = [], fetchedMs = now() } = facts;
  if (requestPk === undefined)
    throw new PermanentError("There is no request_pk to clean up", { code: "facts-missing" });
  const dueMs = fetchedMs + policy.deleteGraceMs;
  if (now() < dueMs) {
    return waitFor("the grace before deletion", {
      whose: "operator",
      poll: () => Math.max(dueMs - now(), 50),
      within: policy.deleteGraceMs + 86_400_000,
      expires: "failed",
    });
  }
  const fault = await whatIsNotSafe({ requestId, uploaded, signed, results });
  if (fault !== undefined) {
    throw new PermanentError(`${fault}: nothing is deleted at the provider; a retry fetches it again`, {
      code: "signed-file-changed",
    });
  }
  // Without it nobody could show later whose the signed files are, and how they came about.
  if (!isEvidenceOf(await results.readEvidence(requestId), signed)) await writeEvidence(run, {});
  await effect(
    "delete",
    async () => {
      for (const { uid } of uploaded) await provider.deleteDocument(requestPk, DocumentUid.parse(uid), { signal });
      await deleteRest(provider, requestPk, signal);
    },
    { signed },
  );
  const given = { removedMs: now() };
  await writeEvidence(run, given);
  await vault.erase(requestId);
  await documents.erase(facts.enclosures);
  const link = { videoidLink: null }; // nobody may follow it any more
  const steps = { uploaded: null, begun: null, providerStatus: null, wrongCodes: null, fetchedMs: null };
  return { ...given, ...steps, contractOf: null, ...link }; // the evidence has it: what is done is kept short
}

/** Why the documents at the provider have to stay, in one sentence; undefined when each is safe here. */
async function whatIsNotSafe({
  requestId,
  uploaded,
  signed,
  results,
}: {
  requestId: string;
  uploaded: readonly Uploaded[];
  signed: readonly Signed[];
  results: Pick<Tools["results"], "rehash">;
}): Promise<string | undefined> {
  const uids = new Set(uploaded.map(({ uid }) => uid));
  const isOne = uids.size === uploaded.length && signed.length === uploaded.length;
  if (uploaded.length === 0 || !isOne || new Set(signed.map(({ name }) => name)).size !== signed.length) {
    return `There are ${signed.length} signed files for ${uploaded.length} documents`;
  }
  for (const [i, { id, uid }] of uploaded.entries()) {
    const file = signed.find((one) => one.uid === uid);
    if (!file || file.id !== id) return `Document ${i + 1} has no signed file of its own`;
    if (!(await results.rehash(requestId, file))) {
      return `The signed copy of document ${i + 1} is missing or was changed`;
    }
  }
  return undefined;
}

/** Whether deleting a document deletes its signed version is not documented: whatever is left goes as well. */
async function deleteRest(provider: Tools["provider"], requestPk: RequestPk, signal: AbortSignal): Promise<void> {
  try {
    await provider.deleteDocuments(requestPk, { signal });
  } catch (error) {
    // Only the newest reference has this call: each document was deleted by its own, or goes when the request does.
    if (!isFailure(error, "call-unknown")) throw error;
  }
}

async function afterAnotherEnd(run: Run<Tools, Facts>) {
  const { requestId, facts, ending, provider, effect, signal } = run;
  const { requestPk } = facts;
  if (facts.suspectedOrphan !== undefined) await run.orphans.suspect(requestId, facts.suspectedOrphan); // before the signer's data goes
  if (facts.signedMs !== undefined) return await rescue(run, facts.signedMs);
  if (requestPk === undefined) {
    if (isFinal(ending)) await erasePerson(run);
    return { providerGone: true };
  }
  const isRestart = ending === "failed" && facts.order?.kind === "restart";
  const status = await statusOf(run, requestPk);
  if (status === "ISSUED") return await rescue(run, run.now(), isRestart && settled("wrong-state", run)); // not heard of
  // A failed request that is ready at the provider is worth keeping: a retry sends the documents again.
  const isReady = status === "ENROLLREADY" || status === "VIDEOREVIEW" || status === "CREATED";
  const keep = ending === "failed" && isReady && !isRestart;
  const isOver = status === undefined || status === "CANCELLED";
  const { refusal, isSigned } = await effect("delete", async () => {
    const refusal = keep || isOver ? undefined : await cancelAt(provider, requestPk, signal);
    // Not even cancelled: it may have been signed since it was looked at, and these are the only copies.
    if (refusal && (await statusOf(run, requestPk)) === "ISSUED") return { refusal, isSigned: true };
    mustBeOurs(run.isOurs); // by now somebody may have taken it up again
    if (status !== undefined) await deleteRest(provider, requestPk, signal);
    return { refusal, isSigned: false };
  });
  // What was not cancelled can have been signed while it was deleted: then at least that is known.
  const later = isSigned ? "ISSUED" : keep || refusal ? await statusOf(run, requestPk) : "CANCELLED";
  if (later === "ISSUED") return await rescue(run, run.now(), isRestart && settled("wrong-state", run));
  const isLeft = later !== undefined && later !== "CANCELLED";
  const kept = isLeft ? refusal : undefined;
  if (isRestart) return kept ? { providerGone: false, ...settled(kept.code, run) } : beginAnew(run, requestPk);
  if (kept && kept.code !== "wrong-state") throw kept;
  if (isFinal(ending)) await erasePerson(run);
  return { removedMs: run.now(), providerGone: !keep };
}

/** What came of the order to begin anew; refused for `code`, where there is one. */
function settled(code: string | undefined, { now }: Run<Tools, Facts>): { order: null; ordered: Ordered } {
  const how = code === undefined ? ({ outcome: "taken" } as const) : ({ outcome: "refused", code } as const);
  return { order: null, ordered: { kind: "restart", ...how, atMs: now() } };
}

/** The one before is over at the provider: there are never two that could be signed. */
function beginAnew(run: Run<Tools, Facts>, requestPk: RequestPk) {
  const facts = { ...forgetFrom("create"), ...withFormer(run.facts, run.now()), ...settled(undefined, run) };
  return backTo("create", {
    code: "restarted",
    message: "The identification is begun anew; the one before was cancelled at the provider",
    facts,
    note: `restarted: request_pk ${requestPk} is cancelled`,
  });
}

/** Nobody can take up again what ends so. */
function isFinal(ending: string | undefined): boolean {
  return ending === "refused" || ending === "cancelled";
}

/**
 * A signature binds a person and was paid for, whoever has wished otherwise meanwhile: its documents are the only copies,
 * and are fetched as after any other signing. Once: where fetching has failed since it was signed, or nobody knows which
 * documents they are, they stay at the provider, and what happened is told.
 */
async function rescue(run: Run<Tools, Facts>, signedMs: number, order: ReturnType<typeof settled> | false = false) {
  const { request, facts } = run;
  const { ending = "failed", failure = { code: ending, message: `The request was ${ending}`, stage: "" } } = request;
  const { code, message, stage } = failure;
  const signedDespite = facts.signedDespite ?? { ending, code, message };
  const isKnown = facts.requestPk !== undefined && (facts.uploaded ?? []).length > 0;
  if (stage === "fetch" || !isKnown) {
    const isUnheard = facts.signedMs === undefined || facts.signedDespite !== undefined;
    if (isFinal(ending)) await erasePerson(run);
    return {
      signedMs,
      ...(isUnheard && { signedDespite }),
      ...order,
      note: "signed: the documents stay at the provider",
    };
  }
  return backTo("fetch", {
    code: DESPITE_CODES[ending],
    message: "It turned out to be signed: its documents are fetched",
    facts: { signedMs, signedDespite, ...order },
  });
}

/** Who was to sign, and what showed it. Files out of the inbox go back to whoever dropped them, with the rest of their folder. */
async function erasePerson({ requestId, request, facts, vault, documents }: Run<Tools, Facts>): Promise<void> {
  await vault.erase(requestId);
  if (request.source !== "inbox") await documents.erase(facts.enclosures);
}

async function statusOf({ provider, signal }: Run<Tools, Facts>, requestPk: RequestPk): Promise<string | undefined> {
  try {
    return (await provider.getRequest(requestPk, { signal })).status;
  } catch (error) {
    if (isFailure(error, "not-found")) return undefined;
    throw error;
  }
}

/** Why it was not cancelled: "wrong-state" when it is cancelled already, or signed. Undefined when it is over there. */
async function cancelAt(
  provider: Tools["provider"],
  requestPk: RequestPk,
  signal: AbortSignal,
): Promise<PermanentError | undefined> {
  try {
    await provider.cancel(requestPk, { signal });
  } catch (error) {
    // Gone already: what was wanted. The base path is right, or its status would not have been told.
    if (isFailure(error, "not-found", "path-unknown")) return undefined;
    if (error instanceof PermanentError) return error;
    throw error;
  }
  return undefined;
}
