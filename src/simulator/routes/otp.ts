import { randomInt } from "node:crypto";
import { objectBody, pathInteger, textOf, violation } from "../bodies.ts";
import { guard, hashOfPhone, note, requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal, said } from "../envelopes.ts";
import type { Handlers } from "../operations.ts";

/** @source docs/provider.md §OTP */
export const otpHandlers = (context: Context) =>
  ({
    generateOtp(call) {
      const method = call.body === undefined ? undefined : textOf(objectBody(call.body), "delivery_method");
      if (method !== undefined && method !== "sms" && method !== "whatsapp") {
        throw violation("literal_error", "delivery_method", "Input should be 'sms' or 'whatsapp'");
      }
      const pk = pathInteger(call.params, "request_pk");
      const request = requestOr(context, pk, `Request ${pk} not found. Cannot send OTP secret`);
      guard(request, "otp");
      const now = context.clock.now();
      if (request.otp && now - request.otp.at < context.settings.otpGuardMs) {
        note(context, "otp-rejected", request, { reason: "too-soon" });
        throw new Refusal(412, "Error occured during OTP generation: Otp generated less than a minute ago");
      }
      const code = String(randomInt(1_000_000)).padStart(6, "0");
      request.otp = { code, at: now, wrong: 0 };
      const at = new Date(now).toISOString();
      const message = { request_pk: pk, phone: request.phone, code, delivery_method: method ?? "sms", at };
      context.outbox.add(message);
      context.kept.save("message", `${pk} ${now}`, message);
      note(context, "otp", request, { phone_sha256: hashOfPhone(request.phone) });
      return said("OTP generated");
    },
  }) satisfies Handlers;
