import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { DocumentUid, ImageUid, RequestPk, TokenUid, VideoIdPk } from "../../src/core/signing.ts";
import { createProvider } from "../../src/provider/client.ts";
import type { Provider } from "../../src/provider/client.ts";
import type { Account, Evidences, Picture, RequestCreation } from "../../src/provider/provider.ts";
import type { FileToSend } from "../../src/provider/sending.ts";
import { ANSWERS, fieldsOf, objections, OPERATIONS, textOf } from "./contract.ts";
import type { Documented, Fields, Operation, Schema } from "./contract.ts";
import { fileOf } from "./files.ts";

const BASE = "/oneshot/api/v1";

/** What came in, and what the description has against it. */
type Arrived = { operation: Operation; value: Fields; objections: string[] };

/** A server that is nothing but the description: it knows its paths, checks each call, and says what it is told to. */
let arrived: Arrived[] = [];
let answers: { operation: Operation; status: number; type: string; body: Buffer } | undefined;

const patternOf = ({ path }: Operation): RegExp =>
  new RegExp(`^${BASE}${path.replaceAll(/\{(\w+)\}/g, "(?<$1>[^/]+)")}$`);
const PATTERNS = OPERATIONS.map((operation) => ({ operation, pattern: patternOf(operation) }));

/** A parameter's text as its schema wants it. */
const valueOf = (text: string | null, { type }: Schema): unknown => (type === "integer" ? Number(text) : text);

function parametersAgainst(operation: Operation, ids: Record<string, string>, query: URLSearchParams): string[] {
  const unknown = [...query.keys()].filter((name) => !operation.parameters.some((one) => one.name === name));
  const wrong = operation.parameters.flatMap((one) => {
    const text = one.in === "query" ? query.get(one.name) : decodeURIComponent(ids[one.name] ?? "");
    return objections(one.schema, valueOf(text, one.schema)).map((objection) => `${one.name}: ${objection}`);
  });
  return [...unknown.map((name) => `no parameter is called ${name}`), ...wrong];
}

/** A form, read by another reader than ours; a file is its name. */
async function formAgainst({ encoding, schema }: NonNullable<Operation["body"]>, type: string, bytes: Buffer) {
  const form = await new Response(new Uint8Array(bytes), { headers: { "content-type": type } }).formData();
  const value: Fields = {};
  const against: string[] = [];
  for (const [name, part] of form) {
    if (name in value) against.push(`${name} is there twice`);
    value[name] = typeof part === "string" ? part : part.name;
    const media = schema.properties?.[name]?.contentMediaType;
    if ((media === undefined) !== (typeof part === "string")) against.push(`${name} is a file, or should be one`);
    if (typeof part === "string") continue;
    const allowed = encoding[name]?.contentType.split(", ") ?? [];
    if (allowed.length > 0 && !allowed.includes(part.type)) against.push(`${name} has the type ${part.type}`);
    const inside = (schema.properties?.[name] as { contentSchema?: Schema } | undefined)?.contentSchema;
    if (inside) against.push(...objections(inside, JSON.parse(await part.text())));
  }
  return { value, against };
}

async function read(operation: Operation, url: URL, type: string | undefined, bytes: Buffer): Promise<Arrived> {
  const ids = PATTERNS.find((one) => one.operation === operation)?.pattern.exec(url.pathname)?.groups ?? {};
  const parameters = parametersAgainst(operation, ids, url.searchParams);
  const { body } = operation;
  if (!body || (bytes.length === 0 && !body.required)) {
    return { operation, value: {}, objections: bytes.length > 0 ? [...parameters, "there is a body"] : parameters };
  }
  if (type?.split(";")[0] !== body.type) {
    return { operation, value: {}, objections: [...parameters, `the content type is ${type}`] };
  }
  const isForm = body.type === "multipart/form-data";
  const { value, against } = isForm
    ? await formAgainst(body, type, bytes)
    : { value: JSON.parse(bytes.toString()) as Fields, against: [] };
  return { operation, value, objections: [...parameters, ...against, ...objections(body.schema, value)] };
}

