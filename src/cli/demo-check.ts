import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { verifySignedPdf } from "../files/verify.ts";
import type { Request } from "./client.ts";

const run = promisify(execFile);

/** Programs of others that judge a signed PDF, when they are on this machine. */
const JUDGES = [
  // Without the certificate's chain: the simulator's authority is trusted by nobody, and rightly so.
  {
    name: "pdfsig",
    args: ["-nocert"],
    accepts: (text: string) => /Signature is Valid/.test(text) && !/is Invalid/.test(text),
  },
  { name: "qpdf", args: ["--check"], accepts: () => true },
] as const;
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
    JUDGES.map(async ({ name }) => {
      const there = await run(name, ["--version"], { timeout: JUDGE_MS }).then(
        () => true,
        (error: NodeJS.ErrnoException) => error.code !== "ENOENT" && error.code !== "EACCES",
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
    await verifySignedPdf({ signedPath: one.path, original: toOriginal(originals.get(name)), incremental: true }).then(
      () => one.by.push("signpipe"),
      (error: unknown) => one.problems.push(error instanceof Error ? error.message : String(error)),
    );
    for (const judge of JUDGES) {
      if (!judges.includes(judge.name)) continue;
      const verdict = await ask(judge.name, [...judge.args, one.path]);
      if (verdict.code === 0 && judge.accepts(verdict.text)) one.by.push(judge.name);
      else one.problems.push(`${judge.name} does not accept it: ${firstLine(verdict.text)}`);
    }
  }
  return checked;
}

/** What we dropped, by our own reckoning: a file that is missing here is an empty one, which nothing continues. */
function toOriginal(bytes: Uint8Array = new Uint8Array()): { sizeBytes: number; sha256: string } {
  return { sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
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
