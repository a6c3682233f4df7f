import fc from "fast-check";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { Provider } from "../../src/provider/client.ts";
import { ANSWERS, ruleFor } from "../../src/provider/errors.ts";
import { toBody } from "../../src/provider/wire.ts";
import { CODE, MORE_CALLS, PK, SIGNER, TOKEN, UID, VIDEOID } from "./provider-samples.ts";
import { ACCOUNT, PDF, type Reply, startServer } from "./provider-server.ts";

const { email: EMAIL, mobile_phone_number: PHONE } = SIGNER;
const UPDATE = {
  scratchcard: "5039078",
  email: EMAIL,
  profile: "P",
  registration_authority: "139",
  country_name: "ES",
  given_name: "Anacanary",
};

/** Every call of the client, with something secret in each that takes it; downloads are read to their end. */
const CALL = {
  createVideoId: (p: Provider) => p.createVideoId({ email: EMAIL, mobile_phone_number: PHONE }, ACCOUNT),
  getRequest: (p: Provider) => p.getRequest(PK),
  updateRequest: (p: Provider) => p.updateRequest(PK, UPDATE),
  approve: (p: Provider) => p.approve(VIDEOID, ACCOUNT.rao),
  refuse: (p: Provider) => p.refuse(VIDEOID, ACCOUNT.rao, "reason-canary"),
  cancel: (p: Provider) => p.cancel(PK),
  upload: (p: Provider) =>
    p.upload(PK, [{ name: "Anacanary.pdf", sizeBytes: PDF.length, open: () => Readable.from([PDF]) }]),
  deleteDocument: (p: Provider) => p.deleteDocument(PK, UID),
  deleteDocuments: (p: Provider) => p.deleteDocuments(PK),
  contract: async (p: Provider) => buffer((await p.contract(PK)).body),
  signedDocument: async (p: Provider) => buffer((await p.signedDocument(PK, UID)).body),
  originalDocument: async (p: Provider) => buffer((await p.originalDocument(PK, UID)).body),
  otp: (p: Provider) => p.otp(PK),
  sign: (p: Provider) => p.sign(PK, { secret: CODE, ext_unlock_type: "biometric", ext_unlock_value: "unlock-canary" }),
  ...MORE_CALLS,
} as const satisfies Record<string, (provider: Provider) => Promise<unknown>>;

interface Example {
  call: keyof typeof CALL;
  status: number;
  body?: string | object;
  headers?: Record<string, string>;
  /** kind, code, effect, and the wait when there is one. */
  is: string;
}

const error = (message: string) => ({ status: "error", message });
const detail = (text: string) => ({ detail: text });
const old = (status: string, details: unknown) => ({ status, details });

