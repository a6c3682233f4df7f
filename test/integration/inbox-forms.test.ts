import { execFileSync } from "node:child_process";
import { link, mkdir, rename, symlink, utimes, writeFile, appendFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { makePdf, MANIFEST, sha256, SIGNER, startInboxHouse } from "./inbox-house.ts";

test("a PDF with its sidecar becomes a request with the sidecar's signer and the PDF's hash", async () => {
  const house = startInboxHouse();
  const pdf = makePdf("one");
  await house.take({ "x.pdf": pdf, "x.pdf.json": JSON.stringify({ signer: SIGNER, reference: "R1", profile: "P" }) });
  const { id, signer, reference, profile, documents, by, refuseDuplicate } = house.only();
  expect({ signer, reference, profile, by, refuseDuplicate }).toEqual({
    signer: SIGNER,
    reference: "R1",
    profile: "P",
    by: "inbox",
    refuseDuplicate: true,
  });
  expect(documents).toEqual([{ id: `${id}/1.pdf`, name: "x.pdf", sizeBytes: pdf.length, sha256: sha256(pdf) }]);
  expect(await house.tree("inbox")).toEqual([]);
  expect(await house.status("x.pdf")).toMatchObject({ request_id: id, state: "queued", stage: "create" });
});

test("a sidecar may come before its PDF", async () => {
  const house = startInboxHouse();
  await house.take({ "x.pdf.json": MANIFEST });
  expect(house.pipeline.submissions).toEqual([]);
  await house.take({ "x.pdf": makePdf("late") });
  expect(house.only().documents[0]?.name).toBe("x.pdf");
});

test("a PDF waits for a sidecar that comes later", async () => {
  const house = startInboxHouse();
  await house.drop({ "x.pdf": makePdf("early") });
  await house.pass(1_000, 4);
  await house.take({ "x.pdf.json": MANIFEST });
  expect(house.only().signer).toEqual(SIGNER);
});

test("a PDF for which nobody is named comes back with a sentence that says what to add", async () => {
  const house = startInboxHouse();
  await house.take({ "x.pdf": makePdf("alone") });
  expect(await house.tree("failed")).toEqual(["x.pdf", "x.pdf.error.json", "x.pdf.error.txt"]);
  expect(await house.read("failed", "x.pdf.error.txt")).toBe(
    'x.pdf: It is not known who signs: put "x.pdf.json" beside it, or a defaults.json into the inbox, then drop it into the inbox again.\n',
  );
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "request-missing", retriable: true });
  expect(await house.status("x.pdf")).toMatchObject({ state: "failed", now_at: "failed/x.pdf" });
});

test("a PDF whose name leaves no room for that of a sidecar is not told to get one under it", async () => {
  const house = startInboxHouse();
  const name = `${"x".repeat(250)}.pdf`;
  await house.take({ [name]: makePdf("alone") });
  const note = (await house.tree("failed")).find((one) => one.endsWith(".error.txt")) ?? "";
  expect(await house.read("failed", note)).toMatch(/its name is too long .*make it shorter and put that file there/);
});

test("defaults.json says who signs a PDF without a sidecar, and stays", async () => {
  const house = startInboxHouse();
  await house.take({ "defaults.json": MANIFEST, "x.pdf": makePdf("a"), "y.PDF": makePdf("b") });
  expect(house.pipeline.submissions.map(({ signer }) => signer)).toEqual([SIGNER, SIGNER]);
  expect(await house.tree("inbox")).toEqual(["defaults.json"]);
});

test("with defaults.json a PDF still waits a moment for a sidecar of its own", async () => {
  const house = startInboxHouse();
  await house.drop({ "defaults.json": MANIFEST, "x.pdf": makePdf("a") });
  await house.pass(1_000, 1);
  const other = { ...SIGNER, email: "bob@example.com" };
  await house.take({ "x.pdf.json": JSON.stringify({ signer: other }) });
  expect(house.only().signer).toEqual(other);
});

test("a folder with request.json becomes one request, its documents in the order of their names", async () => {
  const house = startInboxHouse();
  const names = ["10.pdf", "2.pdf", "b.pdf"];
  const files = Object.fromEntries(names.map((name) => [name, makePdf(name)]));
  await house.take({ contract: { ...files, "request.json": MANIFEST, ".DS_Store": "x" } });
  const { id, documents } = house.only();
  expect(documents.map(({ name }) => name)).toEqual(["2.pdf", "10.pdf", "b.pdf"]);
  expect(documents.map(({ id: at }) => at)).toEqual([`${id}/1.pdf`, `${id}/2.pdf`, `${id}/3.pdf`]);
  expect(await house.status("contract")).toMatchObject({ request_id: id });
});

