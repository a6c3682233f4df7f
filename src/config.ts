import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";

/** Thrown for a setting that cannot be used; the message names the variable and the remedy. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code = "bad-configuration";
}

const DAY_MS = 86_400_000;

const ms = (standard: number, { mostMs = Number.MAX_SAFE_INTEGER } = {}) =>
  z.coerce.number().int().min(0).max(mostMs).default(standard);
/** For what happens again and again, or is waited for with a timer: 0 would mean all the time, or not at all. */
const timer = (standard: number, { leastMs = 100 } = {}) =>
  z.coerce.number().int().min(leastMs).max(DAY_MS).default(standard);
const optional = z.string().min(1).optional();
const port = z.coerce.number().int().min(0).max(65_535);
const flag = z
  .enum(["true", "false", "1", "0", "yes", "no"], "must be true or false")
  .transform((word) => ["true", "1", "yes"].includes(word));

/**
 * Every setting, with its default and what it is for. The only file that reads the environment. Times are in
 * milliseconds. docs/configuration.md is written from this.
 */
export const SETTINGS = z.object({
  DATA_DIR: z.string().default("./data").describe("Folder for the inbox, results, keys and the embedded Redis."),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/, error: "must be an address like redis://127.0.0.1:6379" })
    .optional()
    .describe("Redis to use. Without it one is found or started on this machine."),
  REDIS_PREFIX: z
    .string()
    .regex(/^\{[a-z0-9-]{1,40}\}$/i, "must be letters, digits and - in braces, like {signpipe}")
    .default("{signpipe}")
    .describe("Prefix of every key; a hash tag, so that all keys share one Cluster slot."),
  ONESHOT_URL: z
    .url({ protocol: /^https?$/, error: "must be an address like https://one-shot.example/oneshot/api/v1" })
    .optional()
    .describe("The One-Shot Optimizer, with base path (…/oneshot/api/v1). Without it the simulator is used."),
  ONESHOT_ENV: z.enum(["sandbox", "prod"]).optional().describe("Environment named in each creation."),
  ONESHOT_REGISTRATION_AUTHORITY: optional.describe("Number of the registration authority (RA)."),
  ONESHOT_PROFILE: optional.describe("Certificate profile, such as PFnubeQAFCiudadano."),
  ONESHOT_BILLING_USERNAME: optional.describe("Billing account."),
  ONESHOT_BILLING_PASSWORD: optional.describe("Its password, plain; it is sent as Base64."),
  ONESHOT_RAO: optional.describe("Number of the registration officer (RAO)."),
  ONESHOT_RAO_TOKEN: optional.describe("Token of the RAO's stored credentials; or give the next three."),
  ONESHOT_RAO_USERNAME: optional.describe("The RAO's user name."),
  ONESHOT_RAO_PASSWORD: optional.describe("The RAO's password."),
  ONESHOT_RAO_PIN: optional.describe("The RAO's PIN."),
  TENANTS_FILE: optional.describe(
    "JSON file with the accounts of further tenants, which requests choose by name (below). ONESHOT_* is the default one.",
  ),
  INBOXES_FILE: optional.describe(
    "JSON file with further inboxes, on this disk or on network shares (below). The one in DATA_DIR is always there.",
  ),
  ONESHOT_RETRIEVAL: z
    .enum(["auto", "seed", "reference"])
    .default("auto")
    .describe("Form of the call for signed documents; auto finds out."),
  ONESHOT_CALLBACK_URL: z
    .url({
      protocol: /^https?$/,
      error: "must be the address of the webhook, like https://sign.example/webhooks/oneshot/…",
    })
    .optional()
    .describe("Address of this program's webhook, for asynchronous signing. Without it the provider is asked."),
  ONESHOT_CONNECTIONS: z.coerce.number().int().min(1).max(1000).default(200).describe("Calls in flight at the most."),
  ONESHOT_RATE: z.coerce
    .number()
    .min(0)
    .max(10_000)
    .default(0)
    .describe(
      "Calls a second, of all processes together; 0 for no bound. Set it to what was agreed with the provider.",
    ),
  ONESHOT_TIMEOUT_MS: timer(30_000).describe("Bound on a call; signing has its own."),
  ONESHOT_SIGN_TIMEOUT_MS: timer(180_000).describe("Bound on a sign call."),
  ONESHOT_INCREMENTAL: flag
    .default(true)
    .describe("Signed files continue the original byte by byte; false where the Optimizer has usepdfclean on."),
  ONESHOT_COMPARE: z
    .enum(["text", "pages"])
    .default("text")
    .describe(
      "Where they do not, documents are recognised by the text of their pages, or by the number of pages alone.",
    ),
  API_HOST: z.string().default("127.0.0.1").describe("Address that the HTTP API listens on."),
  API_PORT: port.default(8080).describe("Its port; 0 takes any free one."),
  API_KEYS: optional.describe(
    "name:secret pairs, or name@tenant:secret for one tenant, separated by commas; sent as Authorization: Bearer <secret>.",
  ),
  API_RATE: z.coerce
    .number()
    .int()
    .min(0)
    .max(10_000_000)
    .default(30_000)
    .describe("Calls a minute with one key, at all processes together; 0 for no bound."),
  API_REFUSED_RATE: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(300)
    .describe("Calls a minute from one address without a valid key; beyond it they are told to wait. 0 for no bound."),
  API_PROXIES: z
    .string()
    .regex(
      /^[\da-f.:/]+(\s*,\s*[\da-f.:/]+)*$/i,
      "must be addresses or networks like 10.0.0.5 or 10.0.0.0/8, separated by commas",
    )
    .optional()
    .describe("Reverse proxies (addresses or networks) whose X-Forwarded-For says where a call comes from."),
  API_STREAMS: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(50)
    .describe("Streams of events that one key may have open at one process."),
  API_URL: optional.describe("For the command line: the API to talk to. Default: the one running on DATA_DIR."),
  API_KEY: optional.describe("For the command line: the secret to send. Default: the one kept in DATA_DIR."),
  METRICS_OPEN: flag.default(false).describe("Serve /metrics without a key."),
  WEBHOOK_SECRET: optional.describe("Last segment of the webhook path; at least 22 characters."),
  APPROVAL: z
    .enum(["manual", "auto"])
    .default("manual")
    .describe("Who approves identifications: a RAO, or nobody (auto)."),
  MASTER_KEY: optional.describe("Base64 of 32 bytes; encrypts personal data and codes."),
  APPEARANCE_DIR: optional.describe(
    "Folder with templates (NAME.json) and images (PNG) for visible signatures; default: appearance in DATA_DIR.",
  ),
  INBOX_SETTLE_MS: ms(5_000).describe("A file is taken once it has not changed for this long."),
  INBOX_INCOMPLETE_MS: ms(30_000).describe("A PDF without its end is set aside once it has not changed for this long."),
  INBOX_SETTLE_MAX_MS: ms(600_000).describe(
    "An empty PDF, and a folder without PDFs or with a file that is still being written, is set aside after this.",
  ),
  INBOX_SWEEP_MS: timer(15_000).describe("The inbox is listed this often, whatever the watcher says."),
  INBOX_FOLDER_SETTLE_MS: ms(30_000).describe(
    "A dropped folder, or a file that is no PDF, is taken once nothing in it changed for this long.",
  ),
  INBOX_BUNDLE_MS: ms(0).describe(
    "PDFs that come alone become one request with others for the same signer: with those that come within this time of the first, and until the code is sent. 0: each is a request of its own.",
  ),
  MAX_DOCUMENT_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .default(1_073_741_824)
    .describe("Largest document that is accepted, in bytes."),
  MAX_DOCUMENTS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(100)
    .describe(
      "Most documents that are taken at once, in a call or in a folder of the inbox; more than 10 become several requests that stay together.",
    ),
  BATCH_MAX_ROWS: z.coerce.number().int().min(1).max(1_000_000).default(50_000).describe("Most rows of a batch."),
  BATCH_MAX_TABLE_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(268_435_456)
    .default(33_554_432)
    .describe("Largest batch.csv or batch.json, in bytes. It is read into memory as a whole."),
  BATCH_MAX_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .default(17_179_869_184)
    .describe("All files of a batch together, in bytes, at the most."),
  BATCH_KEEP_MS: ms(14 * DAY_MS).describe(
    "How long the rows of a batch that did not all end well are kept after it is over, encrypted, for another try.",
  ),
  DISK_RESERVE_BYTES: ms(268_435_456).describe(
    "Room that stays free on the disk of DATA_DIR: below it nothing new is taken in and nothing is signed.",
  ),
  IDENTIFY_WITHIN_MS: ms(14 * DAY_MS).describe("How long a signer has for the video identification."),
  APPROVE_WITHIN_MS: ms(14 * DAY_MS).describe("How long a RAO has for the decision."),
  SIGN_WITHIN_MS: ms(7 * DAY_MS).describe("How long the signer has for the code."),
  CREATE_GRACE_MS: ms(600_000).describe("How long the outcome of an unanswered creation is left open."),
  SEAL_CHECK: z
    .enum(["on", "off"])
    .default("on")
    .describe("Before a code is sent: fetch the documents back and compare them with what was uploaded."),
  SETTLE_MS: ms(30_000).describe("How long an unanswered approval or upload may still be at work at the provider."),
  SIGN_SETTLE_MS: ms(180_000).describe("How long an unanswered signing may still be at work at the provider."),
  ASYNC_GRACE_MS: ms(1_800_000, { mostMs: DAY_MS / 2 }).describe(
    "How long what the provider signs in the background may take before it counts as not signed.",
  ),
  DELETE_GRACE_MS: ms(0).describe("How long a safe signed file waits before its copy at the provider goes."),
  RECONCILE_MS: timer(30_000).describe("Requests without a next step are looked for this often."),
  LOCK_MS: timer(15_000, { leastMs: 1_000 }).describe(
    "A step whose worker is silent for this long is taken over by another worker.",
  ),
  SHUTDOWN_GRACE_MS: ms(20_000, { mostMs: DAY_MS }).describe("Running steps get this long at shutdown."),
  CONCURRENCY: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe("Requests at work per stage; default: the stage's own."),
  CALLBACK_HOSTS: z
    .string()
    .regex(/^[^/\s,]+(\s*,\s*[^/\s,]+)*\s*,?$/, "must be hosts like crm.example or 10.0.0.5:8080, separated by commas")
    .optional()
    .describe(
      "Hosts (comma-separated; a port may follow) that callback_url may name although they are private, with http as well.",
    ),
  DOCUMENT_HOSTS: z
    .string()
    .regex(
      /^(https?:\/\/|\*\.)?[^/\s,*]+(\s*,\s*(https?:\/\/|\*\.)?[^/\s,*]+)*\s*,?$/,
      "must be hosts like files.example, *.store.example or http://10.0.0.5:9000, separated by commas",
    )
    .optional()
    .describe(
      "Hosts that documents may be fetched from (comma-separated): files.example or *.files.example by https from public addresses, http://10.0.0.5:9000 or https://store.internal from private ones too. Without it none are fetched.",
    ),
  CALLBACK_URL: z
    .string()
    .regex(
      /^([a-z][a-z0-9-]{0,39}=)?https?:\/\/[^\s,]+([\s,]+([a-z][a-z0-9-]{0,39}=)?https?:\/\/[^\s,]+)*$/,
      "must be an address like https://crm.example/hooks, or tenant=address, with spaces between several",
    )
    .optional()
    .describe("Told of every request that names no callback_url; tenant=address for those of one tenant."),
  CALLBACK_SECRETS: z
    .string()
    .regex(
      /^([a-z][a-z0-9-]{0,39}=)?whsec_[A-Za-z0-9+/]{32,86}={0,2}([\s,]+([a-z][a-z0-9-]{0,39}=)?whsec_[A-Za-z0-9+/]{32,86}={0,2})*$/,
      "must be whsec_ and the Base64 of 24 to 64 bytes, or tenant=whsec_…, with commas between several",
    )
    .optional()
    .describe(
      "Secrets that messages to callers are signed with, newest first; tenant=secret for one tenant's. Default: made from MASTER_KEY, one for each tenant.",
    ),
  INTAKE: flag.default(false).describe("Take requests from the queue intake, and answer them in the queue results."),
  INTAKE_DIR: optional.describe("Folder with the documents that jobs of the queue intake name by their path."),
  INTAKE_PLAIN: flag.default(false).describe("Take who signs from jobs of the queue intake in the clear as well."),
  INTAKE_TENANT_RATE: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(50)
    .describe("Jobs of the queue intake taken for one tenant in a second; what is over it waits, and is taken later."),
  RESULTS_MOST: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000_000)
    .default(100_000)
    .describe("Most jobs that wait in the queue results; beyond it the oldest go."),
  LOG_LEVEL: z
    .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
    .default("info")
    .describe("Least level that is logged, to standard error."),
});

