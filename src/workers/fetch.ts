import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { Waiting } from "../core/outcome.ts";
import { ResultFile } from "../core/request.ts";
import { FormatFact, RequestPk } from "../core/signing.ts";
import type { Content } from "../files/content.ts";
import { digestOf } from "../files/hash-file.ts";
import { signedName } from "../files/names.ts";
import { RECOGNISED, verifyDetached, verifySigned } from "../files/verify.ts";
import { writeEvidence } from "./evidence.ts";
import { waitForFile } from "./late-file.ts";
import { roomFor } from "./room.ts";
import { rethrowSpoilt } from "./spoilt.ts";
import { defineStage } from "./stage.ts";
import { KINDS, Uploaded } from "./upload.ts";

/** A signed document that was verified and stored durably. */
export const Signed = ResultFile.extend({
  /** Reference of the original in the document store. */
  id: z.string(),
  uid: z.string(),
  /** What it was recognised by as the original, signed; left out where it continues its bytes. */
  recognisedBy: z.enum(RECOGNISED).exclude(["bytes"]).optional(),
});
export type Signed = z.infer<typeof Signed>;

/**
 * Brings the signed documents home: each is verified against its original and stored durably; of a document whose hash
 * was signed, the signature. Safe to repeat; nothing is deleted here.
 * @source docs/provider.md §Signed documents, §Hash
 */
export const fetchSigned = defineStage({
  name: "fetch",
  title: "Fetch and verify the signed documents",
  needs: z.object({ requestPk: RequestPk, format: FormatFact, uploaded: z.array(Uploaded).min(1) }),
  gives: z.object({ signed: z.array(Signed), fetchedMs: z.number() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "30m",
  concurrency: 20,
  retryFrom: "fetch",
  afterSilence: "repeat",

  async run(run) {
    const { requestId, facts, provider, documents, results, space, policy, attempt, signal, now } = run;
    const signed: Signed[] = [];
    const taken = new Set(["contract.pdf", "evidence.json"]);
    const { format } = facts;
    const kind = KINDS[format];
    const spoilt = (error: unknown) => rethrowSpoilt(error, attempt);
    for (const document of facts.uploaded) {
      const name = signedName(document.name, taken, format);
      let recognisedBy: Signed["recognisedBy"];
      const verify = async (content: Content) => {
        if (format === "cms") return await verifyDetached(content, digestOf(document));
        const original = { ...document, path: documents.path(document) };
        const { incremental, compare } = policy;
        const verified = await verifySigned(content, { original, incremental, compare, signal });
        recognisedBy = verified.recognisedBy === "bytes" ? undefined : verified.recognisedBy;
        return verified;
      };
      const fetchIt = async () => {
        // What is signed comes home first: it may use what intake and new signatures must leave free.
        const booking = await space.book(roomFor([document], format), { mayUseReserve: true });
        try {
          const { body } = await provider.signedDocument(facts.requestPk, document.uid, { kind, signal });
          return await results.store(requestId, name, body, verify, { evidenceFollows: true });
        } finally {
          booking.release();
        }
      };
      const waitForIt = (error: unknown) =>
        waitForFile("signed documents", error, { provider, requestPk: facts.requestPk, signal });
      const file =
        (await results.existing(requestId, name, verify)) ?? (await fetchIt().catch(spoilt).catch(waitForIt));
      if (file instanceof Waiting) return file;
      signed.push({ ...file, id: document.id, uid: document.uid, ...(recognisedBy && { recognisedBy }) });
    }

    const given = { signed, fetchedMs: now() };
    await writeEvidence(run, given);
    return given;
  },
});
