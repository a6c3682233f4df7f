import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { degrees, PDFDocument } from "@cantoo/pdf-lib";
import { expect, test } from "vitest";
import { drawnPng } from "../helpers/drawn.ts";
import { type House, readJson, SIGNER, startHouse } from "../helpers/house.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

const LETTER = {
  text: ["%(CN)s", "%(DATE)s"],
  date: "%d/%m/%Y",
  timezone: "Europe/Madrid",
  position: "40, 40, 240, 100",
  page: 1,
  image: "logo.png",
};

async function pdfOf(pages: number, turn = 0): Promise<Uint8Array> {
  const document = await PDFDocument.create();
  for (let n = 0; n < pages; n++) document.addPage([400, 300]).setRotation(degrees(turn));
  document.setTitle(`${Math.random()}`);
  return await document.save();
}

/** A house with a template, and the logo that it names. */
async function startFurnished(more: Parameters<typeof startHouse>[0] = {}): Promise<House> {
  const house = await startHouse(more);
  mkdirSync(join(house.dataDir, "appearance"));
  writeFileSync(join(house.dataDir, "appearance", "letter.json"), JSON.stringify(LETTER));
  writeFileSync(join(house.dataDir, "appearance", "logo.png"), drawnPng());
  return house;
}

const lettered = async (house: House) =>
  house.submit({ approval: "auto", signature: { appearance: "letter" } }, [
    { name: "lease.pdf", bytes: await pdfOf(2) },
  ]);

async function identified(house: House, id: string): Promise<void> {
  await house.waits(id, "identification");
  const pk = (await house.app.store.get(id)).facts["requestPk"] as number;
  house.simulator.identify(pk, "complete");
}

async function toCode(house: House): Promise<string> {
  const id = await lettered(house);
  await house.waits(id, "code");
  return id;
}

async function finish(house: House, id: string): Promise<string> {
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  const folder = join(house.dataDir, "signed", id);
  return join(folder, readdirSync(folder).find((name) => name.endsWith(".signed.pdf")) ?? "");
}

const SETTINGS = { APPROVAL: "auto" };
const simulator = { humans: { signer: "auto" as const, signerDelayMs: 10 } };

const imageOf = (house: House) =>
  house.simulator.ledger.filter(({ effect }) => effect === "image").map(({ document_uid }) => String(document_uid));

const loseImages = (house: House) =>
  fetch(`${house.simulator.url}/images`, { method: "DELETE" }).then(({ status }) => expect(status).toBe(200));

test("a template's signature is drawn where it says, with its logo, which is sent to the provider once for all requests", async () => {
  const house = await startFurnished({ settings: SETTINGS, simulator });
  for (const id of [await toCode(house), await toCode(house)]) {
    const path = await finish(house, id);
    const judged = pdfsig(path);
    if (judged !== undefined) expect(judged).toContain("Signature is Valid");
    const signed = readFileSync(path, "latin1");
    expect(signed).toMatch(/\/Rect ?\[ ?40 40 240 100 ?\]/);
    expect(signed).toContain("/Im1 Do");
  }
  expect(imageOf(house)).toHaveLength(1);
  expect(readdirSync(join(house.dataDir, "images"))).toHaveLength(1);
});

test("an image that the provider has lost is there again before the code is sent", async () => {
  const house = await startFurnished({ settings: SETTINGS, simulator });
  await finish(house, await toCode(house));
  const [uid = ""] = imageOf(house);
  await loseImages(house);
  // What was seen lately is not looked for; so long ago it was.
  const { redis, keys } = house.app;
  for (const print of await redis.hkeys(keys.images)) await redis.hset(keys.images, print, `${uid}|0`);
  const id = await toCode(house);
  expect(imageOf(house)).toHaveLength(2);
  await finish(house, id);
  expect(imageOf(house)).toHaveLength(2);
});

test("an image that is lost between the code and the signing is sent again, and the same code signs", async () => {
  const house = await startFurnished({ settings: SETTINGS, simulator });
  const id = await toCode(house);
  await loseImages(house);
  const path = await finish(house, id);
  expect(readFileSync(path, "latin1")).toContain("/Im1 Do");
  expect([house.effects("otp"), house.effects("sign"), house.effects("image")]).toEqual([1, 1, 2]);
});