export type Settings = z.infer<typeof SETTINGS>;
export type SettingName = keyof typeof SETTINGS.shape;

/** Variables of `.env`: NAME=value lines, # comments, optional quotes. */
function parseEnvFile(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=\s*(.*?)\s*$/.exec(line);
    if (!match) continue;
    const [, name = "", raw = ""] = match;
    const quoted = /^(["'])(.*)\1$/.exec(raw);
    found[name] = quoted ? (quoted[2] ?? "") : raw.replace(/\s+#.*$/, "");
  }
  return found;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** The environment as it is. */
export const environment: NodeJS.ProcessEnv = process.env;

function isOurs(name: string): boolean {
  return name in SETTINGS.shape || name.replace(/_FILE$/, "") in SETTINGS.shape;
}

/** The environment without our settings, some of which are secrets: for programs that need none of them. */
export function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isOurs(name)));
}

/**
 * The settings from the environment, `.env` in the working directory and `NAME_FILE` variables (the file's content,
 * for secrets). The environment wins. Throws ConfigError with one sentence for each variable.
 */
export function readSettings(
  env: Record<string, string | undefined> = environment,
  { envFile = ".env" }: { envFile?: string } = {},
): Settings {
  const sources = [env, parseEnvFile(readIfThere(envFile) ?? "")];
  const problems = Object.keys(sources[1] ?? {})
    .filter(isMisspelt)
    .map((name) => `${name} in ${envFile} is not a setting: correct its name, or take it out (docs/configuration.md).`);
  const given: Record<string, string> = {};
  for (const name of Object.keys(SETTINGS.shape)) {
    const { value, problem } = find(name, sources);
    if (value !== undefined) given[name] = value;
    if (problem !== undefined) problems.push(problem);
  }
  const parsed = SETTINGS.safeParse(given);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const name = issue.path.join(".");
      problems.push(`${name} cannot be used: it ${toRemedy(name, issue)} (docs/configuration.md).`);
    }
  }
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems.join("\n"));
  return { ...parsed.data, DATA_DIR: resolve(parsed.data.DATA_DIR) };
}

