import { randomBytes } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { deflateSync } from "node:zlib";
import { degrees, PDFDocument, PDFName, PDFRawStream } from "@cantoo/pdf-lib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import { inMemory } from "../../src/files/content.ts";
import { withPassing } from "../../src/files/durable.ts";
import { compareRewritten } from "../../src/files/rewritten.ts";
import { verifySigned } from "../../src/files/verify.ts";
import { byQpdf, factsOf, scratchFolder, startSigner } from "../helpers/pdfs.ts";

const dir = scratchFolder("rewritten");
const path = join(dir, "original.pdf");
const LINE = "The tenant pays 1,250.00 euros on the first of the month to the owner of the flat";

interface Made {
  lines?: string[];
  pages?: number;
  size?: [number, number];
  change?: (pdf: PDFDocument) => void | Promise<void>;
  useObjectStreams?: boolean;
}

async function make({ lines = [LINE], pages = 2, size = [595, 842], change, useObjectStreams = false }: Made = {}) {
  const pdf = await PDFDocument.create();
  for (let n = 1; n <= pages; n++) {
    const page = pdf.addPage(size);
    lines.forEach((line, i) => page.drawText(`${line} (${n})`, { x: 40, y: size[1] - 80 - i * 20, size: 11 }));
  }
  await change?.(pdf);
  return Buffer.from(await pdf.save({ useObjectStreams }));
}

/** What tells PDFs apart, in bytes, that show the same. */
async function rewrittenByPdfLib(pdf: Buffer): Promise<Buffer> {
  const copy = await PDFDocument.create();
  const from = await PDFDocument.load(pdf);
  for (const page of await copy.copyPages(from, from.getPageIndices())) copy.addPage(page);
  return Buffer.from(await copy.save({ useObjectStreams: true }));
}

function compare(
  original: Buffer,
  found: Buffer,
  more: { by?: "text" | "pages"; withinMs?: number; cpuMostMs?: number } = {},
) {
  writeFileSync(path, original);
  return compareRewritten({ path, ...factsOf(original) }, inMemory(found), { by: "text", ...more });
}

describe("a document that was rewritten is recognised", () => {
  test("written anew by another library, with other objects in another order", async () => {
    const pdf = await make();
    const rewritten = await rewrittenByPdfLib(pdf);
    expect(rewritten.includes(pdf.subarray(0, 400))).toBe(false);
    expect(await compare(pdf, rewritten)).toEqual({ isSame: true, by: "text" });
  });

  test.each([
    ["object streams and other compression", ["--object-streams=generate", "--recompress-flate"]],
    ["uncompressed, normalised content", ["--qdf", "--object-streams=disable"]],
    ["linearised", ["--linearize"]],
  ])("by qpdf: %s", async (_what, options) => {
    const pdf = await make({ pages: 3 });
    const rewritten = byQpdf(dir, pdf, ...options);
    if (!rewritten) return void process.stderr.write("qpdf is not installed: left out\n");
    expect(await compare(pdf, rewritten)).toEqual({ isSame: true, by: "text" });
  });

  test("with its fields drawn into the page, and with its annotations removed", async () => {
    const addField = (pdf: PDFDocument) => {
      const field = pdf.getForm().createTextField("remark");
      field.setText("paid in cash");
      field.addToPage(pdf.getPage(0), { x: 40, y: 300, width: 200, height: 20 });
    };
    const pdf = await make({ change: addField });
    const flat = await make({ change: (one) => (addField(one), one.getForm().flatten()) });
    const bare = await make();
    expect(await compare(pdf, flat)).toEqual({ isSame: true, by: "text" });
    expect(await compare(pdf, bare)).toEqual({ isSame: true, by: "text" });
  });

  test("as a scan without text, turned upright", async () => {
    const scan = await make({ lines: [] });
    const turned = await make({
      lines: [],
      size: [842, 595],
      change: (pdf) => pdf.getPage(0).setRotation(degrees(90)),
    });
    expect(await compare(scan, turned)).toEqual({ isSame: true, by: "text" });
  });
});