const EXAMPLES: Example[] = [
  {
    call: "otp",
    status: 412,
    body: error("Error occured during OTP generation: Otp generated less than a minute ago"),
    is: "retryable otp-too-soon none 60000",
  },
  {
    call: "otp",
    status: 412,
    body: error("Error occured during OTP generation: Invalid request status"),
    is: "permanent wrong-state none",
  },
  {
    call: "otp",
    status: 404,
    body: error("Request 1464 not found. Cannot send OTP secret"),
    is: "permanent not-found none",
  },
  { call: "sign", status: 412, body: error("Request already in ISSUED status"), is: "permanent already-issued none" },
  { call: "sign", status: 412, body: detail("Request already in ISSUED status"), is: "permanent already-issued none" },
  { call: "sign", status: 403, body: error("Confirmation Code invalid"), is: "permanent code-rejected none" },
  {
    call: "sign",
    status: 403,
    body: old("403 Forbidden", "Confirmation Code invalid"),
    is: "permanent code-rejected none",
  },
  { call: "sign", status: 200, body: error("Confirmation Code invalid"), is: "permanent code-rejected none" },
  {
    call: "sign",
    status: 403,
    body: error("Invalid countersignature credentials"),
    is: "permanent provider-refused none",
  },
  {
    call: "sign",
    status: 404,
    body: error(`The following documents are not found in Request's folders: ${UID}`),
    is: "permanent documents-missing none",
  },
  {
    call: "sign",
    status: 404,
    body: old("404 Not Found", { [UID]: `The image ${UID} cannot be found on disk` }),
    is: "permanent image-missing none",
  },
  {
    call: "sign",
    status: 404,
    body: error("Request 1464 not found. Cannot sign documents"),
    is: "permanent not-found none",
  },
  {
    call: "sign",
    status: 400,
    body: error("Missing required parameter: 'secret'"),
    is: "permanent invalid-input none",
  },
  {
    call: "sign",
    status: 400,
    body: old("400 Bad Request", { [UID]: `Missing required parameter 'position' for file ${UID}` }),
    is: "permanent invalid-input none",
  },
  { call: "approve", status: 403, body: error("Invalid RAO credentials"), is: "permanent rao-rejected none" },
  {
    call: "approve",
    status: 400,
    body: error("Missing required parameters: incomplete RAO's credentials"),
    is: "permanent rao-rejected none",
  },
  {
    call: "approve",
    status: 404,
    body: error("Error getting RAO's id. Make sure the credentials are correct"),
    is: "permanent rao-rejected none",
  },
  {
    call: "approve",
    status: 500,
    body: error("Rao matching query does not exist."),
    is: "permanent rao-rejected none",
  },
  {
    call: "approve",
    status: 412,
    body: { code: "412", id: "8f1", error: "Invalid request status" },
    is: "permanent wrong-state none",
  },
  { call: "approve", status: 412, body: "", is: "permanent wrong-state none" },
  {
    call: "approve",
    status: 200,
    body: old("412 Precondition Failed", "Invalid request status"),
    is: "permanent wrong-state none",
  },
  {
    call: "refuse",
    status: 400,
    body: old("Invalid JSON", "Could not parse JSON body"),
    is: "permanent invalid-input none",
  },
  { call: "refuse", status: 400, body: error("No reason specified"), is: "permanent invalid-input none" },
  {
    call: "createVideoId",
    status: 500,
    body: error("Billing credentials not valid. Please check if they are base64 encoded"),
    is: "permanent billing-rejected none",
  },
  {
    call: "createVideoId",
    status: 500,
    body: error("Cannot check the remaining credit for the billing user. Please check the credentials"),
    is: "permanent billing-rejected none",
  },
  {
    call: "createVideoId",
    status: 404,
    body: error("Registration Authority not found"),
    is: "permanent configuration-rejected none",
  },
  {
    call: "createVideoId",
    status: 400,
    body: error("Videoid not enabled for Registration Authority 1234"),
    is: "permanent configuration-rejected none",
  },
  {
    call: "createVideoId",
    status: 400,
    body: error("Environment xxxxx does not exist"),
    is: "permanent configuration-rejected none",
  },
  {
    call: "createVideoId",
    status: 400,
    body: error("Missing env parameter. Please set it in settings or specify it as parameter"),
    is: "permanent configuration-rejected none",
  },
  {
    call: "createVideoId",
    status: 500,
    body: error("Configuration error: Please check the certificates path for the environment selected"),
    is: "permanent configuration-rejected none",
  },
  {
    call: "createVideoId",
    status: 403,
    body: error('Error creating new videoid request: {"detail":"You do not have permission to perform this action."}'),
    is: "permanent not-permitted none",
  },
  {
    call: "createVideoId",
    status: 500,
    body: old("500 Internal Server Error", { email: ["Enter a valid email address"] }),
    is: "permanent invalid-input none",
  },
  {
    call: "createVideoId",
    status: 500,
    body: old("500 Internal Server Error", {
      id_document_country: ["'ESX' is not a valid ISO 3166-1 alpha-2 country code"],
    }),
    is: "permanent invalid-input none",
  },
  {
    call: "createVideoId",
    status: 500,
    body: error('Upstream: {"email":["Unheard-of complaint"]}'),
    is: "permanent invalid-input none",
  },
  {
    call: "createVideoId",
    status: 500,
    body: detail("Enter a valid email address"),
    is: "permanent invalid-input none",
  },
  {
    call: "createVideoId",
    status: 400,
    body: error("Please use the mobile phone number with an international prefix"),
    is: "permanent invalid-input none",
  },
  {
    call: "createVideoId",
    status: 412,
    body: error("Error occured during request approval: Invalid request fields: mobile_phone_number"),
    is: "permanent invalid-input none",
  },
  {
    call: "createVideoId",
    status: 422,
    body: { detail: [{ loc: ["body", "email"], msg: "value is not an email", type: "value_error" }] },
    is: "permanent invalid-input none",
  },
  { call: "createVideoId", status: 422, body: "", is: "permanent invalid-input none" },
  {
    call: "createVideoId",
    status: 200,
    body: { detail: [{ loc: ["body", "email"], msg: "value is not a valid email", type: "x" }] },
    is: "permanent invalid-input none",
  },
  {
    call: "upload",
    status: 400,
    body: error("Maximum number of document reached for Request 1464"),
    is: "permanent too-many-documents none",
  },
  {
    call: "upload",
    status: 404,
    body: error("Cannot upload document: Request 1464 not found on disk"),
    is: "permanent not-found none",
  },
  {
    call: "upload",
    status: 415,
    body: error("Unsupported file type: text/plain"),
    is: "permanent unsupported-file none",
  },
  { call: "upload", status: 415, body: "", is: "permanent unsupported-file none" },
  { call: "upload", status: 413, body: "<html>413</html>", is: "permanent too-large none" },
  {
    call: "getRequest",
    status: 400,
    body: old("404 Not Found", "Request not found. Make sure the upload directory is correct."),
    is: "permanent not-found none",
  },
  { call: "getRequest", status: 400, body: { status: "404 Not Found" }, is: "permanent not-found none" },
  { call: "getRequest", status: 404, body: detail("Not Found"), is: "permanent path-unknown none" },
  { call: "getRequest", status: 404, body: "", is: "permanent path-unknown none" },
  { call: "deleteDocuments", status: 404, body: detail("Not Found"), is: "permanent path-unknown none" },
  { call: "contract", status: 404, body: detail("Not Found"), is: "permanent not-found none" },
  { call: "contract", status: 404, body: "", is: "permanent not-found none" },
  { call: "getRequest", status: 404, body: "<html>nginx</html>", is: "permanent call-unknown none" },
  {
    call: "getRequest",
    status: 404,
    body: { message: "Route GET:/request/1 not found", error: "Not Found", statusCode: 404 },
    is: "permanent call-unknown none",
  },
  { call: "getRequest", status: 405, body: detail("Method Not Allowed"), is: "permanent call-unknown none" },
  { call: "getRequest", status: 405, body: "", is: "permanent call-unknown none" },
  { call: "getRequest", status: 401, body: detail("Who are you?"), is: "permanent not-permitted none" },
  { call: "getRequest", status: 403, body: detail("no"), is: "permanent provider-refused none" },
  { call: "getRequest", status: 500, body: "Internal Server Error", is: "retryable provider-error none" },
  {
    call: "getRequest",
    status: 301,
    headers: { location: "https://elsewhere.example/" },
    is: "permanent redirected none",
  },
  { call: "otp", status: 307, headers: { location: "https://elsewhere.example/" }, is: "permanent redirected unknown" },
  { call: "otp", status: 408, is: "retryable provider-error unknown" },
  { call: "otp", status: 425, is: "retryable provider-error none" },
  { call: "otp", status: 429, is: "retryable rate-limited none" },
  { call: "otp", status: 429, headers: { "retry-after": "7" }, is: "retryable rate-limited none 7000" },
  { call: "otp", status: 429, headers: { "retry-after": "0" }, is: "retryable rate-limited none 1000" },
  { call: "otp", status: 429, headers: { "retry-after": "86400" }, is: "retryable rate-limited none 900000" },
  { call: "otp", status: 429, headers: { "retry-after": "soon" }, is: "retryable rate-limited none" },
  { call: "otp", status: 503, headers: { "retry-after": "120" }, is: "retryable provider-error unknown 120000" },
  { call: "otp", status: 503, is: "retryable provider-error unknown" },
  { call: "sign", status: 500, body: error("something broke"), is: "retryable provider-error unknown" },
  { call: "sign", status: 502, body: "<html>bad gateway</html>", is: "retryable provider-error unknown" },
  { call: "sign", status: 599, is: "retryable provider-error unknown" },
  { call: "sign", status: 200, body: error("something broke"), is: "retryable provider-error unknown" },
  { call: "approve", status: 400, body: detail("nobody has documented this"), is: "permanent provider-refused none" },
  {
    call: "createRequest",
    status: 400,
    body: error("Missing parameter: mobile_phone_number required"),
    is: "permanent invalid-input none",
  },
  {
    call: "createRequest",
    status: 400,
    body: error("The id_document_type specified is not valid. Valid options are IDC, PAS, PNO, TIN, CI, CE"),
    is: "permanent invalid-input none",
  },
  {
    call: "createRequest",
    status: 400,
    body: error("The specified environment is not available"),
    is: "permanent configuration-rejected none",
  },
  {
    call: "createRequest",
    status: 400,
    body: error("Error occured during request approval: Missing required docs"),
    is: "permanent invalid-input unknown",
  },
  {
    call: "createRequest",
    status: 412,
    body: error("Error occured during request approval: Invalid request fields: mobile_phone_number"),
    is: "permanent invalid-input unknown",
  },
  {
    call: "createRequest",
    status: 403,
    body: error("Error occured during request approval: Invalid RAO credentials"),
    is: "permanent rao-rejected unknown",
  },
  {
    call: "createRequest",
    status: 502,
    body: error("Error occured during request approval: upstream is away"),
    is: "retryable provider-error unknown",
  },
  { call: "createRequest", status: 403, body: error("Invalid RAO Credentials"), is: "permanent rao-rejected none" },
  {
    call: "createRequest",
    status: 404,
    body: error("Error getting RAO's id. Make sure the credentials are correct"),
    is: "permanent rao-rejected none",
  },
  {
    call: "createRequest",
    status: 403,
    body: error("You do not have permission to perform this action. Check your authentication certificates"),
    is: "permanent not-permitted none",
  },
  {
    call: "createRequest",
    status: 500,
    body: error("Cannot check the remaining credit for the billing user. Please check the credentials"),
    is: "permanent billing-rejected none",
  },
  {
    call: "createRequest",
    status: 500,
    body: old("500 Internal Server Error", { id_document_country: ["'ESX' is not a valid ISO 3166-1 country code"] }),
    is: "permanent invalid-input none",
  },
  {
    call: "uploadEvidences",
    status: 400,
    body: old("Invalid JSON", "Could not parse JSON body - Expecting ',' delimiter: line 5 column 11 (char 205)"),
    is: "permanent invalid-input none",
  },
  { call: "uploadEvidences", status: 404, body: error("Request not found"), is: "permanent not-found none" },
  { call: "uploadVideo", status: 404, body: error("Request not found"), is: "permanent not-found none" },
  { call: "downloadVideo", status: 400, body: old("404 Not Found", "404 Not Found"), is: "permanent not-found none" },
  {
    call: "createToken",
    status: 400,
    body: error("A token with these credentials already exist!"),
    is: "permanent token-exists none",
  },
  {
    call: "createToken",
    status: 400,
    body: error("Missing required parameters: username, password, pin"),
    is: "permanent invalid-input none",
  },
  {
    call: "createToken",
    status: 404,
    body: error("Error getting RAO's id. Make sure the credentials are correct."),
    is: "permanent rao-rejected none",
  },
  { call: "getToken", status: 404, body: error("Token X not found"), is: "permanent not-found none" },
  { call: "deleteToken", status: 404, body: detail("Not Found"), is: "permanent path-unknown none" },
  {
    call: "uploadImage",
    status: 415,
    body: error("Image file type not supported: image/gif"),
    is: "permanent unsupported-file none",
  },
  {
    call: "uploadImage",
    status: 400,
    body: error("Missing required parameter: 'image'"),
    is: "permanent invalid-input none",
  },
  { call: "getImage", status: 404, body: error("Image with uid x not found"), is: "permanent not-found none" },
];

