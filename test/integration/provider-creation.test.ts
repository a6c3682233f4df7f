import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { Provider } from "../../src/provider/client.ts";
import type { Guard, Leaving } from "../../src/provider/guard.ts";
import type { Evidences, Picture } from "../../src/provider/provider.ts";
import { CREATION, EVIDENCES, fileToSend, JPEG, MP4, picture, PK, PNG, SIGNER, VIDEOID } from "./provider-samples.ts";
import { ACCOUNT, type Arrived, formOf, startServer } from "./provider-server.ts";

const CREATED = {
  status: "success",
  message: "Request created with pk 388141",
  details: { pk: 388141, status: "ENROLLREADY", asyncmode: false },
};
const OK = { body: { status: "success", message: "done" } };
const create = (provider: Provider) => provider.createRequest(CREATION, ACCOUNT);

function valuesOf(call: Arrived | undefined): Record<string, string> {
  const form = formOf(call as Arrived);
  return Object.fromEntries(
    Object.entries(form).flatMap(([name, { head, value }]) => (head.includes("filename=") ? [] : [[name, value]])),
  );
}

describe("creating a request without video identification", () => {
  test("sends the signer, the account and the pictures as a form whose length is told beforehand", async () => {
    const { provider, calls } = await startServer({ status: 201, body: CREATED });
    const creation = {
      signer: {
        ...CREATION.signer,
        surname_2: "Ruiz\r\nñ",
        communication_language: "ES",
        residence_city: "Vic",
      } as const,
      documents: {
        ...CREATION.documents,
        document_owner: picture("me.png", "image/png", PNG),
        extra_document: fileToSend("proof.pdf", "application/pdf\r\nX-Evil: 1", JPEG),
      },
    };
    expect(await provider.createRequest(creation, { ...ACCOUNT, env: "sandbox" })).toEqual({
      requestPk: 388141,
      status: "ENROLLREADY",
      asyncmode: false,
    });
    expect(calls[0]).toMatchObject({ method: "POST", url: "/oneshot/api/v1/create" });
    expect(valuesOf(calls[0])).toEqual({
      ...creation.signer,
      registration_authority: "139",
      profile: "PFnubeQAFCiudadano",
      billing_username: "billing-user-canary",
      billing_password: Buffer.from("billing/pass+canary").toString("base64"),
      env: "sandbox",
      username: "9001800",
      password: "rao-password-canary",
      pin: "pin-canary-77",
    });
    const { document_front, document_rear, document_owner, extra_document } = formOf(calls[0] as Arrived);
    expect([document_front, document_rear, document_owner, extra_document].map((part) => part?.bytes)).toEqual([
      JPEG,
      PNG,
      PNG,
      JPEG,
    ]);
    expect(document_front?.head.split("\r\n")).toEqual([
      'Content-Disposition: form-data; name="document_front"; filename="front Anacanary.jpg"',
      "Content-Type: image/jpeg",
    ]);
    expect(extra_document?.head.split("\r\n")[1]).toBe("Content-Type: application/octet-stream");
  });

  test("asks for asynchronous signing only when that is wanted, and for the callback only with it", async () => {
    const { provider, calls } = await startServer({ body: CREATED });
    const { signer, documents } = CREATION;
    await provider.createRequest(CREATION, ACCOUNT);
    await provider.createRequest({ signer, documents, asynchronous: {} }, ACCOUNT);
    await provider.createRequest({ signer, documents }, ACCOUNT);
    expect(calls.map(valuesOf).map(({ useasync, callback }) => [useasync, callback])).toEqual([
      ["true", "https://example.com/webhooks/oneshot/callback-canary"],
      ["true", undefined],
      [undefined, undefined],
    ]);
  });

  test("sends a token in the place of credentials, with the password and pin that it does not hold", async () => {
    const { provider, calls } = await startServer({ body: CREATED });
    const documents = {};
    const signer = { ...SIGNER, given_name: "Ana", surname_1: "Lopez" };
    await provider.createRequest({ signer, documents }, { rao: { rao: "1400", token: "t" } });
    await provider.createRequest({ signer, documents }, { rao: { rao: "1400", token: "t", password: "p", pin: "7" } });
    expect(calls.map(valuesOf)).toEqual([
      { ...signer, token: "t" },
      { ...signer, token: "t", password: "p", pin: "7" },
    ]);
  });

  test.each([
    ["under pk", CREATED, { status: "ENROLLREADY", asyncmode: false }],
    ["under request_pk, as text", { detail: { request_pk: "388141", asyncmode: true } }, { asyncmode: true }],
    ["as the bare number", { status: "201 Created", details: 388141 }, { asyncmode: false }],
    ["as a bare number in text", { status: "201 Created", details: "388141" }, { asyncmode: false }],
    ["in the message alone", { status: "success", message: "Request created with pk 388141" }, { asyncmode: false }],
    [
      "in the message, beside the rest",
      { status: "success", messsage: "Request 388141 created", details: { status: "CREATED", asyncmode: "true" } },
      { status: "CREATED", asyncmode: true },
    ],
    ["behind pk, with other numbers", { details: "Request 1 of 2 created with pk: 388141" }, { asyncmode: false }],
    ["without an envelope", { pk: 388141, status: "ENROLLREADY" }, { status: "ENROLLREADY", asyncmode: false }],
  ])("finds the request's number %s", async (_, body, rest) => {
    const { provider } = await startServer({ body });
    expect(await create(provider)).toEqual({ requestPk: 388141, ...rest });
  });

  test.each([
    ["no number", OK.body],
    ["two numbers in the text", { status: "success", message: "Request 1464 created, 9 credits left" }],
    ["two numbers that differ", { details: { pk: 388141, request_pk: 388142 } }],
    ["a number that is none", { details: { pk: 1.5 } }],
    ["a version in the text", { status: "success", message: "OneShot 1.5 says hello" }],
    ["nothing", ""],
  ])("does not guess from an answer with %s: it may have worked", async (_, body) => {
    const { provider } = await startServer({ body });
    await expect(create(provider)).rejects.toMatchObject({ code: "unexpected-answer", effect: "unknown" });
  });
});

