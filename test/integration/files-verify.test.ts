import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import { type Content, inMemory } from "../../src/files/content.ts";
import { verifySigned, verifySignedPdf } from "../../src/files/verify.ts";
import { byQpdf, factsOf, plainPdf, scratchFolder, startSigner, tool } from "../helpers/pdfs.ts";

const dir = scratchFolder("verify");
let signer: Awaited<ReturnType<typeof startSigner>>;
let plainSigner: typeof signer;
let original: Buffer;
let signed: Buffer;

beforeAll(async () => {
  signer = await startSigner();
  plainSigner = await startSigner({ signatureLevel: "B" });
  original = await plainPdf({ text: "Lease" });
  // Without a timestamp, which no signature covers: every byte must count.
  signed = await plainSigner.sign(original);
});
afterAll(async () => {
  await signer.close();
  await plainSigner.close();
});

function left(what: string): void {
  process.stderr.write(what);
}

/** "valid", or the code that it is refused with. */
async function verdict(pdf: Buffer, of: Buffer | null = original, incremental = true): Promise<string> {
  try {
    await verifySigned(inMemory(pdf), { original: of ? factsOf(of) : undefined, incremental });
    return "valid";
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    return error.code;
  }
}

/** The last signature of a PDF, cut out by hand: where its place is, what it covers, and its bytes with their zeros. */
function signatureOf(pdf: Buffer) {
  const found = [...pdf.toString("latin1").matchAll(/\/ByteRange \[0 (\d+) (\d+) (\d+) *\]/g)].at(-1);
  const [before = 0, after = 0, length = 0] = (found ?? []).slice(1).map(Number);
  const covered = Buffer.concat([pdf.subarray(0, before), pdf.subarray(after, after + length)]);
  const cms = Buffer.from(pdf.toString("latin1", before + 1, after - 1), "hex");
  return { before, after, covered, cms, cmsBytes: 4 + cms.readUInt16BE(2) };
}

/** The certificates in a CMS, found by trying every place where one might begin. */
function certificatesIn(cms: Buffer): X509Certificate[] {
  return [...cms.keys()].flatMap((at) => {
    const isBegin = cms[at] === 0x30 && cms[at + 1] === 0x82;
    try {
      return isBegin ? new X509Certificate(cms.subarray(at, at + 4 + cms.readUInt16BE(at + 2))) : [];
    } catch {
      return [];
    }
  });
}

/** The same PDF with other bytes in the place of its signature. */
function withCms(pdf: Buffer, cms: Buffer): Buffer {
  const { before, after } = signatureOf(pdf);
  const hex = cms.toString("hex").padEnd(after - before - 2, "0");
  expect(hex.length).toBe(after - before - 2);
  return Buffer.concat([pdf.subarray(0, before + 1), Buffer.from(hex), pdf.subarray(after - 1)]);
}

/** The same PDF with more room for a signature, to be signed anew. Its cross-reference is forgiven for being off. */
function withRoom(pdf: Buffer, more: number): Buffer {
  const { before, after } = signatureOf(pdf);
  const grow = (text: string) =>
    text.replace(/\d+/, (place) => String(Number(place) + more).padStart(place.length, "0"));
  const front = pdf
    .toString("latin1", 0, before)
    .replace(
      /(\/ByteRange \[0 \d+ )(\d+)( \d+) *\](?![\s\S]*\/ByteRange)/,
      (was, a: string, b: string, c: string) => `${a}${grow(b)}${c}`.padEnd(was.length - 1) + "]",
    );
  expect(front.length).toBe(before);
  const behind = pdf.toString("latin1", after);
  return Buffer.from(`${front}<${"0".repeat(after - before - 2 + more)}>${behind}`, "latin1");
}

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 0x01;
  return changed;
}

const sample = (from: number, to: number, count: number) =>
  Array.from({ length: count }, (_, n) => from + Math.floor(((n + 0.5) * (to - from)) / count));

const patched = (pdf: Buffer, from: RegExp, to: (match: string) => string) =>
  Buffer.from(pdf.toString("latin1").replace(from, to), "latin1");

