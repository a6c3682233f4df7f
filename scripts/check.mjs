/**
 * What a commit must pass: types, lint, format, dead code, unit tests. Two at a time, each with its time; what a
 * failed one printed comes at the end.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "./root.mjs";

const tool = (...path) => join(ROOT, "node_modules", ...path);

/**
 * What was found the last time is kept. ESLint's memory knows of no other file than the one it looks at: a type that
 * changed elsewhere is noticed in a fresh clone, where the memory is empty, as it is wherever CI is set.
 */
const kept = tool(".cache");
const lintMemory = process.env.CI
  ? []
  : ["--cache", "--cache-strategy", "content", "--cache-location", join(kept, "eslint/")];
const typesMemory = ["--incremental", "--tsBuildInfoFile", join(kept, "tsc.tsbuildinfo")];

/** Longest first, so that the two lanes end together. */
const CHECKS = [
  { name: "lint", args: [tool("eslint", "bin", "eslint.js"), ".", "--max-warnings", "0", ...lintMemory] },
  { name: "types", args: [tool("typescript", "bin", "tsc"), "--noEmit", "-p", ".", ...typesMemory] },
  { name: "unit tests", args: [tool("vitest", "vitest.mjs"), "run", "--project", "unit", "--passWithNoTests"] },
  { name: "dead code", args: [tool("knip", "bin", "knip.js"), "--no-progress"] },
  { name: "format", args: [tool("prettier", "bin", "prettier.cjs"), "--check", "--log-level", "warn", "."] },
];

const startedMs = Date.now();
const queue = [...CHECKS];
const failed = [];
await Promise.all([lane(), lane()]);
for (const { name, output } of failed) process.stdout.write(`\n--- ${name} ---\n${output.trim()}\n`);
const words = failed.length === 0 ? "all checks passed" : `${failed.length} of ${CHECKS.length} checks failed`;
process.stdout.write(`\n${words} in ${seconds(startedMs)}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;

async function lane() {
  for (let check = queue.shift(); check; check = queue.shift()) {
    const sinceMs = Date.now();
    const { code, output } = await run(check.args);
    process.stdout.write(`${code === 0 ? "ok    " : "FAILED"}  ${check.name} (${seconds(sinceMs)})\n`);
    if (code !== 0) failed.push({ name: check.name, output });
  }
}

function run(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => resolve({ code: 1, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

function seconds(sinceMs) {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;
}
