import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
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

describe("docs/operations.md lists every error code there is, and no other", () => {
  const given = codesIn(join(ROOT, "src"));
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
  const given = codesIn(join(ROOT, "src"));
  const named = readFileSync(join(ROOT, "docs/api.md"), "utf8");
  expect(Object.keys(PROBLEMS).filter((code) => !given.has(code))).toEqual([]);
  expect(Object.keys(PROBLEMS).filter((code) => !named.includes(`\`${code}\``))).toEqual([]);
});

test("docs/inbox.md explains every code that the inbox itself gives", () => {
  const explained = codesListed("docs/inbox.md", "| `code` |");
  const given = codesIn(join(ROOT, "src/producers/inbox"));
  const forOperators = ["folders-on-two-disks", "watch-failed"];
  expect([...given].filter((code) => !explained.has(code) && !forOperators.includes(code)).sort()).toEqual([]);
});
