import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { Enclosure } from "../core/identity.ts";
import { RequestPk, VideoIdPk } from "../core/signing.ts";
import { toFiles, toPictures } from "./enclosures.ts";
import { defineStage } from "./stage.ts";

/** In these the provider still takes evidences; whatever else it is, the next stage knows what to do about it. */
const OPEN = ["VIDEOPENDING", "VIDEOINCOMPLETE"];

/**
 * Sends what shows that the caller identified the signer: data and pictures, then the video. Safe to repeat: the same
 * again takes its own place, and nothing is sent once the provider has all it needs.
 * @source docs/provider.md §Evidences
 */
export const evidences = defineStage({
  name: "evidences",
  title: "Send the evidences of the identification",
  needs: z.object({ requestPk: RequestPk, videoidPk: VideoIdPk, enclosures: z.array(Enclosure).default([]) }),
  gives: z.object({ evidencesMs: z.number() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "30m",
  concurrency: 20,
  retryFrom: "evidences",
  afterSilence: "repeat",

  async run({ requestId, facts, provider, documents, vault, effect, isOurs, signal, now }) {
    const { status } = await provider.getRequest(facts.requestPk, { signal });
    if (!OPEN.includes(status)) return { evidencesMs: now() };
    const { identification } = (await vault.read(requestId)) ?? {};
    if (!identification?.ocr_data) throw new PermanentError("The signer's data was erased", { code: "signer-erased" });
    const { acceptance, ocr_data, ...found } = identification;
    const files = toFiles(facts.enclosures, { documents, isOurs });
    const images = toPictures(files, ["document_front", "document_rear", "document_photo", "document_owner"]);
    const { video } = files;
    try {
      await effect("evidences", () =>
        provider.uploadEvidences(
          facts.videoidPk,
          { acceptance, videoid_data: { images, ocr_data, ...found } },
          { signal },
        ),
      );
      if (video) await effect("video", () => provider.uploadVideo(facts.videoidPk, video, { signal }));
    } catch (error) {
      // What came so far has settled it, such as a check that did not hold: the next stage reads how.
      if (!isFailure(error, "wrong-state")) throw error;
    }
    return { evidencesMs: now() };
  },
});
