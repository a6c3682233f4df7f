import { createHash } from "node:crypto";
import { cp, rename } from "node:fs/promises";
import { expect, test } from "vitest";
import { toHashFile } from "../../src/files/hash-file.ts";
import { CLASSIC_SIGNER, jpeg } from "../helpers/identity.ts";
import { makePdf, MANIFEST, sha256, SIGNER, startInboxHouse } from "./inbox-house.ts";

const APART = JSON.stringify({ signer: SIGNER, signature: { format: "cms" } });
const value = createHash("sha256").update("a drawing that is not here").digest("hex");
const HASH = toHashFile(value).toString();

test("a file of any kind with a sidecar that asks for it becomes a request to sign its hash", async () => {
  const house = startInboxHouse();
  const bytes = Buffer.from("PK\0 a letter of any kind");
  await house.take({ "letter.docx": bytes, "letter.docx.json": APART });
  const { id, documents, signature } = house.only();
  expect(documents).toEqual([
    { id: `${id}/1.pdf`, name: "letter.docx", sizeBytes: bytes.length, sha256: sha256(bytes) },
  ]);
  expect(signature).toEqual({ format: "cms" });
  expect(await house.tree("inbox")).toEqual([]);
});

test("it is given the time that a folder is given, since nothing in it tells its end", async () => {
  const house = startInboxHouse();
  await house.drop({ "letter.docx": "half", "letter.docx.json": APART });
  await house.pass(1_000, 2);
  expect(house.pipeline.submissions).toEqual([]);
  await house.drop({ "letter.docx": "half and half" });
  await house.pass(1_000, 3);
  expect(house.pipeline.submissions).toEqual([]);
  await house.pass(1_000, 1);
  expect(house.only().documents[0]?.sizeBytes).toBe(13);
});

test.each([
  ["the sidecar comes later", ["letter.docx", "letter.docx.json"]],
  ["the sidecar comes first", ["letter.docx.json", "letter.docx"]],
  ["the sidecar is spelt in another way", ["e\u0301.docx", "\u00e9.docx.json"]],
])("a stray file is told of, and taken once it has its sidecar: %s", async (_what, [first = "", second = ""]) => {
  const house = startInboxHouse();
  const files: Record<string, string> = { [first]: "x", [second]: "x" };
  for (const name of [first, second]) if (name.endsWith(".json")) files[name] = APART;
  await house.drop({ [first]: files[first] ?? "" });
  await house.pass(30_000, 4);
  expect(await house.status(first)).toMatchObject({ state: "unusable", failure: { code: "unsupported-file" } });
  await house.drop({ [second]: files[second] ?? "" });
  await house.pass(30_000, 4);
  expect(house.only().signature).toEqual({ format: "cms" });
  expect(await house.tree("inbox")).toEqual([]);
});

test("what a stray file is told says how it can be signed", async () => {
  const house = startInboxHouse();
  await house.drop({ "letter.docx": "x", "plan.hash.json": HASH });
  await house.pass(30_000, 4);
  const message = async (name: string) => ((await house.status(name))["failure"] as { message: string }).message;
  expect(await message("letter.docx")).toMatch(
    /^Only PDFs, .* see that "letter.docx.json" beside it says who signs, and "signature": \{"format": "cms"\}\.$/,
  );
  expect(await message("plan.hash.json")).toMatch(/^A hash file is signed when "plan.hash.json.json" beside it says/);
  expect(house.pipeline.submissions).toEqual([]);
});

test("a file whose sidecar does not ask for it is not signed, and comes back with what to add", async () => {
  const house = startInboxHouse();
  await house.take({ "letter.docx": "x", "letter.docx.json": MANIFEST });
  expect(await house.tree("failed")).toEqual(
    ["letter.docx", "letter.docx.error.json", "letter.docx.error.txt", "letter.docx.json"].sort(),
  );
  expect(await house.read("failed", "letter.docx.error.txt")).toMatch(
    /add "signature": \{"format": "cms"\} to "letter.docx.json"; else convert/,
  );
  expect(await house.json("failed", "letter.docx.error.json")).toMatchObject({ code: "not-a-pdf" });
  await house.put("failed", { "letter.docx.json": APART });
  for (const name of ["letter.docx", "letter.docx.json"]) {
    await rename(house.at("failed", name), house.at("inbox", name));
  }
  await house.pass(1_000, 6);
  expect(house.only().documents[0]?.name).toBe("letter.docx");
  expect(await house.tree("failed")).toEqual([]);
});

test("a sidecar that cannot be used is the one thing that is told, and not that the file is no PDF", async () => {
  const house = startInboxHouse();
  await house.take({ "letter.docx": "x", "letter.docx.json": '{"signer":{}}' });
  expect(await house.read("failed", "letter.docx.error.txt")).toMatch(
    /^letter.docx: "letter.docx.json" cannot be used: signer.email is missing;/,
  );
});

test("defaults.json speaks for PDFs alone, which it may have signed apart", async () => {
  const house = startInboxHouse();
  await house.drop({ "defaults.json": APART, "letter.docx": "x", "lease.pdf": makePdf("lease") });
  await house.pass(30_000, 4);
  expect(house.only().documents[0]?.name).toBe("lease.pdf");
  expect(house.only().signature).toEqual({ format: "cms" });
  expect(await house.tree("inbox")).toEqual(["defaults.json", "letter.docx"]);
});

