import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PDFDocument } from "@cantoo/pdf-lib";
import { Redis } from "ioredis";
import { type App, createApp, type Doubles } from "../src/app.ts";
import { readSettings } from "../src/config.ts";
import { toRequestId } from "../src/core/request.ts";
import { findRedis, type RunningRedis } from "../src/embedded/redis.ts";
import { readKeys } from "../src/keys.ts";
import { createLog } from "../src/log.ts";
import type { Submission } from "../src/queues/pipeline-types.ts";
import { startSimulator } from "../src/simulator/index.ts";
import { writeBigPdf } from "./big.ts";

const undo: (() => unknown)[] = [];

/** Ends all that the benchmark started. */
export async function finish(): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step();
}

export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-bench-"));
  undo.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export async function startRedis({ keep = false } = {}): Promise<RunningRedis> {
  const ways = ["path", "debian", "docker"] as const;
  const redis = await findRedis({ url: process.env["REDIS_URL"], dir: scratch(), keep, env: process.env, ways });
  undo.push(() => redis.stop());
  return redis;
}

/** The value that so large a share of them does not exceed. */
export function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(Math.floor(values.length * share), values.length - 1)] ?? 0;
}

/** The most memory a process has had at once, in MB. @source proc(5), VmHWM */
export function peakOf(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kilobytes) * 1024) / 1e6;
}

/** What Redis uses, in bytes. */
export async function usedBytes(admin: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await admin.info("memory"))?.[1]);
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** Makes a document of one page. Its path. */
export async function smallPdf(dir: string): Promise<string> {
  const pdf = await PDFDocument.create();
  pdf.addPage([400, 300]).drawText("A small document", { x: 40, y: 200, size: 12 });
  const path = join(dir, "original.pdf");
  writeFileSync(path, await pdf.save({ useObjectStreams: false }));
  return path;
}

/** One document and what a provider would make of it, signed by the simulator. */
export async function sample(dir: string): Promise<{ original: string; signed: string; contract: string }> {
  return await signBySimulator(dir, await smallPdf(dir));
}

