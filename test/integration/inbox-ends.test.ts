import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { makePdf, MANIFEST, startInboxHouse } from "./inbox-house.ts";

const PAIR = (text: string) => ({ "x.pdf": makePdf(text), "x.pdf.json": MANIFEST });
const failure = { code: "provider-refused", message: "The provider refused the profile", stage: "create" };

test("the status beside the inbox follows the request", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const { id } = house.only();
  const waiting = { for: "the video identification", whose: "signer", sinceMs: 0, untilMs: 60_000 };
  house.pipeline.move(id, {
    stage: "identify",
    phase: "waiting",
    waiting,
    facts: { videoidLink: "https://v.example/1" },
  });
  await house.pass();
  expect(await house.status("x.pdf")).toMatchObject({
    file: "x.pdf",
    request_id: id,
    state: "waiting",
    stage: "identify",
    videoid_link: "https://v.example/1",
    waiting: { for: "the video identification", whose: "signer", until: "1970-01-01T00:01:00.000Z" },
  });
});

test("once it is done, the originals are archived, the sidecar is removed and the status names the signed files", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const { id } = house.only();
  const result = { name: "x.signed.pdf", sizeBytes: 1, sha256: "0".repeat(64) };
  house.pipeline.move(id, { stage: "cleanup", phase: "done", facts: { signed: [{ ...result, uid: "u" }] } });
  await house.pass();
  expect(await house.tree("archive")).toEqual([`${id}/x.pdf`]);
  expect(await house.tree(".work")).toEqual([]);
  expect(await house.status("x.pdf")).toMatchObject({
    state: "done",
    signed: [`signed/${id}/x.signed.pdf`],
    now_at: `archive/${id}`,
  });
});

test("a folder that is done is archived under its documents' own names", async () => {
  const house = startInboxHouse();
  await house.take({ f: { "b.pdf": makePdf("b"), "a.pdf": makePdf("a"), "request.json": MANIFEST } });
  const { id } = house.only();
  house.pipeline.move(id, { phase: "done" });
  await house.pass();
  expect(await house.tree("archive")).toEqual([`${id}/a.pdf`, `${id}/b.pdf`]);
  expect(await house.tree(".work")).toEqual([]);
});

test("what else lay in a folder that is done is archived with it, and not removed", async () => {
  const house = startInboxHouse();
  const hidden = { ".hidden.pdf": makePdf("h"), "~$a.docx": "mine", "Thumbs.db": "x" };
  await house.drop({ f: { "a.pdf": makePdf("a"), "request.json": MANIFEST, _READY: "", ...hidden } });
  await mkdir(house.at("inbox", "f", ".versions"));
  await writeFile(house.at("inbox", "f", ".versions", "1"), "old");
  await house.pass(30_000, 4);
  const { id } = house.only();
  house.pipeline.move(id, { phase: "done" });
  await house.pass();
  const names = [".hidden.pdf", ".versions/1", "Thumbs.db", "a.pdf", "~$a.docx"];
  expect(await house.tree("archive")).toEqual(names.map((name) => `${id}/${name}`));
  expect(await house.tree(".work")).toEqual([]);
});

test("a failed request gives the file back and keeps the original for a retry", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const { id } = house.only();
  house.pipeline.move(id, { phase: "failed", attempt: 3, failure });
  await house.pass();
  expect(await house.tree("failed")).toEqual(["x.pdf", "x.pdf.error.json", "x.pdf.error.txt", "x.pdf.json"]);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({
    code: "provider-refused",
    stage: "create",
    request_id: id,
    attempts: 3,
    retriable: true,
  });
  expect((await stat(house.at("failed", "x.pdf.json"))).mode & 0o777).toBe(0o600);
  expect(await house.tree(".work")).toContain(`${id}/1.pdf`);
  expect(await house.status("x.pdf")).toMatchObject({ state: "failed", now_at: "failed/x.pdf" });
});

test("a failed request that succeeds when it is retried takes back what it had given back", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const { id } = house.only();
  house.pipeline.move(id, { phase: "failed", failure });
  await house.pass();
  house.pipeline.move(id, { phase: "queued" });
  await house.pass();
  expect(await house.status("x.pdf")).toMatchObject({ state: "queued" });
  house.pipeline.move(id, { phase: "done" });
  await house.pass();
  expect(await house.tree("failed")).toEqual([]);
  expect(await house.tree("archive")).toEqual([`${id}/x.pdf`]);
});

