import { createHash } from "node:crypto";
import { decodePDFRawStream, PDFArray, PDFDict, PDFDocument, PDFName, PDFRawStream } from "@cantoo/pdf-lib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PERSON, RAO, run, samplePdf, startHouse } from "./house.ts";
import type { House, Uploaded } from "./house.ts";
import { callJudges, signaturesOf } from "./judges.ts";
import type { Judges } from "./judges.ts";

let house: House;
let judges: Judges;
beforeAll(async () => {
  house = await startHouse({ otpGuardMs: 0 });
  judges = callJudges(house.simulator.caPem);
});
afterEach(() => house.simulator.set({ signatureLevel: "T", pdfClean: false }));
afterAll(async () => {
  await house.simulator.close();
  judges.close();
});

async function signed(original: Buffer, more: object = {}): Promise<{ pk: number; pdf: Buffer }> {
  const { pk, uids, secret } = await house.armed(original);
  expect(await house.call("POST", `/sign/${pk}`, { secret, ...more })).toMatchObject({ status: 200 });
  return { pk, pdf: await house.download(`/document/${pk}/signed/${uids[0]}`) };
}

/** The subject of the certificate that signed, as openssl reads it. */
function subjectOf(pdf: Buffer): string {
  const [signature] = signaturesOf(pdf);
  const path = judges.put("signature.der", signature?.cms ?? Buffer.alloc(0));
  const { output } = run("openssl", "pkcs7", "-inform", "DER", "-in", path, "-print_certs", "-noout");
  return output.split("\n").find((line) => line.includes("subject") && !line.includes("simulator")) ?? output;
}

test("the certificate names a natural person as a profile of that kind does", async ({ skip }) => {
  if (!judges.tools.openssl) return skip("openssl is not installed");
  const pk = await house.classicPk({ id_document_type: "PAS", id_document_country: "PT", given_name: "Inês" });
  const { body } = await house.upload(pk, { file: await samplePdf() });
  const { uid } = (body as { detail: Uploaded }).detail;
  await house.call("POST", `/otp/${pk}`);
  await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  const subject = subjectOf(await house.download(`/document/${pk}/signed/${uid}`)).replaceAll(" ", "");
  for (const part of ["C=PT", "SN=L\\C3\\B3pezRuiz", "GN=In\\C3\\AAs", "serialNumber=PASPT-12345678Z"])
    expect(subject).toContain(part);
  expect(subject).toMatch(/CN=In.*L.*pezRuiz/);
  expect(subject).not.toContain("@");
  // The contract is signed with the same certificate.
  expect(subjectOf(await house.download(`/contract/${pk}`)).replaceAll(" ", "")).toBe(subject);
});

test("a number that already has its prefix does not get it twice", async ({ skip }) => {
  if (!judges.tools.openssl) return skip("openssl is not installed");
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  house.simulator.identify(pk, "complete", { ...PERSON, serial_number: "IDCES-12345678Z" });
  await house.call("POST", `/videoid/${videoidPk}/approve`, RAO);
  const { body } = await house.upload(pk, { file: await samplePdf() });
  await house.call("POST", `/otp/${pk}`);
  await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  const { uid } = (body as { detail: Uploaded }).detail;
  expect(subjectOf(await house.download(`/document/${pk}/signed/${uid}`))).toMatch(/= ?IDCES-12345678Z/);
});

/** The value of the signature and the timestamp token over it, cut out of a CMS structure. */
function stampOf(cms: Buffer): { value: Buffer; token: Buffer } | undefined {
  const named = cms.indexOf("060b2a864886f70d010910020e", 0, "hex");
  if (named < 0) return undefined;
  const set = cms.subarray(named + 13);
  const token = set.subarray(4, 4 + set.readUInt16BE(2));
  const unsigned = named - 8;
  for (let length = 64; length <= 72; length++) {
    const at = unsigned - length - 2;
    if (cms[at] === 0x04 && cms[at + 1] === length && cms[at + 2] === 0x30)
      return { value: cms.subarray(at + 2, unsigned), token };
  }
  throw new Error("no signature before the timestamp");
}

test("the timestamp is one that openssl takes for the signature, and can be left out", async ({ skip }) => {
  const { pdf } = await signed(await samplePdf());
  const stamp = stampOf(signaturesOf(pdf)[0]?.cms ?? Buffer.alloc(0));
  if (!stamp) throw new Error("no timestamp");
  house.simulator.set({ signatureLevel: "B" });
  const { pdf: plain } = await signed(await samplePdf());
  expect(stampOf(signaturesOf(plain)[0]?.cms ?? Buffer.alloc(0))).toBeUndefined();
  judges.agree(plain, 1);
  if (!judges.tools.openssl) return skip("openssl is not installed");
  const [token, value] = [judges.put("token.der", stamp.token), judges.put("value", stamp.value)];
  const verify = (data: string) =>
    run("openssl", "ts", "-verify", "-token_in", "-in", token, "-data", data, "-CAfile", judges.ca);
  expect(verify(value)).toMatchObject({ status: 0 });
  expect(verify(judges.put("other", Buffer.concat([stamp.value, Buffer.from([0])]))).status).not.toBe(0);
});

