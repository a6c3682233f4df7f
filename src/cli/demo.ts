import { createWriteStream, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { readSettings, type Settings } from "../config.ts";
import { createLog } from "../log.ts";
import { type Running, start } from "../start.ts";
import { type Client, createClient, type Request } from "./client.ts";
import { checkSigned, findJudges } from "./demo-check.ts";
import { followBroken, type Followed, followMany, followRequest } from "./demo-follow.ts";
import { createPeople } from "./demo-people.ts";
import { conclude, type Outcome, report, reportWorkflows, shorter, type WorkflowOutcome, wrap } from "./demo-report.ts";
import { createLive, type LiveLine } from "./live.ts";
import { describe } from "./progress.ts";
import { makeSamples, type Sample, type Samples } from "./samples.ts";
import { makeWorkflowSamples, type WorkflowSample } from "./samples-workflows.ts";
import { renderTable } from "./table.ts";
import { CliError, EXIT, spell, type Terminal, type Writer } from "./terminal.ts";

/** The demo gives up after this. */
const MOST_MS = 180_000;
/** Long enough to be seen at a terminal. */
const SIGNER_TAKES_MS = 800;

/**
 * `signpipe demo`: the whole pipeline on sample documents, in a folder of its own and on free ports, with a simulator
 * that signs and people who act. Exit code 0 only when everything came out as it should.
 */
export async function demo(given: Settings, { out }: Terminal, signal: AbortSignal): Promise<number> {
  const settings = toDemoSettings(given);
  const beganMs = Date.now();
  const stopping = AbortSignal.any([signal, AbortSignal.timeout(MOST_MS)]);
  const logPath = join(settings.DATA_DIR, "demo.log");
  mkdirSync(settings.DATA_DIR, { recursive: true, mode: 0o700 });
  const logFile = createWriteStream(logPath, { flags: "a", mode: 0o600 });

  out.line(
    `${out.paint("bold", "signpipe demo")}  ${out.paint("yellow", "a simulator signs: nothing here is legally signed")}`,
  );
  out.line();
  const say = (line: string) => out.line(`  ${out.paint("dim", wrap(line, out, "  "))}`);
  say("Starting Redis, the simulator, the API, the inbox and the workers; the first time takes longest.");
  const simulatorArgs = ["--humans", "signer", "--human-delay", String(SIGNER_TAKES_MS)];
  const running = await start(settings, { log: createLog("info", logFile), say, simulatorArgs, signal });
  try {
    const at = new Date();
    const dropped = { samples: await makeSamples(at), others: await makeWorkflowSamples(at) };
    drop(dropped, running.app.folders.inbox);
    tellDropped(dropped, out, running.app.folders.inbox);
    const { plain, others } = await watch(dropped, { running, settings, out, stopping });
    const outcomes = [...plain, ...others];
    if (signal.aborted)
      throw new CliError("Interrupted; everything that the demo started is stopped.", EXIT.interrupted);
    if (stopping.aborted)
      throw new CliError(`Not everything was over within ${spell(MOST_MS)}; see ${shorter(logPath)}.`);
    const isGood = outcomes.every(({ problems }) => problems.length === 0);
    report(plain, out);
    reportWorkflows(others, out);
    conclude(outcomes, { out, isGood, tookMs: Date.now() - beganMs, logPath, settings });
    return isGood ? EXIT.done : EXIT.error;
  } finally {
    await running.stop();
    await new Promise<void>((end) => logFile.end(end));
  }
}

/** Defaults whatever the environment says, but for the folder and a Redis that was named. */
function toDemoSettings(given: Settings): Settings {
  const defaults = readSettings({}, { envFile: "" });
  const isOwnFolder = given.DATA_DIR !== defaults.DATA_DIR;
  const isOwnPrefix = given.REDIS_PREFIX !== defaults.REDIS_PREFIX;
  return {
    ...defaults,
    DATA_DIR: isOwnFolder ? given.DATA_DIR : resolve(defaults.DATA_DIR, "demo"),
    ...(given.REDIS_URL !== undefined && { REDIS_URL: given.REDIS_URL }),
    REDIS_PREFIX: isOwnPrefix ? given.REDIS_PREFIX : "{signpipe-demo}",
    API_HOST: "127.0.0.1",
    API_PORT: 0,
    APPROVAL: "manual",
    INBOX_SETTLE_MS: 400,
    INBOX_FOLDER_SETTLE_MS: 600,
    INBOX_INCOMPLETE_MS: 3_000,
    INBOX_SWEEP_MS: 500,
    SHUTDOWN_GRACE_MS: 5_000,
  };
}

/** What is put into the inbox: that which is shown at length, and one request for each other workflow. */
interface Dropped {
  samples: Samples;
  others: WorkflowSample[];
}

/** Files are put into the inbox as people do it: not all at once, and a folder with its files inside. */
function drop({ samples: { alone, folder, broken }, others }: Dropped, inbox: string): void {
  const files = [...alone.files, ...folder.files, ...broken.files, ...others.flatMap((one) => one.files)];
  for (const { path, bytes } of files) {
    mkdirSync(dirname(join(inbox, path)), { recursive: true });
    writeFileSync(join(inbox, path), bytes);
  }
}

function tellDropped({ samples: { alone, folder, broken }, others }: Dropped, out: Writer, inbox: string): void {
  out.line();
  out.line(`Dropped into ${shorter(inbox)}:`);
  const rows = [
    [`  ${alone.documents[0] ?? ""}`, "one document, with who signs in a file beside it"],
    [`  ${dirname(folder.files[0]?.path ?? "")}/`, `${folder.documents.length} documents that are one request`],
    [`  ${broken.name}`, "a PDF that was cut off while it was copied"],
    ...others.map((one) => [`  ${one.folder}/`, one.says]),
  ];
  const columns = [{ title: "" }, { title: "", shrink: "end" as const }];
  for (const line of renderTable(columns, rows, { width: out.width }).slice(1)) out.line(line);
  out.line();
}

interface Watching {
  running: Running;
  settings: Settings;
  out: Writer;
  stopping: AbortSignal;
}

interface Outcomes {
  plain: Outcome[];
  others: WorkflowOutcome[];
}

/** Follows everything that was dropped to its end, and checks what came of it. */
async function watch({ samples: { alone, folder, broken }, others }: Dropped, watching: Watching): Promise<Outcomes> {
  const { running, settings, out, stopping } = watching;
  const { folders } = running.app;
  const client = ownClient(running, settings, stopping);
  const people = createPeople({ client, simulator: new URL(running.ready.simulator ?? "").origin });
  const following = { client, people, stopping };
  const labels = [
    "1 document",
    `${folder.documents.length} documents`,
    "1 broken PDF",
    `${others.length} other workflows`,
  ] as const;
  const live = createLive(out, Math.max(...labels.map((label) => label.length)));
  const lines = labels.map((label) => live.add(label));
  const [oneLine, threeLine, badLine, moreLine] = lines as [LiveLine, LiveLine, LiveLine, LiveLine];
  const [one, three, bad, more] = await Promise.all([
    followRequest(alone.reference, oneLine, following),
    followRequest(folder.reference, threeLine, following),
    followBroken(broken.name, badLine, { failed: folders.failed, stopping }),
    followMany(
      others.map(({ reference }) => reference),
      moreLine,
      following,
    ),
  ]).finally(live.stop);
  if (stopping.aborted) return { plain: [], others: [] };

  const judges = await findJudges();
  const judge = async (label: string, { request, tookMs }: Followed, files: Sample[]): Promise<Outcome> => {
    if (request?.state !== "done") {
      return { label, ...(request && { request }), checked: [], tookMs, problems: [whyNot(label, request)] };
    }
    const originals = new Map(files.map(({ path, bytes }) => [basename(path), bytes]));
    const checked = await checkSigned(request, { folder: join(folders.signed, request.id), originals, judges });
    const problems = checked.flatMap(({ document, problems: found }) => found.map((text) => `${document}: ${text}.`));
    return { label, request, checked, tookMs, problems };
  };
  const taken = (await client.page({ reference: broken.reference, limit: "1" })).items.length > 0;
  const problems = [
    ...(bad.note ? [] : ["The broken PDF has no note in failed/."]),
    ...(taken ? ["The broken PDF was taken for a request."] : []),
  ];
  const ways: WorkflowOutcome[] = [];
  for (const [i, { name, wentIn, comesOut, files }] of others.entries()) {
    ways.push({ ...(await judge(name, more[i] ?? { tookMs: 0 }, files)), wentIn, comesOut });
  }
  return {
    plain: [
      await judge(labels[0], one, alone.files),
      await judge(labels[1], three, folder.files),
      { label: broken.name, checked: [], tookMs: bad.tookMs, ...(bad.note && { note: bad.note }), problems },
    ],
    others: ways,
  };
}

function ownClient({ ready, keyRing }: Running, { DATA_DIR: dataDir }: Settings, signal: AbortSignal): Client {
  const key = keyRing.apiKeys[0]?.secret ?? "";
  return createClient({ url: ready.api ?? "", key, from: "run.json" }, { dataDir, signal });
}

function whyNot(label: string, request: Request | undefined): string {
  if (!request) return `${label}: no request came of it within ${spell(MOST_MS)}.`;
  return `${label}: request ${request.id} is not done but ${describe(request)}.`;
}
