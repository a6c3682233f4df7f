import { numberOrText, objectBody, pathInteger, required, textOf } from "../bodies.ts";
import { guard, hashOfPhone, note, requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { gave, Refusal, said } from "../envelopes.ts";
import { cancel } from "../humans.ts";
import { officersOf } from "../officer.ts";
import type { Handlers } from "../operations.ts";
import type { Request } from "../store.ts";

const UNKNOWN = "Request not found. Make sure the upload directory is correct.";
/** Come from the video identification and stay as they are afterwards. */
const IDENTIFIED_FIELDS = ["given_name", "surname_1", "surname_2", "serial_number"] as const;

const numberIfItIs = (text: string): number | string => (Number.isNaN(Number(text)) ? text : Number(text));

/** What the registration authority's system knows of the identification. @source docs/provider.md §Read a request */
function videoidData(request: Request): Record<string, unknown> {
  const { videoidPk, status, refusalReason, evidence } = request;
  const decided = ["CREATED", "ENROLLREADY", "ISSUED"].includes(status) ? "VALIDATED" : undefined;
  return {
    pk: videoidPk,
    status: refusalReason === undefined ? (decided ?? status) : "REFUSED",
    refusal_reason: refusalReason ?? null,
    ...(evidence?.similarity !== undefined && { data: { similarity_level: evidence.similarity } }),
  };
}

/** The record as `GET /request` shows it. @source docs/provider.md §Read a request */
function detailsOf(context: Context, request: Request): Record<string, unknown> {
  const { person, videoidPk } = request;
  const known = request.identified || videoidPk === undefined;
  return {
    pk: request.pk,
    status: request.status,
    profile: request.profile,
    registration_authority: numberIfItIs(request.registrationAuthority),
    scratchcard: request.scratchcard,
    given_name: person.given_name ?? null,
    surname_1: person.surname_1 ?? null,
    surname_2: person.surname_2 ?? null,
    email: request.email,
    mobile_phone_number: request.phone,
    serial_number: person.serial_number ?? null,
    id_document_type: known ? (person.id_document_type ?? "IDC") : null,
    id_document_country: known ? (person.id_document_country ?? request.country) : null,
    country_name: request.country,
    paperless_mode: true,
    videoid_mode: videoidPk !== undefined,
    validity_time: "1",
    secure_element: 2,
    communication_language: request.language,
    certificate_set: request.certificate ? [request.certificate] : [],
    ...officersOf(context, request),
    ...(videoidPk !== undefined && { videoid_data: videoidData(request) }),
  };
}

export const requestHandlers = (context: Context) =>
  ({
    getRequest(call) {
      const request = requestOr(context, pathInteger(call.params, "request_pk"), UNKNOWN, true);
      return gave(detailsOf(context, request));
    },

    listRequests: () => gave([...context.store.requests.values()].map(({ pk, status }) => ({ pk, status }))),

    updateRequest(call) {
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
      note(context, "update", request, { phone_sha256: hashOfPhone(request.phone) });
      return said("Request updated");
    },

    async cancelRequest(call) {
      const pk = pathInteger(call.params, "request_pk");
      const request = requestOr(context, pk, `Request ${pk} not found`);
      await request.signing?.catch(() => undefined);
      if (cancel(context, request) === "wrong-state") throw new Refusal(412, "Invalid request status");
      return said("Request directory removed successfully");
    },
  }) satisfies Handlers;
