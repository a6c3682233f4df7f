import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createProvider } from "../../src/provider/client.ts";
import type { DocumentUid, RequestPk, VideoIdPk } from "../../src/core/signing.ts";
import type { UploadFile } from "../../src/provider/multipart.ts";
import { ACCOUNT, partsOf, PDF, startServer } from "./provider-server.ts";

const PK = 1012632 as RequestPk;
const VIDEOID = 16673 as VideoIdPk;
const UID = "604b889f-0000-4000-8000-000000000001" as DocumentUid;
const SIGNER = { email: "ana.canary@example.com", mobile_phone_number: "+34699999999" };
const CREATED = {
  status: "success",
  messsage: "VideoID created with pk 16673",
  detail: { videoid_pk: 16673, videoid_link: "https://cms.example.com/lcmpl/videoid/abc", request_pk: 1012632 },
};
const OK = { body: { status: "success", message: "done" } };

function fileOf(name: string, bytes: Buffer, sha256?: string): UploadFile {
  return { name, sizeBytes: bytes.length, sha256, open: () => Readable.from([bytes]) };
}

function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("creating a request sends the six documented fields and the environment, the billing password in Base64", async () => {
  const { provider, calls } = await startServer({ body: CREATED });
  expect(await provider.createVideoId(SIGNER, { ...ACCOUNT, env: "sandbox" })).toEqual({
    requestPk: PK,
    videoidPk: VIDEOID,
    videoidLink: "https://cms.example.com/lcmpl/videoid/abc",
  });
  expect(calls[0]).toMatchObject({ method: "POST", url: "/oneshot/api/v1/videoid" });
  expect(calls[0]?.headers["content-type"]).toBe("application/json");
  expect(JSON.parse(calls[0]?.body.toString() ?? "")).toEqual({
    ...SIGNER,
    registration_authority: "139",
    profile: "PFnubeQAFCiudadano",
    billing_username: "billing-user-canary",
    billing_password: Buffer.from("billing/pass+canary").toString("base64"),
    env: "sandbox",
  });
});

test("what is not configured is not sent: the provider's own settings stand in for it", async () => {
  const { provider, calls } = await startServer({ body: CREATED });
  await provider.createVideoId(SIGNER, { rao: ACCOUNT.rao });
  expect(JSON.parse(calls[0]?.body.toString() ?? "")).toEqual(SIGNER);
});

test.each([
  [
    "first-generation key",
    { status: "201 Created", details: { videoid_pk: "150", request_pk: "45836", videoid_link: "" } },
  ],
  ["no envelope", { videoid_pk: 150, request_pk: 45836 }],
  ["a link nobody may click", { detail: { videoid_pk: 150, request_pk: 45836, videoid_link: "javascript:alert(1)" } }],
])("an answer to create with %s is read", async (_, body) => {
  const { provider } = await startServer({ status: 201, body });
  expect(await provider.createVideoId(SIGNER, ACCOUNT)).toEqual({
    requestPk: 45836,
    videoidPk: 150,
    videoidLink: undefined,
  });
});

test.each([
  ["nothing", { body: "" }],
  ["no identifiers", OK],
  ["an HTML page", { body: "<!DOCTYPE html><title>Welcome</title>" }],
  ["JSON that breaks off", { body: '{"status":"success","detail":{"videoid_pk":1' }],
  ["a negative identifier", { body: { detail: { videoid_pk: -1, request_pk: 4 } } }],
  ["two mebibytes", { body: JSON.stringify({ detail: "x".repeat(2 * 1024 * 1024) }) }],
])("a create answered with %s may have worked", async (_, reply) => {
  const { provider } = await startServer(reply);
  await expect(provider.createVideoId(SIGNER, ACCOUNT)).rejects.toMatchObject({
    kind: "retryable",
    code: "unexpected-answer",
    effect: "unknown",
  });
});

