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

/** What a classic creation says of its signer. */
export const PERSON = {
  given_name: "Ana",
  surname_1: "López",
  surname_2: "Ruiz",
  id_document_type: "IDC",
  id_document_country: "ES",
  serial_number: "12345678Z",
};

/** Bytes that begin as such pictures do. */
export const JPEG = Buffer.from("ffd8ffe000104a46494600010100000100010000ffd9", "hex");
export const PNG = Buffer.from("89504e470d0a1a0a0000000d4948445200000004000000020802000000", "hex");
export const MP4 = Buffer.concat([Buffer.from([0, 0, 0, 24]), Buffer.from("ftypmp42"), Buffer.alloc(64, 7)]);

/** What a call answered; tests look into it freely. */
export type Json = { [key: string]: unknown; details?: { [key: string]: unknown } };
export type Answer = { status: number; body: Json; headers: Headers };
type Part = { bytes: Uint8Array; type: string; name?: string };
export type Uploaded = { name: string; uid: string };

/** A running simulator and short ways to call it. */
export type House = {
  simulator: Simulator;
  call: (method: string, path: string, body?: unknown) => Promise<Answer>;
  upload: (pk: number, files: Record<string, Uint8Array>) => Promise<Answer>;
  download: (path: string) => Promise<Buffer>;
  /** Sends a form; files are bytes, everything else is text. */
  form: (path: string, parts: Record<string, string | Uint8Array | Part>) => Promise<Answer>;
  create: () => Promise<{ request_pk: number; videoid_pk: number; videoid_link: string }>;
  /** A classic request; `change` takes parts away with undefined. */
  classic: (change?: Record<string, string | Uint8Array | undefined>) => Promise<Answer>;
  /** The number of a classic request in ENROLLREADY. */
  classicPk: (change?: Record<string, string>) => Promise<number>;
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
    const answer = await fetch(addressOf(simulator, path), {
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
  const form: House["form"] = async (path, parts) => {
    const body = new FormData();
    for (const [name, part] of Object.entries(parts)) {
      if (typeof part === "string") body.append(name, part);
      else {
        const { bytes, type, name: filename = name } = part instanceof Uint8Array ? { bytes: part, type: "" } : part;
        body.append(name, new Blob([Buffer.from(bytes)], { type }), filename);
      }
    }
    const answer = await fetch(addressOf(simulator, path), { method: "POST", body });
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Json };
  };
  const classic: House["classic"] = (change = {}) => {
    const { rao: _rao, ...officer } = RAO;
    const pictures = { document_front: JPEG, document_rear: PNG };
    const parts: NonNullable<typeof change> = { ...SIGNER, ...PERSON, ...officer, ...pictures, ...change };
    const there = Object.entries(parts).filter((part): part is [string, string | Uint8Array] => part[1] !== undefined);
    return form("/create", Object.fromEntries(there));
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
    form,
    classic,
    async classicPk(change) {
      const { body } = await classic(change);
      const { pk } = body.details as { pk: number };
      return pk;
    },
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

/** A path of the newest generation, of the first (`/api/v1/…`), or of the simulator itself. */
function addressOf(simulator: Simulator, path: string): string {
  return /^\/(_sim|control|api\/v1|oneshot)\b/.test(path) ? simulator.origin + path : simulator.url + path;
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