test("a failed request that fails again leaves one file and one note", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const { id } = house.only();
  for (const code of ["first", "second"]) {
    house.pipeline.move(id, { phase: "failed", failure: { ...failure, code } });
    await house.pass();
  }
  expect(await house.tree("failed")).toHaveLength(4);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "second" });
});

test("a failed folder comes back whole and keeps its originals", async () => {
  const house = startInboxHouse();
  await house.take({ f: { "b.pdf": makePdf("b"), "a.pdf": makePdf("a"), "request.json": MANIFEST } });
  const { id } = house.only();
  house.pipeline.move(id, { phase: "expired" });
  await house.pass();
  expect(await house.tree("failed")).toEqual(["f.error.json", "f.error.txt", "f/a.pdf", "f/b.pdf", "f/request.json"]);
  house.pipeline.move(id, { phase: "done" });
  await house.pass();
  expect(await house.tree("failed")).toEqual([]);
  expect(await house.tree("archive")).toEqual([`${id}/a.pdf`, `${id}/b.pdf`]);
});

test("a failed folder comes back with what else lay in it, hidden folders too, and nothing of it goes with a new attempt", async () => {
  const house = startInboxHouse();
  await house.drop({ f: { "a.pdf": makePdf("a"), "request.json": MANIFEST, ".hidden.pdf": "mine" } });
  await mkdir(house.at("inbox", "f", ".versions"));
  await writeFile(house.at("inbox", "f", ".versions", "1"), "old");
  await house.pass(30_000, 4);
  const { id } = house.only();
  house.pipeline.move(id, { phase: "failed", failure });
  await house.pass();
  const back = ["f.error.json", "f.error.txt", "f/.hidden.pdf", "f/.versions/1", "f/a.pdf", "f/request.json"];
  expect(await house.tree("failed")).toEqual(back);
  house.pipeline.move(id, { phase: "done" });
  await house.pass();
  expect([...(await house.tree("failed")), ...(await house.tree("archive"))]).toEqual(
    expect.arrayContaining(["f/.versions/1", `${id}/.hidden.pdf`, `${id}/a.pdf`]),
  );
});

test.each(["refused", "cancelled"] as const)("a %s request gives everything back", async (phase) => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  house.pipeline.move(house.only().id, { phase });
  await house.pass();
  expect(await house.tree(".work")).toEqual([]);
  expect(await house.tree("failed")).toEqual(["x.pdf", "x.pdf.error.json", "x.pdf.error.txt", "x.pdf.json"]);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ state: phase, retriable: false });
  expect(await house.status("x.pdf")).toMatchObject({ state: phase, now_at: "failed/x.pdf" });
});

/** A request that failed, whose files were put back into the inbox and taken again. */
async function putBack() {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const first = house.only().id;
  house.pipeline.move(first, { phase: "failed", failure });
  await house.pass();
  for (const name of ["x.pdf", "x.pdf.json"]) await rename(house.at("failed", name), house.at("inbox", name));
  await house.pass(1_000, 3);
  return { house, first };
}

test("putting a failed file back is a new attempt that names the old one; its success removes the old notes", async () => {
  const { house, first } = await putBack();
  const second = house.pipeline.submissions[1];
  expect(second).toMatchObject({ retryOf: first });
  expect(await house.tree(".work")).toContain(`${first}/1.pdf`);
  house.pipeline.move(second?.id ?? "", { phase: "done" });
  await house.pass();
  expect(await house.tree("failed")).toEqual([]);
  // What was kept for a retry of the first, the signer in its sidecar too, went with the last chance of one.
  expect(await house.tree(".work")).toEqual([]);
  expect(await house.tree("archive")).toEqual([`${second?.id ?? ""}/x.pdf`]);
});

test("what is kept for a retry of a failed request stays while a new attempt is under way, and when that fails too", async () => {
  const { house, first } = await putBack();
  const second = house.pipeline.submissions[1]?.id ?? "";
  house.pipeline.move(second, { phase: "failed", failure });
  await house.pass();
  expect(await house.tree(".work")).toEqual(expect.arrayContaining([`${first}/1.pdf`, `${second}/1.pdf`]));
});

