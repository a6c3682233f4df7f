import { dirname } from "node:path";
import type { Settings } from "../config.ts";
import { createLog } from "../log.ts";
import type { Part } from "../parts.ts";
import type { Running } from "../start.ts";
import type { StageName } from "../workers/index.ts";
import { untilSet } from "./interrupts.ts";
import { isHere, readRunFile, type RunFile } from "./target.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

/**
 * Beyond the grace that running steps get: for the rest to be put away, and Redis and the simulator to end. With the
 * standard grace a stop is over within 25 s, before a supervisor's patience of 30 s.
 */
const STOP_MARGIN_MS = 4_700;

interface Options {
  terminal: Terminal;
  signal: AbortSignal;
}

/**
 * `signpipe start`: the parts named in one process, until it is asked to stop. One line of JSON on standard output.
 * Beside a running start that has other parts it joins that one.
 */
export async function runStart(
  given: Settings,
  parts: readonly Part[],
  { terminal, signal }: Options,
): Promise<number> {
  const { out, err } = terminal;
  const earlier = await findRunning(given.DATA_DIR);
  if (earlier && parts.some((part) => earlier.parts?.includes(part) ?? true)) {
    throw new CliError(
      `A signpipe runs on ${given.DATA_DIR} already (${earlier.api}, process ${earlier.pid}): stop it first, or give this one another DATA_DIR.`,
    );
  }
  const say = (line: string) => err.line(`signpipe: ${line}`);
  const { SIMULATED, start } = await import("../start.ts");
  const settings = earlier ? besideRunning(given, earlier, SIMULATED) : given;
  if (earlier) say(`Joins the signpipe that runs on ${given.DATA_DIR} (process ${earlier.pid}).`);
  const running = await start(settings, { parts, log: createLog(settings.LOG_LEVEL), say, signal });
  out.line(JSON.stringify(running.ready));
  const { api, docs, queues, inbox, signed, simulator, keys } = running.ready;
  const places: [string, string | undefined][] = [
    ["Drop PDFs into", inbox],
    ["Signed files", signed],
    ["API", api],
    ["API manual", docs],
    ["Queue board", queues],
    ["Simulator", simulator],
    ["Keys", keys[0] === undefined ? undefined : dirname(keys[0])],
  ];
  err.line();
  for (const [name, place] of places) if (place) err.line(`  ${err.paint("dim", name.padEnd(14))}  ${place}`);
  err.line();
  err.line(`  Stop with Ctrl-C. See how it is with: signpipe doctor, signpipe list.`);
  err.line();
  return await untilOver(running, { settings, say, signal });
}

/**
 * `signpipe work`: workers only, for the stages named, until asked to stop. They work with the Redis and the provider
 * that the settings name, else with those of the start that runs on DATA_DIR; they never start their own, since nobody
 * else would know of it. Throws CliError when there are none.
 */
export async function runWork(
  given: Settings,
  stages: readonly StageName[],
  { terminal, signal }: Options,
): Promise<number> {
  const say = (line: string) => terminal.err.line(`signpipe: ${line}`);
  const isComplete = given.REDIS_URL !== undefined && given.ONESHOT_URL !== undefined;
  const running = isComplete ? undefined : await findRunning(given.DATA_DIR);
  const { SIMULATED, start } = await import("../start.ts");
  const settings = running ? besideRunning(given, running, SIMULATED) : given;
  if (running) say(`Works for the signpipe that runs on ${given.DATA_DIR} (process ${running.pid}).`);
  if (settings.REDIS_URL === undefined || settings.ONESHOT_URL === undefined) {
    throw new CliError(
      `No signpipe runs on ${given.DATA_DIR} whose Redis and provider these workers could use: start it with "npm start", or set REDIS_URL and ONESHOT_URL.`,
    );
  }
  const log = createLog(settings.LOG_LEVEL);
  const workers = await start(settings, { parts: ["workers"], stages, log, say, signal });
  say(`Working on ${workers.ready.workers.join(", ")}. Stop with Ctrl-C.`);
  return await untilOver(workers, { settings, say, signal });
}

/** The start that runs on this folder, and answers. */
export async function findRunning(dataDir: string): Promise<RunFile | undefined> {
  const run = readRunFile(dataDir);
  if (!run || run.pid === process.pid || !isHere(run)) return undefined;
  return (await answers(run.api)) ? run : undefined;
}

/** The settings for a process that shares the Redis and the provider of a running one, unless they name others. */
export function besideRunning(settings: Settings, run: RunFile, simulated: Partial<Settings>): Settings {
  const isShared = settings.ONESHOT_URL === undefined && run.oneshot !== undefined;
  return {
    ...(isShared && run.simulator !== undefined && simulated),
    ...settings,
    ...(isShared && { ONESHOT_URL: run.oneshot }),
    ...(settings.REDIS_URL === undefined && run.redis_url !== undefined && { REDIS_URL: run.redis_url }),
  };
}

/** Runs until it is asked to stop, or cannot go on: then the exit code asks a supervisor for a new process. */
async function untilOver(
  running: Running,
  { settings, say, signal }: { settings: Settings; say: (line: string) => void; signal: AbortSignal },
): Promise<number> {
  const why = await Promise.race([untilSet(signal).then(() => undefined), running.failed]);
  if (why !== undefined) say(`${why}, although Redis answers. Start it again.`);
  const code = await stopped(running, { settings, say });
  return why === undefined ? code : EXIT.error;
}

/** Lets running steps finish, and gives up after a bound. */
async function stopped(
  running: { stop(): Promise<void> },
  { settings, say }: { settings: Settings; say: (line: string) => void },
): Promise<number> {
  const boundMs = settings.SHUTDOWN_GRACE_MS + STOP_MARGIN_MS;
  say("Stopping: what runs may finish. Ask again to stop at once.");
  const late = new Promise<"late">((resolve) => setTimeout(() => resolve("late"), boundMs).unref());
  if ((await Promise.race([running.stop(), late])) === "late") {
    say("Not everything ended in time; the next start takes it up again.");
    return EXIT.error;
  }
  say("Stopped.");
  return EXIT.done;
}

async function answers(api: string): Promise<boolean> {
  const { request } = await import("undici");
  try {
    const { statusCode, body } = await request(`${api}/health/live`, { headersTimeout: 2_000, bodyTimeout: 2_000 });
    await body.dump();
    return statusCode === 200;
  } catch {
    return false;
  }
}
