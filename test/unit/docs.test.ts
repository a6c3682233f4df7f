import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DOCUMENTS } from "../helpers/generated-docs.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

describe("documents that are made from the code are up to date (npm run docs writes them)", () => {
  test.each(DOCUMENTS)("$path", ({ path, write }) => {
    expect(readFileSync(join(ROOT, path), "utf8")).toBe(write());
  });
});

function textsIn(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return name === "simulator" ? [] : textsIn(path);
    return path.endsWith(".ts") ? [readFileSync(path, "utf8")] : [];
  });
}

test("every error code is in docs/operations.md, with what to do about it", () => {
  const codes = new Set<string>();
  for (const text of textsIn(join(ROOT, "src"))) {
    for (const [, code] of text.matchAll(/\bcode: "([a-z][a-z0-9-]+)"/g)) if (code) codes.add(code);
  }
  expect(codes.size).toBeGreaterThan(40);
  const listed = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
  expect([...codes].filter((code) => !listed.includes(`\`${code}\``)).sort()).toEqual([]);
});
