import { mkdirSync, writeFileSync } from "node:fs";
import { beforeEach, expect, test } from "vitest";
import type { StoredDocument } from "../../src/core/request.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { toHashFile } from "../../src/files/hash-file.ts";
import { checkSignable } from "../../src/files/signable.ts";
import { printsOf, printsOfRequest } from "../../src/queues/seen.ts";
import { toHashUpload } from "../../src/workers/hash-upload.ts";
import { dataFolder, factsOf, scratchFolder } from "../helpers/pdfs.ts";
import { newId } from "../helpers/toy.ts";

const base = scratchFolder("hash-upload");
let at: (...names: string[]) => string;
let documents: ReturnType<typeof createDocuments>;

beforeEach(() => {
  at = dataFolder(base);
  documents = createDocuments({ dir: at("work") });
});

function put(name: string, content: string | Buffer): StoredDocument {
  const id = newId();
  mkdirSync(at("work", id), { recursive: true });
  writeFileSync(at("work", id, "1.pdf"), content);
  return { id: `${id}/1.pdf`, name, ...factsOf(Buffer.from(content)) };
}

async function sent(document: StoredDocument, isOurs = true) {
  const { open, ...rest } = await toHashUpload(document, 2, { documents, isOurs: () => isOurs });
  const blocks: Buffer[] = [];
  for await (const block of open()) blocks.push(block);
  return { ...rest, bytes: Buffer.concat(blocks).toString() };
}

test("of a file nothing but its hash is sent, under a name that tells nothing", async () => {
  const document = put("Ana López, diagnosis.docx", "abc");
  const bytes = toHashFile(document.sha256).toString();
  expect(await sent(document)).toEqual({ name: "3.hash.json", kind: "hash", sizeBytes: bytes.length, bytes });
});

test("a hash file is sent as it is, byte by byte", async () => {
  const { sha256 } = factsOf(Buffer.from("abc"));
  const written = `${toHashFile(sha256).toString().replaceAll(",", ",\n\t")}\n`;
  const document = put("x.hash.json", written);
  const digest = { algorithm: "sha256", value: sha256 } as const;
  expect(await sent({ ...document, digest })).toEqual({
    name: "3.hash.json",
    kind: "hash",
    sizeBytes: written.length,
    sha256: document.sha256,
    bytes: written,
  });
});

test("a file that is not what it was is not signed", async () => {
  const document = put("x.bin", "abc");
  writeFileSync(documents.path(document), "abd");
  await expect(sent(document)).rejects.toMatchObject({ code: "document-changed", kind: "permanent" });
});

test("whoever has lost the request sends nothing", async () => {
  await expect(sent(put("x.bin", "abc"), false)).rejects.toMatchObject({ code: "lost-lease" });
});

test("any file can be signed by its hash, but not an empty, a too large, or a wrong hash file", async () => {
  const check = (name: string, content: string, maxBytes = 1_000) =>
    checkSignable(documents.path(put(name, content)), { name, format: "cms", maxBytes }).catch(
      ({ code }: { code: string }) => code,
    );
  const hash = toHashFile("ab".repeat(32)).toString();
  expect(await check("a.bin", "\0")).toEqual({});
  expect(await check("a.hash.json", hash)).toEqual({ digest: { algorithm: "sha256", value: "ab".repeat(32) } });
  expect(await check("a.hash.txt", "{}")).toEqual({});
  expect(await check("a.bin", "")).toBe("file-empty");
  expect(await check("a.bin", "x".repeat(1_001))).toBe("file-too-large");
  expect(await check("a.hash.json", "{}")).toBe("hash-file-invalid");
  expect(await check("a.hash.json", " ".repeat(200_000), 1_000_000)).toBe("hash-file-invalid");
});

test("a file and a hash file of it are duplicates; the signed PDF and a signature apart are not", () => {
  const signer = { email: "ana@example.com", mobile_phone_number: "+34699999999" };
  const key = Buffer.alloc(32, 1);
  const [file, hash] = [put("x.pdf", "abc"), put("x.pdf.hash.json", "{}")];
  const digest = { algorithm: "sha256", value: file.sha256 } as const;
  const prints = (document: StoredDocument, format?: "cms") =>
    printsOf(key, { documents: [document], signer, ...(format && { signature: { format } }) });
  expect(prints({ ...hash, digest }, "cms")).toEqual(prints(file, "cms"));
  expect(prints(file, "cms")).not.toEqual(prints(file));
  const facts = { documents: [file], format: "cms" };
  expect(printsOfRequest(key, { facts } as never, signer)).toEqual(prints(file, "cms"));
  expect(printsOfRequest(key, { facts: { documents: [file] } } as never, signer)).toEqual(prints(file));
});
