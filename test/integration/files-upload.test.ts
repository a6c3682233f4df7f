import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createDocuments } from "../../src/files/documents.ts";
import { KEY, manifestPart, multipart, startApiHouse } from "../helpers/api-house.ts";
import { plainPdf } from "../helpers/pdfs.ts";

type House = Awaited<ReturnType<typeof startApiHouse>>;

async function submit(house: House, ...files: Buffer[]) {
  const parts = files.map((content, n) => ({ name: "file", content, filename: `${n}.pdf`, type: "application/pdf" }));
  const { body, headers } = multipart([manifestPart(), ...parts]);
  const all = { ...headers, authorization: `Bearer ${KEY.secret}` };
  return await house.app.inject({ method: "POST", url: "/v1/requests", headers: all, payload: body });
}

/** A PDF with so many bytes of noise in it that it is not kept in memory. */
async function largePdf(): Promise<Buffer> {
  const pdf = await plainPdf();
  const at = pdf.lastIndexOf("startxref");
  const noise = Buffer.from(`%${randomBytes(1_500_000).toString("hex")}\n`);
  return Buffer.concat([pdf.subarray(0, at), noise, pdf.subarray(at)]);
}

test("what is uploaded is stored byte by byte, small or large, and named by its digest", async () => {
  const house = await startApiHouse();
  const files = [await plainPdf(), await largePdf(), await plainPdf({ useObjectStreams: true })];
  const answer = await submit(house, ...files);
  expect(answer.statusCode).toBe(202);
  const { id } = answer.json<{ id: string }>();
  const [submission] = house.submissions;
  expect(submission?.documents).toHaveLength(3);
  for (const [n, bytes] of files.entries()) {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(submission?.documents[n]).toMatchObject({ id: `${id}/${n + 1}.pdf`, sizeBytes: bytes.length, sha256 });
    expect(readFileSync(join(house.dir, ".work", id, `${n + 1}.pdf`)).equals(bytes)).toBe(true);
  }
});

test("an upload says that it is one until its request is there, and never after", async () => {
  const house = await startApiHouse();
  const documents = createDocuments({ dir: join(house.dir, ".work") });
  const seen: (number | undefined)[] = [];
  const { submit: really } = house.pipeline;
  house.pipeline.submit = async (submission) => {
    seen.push(await documents.uploadingSince(submission.id));
    return await really(submission);
  };
  const { id } = (await submit(house, await plainPdf())).json<{ id: string }>();
  expect(seen).toEqual([expect.any(Number)]);
  expect(await documents.uploadingSince(id)).toBeUndefined();
  expect(readdirSync(join(house.dir, ".work", id))).toEqual(["1.pdf"]);
});
