import { z } from "zod";
import { exponential, growing } from "../core/backoff.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { backTo, endAs, type Ended, waitFor, type Waiting } from "../core/outcome.ts";
import { AppearanceFact, FormatFact, Picture, RequestPk } from "../core/signing.ts";
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
 * not begun while the signed documents would not fit on the disk. Where the provider signs behind its answer, nobody
 * publishes how it tells of a failure: what is not signed after a grace counts as one, and only a person's new code
 * begins another signing.
 * The code is never a fact: it lives apart for minutes, and is read only here.
 * @source docs/provider.md §Sign
 */
export const sign = defineStage({
  name: "sign",
  title: "Sign",
  needs: z.object({
    requestPk: RequestPk,
    authentication: z.object({ method: z.enum(["sms", "external"]), type: z.string().optional() }),
    appearance: AppearanceFact.optional(),
    picture: Picture.optional(),
    format: FormatFact,
    uploaded: z.array(Uploaded).default([]),
    wrongCodes: z.number().int().default(0),
    useasync: z.boolean().optional(),
    /** The provider has taken a signing on and not reported about it. */
    signAccepted: z.boolean().optional(),
    /** When it did so last; it stays when the signing was given up. */
    acceptedMs: z.number().optional(),
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
      // What was taken on unheard is carried out behind the answer, which takes longer.
      settleMs: facts.useasync ? Math.max(policy.signSettleMs, policy.asyncGraceMs) : policy.signSettleMs,
      now,
      poll: growing("1s", { upTo: "30s" }),
    });
    if (settled !== "repeat") return settled;
    if (intent.tries >= 2 && facts.authentication.method === "sms" && !(await codes.read(requestId))) {
      return theCode(policy, 0, { detail: whetherSent(facts) });
    }
    return "repeat";
  },

  async run({ requestId, request, facts, provider, codes, vault, space, pictures, policy, effect, signal, now }) {
    const { requestPk, appearance, picture } = facts;
    const external = facts.authentication.method === "external";
    const mayBeSigned = facts.acceptedMs !== undefined || (facts.useasync && facts.begun?.sign !== undefined);
    if (facts.signAccepted || mayBeSigned) {
      // Never a second signing before the state was asked, and before the first one had its time.
      const { status } = await provider.getRequest(requestPk, { signal });
      if (status === "ISSUED") return { signedMs: now() };
      if (status === "CANCELLED") return notSigned("The provider has cancelled what it had taken on to sign");
      if (facts.signAccepted) {
        const sinceMs = facts.acceptedMs ?? request.waiting?.sinceMs ?? now();
        if (status !== "ENROLLREADY" || now() < sinceMs + policy.asyncGraceMs) return issuing();
        if (external) return notSigned("The provider has not signed what it had taken on to sign");
        await codes.forget(requestId);
        return theCode(policy, WRONG_CODES_MOST, { detail: NOT_SIGNED, looks: true, facts: { signAccepted: null } });
      }
    }
    if (isUploadedLate(facts)) {
      if (external) return backTo("upload", SENT_TWICE);
      // The code is out. Nobody is sent another one unasked: with the one that is asked for, the documents go again.
      await codes.forget(requestId);
      return theCode(policy, WRONG_CODES_MOST, { detail: SENT_TWICE.message });
    }
    const person = external ? await vault.read(requestId) : undefined;
    const secret = external ? person?.unlock : await codes.read(requestId);
    if (secret === undefined) {
      if (external) throw new PermanentError("The external authentication was erased", { code: "signer-erased" });
      const looks = facts.acceptedMs !== undefined;
      const detail = facts.wrongCodes === 0 ? whetherSent(facts) : looks ? NOT_SIGNED : undefined;
      return theCode(policy, facts.wrongCodes, { detail, looks });
    }
    const proof = external
      ? {
          ext_unlock_type: facts.authentication.type ?? "",
          ext_unlock_value: secret,
          ...(person?.secret !== undefined && { secret: person.secret }),
        }
      : { secret };
    const look = async () => {
      if (!appearance) return {};
      return { appearance: picture ? { ...appearance, image: await pictures.uidOf(picture, signal) } : appearance };
    };
    const signIt = async () => {
      const given = { ...proof, ...(await look()) };
      return await effect("sign", () => provider.sign(requestPk, given, { signal }));
    };
    const booking = await space.book(roomFor(facts.uploaded, facts.format));
    try {
      const how = await signIt().catch(async (error: unknown) => {
        // Refused before anything was signed. Should the code be used up all the same, the next answer says so.
        if (!picture || !isFailure(error, "image-missing")) throw error;
        await pictures.forget(picture);
        return await signIt();
      });
      if (how === "accepted") return issuing({ signAccepted: true, acceptedMs: now() });
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

/** What a signer is told whose code led to no signature although the provider had taken it. */
const NOT_SIGNED =
  "The provider took the code and has not signed: it may have been wrong. Have a new one sent (resend); should the provider sign after all, that is noticed";

function theCode(
  policy: Policy,
  wrongCodes: number,
  {
    detail,
    looks = false,
    facts,
  }: { detail?: string | undefined; looks?: boolean; facts?: Record<string, unknown> } = {},
): Waiting {
  const what = wrongCodes === 0 ? "code" : wrongCodes < WRONG_CODES_MOST ? "another code" : "a new OTP";
  return waitFor(what, {
    whose: "signer",
    // Mostly there is nothing to ask the provider: the code wakes it.
    poll: looks ? growing("1m", { upTo: policy.longestPauseMs() }) : () => 6 * 3_600_000,
    within: policy.signWithinMs,
    ...(detail !== undefined && { detail }),
    facts: { wrongCodes, ...facts },
  });
}

function notSigned(message: string): Ended {
  return endAs("failed", { code: "async-signing-failed", message });
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
