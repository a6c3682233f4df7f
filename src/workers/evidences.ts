import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { PermanentError } from "../core/errors.ts";
import { ENCLOSURES } from "../core/identity.ts";
import { StoredDocument } from "../core/request.ts";
import { RequestPk, VideoIdPk } from "../core/signing.ts";
import { whileOurs } from "./ours.ts";
import { defineStage } from "./stage.ts";

/** A file that shows who the signer is. */
export const Enclosure = StoredDocument.extend({ name: z.enum(ENCLOSURES) });
export type Enclosure = z.infer<typeof Enclosure>;

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
    const person = await vault.read(requestId);
    if (!person?.identification) throw new PermanentError("The signer's data was erased", { code: "signer-erased" });
    const { identification } = person;
    const toFile = (file: Enclosure) => ({ ...file, open: () => whileOurs(documents.open(file), isOurs) });
    const images = facts.enclosures.filter(({ name }) => name !== "video").map(toFile);
    const video = facts.enclosures.find(({ name }) => name === "video");
    await effect("evidences", () =>
      provider.uploadEvidences(facts.videoidPk, { ...identification, images }, { signal }),
    );
    if (video) await effect("video", () => provider.uploadVideo(facts.videoidPk, toFile(video), { signal }));
    return { evidencesMs: now() };
  },
});
