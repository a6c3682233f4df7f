import type { Settings } from "../config.ts";
import type { Tenants } from "../tenants.ts";
import type { Stores } from "./stores.ts";
import type { RunFile } from "./target.ts";

export type Level = "ok" | "warn" | "fail";

/** What a check found, in one sentence, and what to do about it when it is not well. */
export interface Finding {
  check: string;
  level: Level;
  says: string;
  todo?: string;
}

export const ok = (check: string, says: string): Finding => ({ check, level: "ok", says });
export const warn = (check: string, says: string, todo: string): Finding => ({ check, level: "warn", says, todo });
export const fail = (check: string, says: string, todo: string): Finding => ({ check, level: "fail", says, todo });

/** What the checks look at. */
export interface Patient {
  settings: Settings;
  /** Without their secrets, where these cannot be read. */
  tenants: Tenants;
  run: RunFile | undefined;
  /** Undefined when no Redis is known. */
  redisUrl: string | undefined;
  /** Why Redis cannot be reached; undefined when it can, or when there is none. */
  unreached: string | undefined;
  /** Undefined when the simulator would stand in, and none runs. */
  oneshotUrl: string | undefined;
  /** Undefined when there is no Redis to look into. */
  stores: Stores | undefined;
  /** Key of the journal; undefined when there is no master key. */
  journalKey: Uint8Array | undefined;
  /** Ask the provider about each open request, too. */
  askProvider: boolean;
}
