import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { type Figures, FIGURES, toMarkdown, toPlain, toRows } from "./figures.ts";
import { finish, startRedis } from "./parts.ts";

/**
 * `npm run bench`: every benchmark, each in a process of its own, and a table of what was reached. `npm run bench --
 * chain inbox`: only these. `--write` puts the table into docs/performance.md; nothing is written otherwise. A figure
 * that is missed is said to be missed, and is no failure: speed is no test.
 */
const BENCHMARKS = [
  "chain",
  "journal",
  "batch",
  "inbox",
  "inbox-burst",
  "inbox-latency",
  "documents",
  "memory",
  "scale",
];
const ALL_WITHIN_MS = 1_800_000;
const ONE_WITHIN_MS = 600_000;
const DOCUMENT = new URL("../docs/performance.md", import.meta.url);
const BETWEEN = /(<!-- figures -->\n)[^]*?(\n<!-- end of figures -->)/;

const names = process.argv.slice(2).filter((argument) => argument !== "--write");
const isToWrite = process.argv.includes("--write");
const strange = names.filter((name) => !BENCHMARKS.includes(name));
if (strange.length > 0) giveUp(`There is no benchmark "${strange[0]}"; there are ${BENCHMARKS.join(", ")}.`);
if (isToWrite && names.length > 0) giveUp("--write writes the whole table: leave the names of benchmarks out.");
const otherSizes = Object.keys(process.env).filter((name) => /^BENCH_/.test(name));
if (isToWrite && otherSizes.length > 0)
  giveUp(`The table is of the usual sizes: --write needs ${otherSizes[0]} unset.`);
const chosen = BENCHMARKS.filter((name) => names.length === 0 || names.includes(name));

const scratch = mkdtempSync(join(tmpdir(), "signpipe-bench-"));
const endMs = performance.now() + ALL_WITHIN_MS;
const reports = new Map<string, Figures>();
try {
  for (const name of chosen) {
    const figures = await runOne(name, Math.min(ONE_WITHIN_MS, endMs - performance.now()));
    if (figures) reports.set(name, figures);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const rows = toRows(
  FIGURES.filter(({ bench }) => chosen.includes(bench)),
  reports,
);
const where = await describeMachine();
console.log(`\n${toPlain(rows)}\n\n${where}`);
if (otherSizes.length > 0) console.log(`Not of the usual sizes (${otherSizes.join(", ")}): good for a trial only.`);
if (isToWrite) write(`${toMarkdown(rows)}\n\n${where}`);

function giveUp(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

/** What a benchmark reports; undefined when it fails or takes too long. */
async function runOne(name: string, withinMs: number): Promise<Figures | undefined> {
  if (withinMs <= 0) return void console.log(`${name}: left out, the time is up`);
  const startedMs = performance.now();
  const child = spawn(process.execPath, [fileURLToPath(new URL(`./${name}.ts`, import.meta.url))], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: scratch },
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
  const late = setTimeout(() => child.kill(), withinMs);
  const ending = await new Promise<string | number | null>((resolve) => {
    child.once("close", (code, signal) => resolve(signal ?? code));
  });
  clearTimeout(late);
  const took = `${Math.round((performance.now() - startedMs) / 1000)} s`;
  if (ending !== 0) return void console.log(`${name}: ended by ${ending} after ${took}, without figures`);
  const { figures } = JSON.parse(output.trim().split("\n").at(-1) ?? "") as { figures: Figures };
  console.log(`${name} (${took})`);
  for (const [what, value] of Object.entries(figures)) console.log(`  ${value.toLocaleString("en")}  ${what}`);
  return figures;
}

async function describeMachine(): Promise<string> {
  const redis = new Redis((await startRedis()).url);
  const version = /redis_version:(\S+)/.exec(await redis.info("server"))?.[1];
  redis.disconnect();
  await finish();
  const [cpu] = cpus();
  const gigabytes = Math.round(totalmem() / 2 ** 30);
  const date = new Date().toISOString().slice(0, 10);
  return `Measured on ${date}: ${cpus().length} × ${cpu?.model.trim()}, ${gigabytes} GiB, Node ${process.versions.node}, Redis ${version}.`;
}

function write(table: string): void {
  const text = readFileSync(DOCUMENT, "utf8");
  if (!BETWEEN.test(text)) giveUp("docs/performance.md has no place for the table: its two comments are missing.");
  writeFileSync(
    DOCUMENT,
    text.replace(BETWEEN, (_, before: string, after: string) => `${before}\n${table}\n${after}`),
  );
  console.log("\ndocs/performance.md written");
}
