import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { hasTool, run } from "./house.ts";

/** A signature cut out of a PDF by its byte range: what it covers, the CMS structure, where in the file it ends. */
export type Signature = { covered: Buffer; cms: Buffer; end: number };

/** The signatures in the order of the file. */
export function signaturesOf(pdf: Buffer): Signature[] {
  const text = pdf.toString("latin1");
  return [...text.matchAll(/\/ByteRange \[0 (\d+) (\d+) (\d+) *\]/g)].map((found) => {
    const [first, second, length] = found.slice(1).map(Number) as [number, number, number];
    const cms = Buffer.from(text.slice(first + 1, second - 1), "hex");
    const size = 4 + cms.readUInt16BE(2);
    return {
      covered: Buffer.concat([pdf.subarray(0, first), pdf.subarray(second, second + length)]),
      cms: cms.subarray(0, size),
      end: second + length,
    };
  });
}

/** Foreign programs that are asked about signatures, in a folder of their own. */
export type Judges = {
  folder: string;
  tools: Record<"pdfsig" | "qpdf" | "openssl" | "certutil" | "pdftotext", boolean>;
  /** Fails unless all of them take the PDF, with so many valid signatures. `grown` when more was appended behind. */
  agree: (pdf: Buffer, expected: number, grown?: boolean) => void;
  /** Puts bytes into a file and says where. */
  put: (name: string, bytes: Buffer | string) => string;
  /** Where its certificate is. */
  ca: string;
  linearized: (pdf: Buffer) => Buffer | undefined;
  close: () => void;
};

export function callJudges(caPem: string): Judges {
  const folder = mkdtempSync(join(tmpdir(), "simulator-judges-"));
  const tools = {
    pdfsig: hasTool("pdfsig"),
    qpdf: hasTool("qpdf"),
    openssl: hasTool("openssl"),
    certutil: hasTool("certutil"),
    pdftotext: hasTool("pdftotext"),
  };
  const put = (name: string, bytes: Buffer | string): string => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return path;
  };
  const ca = put("ca.pem", caPem);
  const trust = join(folder, "nss");
  if (tools.certutil) {
    mkdirSync(trust);
    run("certutil", "-N", "-d", `sql:${trust}`, "--empty-password");
    run("certutil", "-A", "-d", `sql:${trust}`, "-n", "simulator", "-t", ",C,", "-a", "-i", ca);
  }
  const verifyWithOpenssl = ({ covered, cms }: Signature): void => {
    const files = ["-in", put("signature.der", cms), "-content", put("content", covered)];
    const args = ["cms", "-verify", "-binary", "-inform", "DER", ...files, "-CAfile", ca, "-out", "/dev/null"];
    const { status, output } = run("openssl", ...args);
    expect(status, output).toBe(0);
  };
  return {
    folder,
    tools,
    put,
    ca,
    agree(pdf, expected, grown = false) {
      const signatures = signaturesOf(pdf);
      expect(signatures).toHaveLength(expected);
      expect(signatures.at(-1)?.end === pdf.length).toBe(!grown);
      const path = put("signed.pdf", pdf);
      if (tools.pdfsig && tools.certutil) {
        const { output } = run("pdfsig", "-nssdir", `sql:${trust}`, path);
        expect(output.match(/Signature Validation: Signature is Valid\./g), output).toHaveLength(expected);
        expect(output.match(/Certificate Validation: Certificate is Trusted\./g), output).toHaveLength(expected);
        expect(output.match(/- Total document signed/g) ?? [], output).toHaveLength(grown ? 0 : 1);
        expect(output).toContain("ETSI.CAdES.detached");
      }
      if (tools.qpdf) expect(run("qpdf", "--check", path)).toMatchObject({ status: 0 });
      if (tools.openssl) for (const signature of signatures) verifyWithOpenssl(signature);
    },
    linearized(pdf) {
      if (!tools.qpdf) return undefined;
      const to = join(folder, "linear.pdf");
      run("qpdf", "--linearize", put("plain.pdf", pdf), to);
      return readFileSync(to);
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}