describe("what is wrong with which field", () => {
  const failure = async (status: number, body: object): Promise<PermanentError> => {
    const { provider } = await startServer({ status, body });
    const error: unknown = await create(provider).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PermanentError);
    expect(error).toMatchObject({ code: "invalid-input" });
    return error as PermanentError;
  };

  test.each<[string, number, object, Record<string, string>]>([
    [
      "an object of arrays, as a server fault",
      500,
      { status: "500 Internal Server Error", details: { email: ["This field is required"], pin: ["a.", "b."] } },
      { email: "This field is required", pin: "a. b." },
    ],
    [
      "an object of arrays of objects",
      500,
      { details: { email: [{ message: "Enter a valid email address", code: "invalid" }] } },
      { email: "Enter a valid email address" },
    ],
    [
      "an object in the text of an error from further up",
      500,
      { status: "error", message: 'Upstream: {"id_document_country":["This field may not be blank"]}' },
      { id_document_country: "This field may not be blank" },
    ],
    [
      "fields in fields",
      400,
      { detail: { videoid_data: { ocr_data: { given_name: ["This field is required."] } } } },
      { "videoid_data.ocr_data.given_name": "This field is required." },
    ],
    [
      "schema violations",
      422,
      { detail: [{ loc: ["body", "email"], msg: "Field required", type: "missing" }] },
      { email: "Field required" },
    ],
    [
      "a list in a sentence",
      412,
      { message: "Error occured during request approval: Invalid request fields: mobile_phone_number, email" },
      { mobile_phone_number: "is missing or not valid", email: "is missing or not valid" },
    ],
  ])("is told from %s", async (_, status, body, fields) => {
    const error = await failure(status, body);
    expect(error.fields).toEqual(fields);
    for (const [name, sentence] of Object.entries(fields)) expect(error.message).toContain(`${name}: ${sentence}`);
  });

  test("is told without the values that were sent, and without values in the place of names", async () => {
    const error = await failure(500, {
      details: {
        id_document_country: ["'ESX' is not a valid ISO 3166-1 alpha-2 country code"],
        email: [`"ana.canary@example.com" is taken; ask Lopezcanary`],
        anacanary: ["is a name"],
        "Not A Field": ["x"],
        __proto__x: ["x"],
      },
    });
    expect(error.fields).toEqual({
      id_document_country: "[removed] is not a valid ISO 3166-1 alpha-2 country code",
      email: "[removed] is taken; ask [removed]",
    });
    expect(error.message).not.toMatch(/ESX|canary/i);
  });

  test("is bounded in number and length", async () => {
    const details = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`f${i}`, ["x".repeat(500)]]));
    const error = await failure(500, { details });
    expect(Object.keys(error.fields ?? {})).toHaveLength(20);
    expect(Math.max(...Object.values(error.fields ?? {}).map(({ length }) => length))).toBeLessThanOrEqual(120);
    expect(error.message.length).toBeLessThanOrEqual(200);
  });

  test("is not made up where no field is named", async () => {
    const { provider } = await startServer({ status: 400, body: { message: "Enter a valid email address" } });
    const error: unknown = await create(provider).catch((thrown: unknown) => thrown);
    expect((error as PermanentError).fields).toBeUndefined();
    expect((error as PermanentError).message).toContain("Enter a valid email address");
  });
});

