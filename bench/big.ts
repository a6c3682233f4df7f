import { randomBytes } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";

const BLOCK_BYTES = 1 << 20;

/** Writes a PDF of one page with an embedded stream of `blocks` MiB of noise, which no tool can make smaller. */
export function writeBigPdf(path: string, blocks: number): void {
  const file = openSync(path, "w");
  const offsets: number[] = [];
  let at = 0;
  const put = (part: string | Buffer) => {
    at += writeSync(file, typeof part === "string" ? Buffer.from(part, "latin1") : part);
  };
  const object = (body: string) => {
    offsets.push(at);
    put(`${offsets.length} 0 obj\n${body}`);
  };
  put("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n");
  object("<< /Type /Catalog /Pages 2 0 R /Noise 4 0 R >>\nendobj\n");
  object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n");
  object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] >>\nendobj\n");
  object(`<< /Length ${blocks * BLOCK_BYTES} >>\nstream\n`);
  for (let i = 0; i < blocks; i++) put(randomBytes(BLOCK_BYTES));
  put("\nendstream\nendobj\n");
  const startxref = at;
  const lines = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  put(`xref\n0 ${offsets.length + 1}\n0000000000 65535 f \n${lines}`);
  put(`trailer\n<< /Size ${offsets.length + 1} /Root 1 0 R >>\nstartxref\n${startxref}\n%%EOF\n`);
  closeSync(file);
}
