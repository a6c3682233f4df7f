import { z } from "zod";
import { exponential, growing } from "../core/backoff.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { backTo, waitFor, type Waiting } from "../core/outcome.ts";
import { Appearance, FormatFact, RequestPk } from "../core/signing.ts";
import type { Policy } from "./stage.ts";
import { defineStage } from "./stage.ts";
import { whileAtWork } from "./at-work.ts";
import { roomFor } from "./room.ts";
import { SENT_TWICE } from "./otp.ts";
import { Begun, isUploadedLate, Uploaded } from "./upload.ts";

/** After this many wrong codes only a new one is accepted. */
const WRONG_CODES_MOST = 3;

/**
 * Signs, with the code the signer was sent or with the external authentication. Waits until the code is here; a wrong
 * one asks for another.
 *
 * Issues a certificate and binds a person: it is never repeated before the provider was asked whether it had worked, and
 * not begun while the signed documents would not fit on the disk.
 * The code is never a fact: it lives apart for minutes, and is read only here.
 * @source docs/provider.md §Sign
 */
export const sign = defineStage({
  name: "sign",
  title: "Sign",
  needs: z.object({
    requestPk: RequestPk,
    authentication: z.object({ method: z.enum(["sms", "external"]), type: z.string().optional() }),
    appearance: Appearance.optional(),
    format: FormatFact,
    uploaded: z.array(Uploaded).default([]),
    wrongCodes: z.number().int().default(0),
    signAccepted: z.boolean().optional(),
    begun: Begun.optional(),
    resent: z.number().int().default(0),
    otp: z.object({ unknown: z.boolean().optional() }).optional(),
  }),
  gives: z.object({ signedMs: z.number() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "10m",
  concurrency: 50,
  retryFrom: "upload",

  async afterSilence({ requestId, facts, provider, codes, policy, signal, now }, intent) {
    const { status } = await provider.getRequest(facts.requestPk, { signal });
    if (status === "ISSUED") return { signedMs: now() };
    if (status !== "ENROLLREADY") {
      throw new PermanentError(`The request is ${status} at the provider and cannot be signed`, {
        code: "wrong-state",
      });
    }
    const settled = whileAtWork("outcome of the signing", intent, {
      settleMs: policy.signSettleMs,
      now,
      poll: growing("1s", { upTo: "30s" }),
    });
    if (settled !== "repeat") return settled;
    if (intent.tries >= 2 && facts.authentication.method === "sms" && !(await codes.read(requestId))) {
      return theCode(policy, 0, whetherSent(facts));
    }
    return "repeat";
  },

  async run({ requestId, facts, provider, codes, vault, space, policy, effect, signal, now }) {
    const { requestPk, appearance } = facts;
    if (facts.signAccepted) {
      const { status } = await provider.getRequest(requestPk, { signal });
      return status === "ISSUED" ? { signedMs: now() } : issuing();
    }
    const external = facts.authentication.method === "external";
    if (isUploadedLate(facts)) {
      if (external) return backTo("upload", SENT_TWICE);
      // The code is out. Nobody is sent another one unasked: with the one that is asked for, the documents go again.
      await codes.forget(requestId);
      return theCode(policy, WRONG_CODES_MOST, SENT_TWICE.message);
    }
    const secret = external ? (await vault.read(requestId))?.unlock : await codes.read(requestId);
    if (secret === undefined) {
      if (external) throw new PermanentError("The external authentication was erased", { code: "signer-erased" });
      return theCode(policy, facts.wrongCodes, facts.wrongCodes === 0 ? whetherSent(facts) : undefined);
    }
    const proof = external
      ? { ext_unlock_type: facts.authentication.type ?? "", ext_unlock_value: secret }
      : { secret };
    const booking = await space.book(roomFor(facts.uploaded, facts.format));
    try {
      const how = await effect("sign", () =>
        provider.sign(requestPk, { ...proof, ...(appearance && { appearance }) }, { signal }),
      );
      if (how === "accepted") return issuing({ signAccepted: true });
    } catch (error) {
      if (isFailure(error, "code-rejected") && !external) {
        await codes.forget(requestId, secret);
        return theCode(policy, facts.wrongCodes + 1);
      }
      // Nobody but us signs here: that it is signed already means that an earlier call of ours had worked unheard.
      if (!isFailure(error, "already-issued")) throw error;
    } finally {
      booking.release();
    }
    if (!external) await codes.forget(requestId);
    return { signedMs: now() };
  },
});

function theCode(policy: Policy, wrongCodes: number, detail?: string): Waiting {
  const what = wrongCodes === 0 ? "code" : wrongCodes < WRONG_CODES_MOST ? "another code" : "a new OTP";
  return waitFor(what, {
    whose: "signer",
    poll: () => 6 * 3_600_000, // nothing to ask the provider: the code wakes it
    within: policy.signWithinMs,
    ...(detail !== undefined && { detail }),
    facts: { wrongCodes },
  });
}

/** A code is never sent again unasked: whoever looks at the wait must be able to ask. */
function whetherSent({ otp }: { otp?: { unknown?: boolean | undefined } | undefined }): string | undefined {
  if (!otp?.unknown) return undefined;
  return "It is not known whether the code was sent: if the signer has none, have a new one sent (resend)";
}

function issuing(facts?: Record<string, unknown>): Waiting {
  return waitFor("certificate", {
    whose: "provider",
    poll: growing("1s", { upTo: "1m" }),
    within: "24h",
    expires: "failed",
    ...(facts && { facts }),
  });
}
