import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { isFailure } from "../core/errors.ts";
import { RequestPk } from "../core/signing.ts";
import { defineStage } from "./stage.ts";

/**
 * Within this time of a doubtful sending the provider's own guard (no second code within a minute) still holds, so
 * asking again cannot send a second message. Fifteen seconds are left for the clock and the way.
 * @source docs/provider.md §OTP
 */
const GUARDED_MS = 45_000;

const Otp = z.object({
  sentMs: z.number(),
  /** Messages sent for this request. */
  count: z.number().int(),
  /** Nobody knows whether the last one was sent; the signer does. */
  unknown: z.boolean().optional(),
});

/** Has the provider send a one-time code to the signer's phone. With an external authentication there is none. */
export const otp = defineStage({
  name: "otp",
  title: "Send the code to the signer",
  needs: z.object({
    requestPk: RequestPk,
    authentication: z.object({ method: z.enum(["sms", "external"]) }),
    otp: Otp.optional(),
  }),
  gives: z.object({ otp: Otp.optional(), wrongCodes: z.number().int() }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "60s",
  concurrency: 50,
  retryFrom: "upload",

  async afterSilence({ facts, provider, effect, signal, now }, { firstMs }) {
    const count = (facts.otp?.count ?? 0) + 1;
    if (now() - firstMs < GUARDED_MS) {
      try {
        await effect("otp", () => provider.otp(facts.requestPk, { signal }));
        return { otp: { sentMs: now(), count }, wrongCodes: 0 };
      } catch (error) {
        if (!isFailure(error, "otp-too-soon")) throw error;
        return { otp: { sentMs: firstMs, count }, wrongCodes: 0 }; // the guard speaks: it was sent
      }
    }
    return { otp: { sentMs: firstMs, count, unknown: true }, wrongCodes: 0 };
  },

  async run({ facts, provider, effect, signal, now }) {
    if (facts.authentication.method === "external") return { wrongCodes: 0 };
    await effect("otp", () => provider.otp(facts.requestPk, { signal }));
    return { otp: { sentMs: now(), count: (facts.otp?.count ?? 0) + 1 }, wrongCodes: 0 };
  },
});
