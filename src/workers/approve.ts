import { z } from "zod";
import { exponential, growing } from "../core/backoff.ts";
import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { endAs, waitFor, type Waiting } from "../core/outcome.ts";
import { Approval, RequestPk, VideoIdPk } from "../core/signing.ts";
import { whileAtWork } from "./at-work.ts";
import { afterOrder, carryOut, OrderFacts } from "./orders.ts";
import { defineStage, type Policy } from "./stage.ts";

/** What a decision about an identification at the provider needs to be carried out. */
const AtProvider = z.object({ requestPk: RequestPk, videoidPk: VideoIdPk });

const Decision = z.object({
  kind: z.enum(["approve", "refuse"]),
  by: z.string(),
  atMs: z.number(),
  /** What the vault has the reason of this very refusal under. */
  reason: z.templateLiteral(["reason", z.string()]).optional(),
});

/**
 * Has the RAO's decision carried out: approval makes the request ready for documents, refusal ends it. Without a
 * policy of "auto" it waits for a person, and who decided is recorded. A classic request is not at the provider yet,
 * which approves it as it is created.
 * @source docs/provider.md §Approve, §Refuse
 */
export const approve = defineStage({
  name: "approve",
  title: "Have a registration officer decide",
  needs: z.object({
    ...OrderFacts.shape,
    providerStatus: z.string().optional(),
    approval: Approval.optional(),
    decision: Decision.optional(),
    /** The provider did not let us approve: a validation by somebody there comes before it. */
    unvalidated: z.boolean().optional(),
  }),
  gives: z.object({ approvedMs: z.number(), approvedBy: z.string() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "approve",

  async afterSilence(run, intent) {
    const { facts, provider, policy, signal, now } = run;
    const there = atProvider(facts);
    if (intent.effect === "cancel" || intent.effect === "update") {
      return await afterOrder({ ...run, facts: { ...facts, ...there } }, intent);
    }
    const { status } = await provider.getRequest(there.requestPk, { signal });
    if (intent.effect === "refuse" && status === "CANCELLED") return refused(facts.decision?.by);
    if (intent.effect === "approve" && (status === "ENROLLREADY" || status === "ISSUED")) {
      return { approvedMs: now(), approvedBy: facts.decision?.by ?? "policy:auto" };
    }
    return whileAtWork("outcome of the decision", intent, { settleMs: policy.settleMs, now });
  },

  async run(run) {
    const { requestId, request, facts, provider, account, vault, policy, effect, signal, now } = run;
    const { decision } = facts;
    const auto = !decision && (facts.approval ?? policy.approval) === "auto";
    if (request.workflow === "classic") {
      if (decision?.kind === "refuse") return refused(decision.by);
      if (!decision && !auto) return waitForRao(policy);
      return { approvedMs: now(), approvedBy: decision?.by ?? "policy:auto" };
    }
    const { requestPk, videoidPk } = atProvider(facts);
    const carried = await carryOut({ ...run, facts: { ...facts, requestPk } }, (news) => waitForRao(policy, news));
    if (carried) return carried;
    let actsOn = facts.providerStatus;
    if (!auto || actsOn !== "VIDEOREVIEW" || facts.unvalidated) {
      const { status } = await provider.getRequest(requestPk, { signal });
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
      actsOn = status;
    }
    if (!decision && !auto) return waitForRao(policy);
    if (facts.unvalidated && actsOn === "VIDEOREVIEW" && decision?.kind !== "refuse") return waitForValidation(policy);
    const { rao } = account(facts);
    try {
      if (decision?.kind === "refuse") {
        const reason = (await vault.readNote(requestId, decision.reason ?? "reason")) ?? "Refused";
        await effect("refuse", () => provider.refuse(videoidPk, rao, reason, { signal }), { decision });
        return refused(decision.by);
      }
      await effect("approve", () => provider.approve(videoidPk, rao, { signal }), {
        ...(decision && { decision }),
      });
      return { approvedMs: now(), approvedBy: decision?.by ?? "policy:auto" };
    } catch (error) {
      if (!isFailure(error, "wrong-state")) throw error;
      const { status } = await provider.getRequest(requestPk, { signal });
      if (decision?.kind === "refuse") {
        // What is validated may take no refusal any more: the cleanup cancels it, which ends it as well.
        if (status === "CANCELLED" || status === "CREATED") return refused(decision.by);
      } else if (status === "ENROLLREADY") return { approvedMs: now(), approvedBy: "provider" };
      else if (status === "VIDEOREVIEW") return waitForValidation(policy);
      else if (status === "CREATED" && actsOn !== "CREATED") {
        throw new RetryableError("The identification was validated while it was approved: it is approved once more", {
          code: "wrong-state",
          cause: error,
        });
      }
      throw new PermanentError(`The request is ${status} at the provider: the decision came too late`, {
        code: "wrong-state",
        cause: error,
      });
    }
  },
});

function atProvider(facts: object): z.infer<typeof AtProvider> {
  const read = AtProvider.safeParse(facts);
  if (read.success) return read.data;
  throw new PermanentError("There is no identification at the provider to decide about", { code: "facts-missing" });
}

/** With news of an order, it is looked at again at once. */
function waitForRao(policy: Policy, news?: { facts: Record<string, unknown>; note: string }): Waiting {
  return waitFor("approval", {
    whose: "RAO",
    poll: news ? () => 0 : growing("30s", { upTo: policy.longestPauseMs() }),
    within: policy.approveWithinMs,
    ...news,
  });
}

/**
 * The provider takes no approval of what it holds in review: there, somebody validates first. It is not asked again
 * before its status has changed.
 * @source docs/provider.md §Statuses
 */
function waitForValidation(policy: Policy): Waiting {
  return waitFor("validation", {
    whose: "provider",
    poll: growing("30s", { upTo: policy.longestPauseMs() }),
    within: policy.approveWithinMs,
    facts: { unvalidated: true },
  });
}

function refused(by = "the provider") {
  return endAs("refused", { code: "refused", message: `The identification was refused by ${by}` });
}
