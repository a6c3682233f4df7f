import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { makeSamples } from "../../src/cli/samples.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;
const STEP_MS = 30_000;

interface Ended {
  exitCode: number | null;
  out: string;
  err: string;
}

let dir: string;
let env: NodeJS.ProcessEnv;
let started: ChildProcess;
let startedOut = "";
let simulator: string;
let pdf: string;

/** A command as a person runs it, in a process of its own. */
function signpipe(args: string[], stdin = ""): { child: ChildProcess; ended: Promise<Ended>; err: () => string } {
  const child = spawn(process.execPath, [CLI, ...args], { env, stdio: ["pipe", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdin?.end(stdin);
  const ended = new Promise<Ended>((resolve) => child.once("close", (exitCode) => resolve({ exitCode, out, err })));
  return { child, ended, err: () => err };
}

async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + STEP_MS;
  while (Date.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    await pause(50);
  }
  throw new Error(`${what} did not happen within ${STEP_MS / 1000} s`);
}

async function requestOf(
  reference: string,
): Promise<{ id: string; request_pk: number; waiting?: { for: string } } | undefined> {
  const { out } = await signpipe(["list", "--reference", reference, "--json"]).ended;
  return (JSON.parse(out) as { items: { id: string; request_pk: number; waiting?: { for: string } }[] }).items[0];
}

const waitsFor = (reference: string, what: string) =>
  until(`${reference} waits for ${what}`, async () => {
    const request = await requestOf(reference);
    return request?.waiting?.for === what ? request : undefined;
  });

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-cli-"));
  const { alone } = await makeSamples(new Date());
  pdf = join(dir, "lease.pdf");
  writeFileSync(pdf, alone.files[1]?.bytes ?? "");
  env = {
    PATH: process.env["PATH"],
    HOME: process.env["HOME"],
    DATA_DIR: join(dir, "data"),
    REDIS_URL: inject("redisUrl"),
    REDIS_PREFIX: `{test-${randomUUID().slice(0, 8)}}`,
    API_PORT: "0",
    LOG_LEVEL: "warn",
  };
  started = spawn(process.execPath, [CLI, "start"], { env, stdio: ["ignore", "pipe", "pipe"] });
  started.stdout?.on("data", (chunk: Buffer) => (startedOut += chunk.toString()));
  let said = "";
  started.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ready = await until("the start", () => {
    if (started.exitCode !== null) throw new Error(`start ended with ${started.exitCode}: ${said}`);
    return startedOut.includes("\n") ? (JSON.parse(startedOut) as { simulator: string }) : undefined;
  });
  simulator = new URL(ready.simulator).origin;
  await fetch(`${simulator}/_sim/settings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ humans: { signer: "auto", signerDelayMs: 50 } }),
  });
}, 60_000);

afterAll(async () => {
  if (started.exitCode === null) started.kill("SIGKILL");
  await until("the end of start", () => (started.exitCode !== null || started.signalCode !== null ? true : undefined));
  rmSync(dir, { recursive: true, force: true });
});

test("a document is submitted, approved, given its code and signed by commands alone; the waiting command ends with 0", async () => {
  const who = ["--email", "ana@example.com", "--phone", "+34600000000"];
  const waiting = signpipe(["submit", pdf, ...who, "--reference", "order-1", "--wait"]);
  await waitsFor("order-1", "approval");
  expect(await signpipe(["approve", "order-1"]).ended).toMatchObject({ exitCode: 0 });
  const { id, request_pk } = await waitsFor("order-1", "code");
  const messages = (await (await fetch(`${simulator}/_sim/outbox?request_pk=${request_pk}`)).json()) as {
    code: string;
  }[];
  expect(await signpipe(["code", id.slice(0, 12)], `${messages.at(-1)?.code ?? ""}\n`).ended).toMatchObject({
    exitCode: 0,
  });

  const { exitCode, out, err } = await waiting.ended;
  expect(err).toContain(`It is your turn: signpipe approve ${id}`);
  expect(err).toContain("Signed, after");
  expect({ exitCode, out }).toEqual({ exitCode: 0, out: `${id}\n` });
  const evidence = readFileSync(join(dir, "data", "signed", id, "evidence.json"), "utf8");
  expect(JSON.parse(evidence)).toMatchObject({ id, approval: { by: "api:admin" } });

  const shown = await signpipe(["show", "order-1"]).ended;
  expect(shown.out).toContain("lease.pdf  signed");
  expect(shown.out).toMatch(/approve .*by api:admin, approved/);
}, 90_000);

test("a refused identification ends the waiting command with 2", async () => {
  const manifest = join(dir, "request.json");
  const signer = { email: "ana@example.com", mobile_phone_number: "+34600000000" };
  writeFileSync(manifest, JSON.stringify({ signer, reference: "order-2" }));
  const waiting = signpipe(["submit", pdf, "--manifest", manifest, "--wait", "--json"]);
  await waitsFor("order-2", "approval");
  await signpipe(["refuse", "order-2", "--reason", "The photograph does not show the signer."]).ended;
  const { exitCode, out } = await waiting.ended;
  expect(exitCode).toBe(2);
  expect(JSON.parse(out)).toMatchObject({ state: "refused", reference: "order-2" });
}, 90_000);

test("doctor finds a running signpipe well, apart from a Redis that was told to keep nothing", async () => {
  const { out } = await signpipe(["doctor", "--json"]).ended;
  const { findings } = JSON.parse(out) as { findings: { check: string; level: string; says: string }[] };
  const failed = findings.filter(({ level }) => level === "fail").map(({ check }) => check);
  expect(failed).toEqual(["Redis persistence"]);
  expect(findings.find(({ check }) => check === "API")?.says).toContain("knows our key");
  expect(out).not.toContain(
    readFileSync(join(dir, "data", "keys", "api-keys"), "utf8")
      .trim()
      .split(":")[1],
  );
}, 60_000);

test("a second start on the same folder is refused, and workers alone may join", async () => {
  const second = await signpipe(["start"]).ended;
  expect(second).toMatchObject({ exitCode: 1, out: "" });
  expect(second.err).toContain("runs on");
  const { child, ended, err } = signpipe(["work", "sign", "upload"]);
  await until("the workers' word", () => (err().includes("Working on upload, sign") ? true : undefined));
  child.kill("SIGTERM");
  expect(await ended).toMatchObject({ exitCode: 0, out: "" });
}, 60_000);

test("start printed one line of JSON, and ends with 0 when it is asked to stop", async () => {
  started.kill("SIGTERM");
  expect(await new Promise((resolve) => started.once("exit", resolve))).toBe(0);
  expect(startedOut.trimEnd().split("\n")).toHaveLength(1);
  const { exitCode, err } = await signpipe(["list"]).ended;
  expect(exitCode).toBe(1);
  expect(err).toContain("No signpipe runs on");
}, 60_000);
