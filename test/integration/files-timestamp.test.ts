import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Certificate, readCertificate } from "../../src/files/certificate.ts";
import { readCms } from "../../src/files/cms.ts";
import { inMemory } from "../../src/files/content.ts";
import { elementsOf, readElement } from "../../src/files/der.ts";
import { asBadCms, BadCms } from "../../src/files/signed-data.ts";
import { readTimestampOver, type Timestamp } from "../../src/files/timestamp.ts";
import { verifySigned } from "../../src/files/verify.ts";
import { createOpenssl } from "../helpers/openssl.ts";
import { plainPdf, scratchFolder, startSigner } from "../helpers/pdfs.ts";

/** Every bit is tried, on a machine that may do other things as well. */
const LONG_MS = 60_000;

const openssl = createOpenssl(scratchFolder("timestamp"));
const stamped = Buffer.from("the value of some signature");
let signer: Awaited<ReturnType<typeof startSigner>>;
let pdf: Buffer;

beforeAll(async () => {
  openssl.certifyStamper("tsa");
  signer = await startSigner();
  pdf = await signer.sign(await plainPdf());
});
afterAll(() => signer.close());

const over = (data: Buffer, token: Buffer, others: Certificate[] = []): Timestamp =>
  asBadCms(() => readTimestampOver(data, readElement(token), others));

const refusal = (read: () => unknown): string => {
  try {
    read();
    return "";
  } catch (error) {
    if (!(error instanceof BadCms)) throw error;
    return error.message;
  }
};

function* bitsOf(bytes: Buffer, from = 0, to = bytes.length): Generator<{ at: number; changed: Buffer }> {
  for (let at = from; at < to; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      yield { at, changed };
    }
  }
}

/** What a signer vouches for in a token: what it says, the signed attributes, and the signature itself. */
function signedParts(token: Buffer): [from: number, to: number][] {
  const [, wrapped] = elementsOf(readElement(token));
  const parts = elementsOf(readElement(wrapped?.body ?? token));
  const content = parts[2];
  const [info] = elementsOf(parts.at(-1) ?? readElement(token));
  const fields = info ? elementsOf(info) : [];
  const [, body] = content ? elementsOf(content) : [];
  return [body, fields[3], fields[5]].map((part) => {
    const from = (part?.raw.byteOffset ?? 0) - token.byteOffset;
    return [from, from + (part?.raw.length ?? 0)];
  });
}

