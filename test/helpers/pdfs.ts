import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PDFDocument } from "@cantoo/pdf-lib";
import { createHash } from "node:crypto";
import { afterAll } from "vitest";
import { type SimulatorOptions, startSimulator } from "../../src/simulator/index.ts";

/** A folder that goes with the test file that asked for it. */
export function scratchFolder(name: string): string {
  const dir = mkdtempSync(join(tmpdir(), `signpipe-${name}-`));
  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

/** A new data folder below `base`, with the folders that documents and results are kept in: what joins a path in it. */
export function dataFolder(base: string): (...names: string[]) => string {
  const root = mkdtempSync(join(base, "data-"));
  for (const name of ["work", "signed", "archive"]) mkdirSync(join(root, name));
  return (...names) => join(root, ...names);
}

/** A small PDF with a classic cross-reference table, or with object streams. */
export async function plainPdf({ text = "Page", pages = 1, useObjectStreams = false } = {}): Promise<Buffer> {
  const pdf = await PDFDocument.create();
  for (let n = 1; n <= pages; n++) pdf.addPage([300, 200]).drawText(`${text} ${n}`, { x: 20, y: 100, size: 12 });
  return Buffer.from(await pdf.save({ useObjectStreams }));
}

/** Runs a program of others. `undefined` when this machine does not have it. */
export function tool(name: string, ...args: string[]): { status: number | null; output: string } | undefined {
  const { status, stdout, stderr, error } = spawnSync(name, args, { encoding: "utf8" });
  return error ? undefined : { status, output: `${stdout}${stderr}` };
}

/** What qpdf makes of a PDF; `undefined` without qpdf. */
export function byQpdf(dir: string, pdf: Buffer, ...options: string[]): Buffer | undefined {
  const from = join(dir, "before-qpdf.pdf");
  const to = join(dir, "after-qpdf.pdf");
  writeFileSync(from, pdf);
  return tool("qpdf", ...options, from, to) && readFileSync(to);
}

export function factsOf(bytes: Uint8Array): { sizeBytes: number; sha256: string } {
  return { sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** Signs PDFs as the simulator does for everybody: through its calls; `options` say how. */
export async function startSigner(options: SimulatorOptions = {}) {
  const simulator = await startSimulator({ otpGuardMs: 0, ...options });
  const post = async (path: string, body?: object) => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(simulator.url + path, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
    return (await answer.json()) as { detail: { request_pk: number; videoid_pk: number } };
  };
  return {
    async sign(original: Uint8Array): Promise<Buffer> {
      const account = { registration_authority: "1", profile: "P", billing_username: "b", billing_password: "cA==" };
      const person = { email: "ana@example.com", mobile_phone_number: "+34699000111" };
      const { request_pk: pk, videoid_pk: videoid } = (await post("/videoid", { ...person, ...account })).detail;
      simulator.identify(pk, "complete");
      await post(`/videoid/${videoid}/approve`, { username: "1", password: "p", pin: "p", rao: "1" });
      const form = new FormData();
      form.set("file", new Blob([new Uint8Array(original)], { type: "application/pdf" }), "original.pdf");
      const uploaded = await fetch(`${simulator.url}/document/${pk}`, { method: "POST", body: form });
      const { detail } = (await uploaded.json()) as { detail: { uid: string } };
      await post(`/otp/${pk}`);
      await post(`/sign/${pk}`, { secret: simulator.codeOf(pk) });
      const signed = await fetch(`${simulator.url}/document/${pk}/signed/${detail.uid}`);
      if (signed.status !== 200) throw new Error(`the simulator signed nothing: ${await signed.text()}`);
      return Buffer.from(await signed.arrayBuffer());
    },
    /** The certificate of its authority, as PEM. */
    ca: () => readFileSync(join(simulator.dataDir, "ca.pem"), "utf8"),
    close: () => simulator.close(),
  };
}