describe("what the simulator signs is valid", () => {
  test.each([
    ["a classic table", () => plainPdf()],
    ["object streams", () => plainPdf({ useObjectStreams: true, pages: 3 })],
    ["a linearised file", async () => byQpdf(dir, await plainPdf({ pages: 3 }), "--linearize")],
    ["a file that was signed before", async () => signer.sign(await plainPdf())],
  ])("%s", async (_what, make) => {
    const pdf = await make();
    if (!pdf) return left("qpdf is not installed: left out\n");
    const result = await signer.sign(pdf);
    const verified = await verifySigned(inMemory(result), { original: factsOf(pdf), incremental: true });
    const timestamps = [{ at: expect.any(Date), isVerified: true }];
    expect(verified).toMatchObject({ digestAlgorithm: "sha256", timestamps, sha256: factsOf(result).sha256 });
    expect(new X509Certificate(verified.certificate).subject).toContain("Simulated Signer");
  });

  test("on disk as in memory, small or not", async () => {
    const filling = Buffer.from(`%${"-".repeat(1_500_000)}\n`);
    const at = original.lastIndexOf("startxref");
    const large = Buffer.concat([original.subarray(0, at), filling, original.subarray(at)]);
    for (const pdf of [original, large]) {
      const result = await signer.sign(pdf);
      const signedPath = join(dir, "signed.pdf");
      writeFileSync(signedPath, result);
      const expected = { original: factsOf(pdf), incremental: true };
      const verified = await verifySignedPdf({ signedPath, ...expected });
      expect(verified).toEqual(await verifySigned(inMemory(result), expected));
      expect(verified.sha256).toBe(factsOf(result).sha256);
      writeFileSync(signedPath, flipped(result, Math.floor(pdf.length / 2)));
      await expect(verifySignedPdf({ signedPath, incremental: true })).rejects.toMatchObject({
        code: "signature-invalid",
      });
    }
  });
});

describe("a changed byte is found, wherever it is", () => {
  test("in the original: it is another document", async () => {
    for (const at of sample(0, original.length, 60)) {
      expect(["signature-other-document", "not-a-pdf", "pdf-incomplete"]).toContain(await verdict(flipped(signed, at)));
    }
  });

  test("in the original, when the provider may rewrite it: the signature is not of these bytes", async () => {
    for (const at of sample(8, original.length, 60)) {
      expect(await verdict(flipped(signed, at), original, false), `byte ${at}`).toBe("signature-invalid");
      expect(await verdict(flipped(signed, at), null), `byte ${at}`).toBe("signature-invalid");
    }
  });

  test("in the update, before and behind the signature", async () => {
    const { before, after } = signatureOf(signed);
    const codes = ["signature-invalid", "signature-missing", "signature-partial", "pdf-incomplete"];
    for (const at of [...sample(original.length, before, 40), ...sample(after, signed.length - 1, 40)]) {
      expect(codes, `byte ${at}`).toContain(await verdict(flipped(signed, at)));
    }
  });

  test("in the digest, in the signature itself, in the signer's key, in the zeros behind", async () => {
    const { covered, cms, cmsBytes } = signatureOf(signed);
    const { certificate } = await verifySigned(inMemory(signed), { incremental: true });
    const keyAt = cms.indexOf(new X509Certificate(certificate).publicKey.export({ type: "spki", format: "der" }));
    const digestAt = cms.indexOf(createHash("sha256").update(covered).digest());
    expect(Math.min(keyAt, digestAt)).toBeGreaterThan(0);
    const places = [
      ...sample(digestAt, digestAt + 32, 8),
      ...sample(keyAt + 40, keyAt + 280, 16),
      ...sample(cmsBytes - 256, cmsBytes, 16),
      ...sample(cmsBytes, cms.length, 8),
    ];
    for (const at of places) {
      expect(await verdict(withCms(signed, flipped(cms, at))), `byte ${at} of the CMS`).toBe("signature-invalid");
    }
  });

  test("in the signer's certificate, and in that of its issuer", async () => {
    const { cms } = signatureOf(signed);
    const { certificate } = await verifySigned(inMemory(signed), { incremental: true });
    const issuer = certificatesIn(cms).find(({ raw }) => !raw.equals(certificate));
    if (!issuer) throw new Error("the simulator does not send its authority's certificate along");
    const [ownAt, issuerAt] = [cms.indexOf(certificate), cms.indexOf(issuer.raw)];
    // A root that names another one as its issuer may be none, and that one is not there: the first name is left out.
    const name = issuer.subject.split("CN=")[1]?.split("\n")[0] ?? "";
    const nameAt = issuerAt + issuer.raw.indexOf(name);
    const inName = (at: number) => at >= nameAt - 13 && at < nameAt + name.length; // with what is around a text in a name
    for (const at of [
      ...sample(ownAt, ownAt + certificate.length, 40),
      ...sample(issuerAt, issuerAt + issuer.raw.length, 120).filter((at) => !inName(at)),
    ]) {
      expect(await verdict(withCms(signed, flipped(cms, at))), `byte ${at} of the CMS`).toBe("signature-invalid");
    }
    expect(await verdict(withCms(signed, cms))).toBe("valid");
  });

  test("anywhere in the CMS: refused, or without meaning for the signature", async () => {
    const { cms, cmsBytes } = signatureOf(signed);
    const { certificate } = await verifySigned(inMemory(signed), { incremental: true });
    let refused = 0;
    for (const at of sample(0, cmsBytes, 400)) {
      const changed = inMemory(withCms(signed, flipped(cms, at)));
      const found = await verifySigned(changed, { incremental: true }).catch((error: unknown) => error);
      if (found instanceof PermanentError) {
        expect(found.code).toBe("signature-invalid");
        refused += 1;
      } else {
        expect((found as { certificate: Buffer }).certificate.equals(certificate)).toBe(true);
      }
    }
    expect(refused).toBeGreaterThan(200);
  });
});