/** The whole CMS of the PDF's signature, the token within it, and the signature that the token is over. */
function simulated(): { cms: Buffer; token: Buffer; signature: Buffer } {
  const [, before = 0, after = 0] = (/\/ByteRange \[0 (\d+) (\d+)/.exec(pdf.toString("latin1")) ?? []).map(Number);
  const padded = Buffer.from(pdf.toString("latin1", before + 1, after - 1), "hex");
  const cms = padded.subarray(0, readElement(padded).raw.length);
  const signedData = elementsOf(elementsOf(readElement(cms))[1] ?? readElement(cms))[0];
  const info = elementsOf(elementsOf(signedData ?? readElement(cms)).at(-1) ?? readElement(cms))[0];
  const fields = elementsOf(info ?? readElement(cms));
  const attribute = elementsOf(fields[6] ?? readElement(cms))[0] ?? readElement(cms);
  const [token] = elementsOf(elementsOf(attribute)[1] ?? attribute);
  return { cms, token: token?.raw ?? cms, signature: fields[5]?.body ?? cms };
}

const KINDS = [
  { name: "its certificate named by SHA-256", make: () => openssl.stamp(stamped, "tsa") },
  {
    name: "its certificate named by SHA-1, as before RFC 5816",
    make: () => openssl.stamp(stamped, "tsa", { named: "sha1" }),
  },
  { name: "over a SHA-512", make: () => openssl.stamp(stamped, "tsa", { md: "sha512" }) },
] as const;

describe.each(KINDS)("a timestamp of openssl, $name", ({ make }) => {
  test("is valid, for openssl as for us, over what it is of and nothing else", () => {
    const token = make();
    const { at, isVerified } = over(stamped, token);
    expect(isVerified).toBe(true);
    expect(Math.abs(at.getTime() - Date.now())).toBeLessThan(60_000);
    expect(openssl.takesStamp(token, stamped, openssl.at("tsa.pem"))).toBe(true);
    const other = Buffer.from("another signature");
    expect(refusal(() => over(other, token))).toBe("it is of something else");
    expect(openssl.takesStamp(token, other, openssl.at("tsa.pem"))).toBe(false);
  });

  test("no bit of what its signer vouches for can be another one", { timeout: LONG_MS }, () => {
    const token = make();
    const parts = signedParts(token);
    expect(Math.min(...parts.map(([from, to]) => to - from))).toBeGreaterThan(60);
    for (const [from, to] of parts) {
      for (const { at, changed } of bitsOf(token, from, to)) {
        expect(
          refusal(() => over(stamped, changed)),
          `byte ${at}`,
        ).not.toBe("");
      }
    }
  });

  test("any other bit is refused, or leaves what it says as it was", { timeout: LONG_MS }, () => {
    const token = make();
    const said = over(stamped, token);
    let refused = 0;
    for (const { at, changed } of bitsOf(token)) {
      if (refusal(() => over(stamped, changed)) !== "") refused += 1;
      else expect(over(stamped, changed), `byte ${at}`).toEqual(said);
    }
    expect(refused).toBeGreaterThan(token.length * 7);
  });
});

test("a timestamp without its certificate is compared, and is not said to be verified", () => {
  const token = openssl.stamp(stamped, "tsa", { withCertificate: false });
  expect(over(stamped, token).isVerified).toBe(false);
  expect(refusal(() => over(Buffer.from("x"), token))).toBe("it is of something else");
  const der = openssl.run("x509", "-in", openssl.at("tsa.pem"), "-outform", "DER");
  const certificate = readCertificate(readElement(der));
  if (!certificate) throw new Error("openssl's certificate cannot be read");
  expect(over(stamped, token, [certificate]).isVerified).toBe(true);
  const [, , signature = [0, 0]] = signedParts(token);
  for (const { changed } of bitsOf(token, ...signature))
    expect(refusal(() => over(stamped, changed, [certificate]))).not.toBe("");
});

describe("the timestamp of a signature", () => {
  test("is valid for openssl, too", () => {
    const { token, signature } = simulated();
    writeFileSync(openssl.at("simulator.pem"), signer.ca());
    expect(openssl.takesStamp(token, signature, openssl.at("simulator.pem"))).toBe(true);
  });

  test(
    "makes the signature invalid when any of its bits that count is another one, and it says why",
    { timeout: LONG_MS },
    () => {
      const { cms, token } = simulated();
      const start = cms.indexOf(token);
      expect(readCms(cms).timestamps).toHaveLength(1);
      for (const [from, to] of signedParts(token)) {
        for (const { at, changed } of bitsOf(cms, start + from, start + to))
          expect(
            refusal(() => readCms(changed)),
            `byte ${at}`,
          ).toMatch(/^its timestamp is not valid: ./);
      }
    },
  );

  test("makes a PDF invalid, and it says why", async () => {
    const { token } = simulated();
    const [[from = 0] = []] = signedParts(token);
    const at = pdf.indexOf(token.toString("hex")) + 2 * (from + 20);
    const changed = Buffer.from(pdf);
    changed[at] = changed[at] === 0x31 ? 0x32 : 0x31;
    await expect(verifySigned(inMemory(pdf), { incremental: true })).resolves.toMatchObject({
      timestamps: [{ isVerified: true }],
    });
    await expect(verifySigned(inMemory(changed), { incremental: true })).rejects.toMatchObject({
      code: "signature-invalid",
      message: expect.stringContaining("its timestamp is not valid: what it says was changed after it was signed"),
    });
  });

  test("must be over that signature, and not over another one", async () => {
    const { cms, token } = simulated();
    const other = openssl.stamp(Buffer.from("another signature"), "tsa");
    const grown = replaced(cms, token, other);
    expect(refusal(() => readCms(grown))).toBe("its timestamp is not valid: it is of something else");
    const own = replaced(cms, token, openssl.stamp(simulated().signature, "tsa"));
    expect(readCms(own).timestamps).toMatchObject([{ isVerified: true }]);
  });
});

/** The same CMS with another token in the place of its own: every length around it is written anew. */
function replaced(bytes: Buffer, token: Buffer, other: Buffer): Buffer {
  const whole = readElement(bytes);
  if (whole.raw.equals(token)) return other;
  if (!(whole.tag & 0x20) || !whole.body.includes(token)) return whole.raw;
  const body = Buffer.concat(elementsOf(whole).map(({ raw }) => replaced(raw, token, other)));
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([whole.tag, ...length]), body]);
}

describe("a document timestamp at the end of a PDF", () => {
  /** The PDF with a token in the place of its signature. */
  function stampedPdf(over?: Buffer): Buffer {
    const text = pdf.toString("latin1");
    const [, before = 0, after = 0] = (/\/ByteRange \[0 (\d+) (\d+)/.exec(text) ?? []).map(Number);
    const covered = Buffer.concat([pdf.subarray(0, before), pdf.subarray(after)]);
    const hex = openssl.stamp(over ?? covered, "tsa").toString("hex");
    return Buffer.from(
      `${text.slice(0, before + 1)}${hex.padEnd(after - before - 2, "0")}${text.slice(after - 1)}`,
      "latin1",
    );
  }
  const verdict = (changed: Buffer) => verifySigned(inMemory(changed), { incremental: true });

  test("is no signature of a person", async () => {
    await expect(verdict(stampedPdf())).rejects.toMatchObject({
      code: "signature-partial",
      message: "A document timestamp covers the whole PDF, but no signature does",
    });
  });

  test("is invalid when it is over something else, or was changed", async () => {
    await expect(verdict(stampedPdf(Buffer.from("x")))).rejects.toMatchObject({
      code: "signature-invalid",
      message: expect.stringContaining("its document timestamp is of something else"),
    });
    const good = stampedPdf();
    // Within what it says: behind the name of its kind of content.
    const at = good.lastIndexOf("2a864886f70d0109100104") + 100;
    const changed = Buffer.from(good);
    changed[at] = changed[at] === 0x31 ? 0x32 : 0x31;
    await expect(verdict(changed)).rejects.toMatchObject({ code: "signature-invalid" });
  });
});
