import type { FastifyRequest } from "fastify";
import {
  accountFrom,
  checkAuthority,
  checkBilling,
  checkEnvironment,
  checkMayCreate,
  EMAIL,
  INTERNATIONAL_PHONE,
} from "../account.ts";
import { objectBody, textOf } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import { hashOfPhone, identityPath, move, note } from "../context.ts";
import type { Context } from "../context.ts";
import { gave, Refusal } from "../envelopes.ts";
import type { Answer } from "../envelopes.ts";
import { removeFiles } from "../files.ts";
import type { Generation, Handlers } from "../operations.ts";
import { isKnownRao, raoFrom } from "../rao.ts";
import type { RaoAuthority } from "../rao.ts";
import { checkFields } from "../schema.ts";
import type { IdentityImage, NewRequest, Person, Request } from "../store.ts";
import { newUid, saveFile, typeOf } from "../uploads.ts";

const ID_TYPES = ["IDC", "PAS", "PNO", "TIN", "CI", "CE"];
const IMAGE_PARTS = ["document_front", "document_rear", "document_owner", "extra_document"];
const LANGUAGES = ["ES", "PL", "EN"];
/** What can be called; a number that cannot is found at the approval. */
const DIALLABLE = /^(\+|00)[1-9][\d ]{5,18}$/;

type Form = { fields: Body; images: IdentityImage[] };

/** Reads all parts, or the JSON that some clients of the first generation send. @source docs/provider.md §Create */
async function receive(context: Context, call: FastifyRequest, generation: Generation): Promise<Form> {
  if (!call.isMultipart()) return { fields: generation === "first" ? objectBody(call.body) : {}, images: [] };
  const fields: Body = {};
  const images: IdentityImage[] = [];
  let refusal: Refusal | undefined;
  try {
    for await (const part of call.parts()) {
      if (part.type === "field") fields[part.fieldname] = part.value;
      else if (refusal || !IMAGE_PARTS.includes(part.fieldname)) part.file.resume();
      else {
        const uid = newUid();
        let type = part.fieldname === "extra_document" ? part.mimetype : undefined;
        const looksRight = (start: Buffer): boolean => (type ??= typeOf(start, "image")) !== undefined;
        if (await saveFile(part.file, identityPath(context, uid), looksRight))
          images.push({ name: part.fieldname, uid, type: type ?? "" });
        else refusal = new Refusal(415, `Unsupported file type: ${part.mimetype}`);
      }
    }
    if (refusal) throw refusal;
    return { fields, images };
  } catch (error) {
    forget(context, images);
    throw error;
  }
}

const forget = (context: Context, images: IdentityImage[]): void =>
  removeFiles(images.map(({ uid }) => identityPath(context, uid)));

/** A field that the registration authority's system misses, in its words: an object of arrays, as HTTP 500. */
const fieldError = (key: string, text: string): Refusal => new Refusal(500, { [key]: [text] });

function needed(fields: Body, key: string): string {
  const value = textOf(fields, key);
  if (value !== undefined) return value;
  throw fieldError(key, fields[key] === undefined ? "This field is required" : "This field may not be blank");
}

function emailFrom({ settings }: Context, fields: Body): string {
  const email = needed(fields, "email");
  if (EMAIL.test(email)) return email;
  if (settings.fieldErrors === "upstream") throw fieldError("email", "Enter a valid email address");
  throw new Refusal(400, "Enter a valid email address");
}

const countries = new Intl.DisplayNames("en", { type: "region", fallback: "none" });

function countryFrom(fields: Body): string {
  const country = textOf(fields, "id_document_country") ?? "ES";
  if (/^[A-Z]{2}$/.test(country) && countries.of(country) !== undefined) return country;
  throw fieldError("id_document_country", `'${country}' is not a valid ISO 3166-1 alpha-2 country code`);
}

function personFrom(fields: Body): Person {
  const type = textOf(fields, "id_document_type") ?? "IDC";
  if (!ID_TYPES.includes(type)) {
    const valid = ID_TYPES.join(", ");
    throw new Refusal(400, `The id_document_type specified is not valid. Valid options are ${valid}`);
  }
  const surname_2 = textOf(fields, "surname_2");
  return {
    given_name: needed(fields, "given_name"),
    surname_1: needed(fields, "surname_1"),
    ...(surname_2 !== undefined && { surname_2 }),
    serial_number: needed(fields, "serial_number"),
    id_document_type: type,
    id_document_country: countryFrom(fields),
  };
}