test("a creation by form leaves with both credentials, the RAO's told apart as an approval's are", async () => {
  const leaving: Leaving[] = [];
  const guard: Guard = { admit: async (one) => void leaving.push(one), heard: async () => undefined };
  const { provider } = await startServer({ body: CREATED }, { guard });
  await create(provider);
  await provider.approve(VIDEOID, ACCOUNT.rao);
  const { rao, username, password, pin } = ACCOUNT.rao;
  const officer = { lane: "rao", secrets: [rao, username, password, pin] };
  expect(leaving.map(({ credentials }) => credentials)).toEqual([
    [{ lane: "billing", secrets: [ACCOUNT.billingUsername, ACCOUNT.billingPassword] }, officer],
    officer,
  ]);
});

test("evidence is sent as JSON whose pictures are in Base64, with its length told beforehand", async () => {
  const { provider, calls } = await startServer(OK);
  await provider.uploadEvidences(VIDEOID, EVIDENCES);
  const [call] = calls;
  expect(call).toMatchObject({ method: "POST", url: "/oneshot/api/v1/videoid/16673/evidences" });
  expect(call?.headers).toMatchObject({
    "content-type": "application/json",
    "content-length": String(call?.body.length),
  });
  expect(JSON.parse(call?.body.toString() ?? "")).toEqual({
    acceptance: EVIDENCES.acceptance,
    videoid_data: {
      ...EVIDENCES.videoid_data,
      images: { document_front: JPEG.toString("base64"), document_owner: PNG.toString("base64") },
    },
  });
});

test("evidence without pictures or acceptance is JSON as well", async () => {
  const { provider, calls } = await startServer(OK);
  const { ocr_data } = EVIDENCES.videoid_data;
  await provider.uploadEvidences(VIDEOID, { videoid_data: { images: {}, ocr_data } });
  expect(JSON.parse(calls[0]?.body.toString() ?? "")).toEqual({ videoid_data: { images: {}, ocr_data } });
});

function evidencesWith(document_front: Picture): Evidences {
  return { videoid_data: { images: { document_front }, ocr_data: EVIDENCES.videoid_data.ocr_data } };
}

test.each([0, 1, 2, 3, 4, 5, 64, 4_097])(
  "a picture that comes in blocks of any size is whole: %i bytes",
  async (size) => {
    const bytes = Buffer.from(Array.from({ length: size }, (_, i) => (i * 7) % 256));
    for (const block of [1, 2, 5, 1_000]) {
      const { provider, calls } = await startServer(OK);
      const shared = Buffer.alloc(block); // as a reader has it that uses its block again
      const open = async function* () {
        for (let at = 0; at < size; at += block) {
          const length = bytes.copy(shared, 0, at, at + block);
          yield shared.subarray(0, length);
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      const document_front = { ...picture("x", "image/png", bytes), open };
      const { ocr_data } = EVIDENCES.videoid_data;
      await provider.uploadEvidences(VIDEOID, { videoid_data: { images: { document_front }, ocr_data } });
      const sent = JSON.parse(calls[0]?.body.toString() ?? "") as typeof EVIDENCES;
      expect(Buffer.from(sent.videoid_data.images.document_front as unknown as string, "base64")).toEqual(bytes);
    }
  },
);

test.each([
  ["pictures", 4 / 3, (provider: Provider, file: Picture) => provider.uploadEvidences(VIDEOID, evidencesWith(file))],
  ["films", 1, (provider: Provider, file: Picture) => provider.uploadVideo(VIDEOID, file)],
])("of large %s no more is read than the provider takes", async (_, growth, send) => {
  const block = Buffer.alloc(1 << 20, 1);
  const blocks = 100;
  let [readBytes, receivedBytes, mostAhead] = [0, 0, 0];
  const { provider } = await startServer((response, request) => {
    request.on("data", (chunk: Buffer) => {
      receivedBytes += chunk.length;
      mostAhead = Math.max(mostAhead, readBytes * growth - receivedBytes);
      request.pause();
      setImmediate(() => request.resume());
    });
    request.on("end", () => response.end('{"status":"success"}'));
  });
  const large = {
    ...picture("large.png", "image/png", Buffer.alloc(0)),
    sizeBytes: block.length * blocks,
    async *open() {
      for (let i = 0; i < blocks; i++) {
        readBytes += block.length;
        yield block;
      }
    },
  };
  await send(provider, large);
  expect(receivedBytes).toBeGreaterThan(block.length * blocks * growth);
  expect(mostAhead).toBeLessThan(20 << 20);
});

test.each([
  ["grew", (bytes: Buffer) => Buffer.concat([bytes, Buffer.from("x")])],
  ["shrank", (bytes: Buffer) => bytes.subarray(1)],
  ["is not what it was", (bytes: Buffer) => Buffer.from(bytes.map((byte) => byte ^ 1))],
])("a picture that %s breaks its call off before the end", async (how, change) => {
  const sha256 = createHash("sha256").update(PNG).digest("hex");
  const changed = { ...picture("a.png", "image/png", PNG), sha256, open: () => Readable.from([change(PNG)]) };
  const { provider, calls } = await startServer(OK);
  for (const call of [
    () => provider.createRequest({ ...CREATION, documents: { document_front: changed } }, ACCOUNT),
    () => provider.uploadEvidences(VIDEOID, evidencesWith(changed)),
    () => provider.uploadVideo(VIDEOID, changed),
  ]) {
    const error: unknown = await call().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: "permanent", code: "document-changed", effect: "unknown" });
    expect((error as Error).message).toContain(how);
  }
  expect(calls).toEqual([]);
});

