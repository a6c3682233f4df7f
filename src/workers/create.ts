import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { PermanentError } from "../core/errors.ts";
import { waitFor } from "../core/outcome.ts";
import { RequestPk, VideoIdPk } from "../core/signing.ts";
import { mustBeOurs } from "./ours.ts";
import { defineStage } from "./stage.ts";

/**
 * Opens the video identification request at the provider; afterwards there is a link for the signer.
 *
 * The call costs money and cannot be repeated without making a second request, and the provider has no search: after
 * silence the only trace is the webhook of a request that nobody has.
 * @source docs/provider.md §Create VideoID, docs/adr/0004
 */
export const create = defineStage({
  name: "create",
  title: "Open the video identification",
  needs: z.object({ profile: z.string().optional(), registrationAuthority: z.string().optional() }),
  gives: z.object({ requestPk: RequestPk, videoidPk: VideoIdPk, videoidLink: z.string().optional() }),

  attempts: 200,
  backoff: exponential("1s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "create",

  async afterSilence({ requestId, orphans, policy, isOurs, signal, now }, intent) {
    await orphans.suspect(requestId, intent.firstMs);
    const found = await orphans.find(requestId, intent.firstMs, signal);
    if (found?.videoidPk !== undefined && found.videoidLink) {
      return { requestPk: found.requestPk, videoidPk: found.videoidPk, videoidLink: found.videoidLink };
    }
    if (found) {
      // Without its videoid_pk it can never be approved: it goes, and a new one comes.
      mustBeOurs(isOurs); // another worker may have heard more of it meanwhile, and use it
      await orphans.cancel(found.requestPk, signal);
      return "repeat";
    }
    const graceOverMs = intent.atMs + policy.createGraceMs;
    if (now() < graceOverMs) {
      return waitFor("word of the creation", {
        whose: "provider",
        poll: () => Math.min(Math.max(graceOverMs - now(), 100), 60_000),
        within: policy.createGraceMs + 3_600_000,
        expires: "failed",
      });
    }
    if (intent.tries < 2) return "repeat";
    throw new PermanentError(
      "Two creations were not answered, and it is not known whether either worked: cancel what the provider has of this signer, then retry",
      { code: "unknown-outcome", effect: "unknown" },
    );
  },

  async run({ requestId, facts, provider, account, vault, effect, signal }) {
    const person = await vault.read(requestId);
    if (!person) throw new PermanentError("The signer's data was erased", { code: "signer-erased" });
    const forAccount = account(facts);
    const { email, mobile_phone_number } = person.signer;
    return await effect("create", () => provider.createVideoId({ email, mobile_phone_number }, forAccount, { signal }));
  },
});
