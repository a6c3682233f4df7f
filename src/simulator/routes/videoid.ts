import type { FastifyInstance } from "fastify";
import { numberOrText, objectBody, pathInteger, textOf } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import { hashOfPhone, move } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal, success } from "../envelopes.ts";
import { approve } from "../humans.ts";
import { checkRao, raoFrom } from "../rao.ts";
import { mayMove } from "../states.ts";
import type { NewRequest, Request } from "../store.ts";

const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const INTERNATIONAL_PHONE = /^(\+|00)[1-9][\d ]{5,18}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Texts and codes of a refused creation. @source docs/provider.md §Create VideoID */
function newRequest(context: Context, body: Body): NewRequest {
  const phone = textOf(body, "mobile_phone_number");
  const email = textOf(body, "email");
  const registrationAuthority = numberOrText(body, "registration_authority");
  const profile = textOf(body, "profile");
  const billingUsername = textOf(body, "billing_username");
  const billingPassword = textOf(body, "billing_password");
  const env = textOf(body, "env");
  if (!phone || !email || !registrationAuthority || !profile || !billingUsername || !billingPassword) {
    throw new Refusal(400, "Missing required parameters");
  }
  if (env === undefined && context.settings.requireEnv) {
    throw new Refusal(400, "Missing env parameter. Please set it in settings or specify it as parameter");
  }
  if (env !== undefined && env !== "sandbox" && env !== "prod")
    throw new Refusal(400, `Environment ${env} does not exist`);
  if (!INTERNATIONAL_PHONE.test(phone)) {
    throw new Refusal(400, "Please use the mobile phone number with an international prefix");
  }
  if (!EMAIL.test(email)) throw new Refusal(400, "Enter a valid email address");
  checkBilling(context, billingUsername, billingPassword);
  if (context.credentials.registrationAuthorities?.includes(registrationAuthority) === false) {
    throw new Refusal(404, "Registration Authority not found");
  }
  return { phone, email, registrationAuthority, profile };
}

function checkBilling(context: Context, username: string, password: string): void {
  if (!BASE64.test(password))
    throw new Refusal(500, "Billing credentials not valid. Please check if they are base64 encoded");
  const known = context.credentials.billing;
  if (!known) return;
  if (username !== known.username || Buffer.from(password, "base64").toString("utf8") !== known.password) {
    throw new Refusal(500, "Cannot check the remaining credit for the billing user. Please check the credentials");
  }
}

function videoidOf(context: Context, params: unknown): Request {
  const request = context.store.byVideoid.get(pathInteger(params, "videoid_pk"));
  if (!request) throw new Refusal(404, "Request not found");
  return request;
}

export function videoidRoutes(app: FastifyInstance, context: Context): void {
  app.post("/videoid", { config: { operation: "createVideoId" } }, (call, reply) => {
    const facts = newRequest(context, objectBody(call.body));
    const request = context.store.create(facts, context.clock.now());
    context.ledger.add("create", {
      request_pk: request.pk,
      videoid_pk: request.videoidPk,
      status: request.status,
      phone_sha256: hashOfPhone(request.phone),
    });
    context.webhooks.notify(request, "REQUEST_CREATED", undefined);
    context.humans.after(request);
    const detail = {
      videoid_pk: request.videoidPk,
      videoid_link: `${context.origin()}/identify/${context.store.linkOf(request)}`,
      request_pk: request.pk,
    };
    // The misspelt key is the published one.
    reply.code(context.settings.createStatus);
    return reply.send({ status: "success", messsage: `VideoID created with pk ${request.videoidPk}`, detail });
  });

  app.post("/videoid/:videoid_pk/approve", { config: { operation: "approveVideoId" } }, (call, reply) => {
    const rao = raoFrom(context, objectBody(call.body));
    const request = videoidOf(context, call.params);
    checkRao(context, rao);
    if (approve(context, request) === "wrong-state") throw new Refusal(412, "Invalid request status");
    return reply.send(success("Request approved successfully"));
  });

  app.post("/videoid/:videoid_pk/refuse", { config: { operation: "refuseVideoId" } }, (call, reply) => {
    const body = objectBody(call.body);
    const rao = raoFrom(context, body);
    if (textOf(body, "reason") === undefined) throw new Refusal(400, "No reason specified");
    const request = videoidOf(context, call.params);
    checkRao(context, rao);
    if (!mayMove(request.status, "refuse")) throw new Refusal(412, "Invalid request status");
    move(context, request, "refuse");
    context.ledger.add("refuse", { request_pk: request.pk, videoid_pk: request.videoidPk, status: request.status });
    return reply.send(success("Videoid refuse completed"));
  });
}
