import type { FastifyInstance } from "fastify";
import { numberOrText, objectBody, pathInteger, required, textOf } from "../bodies.ts";
import { contractTailPath, filesOf, guard, hashOfPhone, move, requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal, success, successWith } from "../envelopes.ts";
import { removeFiles } from "../files.ts";
import { mayMove } from "../states.ts";
import type { Request } from "../store.ts";

const UNKNOWN = "Request not found. Make sure the upload directory is correct.";
/** Come from the video identification and stay as they are afterwards. */
const IDENTIFIED_FIELDS = ["given_name", "surname_1", "surname_2", "serial_number"] as const;

/** The record as `GET /request` shows it. @source docs/provider.md §Read a request */
export function detailsOf(request: Request): Record<string, unknown> {
  const authority = Number(request.registrationAuthority);
  return {
    pk: request.pk,
    status: request.status,
    profile: request.profile,
    registration_authority: Number.isNaN(authority) ? request.registrationAuthority : authority,
    scratchcard: request.scratchcard,
    given_name: request.person.given_name ?? null,
    surname_1: request.person.surname_1 ?? null,
    surname_2: request.person.surname_2 ?? null,
    email: request.email,
    mobile_phone_number: request.phone,
    serial_number: request.person.serial_number ?? null,
    id_document_type: request.identified ? "IDC" : null,
    id_document_country: request.identified ? request.country : null,
    country_name: request.country,
    paperless_mode: true,
    videoid_mode: true,
    validity_time: "1",
    secure_element: 2,
    communication_language: "ES",
    certificate_set: request.certificate ? [request.certificate] : [],
  };
}

export function requestRoutes(app: FastifyInstance, context: Context): void {
  app.get("/request/:request_pk", { config: { operation: "getRequest" } }, (call, reply) => {
    const request = requestOr(context, pathInteger(call.params, "request_pk"), UNKNOWN, true);
    return reply.send(successWith(detailsOf(request)));
  });

  app.put("/request/:request_pk", { config: { operation: "updateRequest" } }, (call, reply) => {
    const body = objectBody(call.body);
    const facts = {
      scratchcard: required(numberOrText(body, "scratchcard"), "scratchcard"),
      email: required(textOf(body, "email"), "email"),
      profile: required(textOf(body, "profile"), "profile"),
      registrationAuthority: required(numberOrText(body, "registration_authority"), "registration_authority"),
      country: required(textOf(body, "country_name"), "country_name"),
      phone: textOf(body, "mobile_phone_number"),
    };
    const request = requestOr(context, pathInteger(call.params, "request_pk"), "Request not found");
    guard(request, "update");
    if (facts.scratchcard !== request.scratchcard) throw new Refusal(412, "Invalid request fields: scratchcard");
    const changes: Request["person"] = {};
    for (const key of IDENTIFIED_FIELDS) {
      const value = textOf(body, key);
      if (value === undefined || value === request.person[key]) continue;
      if (request.identified) throw new Refusal(412, `Invalid request fields: ${key}`);
      changes[key] = value;
    }
    Object.assign(request.person, changes);
    Object.assign(request, { ...facts, phone: facts.phone ?? request.phone });
    context.ledger.add("update", { request_pk: request.pk, phone_sha256: hashOfPhone(request.phone) });
    return reply.send(success("Request updated"));
  });

  app.delete("/request/:request_pk", { config: { operation: "cancelRequest" } }, async (call, reply) => {
    const pk = pathInteger(call.params, "request_pk");
    const request = requestOr(context, pk, `Request ${pk} not found`);
    await request.signing?.catch(() => undefined);
    if (!mayMove(request.status, "cancel")) throw new Refusal(412, "Invalid request status");
    move(context, request, "cancel");
    removeFiles([...filesOf(context, [...request.documents.keys()]), contractTailPath(context, pk)]);
    request.documents.clear();
    context.ledger.add("cancel", { request_pk: request.pk, status: request.status });
    return reply.send(success("Request directory removed successfully"));
  });
}
