import { createReadStream } from "node:fs";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { pathInteger, pathText } from "../bodies.ts";
import { identityPath } from "../context.ts";
import type { Context } from "../context.ts";
import { approve, identify, isLinkOver, refuse, validate } from "../humans.ts";
import { mayMove } from "../states.ts";
import type { Request } from "../store.ts";
import { html, page, PAGE_HEADERS } from "./html.ts";
import { expiredPage, identifyPage } from "./identify.ts";
import { officerPage } from "./officer.ts";
import { indexPage, smsPage } from "./overview.ts";
import { STYLE } from "./style.ts";

const Choice = z.object({
  outcome: z.enum(["complete", "incomplete", "fail"]),
  given_name: z.string().trim().max(60).optional(),
  surname_1: z.string().trim().max(60).optional(),
  surname_2: z.string().trim().max(60).optional(),
  serial_number: z.string().trim().max(40).optional(),
});

const Decision = z.object({
  decision: z.enum(["validate", "approve", "refuse"]),
  reason: z.string().trim().optional(),
});

function decide(context: Context, request: Request, { decision, reason }: z.output<typeof Decision>): void {
  if (decision === "validate") validate(context, request);
  if (decision === "approve") approve(context, request);
  if (decision === "refuse") refuse(context, request, reason || "not readable");
}

/** A picture of an identification, where it is one that a browser shows. */
function pictureOf(context: Context, uid: string): { path: string; type: string } | undefined {
  for (const { identityImages } of context.store.requests.values()) {
    const found = identityImages.find((image) => image.uid === uid);
    if (found)
      return found.type.startsWith("image/") ? { path: identityPath(context, uid), type: found.type } : undefined;
  }
  return undefined;
}

const unknownLink = (): string =>
  page({
    title: "Unknown link",
    body: html`<h1>Unknown link</h1>
      <p class="faint">No identification belongs to this address.</p>`,
    narrow: true,
  });

/** Pages for people: the signer's page, the text messages, and an overview. */
export function pageRoutes(app: FastifyInstance, context: Context): void {
  app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_call, body, done) =>
    done(null, Object.fromEntries(new URLSearchParams(body as string))),
  );
  app.get("/_sim/style.css", (_call, reply) => reply.type("text/css; charset=utf-8").send(STYLE));
  app.get("/favicon.ico", (_call, reply) => reply.code(204).send());
  app.get("/", (_call, reply) => reply.redirect("/_sim/"));
  app.get("/_sim", (_call, reply) => reply.headers(PAGE_HEADERS).send(indexPage(context)));
  app.get("/_sim/sms", (_call, reply) => reply.headers(PAGE_HEADERS).send(smsPage(context)));

  app.get("/_sim/officer", (_call, reply) => reply.headers(PAGE_HEADERS).send(officerPage(context)));
  app.post("/_sim/officer/:pk", (call, reply) => {
    const request = context.store.requests.get(pathInteger(call.params, "pk"));
    if (request) decide(context, request, Decision.parse(call.body));
    return reply.redirect("/_sim/officer", 303);
  });
  app.get("/_sim/identity/:uid", (call, reply) => {
    const picture = pictureOf(context, pathText(call.params, "uid"));
    if (!picture) return reply.code(404).headers(PAGE_HEADERS).send(unknownLink());
    return reply.headers({ ...PAGE_HEADERS, "content-type": picture.type }).send(createReadStream(picture.path));
  });

  app.get<{ Params: { opaque: string } }>("/identify/:opaque", (call, reply) => {
    const request = context.store.byLink(call.params.opaque);
    reply.headers(PAGE_HEADERS);
    if (!request) return reply.code(404).send(unknownLink());
    if (isOpen(request) && isLinkOver(context, request)) return reply.code(410).send(expiredPage());
    return reply.send(identifyPage(request));
  });
  app.post<{ Params: { opaque: string } }>("/identify/:opaque", (call, reply) => {
    const request = context.store.byLink(call.params.opaque);
    if (!request) return reply.code(404).headers(PAGE_HEADERS).send(unknownLink());
    const { outcome, ...person } = Choice.parse(call.body);
    const known = Object.entries(person).filter(([, value]) => value !== undefined && value !== "");
    identify(context, request, outcome, Object.fromEntries(known));
    return reply.redirect(`/identify/${call.params.opaque}`, 303);
  });
}

const isOpen = (request: Request): boolean => mayMove(request.status, "complete");
