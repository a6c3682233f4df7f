import { z } from "zod";
import { exponential, growing } from "../core/backoff.ts";
import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { endAs, waitFor } from "../core/outcome.ts";
import { Approval, RequestPk, VideoIdPk } from "../core/signing.ts";
import { whileAtWork } from "./at-work.ts";
import { defineStage } from "./stage.ts";

const Decision = z.object({
  kind: z.enum(["approve", "refuse"]),
  by: z.string(),
  atMs: z.number(),
  /** What the vault has the reason of this very refusal under. */
  reason: z.templateLiteral(["reason", z.string()]).optional(),
});

/**
 * Has the RAO's decision carried out: approval makes the request ready for documents, refusal ends it. Without a
 * policy of "auto" it waits for a person, and who decided is recorded.
 * @source docs/provider.md §Approve, §Refuse
 */
export const approve = defineStage({
  name: "approve",
  title: "Have a registration officer decide",
  needs: z.object({
    requestPk: RequestPk,
    videoidPk: VideoIdPk,
    providerStatus: z.string(),
    approval: Approval.optional(),
    decision: Decision.optional(),
    profile: z.string().optional(),
    registrationAuthority: z.string().optional(),
  }),
  gives: z.object({ approvedMs: z.number(), approvedBy: z.string() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "approve",

  async afterSilence({ facts, provider, policy, signal, now }, intent) {
    const { status } = await provider.getRequest(facts.requestPk, { signal });
    if (intent.effect === "refuse" && status === "CANCELLED") return refused(facts.decision?.by);
    if (intent.effect === "approve" && (status === "ENROLLREADY" || status === "ISSUED")) {
      return { approvedMs: now(), approvedBy: facts.decision?.by ?? "policy:auto" };
    }
    return whileAtWork("outcome of the decision", intent, { settleMs: policy.settleMs, now });
  },

  async run({ requestId, facts, provider, account, vault, policy, effect, signal, now }) {
    const { decision } = facts;
    const auto = !decision && (facts.approval ?? policy.approval) === "auto";
    if (!auto || facts.providerStatus !== "VIDEOREVIEW") {
      const { status } = await provider.getRequest(facts.requestPk, { signal });
      if (status === "ENROLLREADY") return { approvedMs: now(), approvedBy: "provider" };
      if (status === "CANCELLED") {
        return endAs("cancelled", {
          code: "cancelled-at-provider",
          message: "The request was cancelled or refused at the provider",
        });
      }
      if (status !== "VIDEOREVIEW" && status !== "CREATED") {
        throw new RetryableError(`The request is ${status} at the provider, which cannot be approved`, {
          code: "wrong-state",
        });
      }
    }
    if (!decision && !auto) {
      return waitFor("approval", {
        whose: "RAO",
        poll: growing("30s", { upTo: policy.longestPauseMs() }),
        within: policy.approveWithinMs,
      });
    }
    const { rao } = account(facts);
    try {
      if (decision?.kind === "refuse") {
        const reason = (await vault.readNote(requestId, decision.reason ?? "reason")) ?? "Refused";
        await effect("refuse", () => provider.refuse(facts.videoidPk, rao, reason, { signal }), { decision });
        return refused(decision.by);
      }
      await effect("approve", () => provider.approve(facts.videoidPk, rao, { signal }), {
        ...(decision && { decision }),
      });
      return { approvedMs: now(), approvedBy: decision?.by ?? "policy:auto" };
    } catch (error) {
      if (!isFailure(error, "wrong-state")) throw error;
      // Somebody else decided in between, or the status was older than we knew: the next attempt reads it again.
      const { status } = await provider.getRequest(facts.requestPk, { signal });
      if (status === "ENROLLREADY" && decision?.kind !== "refuse") return { approvedMs: now(), approvedBy: "provider" };
      if (status === "CANCELLED" && decision?.kind === "refuse") return refused(decision.by);
      throw new PermanentError(`The request is ${status} at the provider: the decision came too late`, {
        code: "wrong-state",
        cause: error,
      });
    }
  },
});

function refused(by = "the provider") {
  return endAs("refused", { code: "refused", message: `The identification was refused by ${by}` });
}
