import type { FastifyRequest } from "fastify";
import {
  accountFrom,
  checkAuthority,
  checkBilling,
  checkConfiguration,
  checkEnvironment,
  checkMayCreate,
  EMAIL,
  INTERNATIONAL_PHONE,
} from "../account.ts";
import { numberOrText, objectBody, pathInteger, textOf } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import { hashOfPhone, note } from "../context.ts";
import type { Context } from "../context.ts";
import { gave, Refusal, said } from "../envelopes.ts";
import type { Answer } from "../envelopes.ts";
import { approve, refuse, validate } from "../humans.ts";
import type { Generation, Handler, Handlers } from "../operations.ts";
import { checkRao, raoFrom } from "../rao.ts";
import type { NewRequest, Request } from "../store.ts";

/** Texts and codes of a refused creation. @source docs/provider.md §Create VideoID */
function newRequest(context: Context, body: Body, generation: Generation): NewRequest {
  const { settings, optimizer } = context;
  const phone = textOf(body, "mobile_phone_number");
  const email = textOf(body, "email");
  const account = accountFrom(context, body);
  const { registrationAuthority, profile, billingUsername, billingPassword, env } = account;
  if (!phone || !email || !registrationAuthority || !profile || !billingUsername || !billingPassword) {
    throw new Refusal(400, "Missing required parameters");
  }
  checkEnvironment(context, env);
  if (!INTERNATIONAL_PHONE.test(phone)) {
    throw new Refusal(400, "Please use the mobile phone number with an international prefix");
  }
  if (!EMAIL.test(email)) throw new Refusal(400, "Enter a valid email address");
  checkMayCreate(context, registrationAuthority);
  checkBilling(context, account);
  checkAuthority(context, registrationAuthority);
  if (settings.lastCallerWins) {
    Object.assign(optimizer.request, { default_profile: profile, default_ra: registrationAuthority });
    Object.assign(optimizer.billing, { billing_username: billingUsername, billing_password: billingPassword });
    if (env !== undefined) optimizer.general.environment = env;
    context.kept.save("optimizer", "", optimizer);
  }
  // Only the first generation has these two in its call. @source docs/provider.md §Sources: first-generation reference
  const first = generation === "first" ? body : {};
  const notifyUrl = textOf(first, "webhook_url");
  const mode = numberOrText(first, "videoid_mode") ?? String(settings.videoidMode);
  if (mode !== "1" && mode !== "2") throw new Refusal(400, "Missing required parameters");
  return {
    phone,
    email,
    registrationAuthority,
    profile,
    videoidMode: mode === "2" ? 2 : 1,
    ...(notifyUrl !== undefined && { notifyUrl }),
  };
}

/** The request of a path. The first generation calls the number `request_pk`, and some of its clients sent the other. */
export function videoidOf({ settings, store }: Context, { params }: FastifyRequest, generation: Generation): Request {
  const isFirst = generation === "first";
  const pk = pathInteger(params, isFirst ? "request_pk" : "videoid_pk");
  const takes = isFirst ? settings.firstIds : "videoid_pk";
  const byRequest = takes === "videoid_pk" ? undefined : store.requests.get(pk);
  const request = byRequest ?? (takes === "request_pk" ? undefined : store.byVideoid.get(pk));
  if (!request) throw new Refusal(404, "Request not found");
  return request;
}

function created(context: Context, request: Request): Answer {
  const link = `${context.origin()}/identify/${context.store.linkOf(request)}`;
  const detail = {
    videoid_pk: request.videoidPk,
    videoid_link: context.settings.videoidLink === "given" ? link : "",
    request_pk: request.pk,
  };
  // The misspelt key is the published one.
  return gave(detail, {
    key: "detail",
    message: `VideoID created with pk ${request.videoidPk}`,
    misspelt: true,
    http: { newest: context.settings.createStatus },
  });
}

/** What a RAO decides: who it is is asked before the request is looked for, and whether that may decide after it. */
function decided(
  context: Context,
  decide: (context: Context, request: Request, rao?: string) => ReturnType<typeof approve>,
  text: string,
): Handler {
  return (call, _reply, generation) => {
    const rao = raoFrom(context, objectBody(call.body));
    const request = videoidOf(context, call, generation);
    checkRao(context, rao);
    checkConfiguration(context);
    if (decide(context, request, rao.rao) === "wrong-state") throw new Refusal(412, "Invalid request status");
    return said(text);
  };
}

export const videoidHandlers = (context: Context) =>
  ({
    createVideoId(call, _reply, generation) {
      const facts = newRequest(context, objectBody(call.body), generation);
      const request = context.store.create("videoid", facts, context.clock.now());
      note(context, "create", request, { status: request.status, phone_sha256: hashOfPhone(request.phone) });
      context.webhooks.notify(request, "REQUEST_CREATED", undefined);
      context.humans.after(request);
      return created(context, request);
    },

    approveVideoId: decided(context, approve, "Request approved successfully"),

    validateVideoId: decided(context, (...[, request]) => validate(context, request), "Videoid validated"),

    refuseVideoId(call, _reply, generation) {
      const body = objectBody(call.body);
      const rao = raoFrom(context, body);
      const reason = textOf(body, "reason");
      if (reason === undefined) throw new Refusal(400, "No reason specified");
      const request = videoidOf(context, call, generation);
      checkRao(context, rao);
      if (refuse(context, request, reason) === "wrong-state") throw new Refusal(412, "Invalid request status");
      return said("Videoid refuse completed");
    },
  }) satisfies Handlers;
