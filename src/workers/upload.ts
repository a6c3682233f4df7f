import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { Bundle, waitsForMore } from "../core/bundle.ts";
import { waitFor } from "../core/outcome.ts";
import { type SignRequest, StoredDocument } from "../core/request.ts";
import { DocumentUid, type Format, FormatFact, RequestPk } from "../core/signing.ts";
import type { UploadFile } from "../provider/multipart.ts";
import { whileAtWork } from "./at-work.ts";
import { toHashUpload } from "./hash-upload.ts";
import { mustBeOurs, whileOurs } from "./ours.ts";
import { defineStage } from "./stage.ts";

const OUTCOME = "outcome of the upload";
const MORE = "more documents";
const HOUR_MS = 3_600_000;
/** The stages at which a document that comes late to the provider would be signed as well. */
const UNSIGNED = ["upload", "contract", "otp", "sign"];

/** Costly calls begun so far, by name, and uploads that ended after another worker had the request. */
export const Begun = z.object({
  upload: z.number().optional(),
  sign: z.number().optional(),
  lateUpload: z.number().optional(),
});

/** Whether an upload has ended since the documents at the provider were last deleted and sent. */
export function isUploadedLate({
  begun,
  resent,
}: {
  begun?: z.infer<typeof Begun> | undefined;
  resent: number;
}): boolean {
  return (begun?.lateUpload ?? 0) > resent;
}

/** What the provider is given of a document, by what is to come back. @source docs/provider.md §Upload, §Hash */
export const KINDS = { pades: "pdf", cms: "hash" } as const satisfies Record<Format, UploadFile["kind"]>;

/** A document at the provider. */
export const Uploaded = StoredDocument.extend({ uid: DocumentUid });
export type Uploaded = z.infer<typeof Uploaded>;

/**
 * Sends the request's documents to the provider, all in one call, or hashes of them, each in one of its own; afterwards
 * each has the provider's uid.
 *
 * A request of an inbox that bundles waits here until its time for further documents is over.
 *
 * The provider cannot list what it holds, and a document that is there twice is signed twice: after silence all of
 * them are deleted and the whole set is sent again.
 * @source docs/provider.md §Upload, §Hash
 */
export const upload = defineStage({
  name: "upload",
  title: "Upload the documents",
  needs: z.object({
    requestPk: RequestPk,
    documents: z.array(StoredDocument).min(1).max(10),
    format: FormatFact,
    bundle: Bundle.optional(),
    begun: Begun.optional(),
    lateUploadMs: z.number().optional(),
  }),
  gives: z.object({
    uploaded: z.array(Uploaded),
    /** The late uploads whose documents were deleted before these were sent. */
    resent: z.number().int().optional(),
  }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "30m",
  concurrency: 20,
  retryFrom: "upload",

  async afterSilence({ request: { waiting }, policy, now }, intent) {
    // An upload may go on for as long as its worker has the request: the time runs from the first look after it.
    const looked = waiting?.for === OUTCOME && waiting.sinceMs >= intent.atMs;
    const atMs = looked ? waiting.sinceMs : Math.max(now(), intent.atMs);
    return whileAtWork(OUTCOME, { ...intent, atMs }, { settleMs: policy.settleMs, now });
  },

  late({ stage, facts }: SignRequest, madeWith, nowMs) {
    if (!UNSIGNED.includes(stage) || facts["requestPk"] !== madeWith["requestPk"]) return undefined;
    const begun = Begun.loose().parse(facts["begun"] ?? {});
    return { begun: { ...begun, lateUpload: (begun.lateUpload ?? 0) + 1 }, lateUploadMs: nowMs };
  },

  async run({ request, facts, provider, documents, policy, effect, isOurs, signal, now }) {
    const { bundle } = facts;
    if (bundle && waitsForMore(bundle, facts.documents.length, now())) {
      // Whoever joins leaves word; the last one that it can take cuts the wait short. Each is a look at the same wait,
      // whose time runs from its beginning.
      const { waiting } = request;
      const sinceMs = waiting?.for === MORE ? waiting.sinceMs : now();
      return waitFor(MORE, {
        whose: "sender",
        poll: () => Math.max(bundle.untilMs - now(), 50),
        within: bundle.untilMs - sinceMs + HOUR_MS,
        expires: "failed",
      });
    }
    if (facts.lateUploadMs !== undefined) {
      const late = whileAtWork(OUTCOME, { atMs: facts.lateUploadMs }, { settleMs: policy.settleMs, now });
      if (late !== "repeat") return late;
    }
    const files: UploadFile[] = [];
    for (const [i, document] of facts.documents.entries()) {
      if (facts.format === "cms") files.push(await toHashUpload(document, i, { documents, isOurs }));
      else {
        const { name, sizeBytes, sha256 } = document;
        files.push({ name, sizeBytes, sha256, open: () => whileOurs(documents.open(document), isOurs) });
      }
    }
    // What an earlier upload may have left there would be signed as well. It is deleted under the intent: whoever stood
    // still, or whose deletion comes late, would delete what another one has sent, and even what was signed meanwhile.
    // Any trace of an earlier one counts.
    const isFirst = !facts.begun?.upload && !facts.begun?.lateUpload && request.intent?.effect !== "upload";
    const uids = await effect("upload", async () => {
      if (!isFirst) await provider.deleteDocuments(facts.requestPk, { signal });
      mustBeOurs(isOurs);
      return await provider.upload(facts.requestPk, files, { signal });
    });
    return {
      uploaded: facts.documents.map((document, i) => ({ ...document, uid: DocumentUid.parse(uids[i]) })),
      ...(facts.begun?.lateUpload !== undefined && { resent: facts.begun.lateUpload }),
    };
  },
});