async function storeOf(pdf: Buffer): Promise<{ certificates: Buffer[]; revocations: Buffer[] }> {
  const document = await PDFDocument.load(pdf, { updateMetadata: false });
  const store = document.catalog.lookup(PDFName.of("DSS"), PDFDict);
  const streams = (key: string): Buffer[] => {
    const list = store.lookup(PDFName.of(key), PDFArray);
    return Array.from({ length: list.size() }, (_, i) =>
      Buffer.from(decodePDFRawStream(list.lookup(i, PDFRawStream)).decode()),
    );
  };
  return { certificates: streams("Certs"), revocations: streams("CRLs") };
}

describe.each([
  ["a classic cross-reference table", false],
  ["object streams", true],
])("with the switch for long-term validation, a PDF with %s", (_kind, useObjectStreams) => {
  test("carries its certificates and a revocation list, twice when it is signed twice", async () => {
    house.simulator.set({ signatureLevel: "LT" });
    const original = await samplePdf({ useObjectStreams });
    const { pdf } = await signed(original);
    expect(pdf.subarray(0, original.length).equals(original)).toBe(true);
    judges.agree(pdf, 1, true);
    const { certificates, revocations } = await storeOf(pdf);
    expect(certificates).toHaveLength(3); // the signer's, the authority's, that of the timestamps
    expect(revocations).toHaveLength(1);
    if (judges.tools.openssl) {
      const list = judges.put("list.crl", revocations[0] ?? Buffer.alloc(0));
      const { output } = run("openssl", "crl", "-inform", "DER", "-in", list, "-CAfile", judges.ca, "-noout");
      expect(output).toContain("verify OK");
    }
    const { pdf: again } = await signed(pdf);
    judges.agree(again, 2, true);
    expect((await storeOf(again)).certificates).toHaveLength(6);
  });
});

/** The text of every page, as a foreign program reads it. */
function textOf(pdf: Buffer): string {
  return run("pdftotext", "-layout", judges.put("text.pdf", pdf), "-").output;
}

describe.each([
  ["a classic cross-reference table", () => samplePdf({ pages: 3 })],
  ["object streams", () => samplePdf({ pages: 3, useObjectStreams: true })],
  ["a linearised file", async () => judges.linearized(await samplePdf({ pages: 3 }))],
])("with usepdfclean, a PDF with %s", (_kind, make) => {
  test("is written anew: same pages and text, one signature, whatever was signed before", async ({ skip }) => {
    const original = await make();
    if (!original) return skip("qpdf is not installed");
    const { pdf: before } = await signed(original);
    house.simulator.set({ pdfClean: true });
    for (const given of [original, before]) {
      const { pdf } = await signed(given);
      expect(pdf.subarray(0, given.length).equals(given)).toBe(false);
      judges.agree(pdf, 1);
      expect((await PDFDocument.load(pdf, { updateMetadata: false })).getPageCount()).toBe(3);
      if (judges.tools.pdftotext) expect(textOf(pdf)).toBe(textOf(original));
    }
  });
});

test("with usepdfclean the original stays what was uploaded, and the ledger has the digest of what is downloaded", async () => {
  house.simulator.set({ pdfClean: true });
  const original = await samplePdf();
  const { pk, uids, secret } = await house.armed(original);
  await house.call("POST", `/sign/${pk}`, { secret });
  expect((await house.download(`/document/${pk}/${uids[0]}?document_type=original`)).equals(original)).toBe(true);
  const pdf = await house.download(`/document/${pk}/signed/${uids[0]}`);
  const entry = house.simulator.ledger.findLast(({ effect }) => effect === "download-signed");
  expect([entry?.bytes, entry?.sha256]).toEqual([pdf.length, createHash("sha256").update(pdf).digest("hex")]);
});

test.each([
  ["a classic cross-reference table", false],
  ["object streams", true],
])(
  "2,000 pages with %s are signed on the last one, in a second or two, with little appended",
  async (_kind, streams) => {
    const original = await samplePdf({ pages: 2000, useObjectStreams: streams });
    const { pk, uids, secret } = await house.armed(original);
    const appearance = { position: "100, 100, 300, 150", page: 1999 };
    const startMs = performance.now();
    expect((await house.call("POST", `/sign/${pk}`, { secret, signature: { appearance } })).status).toBe(200);
    expect(performance.now() - startMs).toBeLessThan(5000);
    const pdf = await house.download(`/document/${pk}/signed/${uids[0]}`);
    expect(pdf.length - original.length).toBeLessThan(30_000);
    judges.agree(pdf, 1);
    if (!judges.tools.pdftotext) return;
    const page = run("pdftotext", "-f", "2000", "-l", "2000", judges.put("long.pdf", pdf), "-").output;
    expect(page).toContain("Page 2000");
    expect(page).toContain("Simulated Signer");
  },
);
