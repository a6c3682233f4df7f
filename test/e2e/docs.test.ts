import { execFile, spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { samplePdf, startHouse } from "../helpers/house.ts";

/** What the commands in the documents use beside the shell itself. */
const TOOLS = ["curl", "jq"];
const missing = TOOLS.filter((tool) => spawnSync(tool, ["--version"], { stdio: "ignore" }).status !== 0);
const MOST_MS = 18_000;

/** The shell blocks of a document that are meant to be run, in order. */
function commandsOf(document: string): string[] {
  const text = readFileSync(new URL(`../../${document}`, import.meta.url), "utf8");
  return [...text.matchAll(/^<!-- run -->\n\n```sh\n([^]*?)^```$/gm)].map(([, commands = ""]) => commands);
}

/** Runs the blocks of a document one after the other in one shell, as a reader would. What they printed. */
async function runAsReader(
  document: string,
): Promise<{ output: string; blocks: number; folder: string; masterKey: Uint8Array }> {
  const house = await startHouse();
  const folder = await mkdtemp(join(tmpdir(), "signpipe-docs-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "lease.pdf"), await samplePdf());
  const { masterKey } = house.keyRing;
  await mkdir(join(folder, "data", "keys"), { recursive: true });
  await writeFile(join(folder, "data", "keys", "master-key"), Buffer.from(masterKey).toString("base64"));
  const blocks = commandsOf(document);
  const env = {
    ...process.env,
    SIGNPIPE: house.api,
    SIGNPIPE_KEY: house.keyRing.apiKeys[0]?.secret ?? "",
    SIMULATOR: `${house.simulator.origin}/_sim`,
    ONESHOT: house.simulator.url,
  };
  const output = await new Promise<string>((resolve, reject) => {
    const options = { cwd: folder, env, timeout: MOST_MS, killSignal: "SIGKILL" as const };
    execFile("sh", ["-eu", "-c", blocks.join("\n")], options, (error, stdout, stderr) => {
      if (error)
        reject(new Error(`The commands in ${document} fail (${error.code ?? "too slow"}):\n${stdout}${stderr}`));
      else resolve(stdout);
    });
  });
  return { output, blocks: blocks.length, folder, masterKey };
}

test.skipIf(missing.length > 0)(
  "the commands in docs/api.md take a document from submission to its signed PDF",
  async () => {
    const { output, blocks, folder, masterKey } = await runAsReader("docs/api.md");
    expect(blocks).toBeGreaterThanOrEqual(9);
    expect(readFileSync(join(folder, "lease.signed.pdf"), "latin1")).toContain("/ByteRange");
    // The digest the reader computes is the one that the request names.
    const [digest = ""] = /^[0-9a-f]{64}(?= )/m.exec(output) ?? [];
    expect(output.split(digest)).toHaveLength(3);
    expect(output).toContain('"code": "invalid-manifest"');
    const callbackKey = createHmac("sha256", masterKey).update("callbacks").digest("base64");
    expect(output).toContain(`whsec_${callbackKey}\n`);
  },
);

test.skipIf(missing.length > 0)("the commands in README.md hand in a document", async () => {
  const { output } = await runAsReader("README.md");
  expect(JSON.parse(output)).toMatchObject({ state: "queued" });
});

const missingHere = [...TOOLS, "openssl"].filter((tool) => spawnSync(tool, ["version"], { stdio: "ignore" }).error);

test.skipIf(missingHere.length > 0)(
  "the commands in docs/simulator.md sign a PDF and a hash, and make the simulator fail",
  async () => {
    const { output, blocks, folder } = await runAsReader("docs/simulator.md");
    expect(blocks).toBeGreaterThanOrEqual(8);
    for (const name of ["lease.signed.pdf", "contract.pdf"])
      expect(readFileSync(join(folder, name), "latin1")).toMatch(/^%PDF-/);
    expect(readFileSync(join(folder, "lease.signed.pdf"), "latin1")).toContain("/ByteRange");
    expect(output).toContain("VIDEOREVIEW");
    expect(output).toContain("Documents correctly signed");
    expect(output).toMatch(/^fastapi$/m);
    const effects = ["create", "identify", "approve", "upload", "contract", "otp", "sign"];
    expect(output).toContain([...effects, "download-signed", "delete-document"].join("\n"));
  },
);