test("a PDF that comes late is still part of its folder", async () => {
  const house = startInboxHouse();
  await house.drop({ f: { "a.pdf": makePdf("a"), "request.json": MANIFEST } });
  await house.pass(1_000, 2);
  await house.put("inbox/f", { "b.pdf": makePdf("b") });
  await house.pass(1_000, 5);
  expect(house.only().documents).toHaveLength(2);
});

test("a folder that says _READY is taken after the short wait", async () => {
  const house = startInboxHouse();
  await house.drop({ f: { "a.pdf": makePdf("a"), "request.json": MANIFEST, _READY: "" } });
  await house.pass(1_000, 1);
  expect(house.only().documents).toHaveLength(1);
});

test("a folder with two things the matter is told both, so that nobody has to come twice", async () => {
  const house = startInboxHouse();
  await house.drop({ f: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } });
  await house.pass(1_000, 60);
  expect(await house.read("failed", "f.error.txt")).toMatch(
    /take "a.pdf.json" out of it\. Besides, it is not known who signs: put a request.json into the folder/,
  );
});

test.each([
  [
    "more PDFs than are taken at once",
    Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`${n}.pdf`, makePdf(`${n}`)])),
    "too-many-documents",
    /101 PDFs, and 100 are taken at once; split it.* or have the operator raise MAX_DOCUMENTS/,
  ],
  ["no PDF", {}, "no-documents", /has no PDF/],
  ["other files", { "a.pdf": makePdf("a"), "b.docx": "x" }, "folder-with-other-files", /"b.docx"/],
  [
    "folders of its own",
    { "a.pdf": makePdf("a"), deep: { "b.pdf": makePdf("b") } },
    "folder-with-other-files",
    /"deep"/,
  ],
  ["an empty PDF", { "a.pdf": makePdf("a"), "b.pdf": "" }, "file-empty", /"b.pdf": The file is empty/],
])("a folder with %s comes back whole, with the reason", async (_what, files, code, message) => {
  const house = startInboxHouse();
  await house.drop({ f: { ...files, "request.json": MANIFEST } });
  await house.pass(10_000, 12);
  expect(house.pipeline.submissions).toEqual([]);
  expect(await house.json("failed", "f.error.json")).toMatchObject({ code });
  expect(await house.read("failed", "f.error.txt")).toMatch(message);
  const names = (await house.tree("failed", "f")).map((name) => name.split("/")[0]);
  expect(new Set(names)).toEqual(new Set([...Object.keys(files), "request.json"]));
  expect(await house.tree(".work")).toEqual([]);
});

test.each([
  ["is no PDF", "hello, I am text", "not-a-pdf"],
  ["is encrypted", makePdf("x", { encrypted: true }), "pdf-encrypted"],
  ["is empty", "", "file-empty"],
  ["is cut off", makePdf("cut").subarray(0, 120), "pdf-incomplete"],
])("a file that %s comes back, and its neighbours are not touched", async (_what, content, code) => {
  const house = startInboxHouse();
  await house.drop({
    "bad.pdf": content,
    "bad.pdf.json": MANIFEST,
    "good.pdf": makePdf("g"),
    "good.pdf.json": MANIFEST,
  });
  await house.pass(10_000, 12);
  expect(house.only().documents[0]?.name).toBe("good.pdf");
  expect(await house.tree("failed")).toEqual(["bad.pdf", "bad.pdf.error.json", "bad.pdf.error.txt", "bad.pdf.json"]);
  expect(await house.json("failed", "bad.pdf.error.json")).toMatchObject({ code });
});

test("links and pipes are moved as they are, and never opened", async () => {
  const house = startInboxHouse();
  await house.drop({ "good.pdf": makePdf("g"), "good.pdf.json": MANIFEST });
  await symlink("/etc/passwd", house.at("inbox", "link.pdf"));
  await symlink("nowhere", house.at("inbox", "dangling"));
  execFileSync("mkfifo", [house.at("inbox", "pipe.pdf")]);
  await house.pass(1_000, 8);
  expect(house.only().documents[0]?.name).toBe("good.pdf");
  expect(await house.tree("failed")).toEqual(
    ["dangling", "link.pdf", "pipe.pdf"].flatMap((name) => [name, `${name}.error.json`, `${name}.error.txt`]),
  );
});

