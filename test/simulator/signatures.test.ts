import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasTool, run, samplePdf, startHouse } from "./house.ts";
import type { House } from "./house.ts";
import { callJudges, signaturesOf } from "./judges.ts";
import type { Judges } from "./judges.ts";

let house: House;
let judges: Judges;
const tools = { qpdf: hasTool("qpdf") };

beforeAll(async () => {
  house = await startHouse({ otpGuardMs: 0 });
  judges = callJudges(house.simulator.caPem);
});
afterAll(async () => {
  await house.simulator.close();
  judges.close();
});

async function signed(original: Buffer, signature?: unknown): Promise<Buffer> {
  const { pk, uids, secret } = await house.armed(original);
  const answer = await house.call("POST", `/sign/${pk}`, { secret, ...(signature ? { signature } : {}) });
  expect(answer).toMatchObject({ status: 200 });
  return house.download(`/document/${pk}/signed/${uids[0]}`);
}

/** Foreign tools agree on every signature, and the original is a prefix. */
function check(original: Buffer, result: Buffer, expected: number): void {
  expect(result.subarray(0, original.length).equals(original)).toBe(true);
  judges.agree(result, expected);
}

const latin1 = (pdf: Buffer, change: (text: string) => string): Buffer =>
  Buffer.from(change(pdf.toString("latin1")), "latin1");
const withoutXref = (pdf: Buffer): Buffer => pdf.subarray(0, pdf.lastIndexOf("startxref"));

const linearized = (pdf: Buffer): Buffer | undefined => judges.linearized(pdf);

describe.each([
  ["a classic cross-reference table", () => samplePdf()],
  ["object streams", () => samplePdf({ useObjectStreams: true, pages: 3 })],
  ["a linearised file", async () => linearized(await samplePdf({ pages: 3 }))],
  [
    "a linearised file with object streams",
    async () => linearized(await samplePdf({ pages: 3, useObjectStreams: true })),
  ],
  ["bytes before the header", async () => Buffer.concat([Buffer.from("mail header\n"), await samplePdf()])],
  ["bytes behind the end", async () => Buffer.concat([await samplePdf(), Buffer.from("\0\0rest\n")])],
  ["no line end at the end", async () => latin1(await samplePdf(), (text) => text.trimEnd())],
  [
    "a wrong startxref",
    async () => latin1(await samplePdf(), (text) => text.replace(/startxref\s+\d+/, "startxref\n77")),
  ],
  ["shifted offsets", async () => latin1(await samplePdf(), (text) => text.replace("\n", "\n%inserted later\n"))],
  ["no cross-reference at all", async () => withoutXref(await samplePdf())],
  [
    "object streams without their cross-reference",
    async () => withoutXref(await samplePdf({ useObjectStreams: true })),
  ],
])("a PDF with %s", (_kind, make) => {
  test("is signed and then signed again, and both signatures stay valid", async ({ skip }) => {
    const original = await make();
    if (!original) return skip("qpdf is not installed");
    const once = await signed(original);
    check(original, once, 1);
    check(once, await signed(once), 2);
  });
});

test("the signature carries the attributes of a CAdES baseline signature", async () => {
  const [signature] = signaturesOf(await signed(await samplePdf()));
  if (!signature) throw new Error("no signature");
  const digest = createHash("sha256").update(signature.covered).digest();
  expect(signature.cms.includes(digest)).toBe(true);
  for (const oid of ["2a864886f70d010903", "2a864886f70d010904", "2a864886f70d010905", "2a864886f70d010910022f"]) {
    expect(signature.cms.includes(Buffer.from(oid, "hex")), oid).toBe(true);
  }
});

test("all documents of a request are signed with one certificate, and the contract too", async () => {
  const { pk, uids, secret } = await house.armed(await samplePdf(), await samplePdf({ useObjectStreams: true }));
  const contract = await house.download(`/contract/${pk}`);
  await house.call("POST", `/sign/${pk}`, { secret });
  const { certificate_set } = (await house.call("GET", `/request/${pk}`)).body.details as {
    certificate_set: [{ serial_number: string }];
  };
  const serial = Buffer.from(certificate_set[0].serial_number, "hex");
  const files = [`/document/${pk}/signed/${uids[0]}`, `/document/${pk}/signed/${uids[1]}`, `/contract/${pk}`];
  for (const path of files) {
    const [signature] = signaturesOf(await house.download(path));
    expect(signature?.cms.includes(serial)).toBe(true);
  }
  check(contract, await house.download(`/contract/${pk}`), 1);
});

