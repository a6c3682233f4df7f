/**
 * A trial on a folder of PDFs: the program as `npm start` starts it, with a Redis and a data folder of its own, against
 * a provider that somebody else wrote. Everything goes through the inbox; codes come by the API.
 *
 *     node test/foreign/trial.ts --files DIR [--requests N] [--keep]
 *
 * Ends with 0 when nothing was lost, done twice, deleted too early or turned away without a reason.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { isEncrypted, judgesAreThere, signatureFault, structure } from "./judges.ts";
import { createWitness, type Expected, faultsIn } from "./ledger.ts";
import { type Provider, startProvider } from "./server.ts";
import { cannotSign, createAuthority } from "./signing.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const RAO = { rao: "1400", token: "trial-token-0123456789" };
/** Every tenth request is a folder with this many documents. */
const FOLDER_OF = 3;
const POLL_MS = 200;

interface Dropped {
  /** As it is called in the inbox. */
  name: string;
  files: string[];
  isFolder: boolean;
  email: string;
}
interface StatusFile {
  request_id?: string;
  state: string;
  failure?: { code: string; message: string };
}
interface Program {
  child: ChildProcess;
  api: string;
  key: string;
  dataDir: string;
  webhook: string;
  pid: number;
}

const ENDS = ["done", "refused", "cancelled", "expired", "failed", "duplicate", "unusable"];

/** PDFs below `dir`, `wanted` of them, spread evenly over the list. */
function choose(dir: string, wanted: number): string[] {
  const all = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.pdf$/i.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  if (all.length === 0) throw new Error(`There is no PDF in ${dir}: name a folder that has some with --files.`);
  return Array.from({ length: wanted }, (_, nth) => all[Math.floor((nth * all.length) / wanted)] ?? "");
}

function plan(dir: string, requests: number): Dropped[] {
  const folders = Math.floor(requests / 10);
  const files = choose(dir, requests + folders * (FOLDER_OF - 1));
  return Array.from({ length: requests }, (_, nth) => {
    const isFolder = nth % 10 === 9;
    const taken = files.splice(0, isFolder ? FOLDER_OF : 1);
    const number = String(nth).padStart(4, "0");
    const name = isFolder ? `${number} folder` : `${number} ${basename(taken[0] ?? "").replace(/\.pdf$/i, "")}.pdf`;
    return { name, files: taken, isFolder, email: `signer-${number}@example.com` };
  });
}

async function drop(inbox: string, { name, files, isFolder, email }: Dropped): Promise<void> {
  const manifest = JSON.stringify({ signer: { email, mobile_phone_number: "+34699000111" } });
  if (!isFolder) {
    await writeFile(join(inbox, `${name}.json`), manifest);
    await copyFile(files[0] ?? "", join(inbox, `${name}.part`));
    await rename(join(inbox, `${name}.part`), join(inbox, name));
    return;
  }
  await mkdir(join(inbox, name));
  for (const [nth, file] of files.entries()) await copyFile(file, join(inbox, name, `${nth} ${basename(file)}`));
  await writeFile(join(inbox, name, "request.json"), manifest);
  await writeFile(join(inbox, name, "_READY"), "");
}

async function startProgram(provider: Provider, dataDir: string): Promise<Program> {
  const { PATH = "", HOME = "" } = process.env;
  const env = {
    PATH,
    HOME,
    DATA_DIR: dataDir,
    API_PORT: "0",
    REDIS_URL: "",
    APPROVAL: "auto",
    LOG_LEVEL: "warn",
    // Nobody completes a cut file here, so it is not waited for as long.
    INBOX_SETTLE_MAX_MS: "20000",
    ONESHOT_URL: provider.url,
    ONESHOT_ENV: "sandbox",
    ONESHOT_REGISTRATION_AUTHORITY: "139",
    ONESHOT_PROFILE: "PFnubeQAFCiudadano",
    ONESHOT_BILLING_USERNAME: "trial",
    ONESHOT_BILLING_PASSWORD: "trial-password",
    ONESHOT_RAO: RAO.rao,
    ONESHOT_RAO_TOKEN: RAO.token,
  };
  const child = spawn("npm", ["start"], { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-20_000)));
  const api = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith("{")) resolve((JSON.parse(line) as { api: string }).api);
    });
    child.once("exit", () => reject(new Error(`npm start ended before it was ready:\n${said}`)));
  });
  const read = async (path: string): Promise<string> => (await readFile(join(dataDir, path), "utf8")).trim();
  const { pid } = JSON.parse(await read("run.json")) as { pid: number };
  const key = (await read("keys/api-keys")).split(/[,\n]/)[0]?.split(":")[1] ?? "";
  return { child, api, key, dataDir, pid, webhook: `${api}/webhooks/oneshot/${await read("keys/webhook-secret")}` };
}

