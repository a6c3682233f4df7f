import { writeFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { createHash } from "node:crypto";
import { inMemory } from "../../src/files/content.ts";
import { verifyDetached, verifyDetachedFile } from "../../src/files/verify.ts";
import { createOpenssl } from "../helpers/openssl.ts";
import { scratchFolder } from "../helpers/pdfs.ts";

const openssl = createOpenssl(scratchFolder("detached"));
const content = Buffer.from("a letter of any kind\0\r\n");
let signature: Buffer;

beforeAll(() => {
  openssl.certify("ca");
  openssl.certify("ana", "ca");
  openssl.certify("eva", "ca");
  signature = openssl.sign(content, { signer: "ana", issuer: "ca" });
});

function digestOf(bytes: Buffer, algorithm: "sha256" | "sha384" | "sha512" = "sha256") {
  return { algorithm, value: createHash(algorithm).update(bytes).digest("hex") };
}

/** "valid", or the code and the message that it is refused with. */
async function verdict(cms: Buffer, digest = digestOf(content)): Promise<string> {
  try {
    await verifyDetached(inMemory(cms), digest);
    return "valid";
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
}

test("a detached signature over the content is valid, and names its signer", async () => {
  const { certificate, digestAlgorithm, timestamps } = await verifyDetached(inMemory(signature), digestOf(content));
  const der = openssl.run("x509", "-in", openssl.at("ana.pem"), "-outform", "DER");
  expect({ certificate, digestAlgorithm, timestamps }).toEqual({
    certificate: der,
    digestAlgorithm: "sha256",
    timestamps: [],
  });
});

test("the same as a file", async () => {
  writeFileSync(openssl.at("x.p7m"), signature);
  await verifyDetachedFile(openssl.at("x.p7m"), digestOf(content));
  await expect(verifyDetachedFile(openssl.at("x.p7m"), digestOf(Buffer.from("x")))).rejects.toMatchObject({
    code: "signature-other-document",
  });
});

test.each(["sha384", "sha512"] as const)("a %s is valid where that was to be signed", async (md) => {
  const longer = openssl.sign(content, { signer: "ana", md });
  expect(await verdict(longer, digestOf(content, md))).toBe("valid");
  expect(await verdict(longer)).toBe(`signature-invalid: The CMS signature is not valid: it uses ${md}, not sha256`);
});

describe("it is refused when it", () => {
  test("is over other content", async () => {
    expect(await verdict(signature, digestOf(Buffer.from("another letter")))).toMatch(/^signature-other-document: /);
  });

  test("was changed, in any byte of the digest or of the signature", async () => {
    const digestAt = signature.indexOf(Buffer.from(digestOf(content).value, "hex"));
    const isThere = (at: number) => (at >= digestAt && at < digestAt + 32) || at >= signature.length - 60;
    const places = [...signature.keys()].filter(isThere);
    expect(places).toHaveLength(92);
    for (const at of places) {
      const changed = Buffer.from(signature);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(await verdict(changed), `byte ${at}`).toMatch(/^signature-/);
    }
  });

  test("has a certificate that is not as its issuer signed it", async () => {
    const changed = Buffer.from(signature);
    // The first letters of the name in the signer's own certificate.
    const at = changed.indexOf("ana");
    changed.write("eva", at);
    expect(await verdict(changed)).toMatch(/^signature-invalid: /);
  });

  test("is cut off, or has more behind it", async () => {
    expect(await verdict(signature.subarray(0, -1))).toMatch(/^signature-invalid: /);
    expect(await verdict(Buffer.concat([signature, Buffer.from("x")]))).toMatch(/more than zeros behind it$/);
    expect(await verdict(Buffer.concat([signature, Buffer.alloc(1)]))).toMatch(/more stands behind it$/);
  });

  test("holds its content", async () => {
    const attached = openssl.sign(content, { signer: "ana", more: ["-nodetach"] });
    expect(await verdict(attached)).toMatch(/it is not detached$/);
  });

  test("has no signed attributes", async () => {
    const bare = openssl.sign(content, { signer: "ana", more: ["-noattr"] });
    expect(await verdict(bare)).toMatch(/^signature-invalid: .*no signed attributes/);
  });

  test("has no certificate", async () => {
    const nobody = openssl.sign(content, { signer: "ana", more: ["-nocerts"] });
    expect(await verdict(nobody)).toMatch(/^signature-invalid: .*does not verify$/);
  });

  test("is none", async () => {
    expect(await verdict(Buffer.from("not a signature"))).toMatch(/^signature-invalid: /);
    expect(await verdict(Buffer.alloc(0))).toMatch(/^signature-invalid: /);
    expect(await verdict(Buffer.alloc(9 << 20, 0x30))).toMatch(/larger than any real one$/);
  });
});