test("a picture that cannot be read breaks its call off", async () => {
  const { provider } = await startServer(OK);
  const broken = new Readable({
    read() {
      this.destroy(Object.assign(new Error("disk: Anacanary.png"), { code: "EIO" }));
    },
  });
  const video = { ...fileToSend("a.mp4", "video/mp4", MP4), open: () => broken };
  const error: unknown = await provider.uploadVideo(VIDEOID, video).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(RetryableError);
  expect(error).toMatchObject({ code: "document-unreadable", effect: "unknown" });
  expect((error as Error).message).not.toContain("Anacanary");
  expect(broken.destroyed).toBe(true);
});

test("a film is sent as the part that the form has for it", async () => {
  const { provider, calls } = await startServer(OK);
  await provider.uploadVideo(VIDEOID, fileToSend("ana.mp4", "video/mp4", MP4));
  expect(calls[0]).toMatchObject({ method: "POST", url: "/oneshot/api/v1/videoid/16673/video" });
  const { video } = formOf(calls[0] as Arrived);
  expect(video?.bytes).toEqual(MP4);
  expect(video?.head).toBe(
    'Content-Disposition: form-data; name="video"; filename="ana.mp4"\r\nContent-Type: video/mp4',
  );
});

const NO_VIDEO = { status: 400, body: { status: "404 Not Found", details: "404 Not Found" } };
const UNROUTED = { status: 404, body: "<html>nginx</html>" };
const FILM = { body: MP4 };

test("a film is asked for where the newest generation may have it, then where the first had it, which is remembered", async () => {
  const { provider, calls } = await startServer([NO_VIDEO, NO_VIDEO, { status: 405, body: "" }, FILM], {
    retrieval: "seed", // which is about documents
  });
  await expect(provider.downloadVideo(VIDEOID)).rejects.toMatchObject({ code: "not-found", effect: "none" });
  expect(await buffer((await provider.downloadVideo(VIDEOID)).body)).toEqual(MP4);
  expect(await buffer((await provider.downloadVideo(VIDEOID)).body)).toEqual(MP4);
  const newest = "/oneshot/api/v1/videoid/16673/video";
  const first = "/oneshot/api/v1/videoid/16673/download/video";
  expect(calls.map(({ url }) => url)).toEqual([newest, first, newest, first, first]);
});

test.each([
  ["neither path is known", [UNROUTED, UNROUTED], "call-unknown"],
  ["one path is known, and there is none", [UNROUTED, NO_VIDEO], "not-found"],
  ["it is JSON of a success", [{ body: { status: "success" } }], "unexpected-answer"],
  ["it is an error with status 200", [{ body: { status: "error", message: "Request not found" } }], "not-found"],
  ["it is JSON that is broken", [{ body: '{"status":"\0' }], "unexpected-answer"],
  ["it is a page", [{ body: "<html></html>" }], "unexpected-answer"],
  ["it is text", [{ headers: { "content-type": "video/mp4" }, body: "no video here, sorry" }], "unexpected-answer"],
  ["it is empty", [{ headers: { "content-type": "video/mp4" }, body: "" }], "unexpected-answer"],
])("no film is handed out when %s", async (_, replies, code) => {
  const { provider } = await startServer(replies);
  await expect(provider.downloadVideo(VIDEOID)).rejects.toMatchObject({ code, effect: "none" });
});

test("a film has a limit of its own", async () => {
  const { provider } = await startServer(FILM, { maxVideoBytes: 1_000, maxDocumentBytes: 1 << 20 });
  await expect(provider.downloadVideo(VIDEOID).then(({ body }) => buffer(body))).rejects.toMatchObject({
    kind: "permanent",
    code: "too-large",
  });
});

test("calls with two sets of identifiers use the number of the video record", async () => {
  const { provider, calls } = await startServer([FILM, OK]);
  await buffer((await provider.downloadVideo(VIDEOID)).body);
  await provider.cancel(PK);
  expect(calls.map(({ url }) => url.split("/").slice(4, 6).join("/"))).toEqual(["videoid/16673", "request/1012632"]);
});