describe("each row of the table of answers", () => {
  test.each(
    EXAMPLES.map(
      (example) => [`${example.call} ${example.status} ${JSON.stringify(example.body ?? "")}`, example] as const,
    ),
  )("%s", async (_, { call, status, body = "", headers = {}, is }) => {
    const { provider } = await startServer({ status, body, headers });
    const failure: unknown = await CALL[call](provider).catch((thrown: unknown) => thrown);
    if (!(failure instanceof RetryableError || failure instanceof PermanentError)) throw new Error("no failure");
    const waitMs = failure instanceof RetryableError ? failure.retryAfterMs : undefined;
    expect([failure.kind, failure.code, failure.effect, waitMs].join(" ").trim()).toBe(is);
    expect(failure.message).toMatch(/^(GET|POST|PUT|DELETE) \/[a-z/{}_?=]+ answered \d{3}/);
  });

  test("has an example that falls under it", () => {
    const used = new Set(
      EXAMPLES.map(({ call, status, body = "" }) =>
        ruleFor(call as Parameters<typeof ruleFor>[0], {
          status,
          body: toBody(typeof body === "string" ? body : JSON.stringify(body)),
        }),
      ),
    );
    expect(ANSWERS.filter((rule) => !used.has(rule)).map(({ code, status }) => `${code} ${status.join()}`)).toEqual([]);
  });
});

