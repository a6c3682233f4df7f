import { randomInt } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { objectBody, pathInteger, textOf, violation } from "../bodies.ts";
import { guard, hashOfPhone, requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal, success } from "../envelopes.ts";
import type { Request } from "../store.ts";

/** Whether this is the code of the last OTP, in time and not void; a wrong one counts. A new OTP voids the former. */
export function acceptsCode(context: Context, request: Request, secret: string): boolean {
  const { otp } = request;
  if (!otp) return false;
  const { otpLifetimeMs, otpAttempts } = context.settings;
  if (context.clock.now() - otp.at > otpLifetimeMs || otp.wrong >= otpAttempts) return false;
  if (otp.code === secret) return true;
  otp.wrong++;
  return false;
}

export function otpRoutes(app: FastifyInstance, context: Context): void {
  app.post("/otp/:request_pk", { config: { operation: "generateOtp" } }, (call, reply) => {
    const method = call.body === undefined ? undefined : textOf(objectBody(call.body), "delivery_method");
    if (method !== undefined && method !== "sms" && method !== "whatsapp") {
      throw violation("literal_error", "delivery_method", "Input should be 'sms' or 'whatsapp'");
    }
    const pk = pathInteger(call.params, "request_pk");
    const request = requestOr(context, pk, `Request ${pk} not found. Cannot send OTP secret`);
    guard(request, "otp");
    const now = context.clock.now();
    if (request.otp && now - request.otp.at < context.settings.otpGuardMs) {
      context.ledger.add("otp-rejected", { request_pk: pk, reason: "too-soon" });
      throw new Refusal(412, "Error occured during OTP generation: Otp generated less than a minute ago");
    }
    const code = String(randomInt(1_000_000)).padStart(6, "0");
    request.otp = { code, at: now, wrong: 0 };
    const at = new Date(now).toISOString();
    context.outbox.add({ request_pk: pk, phone: request.phone, code, delivery_method: method ?? "sms", at });
    context.ledger.add("otp", { request_pk: pk, phone_sha256: hashOfPhone(request.phone) });
    return reply.send(success("OTP generated"));
  });
}