test("a wrong sidecar comes back with its PDF, and the note names the field but not the value", async () => {
  const house = startInboxHouse();
  const signer = { email: "not-an-address-of-ana", mobile_phone_number: "+34699999999" };
  await house.take({ "x.pdf": makePdf("x"), "x.pdf.json": JSON.stringify({ signer }) });
  const text = await house.read("failed", "x.pdf.error.txt");
  expect(text).toContain('"x.pdf.json" cannot be used: signer.email must be an e-mail address');
  expect(text).not.toContain("ana-");
  expect(text).not.toContain("not-an-address");
  expect(await house.tree("failed")).toContain("x.pdf.json");
});

test("files of other kinds stay where they are, and are reported once", async () => {
  const house = startInboxHouse();
  await house.drop({ "letter.docx": "x", "request.json": MANIFEST, "orphan.pdf.json": MANIFEST });
  await house.pass(30_000, 4);
  expect(await house.tree("inbox")).toEqual(["letter.docx", "orphan.pdf.json", "request.json"]);
  expect(house.inbox().status()).toMatchObject({ unusable: 3, failed: 0 });
  expect(house.logged.filter(({ message }) => message === "files in the inbox cannot be taken")).toHaveLength(1);
  expect(await house.status("letter.docx")).toMatchObject({ state: "unusable", failure: { code: "unsupported-file" } });
  await rename(house.at("inbox", "letter.docx"), house.at("letter.docx"));
  await house.pass();
  await expect(house.status("letter.docx")).rejects.toThrow("ENOENT");
});

test("an incomplete PDF is set aside once nothing came for a good while, and not before", async () => {
  const house = startInboxHouse();
  const pdf = makePdf("slow");
  await house.drop({ "x.pdf": pdf.subarray(0, 100), "x.pdf.json": MANIFEST });
  await house.pass(1_000, 19);
  expect(await house.tree("inbox")).toContain("x.pdf");
  await appendFile(house.at("inbox", "x.pdf"), pdf.subarray(100, 110));
  await house.pass(1_000, 19);
  expect(await house.tree("inbox")).toContain("x.pdf");
  await house.pass(1_000, 4);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "pdf-incomplete" });
  expect(await house.tree("failed")).toContain("x.pdf.json");
});

test("a PDF that cannot be signed and for which nobody is named is told both", async () => {
  const house = startInboxHouse();
  await house.drop({ "x.pdf": makePdf("cut").subarray(0, 120) });
  await house.pass(5_000, 6);
  expect(await house.read("failed", "x.pdf.error.txt")).toBe(
    'x.pdf: The PDF is incomplete, its end is missing; copy it anew. Besides, it is not known who signs: put "x.pdf.json" beside it, or a defaults.json into the inbox, then drop it into the inbox again.\n',
  );
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "pdf-incomplete" });
});

test("an empty PDF may still be filled; its status says what it waits for, and until when", async () => {
  const house = startInboxHouse({ config: { settleMaxMs: 600_000 } });
  const pdf = makePdf("scanned");
  await house.drop({ "x.pdf": "", "x.pdf.json": MANIFEST });
  await house.pass(30_000, 3);
  expect(await house.status("x.pdf")).toMatchObject({
    state: "unusable",
    failure: {
      code: "file-empty",
      message: "It is empty so far. It is given time until 2026-01-01 00:10 UTC, and set aside if nothing changes.",
    },
  });
  await writeFile(house.at("inbox", "x.pdf"), pdf);
  await house.pass(30_000, 4);
  expect(house.only().documents[0]?.sha256).toBe(sha256(pdf));
  expect(await house.status("x.pdf")).toMatchObject({ state: "queued" });
});

test("a folder that is still put together is told what it lacks, and taken when it is there", async () => {
  const house = startInboxHouse({ config: { settleMaxMs: 600_000 } });
  await house.drop({ f: { "request.json": MANIFEST }, g: { "a.pdf": makePdf("a"), "b.pdf.part": "" } });
  await house.pass(30_000, 4);
  expect(await house.status("f")).toMatchObject({ failure: { code: "no-documents" }, state: "unusable" });
  expect(await house.status("g")).toMatchObject({ failure: { code: "pdf-incomplete" }, state: "unusable" });
  await house.put("inbox/f", { "b.pdf": makePdf("b") });
  await house.pass(30_000, 4);
  expect(await house.status("f")).toMatchObject({ request_id: house.only().id });
});