const REQUEST = {
  pk: 1012632,
  status: "ENROLLREADY",
  email: "a@example.com",
  registration_authority: 139,
  scratchcard: 5039078,
  country_name: "ES",
};

test.each([
  ["details", { status: "success", details: REQUEST }],
  ["detail", { status: "success", detail: REQUEST }],
  ["nothing", REQUEST],
  ["numbers as text", { status: "200 OK", details: { ...REQUEST, pk: "1012632" } }],
])("a request under %s is read", async (_, body) => {
  const { provider, calls } = await startServer({ body });
  expect(await provider.getRequest(PK)).toEqual({
    requestPk: PK,
    status: "ENROLLREADY",
    email: "a@example.com",
    registrationAuthority: "139",
    scratchcard: "5039078",
    countryName: "ES",
  });
  expect(calls[0]).toMatchObject({ method: "GET", url: "/oneshot/api/v1/request/1012632" });
});

test("a request status nobody has documented passes as it is, with what the video record says", async () => {
  const videoid_data = { pk: 150, videoid_link: "https://x.example/v", refusal_reason: "blurred" };
  const { provider } = await startServer({
    body: { status: "success", details: { status: "MOONPHASE", email: null, videoid_data } },
  });
  expect(await provider.getRequest(PK)).toEqual({
    requestPk: PK,
    status: "MOONPHASE",
    videoidPk: 150,
    videoidLink: "https://x.example/v",
    refusalReason: "blurred",
  });
});

test("an answer about another request is not taken", async () => {
  const { provider } = await startServer({ body: { details: { ...REQUEST, pk: 5 } } });
  await expect(provider.getRequest(PK)).rejects.toMatchObject({ code: "unexpected-answer", effect: "none" });
});

test("an envelope's own success is not taken for a request's status", async () => {
  const { provider } = await startServer(OK);
  await expect(provider.getRequest(PK)).rejects.toMatchObject({ code: "unexpected-answer" });
});

test("approve and refuse send one of the two forms of credentials, always with the RAO", async () => {
  const { provider, calls } = await startServer({ body: "" });
  await provider.approve(VIDEOID, ACCOUNT.rao);
  await provider.refuse(VIDEOID, { rao: "1400", token: "3bf8d8eb-token" }, "picture unreadable");
  expect(calls.map(({ method, url, body }) => [method, url, JSON.parse(body.toString()) as unknown])).toEqual([
    [
      "POST",
      "/oneshot/api/v1/videoid/16673/approve",
      { username: "9001800", password: "rao-password-canary", pin: "pin-canary-77", rao: "1400" },
    ],
    [
      "POST",
      "/oneshot/api/v1/videoid/16673/refuse",
      { token: "3bf8d8eb-token", rao: "1400", reason: "picture unreadable" },
    ],
  ]);
});

test("a refusal without a reason does not leave the house", async () => {
  const { provider, calls } = await startServer(OK);
  await expect(provider.refuse(VIDEOID, ACCOUNT.rao, "  ")).rejects.toMatchObject({
    code: "invalid-input",
    effect: "none",
  });
  expect(calls).toEqual([]);
});

test("update, cancel and otp use the documented calls", async () => {
  const { provider, calls } = await startServer(OK);
  const update = {
    scratchcard: "5039078",
    email: "b@example.com",
    profile: "P",
    registration_authority: "139",
    country_name: "ES",
  };
  await provider.updateRequest(PK, update);
  await provider.cancel(PK);
  await provider.otp(PK);
  await provider.otp(PK, { deliveryMethod: "whatsapp" });
  expect(calls.map(({ method, url }) => `${method} ${url.slice("/oneshot/api/v1".length)}`)).toEqual([
    "PUT /request/1012632",
    "DELETE /request/1012632",
    "POST /otp/1012632",
    "POST /otp/1012632",
  ]);
  expect(JSON.parse(calls[0]?.body.toString() ?? "")).toEqual(update);
  expect(calls[2]?.headers["content-length"]).toBe("0");
  expect(JSON.parse(calls[3]?.body.toString() ?? "")).toEqual({ delivery_method: "whatsapp" });
});