test("while the provider loses every image no code is sent, and afterwards it goes on by itself", async () => {
  const house = await startFurnished({ settings: SETTINGS, simulator });
  house.simulator.set({ loseImages: true });
  const id = await lettered(house);
  await house.reaches(id, "otp", "retrying");
  expect((await house.app.store.get(id)).failure?.code).toBe("image-lost");
  expect(house.effects("otp")).toBe(0);
  house.simulator.set({ loseImages: false });
  await house.waits(id, "code");
  await finish(house, id);
});

test("what was handed in with an image is signed with it, whatever becomes of the file meanwhile", async () => {
  const house = await startFurnished({ settings: SETTINGS });
  const id = await lettered(house);
  writeFileSync(join(house.dataDir, "appearance", "logo.png"), "something else");
  await identified(house, id);
  await house.waits(id, "code");
  expect(readFileSync(await finish(house, id), "latin1")).toContain("/Im1 Do");
});

test.each([
  ["a page that a document does not have", { ...LETTER, page: 2 }, 0, "manifest.signature.appearance.page is 2"],
  ["a place beside the page", { ...LETTER, position: "300, 10, 402, 40" }, 0, "does not lie on page 1"],
  ["a place above the page", { ...LETTER, position: "300, 10, 390, 320" }, 0, "400 × 300 points"],
  [
    "a place that is on a turned page in one reading only",
    { ...LETTER, position: "310, 10, 390, 40" },
    90,
    "turned by 90°",
  ],
  ["a template that is not there", "lettre", 0, 'there is "letter"'],
  ["an image that is not there", { ...LETTER, image: "logo2.png" }, 0, 'there is "logo.png"'],
])("%s is refused with a sentence that says so, before anything is sent", async (_, appearance, turn, sentence) => {
  const house = await startFurnished({ work: false });
  const documents = [{ name: "lease.pdf", bytes: await pdfOf(2, turn) }];
  const refusal = await house.submit({ signature: { appearance } }, documents).catch(String);
  expect(refusal).toContain("invalid-manifest");
  expect(refusal.replaceAll('\\"', '"').replaceAll("The manifest cannot be used: ", "manifest.")).toContain(sentence);
  expect(house.simulator.ledger).toEqual([]);
  expect(readdirSync(join(house.dataDir, ".work")).filter((name) => !name.startsWith("."))).toEqual([]);
});

test("in the inbox a signature that does not fit comes back with its PDF and the size of the page", async () => {
  const house = await startFurnished({ work: false });
  await house.app.startInbox();
  const inbox = join(house.dataDir, "inbox");
  const manifest = { signer: SIGNER, signature: { appearance: { position: "10, 10, 500, 60" } } };
  writeFileSync(join(inbox, "lease.pdf.json"), JSON.stringify(manifest));
  writeFileSync(join(inbox, "lease.pdf"), await pdfOf(1));
  const status = join(house.dataDir, "status", "lease.pdf.status.json");
  await expect.poll(() => readdirSync(join(house.dataDir, "failed")), { timeout: 15_000 }).toContain("lease.pdf");
  await expect.poll(() => readJson(status)["state"], { timeout: 5_000 }).toBe("failed");
  expect(JSON.stringify(readJson(status))).toContain(
    '\\"lease.pdf.json\\" cannot be used: signature.appearance.position does not lie on page 0 of \\"lease.pdf\\", which is 400 × 300 points. Correct it, then drop it into the inbox again.',
  );
});

test("where the page of a document cannot be looked up it is signed all the same, and the history says so", async () => {
  const house = await startFurnished({ work: false });
  const broken = Buffer.from(await pdfOf(2));
  // The way to the pages leads nowhere; the end is there, and readers rebuild the rest.
  const at = broken.lastIndexOf("startxref");
  broken.write("startxref\n7\n%%EOF\n", at);
  const id = await house.submit({ signature: { appearance: "letter" } }, [
    { name: "lease.pdf", bytes: broken.subarray(0, at + 18) },
  ]);
  const [line] = await house.app.store.history(id);
  expect(line?.note).toBe("submitted; place of the signature not checked");
});
