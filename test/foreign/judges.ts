/** Opinions on PDFs by programs that have nothing to do with us. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

interface Ran {
  code: number;
  out: string;
}

async function ask(program: string, args: string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await run(program, args, { maxBuffer: 64 << 20, timeout: 60_000 });
    return { code: 0, out: stdout + stderr };
  } catch (error) {
    const failed = error as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof failed.code !== "number") throw error;
    return { code: failed.code, out: `${failed.stdout ?? ""}${failed.stderr ?? ""}` };
  }
}

/** The two programs can be asked here. */
export async function judgesAreThere(): Promise<boolean> {
  const found = await Promise.all([ask("pdfsig", ["-v"]), ask("qpdf", ["--version"])]).catch(() => undefined);
  return found !== undefined;
}

/** What pdfsig finds wrong with the newest signature; undefined when it is valid and covers the whole file. */
export async function signatureFault(path: string): Promise<string | undefined> {
  const { out } = await ask("pdfsig", ["-nocert", path]);
  const signatures = out.split(/^Signature #\d+:/m).slice(1);
  const whole = signatures.find((one) => one.includes("Total document signed"));
  if (whole === undefined) return signatures.length === 0 ? "has no signature" : "has no signature over all of it";
  return /Signature Validation: Signature is Valid/.test(whole) ? undefined : "its signature is not valid";
}

/** What openssl finds wrong with a signature apart over this file; undefined when it is valid. */
export async function apartFault(p7m: string, content: string): Promise<string | undefined> {
  const files = ["-in", p7m, "-inform", "DER", "-content", content, "-out", "/dev/null"];
  const { code, out } = await ask("openssl", ["cms", "-verify", "-binary", "-noverify", ...files]);
  return code === 0 ? undefined : out;
}

/** qpdf's opinion: 0 is well, 3 is a warning, 2 is damaged. */
export async function structure(path: string): Promise<number> {
  return (await ask("qpdf", ["--check", path])).code;
}

/** Needs a password, or is protected by one. */
export async function isEncrypted(path: string): Promise<boolean> {
  return (await ask("qpdf", ["--is-encrypted", path])).code === 0;
}