test("an encrypted PDF is refused before a certificate is issued", async ({ skip }) => {
  if (!tools.qpdf) return skip("qpdf is not installed");
  writeFileSync(join(judges.folder, "plain.pdf"), await samplePdf());
  run(
    "qpdf",
    "--encrypt",
    "",
    "owner",
    "256",
    "--",
    join(judges.folder, "plain.pdf"),
    join(judges.folder, "locked.pdf"),
  );
  const { pk, uids, secret } = await house.armed(readFileSync(join(judges.folder, "locked.pdf")));
  const answer = await house.call("POST", `/sign/${pk}`, { secret });
  expect(answer).toMatchObject({
    status: 500,
    body: { message: `Error signing document ${uids[0]}: the PDF is encrypted` },
  });
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
});

const APPEARANCE = {
  text: ["Signed by %(CN)s", "%(DATE)s", "%(E)s"],
  date: "%d/%m/%Y %H:%M",
  timezone: "Europe/Madrid",
  position: "300, 100, 500, 150",
  page: 1,
};

test("a visible signature shows its lines at its place on its page", async () => {
  const original = await samplePdf({ pages: 3 });
  const result = await signed(original, { appearance: APPEARANCE });
  check(original, result, 1);
  if (!hasTool("pdftotext")) return;
  const text = (page: number) =>
    run("pdftotext", "-f", String(page), "-l", String(page), "-layout", join(judges.folder, "signed.pdf"), "-").output;
  expect(text(2)).toMatch(/Signed by Simulated Signer \d+/);
  expect(text(2)).toMatch(/\d\d\/\d\d\/\d{4} \d\d:\d\d/);
  expect(text(2)).toContain("signer@example.com");
  expect(text(1)).not.toContain("Signed by");
});

/** A PNG of 4 x 2 pixels; colour type 2 is RGB, 6 is RGB with transparency. */
function png(colorType: 2 | 6): Buffer {
  const chunk = (type: string, body: Buffer): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    return Buffer.concat([length, Buffer.from(type), body, Buffer.alloc(4)]);
  };
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(4 * (colorType === 6 ? 4 : 3), 200)]);
  const head = Buffer.from([0, 0, 0, 4, 0, 0, 0, 2, 8, colorType, 0, 0, 0]);
  const pixels = deflateSync(Buffer.concat([row, row]));
  return Buffer.concat([
    Buffer.from("89504e470d0a1a0a", "hex"),
    chunk("IHDR", head),
    chunk("IDAT", pixels),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

async function uploadImage(bytes: Buffer, type: string): Promise<Response> {
  const form = new FormData();
  form.append("image", new Blob([Buffer.from(bytes)], { type }), "rubric.png");
  return fetch(`${house.simulator.url}/image`, { method: "POST", body: form });
}

test.each([2, 6] as const)(
  "an uploaded picture of colour type %i is part of the visible signature",
  async (colorType) => {
    const answer = (await (await uploadImage(png(colorType), "image/png")).json()) as {
      details: { image_uid: string };
    };
    const { image_uid: image } = answer.details;
    const original = await samplePdf({ pages: 2 });
    check(original, await signed(original, { appearance: { ...APPEARANCE, image, horizontal: true } }), 1);
    expect((await house.download(`/image/${image}`)).equals(png(colorType))).toBe(true);
    expect((await house.call("GET", "/images")).body).toMatchObject({
      details: { [image]: { size: [4, 2], mime: "image/png" } },
    });
    expect((await house.call("DELETE", `/image/${image}`)).status).toBe(200);
    expect((await house.call("GET", `/image/${image}`)).status).toBe(404);
  },
);

test("an image that is no PNG is refused", async () => {
  const answer = await uploadImage(Buffer.from("GIF89a"), "image/gif");
  expect([answer.status, await answer.json()]).toEqual([
    415,
    { status: "error", message: "Image file type not supported: image/gif" },
  ]);
});

test.each([
  ["no position", { position: undefined }, 400],
  ["no page", { page: undefined }, 400],
  ["a position of three numbers", { position: "1, 2, 3" }, 422],
  ["a position from right to left", { position: "500, 100, 300, 150" }, 422],
  ["a page below zero", { page: -1 }, 422],
  ["text that is no list", { text: "one line" }, 422],
  ["an unknown time zone", { timezone: "Europe/Barcelona" }, 422],
  ["an unknown image", { image: "463156ce-0000-4000-8000-000000000000" }, 404],
])("an appearance with %s is refused and nothing is signed", async (_what, change, status) => {
  const { pk, uids, secret } = await house.armed(await samplePdf());
  const answer = await house.call("POST", `/sign/${pk}`, {
    secret,
    signature: { appearance: { ...APPEARANCE, ...change } },
  });
  expect(answer.status).toBe(status);
  if (status !== 422) expect(Object.keys(answer.body.details ?? {})).toEqual(uids);
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
});
