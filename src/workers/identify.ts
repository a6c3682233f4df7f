import { z } from "zod";
import { exponential, growing } from "../core/backoff.ts";
import { endAs, waitFor } from "../core/outcome.ts";
import { Enclosure, EVIDENCES } from "../core/identity.ts";
import { RequestPk } from "../core/signing.ts";
import { afterOrder, carryOut, OrderFacts } from "./orders.ts";
import { defineStage } from "./stage.ts";

/**
 * Waits until the signer has identified on video. A webhook makes it fast, a look every now and then makes it certain.
 * Meanwhile people may have the data corrected, or have it begun anew.
 * @source docs/provider.md §Statuses
 */
export const identify = defineStage({
  name: "identify",
  title: "Wait for the signer's video identification",
  needs: z.object({ ...OrderFacts.shape, requestPk: RequestPk, enclosures: z.array(Enclosure).default([]) }),
  gives: z.object({ identifiedMs: z.number(), providerStatus: z.string() }),

  attempts: 500,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "identify",
  afterSilence: afterOrder,

  async run(run) {
    const { requestId, request, facts, provider, policy, log, signal, now } = run;
    const isExternal = request.workflow === "videoid-external";
    const whose = isExternal ? "provider" : "signer";
    const within = policy.identifyWithinMs;
    const carried = await carryOut(run, (news) => waitFor("identification", { whose, within, poll: () => 0, ...news }));
    if (carried) return carried;
    const { status } = await provider.getRequest(facts.requestPk, { signal });
    const poll = growing("2s", { upTo: policy.longestPauseMs() });
    const identification = (detail: string) => waitFor("identification", { whose, within, poll, detail });
    switch (status) {
      case "VIDEOREVIEW":
      case "CREATED": // a separate validation was made at the provider: an approval is still due
      case "ENROLLREADY": // an operator of the provider approved it
        return { identifiedMs: now(), providerStatus: status };
      case "VIDEOERROR":
        return endAs("failed", {
          code: "videoid-error",
          message: "The video identification failed at the provider; a retry starts a new one",
        });
      case "CANCELLED":
        return endAs("cancelled", {
          code: "cancelled-at-provider",
          message: "The request was cancelled or refused at the provider",
        });
      case "ISSUED":
        return endAs("failed", {
          code: "signed-elsewhere",
          message: "The request was signed by somebody else before its documents were uploaded",
        });
      case "VIDEOPENDING":
      case "VIDEOINCOMPLETE":
        return identification(isExternal ? `${status}${whatIsMissing(facts.enclosures)}` : status);
      default:
        log.warn({ requestId, stage: "identify", code: "unknown-status" }, "provider status is not known");
        return identification("unknown status");
    }
  },
});

/** The provider says that evidences are incomplete, and not what it lacks; what we were not given is the likely reason. */
function whatIsMissing(enclosures: readonly Enclosure[]): string {
  const missing = EVIDENCES.filter((role) => !enclosures.some(({ name }) => name === role));
  return missing.length === 0 ? "" : `; not handed in: ${missing.join(", ")}`;
}
