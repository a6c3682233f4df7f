import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { PermanentError } from "../core/errors.ts";
import { waitFor } from "../core/outcome.ts";
import { Enclosure } from "../core/identity.ts";
import type { Run } from "../core/stage.ts";
import { RequestPk, type Signer, VideoIdPk } from "../core/signing.ts";
import { AccountWishes } from "../core/tenant.ts";
import type { RequestSigner } from "../provider/provider.ts";
import { takenByAnother } from "../queues/holding.ts";
import { personOf } from "../queues/vault.ts";
import { toFiles, toPictures } from "./enclosures.ts";
import { mustBeOurs } from "./ours.ts";
import { defineStage, type Tools } from "./stage.ts";

/** Creations that were taken back do not count among the unanswered, up to here: a provider that never answers is no case. */
const CREATIONS_MOST = 4;
/** When a look goes on that had no time left. */
const LOOK_ON_MS = 5_000;

const Needs = z.object({
  ...AccountWishes.shape,
  useasync: z.boolean().optional(),
  enclosures: z.array(Enclosure).default([]),
  /** How often each call was begun. */
  begun: z.record(z.string(), z.number()).nullish(),
});

/**
 * Opens the request at the provider. With a video identification there is a link for the signer afterwards; a classic
 * one is registered and approved at once.
 *
 * The call costs money and cannot be repeated without making a second request, and the provider has no search: after
 * silence the only trace is the webhook of a request that nobody has.
 * @source docs/provider.md §Create VideoID, §Create, docs/adr/0004
 */
export const create = defineStage({
  name: "create",
  title: "Open the request at the provider",
  needs: Needs,
  gives: z.object({ requestPk: RequestPk, videoidPk: VideoIdPk.optional(), videoidLink: z.string().optional() }),

  attempts: 200,
  backoff: exponential("1s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "create",

  async afterSilence({ requestId, request, facts, orphans, policy, isOurs, signal, now }, intent) {
    await orphans.suspect(requestId, intent.firstMs);
    const search = await orphans.find(requestId, intent.firstMs, signal);
    const found = search.is === "found" ? search.request : undefined;
    if (found && request.workflow === "classic" && found.status === "ENROLLREADY") {
      return { requestPk: found.requestPk };
    }
    if (found?.videoidPk !== undefined && found.videoidLink) {
      return { requestPk: found.requestPk, videoidPk: found.videoidPk, videoidLink: found.videoidLink };
    }
    if (found) {
      // Without its videoid_pk, or an approval, it can never be signed: it goes, and a new one comes.
      mustBeOurs(isOurs); // another worker may have heard more of it meanwhile, and use it
      await orphans.cancel(found.requestPk, signal);
      return (facts.begun?.["create"] ?? 0) < CREATIONS_MOST ? "undone" : "repeat";
    }
    const graceOverMs = intent.atMs + policy.createGraceMs;
    // However long it takes: what has not been looked at may be what was paid for.
    const isUnfinished = search.is === "unfinished";
    if (isUnfinished || now() < graceOverMs) {
      return waitFor("word of the creation", {
        whose: "provider",
        poll: () => (isUnfinished ? LOOK_ON_MS : Math.min(Math.max(graceOverMs - now(), 100), 60_000)),
        within: policy.createGraceMs + 3_600_000,
        expires: "failed",
        ...(search.is === "unclear" && { detail: "one is there that may be another tenant's" }),
      });
    }
    if (search.is === "unclear") {
      throw new PermanentError(
        "A request of this signer is at the provider that may be this one's or another tenant's: find out whose it is, cancel it there if it is this one's, then retry",
        { code: "unknown-outcome", effect: "unknown" },
      );
    }
    if (intent.tries < 2) return "repeat";
    throw new PermanentError(
      "Two creations were not answered, and it is not known whether either worked: cancel what the provider has of this signer, then retry",
      { code: "unknown-outcome", effect: "unknown" },
    );
  },

  async run(run) {
    const { requestId, request, facts, provider, account, vault, effect, signal } = run;
    const { signer } = await personOf(vault, requestId);
    if (request.workflow === "classic") return await createClassic(run, signer);
    const forAccount = account(facts);
    const { email, mobile_phone_number } = signer;
    const person = { email, mobile_phone_number };
    const opened = await effect("create", () => provider.createVideoId(person, forAccount, { signal }));
    if (await run.orphans.isTaken(opened.requestPk, requestId)) throw takenByAnother();
    return opened;
  },
});

async function createClassic(run: Run<Tools, z.infer<typeof Needs>>, signer: Signer) {
  const { requestId, facts, provider, account, documents, orphans, policy, effect, isOurs, signal, now } = run;
  const files = toFiles(facts.enclosures, { documents, isOurs });
  const creation = {
    signer: toRequestSigner(signer),
    documents: {
      ...toPictures(files, ["document_front", "document_rear", "document_owner"]),
      ...(files.extra_document && { extra_document: files.extra_document }),
    },
    ...(facts.useasync && { asynchronous: { callback: policy.asyncCallback } }),
  };
  const forAccount = account(facts);
  const sinceMs = now();
  try {
    const { requestPk } = await effect("create", () => provider.createRequest(creation, forAccount, { signal }));
    if (await orphans.isTaken(requestPk, requestId)) throw takenByAnother();
    return { requestPk };
  } catch (error) {
    // Registered and not approved, it may have been left behind: it is cancelled when a webhook tells of it.
    if (error instanceof PermanentError && error.effect === "unknown") await orphans.suspect(requestId, sinceMs);
    throw error;
  }
}

/** The manifest has checked that what this workflow needs is there. */
function toRequestSigner({ given_name = "", surname_1 = "", ...rest }: Signer): RequestSigner {
  return { given_name, surname_1, ...rest };
}