/** Has the simulator sign a file, by the calls of the workflow. */
export async function signBySimulator(
  dir: string,
  original: string,
): Promise<{ original: string; signed: string; contract: string }> {
  const simulator = await startSimulator({});
  const post = async (path: string, body: unknown) => {
    const answer = await fetch(`${simulator.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return (await answer.json()) as { detail: { request_pk: number; videoid_pk: number } };
  };
  const person = { email: "bench@example.com", mobile_phone_number: "+34699999999" };
  const account = { registration_authority: "1", profile: "P", billing_username: "b", billing_password: "cA==" };
  const { detail } = await post("/videoid", { ...person, ...account });
  simulator.identify(detail.request_pk, "complete");
  await post(`/videoid/${detail.videoid_pk}/approve`, { username: "1", password: "p", pin: "p", rao: "1" });
  const form = new FormData();
  form.set("file", new Blob([readFileSync(original)], { type: "application/pdf" }), "original.pdf");
  const uploaded = (await (
    await fetch(`${simulator.url}/document/${detail.request_pk}`, { method: "POST", body: form })
  ).json()) as { detail: { uid: string } };
  const contract = join(dir, "contract.pdf");
  const get = async (path: string) => Buffer.from(await (await fetch(`${simulator.url}${path}`)).arrayBuffer());
  writeFileSync(contract, await get(`/contract/${detail.request_pk}`));
  await post(`/otp/${detail.request_pk}`, {});
  await post(`/sign/${detail.request_pk}`, { secret: simulator.codeOf(detail.request_pk) });
  const signed = join(dir, "signed.pdf");
  writeFileSync(signed, await get(`/document/${detail.request_pk}/signed/${uploaded.detail.uid}`));
  await simulator.close();
  return { original, signed, contract };
}

/** The provider that costs nothing, in a process of its own. */
export async function startProvider(
  { signed, contract, original }: { signed: string; contract: string; original: string },
  latencyMs = 0,
  more: readonly "with-arrivals"[] = [],
): Promise<string> {
  const { port } = await startServer("./provider.ts", [signed, contract, original, String(latencyMs), ...more]);
  return `http://127.0.0.1:${port}/oneshot/api/v1`;
}

/** Starts a script of this folder that says where it listens; ended with the benchmark. */
export async function startServer(script: string, args: string[]): Promise<Server> {
  const command = [new URL(script, import.meta.url).pathname, ...args];
  const child: ChildProcess = spawn(process.execPath, command, { stdio: ["pipe", "pipe", "inherit"] });
  undo.push(async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.stdin?.end();
    await gone;
  });
  const line = await new Promise<string>((resolve, reject) => {
    if (child.stdout) createInterface({ input: child.stdout }).once("line", resolve);
    child.once("exit", () => reject(new Error(`${script} ended`)));
  });
  return { ...(JSON.parse(line) as Omit<Server, "pid">), pid: child.pid ?? 0 };
}

/** A script of this folder that listens; what else it said of itself. */
export interface Server {
  port: number;
  pid: number;
  secret?: string;
  prefix?: string;
}

/** Runs a program to its end, and fails when it does. */
export async function run(program: string, args: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  if (code !== 0) throw new Error(`${program} ended with ${String(code)}`);
}

/** A PDF of so many MiB, the same signed by the simulator, and a contract. */
export async function bigSample(dir: string, mebibytes: number): Promise<ReturnType<typeof namesIn>> {
  const names = namesIn(dir);
  writeBigPdf(names.original, mebibytes);
  await run(process.execPath, [new URL("./sign.ts", import.meta.url).pathname, dir, names.original]);
  return names;
}

function namesIn(dir: string) {
  return { original: join(dir, "original.pdf"), signed: join(dir, "signed.pdf"), contract: join(dir, "contract.pdf") };
}

/** The pipeline as it is deployed, with every queue and worker in this process. */
export async function startApp(
  redisUrl: string,
  oneshotUrl: string,
  more: Record<string, string> = {},
  doubles: Doubles = {},
): Promise<{ app: App; dataDir: string; prefix: string }> {
  const dataDir = more["DATA_DIR"] ?? scratch();
  const prefix = more["REDIS_PREFIX"] ?? `{bench-${randomBytes(4).toString("hex")}}`;
  const settings = readSettings(
    {
      DATA_DIR: dataDir,
      REDIS_PREFIX: prefix,
      APPROVAL: "auto",
      API_PORT: "0",
      ONESHOT_REGISTRATION_AUTHORITY: "1",
      ONESHOT_PROFILE: "P",
      ONESHOT_BILLING_USERNAME: "b",
      ONESHOT_BILLING_PASSWORD: "p",
      ONESHOT_RAO: "1",
      ONESHOT_RAO_USERNAME: "u",
      ONESHOT_RAO_PASSWORD: "p",
      ONESHOT_RAO_PIN: "p",
      ...more,
    },
    { envFile: "/nowhere" },
  );
  const keyRing = readKeys(settings);
  const app = createApp({ settings, keyRing, redisUrl, oneshotUrl, log: createLog("silent"), doubles });
  undo.push(() => app.close({ graceMs: 2_000 }));
  await app.ready();
  return { app, dataDir, prefix };
}

/** Settings that may be tried with other values than their defaults, as the environment has them. */
export function tried(): Record<string, string> {
  const names = ["CONCURRENCY", "ONESHOT_CONNECTIONS", "INBOX_SETTLE_MS"];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

/** A request as a producer hands it in, its document already in the store. */
export function submission(app: App, original: string, method: "sms" | "external", copy = false): Submission {
  const id = toRequestId(randomBytes(16));
  const folder = join(app.folders.work, id);
  mkdirSync(folder);
  const place = copy ? copyFileSync : linkSync;
  place(original, join(folder, "1.pdf"));
  return {
    id,
    workflow: "videoid",
    source: "api",
    documents: [{ id: `${id}/1.pdf`, name: "original.pdf", ...factsOf(original) }],
    signer: { email: `${id}@example.com`, mobile_phone_number: "+34699999999" }, // nobody's document twice
    authentication: method === "sms" ? { method } : { method, type: "bench", value: "v" },
    by: "bench",
  };
}

/** Hands requests in, fifty at a time. */
export async function submitAll(app: App, submissions: readonly Submission[]): Promise<void> {
  for (let i = 0; i < submissions.length; i += 50) {
    await Promise.all(submissions.slice(i, i + 50).map((one) => app.pipeline.submit(one)));
  }
}

const HEADER = "files,reference,email,mobile_phone_number,authentication,authentication_type,authentication_value";

/** Hands in a table with one document for many signers, numbered from `from`. Its id. */
export async function handInRows(
  { port, secret }: Server,
  { original, rows, from = 0 }: { original: string; rows: number; from?: number },
): Promise<string> {
  const lines = Array.from({ length: rows }, (_, i) => {
    const n = from + i;
    return `lease.pdf,bench-${n},bench-${n}@example.com,+346${String(10_000_000 + n)},external,bench,op-${n}`;
  });
  const form = new FormData();
  form.set("batch", new Blob([[HEADER, ...lines].join("\r\n")]), "batch.csv");
  form.append("file", new Blob([readFileSync(original)]), "lease.pdf");
  const answer = await fetch(`http://127.0.0.1:${port}/v1/batches`, {
    ...{ method: "POST", body: form, headers: { authorization: `Bearer ${secret}` } },
  });
  const body = (await answer.json()) as { batch?: { id: string } };
  if (!body.batch) throw new Error(`handing in was answered with ${answer.status}: ${JSON.stringify(body)}`);
  return body.batch.id;
}

/** What the API says of a batch. */
export async function batchOf(
  { port, secret }: Server,
  id: string,
): Promise<{ state: string; counts: Record<string, number> }> {
  const answer = await fetch(`http://127.0.0.1:${port}/v1/batches/${id}`, {
    headers: { authorization: `Bearer ${secret}` },
  });
  return (await answer.json()) as { state: string; counts: Record<string, number> };
}

const known = new Map<string, { sizeBytes: number; sha256: string }>();
function factsOf(path: string): { sizeBytes: number; sha256: string } {
  const facts = known.get(path) ?? {
    sizeBytes: statSync(path).size,
    sha256: createHash("sha256").update(readFileSync(path)).digest("hex"),
  };
  known.set(path, facts);
  return facts;
}

/** Counts the commands that this process sends to Redis, over all its connections. */
export function countCommands(): () => number {
  const prototype = Redis.prototype as unknown as { sendCommand(...args: unknown[]): unknown };
  const send = prototype.sendCommand;
  let count = 0;
  prototype.sendCommand = function (this: unknown, ...args: unknown[]) {
    count += 1;
    return send.apply(this, args);
  };
  return () => count;
}

export async function waitUntil(there: () => Promise<boolean>, everyMs = 20, withinMs = 300_000): Promise<void> {
  const late = Date.now() + withinMs;
  while (!(await there())) {
    if (Date.now() > late) throw new Error("the benchmark does not get on");
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** Resolves once `count` requests are done. */
export async function awaitDone(redis: Redis, prefix: string, count: number): Promise<void> {
  await waitUntil(async () => (await redis.zcard(`${prefix}:index:done`)) >= count);
}

/** Gives every signer's code as soon as it is waited for, until `done`. */
export async function giveCodes(app: App, redis: Redis, prefix: string, done: () => boolean): Promise<void> {
  const given = new Set<string>();
  while (!done()) {
    const waiting = await redis.zrange(`${prefix}:index:waiting`, "0", "-1");
    const fresh = waiting.filter((id) => !given.has(id));
    await Promise.all(
      fresh.map(async (id) => {
        try {
          await app.pipeline.giveCode(id, "123456", "bench");
          given.add(id);
        } catch {
          // it waits for something else still
        }
      }),
    );
    if (fresh.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
