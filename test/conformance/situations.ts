import type { SwitchChange } from "../../src/simulator/switches.ts";
import { RAO, samplePdf } from "../simulator/house.ts";
import type { House } from "../simulator/house.ts";
import type { Documented, Fields, Operation } from "./contract.ts";
import { fileOf } from "./files.ts";

/** What stands in the path, and what an example's body must have instead, since it is told by the simulator. */
export type Ready = { ids: Record<string, string | number>; body?: Fields };

/** How a documented answer is brought about, where the call of the description alone does not do it. */
export type Situation = {
  set?: SwitchChange;
  ready?: (house: House) => Promise<Ready>;
  /** Which example of the request is sent. */
  request?: string;
  body?: (body: Fields) => Fields;
  /** Sent as it is, as JSON. */
  raw?: string;
  /** Over those of the operation. */
  ids?: Ready["ids"];
  query?: string;
  twice?: boolean;
};

const NOBODY = "00000000-0000-4000-8000-000000000000";
/** Numbers and uids that nothing has. */
const UNKNOWN: Ready["ids"] = {
  videoid_pk: 7,
  request_pk: 7,
  document_uid: NOBODY,
  token_uid: NOBODY,
  image_uid: NOBODY,
};

const identified = async (house: House): Promise<Ready> => {
  const { request_pk, videoid_pk } = await house.create();
  house.simulator.identify(request_pk, "complete");
  return { ids: { videoid_pk, request_pk } };
};

const pending = async (house: House): Promise<Ready> => {
  const { request_pk, videoid_pk } = await house.create();
  const { body } = await house.call("GET", `/request/${request_pk}`);
  return { ids: { videoid_pk, request_pk }, body: { scratchcard: body.details?.["scratchcard"] } };
};

const cancelled = async (house: House): Promise<Ready> => {
  const ready = await pending(house);
  await house.call("DELETE", `/request/${ready.ids["request_pk"]}`);
  return ready;
};

const classic = async (house: House): Promise<Ready> => ({ ids: { request_pk: await house.classicPk() } });

const filmed = async (house: House): Promise<Ready> => {
  const { videoid_pk } = await house.create();
  await house.form(`/videoid/${videoid_pk}/video`, { video: fileOf("film.mp4") });
  return { ids: { videoid_pk } };
};

const picture = async (house: House): Promise<Ready> => {
  const { body } = await house.form("/image", { image: fileOf("seal.png") });
  return { ids: { image_uid: String(body.details?.["image_uid"]) } };
};

const noToken = async (house: House): Promise<Ready> => {
  const { body } = await house.call("GET", "/tokens");
  for (const uid of Object.keys(body.details ?? {})) await house.call("DELETE", `/token/${uid}`);
  return { ids: {} };
};

const token = async (house: House): Promise<Ready> => {
  await noToken(house);
  const { body } = await house.call("POST", "/token", { username: "9000001", password: "some", pin: "some" });
  return { ids: { token_uid: String(body.details?.["token_uid"]) } };
};

/** With a document, and a code that was sent. */
const armed = async (house: House): Promise<Ready> => {
  const { pk, uids, secret } = await house.armed(await samplePdf());
  const { ids } = await picture(house);
  return { ids: { request_pk: pk, document_uid: uids[0] ?? "" }, body: { secret, image: ids["image_uid"] } };
};

const signed = async (house: House): Promise<Ready> => {
  const ready = await armed(house);
  await house.call("POST", `/sign/${ready.ids["request_pk"]}`, { secret: ready.body?.["secret"] });
  return ready;
};

const signedHash = async (house: House): Promise<Ready> => {
  const { pk } = await house.ready();
  const { body } = await house.form(`/document/${pk}`, { hashfile: fileOf("hash.json") });
  await house.call("POST", `/otp/${pk}`);
  await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  return { ids: { request_pk: pk, document_uid: (body as { detail: { uid: string } }).detail.uid } };
};

const armedLater = async (house: House): Promise<Ready> => {
  const pk = await house.classicPk({ useasync: "true" });
  await house.form(`/document/${pk}`, { file: fileOf("one.pdf") });
  await house.call("POST", `/otp/${pk}`);
  return { ids: { request_pk: pk }, body: { secret: house.simulator.codeOf(pk) } };
};

const whole = async (house: House): Promise<Ready> => {
  const { pk, videoidPk } = await house.ready();
  return { ids: { request_pk: pk, videoid_pk: videoidPk } };
};

/** Approved, with what the identification has found out. */
const named = async (house: House): Promise<Ready> => {
  const { request_pk, videoid_pk } = await house.create();
  const person = { given_name: "Eva", surname_1: "Sala", surname_2: "Font", serial_number: "X1234567L" };
  house.simulator.identify(request_pk, "complete", person);
  await house.call("POST", `/videoid/${videoid_pk}/approve`, RAO);
  return { ids: { request_pk } };
};