test("a folder with a file that is never finished comes back whole, and is not signed without it", async () => {
  const house = startInboxHouse({ config: { settleMaxMs: 600_000 } });
  await house.drop({ f: { "a.pdf": makePdf("a"), "b.pdf.part": "half", "request.json": MANIFEST } });
  await house.pass(60_000, 14);
  expect(house.pipeline.submissions).toEqual([]);
  expect(await house.read("failed", "f.error.txt")).toMatch(/still being written .*finish it or take it out/);
  expect(await house.read("failed", "f", "b.pdf.part")).toBe("half");
});

test("a folder with an incomplete PDF comes back once nothing came for a good while", async () => {
  const house = startInboxHouse();
  await house.drop({
    f: { "a.pdf": makePdf("a"), "b.pdf": makePdf("b").subarray(0, 99), "request.json": MANIFEST },
  });
  await house.pass(1_000, 18);
  expect(await house.tree("failed")).toEqual([]);
  await house.pass(5_000, 4);
  expect(await house.read("failed", "f.error.txt")).toContain('"b.pdf": The PDF is incomplete');
});

test("with a defaults.json that cannot be used PDFs wait, say why, and go on when it is mended", async () => {
  const house = startInboxHouse();
  const own = { "own.pdf": makePdf("own"), "own.pdf.json": MANIFEST };
  await house.drop({ "defaults.json": '{"signer":{}}', "x.pdf": makePdf("x"), ...own });
  await house.pass(10_000, 8);
  expect(house.only().documents[0]?.name).toBe("own.pdf");
  expect(await house.tree("failed")).toEqual([]);
  expect(house.inbox().status()).toMatchObject({ unusable: 1 });
  expect(await house.status("x.pdf")).toMatchObject({
    state: "unusable",
    failure: {
      code: "invalid-manifest",
      message:
        '"defaults.json" cannot be used: signer.email is missing; signer.mobile_phone_number is missing. Correct it; until then PDFs without a JSON file of their own wait in the inbox.',
    },
  });
  await house.drop({ "defaults.json": MANIFEST });
  await house.pass(30_000, 3);
  expect(house.pipeline.submissions[1]?.documents[0]?.name).toBe("x.pdf");
  expect(await house.status("x.pdf")).toMatchObject({ state: "queued" });
});

test.each([
  ["\u00e9.pdf", "e\u0301.pdf.json"],
  ["e\u0301.pdf", "\u00e9.pdf.json"],
  ["x.PDF", "x.pdf.json"],
  ["x.pdf", "x.PDF.json"],
  ["x.pdf", "x.pdf.JSON"],
])("%j and %j look the same to people, and are a pair", async (pdf, sidecar) => {
  const house = startInboxHouse();
  const other = { ...SIGNER, email: "bob@example.com" };
  await house.take({ "defaults.json": MANIFEST, [pdf]: makePdf("p"), [sidecar]: JSON.stringify({ signer: other }) });
  expect(house.only().signer).toEqual(other);
  expect(await house.tree("inbox")).toEqual(["defaults.json"]);
});

test("a PDF with exactly the sidecar's name has it, and one that only looks like it has not", async () => {
  const house = startInboxHouse();
  const other = JSON.stringify({ signer: { ...SIGNER, email: "bob@example.com" } });
  await house.take({ "defaults.json": MANIFEST, "x.PDF": makePdf("1"), "x.pdf": makePdf("2"), "x.PDF.json": other });
  const signers = house.pipeline.submissions.map(({ documents, signer }) => [documents[0]?.name, signer.email]);
  expect(Object.fromEntries(signers)).toEqual({ "x.PDF": "bob@example.com", "x.pdf": "ana@example.com" });
});

test.each([
  ["no JSON", "{signer", /must be JSON/],
  ["a key twice", '{"signer":{},"signer":{}}', /"signer" is there twice/],
  ["nothing", "", /must not be empty/],
  ["too much", JSON.stringify({ reference: "x".repeat(70_000) }), /must not be larger than 64 KiB/],
  ["no UTF-8", Buffer.from([0xff, 0xfe, 0x7b]), /must be text in UTF-8/],
])("a sidecar that holds %s comes back with its PDF, and with the reason", async (_what, content, message) => {
  const house = startInboxHouse();
  await house.take({ "x.pdf": makePdf("x"), "x.pdf.json": content });
  expect(await house.tree("failed")).toEqual(["x.pdf", "x.pdf.error.json", "x.pdf.error.txt", "x.pdf.json"]);
  expect(await house.read("failed", "x.pdf.error.txt")).toMatch(message);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "invalid-manifest" });
});