const CANARIES = [
  "Lopezcanary",
  "A9999999E-canary",
  "203.0.113.7",
  "callback-canary",
  "9001800-canary",
  "token-password-canary",
  "token-pin-canary",
  EMAIL,
  PHONE,
  CODE,
  "unlock-canary",
  "Anacanary",
  "reason-canary",
  ACCOUNT.billingPassword,
  Buffer.from(ACCOUNT.billingPassword).toString("base64"),
  "rao-password-canary",
  "pin-canary-77",
  ACCOUNT.billingUsername,
];

/** What each call sends that must not come back. */
const OWN: Partial<Record<keyof typeof CALL, string[]>> = {
  createVideoId: [EMAIL, PHONE, ACCOUNT.billingUsername, ACCOUNT.billingPassword],
  updateRequest: [EMAIL, "Anacanary"],
  approve: ["rao-password-canary", "pin-canary-77", "9001800"],
  refuse: ["rao-password-canary", "pin-canary-77", "reason-canary"],
  sign: [CODE, "unlock-canary"],
  upload: ["Anacanary.pdf"],
  createRequest: [
    ...["Anacanary", "Lopezcanary", "A9999999E-canary", "callback-canary", "rao-password-canary", "pin-canary-77"],
    ...[ACCOUNT.billingPassword, Buffer.from(ACCOUNT.billingPassword).toString("base64")],
  ],
  uploadEvidences: ["Anacanary", "Lopezcanary", "A9999999E-canary", "203.0.113.7"],
  uploadVideo: ["Anacanary.mp4"],
  uploadHashes: ["Anacanary.pdf", "Anacanary.json"],
  uploadImage: ["Anacanary.png"],
  createToken: ["9001800-canary", "token-password-canary", "token-pin-canary"],
  getToken: [TOKEN],
  deleteToken: [TOKEN],
};