/**
 * Whether a name in `.env` can only be meant for us, and is none of ours: left out without a word, the simulator would
 * stand in for the provider. The environment is not asked: others put names there too.
 */
function isMisspelt(name: string): boolean {
  return /^(?:ONESHOT|INBOX(?:ES)?|INTAKE|CALLBACK|API|MASTER|WEBHOOK|TENANTS?)_/.test(name) && !isOurs(name);
}

/** A setting's value where it is given first. Set to nothing, it is not given, wherever else it is. */
function find(
  name: string,
  sources: readonly Record<string, string | undefined>[],
): { value?: string; problem?: string } {
  const isGiven = (text: string | undefined): text is string => text !== undefined && text.trim() !== "";
  let isUnset = false;
  for (const source of sources) {
    const value: string | undefined = isUnset ? undefined : source[name];
    const file = source[`${name}_FILE`];
    if (isGiven(value) && isGiven(file)) return { problem: `${name} and ${name}_FILE are both set: keep one of them.` };
    if (isGiven(value)) return { value };
    if (isGiven(file)) return readGiven(`${name}_FILE`, file);
    isUnset ||= value !== undefined;
  }
  return {};
}

function readGiven(variable: string, path: string): { value?: string; problem?: string } {
  const content = readIfThere(path);
  if (content === undefined) return { problem: `${variable} names a file that cannot be read.` };
  if (content.trim() === "") return { problem: `${variable} names a file that is empty.` };
  return { value: content.replace(/\r?\n$/, "") };
}

/** What must be so, as the end of a sentence. Never repeats the value, which may be a secret. */
function toRemedy(name: string, issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      if (name.endsWith("_MS")) return "must be a whole number of milliseconds, like 5000";
      return name.endsWith("_BYTES") ? "must be a whole number of bytes, like 1048576" : "must be a whole number";
    case "too_small":
      return `must be at least ${String(issue.minimum)}`;
    case "too_big":
      return `must be at most ${String(issue.maximum)}`;
    case "invalid_value":
      return issue.message.startsWith("Invalid") ? `must be ${issue.values.map(String).join(" or ")}` : issue.message;
    default:
      return issue.message;
  }
}
