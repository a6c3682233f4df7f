import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { toRequestId } from "../../src/core/request.ts";
import type { DocumentUid, RequestPk } from "../../src/core/signing.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { createSeal } from "../../src/workers/seal.ts";
import { factsOf, plainPdf, scratchFolder } from "../helpers/pdfs.ts";

const PK = 1012632 as RequestPk;
const { signal } = new AbortController();
const documents = createDocuments({ dir: scratchFolder("seal") });
const id = toRequestId(Buffer.alloc(16, 7));
const folder = documents.folder(id);

/** A PDF that is large enough not to be kept in memory. */
async function large(text: string): Promise<Buffer> {
  const pdf = await plainPdf({ text });
  const at = pdf.lastIndexOf("startxref");
  return Buffer.concat([pdf.subarray(0, at), Buffer.from(`%${"-".repeat(1_500_000)}\n`), pdf.subarray(at)]);
}

/** What the seal says of a request whose document is `original`, when the provider has `there`. */
async function verdict(original: Buffer, there: Buffer | undefined, compare: "text" | "pages" = "text") {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "1.pdf"), original);
  const uploaded = [{ id: `${id}/1.pdf`, name: "a.pdf", ...factsOf(original), uid: "u1" as DocumentUid }];
  let booked = 0;
  const seal = createSeal({
    provider: {
      async originalDocument() {
        expect(booked).toBeGreaterThanOrEqual(original.length);
        if (!there) rmSync(folder, { recursive: true });
        return { body: Readable.from([there ?? (await large("other"))]) };
      },
    },
    documents,
    space: {
      async book(bytes) {
        booked += bytes;
        return { release: () => void (booked -= bytes) };
      },
    },
    incremental: false,
    compare,
  });
  try {
    return await seal.check(PK, uploaded, signal);
  } finally {
    expect(booked).toBe(0);
    if (there) expect(readdirSync(folder)).toEqual(["1.pdf"]);
  }
}

test.each([
  ["small", plainPdf({ text: "Lease", useObjectStreams: true })],
  ["large", large("Lease")],
])("a rewritten document that shows the same is intact, another is not: %s", async (_what, making) => {
  const there = await making;
  expect(await verdict(await plainPdf({ text: "Lease" }), there)).toBe("intact");
  expect(await verdict(there, there)).toBe("intact");
  expect(await verdict(await plainPdf({ text: "Annex" }), there)).toBe("broken");
  expect(await verdict(await plainPdf({ text: "Lease", pages: 2 }), there)).toBe("broken");
  expect(await verdict(await plainPdf({ text: "Annex" }), there, "pages")).toBe("intact");
});

test("without its original nothing is sealed", async () => {
  await expect(verdict(await plainPdf(), undefined)).rejects.toMatchObject({ code: "document-gone" });
});