describe("what is not the signed document is refused by name", () => {
  test("cut off", async () => {
    for (const length of sample(original.length + 1_030, signed.length - 8, 40)) {
      expect(await verdict(signed.subarray(0, length))).toBe("pdf-incomplete");
    }
  });

  test("the original itself", async () => {
    expect(await verdict(original)).toBe("signature-missing");
    expect(await verdict(signed.subarray(0, original.length))).toBe("signature-missing");
  });

  test("an original that was signed before, as it was handed in", async () => {
    expect(await verdict(signed, signed)).toBe("signature-other-document");
    expect(await verdict(signed, signed, false)).toBe("signature-other-document");
    expect(await verdict(await signer.sign(signed), signed, false)).toBe("valid");
  });

  test("the signature of another original", async () => {
    const other = await plainPdf({ text: "Other" });
    expect(await verdict(await signer.sign(other))).toBe("signature-other-document");
    expect(await verdict(await signer.sign(other), original, false)).toBe("valid");
  });

  test("bytes behind the end, whatever they are", async () => {
    for (const more of ["\n", "\0", " ".repeat(500), "<!-- cached -->"]) {
      expect(await verdict(Buffer.concat([signed, Buffer.from(more)])), JSON.stringify(more)).toBe("signature-partial");
    }
  });

  test("an update behind the signature", async () => {
    const place = /startxref\s+(\d+)\s+%%EOF\s*$/.exec(signed.toString("latin1"))?.[1];
    const update = `\n99 0 obj\n(more)\nendobj\nxref\n0 0\ntrailer\n<< /Size 100 /Root 1 0 R /Prev ${place} >>\nstartxref\n${signed.length + 26}\n%%EOF\n`;
    expect(await verdict(Buffer.concat([signed, Buffer.from(update)]))).toBe("signature-partial");
  });

  test("two signatures: the later one decides, since it covers the earlier one too", async () => {
    const twice = await signer.sign(signed);
    expect(await verdict(twice)).toBe("valid");
    expect(await verdict(twice, signed)).toBe("valid");
    expect(await verdict(flipped(twice, 200), original, false)).toBe("signature-invalid");
    const { before } = signatureOf(signed);
    // The earlier signature's own bytes are covered by the later one.
    expect(await verdict(flipped(twice, before + 20), null)).toBe("signature-invalid");
    const withoutLater = withCms(twice, Buffer.alloc(4));
    expect(await verdict(withoutLater)).toBe("signature-invalid");
  });
});

