import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { signedName } from "../../src/files/names.ts";
import { digestOf, isHashFileName, readHashFile, toHashFile } from "../../src/files/hash-file.ts";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const ABC = "MC8GCSqGSIb3DQEJBDEiBCC6eBa/jwHP6kFBQN5driIjsANho5YXepy0EP9h8gAVrQ==";
/** The provider's own sample. @source docs/provider.md §Hash */
const SAMPLE = "MC8GCSqGSIb3DQEJBDEiBCCxXpcEPsmyT4JVAGFu1ScquUGBbN3En9x21TpkP7Rp8g==";
const rest = { addAuthAttribute: 1, addSigningTime: 1, otherAuthAttributes: [] };
const file = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const base64 = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex").toString("base64");

test("the hash of abc is written as the contract's check value has it", () => {
  expect(JSON.parse(toHashFile(sha256("abc")).toString())).toEqual({
    messageDigest: ABC,
    digestAlgorithm: "sha256WithRSAEncryption",
    ...rest,
  });
});

test("the provider's sample is read, under both names of its algorithm", () => {
  const value = "b15e97043ec9b24f825500616ed5272ab941816cddc49fdc76d53a643fb469f2";
  for (const digestAlgorithm of ["sha256WithRSAEncryption", "sha256"]) {
    const sample = file({ messageDigest: SAMPLE, digestAlgorithm, ...rest });
    expect(readHashFile(sample)).toEqual({ algorithm: "sha256", value });
  }
});

test("what is written for any digest is read as that digest", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (digest) => {
      const value = Buffer.from(digest).toString("hex");
      expect(readHashFile(toHashFile(value))).toEqual({ algorithm: "sha256", value });
    }),
  );
});

test("longer digests are read as well", () => {
  const sha512 = createHash("sha512").update("abc").digest("hex");
  const messageDigest = base64(`304f 0609 2a864886f70d010904 3142 0440 ${sha512}`);
  expect(readHashFile(file({ messageDigest, digestAlgorithm: "sha512" }))).toEqual({
    algorithm: "sha512",
    value: sha512,
  });
});

describe("a hash file is refused, with the reason, that", () => {
  const hash = sha256("abc");
  const of = (messageDigest: unknown, digestAlgorithm: unknown = "sha256") => ({ messageDigest, digestAlgorithm });
  test.each([
    ["is no JSON", "messageDigest: x", "it is not JSON in UTF-8"],
    ["is no object", [ABC], "it is not a JSON object"],
    ["has no digest", { digestAlgorithm: "sha256" }, "messageDigest is missing"],
    ["has no algorithm", { messageDigest: ABC }, "digestAlgorithm is missing"],
    ["has another algorithm", of(ABC, "md5"), "digestAlgorithm is not"],
    ["is cut off, as one published copy is", of(SAMPLE.slice(0, -5)), "messageDigest is not Base64"],
    ["has the bare hash", of(base64(hash)), "messageDigest is not the DER"],
    ["has the hash in hexadecimal", of(hash), "messageDigest is not the DER"],
    ["has another attribute", of(base64(`302f 0609 2a864886f70d010903 3122 0420 ${hash}`)), "is not the DER"],
    ["has a digest of another length", of(ABC, "sha512"), "is not the DER of a CMS messageDigest attribute of sha512"],
    ["has a length that DER writes shorter", of(base64(`30812f 0609 2a864886f70d010904 3122 0420 ${hash}`)), "DER"],
    ["has more behind it", of(base64(`302f 0609 2a864886f70d010904 3122 0420 ${hash} 00`)), "is not the DER"],
    ["has a flag that is none", { ...of(ABC), addSigningTime: "yes" }, "addSigningTime is not a whole number"],
    ["is larger than any", `${" ".repeat(70_000)}${JSON.stringify(of(ABC))}`, "it is larger than 64 KiB"],
  ])("%s", (_what, content, why) => {
    expect(() => readHashFile(file(content))).toThrow(
      expect.objectContaining({ code: "hash-file-invalid", message: expect.stringContaining(why) as string }),
    );
  });
});

test("what is signed is the digest of a hash file, and else the file's own", () => {
  const digest = { algorithm: "sha512", value: "ab".repeat(64) } as const;
  expect(digestOf({ sha256: sha256("x"), digest })).toBe(digest);
  expect(digestOf({ sha256: sha256("x") })).toEqual({ algorithm: "sha256", value: sha256("x") });
});

test("a hash file is known by its name", () => {
  expect(["a.hash.json", "A.HASH.JSON", "a.json", "hash.json", "a.hash.json.txt"].map(isHashFileName)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});

test("a signature apart is named after its file, which a hash file speaks for", () => {
  const taken = new Set<string>();
  const names = ["a.docx", "a.docx.hash.json", "A.DOCX", "b.pdf"].map((name) => signedName(name, taken, "cms"));
  expect(names).toEqual(["a.docx.p7m", "a.docx.2.p7m", "A.DOCX.3.p7m", "b.pdf.p7m"]);
  expect(signedName("b.pdf", taken, "pades")).toBe("b.pdf.signed.pdf");
});