async function call<Body>({ api, key }: Program, path: string, body?: object): Promise<{ status: number; body: Body }> {
  const headers = { authorization: `Bearer ${key}`, ...(body && { "content-type": "application/json" }) };
  const answer = await fetch(`${api}${path}`, {
    method: body ? "POST" : "GET",
    headers,
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Body };
}

interface Listed {
  id: string;
  request_pk?: number;
  videoid_link?: string;
  waiting?: { for: string };
}

/** Signers who identify and hand over their codes as soon as they are asked to. */
async function playSigners(program: Program, provider: Provider, identified: Set<string>): Promise<void> {
  for (let cursor: string | undefined = ""; cursor !== undefined;) {
    const query = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { body: { items: Listed[]; next_cursor: string | null } } = await call(
      program,
      `/v1/requests?state=waiting&limit=100${query}`,
    );
    for (const { id, request_pk: pk, videoid_link: link, waiting } of page.body.items) {
      if (waiting?.for === "identification" && link !== undefined && !identified.has(id)) {
        identified.add(id);
        provider.identify(link);
      }
      const secret = waiting?.for === "code" && pk !== undefined ? provider.codeOf(pk) : undefined;
      if (secret !== undefined) await call(program, `/v1/requests/${id}/code`, { secret });
    }
    cursor = page.body.next_cursor ?? undefined;
  }
}

function statusOf({ dataDir }: Program, { name }: Dropped): StatusFile | undefined {
  const path = join(dataDir, "status", `${name}.status.json`);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as StatusFile) : undefined;
}

async function untilAllEnded(program: Program, provider: Provider, all: Dropped[]): Promise<Map<Dropped, StatusFile>> {
  const late = Date.now() + 120_000 + all.length * 1_000;
  const identified = new Set<string>();
  const ended = new Map<Dropped, StatusFile>();
  for (;;) {
    await playSigners(program, provider, identified);
    for (const dropped of all) {
      const status = ended.has(dropped) ? undefined : statusOf(program, dropped);
      if (status && ENDS.includes(status.state)) ended.set(dropped, status);
    }
    if (ended.size === all.length || Date.now() > late) return ended;
    await pause(POLL_MS);
  }
}

/** Whether there is a reason for which a file could not be signed, by the opinion of others. */
async function isRightlyRefused(code: string, files: string[]): Promise<boolean> {
  const looks = await Promise.all(
    files.map(async (file) => {
      if (code === "pdf-encrypted") return isEncrypted(file);
      if (code === "unsupported-file") return cannotSign(await readFile(file)) !== undefined;
      return (await structure(file)) !== 0;
    }),
  );
  return looks.includes(true);
}

async function judgeDone(program: Program, dropped: Dropped, id: string): Promise<string[]> {
  const folder = join(program.dataDir, "signed", id);
  const signed = readdirSync(folder)
    .filter((name) => name.endsWith(".signed.pdf"))
    .sort();
  if (signed.length !== dropped.files.length) return [`${dropped.name}: ${signed.length} signed files`];
  const faults: string[] = [];
  for (const name of signed) {
    const path = join(folder, name);
    const original = dropped.isFolder ? dropped.files[Number(name.split(" ")[0])] : dropped.files[0];
    const [fault, before, after] = await Promise.all([
      signatureFault(path),
      structure(original ?? ""),
      structure(path),
    ]);
    if (fault !== undefined) faults.push(`${dropped.name}: ${name} ${fault}`);
    if (before === 0 && after !== 0) faults.push(`${dropped.name}: qpdf finds the original well, and ${name} not`);
  }
  return faults;
}

