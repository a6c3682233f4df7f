import { spawnSync } from "node:child_process";

/** What pdfsig says of each signature of a PDF; undefined where it is not installed, which is said once. */
export function pdfsig(path: string): string | undefined {
  const { error, stdout } = spawnSync("pdfsig", ["-nocert", path], { encoding: "utf8", timeout: 20_000 });
  if (!error) return stdout;
  process.stderr.write("signpipe: pdfsig is not installed: its opinion is left out.\n");
  return undefined;
}