describe("a byte range that lies", () => {
  const range = /\/ByteRange \[[^\]]*\]/g;
  const last = /\/ByteRange \[[^\]]*\](?![\s\S]*\/ByteRange)/;
  const lied = (to: string) => patched(signed, last, (was) => to.padEnd(was.length));

  test.each([
    [
      "does not begin at the start",
      (b: number, a: number, l: number) => `/ByteRange [1 ${b - 1} ${a} ${l}]`,
      "signature-partial",
    ],
    [
      "ends before the end",
      (b: number, a: number, l: number) => `/ByteRange [0 ${b} ${a} ${l - 1}]`,
      "signature-partial",
    ],
    [
      "reaches beyond the end",
      (b: number, a: number, l: number) => `/ByteRange [0 ${b} ${a} ${l + 1}]`,
      "signature-missing",
    ],
    [
      "has its parts in the wrong order",
      (b: number, a: number, l: number) => `/ByteRange [0 ${a} ${b} ${l}]`,
      "signature-missing",
    ],
    [
      "leaves out more in front",
      (b: number, a: number, l: number) => `/ByteRange [0 ${b - 1} ${a} ${l}]`,
      "signature-invalid",
    ],
    [
      "leaves out more behind",
      (b: number, a: number, l: number) => `/ByteRange [0 ${b} ${a + 1} ${l - 1}]`,
      "signature-invalid",
    ],
    [
      "leaves out less in front",
      (b: number, a: number, l: number) => `/ByteRange [0 ${b + 1} ${a} ${l}]`,
      "signature-invalid",
    ],
    ["has numbers beyond all files", () => `/ByteRange [0 ${"9".repeat(15)} 1 1]`, "signature-missing"],
    ["has words in it", () => "/ByteRange [0 one two three]", "signature-missing"],
  ])("%s", async (_what, write, code) => {
    const { before, after } = signatureOf(signed);
    const result = lied(write(before, after, signed.length - after));
    expect(result.length).toBe(signed.length);
    expect(await verdict(result)).toBe(code);
  });

  test("a gap with more in it than the signature", async () => {
    const { before } = signatureOf(signed);
    for (const stranger of ["(hidden)", "<>", "/Contents ", "\xa0\xa0"]) {
      const text = signed.toString("latin1");
      const at = before + 600;
      const changed = text.slice(0, at) + stranger + text.slice(at + stranger.length);
      expect(await verdict(Buffer.from(changed, "latin1"))).toBe("signature-invalid");
    }
  });

  test("a gap larger than any signature is not read", async () => {
    const sizeBytes = 400_000_000;
    const tail = `/ByteRange [0 20 300000000 ${sizeBytes - 300_000_000}]\nstartxref\n9\n%%EOF\n`;
    let most = 0;
    const content: Content = {
      sizeBytes,
      async read(at, length) {
        most = Math.max(most, length);
        const buffer = Buffer.alloc(Math.max(0, Math.min(length, sizeBytes - at)), " ");
        if (at === 0) buffer.write("%PDF-1.7\n");
        if (at + buffer.length === sizeBytes)
          buffer.write(tail.slice(-buffer.length), Math.max(0, buffer.length - tail.length));
        return buffer;
      },
      feed: () => Promise.reject(new Error("nothing is to be hashed")),
    };
    await expect(verifySigned(content, { incremental: true })).rejects.toMatchObject({ code: "signature-invalid" });
    expect(most).toBeLessThan(2 << 20);
  });

  test("spread over lines, and with blanks, it is read all the same", async () => {
    expect(signed.toString("latin1").match(range)).toHaveLength(1);
    // Whoever writes it so signs it so: only that it is found matters here.
    const spread = patched(signed, last, (was) => was.replace("[", "\n[").replace(/ +\]$/, "]").padEnd(was.length));
    expect(await verdict(spread)).toBe("signature-invalid");
  });
});

