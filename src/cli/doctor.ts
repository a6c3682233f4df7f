import { ConfigError, type Settings } from "../config.ts";
import { deriveKey, findMasterKey } from "../keys.ts";
import { createClient } from "./client.ts";
import { checkFolders, checkKeys, checkSpace } from "./doctor-files.ts";
import { fail, type Finding, type Level, ok, type Patient, warn } from "./doctor-finding.ts";
import { checkInboxes } from "./doctor-inboxes.ts";
import { checkRedis, whyUnreached } from "./doctor-redis.ts";
import { checkRequests } from "./doctor-requests.ts";
import { checkClock, checkProvider, checkSettings } from "./doctor-provider.ts";
import { examineTenant, lookAtTenants } from "./doctor-tenants.ts";
import type { Question } from "./doctor-contract.ts";
import { openStores } from "./stores.ts";
import { findProvider, findTarget, isHere, readRunFile } from "./target.ts";
import { CliError, EXIT, type Terminal, visible, type Writer } from "./terminal.ts";

/** Every check, in the order of the report. A check that throws has failed. */
const CHECKS: { name: string; run(patient: Patient): Promise<Finding[]> }[] = [
  { name: "Settings", run: async ({ settings, tenants }) => checkSettings(settings, tenants) },
  { name: "Tenants", run: async ({ settings }) => lookAtTenants(settings).found },
  { name: "Folders", run: async ({ settings }) => checkFolders(settings.DATA_DIR) },
  { name: "Free space", run: ({ settings }) => checkSpace(settings.DATA_DIR, settings.DISK_RESERVE_BYTES) },
  { name: "Inboxes", run: ({ settings, tenants }) => checkInboxes(settings, tenants) },
  { name: "Keys", run: async ({ settings }) => checkKeys(settings.DATA_DIR) },
  { name: "Redis", run: checkRedis },
  { name: "Provider", run: checkProvider },
  { name: "Clock", run: checkClock },
  { name: "API", run: checkApi },
  { name: "Requests", run: checkRequests },
];
const CHECK_MS = 60_000;

/** The Node that runs TypeScript as it is, and that every package here accepts. @source package.json, engines of chokidar 6 */
const NODE_LEAST = [22, 22] as const;
const NODE_BEST = 24;

/** `signpipe doctor`: looks at everything and changes nothing. Exit code 1 when something fails. */
export async function doctor(
  read: () => Settings,
  { out }: Terminal,
  { json, provider = false, tenant }: { json: boolean; provider?: boolean; tenant?: string | undefined },
): Promise<number> {
  const findings: Finding[] = tenant === undefined ? [checkNode(process.versions.node)] : [];
  let questions: Question[] | undefined;
  try {
    const settings = read();
    await withPatient(settings, provider, async (patient) => {
      if (tenant === undefined) return void findings.push(...(await examine(patient)));
      const examined = await examineTenant(patient, tenant);
      findings.push(...examined.findings);
      ({ questions } = examined);
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.message.split("\n"))
      findings.push(fail("Settings", line, "Mend it in the environment or .env."));
  }
  const failures = findings.filter(({ level }) => level === "fail").length;
  if (json) {
    const open = questions?.map(({ answer, ...rest }) => ({ ...rest, answer: answer ?? null }));
    const told = { ok: failures === 0, ...(tenant !== undefined && { tenant }), findings };
    out.line(JSON.stringify({ ...told, ...(open && { open_questions: open }) }, null, 2));
  } else report(findings, questions, out);
  return failures === 0 ? EXIT.done : EXIT.error;
}

export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major >= NODE_BEST) return ok("Node", version);
  const todo = `Run it with "npm start" or "npx signpipe", which bring Node ${NODE_BEST}.`;
  if (major > NODE_LEAST[0] || (major === NODE_LEAST[0] && minor >= NODE_LEAST[1])) {
    return warn("Node", `${version} works, but ${NODE_BEST} is what everything is tried with.`, todo);
  }
  return fail("Node", `${version} is older than ${NODE_LEAST.join(".")}.`, todo);
}

