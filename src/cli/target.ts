import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { Settings } from "../config.ts";
import { readApiKeys } from "../keys.ts";
import { CliError } from "./terminal.ts";

/** What a running signpipe leaves in DATA_DIR for the command line. */
const RunFile = z.object({
  pid: z.number().int(),
  /** The machine, or the container, in which this number means anything. */
  host: z.string().optional(),
  api: z.string(),
  redis_url: z.string().optional(),
  oneshot: z.string().optional(),
  simulator: z.string().optional(),
  parts: z.array(z.string()).optional(),
});
export type RunFile = z.infer<typeof RunFile>;

/** The API a command talks to, and the secret it sends. */
export interface Target {
  url: string;
  key: string;
  /** How the address was found, for sentences about it. */
  from: "API_URL" | "run.json";
}

/** run.json of DATA_DIR; undefined when there is none that can be read. */
export function readRunFile(dataDir: string): RunFile | undefined {
  try {
    return RunFile.parse(JSON.parse(readFileSync(join(dataDir, "run.json"), "utf8")));
  } catch {
    return undefined;
  }
}

/** Whether the signpipe that left this file is there: a process of this machine. */
export function isHere({ pid, host = hostname() }: RunFile): boolean {
  return host === hostname() && isAlive(pid);
}

/** Whether a process with this number is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The provider's address: ONESHOT_URL, or that of the simulator that stands in for it on DATA_DIR; undefined without. */
export function findProvider({ ONESHOT_URL: url, DATA_DIR }: Settings): string | undefined {
  const run = url === undefined ? readRunFile(DATA_DIR) : undefined;
  return url ?? (run && isHere(run) ? run.oneshot : undefined);
}

/** API_URL or the API that runs on DATA_DIR, with API_KEY or a key of DATA_DIR. Throws CliError with what to do. */
export function findTarget(settings: Settings): Target {
  const { API_URL: given, DATA_DIR: dataDir } = settings;
  const running = given === undefined ? readRunFile(dataDir) : undefined;
  const url = given ?? running?.api;
  if (url === undefined) {
    throw new CliError(
      `No signpipe runs on ${dataDir}: start it with "npm start", or name another one with API_URL (and API_KEY) or DATA_DIR.`,
    );
  }
  if (!URL.canParse(url)) throw new CliError(`API_URL is not an address like http://127.0.0.1:8080: mend it.`);
  const key = settings.API_KEY ?? ownKey(settings, url, given !== undefined);
  if (key === undefined) {
    throw new CliError(
      `There is no key for the API at ${shown(url)}: set API_KEY to the secret of one of its API_KEYS.`,
    );
  }
  return { url: url.replace(/\/+$/, ""), key, from: given === undefined ? "run.json" : "API_URL" };
}

/** A key of this machine goes to an API of this machine only. */
function ownKey(settings: Settings, url: string, isGiven: boolean): string | undefined {
  if (isGiven && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(url).hostname)) return undefined;
  const file = join(settings.DATA_DIR, "keys", "api-keys");
  const text = settings.API_KEYS ?? readIfThere(file);
  if (text === undefined) return undefined;
  const keys = readApiKeys({ text, from: settings.API_KEYS === undefined ? file : "API_KEYS" });
  return (keys.find(({ tenant }) => tenant === undefined) ?? keys[0])?.secret;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** An address as it may be shown: without user and password. */
export function shown(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
}