test("a provider that repeats everything it was sent, in several guises, reveals nothing in the error", async () => {
  const echo: Reply = (response, request) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const sent = Buffer.concat(chunks).toString("utf8");
      const text = `${sent.slice(0, 300)} ${CANARIES.join(" ")} bob@example.org 0034 611 22 33 44`;
      response.writeHead(400).end(JSON.stringify({ status: "error", details: { [text]: [text] } }));
    });
  };
  for (const name of Object.keys(CALL) as (keyof typeof CALL)[]) {
    const { provider } = await startServer(echo);
    const failure = (await CALL[name](provider).catch((thrown: unknown) => thrown)) as Error;
    const said = `${failure.message}`;
    expect(said).toContain("answered 400");
    for (const canary of [...(OWN[name] ?? []), EMAIL, PHONE, "bob@example.org", "611 22 33 44"])
      expect(said).not.toContain(canary);
    expect(said.length).toBeLessThanOrEqual(200);
  }
});

test.each(Object.entries(OWN).flatMap(([name, canaries]) => canaries.map((canary) => [name, canary] as const)))(
  "%s does not say %s again, when that is all that the provider says",
  async (name, canary) => {
    for (const body of [error(`no: ${canary}.`), { details: { [canary]: [`no: ${canary}.`], email: [canary] } }]) {
      const { provider } = await startServer({ status: 422, body });
      const failure = (await CALL[name as keyof typeof CALL](provider).catch(
        (thrown: unknown) => thrown,
      )) as PermanentError;
      expect(failure.message).toContain("answered 422: ");
      expect(`${failure.message} ${JSON.stringify(failure.fields ?? {})}`).not.toContain(canary);
    }
  },
);

