import { PDFDocument } from "@cantoo/pdf-lib";
import { expect, test } from "vitest";
import { makeSamples } from "../../src/cli/samples.ts";
import { makeWorkflowSamples } from "../../src/cli/samples-workflows.ts";
import { WORKFLOWS } from "../../src/core/workflow.ts";
import { typeOfHead } from "../../src/files/enclosure.ts";
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

test("there is a sample of each workflow that the other samples do not show, signed in the background and by its hash as well", async () => {
  const samples = await makeWorkflowSamples(new Date());
  const manifests = samples.map(({ files }) => {
    const request = files.find(({ path }) => path.endsWith("/request.json"))?.bytes ?? Buffer.of();
    return Manifest.parse(JSON.parse(Buffer.from(request).toString()));
  });
  const shown = manifests.map(({ workflow }) => workflow);
  expect(WORKFLOWS.filter((workflow) => workflow !== "videoid" && !shown.includes(workflow))).toEqual([]);
  expect(manifests.filter(({ useasync }) => useasync)).toHaveLength(1);
  expect(manifests.filter(({ signature }) => signature?.format === "cms")).toHaveLength(1);
});

test("a workflow's sample has the files that its manifest names, each of the kind that is asked for", async () => {
  for (const { files, document } of await makeWorkflowSamples(new Date())) {
    const typeOf = (name: unknown) => {
      const file = files.find(({ path }) => path.endsWith(`/${String(name)}`));
      return file && typeOfHead(Buffer.from(file.bytes));
    };
    const request = files.find(({ path }) => path.endsWith("/request.json"))?.bytes ?? Buffer.of();
    const { identity = {} } = JSON.parse(Buffer.from(request).toString()) as { identity?: Record<string, unknown> };
    expect(typeOf(document)).toBe(document.endsWith(".pdf") ? "application/pdf" : "application/octet-stream");
    for (const [role, name] of Object.entries(identity)) {
      if (role.startsWith("document_")) expect(typeOf(name)).toBe("image/png");
      if (role === "video") expect(typeOf(name)).toBe("video/mp4");
    }
  }
});
