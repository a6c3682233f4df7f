import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { samplePdf, startHouse } from "../helpers/house.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const run = promisify(execFile);
const NPM = ["--offline", "--no-audit", "--no-fund", "--loglevel=error"];
/** What the package is made of; the tools come from where they are installed already. */
const SOURCES = ["package.json", "tsconfig.json", "tsconfig.client.json", "src/client", "scripts", "docs/client.md"];

let folder: string;
let tarball: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "signpipe-package-"));
  const clone = join(folder, "clone");
  for (const path of SOURCES) cpSync(join(ROOT, path), join(clone, path), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"));
  const before = readFileSync(join(clone, "package.json"), "utf8");
  await run("npm", ["pack", ...NPM], { cwd: clone, timeout: 60_000 });
  expect(readFileSync(join(clone, "package.json"), "utf8"), "package.json after the packing").toBe(before);
  tarball = join(clone, readdirSync(clone).find((name) => name.endsWith(".tgz")) ?? "none.tgz");
  return () => rmSync(folder, { recursive: true, force: true });
});

/** An empty project in which the package is installed, and nothing else. */
async function emptyProject(): Promise<string> {
  const project = mkdtempSync(join(folder, "project-"));
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  await run("npm", ["install", ...NPM, tarball], { cwd: project, timeout: 60_000 });
  return project;
}

/** What the compiler says of a file of the project; nothing when it is right. */
async function compile(project: string, file: string, options: string[]): Promise<string> {
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"];
  return await run(process.execPath, [tsc, ...strict, ...options, file], { cwd: project, timeout: 60_000 }).then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout,
  );
}

const NODE_TYPES = ["--typeRoots", join(ROOT, "node_modules", "@types"), "--types", "node", "--lib", "es2023"];

test("the package has the client and its manual, depends on nothing, and is installed without a network", async () => {
  const project = await emptyProject();
  const installed = join(project, "node_modules", "signpipe");
  expect(readdirSync(join(project, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["signpipe"]);
  expect(readdirSync(installed).sort()).toEqual(["dist", "docs", "package.json"]);
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as Record<string, unknown>;
  expect(Object.keys(manifest)).not.toEqual(expect.arrayContaining(["dependencies"]));
  expect(manifest).toMatchObject({ name: "signpipe", type: "module", private: true });
});

test("its types stand by themselves, with and without those of Node, and refuse what the API would refuse", async () => {
  const project = await emptyProject();
  writeFileSync(
    join(project, "right.ts"),
    `import { type Batch, type BatchLine, type Notification, type Request } from "signpipe/client";
import { createClient, SignpipeError, verifyNotification } from "signpipe/client";
const client = createClient({ url: "http://127.0.0.1:1", key: "k" });
export const request: Promise<Request> = client.wait("req-1", { until: { waiting_for: ["code", "another code"] } });
export const state = (seen: Request): "done" | undefined => (seen.state === "done" ? seen.state : undefined);
export const isBusy = (error: unknown): boolean => error instanceof SignpipeError && error.code === "too-busy";
export const told: Notification["data"] = verifyNotification({ headers: new Headers(), body: "", secret: "whsec_" }).data;
const line: BatchLine = { files: ["lease.pdf"], email: "ana@example.com", identity: { video: "ana.mp4" } };
export const batch: Promise<Batch> = client.batches
  .submit({ rows: [line] }, ["lease.pdf"], { canary: true })
  .then(({ batch: { id } }) => client.batches.wait(id));
`,
  );
  expect(await compile(project, "right.ts", [])).toBe("");
  expect(await compile(project, "right.ts", NODE_TYPES)).toBe("");
  writeFileSync(
    join(project, "wrong.ts"),
    `import { createClient } from "signpipe/client";
const client = createClient({ url: "http://127.0.0.1:1", key: "k" });
void client.submit({ signer: { email: "ana@example.com" } }, ["lease.pdf"]);
void client.list({ state: "finished" });
void client.wait("req-1", { until: { waiting_for: "aproval" } });
void client.batches.submit({ rows: [{ email: "ana@example.com" }] }, []);
`,
  );
  const said = await compile(project, "wrong.ts", []);
  expect(said.match(/^wrong\.ts\(\d+/gm)).toEqual(["wrong.ts(3", "wrong.ts(4", "wrong.ts(5", "wrong.ts(6"]);
});

/** The blocks of the manual that are meant to be run, as one module, with the people that they speak of. */
function manual(): string {
  const text = readFileSync(join(ROOT, "docs/client.md"), "utf8");
  const blocks = [...text.matchAll(/^<!-- run -->\n\n```ts\n([^]*?)^```$/gm)].map(([, block = ""]) => block);
  expect(blocks).toHaveLength(text.match(/^```ts$/gm)?.length ?? 0);
  const people = `
async function playSigner(link: string | undefined): Promise<void> {
  await fetch(link ?? "", { method: "POST", body: new URLSearchParams({ outcome: "complete" }) });
}
async function readCode({ request_pk }: { request_pk?: number | undefined }): Promise<string> {
  const sent = await fetch(\`\${process.env["SIMULATOR"]}/outbox?request_pk=\${request_pk}\`);
  const codes = (await sent.json()) as { code: string }[];
  return codes.at(-1)?.code ?? "";
}
receiver.close();
`;
  return blocks.join("\n") + people;
}

test("what docs/client.md shows compiles, and takes a document from submission to its signed PDF", async () => {
  const [project, house] = await Promise.all([emptyProject(), startHouse()]);
  onTestFinished(() => rmSync(project, { recursive: true, force: true }));
  writeFileSync(join(project, "manual.ts"), manual());
  expect(await compile(project, "manual.ts", NODE_TYPES)).toBe("");
  for (const name of ["lease.pdf", "rules.pdf"]) writeFileSync(join(project, name), await samplePdf());
  const env = {
    PATH: process.env["PATH"],
    SIGNPIPE: house.api,
    SIGNPIPE_KEY: house.keyRing.apiKeys[0]?.secret,
    SIMULATOR: `${house.simulator.origin}/_sim`,
  };
  const { stdout } = await run(process.execPath, ["manual.ts"], { cwd: project, env, timeout: 60_000 });
  const signed = readFileSync(join(project, "lease.signed.pdf"));
  expect(signed.toString("latin1")).toContain("/ByteRange");
  expect(stdout).toContain(createHash("sha256").update(signed).digest("hex"));
  expect(stdout).toContain("over: done");
  expect(stdout).toMatch(/^409 .* c-[0-9a-f]{16}$/m);
  expect(stdout.match(/^to be identified: loan-204[12] true$/gm)).toHaveLength(2);
  expect(stdout).toContain("cancelled 2 of 2");
  expect(stdout.match(/^[12] cancelled/gm)).toHaveLength(2);
  expect(readFileSync(join(project, "results.csv"), "utf8").trim().split("\n")).toHaveLength(3);
  expect(stdout).not.toMatch(/ana@example.com|eva@example.com/);
});