async function judge(program: Program, provider: Provider, ended: Map<Dropped, StatusFile>) {
  const faults: string[] = [];
  const reasons = new Map<string, string[]>();
  const expected: Expected[] = [];
  for (const [dropped, { state, failure, request_id: id }] of ended) {
    const outcome = state === "done" ? "done" : `${state}: ${failure?.code ?? "no reason"}`;
    reasons.set(outcome, [...(reasons.get(outcome) ?? []), `${dropped.name}: ${failure?.message ?? ""}`]);
    const pks = provider.pksOf(dropped.email);
    const [requestPk] = pks;
    if (pks.length > 1) faults.push(`${dropped.name}: ${pks.length} requests at the provider`);
    if (state !== "done" && !(await isRightlyRefused(failure?.code ?? "", dropped.files)))
      faults.push(`${dropped.name} (${dropped.files.join(", ")}): ${outcome}, and nothing is wrong with it`);
    if (state === "done") faults.push(...(await judgeDone(program, dropped, id ?? "")));
    if (requestPk === undefined) continue;
    const documents = await Promise.all(dropped.files.map((file) => readFile(file)));
    const count = documents.length;
    const done = { create: 1, approve: 1, upload: count, otp: 1, sign: 1, delete: count };
    expected.push({ requestPk, documents, effects: state === "done" ? done : { create: 1, approve: 1 } });
  }
  faults.push(...faultsIn(provider.ledger, expected));
  return { faults, reasons };
}

/** The most memory that the program had at once, in MiB, where the system tells. */
function peakMiB(pid: number): number | undefined {
  try {
    const kilobytes = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kilobytes === undefined ? undefined : Math.round(Number(kilobytes) / 1_024);
  } catch {
    return undefined;
  }
}

async function stopProgram({ child, pid }: Program): Promise<number | null> {
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  process.kill(pid, "SIGTERM");
  return ended;
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: { files: { type: "string" }, requests: { type: "string", default: "200" }, keep: { type: "boolean" } },
  });
  if (values.files === undefined) throw new Error("Name a folder with PDFs: --files DIR");
  if (!(await judgesAreThere())) throw new Error("pdfsig (poppler-utils) and qpdf are needed as judges: install them.");
  const all = plan(values.files, Number(values.requests));
  const dataDir = await mkdtemp(join(tmpdir(), "signpipe-trial-"));
  const authority = createAuthority();
  const witness = createWitness(() => join(dataDir, "signed"));
  const provider = await startProvider({
    authority,
    rao: RAO,
    readings: { webhooks: "new" },
    onEffect: witness.onEffect,
  });
  const program = await startProgram(provider, dataDir);
  provider.notify(program.webhook);

  const beganMs = Date.now();
  for (const dropped of all) await drop(join(dataDir, "inbox"), dropped);
  const ended = await untilAllEnded(program, provider, all);
  const tookMs = Date.now() - beganMs;
  const peak = peakMiB(program.pid);
  const exitCode = await stopProgram(program);

  const { faults, reasons } = await judge(program, provider, ended);
  for (const dropped of all) {
    if (ended.has(dropped)) continue;
    const { state, failure } = statusOf(program, dropped) ?? { state: "never seen" };
    faults.push(`${dropped.name} (${dropped.files.join(", ")}) has not ended: ${state} ${failure?.message ?? ""}`);
  }
  faults.push(...witness.lost());
  if (exitCode !== 0) faults.push(`the program ended with ${exitCode}`);
  await provider.close();
  authority.close();
  for (const [outcome, who] of reasons) {
    console.log(`${who.length} ${outcome}`);
    if (outcome !== "done") for (const one of who) console.log(`    ${one}`);
  }
  const documents = all.reduce((sum, { files }) => sum + files.length, 0);
  console.log(
    `${all.length} requests, ${documents} documents, ${(tookMs / 1_000).toFixed(1)} s, at most ${peak ?? "?"} MiB`,
  );
  console.log(
    `${provider.ledger.length} effects at the provider, ${witness.seen()} deletions looked into, ${provider.heldDocuments()} documents left there`,
  );
  for (const fault of faults) console.log(`FAULT ${fault}`);
  console.log(faults.length === 0 ? "No fault was found." : `${faults.length} faults were found.`);
  if (values.keep || faults.length > 0) console.log(`Kept: ${dataDir}`);
  else await rm(dataDir, { recursive: true, force: true });
  return faults.length === 0;
}

process.exitCode = (await main()) ? 0 : 1;
