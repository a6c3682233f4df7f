import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hasTool, run, samplePdf, startHouse } from "./house.ts";
import type { House, Uploaded } from "./house.ts";

let house: House;
const folder = mkdtempSync(join(tmpdir(), "simulator-hash-"));
beforeAll(async () => {
  house = await startHouse({ otpGuardMs: 0 });
  writeFileSync(join(folder, "ca.pem"), house.simulator.caPem);
});
afterAll(async () => {
  await house.simulator.close();
  rmSync(folder, { recursive: true, force: true });
});

const PREFIXES = {
  sha256: "302f06092a864886f70d01090431220420",
  sha384: "303f06092a864886f70d01090431320430",
  sha512: "304f06092a864886f70d01090431420440",
};
type Algorithm = keyof typeof PREFIXES;

const attributeOver = (content: Buffer, algorithm: Algorithm = "sha256") =>
  Buffer.concat([Buffer.from(PREFIXES[algorithm], "hex"), createHash(algorithm).update(content).digest()]);

const hashFile = (change: object = {}) => ({
  bytes: Buffer.from(
    JSON.stringify({
      messageDigest: attributeOver(Buffer.from("abc")).toString("base64"),
      digestAlgorithm: "sha256WithRSAEncryption",
      addAuthAttribute: 1,
      addSigningTime: 1,
      otherAuthAttributes: [],
      ...change,
    }),
  ),
  type: "application/json",
});

async function signHash(content: Buffer, algorithm: Algorithm, change: object = {}): Promise<Buffer> {
  const pk = await house.classicPk();
  const messageDigest = attributeOver(content, algorithm).toString("base64");
  const { body } = await house.form(`/document/${pk}`, { hashfile: hashFile({ messageDigest, ...change }) });
  const { uid } = (body as { detail: Uploaded }).detail;
  await house.call("POST", `/otp/${pk}`);
  const { status } = await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  expect(status).toBe(200);
  const path = `/document/${pk}/${uid}?document_type=signed`;
  expect((await fetch(house.simulator.url + path)).headers.get("content-type")).toBe("application/pkcs7-mime");
  return house.download(path);
}

/** Whether openssl takes the signature for one over this content. */
function isOver(p7m: Buffer, content: Buffer): boolean {
  writeFileSync(join(folder, "content"), content);
  writeFileSync(join(folder, "content.p7m"), p7m);
  const [signature, file] = [join(folder, "content.p7m"), join(folder, "content")];
  const trust = ["-CAfile", join(folder, "ca.pem"), "-purpose", "any"];
  const args = ["cms", "-verify", "-inform", "DER", "-binary", "-in", signature, "-content", file, ...trust];
  return run("openssl", ...args, "-out", "/dev/null").status === 0;
}

test.each([
  ["sha256", "sha256WithRSAEncryption"],
  ["sha256", "sha256"],
  ["sha384", "sha384"],
  ["sha512", "sha512WithRSAEncryption"],
] as const)("a hash of %s, called %s, is signed as a detached CMS that openssl takes", async (algorithm, name) => {
  const content = randomBytes(100_000);
  const p7m = await signHash(content, algorithm, { digestAlgorithm: name });
  expect(p7m.includes(createHash(algorithm).update(content).digest())).toBe(true);
  if (!hasTool("openssl")) return;
  expect(isOver(p7m, content)).toBe(true);
  expect(isOver(p7m, Buffer.concat([content, Buffer.from("!")]))).toBe(false);
});

const SIGNING_TIME = Buffer.from("06092a864886f70d010905", "hex");
const TIMESTAMP = Buffer.from("060b2a864886f70d010910020e", "hex");

test("the signing time is in it when it is asked for, and a timestamp always", async () => {
  const count = (bytes: Buffer, what: Buffer) => bytes.toString("latin1").split(what.toString("latin1")).length - 1;
  const [withTime, without] = [1, 0].map((addSigningTime) => signHash(Buffer.from("x"), "sha256", { addSigningTime }));
  // The timestamp's own signature says when, too.
  expect(count((await withTime) ?? Buffer.alloc(0), SIGNING_TIME)).toBe(2);
  expect(count((await without) ?? Buffer.alloc(0), SIGNING_TIME)).toBe(1);
  expect((await without)?.includes(TIMESTAMP)).toBe(true);
});

const bare = createHash("sha256").update("abc").digest();

test.each([
  ["a bare hash", { messageDigest: bare.toString("base64") }],
  [
    "an attribute of another kind",
    {
      messageDigest: Buffer.concat([Buffer.from("302f06092a864886f70d01090331220420", "hex"), bare]).toString("base64"),
    },
  ],
  [
    "a digest that is too short",
    { messageDigest: attributeOver(Buffer.from("abc")).subarray(0, 48).toString("base64") },
  ],
  [
    "bytes behind the attribute",
    { messageDigest: Buffer.concat([attributeOver(Buffer.from("abc")), Buffer.from([0])]).toString("base64") },
  ],
  ["a digest of another algorithm", { digestAlgorithm: "sha512" }],
  ["an algorithm that is not allowed", { digestAlgorithm: "md5" }],
  ["text that is not Base64", { messageDigest: "MC8G CSqG" }],
])("a hash file with %s is refused", async (_what, change) => {
  const pk = await house.classicPk();
  expect(await house.form(`/document/${pk}`, { hashfile: hashFile(change) })).toMatchObject({
    status: 415,
    body: { message: expect.stringContaining("Unsupported file type") },
  });
  expect(house.effects(pk)).not.toContain("upload");
});

test("the published check value is taken, and a PDF in its place is not", async () => {
  const pk = await house.classicPk();
  const messageDigest = "MC8GCSqGSIb3DQEJBDEiBCC6eBa/jwHP6kFBQN5driIjsANho5YXepy0EP9h8gAVrQ==";
  expect(attributeOver(Buffer.from("abc")).toString("base64")).toBe(messageDigest);
  expect((await house.form(`/document/${pk}`, { hashfile: hashFile({ messageDigest }) })).status).toBe(200);
  expect((await house.form(`/document/${pk}`, { hashfile: await samplePdf() })).status).toBe(415);
  expect((await house.form(`/document/${pk}`, { file: hashFile() })).status).toBe(415);
});

test("hashes and PDFs of one request are signed together, and the hash file can be had back", async () => {
  const pk = await house.classicPk();
  const file = hashFile();
  const { body } = await house.form(`/document/${pk}`, { file: await samplePdf(), hashfile: file, hashfile2: file });
  const uploaded = (body as { detail: Uploaded[] }).detail;
  expect(uploaded.map(({ name }) => name)).toEqual(["file", "hashfile", "hashfile2"]);
  await house.call("POST", `/otp/${pk}`);
  await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  const [pdf, hash] = uploaded.map(({ uid }) => uid);
  expect((await house.download(`/document/${pk}/signed/${pdf}`)).subarray(0, 5).toString()).toBe("%PDF-");
  expect((await house.download(`/document/${pk}/signed/${hash}`))[0]).toBe(0x30);
  expect((await house.download(`/document/${pk}/${hash}?document_type=original`)).equals(file.bytes)).toBe(true);
});