test.each([
  ["signed", { body: { status: "success", message: "Documents correctly signed" } }],
  ["signed", { body: "" }],
  [
    "accepted",
    {
      body: {
        status: "200 OK",
        details: "Your documents are going to be signed. You will receive them in a few seconds",
      },
    },
  ],
  ["accepted", { status: 202, body: { status: "success" } }],
])("sign tells %s apart", async (outcome, reply) => {
  const { provider } = await startServer(reply);
  expect(await provider.sign(PK, { secret: "052174" })).toBe(outcome);
});

test("sign sends the code, the appearance, and nothing that was not given", async () => {
  const { provider, calls } = await startServer(OK);
  await provider.sign(PK, { secret: "052174", appearance: { page: 0, position: "30, 100, 165, 150" } });
  await provider.sign(PK, { ext_unlock_type: "biometric", ext_unlock_value: "12345678-12345678" });
  expect(calls.map(({ body }) => JSON.parse(body.toString()) as unknown)).toEqual([
    { secret: "052174", signature: { appearance: { page: 0, position: "30, 100, 165, 150" } } },
    { ext_unlock_type: "biometric", ext_unlock_value: "12345678-12345678" },
  ]);
});

test("an upload sends each document as a part of its own, byte for byte, with its length told beforehand", async () => {
  const { provider, calls } = await startServer({
    body: {
      status: "success",
      detail: [
        { name: "file2", uid: "uid-b" },
        { name: "file", uid: "uid-a" },
      ],
    },
  });
  const other = Buffer.from("%PDF-1.4 \0\xff\r\n--boundary\r\n%%EOF", "latin1");
  const files = [fileOf("contract.pdf", PDF, digest(PDF)), fileOf("annex.pdf", other, digest(other))];
  expect(await provider.upload(PK, files)).toEqual(["uid-a", "uid-b"]);
  const [call] = calls;
  expect(call).toMatchObject({ method: "POST", url: "/oneshot/api/v1/document/1012632" });
  expect(call?.headers["content-length"]).toBe(String(call?.body.length));
  expect(call?.headers["transfer-encoding"]).toBeUndefined();
  const parts = partsOf(call?.body ?? Buffer.alloc(0), call?.headers["content-type"] ?? "");
  expect(parts.map(({ head }) => head.split("\r\n")[0])).toEqual([
    'Content-Disposition: form-data; name="file"; filename="contract.pdf"',
    'Content-Disposition: form-data; name="file2"; filename="annex.pdf"',
  ]);
  expect(parts.map(({ bytes }) => bytes)).toEqual([PDF, other]);
});

test("a file name of any kind arrives inside its quotes and adds no header", async () => {
  const { provider, calls } = await startServer({ body: { detail: { name: "file", uid: "u" } } });
  const names = [
    'a"b.pdf',
    "x\r\nX-Evil: 1\r\n\r\n.pdf",
    "ñandú 契約 🙂.pdf",
    "end\\",
    "lone\uD800.pdf",
    "\u0000\u2028.pdf",
    "../../etc/passwd",
  ];
  for (const name of names) await provider.upload(PK, [fileOf(name, PDF)]);
  const quoted = calls.map(({ body, headers }) => {
    const [part] = partsOf(body, headers["content-type"] ?? "");
    expect(part?.head.split("\r\n")).toHaveLength(2);
    return /filename="([^"]*)"$/m.exec(part?.head ?? "")?.[1];
  });
  expect(quoted).toEqual([
    "a%22b.pdf",
    "x%0D%0AX-Evil: 1%0D%0A%0D%0A.pdf",
    "ñandú 契約 🙂.pdf",
    "end%5C",
    "lone\uFFFD.pdf",
    "%00%E2%80%A8.pdf",
    "../../etc/passwd",
  ]);
});