test("a failed folder that is put back is a new attempt as well", async () => {
  const house = startInboxHouse();
  await house.take({ f: { "a.pdf": makePdf("a"), "b.pdf": makePdf("b"), "request.json": MANIFEST } });
  const first = house.only().id;
  house.pipeline.move(first, { phase: "failed", failure });
  await house.pass();
  await rename(house.at("failed", "f"), house.at("inbox", "f"));
  await house.pass(1_000, 4);
  expect(house.pipeline.submissions[1]).toMatchObject({ retryOf: first });
  expect(await house.tree("failed")).toEqual([]);
});

test("a note goes as soon as its file was put back and taken, and stays when the file is still there", async () => {
  const house = startInboxHouse();
  await house.take({ "x.pdf": "no pdf", "y.pdf": "no pdf either" });
  for (const name of ["x.pdf", "y.pdf"]) await house.drop({ [name]: makePdf(name), [`${name}.json`]: MANIFEST });
  await rm(house.at("failed", "x.pdf"));
  await house.pass(1_000, 3);
  expect(house.pipeline.submissions).toHaveLength(2);
  expect(await house.tree("failed")).toEqual(["y.pdf", "y.pdf.error.json", "y.pdf.error.txt"]);
});

test.each([
  [
    "failed",
    /^x\.pdf: The provider refused the profile\. Have the operator retry it \(signpipe retry req-\w{26}\), or /,
  ],
  [
    "expired",
    /^x\.pdf: The provider refused the profile\. Have the operator retry it \(signpipe retry req-\w{26}\), or /,
  ],
  [
    "refused",
    /^x\.pdf: The provider refused the profile\. Clear up why, then drop it .* It was request req-\w{26}\.\n$/,
  ],
  ["cancelled", /^x\.pdf: The provider refused the profile\. Drop it .* after all\. It was request req-\w{26}\.\n$/],
] as const)("the note of a %s request says why, and what can be done", async (phase, text) => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  house.pipeline.move(house.only().id, { phase, failure });
  await house.pass();
  expect(await house.read("failed", "x.pdf.error.txt")).toMatch(text);
});

test("what failed after it was signed is not to be dropped again, and is a duplicate when it is", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  house.pipeline.move(house.only().id, { phase: "failed", failure, facts: { signedMs: 1 } });
  await house.pass();
  const told =
    /It is signed already, so do not drop it again: have the operator retry .*\(signpipe retry req-\w{26}\)\.\n$/;
  expect(await house.read("failed", "x.pdf.error.txt")).toMatch(told);
  await house.take(PAIR("a"));
  expect(house.pipeline.submissions).toHaveLength(1);
  expect(await house.read("duplicates", "x.pdf.duplicate.txt")).toMatch(told);
});

test("what was signed although somebody had cancelled it says so beside it, wherever it comes to", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const { id } = house.only();
  const signedDespite = { ending: "cancelled", code: "cancelled", message: "Cancelled by api:clerk." };
  const facts = { signedMs: 1, signedDespite };
  const broken = { code: "signature-invalid", message: "The PDF was changed after it was signed.", stage: "fetch" };
  house.pipeline.move(id, { phase: "failed", failure: broken, facts });
  await house.pass();
  expect(await house.read("failed", "x.pdf.error.txt")).toMatch(
    /^x\.pdf: The PDF was changed after it was signed\. It was cancelled \(Cancelled by api:clerk\), but turned out to be signed: .* still at the provider\. It is signed already, so do not drop it again: have the operator retry it/,
  );
  const status = async () => JSON.parse(await house.read("status", "x.pdf.status.json")) as object;
  expect(await status()).toMatchObject({ state: "failed", notice: { code: "cancelled-but-signed" } });
  house.pipeline.move(id, { phase: "done", facts });
  await house.pass();
  expect(await status()).toMatchObject({ state: "done", notice: { code: "cancelled-but-signed" } });
  expect(await house.tree("failed")).toEqual([]);
});

test("a note about what was cancelled and is signed at the provider does not say to drop it again", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("a"));
  const signedDespite = { ending: "cancelled", code: "cancelled", message: "Cancelled by api:clerk" };
  const facts = { signedMs: 1, signedDespite };
  house.pipeline.move(house.only().id, { phase: "cancelled", failure: { ...failure, code: "cancelled" }, facts });
  await house.pass();
  expect(await house.read("failed", "x.pdf.error.txt")).toMatch(
    /do not drop it again: have the operator look at it \(signpipe show req-\w{26}\)\.\n$/,
  );
});