describe("another document is not", () => {
  test.each<[string, Made, "text" | "pages"]>([
    ["one digit of its text is another", { lines: [LINE.replace("1,250", "1,150")] }, "text"],
    ["a line is missing", { lines: [] }, "text"],
    ["it has a page more", { pages: 3 }, "pages"],
    ["it has a page less", { pages: 1 }, "pages"],
    ["it has many lines more", { lines: [LINE, ...Array.from({ length: 20 }, () => LINE)] }, "text"],
  ])("%s", async (_what, made, by) => {
    expect(await compare(await make(), await make(made))).toEqual({ isSame: false, by });
  });

  test("the last page of many is another", async () => {
    const pages = (last: string) =>
      make({ pages: 40, change: (pdf) => pdf.getPage(39).drawText(last, { x: 40, y: 90 }) });
    expect(await compare(await pages("signed by Ana"), await pages("signed by Eva"))).toMatchObject({ isSame: false });
  });

  test("a scan of another size, a text in a scan's place, and what is no PDF at all", async () => {
    const scan = await make({ lines: [] });
    expect(await compare(scan, await make({ lines: [], size: [612, 792] }))).toMatchObject({ isSame: false });
    expect(await compare(scan, await make({ lines: Array.from({ length: 20 }, () => LINE) }))).toMatchObject({
      isSame: false,
    });
    expect(await compare(scan, Buffer.alloc(5_000, "%PDF-1.7 "))).toMatchObject({ isSame: false });
  });

  test("by the number of pages alone, where a deployment has chosen that", async () => {
    const other = await make({ lines: ["another"] });
    expect(await compare(await make(), other, { by: "pages" })).toEqual({ isSame: true, by: "pages" });
    expect(await compare(await make({ pages: 3 }), other, { by: "pages" })).toEqual({ isSame: false, by: "pages" });
  });
});

describe("what cannot be told does not stand in anybody's way", () => {
  test("an original that no library reads is taken for the same", async () => {
    expect(await compare(Buffer.alloc(5_000, "%PDF-1.7 "), await make())).toEqual({ isSame: true, by: "nothing" });
  });

  test("when there is no time, and after it the next one is read as ever", async () => {
    const [pdf, other] = [await make(), await make({ lines: ["another"] })];
    expect(await compare(pdf, other, { withinMs: 0 })).toEqual({ isSame: true, by: "nothing" });
    expect(await compare(pdf, other)).toEqual({ isSame: false, by: "text" });
  });

  test("pages of more than the processor's time allows are counted", async () => {
    const many = (last: string) =>
      make({
        pages: 150,
        lines: Array.from({ length: 40 }, () => LINE),
        change: (pdf) => pdf.getPage(149).drawText(last, { x: 40, y: 5 }),
      });
    const [ana, eva] = [await many("signed by Ana"), await many("signed by Eva")];
    expect(await compare(ana, eva, { cpuMostMs: 1 })).toEqual({ isSame: true, by: "pages" });
    expect(await compare(ana, eva)).toEqual({ isSame: false, by: "text" });
  });

  test("a page that unpacks to hundreds of megabytes costs neither the memory nor the time", async () => {
    const packed = deflateSync(Buffer.alloc(400 << 20, " "), { level: 1 });
    const bomb = (pdf: PDFDocument) => {
      const dict = pdf.context.obj({ Filter: "FlateDecode", Length: packed.length });
      pdf.getPage(0).node.set(PDFName.of("Contents"), pdf.context.register(PDFRawStream.of(dict, packed)));
    };
    const pdf = await make({ change: bomb });
    const beforeBytes = process.memoryUsage.rss();
    expect(await compare(pdf, pdf)).toEqual({ isSame: true, by: "pages" });
    expect(process.memoryUsage.rss() - beforeBytes).toBeLessThan(400 << 20);
    expect(await compare(await make(), await make())).toEqual({ isSame: true, by: "text" });
  });

  test("pictures of more than fits are read by one reader after the other", async () => {
    const picture = randomBytes(7 << 20);
    const withPictures = (last: string) =>
      make({
        pages: 5,
        change(pdf) {
          for (const page of pdf.getPages()) {
            const facts = { Type: "XObject", Subtype: "Image", Width: 1, Height: 1, ColorSpace: "DeviceGray" };
            const image = pdf.context.stream(picture, { ...facts, BitsPerComponent: 8, Filter: "DCTDecode" });
            page.node.newXObject("Picture", pdf.context.register(image));
          }
          pdf.getPage(4).drawText(last, { x: 40, y: 90 });
        },
      });
    const [ana, eva] = [await withPictures("signed by Ana"), await withPictures("signed by Eva")];
    expect(await compare(ana, ana)).toEqual({ isSame: true, by: "text" });
    expect(await compare(ana, eva)).toEqual({ isSame: false, by: "text" });
  });
});

