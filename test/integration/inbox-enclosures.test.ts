import { chmod, link, mkdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { classic, external, jpeg, mp4, OCR_DATA, png } from "../helpers/identity.ts";
import { makePdf, sha256, startInboxHouse } from "./inbox-house.ts";

const FILES = { document_front: "DNI Ana front.jpg", document_rear: "DNI Ana rear.png" };

/** A folder as somebody drops it, whose manifest names its pictures. */
function folder({ manifest = classic(FILES) }: { manifest?: object } = {}): Record<string, string | Buffer> {
  const pictures = { [FILES.document_front]: jpeg(), [FILES.document_rear]: png() };
  return { "lease.pdf": makePdf("a"), ...pictures, "request.json": JSON.stringify(manifest) };
}

const note = (house: ReturnType<typeof startInboxHouse>, name = "f") => house.read("failed", `${name}.error.txt`);

test("the files that a folder's manifest names come in with it, known by what they show and by nothing else", async () => {
  const house = startInboxHouse();
  const files = folder();
  await house.take({ f: files });
  const { id, workflow, documents, enclosures, ...rest } = house.only();
  expect(workflow).toBe("classic");
  expect(documents.map(({ name }) => name)).toEqual(["lease.pdf"]);
  const front = files[FILES.document_front] as Buffer;
  const rear = files[FILES.document_rear] as Buffer;
  expect(enclosures).toEqual([
    {
      id: `${id}/document_front`,
      name: "document_front",
      contentType: "image/jpeg",
      sizeBytes: front.length,
      sha256: sha256(front),
    },
    {
      id: `${id}/document_rear`,
      name: "document_rear",
      contentType: "image/png",
      sizeBytes: rear.length,
      sha256: sha256(rear),
    },
  ]);
  expect(JSON.stringify({ rest, enclosures })).not.toContain("DNI");
  expect(rest).not.toHaveProperty("identity");
  for (const name of ["document_front", "document_rear"]) {
    expect((await stat(house.at(".work", id, name))).mode & 0o777).toBe(0o600);
  }
});

test("what was found of the signer goes along with the files, and the video is one of them", async () => {
  const house = startInboxHouse();
  const manifest = external({ ...FILES, video: "Ana.MP4" });
  const video = mp4();
  await house.take({ f: { ...folder({ manifest }), "Ana.MP4": video } });
  const { enclosures = [], identification } = house.only();
  expect(identification).toMatchObject({ ocr_data: OCR_DATA, similarity_level: "high" });
  expect(identification).not.toHaveProperty("video");
  expect(enclosures.map(({ name, contentType }) => [name, contentType])).toEqual([
    ["document_front", "image/jpeg"],
    ["document_rear", "image/png"],
    ["video", "video/mp4"],
  ]);
});

test("a PDF that the manifest names is not signed", async () => {
  const house = startInboxHouse();
  const manifest = classic({ ...FILES, extra_document: "authority.pdf" });
  await house.take({ f: { ...folder({ manifest }), "authority.pdf": makePdf("b") } });
  const { documents, enclosures = [] } = house.only();
  expect(documents.map(({ name }) => name)).toEqual(["lease.pdf"]);
  expect(enclosures.at(-1)).toMatchObject({ name: "extra_document", contentType: "application/pdf" });
});

test("a name is found however its accents are spelt", async () => {
  const house = startInboxHouse();
  const named = { document_front: "Ana García.jpg".normalize("NFC"), document_rear: FILES.document_rear };
  const { [FILES.document_front]: front, ...files } = folder({ manifest: classic(named) });
  await house.take({ f: { ...files, ["Ana García.jpg".normalize("NFD")]: front as Buffer } });
  expect(house.only().enclosures).toHaveLength(2);
});

test.each([
  [
    "named and not there",
    { [FILES.document_rear]: undefined },
    "enclosure-missing",
    /^f: In "request\.json", identity\.document_rear names "DNI Ana rear\.png", which is not in the folder; put it there, then drop it into the inbox again\.\n$/,
  ],
  [
    "there and not named",
    { "selfie.jpg": jpeg() },
    "folder-with-other-files",
    /takes PDFs, request\.json and the files that it names under "identity"; take "selfie\.jpg" out of it/,
  ],
  [
    "misspelt",
    { [FILES.document_rear]: undefined, "rear.png": png() },
    "enclosure-missing",
    /names "DNI Ana rear\.png", which is not in the folder; put it there\. Besides, a folder takes .*take "rear\.png" out/,
  ],
  [
    "no picture",
    { [FILES.document_front]: Buffer.from("GIF89a") },
    "not-a-picture",
    /identity\.document_front, "DNI Ana front\.jpg": It is not a JPEG or PNG picture, whatever it is called; save it as one/,
  ],
  [
    "empty",
    { [FILES.document_rear]: Buffer.alloc(0) },
    "file-empty",
    /identity\.document_rear, "DNI Ana rear\.png": The file is empty; save or copy it anew/,
  ],
] as [string, Record<string, Buffer | undefined>, string, RegExp][])(
  "a file that is %s is told in one sentence with its field, and everything comes back as it was dropped",
  async (_what, change, code, sentence) => {
    const house = startInboxHouse();
    const changed = Object.entries({ ...folder(), ...change }).filter(([, content]) => content !== undefined);
    const files = Object.fromEntries(changed) as Record<string, Buffer | string>;
    await house.drop({ f: files });
    await house.pass(10_000, 10);
    expect(house.pipeline.submissions).toEqual([]);
    expect(await note(house)).toMatch(sentence);
    expect(await house.json("failed", "f.error.json")).toMatchObject({ code });
    expect(await house.tree("failed", "f")).toEqual(Object.keys(files).sort());
    expect(await house.tree(".work")).toEqual([]);
  },
);

test("a link in the place of a named file is not opened", async () => {
  const house = startInboxHouse();
  const files = folder();
  await house.drop({ f: files });
  await rm(house.at("inbox", "f", FILES.document_front));
  await writeFile(house.at("elsewhere.jpg"), jpeg());
  await symlink(house.at("elsewhere.jpg"), house.at("inbox", "f", FILES.document_front));
  await house.pass(10_000, 10);
  expect(await note(house)).toMatch(/identity\.document_front, "DNI Ana front\.jpg": It is a link, a pipe or a device/);
  expect(await house.tree("failed", "f")).toHaveLength(4);
});

test("a named file that has not begun is given time", async () => {
  const house = startInboxHouse();
  await house.drop({ f: { ...folder(), [FILES.document_rear]: "" } });
  await house.pass(1_000, 20);
  expect(await house.tree("failed")).toEqual([]);
  await writeFile(house.at("inbox", "f", FILES.document_rear), png());
  await house.pass(10_000, 6);
  expect(house.only().enclosures).toHaveLength(2);
});

test("a manifest that cannot be used says only what is wrong with it: which files it names is not known", async () => {
  const house = startInboxHouse();
  await house.take({ f: folder({ manifest: classic(FILES, { profil: "x" }) }) });
  expect(await note(house)).toMatch(
    /"request\.json" cannot be used: profil is not a key that is known here\. Correct it/,
  );
  expect(await note(house)).not.toMatch(/take .* out of it/);
});

test("a PDF that came alone cannot bring files, and is told how they can come", async () => {
  const house = startInboxHouse();
  await house.take({ "x.pdf": makePdf("a"), "x.pdf.json": JSON.stringify(classic(FILES)) });
  expect(await house.read("failed", "x.pdf.error.txt")).toBe(
    'x.pdf: "x.pdf.json" names files (identity.document_front, identity.document_rear), and only a folder can bring them: put the PDF, the files and a request.json into one, then drop it into the inbox again.\n',
  );
  expect(await house.tree("failed")).toContain("x.pdf.json");
});

test("a defaults.json that names files keeps PDFs waiting instead of sending them back", async () => {
  const house = startInboxHouse({ config: { reportMs: 1_000 } });
  await house.take({ "defaults.json": JSON.stringify(classic(FILES)), "x.pdf": makePdf("a") });
  expect(await house.tree("inbox")).toEqual(["defaults.json", "x.pdf"]);
  const { failure } = (await house.status("x.pdf")) as { failure: { message: string } };
  expect(failure.message).toMatch(
    /only a folder can bring them.*until then PDFs without a JSON file of their own wait/,
  );
});

test("once it is done nothing is left of what showed who the signer is", async () => {
  const house = startInboxHouse();
  await house.take({ f: folder() });
  const { id, enclosures } = house.only();
  house.pipeline.move(id, { phase: "done", facts: { enclosures } });
  await house.pass();
  expect(await house.tree("archive")).toEqual([`${id}/lease.pdf`]);
  expect([...(await house.tree(".work")), ...(await house.tree("failed"))]).toEqual([]);
});

test("a failed folder comes back whole, and is taken back when a retry ends well, also when its files were erased by then", async () => {
  const house = startInboxHouse();
  const files = folder();
  await house.take({ f: files });
  const { id, enclosures } = house.only();
  house.pipeline.move(id, { phase: "failed", failure: { code: "x", message: "Why", stage: "create" } });
  await house.pass();
  expect(await house.tree("failed", "f")).toEqual(Object.keys(files).sort());
  expect(await house.tree(".work", id)).toEqual(expect.arrayContaining(["1.pdf", "document_front", "document_rear"]));
  expect((await stat(house.at("failed", "f", FILES.document_front))).mode & 0o077).toBe(0);
  // As the last stage does it.
  for (const { name } of enclosures ?? []) await rm(house.at(".work", id, name));
  await writeFile(house.at("failed", "f", "mine.txt"), "not ours");
  house.pipeline.move(id, { phase: "done", facts: { enclosures } });
  await house.pass();
  expect(await house.tree("failed")).toEqual(expect.arrayContaining(["f/mine.txt"]));
  expect(await house.tree("failed", "f")).toEqual(["mine.txt"]);
  expect(await house.tree("archive")).toEqual([`${id}/lease.pdf`]);
});

test.each(["refused", "cancelled"] as const)("a %s request gives the files back, and keeps none", async (phase) => {
  const house = startInboxHouse();
  const files = folder();
  await house.take({ f: files });
  house.pipeline.move(house.only().id, { phase });
  await house.pass();
  expect(await house.tree("failed", "f")).toEqual(Object.keys(files).sort());
  expect(await house.tree(".work")).toEqual([]);
});

test("a folder that is put back is a new request with its files, and what was kept for the old one goes with its end", async () => {
  const house = startInboxHouse();
  await house.take({ f: folder() });
  const { id, enclosures } = house.only();
  house.pipeline.move(id, {
    phase: "failed",
    failure: { code: "x", message: "Why", stage: "create" },
    facts: { enclosures },
  });
  await house.pass();
  await rename(house.at("failed", "f"), house.at("inbox", "f"));
  await house.pass(1_000, 8);
  const second = house.pipeline.submissions[1];
  expect(second).toMatchObject({ retryOf: id, enclosures: [{ name: "document_front" }, { name: "document_rear" }] });
  house.pipeline.move(second?.id ?? "", { phase: "done", facts: { enclosures: second?.enclosures } });
  await house.pass();
  expect(await house.tree(".work")).toEqual([]);
  expect(await house.tree("failed")).toEqual([]);
});

test("the same documents for the same signer are a duplicate whatever the pictures, and everything is set aside", async () => {
  const house = startInboxHouse();
  await house.take({ f: folder() });
  await house.take({ g: folder() });
  expect(house.pipeline.submissions).toHaveLength(1);
  expect(await house.tree("duplicates", "g")).toHaveLength(4);
});

test("a file that has a second name elsewhere, or belongs to somebody else, becomes a file of its own", async () => {
  const house = startInboxHouse();
  await house.drop({ f: folder() });
  await mkdir(house.at("mine"));
  await chmod(house.at("inbox", "f", FILES.document_front), 0o644);
  await link(house.at("inbox", "f", FILES.document_front), house.at("mine", "front.jpg"));
  await house.pass(1_000, 8);
  const { id, enclosures = [] } = house.only();
  await writeFile(house.at("mine", "front.jpg"), "changed afterwards");
  const kept = await stat(house.at(".work", id, "document_front"));
  expect([kept.size, kept.mode & 0o777]).toEqual([enclosures[0]?.sizeBytes, 0o600]);
});

test("a claim whose notes were lost gives the files back under the names that the manifest has", async () => {
  const house = startInboxHouse();
  const files = folder();
  await house.take({ f: files });
  const { id, enclosures } = house.only();
  await writeFile(house.at(".work", id, "claim.json"), "{");
  await house.restart();
  house.pipeline.move(id, {
    phase: "failed",
    failure: { code: "x", message: "Why", stage: "create" },
    facts: { enclosures },
  });
  await house.pass();
  expect(await house.tree("failed", `recovered-${id}`)).toEqual(Object.keys(files).sort());
});
