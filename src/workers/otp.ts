import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { Bundle } from "../core/bundle.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { backTo } from "../core/outcome.ts";
import { StoredDocument } from "../core/request.ts";
import { Delivery, FormatFact, Picture, RequestPk } from "../core/signing.ts";
import { roomFor } from "./room.ts";
import { defineStage } from "./stage.ts";
import { Begun, isUploadedLate, Uploaded } from "./upload.ts";

/**
 * Within this time of a doubtful sending the provider's own guard (no second code within a minute) still holds, so
 * asking again cannot send a second message. Fifteen seconds are left for the clock and the way.
 * @source docs/provider.md §OTP
 */
const GUARDED_MS = 45_000;

/** Documents are sent again this often before a person has to look. */
const RESEALED_MOST = 2;

/** No call lists what is there: a document that was sent twice is seen by nothing but this. */
export const SENT_TWICE = {
  code: "late-upload",
  message: "An upload that was given up may have come through after all: the documents are sent again",
  facts: { uploaded: null, contract: null },
};

const INCOMPLETE = {
  code: "documents-joined",
  message: "Not all documents of the request are at the provider yet: they are sent again",
  facts: { uploaded: null, contract: null },
};

/** Whether the documents at the provider are those of the request. */
function isWhole({ documents, uploaded }: Record<"documents" | "uploaded", readonly { id: string }[]>): boolean {
  return documents.length === uploaded.length && documents.every(({ id }, i) => uploaded[i]?.id === id);
}

const Otp = z.object({
  sentMs: z.number(),
  /** Messages sent for this request. */
  count: z.number().int(),
  /** Nobody knows whether the last one was sent; the signer does. */
  unknown: z.boolean().optional(),
});

/**
 * Has the image of the visible signature stored at the provider, so that nobody is sent a code with which that would
 * then be missing. Looks once more whether the provider holds exactly the documents that were sent, then has it send a one-time code to
 * the signer's phone. With an external authentication there is no code, and the look remains.
 */
export const otp = defineStage({
  name: "otp",
  title: "Send the code to the signer",
  needs: z.object({
    requestPk: RequestPk,
    authentication: z.object({ method: z.enum(["sms", "external"]), delivery: Delivery.optional() }),
    otp: Otp.optional(),
    format: FormatFact,
    picture: Picture.optional(),
    bundle: Bundle.optional(),
    documents: z.array(StoredDocument.pick({ id: true })).default([]),
    uploaded: z.array(Uploaded).min(1),
    /** How often the documents at the provider were not the ones that were sent. */
    sealBroken: z.number().int().default(0),
    begun: Begun.optional(),
    resent: z.number().int().default(0),
  }),
  gives: z.object({ otp: Otp.optional(), wrongCodes: z.number().int() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "10m", // the documents are fetched back, and may be large
  concurrency: 50,
  retryFrom: "upload",

  async afterSilence({ facts, provider, effect, signal, now }, { firstMs }) {
    const count = (facts.otp?.count ?? 0) + 1;
    if (now() - firstMs < GUARDED_MS) {
      try {
        await effect("otp", () =>
          provider.otp(facts.requestPk, { signal, deliveryMethod: facts.authentication.delivery }),
        );
        return { otp: { sentMs: now(), count }, wrongCodes: 0 };
      } catch (error) {
        if (!isFailure(error, "otp-too-soon")) throw error;
        return { otp: { sentMs: firstMs, count }, wrongCodes: 0 }; // the guard speaks: it was sent
      }
    }
    return { otp: { sentMs: firstMs, count, unknown: true }, wrongCodes: 0 };
  },

  async run({ facts, provider, seal, space, pictures, effect, signal, now }) {
    // A code is good for minutes: nobody is sent one with which nothing could be signed.
    await space.need(roomFor(facts.uploaded, facts.format));
    if (isUploadedLate(facts)) return backTo("upload", SENT_TWICE);
    // Whoever signs signs what is there: all that have joined have to be.
    if (facts.bundle && !isWhole(facts)) return backTo("upload", INCOMPLETE);
    if (seal && (await seal.check(facts.requestPk, facts.uploaded, signal, facts.format)) === "broken") {
      const message = "The provider does not hold exactly the documents that were sent";
      if (facts.sealBroken >= RESEALED_MOST) throw new PermanentError(message, { code: "seal-broken" });
      const again = { sealBroken: facts.sealBroken + 1, uploaded: null, contract: null };
      return backTo("upload", { code: "seal-broken", message: `${message}: they are sent again`, facts: again });
    }
    if (facts.picture) await pictures.makeSure(facts.picture, signal);
    if (facts.authentication.method === "external") return { wrongCodes: 0 };
    const deliveryMethod = facts.authentication.delivery;
    await effect("otp", () => provider.otp(facts.requestPk, { signal, deliveryMethod }));
    return { otp: { sentMs: now(), count: (facts.otp?.count ?? 0) + 1 }, wrongCodes: 0 };
  },
});