describe("comparing", () => {
  test("an original that is gone, or is not what was taken in, is said by name", async () => {
    const pdf = await make();
    writeFileSync(path, pdf);
    const gone = { path: join(dir, "gone.pdf"), ...factsOf(pdf) };
    await expect(compareRewritten(gone, inMemory(pdf), { by: "text" })).rejects.toMatchObject({
      code: "document-gone",
    });
    const changed = { path, ...factsOf(Buffer.from("other")) };
    await expect(compareRewritten(changed, inMemory(pdf), { by: "text" })).rejects.toMatchObject({
      code: "document-changed",
    });
  });

  test("many at once come to their own verdicts, and one that is broken off leaves the others alone", async () => {
    const pdf = await make();
    writeFileSync(path, pdf);
    const other = await make({ lines: ["another"] });
    const stop = new AbortController();
    const verdicts = Array.from({ length: 12 }, (_, i) =>
      compareRewritten({ path, ...factsOf(pdf) }, inMemory(i % 2 ? other : pdf), {
        by: "text",
        ...(i === 4 && { signal: stop.signal }),
      }).catch((error: unknown) => error),
    );
    stop.abort(new Error("enough"));
    const found = await Promise.all(verdicts);
    expect(found[4]).toMatchObject({ message: "enough" });
    found.splice(4, 1);
    expect(found.map((one) => (one as { isSame: boolean }).isSame)).toEqual(
      [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11].map((i) => i % 2 === 0),
    );
  });

  test("what passes through is nowhere afterwards, and nowhere by name meanwhile, whether it is small or not", async () => {
    for (const sizeBytes of [1_000, 5_000_000]) {
      const bytes = Buffer.alloc(sizeBytes, "a");
      const seen = await withPassing(
        dir,
        Readable.from([bytes.subarray(0, 900), bytes.subarray(900)]),
        async (content, sha256) => ({
          sha256,
          end: (await content.read(sizeBytes - 3, 9)).toString(),
          names: readdirSync(dir).filter((name) => name.startsWith(".")),
        }),
      );
      expect(seen).toEqual({ sha256: factsOf(bytes).sha256, end: "aaa", names: [] });
    }
    expect(readdirSync(dir).filter((name) => name.startsWith("."))).toEqual([]);
  });
});

describe("a signed PDF whose original was rewritten", () => {
  let signer: Awaited<ReturnType<typeof startSigner>>;
  beforeAll(async () => void (signer = await startSigner({ pdfClean: true })));
  afterAll(() => signer.close());

  async function verdict(original: Buffer, signed: Buffer, at: string | undefined = path): Promise<string> {
    writeFileSync(path, original);
    const expected = { original: { ...factsOf(original), path: at }, incremental: false };
    return await verifySigned(inMemory(signed), expected).then(
      ({ recognisedBy }) => recognisedBy,
      (error: unknown) => (error instanceof PermanentError ? error.code : String(error)),
    );
  }

  test("is recognised by its text; another one is not", async () => {
    const [lease, annex] = [await make(), await make({ lines: ["An annex to the lease of the flat, with its keys"] })];
    const [signedLease, signedAnnex] = [await signer.sign(lease), await signer.sign(annex)];
    expect(signedLease.subarray(0, lease.length).equals(lease)).toBe(false);
    expect(await verdict(lease, signedLease)).toBe("text");
    expect(await verdict(annex, signedAnnex)).toBe("text");
    expect(await verdict(lease, signedAnnex)).toBe("signature-other-document");
    expect(await verdict(annex, signedLease)).toBe("signature-other-document");
  });

  test("is recognised although the cleaning has removed the signature that its original had", async () => {
    const keeping = await startSigner();
    const original = await keeping.sign(await make());
    await keeping.close();
    const signed = await signer.sign(original);
    expect(signed.toString("latin1").split("/ByteRange").length).toBe(2);
    expect(await verdict(original, signed)).toBe("text");
  });

  test("is taken, and says so, when its original is lost", async () => {
    const lease = await make();
    const signed = await signer.sign(lease);
    expect(await verdict(lease, signed, join(dir, "gone.pdf"))).toBe("nothing");
  });

  test("that has the original's bytes after all is recognised by them", async () => {
    const keeping = await startSigner();
    const lease = await make();
    expect(await verdict(lease, await keeping.sign(lease))).toBe("bytes");
    await keeping.close();
  });
});
