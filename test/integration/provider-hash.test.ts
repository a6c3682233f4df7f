import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { expect, test } from "vitest";
import { RetryableError } from "../../src/core/errors.ts";
import type { UploadFile } from "../../src/provider/multipart.ts";
import { CMS, HASH, PK, UID } from "./provider-samples.ts";
import { ACCOUNT, type Arrived, formOf, PDF, startServer } from "./provider-server.ts";

function fileOf(name: string, bytes: Buffer, kind?: UploadFile["kind"]): UploadFile {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { name, sizeBytes: bytes.length, sha256, kind, open: () => Readable.from([bytes]) };
}
const uid = (name: string, is: string) => ({ name, uid: is });

test("a hash goes as a part of its own kind beside the PDFs, whose numbers it does not disturb", async () => {
  const { provider, calls } = await startServer({
    body: { detail: [uid("file2", "u3"), uid("hashfile", "u2"), uid("file", "u1")] },
  });
  const files = [fileOf("a.pdf", PDF), fileOf("h.json", HASH, "hash"), fileOf("b.pdf", PDF, "pdf")];
  expect(await provider.upload(PK, files)).toEqual(["u1", "u2", "u3"]);
  expect(calls).toHaveLength(1);
  const form = formOf(calls[0] as Arrived);
  expect(Object.keys(form)).toEqual(["file", "hashfile", "file2"]);
  expect(form["hashfile"]?.head.split("\r\n")).toEqual([
    'Content-Disposition: form-data; name="hashfile"; filename="h.json"',
    "Content-Type: application/json",
  ]);
  expect(form["hashfile"]?.bytes).toEqual(HASH);
});

test.each([
  ["a bare uid", { status: "200 OK", details: UID }],
  ["the digest that is to be signed", { details: [{ digest: "ab".repeat(32), uid: UID, key: "hashfile" }] }],
  ["the file's name", { detail: { name: "h.json", uid: UID } }],
])("the uid of a hash is read from an answer with %s", async (_, body) => {
  const { provider } = await startServer({ body });
  expect(await provider.upload(PK, [fileOf("h.json", HASH, "hash")])).toEqual([UID]);
});

test("of several hashes each after the first takes a call of its own, since the form has one part for them", async () => {
  const { provider, calls } = await startServer([
    { body: { detail: [uid("hashfile", "u1"), uid("file", "u2")] } },
    { body: { detail: uid("hashfile", "u3") } },
    { body: { status: "200 OK", details: "u4" } },
  ]);
  const other = Buffer.concat([HASH, Buffer.from(" ")]);
  const files = [
    fileOf("1.json", HASH, "hash"),
    fileOf("2.pdf", PDF),
    fileOf("3.json", other, "hash"),
    fileOf("4.json", HASH, "hash"),
  ];
  expect(await provider.upload(PK, files)).toEqual(["u1", "u2", "u3", "u4"]);
  expect(calls.map((call) => Object.keys(formOf(call)))).toEqual([["hashfile", "file"], ["hashfile"], ["hashfile"]]);
  expect(formOf(calls[1] as Arrived)["hashfile"]?.bytes).toEqual(other);
});

test("what fails after the first of several calls has left something there, whatever it says by itself", async () => {
  const files = [fileOf("1.json", HASH, "hash"), fileOf("2.json", HASH, "hash")];
  const first = { body: { detail: uid("hashfile", "u1") } };
  const full = {
    status: 400,
    body: { status: "error", message: "Maximum number of document reached for Request 1464" },
  };
  const late = await startServer([first, full]);
  await expect(late.provider.upload(PK, files)).rejects.toMatchObject({
    code: "too-many-documents",
    effect: "unknown",
  });
  const early = await startServer(full);
  await expect(early.provider.upload(PK, files)).rejects.toMatchObject({ code: "too-many-documents", effect: "none" });
  const same = await startServer([first, first]);
  await expect(same.provider.upload(PK, files)).rejects.toMatchObject({ code: "unexpected-answer", effect: "unknown" });

  let left = 0;
  const pause = new RetryableError("calls wait", { code: "provider-paused", retryAfterMs: 5_000, pause: {} });
  const held = await startServer(first, {
    guard: {
      admit: async () => {
        if (left++ > 0) throw pause;
      },
      heard: async () => undefined,
    },
  });
  const error: unknown = await held.provider.upload(PK, files).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "provider-paused", effect: "unknown", retryAfterMs: 5_000, pause: undefined });
  expect(held.calls).toHaveLength(1);
});

