import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Logger } from "pino";
import { request } from "undici";
import { type App, createApp, foldersOf } from "./app.ts";
import { ConfigError, environment, type Settings, withoutSettings } from "./config.ts";
import { DEFAULT_TENANT } from "./core/tenant.ts";
import { findRedis } from "./embedded/redis.ts";
import { replaceDurably } from "./files/durable.ts";
import { type KeyRing, readKeys } from "./keys.ts";
import { type Part, PARTS } from "./parts.ts";
import { readInboxes } from "./inboxes.ts";
import { readTenants, type Tenants } from "./tenants.ts";
import { STAGE_NAMES, type StageName } from "./workers/index.ts";

/** What a start tells: on standard output as one line of JSON, and in DATA_DIR/run.json for the command line. */
export interface Ready {
  ready: true;
  api?: string;
  docs?: string;
  queues?: string;
  inbox?: string;
  signed: string;
  data_dir: string;
  oneshot: string;
  /** Origin of the simulator's pages, when it stands in for the provider. */
  simulator?: string;
  redis: string;
  /** Files that keep the keys which were made here. */
  keys: string[];
  workers: readonly string[];
}

export interface Running {
  ready: Ready;
  app: App;
  keyRing: KeyRing;
  /** Resolves, with the reason, when only a new process can go on. */
  failed: Promise<string>;
  stop(): Promise<void>;
}

/** Values for the simulator, so that a first start needs no settings. It is no provider, and these are no secrets. */
export const SIMULATED = {
  ONESHOT_REGISTRATION_AUTHORITY: "1000",
  ONESHOT_PROFILE: "PFnubeQAFCiudadano",
  ONESHOT_BILLING_USERNAME: "simulated-billing",
  ONESHOT_BILLING_PASSWORD: "simulated-password",
  ONESHOT_RAO: "1400",
  ONESHOT_RAO_USERNAME: "1000001",
  ONESHOT_RAO_PASSWORD: "simulated-password",
  ONESHOT_RAO_PIN: "simulated-pin",
} as const;

/**
 * Starts the parts named, after what they need: Redis is found or started, the simulator stands in when there is no
 * ONESHOT_URL, missing keys are made. Throws ConfigError or an error with one clear sentence; then nothing is left
 * running. The same when `signal` is set before everything runs: then it throws the signal's reason.
 */
export async function start(
  given: Settings,
  {
    parts = PARTS,
    stages = STAGE_NAMES,
    log,
    say,
    signal = new AbortController().signal,
    version = readVersion(),
    simulatorArgs = [],
  }: {
    parts?: readonly Part[];
    /** Stages that workers are started for. */
    stages?: readonly StageName[];
    log: Logger;
    /** Told in plain words what goes on. */
    say: (line: string) => void;
    /** Set when somebody wants this start to be given up. */
    signal?: AbortSignal;
    version?: string;
    /** More arguments for the simulator. */
    simulatorArgs?: readonly string[];
  },
): Promise<Running> {
  const settings: Settings = given.ONESHOT_URL === undefined ? { ...SIMULATED, ...given } : given;
  const tenants = readTenants(settings, { withSecrets: parts.includes("workers") });
  if (tenants.warning !== undefined) say(`${tenants.warning}.`);
  warnAboutProvider(settings, { parts, tenants }, say);
  makeDataDir(settings.DATA_DIR);
  const keyRing = readKeys(settings, { forApi: parts.includes("api") });
  mustHaveTenants(keyRing, tenants);
  const inboxes = readInboxes(settings, tenants);
  const undo: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const step of undo.splice(0).reverse()) await step().catch(() => {});
  };
  try {
    const redis = await findRedis({
      url: settings.REDIS_URL,
      dir: join(settings.DATA_DIR, "redis"),
      keep: true,
      env: environment,
      say,
      signal,
    });
    undo.push(() => redis.stop());
    say(redis.how);

    const simulator =
      settings.ONESHOT_URL === undefined ? await startSimulator(settings.DATA_DIR, simulatorArgs, signal) : undefined;
    if (simulator) {
      undo.push(() => simulator.stop());
      say(
        `One-Shot: the simulator at ${simulator.origin} stands in. NOTHING IS LEGALLY SIGNED; set ONESHOT_URL for the real service.`,
      );
    }
    const oneshotUrl = simulator?.url ?? settings.ONESHOT_URL ?? "";

    const { promise: failed, resolve: giveUp } = Promise.withResolvers<string>();
    const app = createApp({
      settings,
      keyRing,
      redisUrl: redis.url,
      oneshotUrl,
      log,
      version,
      tenants,
      inboxes,
      giveUp,
    });
    undo.push(() => app.close());
    await unlessSet(signal, app.ready());
    const has = (part: Part) => parts.includes(part);
    if (has("keeping")) app.startKeeping();
    if (has("workers")) app.startWorkers(stages);
    const api = has("api") ? await listen(app, settings) : undefined;
    if (has("inbox")) await app.startInbox();
    if (has("intake") && settings.INTAKE) app.startIntake();
    if (simulator && api) {
      await unlessSet(signal, tellWebhook(simulator.origin, `${api}/webhooks/oneshot/${keyRing.webhookSecret}`));
    }
    signal.throwIfAborted();

    const folders = foldersOf(settings.DATA_DIR);
    const ready: Ready = {
      ready: true,
      ...(api && { api, docs: `${api}/docs`, queues: `${api}/queues` }),
      ...(has("inbox") && { inbox: folders.inbox }),
      signed: folders.signed,
      data_dir: settings.DATA_DIR,
      oneshot: oneshotUrl,
      ...(simulator && { simulator: `${simulator.origin}/_sim/` }),
      redis: redis.how,
      keys: keyRing.keptIn,
      workers: has("workers") ? stages : [],
    };
    if (api) {
      const run = join(settings.DATA_DIR, "run.json");
      const told = { ...ready, redis_url: redis.url, pid: process.pid, host: hostname(), parts };
      undo.push(() => Promise.resolve(rmSync(run, { force: true })));
      await replaceDurably(run, `${JSON.stringify(told)}\n`, { fsync: false }).catch((error: unknown) => {
        // Files in the inbox and requests under way matter more than the convenience of the command line.
        const { message } = error as Error;
        say(
          `run.json cannot be written (${message}): set API_URL and API_KEY for the command line until the next start.`,
        );
      });
    }
    return { ready, app, keyRing, failed, stop };
  } catch (error) {
    await stop();
    // Ctrl-C reaches what was started here as well, and whose end is noticed first is chance.
    signal.throwIfAborted();
    throw error;
  }
}

function makeDataDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    throw new ConfigError(`DATA_DIR cannot be made at ${dir} (${code}): name a folder that this user may write to.`);
  }
}

/** What to set when the API cannot have its address. @source POSIX.1-2024, bind; RFC 2553 §6.1 */
const LISTEN_REMEDIES: Record<string, string> = {
  EADDRINUSE: "something else listens there; set API_PORT to another port, or to 0 for any free one",
  EACCES: "this user may not; set API_PORT to a port from 1024 on",
  EADDRNOTAVAIL: "this machine has no such address; correct API_HOST",
  ENOTFOUND: "there is no such name; correct API_HOST",
  EAI_AGAIN: "the name cannot be looked up; correct API_HOST, or give an address",
};

async function listen(app: App, { API_HOST, API_PORT }: Settings): Promise<string> {
  try {
    return await app.startApi();
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const remedy = LISTEN_REMEDIES[code];
    if (remedy === undefined) throw error;
    throw new ConfigError(`The API cannot listen on ${API_HOST}, port ${API_PORT} (${code}): ${remedy}.`);
  }
}

/** `work`, or the signal's reason as soon as that is set. */
async function unlessSet<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const set = new Promise<never>((_, reject) => {
    const giveUp = () => reject(signal.reason as Error);
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
  });
  return await Promise.race([work, set]);
}

function warnAboutProvider(
  settings: Settings,
  { parts, tenants }: { parts: readonly Part[]; tenants: Tenants },
  say: (line: string) => void,
): void {
  if (!parts.includes("workers")) return;
  if (tenants.areSeveral && !tenants.byName.has(DEFAULT_TENANT)) {
    say("ONESHOT_RAO and its credentials are not set: every request has to name one of the tenants in TENANTS_FILE.");
    return;
  }
  const names = [
    "ONESHOT_REGISTRATION_AUTHORITY",
    "ONESHOT_PROFILE",
    "ONESHOT_BILLING_USERNAME",
    "ONESHOT_BILLING_PASSWORD",
  ] as const;
  const missing = names.filter((name) => settings[name] === undefined);
  if (missing.length > 0) say(`Not set: ${missing.join(", ")}. The provider must have them in its own settings file.`);
  if (tenants.byName.get(DEFAULT_TENANT)?.raos.size === 0) {
    throw new ConfigError(
      "ONESHOT_RAO and ONESHOT_RAO_TOKEN (or ONESHOT_RAO_USERNAME, ONESHOT_RAO_PASSWORD and ONESHOT_RAO_PIN) are needed: nobody else can approve an identification.",
    );
  }
}

function mustHaveTenants({ apiKeys }: KeyRing, { byName }: Tenants): void {
  const without = apiKeys.find(({ tenant }) => tenant !== undefined && !byName.has(tenant));
  if (!without) return;
  throw new ConfigError(
    `API_KEYS: the key ${without.name} is for a tenant that there is not: there are ${[...byName.keys()].join(", ")}.`,
  );
}

interface SimulatorProcess {
  url: string;
  origin: string;
  stop(): Promise<void>;
}

/** The simulator, in a process of its own, which ends with this one. */
async function startSimulator(
  dataDir: string,
  more: readonly string[],
  signal: AbortSignal,
): Promise<SimulatorProcess> {
  const cli = new URL("./cli.ts", import.meta.url).pathname;
  const args = [
    cli,
    "simulate",
    "--port",
    "0",
    "--json",
    "--with-parent",
    "--data-dir",
    join(dataDir, "simulator"),
    ...more,
  ];
  const child: ChildProcess = spawn(process.execPath, args, {
    stdio: ["pipe", "pipe", "inherit"],
    env: withoutSettings(environment),
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
  };
  const ready = new Promise<string>((resolve, reject) => {
    if (child.stdout) createInterface({ input: child.stdout }).once("line", resolve);
    child.once("error", reject);
    child.once("exit", () => reject(new Error("The simulator ended before it was ready; see its message above.")));
  });
  try {
    const { url, origin } = JSON.parse(await unlessSet(signal, ready)) as { url: string; origin: string };
    return { url, origin, stop };
  } catch (error) {
    if (child.pid !== undefined) await stop();
    throw error;
  }
}

async function tellWebhook(origin: string, webhookUrl: string): Promise<void> {
  const { body } = await request(`${origin}/_sim/settings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ webhookUrl }),
  });
  await body.dump();
}

function readVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