function phoneFrom(fields: Body): string {
  const phone = textOf(fields, "mobile_phone_number");
  if (phone === undefined) throw new Refusal(400, "Missing parameter: mobile_phone_number required");
  if (INTERNATIONAL_PHONE.test(phone)) return phone;
  throw new Refusal(400, "Please use the mobile phone number with an international prefix");
}

/** Wrong words and a token that is not known have answers of their own. @source docs/provider.md §Create */
function checkOfficer(context: Context, rao: RaoAuthority): void {
  if (isKnownRao(context, rao)) return;
  if (rao.token !== undefined) throw new Refusal(403, "Invalid RAO Credentials");
  throw new Refusal(404, "Error getting RAO's id. Make sure the credentials are correct");
}

function asyncFrom(fields: Body): Pick<NewRequest, "useAsync" | "notifyUrl"> {
  const asked = fields["useasync"] === true ? "true" : textOf(fields, "useasync")?.toLowerCase();
  const callback = textOf(fields, "callback");
  const useAsync = ["true", "1", "on", "yes"].includes(asked ?? "");
  return { useAsync, ...(useAsync && callback !== undefined && { notifyUrl: callback }) };
}

function newRequest(context: Context, fields: Body, generation: Generation): NewRequest {
  if (generation === "newest") checkFields(context.settings, "createRequest", fields);
  const account = accountFrom(context, fields);
  checkEnvironment(context, account.env);
  const phone = phoneFrom(fields);
  const { registrationAuthority, profile } = account;
  if (registrationAuthority === undefined) throw new Refusal(400, "Missing parameter: registration_authority required");
  if (profile === undefined) throw new Refusal(400, "Missing parameter: profile required");
  const email = emailFrom(context, fields);
  const person = personFrom(fields);
  const language = textOf(fields, "communication_language") ?? "ES";
  if (!LANGUAGES.includes(language)) throw fieldError("communication_language", `"${language}" is not a valid choice.`);
  const rao = raoFrom(context, fields, { withNumber: false });
  checkMayCreate(context, registrationAuthority);
  checkAuthority(context, registrationAuthority);
  checkOfficer(context, rao);
  checkBilling(context, account);
  const country = person.id_document_country ?? "ES";
  return { phone, email, registrationAuthority, profile, person, country, language, ...asyncFrom(fields) };
}

/** Why the RAO's approval, which is part of the call, cannot be given. */
function approvalRefusal({ phone }: NewRequest, images: IdentityImage[]): Refusal | undefined {
  const has = (name: string): boolean => images.some((image) => image.name === name);
  const failed = "Error occured during request approval:";
  if (!has("document_front") || !has("document_rear")) return new Refusal(400, `${failed} Missing required docs`);
  if (!DIALLABLE.test(phone)) return new Refusal(412, `${failed} Invalid request fields: mobile_phone_number`);
  return undefined;
}

function register(context: Context, facts: NewRequest, images: IdentityImage[]): Request {
  const request = context.store.create("classic", facts, context.clock.now());
  request.identityImages = images;
  note(context, "create", request, {
    status: request.status,
    reason: "classic",
    phone_sha256: hashOfPhone(request.phone),
  });
  context.webhooks.notify(request, "REQUEST_CREATED", undefined);
  return request;
}

function created({ settings }: Context, request: Request): Answer {
  const { pk, status, useAsync } = request;
  const more = { status, asyncmode: useAsync };
  const shapes = { pk: { pk, ...more }, request_pk: { request_pk: pk, ...more }, bare: pk, message: more };
  return gave(shapes[settings.createAnswer], {
    message: `Request created with pk ${pk}`,
    first: pk,
    http: { newest: settings.createStatus, first: 201 },
  });
}

export const createHandlers = (context: Context) =>
  ({
    async createRequest(call, _reply, generation) {
      const { fields, images } = await receive(context, call, generation);
      let request: Request | undefined;
      try {
        const facts = newRequest(context, fields, generation);
        const refusal = approvalRefusal(facts, images);
        if (refusal && context.settings.approvalFailure === "nothing") throw refusal;
        request = register(context, facts, images);
        if (refusal) throw refusal;
      } finally {
        if (!request) forget(context, images);
      }
      move(context, request, "approve");
      note(context, "approve", request, { status: request.status, reason: "inside-create" });
      return created(context, request);
    },
  }) satisfies Handlers;