test("a hash file is taken as it is, with the digest that it gives; a wrong one comes back with the reason", async () => {
  const house = startInboxHouse();
  await house.take({
    "plan.dwg.hash.json": HASH,
    "plan.dwg.hash.json.json": APART,
    "bad.hash.json": '{"messageDigest":"abc"}',
    "bad.hash.json.json": APART,
  });
  const { documents } = house.only();
  expect(documents).toMatchObject([{ name: "plan.dwg.hash.json", digest: { algorithm: "sha256", value } }]);
  expect(documents[0]?.sha256).toBe(sha256(Buffer.from(HASH)));
  expect(await house.json("failed", "bad.hash.json.error.json")).toMatchObject({ code: "hash-file-invalid" });
  expect(await house.tree("inbox")).toEqual([]);
});

test("a JSON file with a sidecar of its own is signed itself, and is nobody's sidecar", async () => {
  const house = startInboxHouse();
  await house.drop({ data: "x", "data.json": '{"any":"thing"}', "data.json.json": APART });
  await house.pass(30_000, 4);
  expect(house.only().documents.map(({ name }) => name)).toEqual(["data.json"]);
  expect(await house.tree("inbox")).toEqual(["data"]);
});

test("a folder whose request.json asks for it takes files of any kind", async () => {
  const house = startInboxHouse();
  const files = { "10.xml": "<x/>", "2.jpg": "\xff\xd8", "plan.hash.json": HASH, "a.pdf": "no PDF at all" };
  await house.take({ case: { ...files, "request.json": APART, "Thumbs.db": "x" } });
  const { documents } = house.only();
  expect(documents.map(({ name, digest }) => [name, digest?.value])).toEqual([
    ["2.jpg", undefined],
    ["10.xml", undefined],
    ["a.pdf", undefined],
    ["plan.hash.json", value],
  ]);
});

test("what a folder's manifest names to show who the signer is, is not signed", async () => {
  const house = startInboxHouse();
  const identity = { document_front: "1 front.jpg", document_rear: "2 rear.jpg" };
  const classic = { workflow: "classic", signer: CLASSIC_SIGNER, identity, signature: { format: "cms" } };
  const pictures = Object.fromEntries(Object.values(identity).map((name) => [name, jpeg()]));
  await house.take({ case: { ...pictures, "3 photo.jpg": jpeg(), "request.json": JSON.stringify(classic) } });
  const { documents, enclosures } = house.only();
  expect(documents.map(({ name }) => name)).toEqual(["3 photo.jpg"]);
  expect(enclosures?.map(({ name }) => name).sort()).toEqual(["document_front", "document_rear"]);
});

test("a folder of other files is taken as soon as one of PDFs, and not given time for a PDF to come", async () => {
  const house = startInboxHouse({ config: { settleMaxMs: 600_000 } });
  await house.drop({ case: { "letter.docx": "x", "request.json": APART } });
  await house.pass(1_000, 3);
  expect(house.only().documents).toHaveLength(1);
});

test("a folder of other files that does not ask for it is given time for a PDF to come", async () => {
  const house = startInboxHouse({ config: { settleMaxMs: 600_000 } });
  await house.drop({ case: { "front.jpg": jpeg(), "request.json": MANIFEST } });
  await house.pass(10_000, 3);
  expect(await house.tree("inbox")).toEqual(["case/front.jpg", "case/request.json"]);
});

test.each([
  ["a sidecar in it", { "a.docx": "x", "a.docx.json": APART }, "folder-with-other-files", /take "a.docx.json" out/],
  ["nothing to sign", {}, "no-documents", /has no file to be signed/],
  [
    "more than are taken at once",
    Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`${n}.txt`, "x"])),
    "too-many-documents",
    /has 101 files/,
  ],
  ["an empty file", { "a.docx": "x", "b.docx": "" }, "file-empty", /"b.docx": The file is empty/],
  ["a folder in it", { "a.docx": "x", deep: { "b.docx": "x" } }, "folder-with-other-files", /"deep"/],
])("a folder of that kind with %s comes back whole, with the reason", async (_what, files, code, message) => {
  const house = startInboxHouse();
  await house.drop({ f: { ...files, "request.json": APART } });
  await house.pass(10_000, 12);
  expect(house.pipeline.submissions).toEqual([]);
  expect(await house.json("failed", "f.error.json")).toMatchObject({ code });
  expect(await house.read("failed", "f.error.txt")).toMatch(message);
});

test("a folder of other files whose request.json is broken is told that, and not to bring PDFs", async () => {
  const house = startInboxHouse();
  await house.drop({ f: { "a.docx": "x", "request.json": '{"signature":{"format":"cms"}}' } });
  await house.pass(10_000, 12);
  expect(await house.read("failed", "f.error.txt")).toMatch(/^f: "request.json" cannot be used: signer is missing\./);
});

test("once it is done, files are archived under their own names", async () => {
  const house = startInboxHouse();
  await house.take({ "letter.docx": "x", "letter.docx.json": APART });
  const { id } = house.only();
  const file = { name: "letter.docx.p7m", sizeBytes: 9, sha256: sha256(Buffer.from("x")) };
  house.pipeline.move(id, { phase: "done", stage: "cleanup", facts: { signed: [file] } });
  await house.pass(1_000, 2);
  expect(await house.tree("archive", id)).toEqual(["letter.docx"]);
  expect(await house.status("letter.docx")).toMatchObject({ signed: [`signed/${id}/letter.docx.p7m`] });
});

test("the example can be dropped as it lies there, and its hash file is that of the contract's check value", async () => {
  const house = startInboxHouse();
  await cp(new URL("../../examples/hash", import.meta.url), house.at("inbox", "hash"), { recursive: true });
  await house.pass(1_000, 8);
  expect(house.only().documents.map(({ name, digest }) => [name, digest?.value])).toEqual([
    ["abc.txt.hash.json", sha256(Buffer.from("abc"))],
    ["measurements.csv", undefined],
  ]);
});