test.each([
  ["a bare uid", { status: "200 OK", details: UID }, 1, [UID]],
  ["an object", { status: "success", detail: { name: "file", uid: UID } }, 1, [UID]],
  [
    "an object in an array",
    { status: "success", detail: [{ name: "whatever", uid: UID, errorCode: null, errorMessage: "" }] },
    1,
    [UID],
  ],
  [
    "first-generation keys in another order",
    {
      details: [
        { digest: "D2", uid: "u2", key: "file2", filename: "b.pdf" },
        { digest: "D1", uid: "u1", key: "file", filename: "a.pdf" },
      ],
    },
    2,
    ["u1", "u2"],
  ],
  [
    "digests alone, in another order",
    {
      details: [
        { digest: digest(Buffer.from("%PDF-1")), uid: "u2" },
        { digest: digest(Buffer.from("%PDF-0")), uid: "u1" },
      ],
    },
    2,
    ["u1", "u2"],
  ],
  [
    "file names, in another order",
    {
      detail: [
        { name: "1.pdf", uid: "u2" },
        { name: "0.pdf", uid: "u1" },
      ],
    },
    2,
    ["u1", "u2"],
  ],
  ["document_uid, as everywhere else", { detail: { name: "file", document_uid: "u1" } }, 1, ["u1"]],
  ["uids alone", { detail: [{ uid: "u1" }, { uid: "u2" }] }, 2, ["u1", "u2"]],
  ["bare uids", { detail: ["u1", "u2"] }, 2, ["u1", "u2"]],
])("uids in the form of %s are given to their documents", async (_, body, count, uids) => {
  const { provider } = await startServer({ body });
  const files = Array.from({ length: count }, (__, i) => {
    const bytes = Buffer.from(`%PDF-${i}`);
    return fileOf(`${i}.pdf`, bytes, digest(bytes));
  });
  expect(await provider.upload(PK, files)).toEqual(uids);
});

test.each([
  ["fewer uids than documents", { detail: { name: "file", uid: "u1" } }],
  [
    "the same part twice",
    {
      detail: [
        { name: "file", uid: "u1" },
        { name: "file", uid: "u2" },
      ],
    },
  ],
  [
    "the same uid twice",
    {
      detail: [
        { name: "file", uid: "u1" },
        { name: "file2", uid: "u1" },
      ],
    },
  ],
  [
    "names that are nobody's",
    {
      detail: [
        { name: "x", uid: "u1" },
        { name: "y", uid: "u2" },
      ],
    },
  ],
  ["only one of two named", { detail: [{ name: "file", uid: "u1" }, { uid: "u2" }] }],
  [
    "a digest that is another document's",
    {
      detail: [
        { name: "file", uid: "u1", digest: digest(Buffer.from("z")) },
        { name: "file2", uid: "u2" },
      ],
    },
  ],
  [
    "a uid that climbs out of its path",
    {
      detail: [
        { name: "file", uid: "../../x" },
        { name: "file2", uid: "u2" },
      ],
    },
  ],
  ["no uids", { status: "success", message: "stored" }],
  ["nothing", ""],
])("an upload answered with %s is not certain", async (_, body) => {
  const { provider } = await startServer({ body });
  const files = ["0", "1"].map((n) => fileOf(`${n}.pdf`, Buffer.from(`%PDF-${n}`), digest(Buffer.from(`%PDF-${n}`))));
  await expect(provider.upload(PK, files)).rejects.toMatchObject({ code: "unexpected-answer", effect: "unknown" });
});

test("a document that the provider did not take fails the upload with what it said", async () => {
  const { provider } = await startServer({
    body: {
      status: "success",
      detail: [
        { name: "file", uid: "u1" },
        { name: "file2", uid: null, errorCode: 415, errorMessage: "not a PDF: Ana Lopez.pdf" },
      ],
    },
  });
  const upload = provider.upload(PK, [fileOf("a.pdf", PDF), fileOf("Ana Lopez.pdf", PDF)]);
  await expect(upload).rejects.toMatchObject({ kind: "permanent", code: "document-rejected", effect: "unknown" });
  await expect(upload).rejects.toThrow("not a PDF: [removed]");
});

