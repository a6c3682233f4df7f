import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { StoredDocument } from "../core/request.ts";
import { DocumentUid, RequestPk } from "../core/signing.ts";
import { whileAtWork } from "./at-work.ts";
import { defineStage } from "./stage.ts";

/** A document at the provider. */
export const Uploaded = StoredDocument.extend({ uid: DocumentUid });
export type Uploaded = z.infer<typeof Uploaded>;

/**
 * Sends the request's documents to the provider, all in one call; afterwards each has the provider's uid.
 *
 * The provider cannot list what it holds, and a document that is there twice is signed twice: after silence all of
 * them are deleted and the whole set is sent again.
 * @source docs/provider.md §Upload
 */
export const upload = defineStage({
  name: "upload",
  title: "Upload the documents",
  needs: z.object({
    requestPk: RequestPk,
    documents: z.array(StoredDocument).min(1).max(10),
    /** Costly calls begun so far, by name. */
    begun: z.object({ upload: z.number().optional() }).optional(),
  }),
  gives: z.object({ uploaded: z.array(Uploaded) }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "30m",
  concurrency: 20,
  retryFrom: "upload",

  async afterSilence({ policy, now }, intent) {
    return whileAtWork("outcome of the upload", intent, { settleMs: policy.settleMs, now });
  },

  async run({ facts, provider, documents, effect, signal }) {
    // What an earlier upload may have left there would be signed as well.
    if (facts.begun?.upload) await provider.deleteDocuments(facts.requestPk, { signal });
    const files = facts.documents.map((document) => ({
      name: document.name,
      sizeBytes: document.sizeBytes,
      sha256: document.sha256,
      open: () => documents.open(document),
    }));
    const uids = await effect("upload", () => provider.upload(facts.requestPk, files, { signal }));
    return {
      uploaded: facts.documents.map((document, i) => ({ ...document, uid: DocumentUid.parse(uids[i]) })),
    };
  },
});
