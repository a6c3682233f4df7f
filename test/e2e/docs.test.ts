import { execFile, spawnSync } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { type House, samplePdf, startHouse } from "../helpers/house.ts";
import { byOpenssl } from "../helpers/openssl.ts";

/** What the commands in the documents use beside the shell itself. */
const TOOLS = ["curl", "jq"];
const MOST_MS = 25_000;

interface HashFile {
  messageDigest: string;
}

/** The shell blocks of a document that are meant to be run, in order. */
function commandsOf(document: string): string[] {
  const text = readFileSync(new URL(`../../${document}`, import.meta.url), "utf8");
  return [...text.matchAll(/^<!-- run -->\n\n```sh\n([^]*?)^```$/gm)].map(([, commands = ""]) => commands);
}

/** Plays the signer, the officer and the phone for the request that comes of this document, until it has its code. */
async function playFor(house: House, document: string, { signal }: AbortController): Promise<void> {
  let wanted: string | undefined;
  while (!signal.aborted) {
    await setTimeout(100);
    const { items } = (await house.call("GET", "/v1/requests")).body as unknown as { items: Played[] };
    wanted ??= items.find(({ documents }) => documents[0]?.name === document)?.id;
    if (wanted === undefined) continue;
    const { waiting, videoid_link } = (await house.call("GET", `/v1/requests/${wanted}`)).body as unknown as Played;
    if (waiting?.for === "identification" && videoid_link !== undefined)
      await fetch(videoid_link, { method: "POST", body: new URLSearchParams({ outcome: "complete" }) });
    if (waiting?.for === "approval") await house.call("POST", `/v1/requests/${wanted}/approve`);
    if (waiting?.for !== "code") continue;
    await house.call("POST", `/v1/requests/${wanted}/code`, { secret: await house.codeFor(wanted) });
    return;
  }
}

interface Played {
  id: string;
  documents: { name: string }[];
  waiting?: { for: string };
  videoid_link?: string;
}

/**
 * Runs the blocks of a document one after the other in one shell, as a reader would; what is said to go the way of any
 * request, goes it. What they printed.
 */
async function runAsReader(
  document: string,
  goes?: string,
): Promise<{ output: string; blocks: number; folder: string; masterKey: Uint8Array }> {
  const house = await startHouse();
  const folder = await mkdtemp(join(tmpdir(), "signpipe-docs-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "lease.pdf"), await samplePdf());
  await cp(new URL("../../examples", import.meta.url), join(folder, "examples"), { recursive: true });
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
  const over = new AbortController();
  const played = goes === undefined ? undefined : playFor(house, goes, over);
  const output = await new Promise<string>((resolve, reject) => {
    const options = { cwd: folder, env, timeout: MOST_MS, killSignal: "SIGKILL" as const };
    execFile("sh", ["-eu", "-c", blocks.join("\n")], options, (error, stdout, stderr) => {
      if (error)
        reject(new Error(`The commands in ${document} fail (${error.code ?? "too slow"}):\n${stdout}${stderr}`));
      else resolve(stdout);
    });
  }).finally(() => over.abort());
  await played;
  return { output, blocks: blocks.length, folder, masterKey };
}

const missingHere = [...TOOLS, "openssl"].filter((tool) => spawnSync(tool, ["version"], { stdio: "ignore" }).error);

test.skipIf(missingHere.length > 0)(
  "the commands in docs/api.md take a document from submission to its signed PDF",
  async () => {
    const { output, blocks, folder, masterKey } = await runAsReader("docs/api.md", "measurements.csv");
    expect(blocks).toBeGreaterThanOrEqual(16);
    expect(readFileSync(join(folder, "lease.signed.pdf"), "latin1")).toContain("/ByteRange");
    // The digest the reader computes is the one that the request names.
    const [digest = ""] = /^[0-9a-f]{64}(?= )/m.exec(output) ?? [];
    expect(output.split(digest)).toHaveLength(3);
    expect(output).toContain('"code": "invalid-manifest"');
    // The hash that the reader puts together is that of the same file, signed apart.
    const { messageDigest } = JSON.parse(readFileSync(join(folder, "measurements.csv.hash.json"), "utf8")) as HashFile;
    const measured = readFileSync(join(folder, "examples/hash/measurements.csv"));
    expect(Buffer.from(messageDigest, "base64").subarray(-32)).toEqual(createHash("sha256").update(measured).digest());
    expect(byOpenssl(join(folder, "measurements.csv.p7m"), measured, folder)).toBe("valid");
    const callbackKey = createHmac("sha256", masterKey).update("callbacks").digest("base64");
    expect(output).toContain(`whsec_${callbackKey}\n`);
  },
);

test("every command in docs/api.md is run, but for the two variables that the test gives it", () => {
  const text = readFileSync(new URL("../../docs/api.md", import.meta.url), "utf8");
  const all = [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, commands = ""]) => commands);
  expect(all.filter((one) => !commandsOf("docs/api.md").includes(one))).toEqual([
    expect.stringMatching(/^export SIGNPIPE=.*\nexport SIGNPIPE_KEY=.*\n$/),
  ]);
});

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