describe("signatures of other makers, by openssl", () => {
  const has = tool("openssl", "version") !== undefined;
  const at = (name: string) => join(dir, name);

  function makeKey(name: string, ...key: string[]): void {
    const args = ["req", "-x509", "-newkey", ...key, "-nodes", "-subj", `/CN=${name}/C=ES`, "-days", "2"];
    execFileSync("openssl", [...args, "-keyout", at(`${name}.key`), "-out", at(`${name}.pem`)], { stdio: "ignore" });
  }

  /** Puts openssl's signature over what the simulator's covers in its place. */
  function resign(name: string, ...options: string[]): Buffer {
    writeFileSync(at("covered"), signatureOf(roomy).covered);
    const args = [
      "cms",
      "-sign",
      "-binary",
      "-in",
      at("covered"),
      "-signer",
      at(`${name}.pem`),
      "-inkey",
      at(`${name}.key`),
    ];
    execFileSync("openssl", [...args, "-outform", "DER", "-out", at("cms.der"), ...options], { stdio: "pipe" });
    return withCms(roomy, readFileSync(at("cms.der")));
  }
  let roomy: Buffer;

  beforeAll(() => {
    roomy = withRoom(signed, 12_000);
    if (!has) return void process.stderr.write("openssl is not installed: signatures of other makers are left out\n");
    makeKey("rsa", "rsa:2048");
    makeKey("other", "rsa:2048");
    makeKey("ec", "ec", "-pkeyopt", "ec_paramgen_curve:P-256");
    makeKey("ec384", "ec", "-pkeyopt", "ec_paramgen_curve:P-384");
  });

  test.skipIf(!has).each([
    ["RSA", "rsa", ["-md", "sha256"], "sha256"],
    ["RSA with CAdES attributes", "rsa", ["-md", "sha256", "-cades"], "sha256"],
    ["RSA, SHA-512", "rsa", ["-md", "sha512"], "sha512"],
    ["RSA-PSS", "rsa", ["-md", "sha256", "-keyopt", "rsa_padding_mode:pss"], "sha256"],
    [
      "RSA-PSS, SHA-384, short salt",
      "rsa",
      ["-md", "sha384", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:20"],
      "sha384",
    ],
    ["ECDSA", "ec", ["-md", "sha256"], "sha256"],
    ["ECDSA, P-384, with CAdES attributes", "ec384", ["-md", "sha384", "-cades"], "sha384"],
    ["the signer named by the key's identifier", "rsa", ["-md", "sha256", "-keyid"], "sha256"],
    ["BER with lengths left open", "rsa", ["-md", "sha256", "-indef"], "sha256"],
    ["with another certificate before the signer's", "rsa", ["-md", "sha256", "-certfile", at("other.pem")], "sha256"],
  ])("%s", async (_what, key, options, digestAlgorithm) => {
    const pdf = resign(key, ...options);
    const verified = await verifySigned(inMemory(pdf), { original: factsOf(original), incremental: true });
    expect(verified.digestAlgorithm).toBe(digestAlgorithm);
    expect(new X509Certificate(verified.certificate).subject).toContain(`CN=${key}`);
    expect(await verdict(flipped(pdf, 300), null)).toBe("signature-invalid");
  });

  test.skipIf(!has)("a digest that is not allowed", async () => {
    expect(await verdict(resign("rsa", "-md", "sha1"))).toBe("signature-invalid");
  });

  test.skipIf(!has)("no attributes, so no digest of its own", async () => {
    expect(await verdict(resign("rsa", "-md", "sha256", "-noattr"))).toBe("signature-invalid");
  });

  test.skipIf(!has)("no certificate", async () => {
    expect(await verdict(resign("rsa", "-md", "sha256", "-nocerts"))).toBe("signature-invalid");
  });

  test.skipIf(!has)("a certificate that is not the signer's, even where it says it were", async () => {
    const mine = new X509Certificate(readFileSync(at("rsa.pem"))).raw;
    expect(await verdict(resign("rsa", "-md", "sha256", "-nocerts", "-certfile", at("other.pem")))).toBe(
      "signature-invalid",
    );
    // The same name and number over another key: made by hand, by putting that key into the certificate.
    const pdf = resign("rsa", "-md", "sha256");
    const key = (pem: string) =>
      new X509Certificate(readFileSync(at(pem))).publicKey.export({ type: "spki", format: "der" });
    const { cms } = signatureOf(pdf);
    const swapped = Buffer.from(cms);
    key("other.pem").copy(swapped, cms.indexOf(mine) + mine.indexOf(key("rsa.pem")));
    expect(await verdict(withCms(pdf, swapped))).toBe("signature-invalid");
  });

  test.skipIf(!has)(
    "a certificate of the same key, name and number, but not the one that was named when signing",
    async () => {
      const pdf = resign("rsa", "-md", "sha256", "-cades");
      const { cms } = signatureOf(pdf);
      const mine = new X509Certificate(readFileSync(at("rsa.pem"))).raw;
      // The last byte of a certificate is its issuer's signature, here its own: its key does not change.
      const changed = flipped(cms, cms.indexOf(mine) + mine.length - 1);
      expect(await verdict(withCms(pdf, changed))).toBe("signature-invalid");
      const withoutNaming = resign("rsa", "-md", "sha256");
      const plain = signatureOf(withoutNaming).cms;
      expect(await verdict(withCms(withoutNaming, flipped(plain, plain.indexOf(mine) + mine.length - 1)))).toBe(
        "signature-invalid",
      );
    },
  );
});

test("pdfsig judges the same files alike", async () => {
  const { cms, cmsBytes } = signatureOf(signed);
  const twice = await signer.sign(signed);
  const files: [string, Buffer][] = [
    ["signed", signed],
    ["signed twice", twice],
    ["signed over object streams", await signer.sign(await plainPdf({ useObjectStreams: true }))],
    ["changed in the original", flipped(signed, original.indexOf("Lease") > 0 ? original.indexOf("Lease") : 400)],
    ["changed in the signature", withCms(signed, flipped(cms, cmsBytes - 100))],
    ["with bytes behind", Buffer.concat([signed, Buffer.from("\n%more\n")])],
    ["not signed", original],
  ];
  for (const [what, pdf] of files) {
    writeFileSync(join(dir, "judged.pdf"), pdf);
    const judged = tool("pdfsig", "-nocert", join(dir, "judged.pdf"));
    if (!judged) return left("pdfsig is not installed: left out\n");
    const { output } = judged;
    const isValid =
      /Total document signed/.test(output) && /Signature is Valid/.test(output) && !/is Invalid/.test(output);
    expect((await verdict(pdf, null)) === "valid", `${what}: ${output}`).toBe(isValid);
  }
});
