import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { verifyDetachedFile, verifySignedPdf } from "../files/verify.ts";
import type { Request } from "./client.ts";

const run = promisify(execFile);

interface Judge {
  name: string;
  /** What says that this program is here, and what it then says of itself. */
  version: { arg: string; says?: RegExp };
  /** Of signatures in PDFs, or of those apart (CMS). */
  of: "pdf" | "cms";
  args(signed: string, original: string): string[];
  accepts(text: string): boolean;
}

/** Programs of others that judge a signature, when they are on this machine. */
const JUDGES: readonly Judge[] = [
  {
    name: "pdfsig",
    version: { arg: "--version" },
    of: "pdf",
    // Without the certificate's chain: the simulator's authority is trusted by nobody, and rightly so.
    args: (signed) => ["-nocert", signed],
    accepts: (text) => /Signature is Valid/.test(text) && !/is Invalid/.test(text),
  },
  {
    name: "qpdf",
    version: { arg: "--version" },
    of: "pdf",
    args: (signed) => ["--check", signed],
    accepts: () => true,
  },
  {
    name: "openssl",
    // What goes by this name elsewhere may know nothing of CMS.
    version: { arg: "version", says: /^OpenSSL / },
    of: "cms",
    args: (signed, original) => {
      const given = ["-inform", "DER", "-in", signed, "-content", original, "-binary"];
      return ["cms", "-verify", ...given, "-noverify", "-out", devNull];
    },
    accepts: () => true,
  },
];
const JUDGE_MS = 20_000;

const Evidence = z.looseObject({
  documents: z.array(
    z.looseObject({ name: z.string(), sha256: z.string(), signed: z.looseObject({ name: z.string() }).optional() }),
  ),
});

/** A signed document and who found it good. */
export interface Checked {
  document: string;
  path: string;
  by: string[];
  /** Sentences about what is wrong with it. */
  problems: string[];
}

/** The programs among JUDGES that this machine has. */
export async function findJudges(): Promise<string[]> {
  const found = await Promise.all(
    JUDGES.map(async ({ name, version: { arg, says } }) => {
      const there = await run(name, [arg], { timeout: JUDGE_MS }).then(
        ({ stdout }) => says?.test(stdout) ?? true,
        (error: NodeJS.ErrnoException) => !says && error.code !== "ENOENT" && error.code !== "EACCES",
      );
      return there ? [name] : [];
    }),
  );
  return found.flat();
}

/**
 * Checks the signed documents of a request that is done, against the originals: ours first, then the programs in
 * `judges`.
 */
export async function checkSigned(
  request: Request,
  { folder, originals, judges }: { folder: string; originals: ReadonlyMap<string, Uint8Array>; judges: string[] },
): Promise<Checked[]> {
  const evidence = Evidence.parse(JSON.parse(readFileSync(join(folder, "evidence.json"), "utf8")));
  const checked: Checked[] = [];
  for (const { name, sha256, signed_sha256 } of request.documents) {
    const file = evidence.documents.find((one) => one.sha256 === sha256)?.signed?.name;
    const one: Checked = { document: name, path: join(folder, file ?? ""), by: [], problems: [] };
    checked.push(one);
    if (file === undefined) {
      one.problems.push("evidence.json names no signed file");
      continue;
    }
    if ((await digestOf(one.path)) !== signed_sha256) one.problems.push("the file is not the one the API tells of");
    const original = originals.get(name) ?? new Uint8Array();
    const kind = one.path.endsWith(".p7m") ? "cms" : "pdf";
    const sound =
      kind === "cms"
        ? verifyDetachedFile(one.path, { algorithm: "sha256", value: toOriginal(original).sha256 })
        : verifySignedPdf({ signedPath: one.path, original: toOriginal(original), incremental: true });
    await sound.then(
      () => one.by.push("signpipe"),
      (error: unknown) => one.problems.push(error instanceof Error ? error.message : String(error)),
    );
    for (const judge of JUDGES) {
      if (!judges.includes(judge.name) || judge.of !== kind) continue;
      const verdict = await withFile(original, (path) => ask(judge.name, judge.args(one.path, path)));
      if (verdict.code === 0 && judge.accepts(verdict.text)) one.by.push(judge.name);
      else one.problems.push(`${judge.name} does not accept it: ${firstLine(verdict.text)}`);
    }
  }
  return checked;
}

/** What we dropped, by our own reckoning: a file that is missing here is an empty one, which nothing continues. */
function toOriginal(bytes: Uint8Array): { sizeBytes: number; sha256: string } {
  return { sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** What a program reads that judges a signature apart: the content, in a file that goes again. */
async function withFile<T>(bytes: Uint8Array, act: (path: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-demo-check-"));
  try {
    const path = join(dir, "content");
    writeFileSync(path, bytes);
    return await act(path);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function ask(program: string, args: string[]): Promise<{ code: number; text: string }> {
  try {
    const { stdout, stderr } = await run(program, args, { timeout: JUDGE_MS });
    return { code: 0, text: `${stdout}${stderr}` };
  } catch (error) {
    const { code, stdout = "", stderr = "" } = error as { code?: unknown; stdout?: string; stderr?: string };
    return { code: typeof code === "number" ? code : -1, text: `${stderr}${stdout}` };
  }
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "no answer";
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex");
}
