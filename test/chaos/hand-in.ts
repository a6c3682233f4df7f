import { createHash } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { HandedIn } from "./evidence.ts";
import type { Random } from "./random.ts";

/** Between the documents of a request that come one by one; the third comes after twice as long again. */
const APART_MS = 600;

/** A request as the harness wants it, and how its people behave. */
export interface Wish extends HandedIn {
  phone: string;
  email: string;
  authentication: "sms" | "external";
  decision: "approve" | "refuse";
  /** Codes that are typed wrong before the right one. */
  wrongCodes: number;
  /** Somebody cancels it when it is seen waiting for this. */
  cancelAt: "identification" | "approval" | "code" | undefined;
  /** What somebody orders once, when it waits for the approval. */
  order?: "restart" | "correct" | undefined;
  bytes: Buffer[];
  /** Whom we identified ourselves, by these files; else the signer identifies on video. */
  identified?: {
    workflow: "videoid-external" | "classic";
    files: { role: string; name: string; bytes: Buffer }[];
  };
}

/** Without a look at `random`, so that everything else about a seed stays as it was. */
function orderOf(n: number): Wish["order"] {
  return n % 37 === 5 ? "restart" : n % 37 === 21 ? "correct" : undefined;
}

const sha256 = (data: Buffer | string) => createHash("sha256").update(data).digest("hex");

/** The requests of a run, all of them different. */
export function makeWishes(
  count: number,
  random: Random,
  { newOtp = 0, unusable = 0.01 }: { newOtp?: number; unusable?: number } = {},
): Wish[] {
  return Array.from({ length: count }, (_, n) => {
    const name = `case-${String(n).padStart(5, "0")}`;
    const roll = random.next();
    const usable = random.next() >= unusable;
    const documents = usable && random.next() < 0.15 ? random.between(2, 4) : 1;
    const bytes = Array.from({ length: documents }, (_, i) => makePdf(`${name} ${i} ${random.next()}`));
    if (!usable) bytes[0] = bytes[0]?.subarray(0, 200) ?? Buffer.alloc(0);
    const phone = `+3469${String(random.between(0, 99)).padStart(2, "0")}${String(n).padStart(5, "0")}`;
    const approval = random.next() < 0.5 ? "auto" : "manual";
    const way = !usable || random.next() < 0.5 ? "inbox" : "api";
    return {
      name,
      way,
      copies: way === "inbox" && usable && random.next() < 0.03 ? 2 : 1,
      usable,
      documents: bytes.map((one, i) => ({ name: `${name}-${i + 1}.pdf`, sha256: sha256(one) })),
      bytes,
      phone,
      phoneSha256: sha256(phone),
      email: `canary.${n}.${random.between(1000, 9999)}@example.com`,
      approval,
      authentication: random.next() < 0.2 && n >= newOtp ? "external" : "sms",
      decision: approval === "manual" && random.next() < 0.06 && n >= newOtp ? "refuse" : "approve",
      wrongCodes: n < newOtp ? 3 : random.next() < 0.06 ? random.between(1, 2) : 0,
      order: orderOf(n),
      isApart: way === "inbox" && documents > 1 && n % 2 === 0,
      cancelAt: roll < 0.04 && n >= newOtp ? random.pick(["identification", "approval", "code"] as const) : undefined,
    };
  });
}

/** A page with one line of text. @source ISO 32000-1 §7.5 */
export function makePdf(text: string): Buffer {
  const content = `BT /F1 12 Tf 40 200 Td (${text}) Tj ET`;
  const objects = [
    "<< /Type /Catalog /Pages 2 0 R >>",
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
  ];
  let pdf = "%PDF-1.7\n";
  const offsets = objects.map((object, i) => {
    const at = pdf.length;
    pdf += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return at;
  });
  const startxref = pdf.length;
  const rows = offsets.map((at) => `${String(at).padStart(10, "0")} 00000 n \n`).join("");
  pdf += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}`;
  pdf += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${startxref}\n%%EOF\n`;
  return Buffer.from(pdf, "latin1");
}