async function withPatient(
  settings: Settings,
  askProvider: boolean,
  look: (patient: Patient) => Promise<void>,
): Promise<void> {
  const file = readRunFile(settings.DATA_DIR);
  const run = file && isHere(file) ? file : undefined;
  const redisUrl = settings.REDIS_URL ?? run?.redis_url;
  const oneshotUrl = findProvider(settings);
  const unreached = redisUrl === undefined ? undefined : await whyUnreached(redisUrl);
  const masterKey = findMasterKey(settings);
  const stores =
    redisUrl === undefined || unreached !== undefined
      ? undefined
      : openStores({ settings, redisUrl, masterKey: masterKey ?? new Uint8Array(32) });
  try {
    const journalKey = masterKey && deriveKey(masterKey, "journal");
    const { tenants } = lookAtTenants(settings);
    await look({ settings, tenants, run, redisUrl, unreached, oneshotUrl, stores, journalKey, askProvider });
  } finally {
    await stores?.close();
  }
}

async function examine(patient: Patient): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const check of CHECKS) found.push(...(await bounded(check.name, check.run(patient))));
  return found;
}

async function bounded(name: string, findings: Promise<Finding[]>): Promise<Finding[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Finding[]>((resolve) => {
    const found = fail(name, `No result within ${CHECK_MS / 1000} s.`, "Look at what this check depends on, above.");
    timer = setTimeout(() => resolve([found]), CHECK_MS);
  });
  try {
    return await Promise.race([findings, late]);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return [fail(name, visible(message), "Look at what this check depends on, above.")];
  } finally {
    clearTimeout(timer);
  }
}

async function checkApi({ settings, run }: Patient): Promise<Finding[]> {
  if (settings.API_URL === undefined && !run) {
    return [warn("API", "No signpipe runs on this DATA_DIR.", 'Start it with "npm start".')];
  }
  try {
    const target = findTarget(settings);
    await createClient(target, { dataDir: settings.DATA_DIR }).page({ limit: "1" });
    return [ok("API", `answers at ${target.url}, and knows our key`)];
  } catch (error) {
    if (error instanceof CliError) return [fail("API", error.message, "See the sentence itself.")];
    throw error;
  }
}

const PAINTS = { ok: "green", warn: "yellow", fail: "red" } as const;

function report(findings: Finding[], questions: Question[] | undefined, out: Writer): void {
  const room = Math.max(...findings.map(({ check }) => check.length));
  for (const { check, level, says, todo } of findings) {
    const word = level === "fail" ? "FAIL" : level;
    const head = `${out.paint(PAINTS[level], word.padEnd(4))}  ${out.paint("bold", check.padEnd(room))}  `;
    const indent = " ".repeat(4 + 2 + room + 2);
    out.line(head + broken(says, out, indent));
    if (todo) out.line(indent + out.paint("dim", broken(`→ ${todo}`, out, `${indent}  `)));
  }
  if (questions && questions.length > 0) reportQuestions(questions, out);
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length;
  const [failures, warnings] = [count("fail"), count("warn")];
  out.line();
  if (failures + warnings === 0) out.line(out.paint("green", "All is well."));
  else {
    const parts = [failures > 0 ? `${failures} to mend` : "", warnings > 0 ? `${warnings} to know of` : ""].filter(
      Boolean,
    );
    out.line(out.paint(failures > 0 ? "red" : "yellow", `${parts.join(", ")}.`));
  }
}

/** What the provider's pages leave open. */
function reportQuestions(questions: Question[], out: Writer): void {
  out.line();
  out.line(out.paint("bold", "What the provider's pages leave open (docs/provider.md)"));
  for (const { question, answer, source } of questions) {
    out.line(`  ${question} ${out.paint("dim", `(${source})`)}`);
    out.line(`    ${broken(answer ?? out.paint("dim", "not answered"), out, "    ")}`);
  }
}

/** Text broken at words, so that what follows the first line stands under it. */
function broken(text: string, { width }: Writer, indent: string): string {
  if (width === undefined) return text;
  const room = Math.max(width - indent.length, 20);
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= room) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join(`\n${indent}`);
}