test.each([
  ["grew", (bytes: Buffer) => Buffer.concat([bytes, Buffer.from("x")])],
  ["shrank", (bytes: Buffer) => bytes.subarray(1)],
  ["is not what it was", (bytes: Buffer) => Buffer.from(bytes.map((byte) => byte ^ 1))],
])("a document that %s breaks its upload off before the end", async (how, change) => {
  const { provider, calls } = await startServer({ body: { detail: { name: "file", uid: UID } } });
  const file = { ...fileOf("a.pdf", PDF, digest(PDF)), open: () => Readable.from([change(PDF)]) };
  const upload = provider.upload(PK, [file]);
  await expect(upload).rejects.toMatchObject({ kind: "permanent", code: "document-changed", effect: "unknown" });
  await expect(upload).rejects.toThrow(how);
  expect(calls).toEqual([]);
});

test("a document that cannot be read breaks its upload off, and every file is closed again", async () => {
  const { provider } = await startServer({ body: { detail: { name: "file", uid: UID } } });
  const broken = new Readable({
    read() {
      this.destroy(Object.assign(new Error("disk"), { code: "EIO" }));
    },
  });
  const upload = provider.upload(PK, [{ name: "a.pdf", sizeBytes: 10, open: () => broken }]);
  await expect(upload).rejects.toMatchObject({ kind: "retryable", code: "document-unreadable", effect: "unknown" });
  expect(broken.destroyed).toBe(true);
});

test("an upload that is answered before its end, and cut, gives the answer or is not known", async () => {
  const { provider } = await startServer((response) => {
    response.writeHead(413, { connection: "close" }).end('{"status":"error","message":"too large"}');
  });
  const bytes = Buffer.alloc(8 * 1024 * 1024, 1);
  const error: unknown = await provider.upload(PK, [fileOf("a.pdf", bytes)]).catch((thrown: unknown) => thrown);
  expect(["too-large", "no-answer"]).toContain((error as { code: string }).code);
});

test.each([
  ["deleted", { body: "" }],
  ["deleted", OK],
  ["absent", { status: 404, body: { status: "error", message: "Document not found with uid x and type original" } }],
  ["absent", { status: 400, body: { status: "404 Not Found", details: "No documents found for specified Request" } }],
])("a delete ends as %s", async (outcome, reply) => {
  const { provider, calls } = await startServer(reply);
  expect(await provider.deleteDocument(PK, UID)).toBe(outcome);
  expect(await provider.deleteDocuments(PK)).toBe(outcome);
  expect(calls.map(({ method, url }) => `${method} ${url}`)).toEqual([
    `DELETE /oneshot/api/v1/document/1012632/${UID}`,
    "DELETE /oneshot/api/v1/document/1012632",
  ]);
});

