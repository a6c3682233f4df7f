import { readFileSync, statSync } from "node:fs";
import { ConfigError } from "./config.ts";
import { findRepeatedKey } from "./producers/manifest.ts";

const FILE_MOST_BYTES = 1024 ** 2;
const PROBLEMS_SHOWN = 20;

/** The JSON of a file that a setting names; undefined when it is none, and why is added to `problems`, without a value. */
export function readSettingsFile(path: string, problems: string[]): unknown {
  try {
    if (statSync(path).size > FILE_MOST_BYTES) throw new Error("too large");
    const content = readFileSync(path, "utf8");
    const json: unknown = JSON.parse(content);
    // A parser keeps the last one without a word: what stands above it would be as if nobody had written it.
    if (findRepeatedKey(content) !== undefined) problems.push("the file names something twice in one place");
    return json;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code !== undefined ? `cannot be read (${code})` : error instanceof SyntaxError ? "is not JSON" : "is too large";
    problems.push(`the file ${why}`);
    return undefined;
  }
}

/** Throws ConfigError with a line for each problem of the file that the setting `name` names; nothing when there is none. */
export function mustBeWithout(problems: readonly string[], name: string): void {
  if (problems.length === 0) return;
  const shown = problems.slice(0, PROBLEMS_SHOWN);
  throw new ConfigError(shown.map((problem) => `${name}: ${problem} (docs/configuration.md).`).join("\n"));
}
