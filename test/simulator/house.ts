import { spawnSync } from "node:child_process";
import { PDFDocument, StandardFonts } from "@cantoo/pdf-lib";
import { startSimulator } from "../../src/simulator/index.ts";
import type { Simulator, SimulatorOptions } from "../../src/simulator/index.ts";

export const SIGNER = {
  mobile_phone_number: "+34699999999",
  email: "signer@example.com",
  registration_authority: "44",
  profile: "PFnubeQAFCiudadano",
  billing_username: "billing@example.com",
  billing_password: "c2VjcmV0",
};
export const RAO = { username: "1000001", password: "example-password", pin: "example-pin", rao: "1400" };

/** What a call answered; tests look into it freely. */
export type Json = { [key: string]: unknown; details?: { [key: string]: unknown } };
type Answer = { status: number; body: Json; headers: Headers };
export type Uploaded = { name: string; uid: string };

/** A running simulator and short ways to call it. */
export type House = {
  simulator: Simulator;
  call: (method: string, path: string, body?: unknown) => Promise<Answer>;
  upload: (pk: number, files: Record<string, Uint8Array>) => Promise<Answer>;
  download: (path: string) => Promise<Buffer>;
  create: () => Promise<{ request_pk: number; videoid_pk: number; videoid_link: string }>;
  /** A request in ENROLLREADY. */
  ready: () => Promise<{ pk: number; videoidPk: number }>;
  /** A request in ENROLLREADY with these documents, and its last code. */
  armed: (...files: Uint8Array[]) => Promise<{ pk: number; uids: string[]; secret: string }>;
  effects: (pk?: number) => string[];
};

export async function startHouse(options: SimulatorOptions = {}): Promise<House> {
  const simulator = await startSimulator(options);
  const call: House["call"] = async (method, path, body) => {
    const sent =
      body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    const answer = await fetch(path.startsWith("/_sim") ? simulator.origin + path : simulator.url + path, {
      method,
      ...sent,
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json");
    return { status: answer.status, headers: answer.headers, body: isJson ? JSON.parse(text) : text };
  };
  const upload: House["upload"] = async (pk, files) => {
    const form = new FormData();
    for (const [part, bytes] of Object.entries(files)) {
      form.append(part, new Blob([Buffer.from(bytes)], { type: "application/pdf" }), `${part}.pdf`);
    }
    const answer = await fetch(`${simulator.url}/document/${pk}`, { method: "POST", body: form });
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Json };
  };
  const create: House["create"] = async () => {
    const { body } = await call("POST", "/videoid", SIGNER);
    return (body as { detail: Awaited<ReturnType<House["create"]>> }).detail;
  };
  const ready: House["ready"] = async () => {
    const { request_pk: pk, videoid_pk: videoidPk } = await create();
    simulator.identify(pk, "complete");
    await call("POST", `/videoid/${videoidPk}/approve`, RAO);
    return { pk, videoidPk };
  };
  return {
    simulator,
    call,
    upload,
    create,
    ready,
    async download(path) {
      const answer = await fetch(simulator.url + path);
      if (answer.status !== 200) throw new Error(`GET ${path} answered ${answer.status}`);
      return Buffer.from(await answer.arrayBuffer());
    },
    async armed(...files) {
      const { pk } = await ready();
      const uids: string[] = [];
      for (const file of files) {
        const { body } = await upload(pk, { file });
        uids.push((body as { detail: Uploaded }).detail.uid);
      }
      await call("POST", `/otp/${pk}`);
      return { pk, uids, secret: simulator.codeOf(pk) ?? "" };
    },
    effects: (pk) =>
      simulator.ledger.filter((entry) => pk === undefined || entry.request_pk === pk).map((entry) => entry.effect),
  };
}

/** A PDF of one or more pages; object streams and a cross-reference stream, or the classic table. */
export async function samplePdf({ pages = 1, useObjectStreams = false, text = "Page" } = {}): Promise<Buffer> {
  const document = await PDFDocument.create();
  const font = await document.embedFont(StandardFonts.Helvetica);
  for (let i = 1; i <= pages; i++) document.addPage([595, 842]).drawText(`${text} ${i}`, { x: 60, y: 740, font });
  return Buffer.from(await document.save({ useObjectStreams }));
}

/** Whether a foreign tool is installed; a test that needs it says so and leaves out only its check. */
export function hasTool(name: string): boolean {
  const there = spawnSync(name, ["--version"]).error === undefined;
  if (!there) process.stderr.write(`${name} is not installed: its check is left out\n`);
  return there;
}

/** Runs a tool and returns what it printed on both streams. */
export function run(name: string, ...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(name, args, { encoding: "utf8" });
  return { status, output: `${stdout}${stderr}` };
}

/** Polls until the condition holds; fails with `what` after 5 seconds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 5_000; Date.now() < deadline;) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`not reached within 5 s: ${what}`);
}