test("a delete whose 404 does not say what is missing is believed once the request could be asked for", async () => {
  const bare = { status: 404, body: { detail: "Not Found" } };
  for (const [request, outcome] of [
    [{ body: { status: "200 OK", details: { pk: 1012632, status: "ENROLLREADY" } } }, "absent"],
    [{ status: 400, body: { status: "404 Not Found", details: "Request not found" } }, "absent"],
    [bare, "path-unknown"], // a wrong base path: nothing is gone
    [{ status: 503, body: "" }, "provider-error"],
  ] as const) {
    const { provider } = await startServer((response, { method }) => {
      const { status = 200, body } = (method === "GET" ? request : bare) as { status?: number; body: unknown };
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    const code = (error: unknown) => (error as { code: string }).code;
    expect(await provider.deleteDocument(PK, UID).catch(code)).toBe(outcome);
    expect(await provider.deleteDocuments(PK).catch(code)).toBe(outcome);
  }
});

test("a delete that reached no provider but some other web server deleted nothing", async () => {
  const { provider } = await startServer({ status: 404, body: "<html><h1>404</h1></html>" });
  await expect(provider.deleteDocument(PK, UID)).rejects.toMatchObject({ code: "call-unknown" });
});

test("a download is handed out as a stream with its declared length", async () => {
  const { provider, calls } = await startServer({
    headers: { "content-type": "text/plain", "content-length": String(PDF.length) },
    body: PDF,
  });
  const { body, declaredBytes } = await provider.contract(PK);
  expect(declaredBytes).toBe(PDF.length);
  expect(await buffer(body)).toEqual(PDF);
  expect(calls[0]?.url).toBe("/oneshot/api/v1/contract/1012632");
});

test("a download may have what its original had before the header", async () => {
  const file = Buffer.concat([Buffer.from("Received: from a scanner\r\n\r\n"), PDF]);
  const { provider } = await startServer((response) => {
    response.write(file.subarray(0, 12));
    setImmediate(() => response.end(file.subarray(12)));
  });
  expect(await buffer((await provider.signedDocument(PK, UID)).body)).toEqual(file);
});

test("a download whose first bytes come one by one is recognised", async () => {
  const { provider } = await startServer((response) => {
    const bytes = [...PDF.subarray(0, 8)];
    const send = () => {
      const byte = bytes.shift();
      if (byte === undefined) return response.end(PDF.subarray(8));
      response.write(Buffer.from([byte]));
      setImmediate(send);
    };
    send();
  });
  expect(await buffer((await provider.contract(PK)).body)).toEqual(PDF);
});

test.each([
  ["a JSON error with status 200", { body: { status: "error", message: "Document not found" } }, "not-found"],
  [
    "a JSON error declared as a PDF",
    {
      headers: { "content-type": "application/pdf" },
      body: '{"status":"404 Not Found","details":"Request not found"}',
    },
    "not-found",
  ],
  ["JSON that is no error", { body: { hello: "world" } }, "unexpected-answer"],
  ["an HTML page", { headers: { "content-type": "application/pdf" }, body: "<html></html>" }, "unexpected-answer"],
  ["JSON that speaks of PDFs", { body: ' {"said":"%PDF-1.7 was expected"}' }, "unexpected-answer"],
  ["a header that is too far away", { body: Buffer.concat([Buffer.alloc(1_100, 0x78), PDF]) }, "unexpected-answer"],
  ["nothing", { body: "" }, "unexpected-answer"],
  ["too little", { body: "%PD" }, "unexpected-answer"],
  ["part of a PDF", { status: 206, body: PDF }, "unexpected-answer"],
  ["a redirect", { status: 302, headers: { location: "http://127.0.0.1:1/" }, body: "" }, "redirected"],
  ["many bytes that are no PDF", { body: Buffer.alloc(3 * 1024 * 1024, 0x20) }, "unexpected-answer"],
])("a download answered with %s is a failure", async (_, reply, code) => {
  const { provider } = await startServer(reply);
  await expect(provider.contract(PK)).rejects.toMatchObject({ code, effect: "none" });
});

test("a download that ends before its declared length errors as truncated", async () => {
  const { provider } = await startServer((response) => {
    response.writeHead(200, { "content-length": String(PDF.length) });
    response.write(PDF.subarray(0, 4_000), () => response.destroy());
  });
  const { body } = await provider.contract(PK);
  await expect(buffer(body)).rejects.toMatchObject({ kind: "retryable", code: "truncated", effect: "none" });
});

test("a download larger than the limit is refused by its declaration, or stopped on its way", async () => {
  const declared = await startServer(
    { headers: { "content-length": String(PDF.length) }, body: PDF },
    { maxDocumentBytes: 100 },
  );
  await expect(declared.provider.contract(PK)).rejects.toMatchObject({ kind: "permanent", code: "too-large" });
  const chunked = await startServer((response) => void response.write(PDF), { maxDocumentBytes: 100 });
  const { body } = await chunked.provider.contract(PK);
  await expect(buffer(body)).rejects.toMatchObject({ kind: "permanent", code: "too-large" });
});

test("a download that falls silent errors after the idle time", async () => {
  const { provider } = await startServer((response) => void response.writeHead(200).write(PDF), {
    timeoutsMs: { transferIdle: 100 },
  });
  const { body } = await provider.contract(PK);
  await expect(buffer(body)).rejects.toMatchObject({ kind: "retryable", code: "no-answer", effect: "none" });
});

test("a download stops when its caller stops, and when it is thrown away", async () => {
  const closed: Promise<unknown>[] = [];
  const { provider } = await startServer((response) => {
    closed.push(new Promise((resolve) => response.on("close", resolve)));
    response.writeHead(200).write(PDF);
  });
  const stop = new AbortController();
  const first = await provider.contract(PK, { signal: stop.signal });
  stop.abort();
  await expect(buffer(first.body)).rejects.toMatchObject({ code: "no-answer" });
  const second = await provider.contract(PK);
  second.body.destroy();
  await Promise.all(closed);
  expect(closed).toHaveLength(2);
});

const MISSING = { status: 404, body: { status: "error", message: "Document not found" } };
const UNROUTED = { status: 404, body: "<html>nginx</html>" };
const FOUND = { body: PDF };

test("a signed document is asked for in the seed's form first; the reference form is remembered once it works", async () => {
  const { provider, calls } = await startServer([MISSING, MISSING, UNROUTED, FOUND]);
  await expect(provider.signedDocument(PK, UID)).rejects.toMatchObject({ code: "not-found" });
  await buffer((await provider.signedDocument(PK, UID)).body);
  await buffer((await provider.signedDocument(PK, UID)).body);
  const seed = `/oneshot/api/v1/document/1012632/signed/${UID}`;
  const reference = `/oneshot/api/v1/document/1012632/${UID}?document_type=signed`;
  expect(calls.map(({ url }) => url)).toEqual([seed, reference, seed, reference, reference]);
});

test.each([
  ["not-found", [MISSING, UNROUTED]],
  ["not-found", [UNROUTED, MISSING]],
  ["call-unknown", [UNROUTED, { status: 405, body: { detail: "Method Not Allowed" } }]],
  ["provider-error", [MISSING, { status: 503, body: "" }]],
])("when neither form works the failure is the one that says most: %s", async (code, replies) => {
  const { provider } = await startServer(replies);
  await expect(provider.signedDocument(PK, UID)).rejects.toMatchObject({ code, effect: "none" });
});

test.each([
  ["seed", `signed/${UID}`],
  ["reference", `${UID}?document_type=signed`],
] as const)("a configured form is the only one: %s", async (retrieval, end) => {
  const { provider, calls } = await startServer(MISSING, { retrieval });
  await expect(provider.signedDocument(PK, UID)).rejects.toMatchObject({ code: "not-found" });
  expect(calls.map(({ url }) => url)).toEqual([`/oneshot/api/v1/document/1012632/${end}`]);
});

test("an original is asked for in the reference form, then in the first generation's", async () => {
  const { provider, calls } = await startServer([UNROUTED, FOUND]);
  await buffer((await provider.originalDocument(PK, UID)).body);
  expect(calls.map(({ url }) => url.slice("/oneshot/api/v1/document/1012632/".length))).toEqual([
    `${UID}?document_type=original`,
    `original/${UID}`,
  ]);
});

test("a port where nobody listens is unreachable: nothing was done", async () => {
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as { port: number };
  await new Promise((resolve) => closed.close(resolve));
  const provider = createProvider({ url: `http://127.0.0.1:${port}` });
  onTestFinished(() => provider.close());
  await expect(provider.otp(PK)).rejects.toMatchObject({ kind: "retryable", code: "unreachable", effect: "none" });
  expect(await provider.ping()).toMatchObject({ reachable: false, code: "unreachable" });
});

test("a host without a name, and TLS with somebody who does not speak it, are unreachable", async () => {
  const nowhere = createProvider({ url: "http://signpipe.invalid/oneshot/api/v1" });
  const { url } = await startServer(OK);
  const plain = createProvider({ url: url.replace("http:", "https:") });
  onTestFinished(async () => void (await Promise.all([nowhere.close(), plain.close()])));
  await expect(nowhere.otp(PK)).rejects.toMatchObject({ code: "unreachable", effect: "none" });
  await expect(plain.otp(PK)).rejects.toMatchObject({ code: "unreachable", effect: "none" });
});

test("a connection that breaks after the call left: it may have worked, unless it only reads", async () => {
  const { provider } = await startServer((response) => void response.socket?.destroy());
  await expect(provider.otp(PK)).rejects.toMatchObject({ kind: "retryable", code: "no-answer", effect: "unknown" });
  await expect(provider.getRequest(PK)).rejects.toMatchObject({ kind: "retryable", code: "no-answer", effect: "none" });
});

test("an answer that breaks off in its body may have worked", async () => {
  const { provider } = await startServer((response) => {
    response.writeHead(200, { "content-length": "1000" });
    response.write('{"status":', () => response.destroy());
  });
  await expect(provider.otp(PK)).rejects.toMatchObject({ code: "no-answer", effect: "unknown" });
});

test("a provider that never answers is given up on after the call's time; sign has a time of its own", async () => {
  const { provider } = await startServer(() => {}, { timeoutsMs: { call: 100, sign: 150 } });
  const startedMs = performance.now();
  await expect(provider.otp(PK)).rejects.toMatchObject({ code: "no-answer", effect: "unknown" });
  await expect(provider.sign(PK, { secret: "052174" })).rejects.toMatchObject({ code: "no-answer", effect: "unknown" });
  expect(performance.now() - startedMs).toBeLessThan(3_000);
});

test("a call that was still queueing when it was stopped certainly did nothing", async () => {
  const { provider, calls } = await startServer(() => {}, { connections: 1 });
  const [first, second] = [new AbortController(), new AbortController()];
  const ahead = provider.otp(PK, { signal: first.signal }).catch((error: unknown) => error);
  const queued = provider.otp(PK, { signal: second.signal }).catch((error: unknown) => error);
  second.abort();
  expect(await queued).toMatchObject({ code: "no-answer", effect: "none" });
  first.abort();
  await ahead;
  const already = provider.otp(PK, { signal: AbortSignal.abort() });
  await expect(already).rejects.toMatchObject({ code: "no-answer", effect: "none" });
  expect(calls).toEqual([]);
});

test.each([200, 404, 500, 302])("any answer to a ping shows that the provider is reachable: %i", async (status) => {
  const { provider, calls } = await startServer({ status, body: "" });
  const ping = await provider.ping();
  expect(ping).toMatchObject({ reachable: true, status });
  expect(ping.latencyMs).toBeGreaterThanOrEqual(0);
  expect(calls[0]).toMatchObject({ method: "GET", url: "/oneshot/api/v1/request/0" });
});

test("an identifier that could change the path is refused before it is sent", async () => {
  const { provider, calls } = await startServer(OK);
  await expect(provider.deleteDocument(PK, ".." as DocumentUid)).rejects.toMatchObject({ code: "invalid-input" });
  await expect(provider.otp(Number.NaN as RequestPk)).rejects.toMatchObject({ code: "invalid-input" });
  await provider.deleteDocument(PK, "a/../b?c" as DocumentUid);
  expect(calls.map(({ url }) => url)).toEqual(["/oneshot/api/v1/document/1012632/a%2F..%2Fb%3Fc"]);
});