const anyJson = fc.oneof(
  fc.jsonValue(),
  fc.record(
    {
      status: fc.oneof(fc.string(), fc.constantFrom("success", "error", "404 Not Found", "Invalid JSON", "200 OK")),
      details: fc.jsonValue(),
      detail: fc.jsonValue(),
      message: fc.jsonValue(),
      error: fc.jsonValue(),
    },
    { requiredKeys: [] },
  ),
  fc.record({
    status: fc.constant("success"),
    detail: fc.oneof(
      fc.record({
        request_pk: fc.oneof(fc.double(), fc.string(), fc.constant("1")),
        videoid_pk: fc.oneof(fc.integer(), fc.constant(2)),
        videoid_link: fc.jsonValue(),
      }),
      fc.array(
        fc.record({ uid: fc.jsonValue(), name: fc.jsonValue(), digest: fc.jsonValue(), errorCode: fc.jsonValue() }),
      ),
    ),
  }),
  fc.record({
    details: fc.record({
      pk: fc.jsonValue(),
      status: fc.jsonValue(),
      videoid_data: fc.jsonValue(),
      email: fc.jsonValue(),
    }),
  }),
);
const anyBody = fc.oneof(
  { weight: 6, arbitrary: anyJson.map((value) => Buffer.from(JSON.stringify(value))) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.string({ unit: "binary" }).map((text) => Buffer.from(text)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("{", "%PDF-", "<html>", '{"__proto__":{"status":"x"}}', "null", "[[[[[[")
      .map((text) => Buffer.from(text)),
  },
);

test("whatever comes as an answer, a call gives a valid result or one of the two failures", async () => {
  let reply: { status: number; body: Buffer; type: string } = { status: 200, body: Buffer.alloc(0), type: "" };
  const { provider } = await startServer((response, request) => {
    request.resume();
    request.on("end", () => response.writeHead(reply.status, { "content-type": reply.type }).end(reply.body));
  });
  const status = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(200, 201, 202) },
    fc.integer({ min: 200, max: 599 }),
    fc.constantFrom(600, 999),
  );
  const type = fc.constantFrom("application/json", "application/pdf", "text/html", "x");
  await fc.assert(
    fc.asyncProperty(
      status,
      anyBody,
      type,
      fc.constantFrom(...(Object.keys(CALL) as (keyof typeof CALL)[])),
      async (s, body, t, name) => {
        reply = { status: s, body, type: t };
        try {
          check(name, await CALL[name](provider));
        } catch (failure) {
          if (!(failure instanceof RetryableError || failure instanceof PermanentError)) throw failure;
          expect(failure.code).toMatch(/^[a-z]+(-[a-z]+)*$/);
          expect(failure.message.length).toBeLessThanOrEqual(200);
          if (READS.has(name)) expect(failure.effect).toBe("none");
        }
      },
    ),
    { numRuns: 600 },
  );
});

const READS: ReadonlySet<keyof typeof CALL> = new Set([
  ...(["contract", "getRequest", "signedDocument", "originalDocument", "downloadVideo"] as const),
  ...(["signedHash", "originalHash", "getToken", "listTokens", "getImage", "listImages"] as const),
]);

/** What each kind of file begins with. */
const BEGINS: Partial<Record<keyof typeof CALL, RegExp>> = {
  contract: /%PDF-/,
  signedDocument: /%PDF-/,
  originalDocument: /%PDF-/,
  signedHash: /^0/,
  originalHash: /^\s*\{[^]*"messageDigest"/,
  getImage: /^.PNG/,
  downloadVideo: /^[^{[<]/,
};

function check(name: keyof typeof CALL, result: unknown): void {
  const fields = result as Record<string, unknown>;
  const begins = BEGINS[name];
  if (begins) expect((result as Buffer).toString("latin1", 0, 4_096)).toMatch(begins);
  else if (name === "createVideoId" || name === "createRequest")
    for (const pk of name === "createRequest" ? ["requestPk"] : ["requestPk", "videoidPk"])
      expect(Number.isSafeInteger(fields[pk]) && Number(fields[pk]) > 0).toBe(true);
  else if (name === "getRequest") expect(typeof fields.status).toBe("string");
  else if (name === "upload" || name === "uploadHashes")
    expect((result as string[]).filter((uid) => ONE_UID.test(uid))).toHaveLength(name === "upload" ? 1 : 2);
  else if (name === "createToken" || name === "uploadImage") expect(result).toMatch(ONE_UID);
  else if (name === "listTokens" || name === "listImages")
    for (const one of result as { uid: string }[]) expect(one.uid).toMatch(ONE_UID);
  else if (name === "getToken") expect(typeof fields.hasPin).toBe("boolean");
  else if (name === "sign") expect(["signed", "accepted"]).toContain(result);
  else if (name.startsWith("delete")) expect(["deleted", "absent"]).toContain(result);
  else expect(result).toBeUndefined();
}

const ONE_UID = /^[\w-][\w.-]*$/;