/** What has to be there before an operation can succeed. */
export const READY: Record<string, (house: House) => Promise<Ready>> = {
  createVideoId: noToken,
  approveVideoId: identified,
  refuseVideoId: identified,
  uploadEvidences: pending,
  uploadVideo: pending,
  downloadVideo: filmed,
  downloadVideoFirst: filmed,
  createRequest: noToken,
  getRequest: classic,
  updateRequest: pending,
  cancelRequest: pending,
  uploadDocument: whole,
  deleteAllDocuments: armed,
  getSignedDocument: signed,
  getOriginalDocument: armed,
  getDocument: signed,
  deleteDocument: signed,
  getContract: whole,
  generateOtp: whole,
  sign: armed,
  createToken: noToken,
  getToken: token,
  deleteToken: token,
  listTokens: token,
  uploadImage: noToken,
  getImage: picture,
  deleteImage: picture,
  listImages: picture,
  deleteAllImages: picture,
};

const refuseCreation = (reason: SwitchChange["refuseCreation"] & string): Situation => ({
  set: { refuseCreation: reason },
});
const change = (fields: Fields): Situation => ({ body: (body) => ({ ...body, ...fields }) });
const appearance = (fields: Fields): Situation => ({
  request: "code",
  body: (body) => ({ ...body, signature: { appearance: fields } }),
});
const tooMany = Object.fromEntries(["", 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((n) => [`file${n}`, "one.pdf"]));
const OFFICER = { token: undefined, username: "9000001", password: "some-password", pin: "some-pin" };
const NOT_JSON: Situation = { raw: '{"token": ' };

/** By operation, status and name of the answer. */
const SITUATIONS: Record<string, Situation> = {
  "createVideoId 200 withoutLink": { set: { videoidLink: "empty" } },
  "createVideoId 201 created": { set: { createStatus: 201 } },
  "createVideoId 400 missing": change({ email: undefined }),
  "createVideoId 400 disabled": refuseCreation("videoid-disabled"),
  "createVideoId 403 upstream": refuseCreation("no-permission"),
  "createVideoId 404 authority": refuseCreation("unknown-authority"),
  "createVideoId 500 configuration": refuseCreation("configuration"),
  "approveVideoId 400 incomplete": change({ rao: undefined }),
  "approveVideoId 400 notJson": NOT_JSON,
  "approveVideoId 403 officer": { set: { raoCredentials: "refused" } },
  "approveVideoId 412 state": { ready: pending },
  "approveVideoId 412 upstream": { ready: pending, set: { errorStyle: "upstream" } },
  "approveVideoId 500 rao": { set: { raoCredentials: "unknown" } },
  "approveVideoId 500 configuration": { set: { misconfigured: true } },
  "refuseVideoId 400 noReason": change({ reason: " " }),
  "refuseVideoId 400 incomplete": change({ rao: undefined }),
  "refuseVideoId 400 notJson": NOT_JSON,
  "refuseVideoId 403 officer": { set: { raoCredentials: "refused" } },
  "refuseVideoId 412 state": { ready: pending },
  "refuseVideoId 412 upstream": { ready: pending, set: { errorStyle: "upstream" } },
  "uploadEvidences 400 notJson": NOT_JSON,
  "uploadEvidences 412 state": { ready: cancelled },
  "uploadEvidences 412 upstream": { ready: cancelled, set: { errorStyle: "upstream" } },
  "uploadVideo 412 state": { ready: cancelled },
  "uploadVideo 412 upstream": { ready: cancelled, set: { errorStyle: "upstream" } },
  "uploadVideo 422 missing": { body: () => ({ remark: "no film" }) },
  "downloadVideo 400 notFound": { ready: pending, set: { notFoundAs400: true } },
  "downloadVideoFirst 400 notFound": { ready: pending },
  "createRequest 200 synchronous": { request: "least" },
  "createRequest 200 asynchronous": { request: "everything" },
  "createRequest 200 otherKey": { request: "least", set: { createAnswer: "request_pk" } },
  "createRequest 200 inMessage": { request: "least", set: { createAnswer: "message" } },
  "createRequest 201 bare": { set: { createStatus: 201, envelope: "first" } },
  "createRequest 400 phone": change({ mobile_phone_number: undefined }),
  "createRequest 400 authority": change({ registration_authority: undefined }),
  "createRequest 400 profile": change({ profile: undefined }),
  "createRequest 400 incomplete": change({ pin: undefined }),
  "createRequest 400 prefix": change({ mobile_phone_number: "600000001" }),
  "createRequest 400 email": change({ email: "eva" }),
  "createRequest 400 environment": change({ env: "staging" }),
  "createRequest 400 environmentUnavailable": {
    ...change({ env: "staging" }),
    set: { unknownEnvironment: "unnamed" },
  },
  "createRequest 400 environmentMissing": { ...change({ env: undefined }), set: { requireEnv: true } },
  "createRequest 400 documents": change({ document_front: undefined }),
  "createRequest 400 documentType": change({ id_document_type: "XYZ" }),
  "createRequest 403 officer": { request: "least", set: { raoCredentials: "refused" } },
  "createRequest 403 certificates": refuseCreation("certificates"),
  "createRequest 403 profile": refuseCreation("profile"),
  "createRequest 404 officer": { ...change(OFFICER), set: { raoCredentials: "refused" } },
  "createRequest 412 fields": change({ mobile_phone_number: "+1" }),
  "createRequest 422 missing": { ...change({ email: undefined }), set: { schemaCheck: "framework" } },
  "createRequest 500 credit": refuseCreation("no-credit"),
  "createRequest 500 base64": change({ billing_password: "no base64" }),
  "createRequest 500 required": change({ email: undefined }),
  "createRequest 500 blank": change({ email: " " }),
  "createRequest 500 email": { ...change({ email: "eva" }), set: { fieldErrors: "upstream" } },
  "createRequest 500 country": change({ id_document_country: "ESX" }),
  "createRequest 500 configuration": refuseCreation("configuration"),
  "updateRequest 412 state": { ready: cancelled },
  "updateRequest 412 upstream": { ready: cancelled, set: { errorStyle: "upstream" } },
  "cancelRequest 412 state": { twice: true },
  "cancelRequest 412 upstream": { twice: true, set: { errorStyle: "upstream" } },
  "uploadDocument 200 one": { request: "one" },
  "uploadDocument 200 several": { request: "several" },
  "uploadDocument 200 coded": { request: "several", set: { uploadShape: "coded" } },
  "uploadDocument 200 oneFirst": { request: "one", set: { uploadShape: "old" } },
  "uploadDocument 200 severalFirst": { request: "several", set: { uploadShape: "old" } },
  "uploadDocument 400 tooMany": { body: () => tooMany },
  "uploadDocument 415 type": { body: () => ({ file: "notes.txt" }) },
  "uploadDocument 422 missing": { body: () => ({ remark: "no file" }) },
  "deleteAllDocuments 404 notFound": { ready: whole },
  "getSignedDocument 200 application/pkcs7-mime": { ready: signedHash },
  "getSignedDocument 404 notFound": { ready: armed },
  "getDocument 200 application/pkcs7-mime": { ready: signedHash },
  "getDocument 404 notFound": { ready: armed },
  "getDocument 422 notANumber": { ids: { request_pk: "seven" } },
  "getContract 400 notFound": { ids: UNKNOWN, set: { notFoundAs400: true } },
  "getRequest 200 identified": { ready: named },
  "getRequest 400 notFound": { ids: UNKNOWN, set: { notFoundAs400: true } },
  "generateOtp 412 tooSoon": { twice: true },
  "generateOtp 412 state": { ready: pending },
  "generateOtp 422 missing": change({ delivery_method: "pigeon" }),
  "sign 200 signed": { request: "code" },
  "sign 200 accepted": { request: "code", ready: armedLater },
  "sign 400 secret": change({ secret: undefined }),
  "sign 400 position": appearance({ page: 0 }),
  "sign 400 page": appearance({ position: "40, 40, 260, 110" }),
  "sign 403 code": { request: "code", body: (body) => ({ ...body, secret: "none" }) },
  "sign 403 countersignature": {
    request: "code",
    set: { countersignature: "checked" },
    body: (body) => ({ ...body, countersignature: { username: "9000002" } }),
  },
  "sign 404 request": { ids: UNKNOWN },
  "sign 404 documents": { request: "code", set: { loseDocuments: true } },
  "sign 404 image": appearance({ position: "40, 40, 260, 110", page: 0, image: NOBODY }),
  "sign 412 issued": { twice: true },
  "sign 412 state": { ready: cancelled },
  "sign 500 configuration": { request: "code", set: { misconfigured: true } },
  "createToken 400 missing": change({ username: undefined }),
  "createToken 400 notJson": NOT_JSON,
  "createToken 400 duplicate": { twice: true },
  "createToken 404 officer": { set: { raoCredentials: "refused" } },
  "uploadImage 400 missing": { body: () => ({ remark: "no picture" }) },
  "listTokens 500 configuration": { set: { misconfigured: true } },
  "uploadImage 415 type": { body: () => ({ image: "seal.gif" }) },
  "uploadImage 422 missing": { body: () => ({ remark: "no picture" }), set: { schemaCheck: "framework" } },
};

/** What brings about an answer of this name for any operation. */
const ANYWHERE: Record<string, Situation> = {
  "404 notFound": { ids: UNKNOWN },
  "422 notANumber": { ids: { request_pk: "seven", videoid_pk: "seven" } },
  "422 missing": { raw: "" },
  "422 notAUid": { ids: { token_uid: "none", image_uid: "none" }, set: { schemaCheck: "framework" } },
};

/** How this answer is brought about. Throws when nobody has said how: an answer that is never seen proves nothing. */
export function situationFor({ id }: Operation, { status, name, type }: Documented): Situation {
  const known = SITUATIONS[`${id} ${status} ${name}`] ?? ANYWHERE[`${status} ${name}`];
  if (known) return known;
  if (status === 200 && (type !== "application/json" || READY[id])) return {};
  throw new Error(`Nobody has said how ${id} comes to answer ${status} ${name}`);
}

/** Names of situations that no documented answer has: left over from an earlier description. */
export const situationsWithout = (named: ReadonlySet<string>): string[] =>
  Object.keys(SITUATIONS).filter((name) => !named.has(name));
