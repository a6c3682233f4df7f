import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "../../src/cli/commands.ts";
import { SETTINGS } from "../../src/config.ts";
import { PROBLEMS } from "../../src/producers/api/problem.ts";
import { codesIn } from "../helpers/codes.ts";
import { DOCUMENTS } from "../helpers/generated-docs.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

describe("documents that are made from the code are up to date (npm run docs writes them)", () => {
  test.each(DOCUMENTS)("$path", ({ path, write }) => {
    expect(readFileSync(join(ROOT, path), "utf8")).toBe(write());
  });
});

/** The codes that a table of a document has in its first column, with what its last one says to do. */
function codesListed(path: string, from = ""): Map<string, string> {
  const text = readFileSync(join(ROOT, path), "utf8");
  const rows = text.slice(Math.max(text.indexOf(from), 0)).matchAll(/^\| (`[^|]+) \|(.*)\|$/gm);
  return new Map(
    [...rows].flatMap(([, first = "", rest = ""]) => {
      const todo = rest.split("|").at(-1)?.trim() ?? "";
      return [...first.matchAll(/`([^`]+)`/g)].map(([, code = ""]): [string, string] => [code, todo]);
    }),
  );
}

const given = codesIn(join(ROOT, "src"));

describe("docs/operations.md lists every error code there is, and no other", () => {
  const listed = codesListed("docs/operations.md", "\n## Codes");

  test("the codes are found", () => {
    expect(given.size).toBeGreaterThan(100);
    // One of each kind: in an object, in a class, as an argument, in a table, of a wait, of an end.
    const kinds = ["not-a-pdf", "illegal-move", "unusable-pdf", "disk-full", "a-new-OTP-expired", "videoid-error"];
    for (const code of kinds) expect(given).toContain(code);
  });
  test("every code is listed", () => {
    expect([...given].filter((code) => !listed.has(code)).sort()).toEqual([]);
  });
  test("every code that is listed exists", () => {
    expect([...listed.keys()].filter((code) => !given.has(code)).sort()).toEqual([]);
  });
  test("every code has something to do", () => {
    expect([...listed].filter(([, todo]) => todo.length < 4)).toEqual([]);
  });
});

test("every problem that the API documents can happen, and docs/api.md has it", () => {
  const named = readFileSync(join(ROOT, "docs/api.md"), "utf8");
  expect(Object.keys(PROBLEMS).filter((code) => !given.has(code))).toEqual([]);
  expect(Object.keys(PROBLEMS).filter((code) => !named.includes(`\`${code}\``))).toEqual([]);
});

test("docs/inbox.md explains every code that the inbox itself gives", () => {
  const explained = codesListed("docs/inbox.md", "| Code |");
  const own = codesIn(join(ROOT, "src/producers/inbox"));
  const forOperators = ["folders-on-two-disks", "watch-failed", "disk-error"];
  expect([...explained.keys()].filter((code) => !given.has(code))).toEqual([]);
  expect([...own].filter((code) => !explained.has(code) && !forOperators.includes(code)).sort()).toEqual([]);
});

const HAND_WRITTEN = [
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"],
  "test/acceptance/README.md",
  ...["docs", "docs/adr"].flatMap((folder) => readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`)),
].filter((path) => path.endsWith(".md"));

/** The anchor that a heading gets. */
function toAnchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}

const compose = readFileSync(join(ROOT, "docker-compose.yml"), "utf8");
const benchmarks = readdirSync(join(ROOT, "bench"))
  .map((name) => readFileSync(join(ROOT, "bench", name), "utf8"))
  .join("\n");

/** What stands between backticks, and the fenced blocks. */
function codeIn(text: string): string[] {
  const blocks = [...text.matchAll(/^```\w*\n([^]*?)^```$/gm)].map(([, block = ""]) => block);
  const spans = [...text.replaceAll(/^```[^]*?^```$/gm, "").matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span);
  return [...blocks, ...spans];
}

describe.each(HAND_WRITTEN)("%s promises only what is there", (path) => {
  const text = readFileSync(join(ROOT, path), "utf8");

  test("its links lead somewhere", () => {
    const dead = [...text.matchAll(/\]\(([^)\s]+)\)|src="([^"]+)"/g)].flatMap(([, link, image]) => {
      const to = link ?? image ?? "";
      if (/^https?:/.test(to)) return [];
      const [file = "", anchor] = to.split("#");
      const target = join(ROOT, file === "" ? path : join(dirname(path), file));
      if (!existsSync(target)) return [to];
      if (anchor === undefined || !target.endsWith(".md")) return [];
      const headings = readFileSync(target, "utf8").matchAll(/^#+ (.*)$/gm);
      return [...headings].some(([, heading = ""]) => toAnchor(heading) === anchor) ? [] : [to];
    });
    expect(dead).toEqual([]);
  });

  test("the files that it names exist", () => {
    const named = [...text.matchAll(/`((?:src|test|bench|scripts|docs)\/[\w./-]+)`/g)].map(([, file = ""]) => file);
    expect(named.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  });

  test("the commands that it shows exist, with their options", () => {
    const wrong = codeIn(text).flatMap((code) =>
      [...code.matchAll(/(?<![\w/])signpipe(?: --)? ([a-z]+)([^|#\n]*)/g)].flatMap(([line, name = "", rest = ""]) => {
        const command = COMMANDS.find((one) => one.name === name);
        if (!command) return [line];
        const options = (command.options ?? []).flatMap(([flags]) => flags.match(/--[a-z-]+/g) ?? []);
        return (rest.match(/--[a-z-]+/g) ?? []).filter((option) => !options.includes(option)).map(() => line);
      }),
    );
    expect(wrong).toEqual([]);
  });

  test("the scripts that it shows exist", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: object };
    const shown = [...text.matchAll(/\bnpm run (?:-s )?([a-z:]+)/g)].map(([, name = ""]) => name);
    expect(shown.filter((name) => !(name in scripts))).toEqual([]);
  });

  test("the settings that it names exist", () => {
    // Beside the settings: the variables of the compose file and of the benchmarks, and those of the examples.
    const variables = `${compose}${benchmarks}`.matchAll(/\$\{([A-Z_]+)|process\.env\["([A-Z_]+)/g);
    const others = [...variables].map(([, name, other]) => name ?? other ?? "").concat("NAME", "SIGNPIPE_KEY");
    const named = [...text.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]*)[`=]/g)].map(([, name = ""]) => name);
    const isSetting = (name: string) => name in SETTINGS.shape || others.includes(name);
    expect(named.filter((name) => !isSetting(name) && !isSetting(name.replace(/_FILE$/, "")))).toEqual([]);
  });
});

test("the metrics that docs/operations.md names exist", () => {
  const source = readFileSync(join(ROOT, "src/producers/api/metrics.ts"), "utf8");
  const named = readFileSync(join(ROOT, "docs/operations.md"), "utf8").matchAll(/`(signpipe_[a-z_]+)/g);
  const missing = [...named].map(([, name = ""]) => name).filter((name) => !source.includes(`"${name}"`));
  expect(missing).toEqual([]);
});