test("an end never overwrites what is in failed/ already", async () => {
  const house = startInboxHouse();
  await house.put("failed", { "x.pdf": "another", "x (2).pdf": "one more" });
  await house.take(PAIR("a"));
  house.pipeline.move(house.only().id, { phase: "refused" });
  await house.pass();
  expect(await house.read("failed", "x.pdf")).toBe("another");
  expect(await house.tree("failed")).toContain("x (3).pdf");
  expect(await house.tree("failed")).toContain("x (3).pdf.json");
});

test.each(["queued", "done"] as const)("a duplicate of a %s request is set aside and names it", async (phase) => {
  const house = startInboxHouse();
  await house.take(PAIR("same"));
  const { id } = house.only();
  house.pipeline.move(id, { phase });
  await house.take({ "again.pdf": makePdf("same"), "again.pdf.json": MANIFEST });
  expect(house.pipeline.submissions).toHaveLength(1);
  expect(await house.tree("duplicates")).toEqual([
    "again.pdf",
    "again.pdf.duplicate.json",
    "again.pdf.duplicate.txt",
    "again.pdf.json",
  ]);
  expect(await house.json("duplicates", "again.pdf.duplicate.json")).toMatchObject({
    code: "duplicate",
    duplicate_of: { request_id: id, state: phase },
  });
  expect(await house.status("again.pdf")).toMatchObject({ state: "duplicate", duplicate_of: { request_id: id } });
  expect(house.inbox().status()).toMatchObject({ duplicates: 1, failed: 0 });
});

test("the same document for another signer is no duplicate", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("same"));
  const other = JSON.stringify({ signer: { email: "bob@example.com", mobile_phone_number: "+34699999998" } });
  await house.take({ "again.pdf": makePdf("same"), "again.pdf.json": other });
  expect(house.pipeline.submissions).toHaveLength(2);
  expect(await house.tree("duplicates")).toEqual([]);
});

test("a duplicate never overwrites another one, and is not taken again at a restart", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("same"));
  for (let n = 0; n < 2; n++) await house.take(PAIR("same"));
  await house.restart();
  await house.pass(1_000, 3);
  expect(house.pipeline.submissions).toHaveLength(1);
  const names = (await house.tree("duplicates")).filter((name) => !/duplicate/.test(name));
  expect(names).toEqual(["x (2).pdf", "x (2).pdf.json", "x.pdf", "x.pdf.json"]);
  expect(await house.read("duplicates", "x (2).pdf.duplicate.txt")).toMatch(
    /^x \(2\)\.pdf: It was handed in before for the same signer: request req-\w{26} is queued\. /,
  );
});

test.each(["failed", "expired", "refused", "cancelled"] as const)(
  "a duplicate of a request that %s is an attempt of its own",
  async (phase) => {
    const house = startInboxHouse();
    await house.take(PAIR("same"));
    house.pipeline.move(house.only().id, { phase, failure });
    await house.take({ "again.pdf": makePdf("same"), "again.pdf.json": MANIFEST });
    expect(house.pipeline.submissions).toHaveLength(2);
  },
);

test("the same name with other content is another request, and each keeps a status", async () => {
  const house = startInboxHouse();
  await house.take(PAIR("one"));
  await house.take(PAIR("two"));
  const [one, two] = house.pipeline.submissions;
  expect(await house.status("x.pdf")).toMatchObject({ request_id: two?.id });
  house.pipeline.move(one?.id ?? "", { phase: "done" });
  await house.pass();
  expect(await house.status("x.pdf")).toMatchObject({ request_id: two?.id, state: "queued" });
  expect(await house.status(`x.pdf.${one?.id}`)).toMatchObject({ request_id: one?.id, state: "done" });
});

test("no log line holds a file's name or anything about the signer", async () => {
  const house = startInboxHouse();
  await house.drop({ "ana-garcia.pdf": "no pdf", "ana-garcia.pdf.json": MANIFEST, "ana.docx": "x", ...PAIR("a") });
  await house.pass(30_000, 5);
  expect(house.logged.length).toBeGreaterThan(2);
  expect(JSON.stringify(house.logged)).not.toMatch(/garcia|ana|x\.pdf|699999999/);
});
