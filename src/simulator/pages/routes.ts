import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { Context } from "../context.ts";
import { identify, isLinkOver } from "../humans.ts";
import { mayMove } from "../states.ts";
import type { Request } from "../store.ts";
import { html, page, PAGE_HEADERS } from "./html.ts";
import { expiredPage, identifyPage } from "./identify.ts";
import { indexPage, smsPage } from "./overview.ts";
import { STYLE } from "./style.ts";

const Choice = z.object({
  outcome: z.enum(["complete", "incomplete", "fail"]),
  given_name: z.string().trim().max(60).optional(),
  surname_1: z.string().trim().max(60).optional(),
});

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