function manifestOf(wish: Wish): string {
  const { name, email, phone, authentication, approval } = wish;
  return JSON.stringify({
    reference: name,
    signer: { email, mobile_phone_number: phone },
    authentication:
      authentication === "sms" ? { method: "sms" } : { method: "external", type: "bank", value: `op-${name}` },
    approval,
    ...identityOf(wish),
  });
}

/** What else is said of a signer whom we identified ourselves. */
function identityOf({ name, email, phone, identified }: Wish): object {
  if (!identified) return {};
  const { workflow, files } = identified;
  const named = Object.fromEntries(files.map((file) => [file.role, file.name]));
  const person = { given_name: "Ana", surname_1: "Chaos", serial_number: `ID-${name}` };
  if (workflow === "videoid-external") return { workflow, identity: { ...named, ocr_data: person } };
  const signer = { email, mobile_phone_number: phone, ...person, id_document_type: "IDC", id_document_country: "ES" };
  return { workflow, signer, identity: named };
}

/** Drops a request into the inbox, as often as wished; the second time under another name. */
export async function drop(wish: Wish, inbox: string, stage: string): Promise<void> {
  for (let copy = 1; copy <= wish.copies; copy++) {
    const name = copy === 1 ? wish.name : `${wish.name}-again`;
    if (wish.isApart) {
      for (const [i, bytes] of wish.bytes.entries()) {
        if (i > 0) await pause(APART_MS * i);
        dropOne({ name: `${name}-${i + 1}`, bytes, manifest: manifestOf(wish) }, inbox, stage);
      }
      continue;
    }
    const isFolder = wish.bytes.length > 1;
    const to = join(inbox, name);
    // Put together elsewhere and renamed, as docs/inbox.md advises.
    const from = join(stage, name);
    if (isFolder) {
      mkdirSync(from);
      for (const [i, { name: file }] of wish.documents.entries()) writeFileSync(join(from, file), wish.bytes[i] ?? "");
      writeFileSync(join(from, "request.json"), manifestOf(wish));
      renameSync(from, to);
    } else dropOne({ name, bytes: wish.bytes[0] ?? Buffer.alloc(0), manifest: manifestOf(wish) }, inbox, stage);
    await pause(0);
  }
}

/** Drops a PDF with the file that says who signs it. */
function dropOne(
  { name, bytes, manifest }: { name: string; bytes: Buffer; manifest: string },
  inbox: string,
  stage: string,
): void {
  const [from, to] = [join(stage, name), join(inbox, `${name}.pdf`)];
  writeFileSync(from, bytes);
  writeFileSync(`${from}.json`, manifest);
  renameSync(`${from}.json`, `${to}.json`);
  renameSync(from, to);
}

/** Posts a request until it is accepted, with one Idempotency-Key. Its id; undefined when it is over before. */
export async function post(
  wish: Wish,
  api: { url: string; key: string },
  isOver: () => boolean,
): Promise<string | undefined> {
  while (!isOver()) {
    const form = new FormData();
    form.set("manifest", manifestOf(wish));
    for (const [i, { name }] of wish.documents.entries()) {
      form.append("file", new Blob([new Uint8Array(wish.bytes[i] ?? [])], { type: "application/pdf" }), name);
    }
    for (const { name, bytes } of wish.identified?.files ?? []) {
      form.append("enclosure", new Blob([new Uint8Array(bytes)]), name);
    }
    try {
      const answer = await fetch(`${api.url}/v1/requests`, {
        method: "POST",
        headers: { authorization: `Bearer ${api.key}`, "idempotency-key": wish.name },
        body: form,
        signal: AbortSignal.timeout(15_000),
      });
      if (answer.status === 202) return ((await answer.json()) as { id: string }).id;
      if (answer.status < 500 && answer.status !== 409 && answer.status !== 429) {
        throw new Error(`${wish.name} was answered ${answer.status}: ${await answer.text()}`);
      }
      await answer.body?.cancel();
    } catch (error) {
      if (error instanceof Error && error.message.includes("was answered")) throw error;
    }
    await pause(300);
  }
  return undefined;
}
