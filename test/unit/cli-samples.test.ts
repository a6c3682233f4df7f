import { PDFDocument } from "@cantoo/pdf-lib";
import { expect, test } from "vitest";
import { makeSamples } from "../../src/cli/samples.ts";
import { Manifest } from "../../src/producers/manifest.ts";

test("each run's samples are new documents, under new names and references", async () => {
  const [a, b] = await Promise.all([
    makeSamples(new Date(1_800_000_000_000)),
    makeSamples(new Date(1_800_000_001_000)),
  ]);
  expect(a.alone.reference).not.toBe(b.alone.reference);
  const paths = (samples: typeof a) => [...samples.alone.files, ...samples.folder.files].map(({ path }) => path);
  expect(paths(a).filter((path) => paths(b).includes(path))).toEqual([]);
  expect(Buffer.compare(a.alone.files[1]?.bytes ?? Buffer.of(), b.alone.files[1]?.bytes ?? Buffer.of())).not.toBe(0);
});

test("the samples are whole PDFs of one page with manifests that the inbox takes, and one that is cut off", async () => {
  const { alone, folder, broken } = await makeSamples(new Date());
  for (const { path, bytes } of [...alone.files, ...folder.files]) {
    if (path.endsWith(".json"))
      expect(Manifest.safeParse(JSON.parse(Buffer.from(bytes).toString())).success).toBe(true);
    else expect((await PDFDocument.load(bytes)).getPageCount()).toBe(1);
  }
  const cutOff = Buffer.from(broken.files[1]?.bytes ?? Buffer.of()).toString("latin1");
  expect(cutOff.startsWith("%PDF-")).toBe(true);
  expect(cutOff).not.toContain("%%EOF");
});
