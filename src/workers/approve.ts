import { z } from "zod";
import { exponential, growing } from "../core/backoff.ts";
import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { endAs, waitFor, type Waiting } from "../core/outcome.ts";
import { Approval, RequestPk, VideoIdPk } from "../core/signing.ts";
import { AccountWishes } from "../core/tenant.ts";
import { whileAtWork } from "./at-work.ts";
import { defineStage, type Policy } from "./stage.ts";

/** What a decision about an identification at the provider needs to be carried out. */
const AtProvider = z.object({ requestPk: RequestPk, videoidPk: VideoIdPk });

const Decision = z.object({ kind: z.enum(["approve", "refuse"]), by: z.string(), atMs: z.number() });

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
    ...AtProvider.partial().shape,
    providerStatus: z.string().optional(),
    approval: Approval.optional(),
    decision: Decision.optional(),
    ...AccountWishes.shape,
  }),
  gives: z.object({ approvedMs: z.number(), approvedBy: z.string() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "approve",

  async afterSilence({ facts, provider, policy, signal, now }, intent) {
    const { status } = await provider.getRequest(atProvider(facts).requestPk, { signal });
    if (intent.effect === "refuse" && status === "CANCELLED") return refused(facts.decision?.by);
    if (intent.effect === "approve" && (status === "ENROLLREADY" || status === "ISSUED")) {
      return { approvedMs: now(), approvedBy: facts.decision?.by ?? "policy:auto" };
    }
    return whileAtWork("outcome of the decision", intent, { settleMs: policy.settleMs, now });
  },

  async run({ requestId, request, facts, provider, account, vault, policy, effect, signal, now }) {
    const { decision } = facts;
    const auto = !decision && (facts.approval ?? policy.approval) === "auto";
    if (request.workflow === "classic") {
      if (decision?.kind === "refuse") return refused(decision.by);
      if (!decision && !auto) return waitForRao(policy);
      return { approvedMs: now(), approvedBy: decision?.by ?? "policy:auto" };
    }
    const { requestPk, videoidPk } = atProvider(facts);
    if (!auto || facts.providerStatus !== "VIDEOREVIEW") {
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
    }
    if (!decision && !auto) return waitForRao(policy);
    const { rao } = account(facts);
    try {
      if (decision?.kind === "refuse") {
        const reason = (await vault.readNote(requestId, "reason")) ?? "Refused";
        await effect("refuse", () => provider.refuse(videoidPk, rao, reason, { signal }), { decision });
        return refused(decision.by);
      }
      await effect("approve", () => provider.approve(videoidPk, rao, { signal }), {
        ...(decision && { decision }),
      });
      return { approvedMs: now(), approvedBy: decision?.by ?? "policy:auto" };
    } catch (error) {
      if (!isFailure(error, "wrong-state")) throw error;
      // Somebody else decided in between, or the status was older than we knew: the next attempt reads it again.
      const { status } = await provider.getRequest(requestPk, { signal });
      if (status === "ENROLLREADY" && decision?.kind !== "refuse") return { approvedMs: now(), approvedBy: "provider" };
      if (status === "CANCELLED" && decision?.kind === "refuse") return refused(decision.by);
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

function waitForRao(policy: Policy): Waiting {
  return waitFor("approval", {
    whose: "RAO",
    poll: growing("30s", { upTo: policy.longestPauseMs() }),
    within: policy.approveWithinMs,
  });
}

function refused(by = "the provider") {
  return endAs("refused", { code: "refused", message: `The identification was refused by ${by}` });
}
