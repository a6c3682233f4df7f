import { dirname } from "node:path";
import type { Settings } from "../config.ts";
import { createLog } from "../log.ts";
import type { StageName } from "../workers/index.ts";
import { untilSet } from "./interrupts.ts";
import { isAlive, readRunFile } from "./target.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

/** Beyond the grace that running steps get: Redis and the simulator have to end as well. */
const STOP_MARGIN_MS = 15_000;

interface Options {
  terminal: Terminal;
  signal: AbortSignal;
}

/** `signpipe start`: everything in one process, until it is asked to stop. One line of JSON on standard output. */
export async function runStart(settings: Settings, { terminal, signal }: Options): Promise<number> {
  const { out, err } = terminal;
  const earlier = readRunFile(settings.DATA_DIR);
  if (earlier && earlier.pid !== process.pid && isAlive(earlier.pid) && (await answers(earlier.api))) {
    throw new CliError(
      `A signpipe runs on ${settings.DATA_DIR} already (${earlier.api}, process ${earlier.pid}): stop it first, or give this one another DATA_DIR.`,
    );
  }
  const say = (line: string) => err.line(`signpipe: ${line}`);
  const { start } = await import("../start.ts");
  const running = await start(settings, { log: createLog(settings.LOG_LEVEL), say });
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
  await untilSet(signal);
  return await stopped(running, { settings, say });
}

/** `signpipe work`: workers only, for the stages named, until asked to stop. */
export async function runWork(
  given: Settings,
  stages: readonly StageName[],
  { terminal, signal }: Options,
): Promise<number> {
  const say = (line: string) => terminal.err.line(`signpipe: ${line}`);
  const { start } = await import("../start.ts");
  const settings = besideRunning(given);
  const running = await start(settings, { parts: ["workers"], stages, log: createLog(settings.LOG_LEVEL), say });
  say(`Working on ${running.ready.workers.join(", ")}. Stop with Ctrl-C.`);
  await untilSet(signal);
  return await stopped(running, { settings, say });
}

/** The simulator takes any account that is complete; these are no secrets. */
const ANY_ACCOUNT = {
  ONESHOT_REGISTRATION_AUTHORITY: "1000",
  ONESHOT_PROFILE: "PFnubeQAFCiudadano",
  ONESHOT_BILLING_USERNAME: "simulated-billing",
  ONESHOT_BILLING_PASSWORD: "simulated-password",
  ONESHOT_RAO: "1400",
  ONESHOT_RAO_TOKEN: "simulated-token",
} as const;

/** Workers beside a running signpipe share its Redis and its provider, unless the settings name others. */
export function besideRunning(settings: Settings): Settings {
  const run = readRunFile(settings.DATA_DIR);
  if (!run || !isAlive(run.pid)) return settings;
  const isSimulated = settings.ONESHOT_URL === undefined && run.simulator !== undefined && run.oneshot !== undefined;
  return {
    ...(isSimulated && ANY_ACCOUNT),
    ...settings,
    ...(isSimulated && { ONESHOT_URL: run.oneshot }),
    ...(settings.REDIS_URL === undefined && run.redis_url !== undefined && { REDIS_URL: run.redis_url }),
  };
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