test("a sidecar that comes too late is told which PDF it waits for, and takes it when it comes again", async () => {
  const house = startInboxHouse();
  await house.take({ "x.pdf": makePdf("x") });
  await house.drop({ "x.pdf.json": MANIFEST });
  await house.pass(30_000, 4);
  expect(await house.status("x.pdf.json")).toMatchObject({
    failure: { code: "pdf-missing", message: expect.stringContaining('waits for "x.pdf"') },
  });
  await rename(house.at("failed", "x.pdf"), house.at("inbox", "x.pdf"));
  await house.pass(1_000, 3);
  expect(house.only().signer).toEqual(SIGNER);
  expect(await house.tree("failed")).toEqual([]);
  await expect(house.status("x.pdf.json")).rejects.toThrow("ENOENT");
});

test("a JSON file under another name is told how it is to be named", async () => {
  const house = startInboxHouse();
  await house.drop({ "lease.json": MANIFEST, "lease.pdf.": makePdf("dot"), "lease.pdf ": makePdf("space") });
  await house.pass(30_000, 4);
  expect(await house.status("lease.json")).toMatchObject({
    failure: { code: "unsupported-file", message: expect.stringContaining('"lease.pdf.json"') },
  });
  expect(await house.status("lease.pdf.")).toMatchObject({ failure: { code: "unsupported-file" } });
  expect(await house.tree("inbox")).toHaveLength(3);
});

test("a note is one line that reads as it is written, whatever the file is called", async () => {
  const house = startInboxHouse();
  const names = ['a"b\nc.pdf', "\u202efdp.exe.pdf", "...pdf.pdf", "'; rm -rf ~.pdf"];
  await house.take(Object.fromEntries(names.map((name) => [name, "no pdf"])));
  const notes = (await house.tree("failed")).filter((name) => name.endsWith(".error.txt"));
  // Hidden files are nobody's, so the one that begins with a dot stays.
  expect(notes).toHaveLength(names.length - 1);
  const texts = await Promise.all(notes.map((name) => house.read("failed", name)));
  for (const text of texts) expect(text).toMatch(/^[^\n\u202e]+: The file is named .pdf but is not a PDF[^\n]+\n$/u);
  expect(await house.tree("inbox")).toEqual(["...pdf.pdf"]);
});

test("a reported sidecar still finds its PDF", async () => {
  const house = startInboxHouse();
  await house.drop({ "x.pdf.json": MANIFEST });
  await house.pass(30_000, 4);
  await house.take({ "x.pdf": makePdf("very late") });
  expect(house.only().signer).toEqual(SIGNER);
});

test("a copy that kept an old time is taken all the same", async () => {
  const house = startInboxHouse();
  await house.drop({ "x.pdf": makePdf("old"), "x.pdf.json": MANIFEST });
  await utimes(house.at("inbox", "x.pdf"), new Date(0), new Date("2035-01-01"));
  await house.pass(1_000, 2);
  expect(house.only().documents[0]?.name).toBe("x.pdf");
});

test("a file with a second name becomes a copy, so that nobody changes it under that name", async () => {
  const house = startInboxHouse();
  const pdf = makePdf("linked");
  await house.put("elsewhere", { "x.pdf": pdf });
  await house.drop({ "x.pdf.json": MANIFEST });
  await link(house.at("elsewhere", "x.pdf"), house.at("inbox", "x.pdf"));
  await house.pass(1_000, 3);
  const { id } = house.only();
  await writeFile(house.at("elsewhere", "x.pdf"), "changed");
  expect(await house.read(".work", id, "1.pdf")).toBe(pdf.toString());
});

test("what systems leave in folders is not looked at", async () => {
  const house = startInboxHouse();
  const junk = [".hidden.pdf", "._x.pdf", "~$x.pdf", "Thumbs.db", "desktop.ini", "x.pdf.part", "y.tmp", "z.crdownload"];
  await house.drop(Object.fromEntries(junk.map((name) => [name, "x"])));
  await mkdir(house.at("inbox", "__MACOSX"));
  await house.pass(60_000, 4);
  expect(await house.tree("inbox")).toEqual([...junk].sort());
  expect(house.inbox().status()).toMatchObject({ waiting: 0, unusable: 0 });
});

test("a file larger than the limit comes back", async () => {
  const house = startInboxHouse({ config: { maxBytes: 100 } });
  await house.take({ "x.pdf": makePdf("big"), "x.pdf.json": MANIFEST });
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "file-too-large" });
});
