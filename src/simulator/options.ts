import type { ScenarioName } from "./scenarios.ts";
import { CHANGE, HUMAN_SWITCHES, standardsOf, SWITCHES, WEBHOOK_SWITCHES } from "./switches.ts";
import type { SettingsChange, SwitchChange, ValuesOf } from "./switches.ts";

/** How an identification at `videoid_link` ends. */
export type Outcome = "complete" | "incomplete" | "fail";

export type Humans = ValuesOf<typeof HUMAN_SWITCHES>;
export type WebhookOptions = ValuesOf<typeof WEBHOOK_SWITCHES>;

/** What can be changed while the simulator runs. */
export type Settings = ValuesOf<typeof SWITCHES> & {
  webhookUrl: string | undefined;
  webhooks: WebhookOptions;
  humans: Humans;
};

/** Known values. Whatever is not given is not checked beyond its form. */
export type Credentials = {
  rao?: { username: string; password: string; pin: string; rao?: string };
  /** RAO tokens that exist from the start, and cannot be deleted. */
  tokens?: string[];
  /** The password in plain text; calls carry it in Base64. */
  billing?: { username: string; password: string };
  registrationAuthorities?: string[];
  /** Kinds of external authentication that were agreed upon. */
  extUnlockTypes?: string[];
};

export type SimulatorOptions = SwitchChange & {
  /** 0, the default, takes any free one. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Origin used in `videoid_link`; by default the address listened on. */
  publicOrigin?: string;
  /** Where files, state, CA and ledger live. Default: a new temporary folder, removed on close. */
  dataDir?: string;
  /** Default `ledger.jsonl` in `dataDir`. */
  ledgerPath?: string;
  webhookUrl?: string;
  /** Situations to begin with; what the options say beside them is over them. */
  scenarios?: readonly ScenarioName[];
  credentials?: Credentials;
  /** Called once per API call, with nothing personal in it. */
  log?: (line: { operation: string; status: number; ms: number }) => void;
};

/** What the options say about settings. */
export function givenOf(options: SimulatorOptions): SettingsChange {
  const names = [...Object.keys(SWITCHES), "humans", "webhooks", "webhookUrl"];
  return Object.fromEntries(
    Object.entries(options).filter(([key, value]) => names.includes(key) && value !== undefined),
  );
}

/** The settings at start: defaults, and over them what the options say. */
export function settingsFrom(options: SimulatorOptions): Settings {
  const settings: Settings = {
    ...standardsOf(SWITCHES),
    webhookUrl: undefined,
    webhooks: standardsOf(WEBHOOK_SWITCHES),
    humans: standardsOf(HUMAN_SWITCHES),
  };
  return changeSettings(settings, givenOf(options));
}

/** Changes what is named, and leaves the rest. Throws ZodError for what cannot be set. */
export function changeSettings(settings: Settings, change: SettingsChange): Settings {
  const { humans, webhooks, webhookUrl, ...plain } = CHANGE.parse(change);
  Object.assign(settings, plain);
  Object.assign(settings.humans, humans);
  Object.assign(settings.webhooks, webhooks);
  if (webhookUrl !== undefined) settings.webhookUrl = webhookUrl ?? undefined;
  return settings;
}
