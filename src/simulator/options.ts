/** How an identification at `videoid_link` ends. */
export type Outcome = "complete" | "incomplete" | "fail";

export type Humans = {
  /** "auto" identifies by itself after `signerDelayMs`. Default "off". */
  signer: "off" | "auto";
  signerDelayMs: number;
  signerOutcome: Outcome | "incomplete-then-complete";
  /** "auto" approves what is in VIDEOREVIEW by itself, as an operator of the provider may. Default "off". */
  rao: "off" | "auto";
  raoDelayMs: number;
};

export type WebhookOptions = {
  /** Payload: the newest nested shape, or the flat one of the first generation. Default "new". */
  shape: "new" | "old";
  delayMs: number;
  /** Every notification is sent twice. */
  duplicate: boolean;
  /** Two by two, the later one is sent first. */
  reorder: boolean;
  /** None is sent, or every n-th one is left out. */
  drop: boolean | number;
  /** How many are under way at once. Default 16. */
  concurrency: number;
  /** Give up on one that is not answered within this time. Default 5000. */
  timeoutMs: number;
};

/** Known values. Whatever is not given is not checked beyond its form. */
export type Credentials = {
  rao?: { username: string; password: string; pin: string; rao?: string };
  /** RAO tokens that exist from the start. */
  tokens?: string[];
  /** The password in plain text; calls carry it in Base64. */
  billing?: { username: string; password: string };
  registrationAuthorities?: string[];
  /** Kinds of external authentication that were agreed upon. */
  extUnlockTypes?: string[];
};

/** What can be changed while the simulator runs. */
export type Settings = {
  webhookUrl: string | undefined;
  webhooks: WebhookOptions;
  humans: Humans;
  /** Added to every API call. */
  latencyMs: number;
  /** An OTP is refused with 412 sooner than this after the last one. Default 60000. */
  otpGuardMs: number;
  /** Default 300000. */
  otpLifetimeMs: number;
  /** Wrong codes until the OTP is void. Default 3. */
  otpAttempts: number;
  /** Which published form of signed-document retrieval is served. Default "both". */
  retrieval: "both" | "seed" | "reference";
  /** `{status,message}`, FastAPI's `{detail}`, or `{status:"404 Not Found",details}`. Default "status". */
  errorStyle: "status" | "fastapi" | "old";
  /** Upload answer: object for one and array for several, always an array, or the first generation's. Default "new". */
  uploadShape: "new" | "array" | "old";
  /** Of `POST /videoid`. Default 200. */
  createStatus: 200 | 201;
  /** An unknown request is HTTP 400 with a 404 in the body, where the first generation did that. Default false. */
  notFoundAs400: boolean;
  /** `env` must be sent. Default false. */
  requireEnv: boolean;
  /** Default 10. */
  maxDocumentsPerCall: number;
  maxDocumentsPerRequest: number;
  /** Uploaded PDFs are written anew, without earlier signatures and scripts: the customer's `usepdfclean`. Default false. */
  pdfClean: boolean;
};

type Tunable = Partial<Omit<Settings, "humans" | "webhooks" | "webhookUrl">>;

export type SimulatorOptions = Tunable & {
  /** 0, the default, takes any free one. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Origin used in `videoid_link`; by default the address listened on. */
  publicOrigin?: string;
  /** Where files, CA and ledger live. Default: a new temporary folder, removed on close. */
  dataDir?: string;
  /** Default `ledger.jsonl` in `dataDir`. */
  ledgerPath?: string;
  humans?: Partial<Humans>;
  webhookUrl?: string;
  webhooks?: Partial<WebhookOptions>;
  credentials?: Credentials;
  /** Called once per API call, with nothing personal in it. */
  log?: (line: { operation: string; status: number; ms: number }) => void;
};

const DEFAULTS: Settings = {
  webhookUrl: undefined,
  webhooks: {
    shape: "new",
    delayMs: 0,
    duplicate: false,
    reorder: false,
    drop: false,
    concurrency: 16,
    timeoutMs: 5000,
  },
  humans: { signer: "off", signerDelayMs: 0, signerOutcome: "complete", rao: "off", raoDelayMs: 0 },
  latencyMs: 0,
  otpGuardMs: 60_000,
  otpLifetimeMs: 300_000,
  otpAttempts: 3,
  retrieval: "both",
  errorStyle: "status",
  uploadShape: "new",
  createStatus: 200,
  notFoundAs400: false,
  requireEnv: false,
  maxDocumentsPerCall: 10,
  maxDocumentsPerRequest: Number.MAX_SAFE_INTEGER,
  pdfClean: false,
};

/** The settings at start: defaults, and over them what the options say. */
export function settingsFrom(options: SimulatorOptions): Settings {
  const settings: Settings = structuredClone(DEFAULTS);
  const given = Object.entries(options).filter(([key, value]) => key in settings && value !== undefined);
  for (const [key, value] of given)
    if (key !== "humans" && key !== "webhooks") Object.assign(settings, { [key]: value });
  Object.assign(settings.humans, options.humans);
  Object.assign(settings.webhooks, options.webhooks);
  return settings;
}