const server = createServer((request, response) => {
  void buffer(request).then(async (bytes) => {
    const url = new URL(request.url ?? "", "http://localhost");
    const operation = PATTERNS.find(
      (one) => one.operation.method === request.method && one.pattern.test(url.pathname),
    )?.operation;
    if (operation) arrived.push(await read(operation, url, request.headers["content-type"], bytes));
    if (!answers || operation !== answers.operation) {
      // As a router says it that has no such path.
      response.writeHead(404, { "content-type": "application/json" }).end('{"detail":"Not Found"}');
      return;
    }
    response.writeHead(answers.status, { "content-type": answers.type }).end(answers.body);
  });
});

let url: string;
beforeAll(async () => {
  const ways = Object.values(CALLS).flat().length;
  process.stdout.write(
    `Conformance of the client: ${OPERATIONS.length} operations called in ${ways} ways, ${ANSWERS.length} answers\n`,
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${BASE}`;
});
beforeEach(() => void (arrived = []));
afterAll(() => void server.close());

const PK = 91502 as RequestPk;
const VIDEOID = 1501 as VideoIdPk;
const UID = "0d0f1f5a-7b1e-4f6e-8c55-6f2f3a9f0001" as DocumentUid;
const TOKEN = "7d3b0a52-3c44-4a57-9a0b-5d5d7a0c1e11" as TokenUid;
const IMAGE = "5b1b0f0e-8e0a-4a3b-9a60-2f1f8a3e0003" as ImageUid;
const LOGIN = { username: "9000001", password: "some-password", pin: "some-pin" };
const OFFICER = { ...LOGIN, rao: "77" };
const BY_TOKEN = { token: TOKEN, password: "some-password", pin: "some-pin", rao: "77" };
const SIGNER = { email: "eva@example.com", mobile_phone_number: "+34600000001" };
const ACCOUNT: Account = {
  env: "sandbox",
  registrationAuthority: "44",
  profile: "PFnubeQAFCiudadano",
  billingUsername: "accounts@example.com",
  billingPassword: "not-a-secret",
  rao: OFFICER,
};

function toSend(file: string): FileToSend {
  const { bytes, type: contentType, name } = fileOf(file);
  return { name, contentType, sizeBytes: bytes.length, open: () => Readable.from([bytes]) };
}
const picture = (file: string): Picture => toSend(file) as Picture;

const LEAST: RequestCreation = {
  signer: { ...SIGNER, given_name: "Eva", surname_1: "Sala", serial_number: "X1234567L" },
  documents: { document_front: picture("front.jpg"), document_rear: picture("rear.png") },
};
const CREATION: RequestCreation = {
  signer: {
    ...LEAST.signer,
    surname_2: "Font",
    id_document_type: "PAS",
    id_document_country: "ES",
    communication_language: "EN",
    residence: "ES",
    residence_city: "Girona",
    residence_postal_code: "17001",
    residence_address: "Carrer Nou 1",
    special_conditions: "none",
  },
  documents: { ...LEAST.documents, document_owner: picture("owner.jpg"), extra_document: toSend("extra.pdf") },
  asynchronous: { callback: "https://example.com/callback" },
};

const documented = (operation: string, example: string): Fields =>
  OPERATIONS.find(({ id }) => id === operation)?.body?.examples[example] ?? {};

/** The documented evidences, with files where they have Base64. */
function evidences(example: string): Evidences {
  const given = documented("uploadEvidences", example) as unknown as Evidences;
  const names = Object.keys(given.videoid_data.images ?? {});
  const images = Object.fromEntries(names.map((name) => [name, picture("front.jpg")]));
  return { ...given, videoid_data: { ...given.videoid_data, images } };
}

const file = (name: string) => ({
  ...toSend(name),
  kind: name.endsWith(".json") ? ("hash" as const) : ("pdf" as const),
});
const bytesOf = async (download: Promise<{ body: Readable }>) => buffer((await download).body);
const { appearance } = documented("sign", "everything")["signature"] as {
  appearance: NonNullable<Parameters<Provider["sign"]>[1]["appearance"]>;
};
const update = documented("updateRequest", "everything") as unknown as Parameters<Provider["updateRequest"]>[1];

type Call = (provider: Provider) => Promise<unknown>;

/** Every way in which the client makes each call; the first is the one whose answers are looked at. */
const CALLS: Record<string, [Call, ...Call[]]> = {
  createVideoId: [(p) => p.createVideoId(SIGNER, ACCOUNT)],
  approveVideoId: [(p) => p.approve(VIDEOID, OFFICER), (p) => p.approve(VIDEOID, BY_TOKEN)],
  refuseVideoId: [(p) => p.refuse(VIDEOID, OFFICER, "unreadable"), (p) => p.refuse(VIDEOID, BY_TOKEN, "unreadable")],
  uploadEvidences: [
    (p) => p.uploadEvidences(VIDEOID, evidences("everything")),
    (p) => p.uploadEvidences(VIDEOID, evidences("inNumbers")),
  ],
  uploadVideo: [(p) => p.uploadVideo(VIDEOID, toSend("film.mp4"))],
  downloadVideo: [(p) => bytesOf(p.downloadVideo(VIDEOID))],
  downloadVideoFirst: [(p) => bytesOf(p.downloadVideo(VIDEOID))],
  createRequest: [
    (p) => p.createRequest(CREATION, ACCOUNT),
    (p) => p.createRequest(LEAST, { ...ACCOUNT, rao: { token: TOKEN, rao: "77" } }),
  ],
  getRequest: [(p) => p.getRequest(PK)],
  updateRequest: [(p) => p.updateRequest(PK, update)],
  cancelRequest: [(p) => p.cancel(PK)],
  uploadDocument: [
    (p) => p.upload(PK, [file("one.pdf")]),
    (p) => p.upload(PK, [file("one.pdf"), file("two.pdf")]),
    (p) => p.upload(PK, [file("hash.json")]),
  ],
  deleteAllDocuments: [(p) => p.deleteDocuments(PK)],
  getSignedDocument: [(p) => bytesOf(p.signedDocument(PK, UID))],
  getOriginalDocument: [(p) => bytesOf(p.originalDocument(PK, UID))],
  getDocument: [(p) => bytesOf(p.signedDocument(PK, UID)), (p) => bytesOf(p.originalDocument(PK, UID))],
  deleteDocument: [(p) => p.deleteDocument(PK, UID)],
  getContract: [(p) => bytesOf(p.contract(PK))],
  generateOtp: [(p) => p.otp(PK), (p) => p.otp(PK, { deliveryMethod: "whatsapp" })],
  sign: [
    (p) => p.sign(PK, { secret: "271828" }),
    (p) => p.sign(PK, { ext_unlock_type: "biometric", ext_unlock_value: "operation-17", appearance }),
  ],
  createToken: [(p) => p.createToken(LOGIN, ACCOUNT), (p) => p.createToken({ username: "9000002" }, {})],
  getToken: [(p) => p.getToken(TOKEN)],
  deleteToken: [(p) => p.deleteToken(TOKEN)],
  listTokens: [(p) => p.listTokens()],
  uploadImage: [(p) => p.uploadImage(toSend("seal.png") as Parameters<Provider["uploadImage"]>[0])],
  getImage: [(p) => bytesOf(p.getImage(IMAGE))],
  deleteImage: [(p) => p.deleteImage(IMAGE)],
  listImages: [(p) => p.listImages()],
  deleteAllImages: [(p) => p.deleteImages()],
};

/** Which call an answer belongs to, where it is not the first. */
const CALL_OF: Record<string, Call | undefined> = {
  "uploadDocument several": CALLS["uploadDocument"]?.[1],
  "uploadDocument coded": CALLS["uploadDocument"]?.[1],
  "uploadDocument severalFirst": CALLS["uploadDocument"]?.[1],
  "getSignedDocument application/pkcs7-mime": (p) => bytesOf(p.signedDocument(PK, UID, { kind: "hash" })),
  "getDocument application/pkcs7-mime": (p) => bytesOf(p.signedDocument(PK, UID, { kind: "hash" })),
};

const FIRST_FORMS = ["getSignedDocument", "getOriginalDocument"];

/** Makes a call while the server answers so, and gives what became of it: a value, or the code of a failure. */
async function outcomeOf(operation: Operation, { status, type, value }: Documented, call: Call): Promise<unknown> {
  const body = type === "application/json" ? Buffer.from(JSON.stringify(value)) : fileOf(String(value)).bytes;
  answers = { operation, status, type, body };
  const retrieval = FIRST_FORMS.includes(operation.id) ? "seed" : "reference";
  const provider = createProvider({ url, retrieval });
  try {
    return await call(provider);
  } catch (error) {
    if (!(error instanceof PermanentError || error instanceof RetryableError)) throw error;
    return error.code;
  } finally {
    await provider.close();
  }
}

function callOf({ id }: Operation, { name }: Pick<Documented, "name">): Call {
  const call = CALL_OF[`${id} ${name}`] ?? CALLS[id]?.[0];
  if (!call) throw new Error(`Nobody has said how the client makes the call ${id}`);
  return call;
}

const CREATED = { requestPk: 91501, videoidPk: 1501 };
const REGISTERED = { requestPk: 91502, asyncmode: false, status: "ENROLLREADY" };
const SECOND = "0d0f1f5a-7b1e-4f6e-8c55-6f2f3a9f0002";
const STORED = { uid: TOKEN, username: "9000001", hasPassword: true, hasPin: true };
const nothing = undefined;

/** What the client makes of an answer: the value of a success, the code of a failure. */
const OUTCOMES: Record<string, unknown> = {
  "createVideoId 200 created": { ...CREATED, videoidLink: "https://example.com/videoid/bGluaw" },
  "createVideoId 200 withoutLink": CREATED,
  "createVideoId 201 created": { ...CREATED, videoidLink: "https://example.com/videoid/bGluaw" },
  "createVideoId 400 disabled": "configuration-rejected",
  "createVideoId 403 upstream": "not-permitted",
  "createVideoId 404 authority": "configuration-rejected",
  "approveVideoId 200 approved": nothing,
  "approveVideoId 500 rao": "rao-rejected",
  "refuseVideoId 200 refused": nothing,
  "refuseVideoId 400 noReason": "invalid-input",
  "uploadEvidences 200 stored": nothing,
  "uploadVideo 200 stored": nothing,
  "createRequest 200 synchronous": REGISTERED,
  "createRequest 200 asynchronous": { ...REGISTERED, asyncmode: true },
  "createRequest 200 otherKey": REGISTERED,
  "createRequest 200 inMessage": REGISTERED,
  "createRequest 201 bare": { requestPk: 91502, asyncmode: false },
  "createRequest 400 phone": "invalid-input",
  "createRequest 400 authority": "invalid-input",
  "createRequest 400 profile": "invalid-input",
  "createRequest 400 prefix": "invalid-input",
  "createRequest 400 email": "invalid-input",
  "createRequest 400 environment": "configuration-rejected",
  "createRequest 400 environmentUnavailable": "configuration-rejected",
  "createRequest 400 environmentMissing": "configuration-rejected",
  "createRequest 400 documents": "invalid-input",
  "createRequest 400 documentType": "invalid-input",
  "createRequest 403 certificates": "not-permitted",
  "createRequest 403 profile": "not-permitted",
  "createRequest 412 fields": "invalid-input",
  "createRequest 500 credit": "billing-rejected",
  "createRequest 500 base64": "billing-rejected",
  "createRequest 500 required": "invalid-input",
  "createRequest 500 blank": "invalid-input",
  "createRequest 500 email": "invalid-input",
  "createRequest 500 country": "invalid-input",
  "getRequest 200 ready": {
    requestPk: 91502,
    status: "ENROLLREADY",
    email: "eva@example.com",
    mobilePhoneNumber: "+34600000001",
    registrationAuthority: "44",
    scratchcard: "5000123",
    profile: "PFnubeQAFCiudadano",
    countryName: "ES",
  },
  "getRequest 200 identified": {
    requestPk: 91502,
    videoidPk: 1501,
    status: "ENROLLREADY",
    email: "eva@example.com",
    mobilePhoneNumber: "+34600000001",
    registrationAuthority: "44",
    scratchcard: "5000123",
    profile: "PFnubeQAFCiudadano",
    countryName: "ES",
  },
  "updateRequest 200 updated": nothing,
  "cancelRequest 200 cancelled": nothing,
  "uploadDocument 200 one": [UID],
  "uploadDocument 200 several": [UID, SECOND],
  "uploadDocument 200 coded": [UID, SECOND],
  "uploadDocument 200 oneFirst": [UID],
  "uploadDocument 200 severalFirst": [UID, SECOND],
  "uploadDocument 400 tooMany": "too-many-documents",
  "deleteAllDocuments 404 notFound": "absent",
  "deleteDocument 404 notFound": "absent",
  "generateOtp 200 sent": nothing,
  "generateOtp 412 tooSoon": "otp-too-soon",
  "sign 200 signed": "signed",
  "sign 200 accepted": "accepted",
  "sign 400 secret": "invalid-input",
  "sign 400 position": "invalid-input",
  "sign 400 page": "invalid-input",
  "sign 403 code": "code-rejected",
  "sign 403 countersignature": "provider-refused",
  "sign 404 request": "not-found",
  "sign 404 documents": "documents-missing",
  "sign 404 image": "image-missing",
  "sign 412 issued": "already-issued",
  "createToken 200 created": TOKEN,
  "createToken 400 duplicate": "token-exists",
  "getToken 200 stored": STORED,
  "deleteToken 404 notFound": "absent",
  "listTokens 200 all": [STORED],
  "uploadImage 200 stored": IMAGE,
  "deleteImage 404 notFound": "absent",
  "listImages 200 all": [
    {
      uid: IMAGE,
      filename: "seal.png",
      mime: "image/png",
      width: 4,
      height: 2,
      uploadDate: "2025-07-01 09:00:00.000000",
    },
  ],
};

/** The same for answers that several calls have. */
const ANYWHERE: Record<string, unknown> = {
  "200 deleted": "deleted",
  "400 missing": "invalid-input",
  "400 notJson": "invalid-input",
  "400 incomplete": "rao-rejected",
  "400 notFound": "not-found",
  "403 officer": "rao-rejected",
  "404 officer": "rao-rejected",
  "404 notFound": "not-found",
  "412 state": "wrong-state",
  "412 upstream": "wrong-state",
  "415 type": "unsupported-file",
  "422 missing": "invalid-input",
  "422 notANumber": "invalid-input",
  "422 notAUid": "invalid-input",
  "500 configuration": "configuration-rejected",
};

function expected({ id }: Operation, { status, name, type, value }: Documented): unknown {
  if (status === 200 && type !== "application/json") return fileOf(String(value)).bytes;
  const key = [`${id} ${status} ${name}`, `${status} ${name}`].find((one) => one in OUTCOMES || one in ANYWHERE);
  if (key === undefined) throw new Error(`Nobody has said what the client makes of ${id} ${status} ${name}`);
  return key in OUTCOMES ? OUTCOMES[key] : ANYWHERE[key];
}

const of = ({ id }: Operation): Arrived[] => arrived.filter(({ operation }) => operation.id === id);
const firstSuccess = ({ responses }: Operation): Documented => {
  const found = responses.flatMap(({ examples }) => examples)[0];
  if (!found) throw new Error("An operation has no answer");
  return found;
};

describe("every call is as it is documented", () => {
  const calls = OPERATIONS.flatMap((operation) =>
    (CALLS[operation.id] ?? []).map((call, at) => ({ operation, id: operation.id, way: at + 1, call })),
  );
  test("none is left out", () => {
    expect(new Set(calls.map(({ id }) => id))).toEqual(new Set(OPERATIONS.map(({ id }) => id)));
    expect(new Set(Object.keys(CALLS))).toEqual(new Set(OPERATIONS.map(({ id }) => id)));
  });
  test.each(calls)("$id, way $way", async ({ operation, call }) => {
    await outcomeOf(operation, firstSuccess(operation), call);
    expect(of(operation).length).toBeGreaterThan(0);
    expect(arrived.flatMap((one) => one.objections)).toEqual([]);
  });
  test("between them, they send every documented field", async () => {
    const missing: string[] = [];
    for (const operation of OPERATIONS) {
      arrived = [];
      for (const call of CALLS[operation.id] ?? []) await outcomeOf(operation, firstSuccess(operation), call);
      const sent = of(operation).map(({ value }) => value);
      const has = (value: unknown, path: string): boolean =>
        path.split(".").reduce<unknown>((at, step) => (at as Fields | undefined)?.[step], value) !== undefined;
      const paths = new Set(fieldsOf(operation.body?.schema ?? {}).map(({ path }) => path));
      missing.push(
        ...[...paths]
          .filter((path) => !sent.some((value) => has(value, path)))
          .map((path) => `${operation.id} ${path}`),
      );
    }
    expect(missing).toEqual([]);
  });
});

describe("every documented answer is understood", () => {
  test.each(ANSWERS)("$operation.id: $documented.status $documented.name", async ({ operation, documented: one }) => {
    expect(await outcomeOf(operation, one, callOf(operation, one))).toEqual(expected(operation, one));
    expect(of(operation).length).toBeGreaterThan(0);
  });
});

/** The forms in which the newest generation may say a text; nobody has published one. */
const STYLES: Record<string, (status: number, text: unknown) => Fields> = {
  "{detail}": (_, text) => ({ detail: text }),
  "{status, details}": (status, text) => ({ status: `${status} Error`, details: text }),
  "{code, error}": (status, text) => ({ code: String(status), id: "0f6c1d2e", error: text }),
};

describe.each(Object.keys(STYLES))("errors in the form %s", (style) => {
  const errors = ANSWERS.filter(({ documented: { value } }) => (value as Fields)["status"] === "error");
  test.each(errors)("$operation.id: $documented.status $documented.name", async ({ operation, documented: one }) => {
    const styled = { ...one, value: STYLES[style]?.(one.status, textOf(one.value)) };
    expect(await outcomeOf(operation, styled, callOf(operation, one))).toEqual(expected(operation, one));
  });
});

describe("data and texts are found under their other names", () => {
  const OTHER: Record<string, string> = {
    detail: "details",
    details: "detail",
    message: "messsage",
    messsage: "message",
  };
  const successes = ANSWERS.filter(({ documented: { status, type } }) => status < 300 && type === "application/json");
  test.each(successes)("$operation.id: $documented.status $documented.name", async ({ operation, documented: one }) => {
    const entries = Object.entries(one.value as Fields).map(([key, value]) => [OTHER[key] ?? key, value] as const);
    const renamed = { ...one, value: Object.fromEntries(entries) };
    expect(await outcomeOf(operation, renamed, callOf(operation, one))).toEqual(expected(operation, one));
  });
});

test("no outcome is left over from an answer that is not documented any more", () => {
  const named = ANSWERS.map(({ operation: { id }, documented: { status, name } }) => `${id} ${status} ${name}`);
  expect(Object.keys(OUTCOMES).filter((key) => !named.includes(key))).toEqual([]);
  expect(Object.keys(ANYWHERE).filter((key) => !named.some((name) => name.endsWith(` ${key}`)))).toEqual([]);
});