const cms = (head: string) => Buffer.concat([Buffer.from(head, "hex"), Buffer.alloc(500, 1)]);
const OID = "06092a864886f70d010702";

test.each([
  ["two bytes of length", CMS],
  ["one byte of length", Buffer.from(`300d${OID}a000`, "hex")],
  ["three bytes of length", cms(`3083010203${OID}`)],
  ["a length that is told at its end", cms(`3080${OID}`)],
])("the signed document of a hash is a CMS structure: %s", async (_, body) => {
  const { provider } = await startServer({ headers: { "content-type": "application/octet-stream" }, body });
  expect(await buffer((await provider.signedDocument(PK, UID, { kind: "hash" })).body)).toEqual(body);
});

test("a CMS structure whose first bytes come one by one is recognised", async () => {
  const { provider } = await startServer((response) => {
    const bytes = [...CMS.subarray(0, 20)];
    const send = () => {
      const byte = bytes.shift();
      if (byte === undefined) return response.end(CMS.subarray(20));
      response.write(Buffer.from([byte]));
      setImmediate(send);
    };
    send();
  });
  expect(await buffer((await provider.signedDocument(PK, UID, { kind: "hash" })).body)).toEqual(CMS);
});

test.each([
  ["a PDF", { body: PDF }, "unexpected-answer"],
  ["a certificate, which is a SEQUENCE too", { body: cms("3082076430820650") }, "unexpected-answer"],
  ["text", { body: "0 documents" }, "unexpected-answer"],
  ["an error with status 200", { body: { status: "error", message: "Document not found" } }, "not-found"],
  ["nothing", { body: "" }, "unexpected-answer"],
])("the signed document of a hash is not %s", async (_, reply, code) => {
  const { provider } = await startServer(reply);
  await expect(provider.signedDocument(PK, UID, { kind: "hash" })).rejects.toMatchObject({ code, effect: "none" });
});

test("a PDF that was expected is not a CMS structure", async () => {
  const { provider } = await startServer({ body: CMS });
  await expect(provider.signedDocument(PK, UID)).rejects.toMatchObject({ code: "unexpected-answer" });
});

test("the original of a hash is the JSON that was sent, and no error that speaks of it", async () => {
  const { provider } = await startServer([
    { body: HASH },
    { body: PDF },
    { body: { status: "error", details: { messageDigest: ["This field is required"] } } },
    { body: { status: "404 Not Found", details: "Document not found" } },
  ]);
  const original = () => provider.originalDocument(PK, UID, { kind: "hash" });
  expect(await buffer((await original()).body)).toEqual(HASH);
  await expect(original()).rejects.toMatchObject({ code: "unexpected-answer" });
  await expect(original()).rejects.toMatchObject({ code: "invalid-input" });
  await expect(original()).rejects.toMatchObject({ code: "not-found" });
});

test("both forms of retrieval are tried for a hash as well", async () => {
  const { provider, calls } = await startServer([{ status: 404, body: "<html></html>" }, { body: CMS }]);
  await buffer((await provider.signedDocument(PK, UID, { kind: "hash" })).body);
  expect(calls.map(({ url }) => url.split("/document/")[1])).toEqual([
    `1012632/signed/${UID}`,
    `1012632/${UID}?document_type=signed`,
  ]);
});

test("a request that is signed asynchronously is created and signed as such", async () => {
  const { provider } = await startServer([
    { body: { status: "success", message: "Request created with pk 5", details: { pk: 5, asyncmode: true } } },
    { body: { status: "success", details: { asyncmode: true } } },
  ]);
  const signer = { email: "a@example.com", mobile_phone_number: "+34699999999", given_name: "A", surname_1: "B" };
  const made = await provider.createRequest({ signer, documents: {}, asynchronous: {} }, ACCOUNT);
  expect(made).toEqual({ requestPk: 5, asyncmode: true });
  expect(await provider.sign(made.requestPk, { secret: "052174" })).toBe("accepted");
});
