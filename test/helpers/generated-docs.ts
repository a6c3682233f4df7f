import { readFileSync } from "node:fs";
import { type SettingName, SETTINGS } from "../../src/config.ts";
import { AGE_LIMITS } from "../../src/core/ages.ts";
import { type Ending, type Event, MOVES, PHASES, move } from "../../src/core/status.ts";
import { rowJsonSchema } from "../../src/producers/batch/columns.ts";
import { notificationJsonSchema } from "../../src/core/notification.ts";
import { intakeJsonSchema } from "../../src/producers/intake/job.ts";
import { resultJsonSchema } from "../../src/queues/answers.ts";
import { manifestJsonSchema } from "../../src/producers/manifest.ts";
import { CONTROLS } from "../../src/simulator/control.ts";
import { FAULT_KINDS } from "../../src/simulator/faults.ts";
import { OPERATIONS } from "../../src/simulator/operations.ts";
import { listScenarios } from "../../src/simulator/scenarios.ts";
import { choicesOf, namedSwitches } from "../../src/simulator/switches.ts";
import { STAGE_NAMES, stages } from "../../src/workers/index.ts";
import { clientTypes } from "./client-types.ts";
import { INBOXES } from "./inboxes-docs.ts";

/** Documents that are made from the code, so that they cannot disagree with it. */
export const DOCUMENTS: readonly { path: string; write: () => string }[] = [
  { path: "docs/configuration.md", write: configuration },
  { path: "docs/states.md", write: states },
  { path: "docs/simulator.md", write: simulator },
  { path: "docs/batch-row.schema.json", write: () => `${JSON.stringify(rowJsonSchema(), null, 2)}\n` },
  { path: "docs/request.schema.json", write: () => `${JSON.stringify(manifestJsonSchema(), null, 2)}\n` },
  { path: "docs/notification.schema.json", write: () => `${JSON.stringify(notificationJsonSchema(), null, 2)}\n` },
  { path: "docs/intake.schema.json", write: () => `${JSON.stringify(intakeJsonSchema(), null, 2)}\n` },
  { path: "docs/result.schema.json", write: () => `${JSON.stringify(resultJsonSchema(), null, 2)}\n` },
  { path: "src/client/schema.ts", write: clientTypes },
];

const NOTE = "<!-- Made from the code by `npm run docs`; do not edit. -->";

function configuration(): string {
  const rows = (Object.keys(SETTINGS.shape) as SettingName[]).map((name) => {
    const schema = SETTINGS.shape[name];
    const parsed = schema.safeParse(undefined);
    const standard = parsed.success && parsed.data !== undefined ? `\`${String(parsed.data)}\`` : "";
    return `| \`${name}\` | ${standard} | ${schema.description ?? ""} |`;
  });
  return `# Configuration

${NOTE}

Settings come from the environment, then from a file \`.env\` in the working directory. Any of them can be given as
\`NAME_FILE\`, the path of a file that holds the value: the right way for secrets. One of the
two, not both. A setting that cannot be used stops the start with a sentence that names it, and what it must be. Times are in milliseconds, sizes in bytes.

\`API_KEYS\`, \`WEBHOOK_SECRET\` and \`MASTER_KEY\` are made at the first start when they are not given, and kept in
\`DATA_DIR/keys\`, readable by the owner alone; the start message says where. Keep a copy of the master key: without it
nobody can read who signs what. Processes that run apart need the same \`MASTER_KEY\`, \`REDIS_URL\` and \`DATA_DIR\`.

| Variable | Default | What it is for |
|---|---|---|
${rows.join("\n")}
${APPEARANCE}${TENANTS}${INBOXES}`;
}

const APPEARANCE = `
## How signatures look

\`APPEARANCE_DIR\` is a folder with templates and images for signatures that can be seen. A template is a file \`NAME.json\`
with what would otherwise stand in a manifest under \`signature.appearance\`; its name has letters, digits, \`-\` and \`_\`. An
image is a PNG of at most 5 MiB that lies beside it. Both are read when a request is handed in, so that a change needs no
restart and holds for what comes after it; links are followed.

\`\`\`json
{
  "text": ["Signed by %(CN)s", "%(DATE)s"],
  "date": "%d/%m/%Y %H:%M",
  "timezone": "Europe/Madrid",
  "position": "300, 40, 520, 100",
  "page": 0,
  "image": "logo.png"
}
\`\`\`

All tenants have the same templates. Images that were used are kept in \`DATA_DIR/images\`, and stored at the provider
when they are needed there. What the fields mean is in [api.md](api.md#a-signature-that-can-be-seen).
`;

const TENANTS = `
## Tenants

Requests can be made on the accounts of several tenants, who share the Optimizer at \`ONESHOT_URL\`. A manifest chooses
one, and one of its registration officers, by name: \`"tenant": "acme", "rao": "maria"\`. Without a name it is the
default tenant, whose account is the \`ONESHOT_*\` settings, and the first officer in the file. A name that is not there is
refused when the request is handed in, with the names that are. Where \`ONESHOT_RAO\` is not set there is no default
tenant, and every manifest has to name one.

The accounts stand in the JSON file that \`TENANTS_FILE\` names, and nowhere else; records, logs and answers have the names
alone.

\`\`\`json
{
  "acme": {
    "env": "prod",
    "registration_authority": 139,
    "profile": "PFnubeQAFCiudadano",
    "billing_username": "acme",
    "billing_password_file": "/run/secrets/provider/acme-billing-password",
    "raos": {
      "maria": { "rao": 1400, "token_file": "/run/secrets/provider/acme-maria-token" },
      "jose": {
        "rao": 1401,
        "username": "9001800",
        "password_file": "/run/secrets/provider/acme-jose-password",
        "pin_file": "/run/secrets/provider/acme-jose-pin"
      }
    }
  }
}
\`\`\`

- A tenant has \`raos\`, one or several, each with its number (\`rao\`) and a \`token\`, or \`username\`, \`password\` and
  \`pin\`. A token that was stored without them can have \`password\` and \`pin\` beside it. Everything else may be left out
  where the Optimizer has it in its own settings.
- Names are small letters, digits and \`-\`, beginning with a letter.
- \`token\`, \`username\`, \`password\`, \`pin\`, \`billing_username\` and \`billing_password\` can be given as \`…_file\`, the path
  of a file that holds the value, seen from the folder of \`TENANTS_FILE\`. A file with the secrets themselves in it should
  be for its owner alone (mode 0600); the start and \`signpipe doctor\` warn when it is not.
- Every process needs the file, for the names. Only workers read the files with secrets that it names: the others need
  not have them.
- Every call carries its own tenant's account, and calls with credentials that the provider rejects stand still for that
  tenant alone.
- A change is read at the next start. Requests of a tenant, or of an officer, that was taken out meanwhile wait for
  \`a configured tenant\` and do not fail; they go on once it is back.
- The same document for the same signer is a duplicate within a tenant, not across two.
- An API key for one tenant is written \`name@tenant:secret\`. It hands in for that tenant alone, whether the manifest
  names it or not, and other tenants' requests do not exist for it. What is about everybody (\`/metrics\`, \`/v1/lanes\`, the
  board) is for keys without a tenant. A key for the account of the settings is \`name@default:secret\`.
`;

function states(): string {
  const events = [...new Set(PHASES.flatMap((phase) => Object.keys(MOVES[phase])))] as Event[];
  const cell = (phase: (typeof PHASES)[number], event: Event) => {
    try {
      // What is over is at the last stage.
      const over = event === "clean" ? { stage: STAGE_NAMES.at(-1) ?? "", ending: phase as Ending } : undefined;
      const from = { stage: over?.stage ?? "upload", phase };
      const at = move(from, event, { stages: STAGE_NAMES, to: "create", ending: over?.ending });
      const elsewhere =
        at.stage === "upload" ? "" : event === "requeue" ? " (at the stage it is sent to)" : ` (${at.stage})`;
      return at.phase + elsewhere;
    } catch {
      return "";
    }
  };
  const table = PHASES.map((phase) => `| **${phase}** | ${events.map((event) => cell(phase, event)).join(" | ")} |`);
  const list = stages.map(({ name, title, retryFrom }) => `| \`${name}\` | ${title} | \`${retryFrom}\` |`);
  const ages = AGE_LIMITS.map(({ phase, for: what, owner, limit, todo }) => {
    const named = limit.replaceAll(/[A-Z_]{4,}/g, "`$&`");
    return `| ${what ? `${phase} for \`${what}\`` : phase} | ${owner} | ${named} | ${todo} |`;
  });
  return `# States

${NOTE}

A request is at a **stage** in a **phase**: "upload, retrying". The phase is what the API calls \`state\`.

## Stages, in order

| Stage | What it does | A retry after a failure here goes on at |
|---|---|---|
${list.join("\n")}

## Moves

What an event makes of a request in a phase; an empty field is an impossible move. Shown for the stage \`upload\`.

| In phase | ${events.join(" | ")} |
|---|${events.map(() => "---").join("|")}|
${table.join("\n")}

- \`end\`: the request goes to \`cleanup\`, where its documents are removed at the provider, and then ends as
  \`refused\`, \`cancelled\`, \`expired\` or \`failed\`. After the last stage without such an end it is \`done\`.
- \`intend\`: a costly call is about to leave; if its outcome is never recorded, the stage asks the provider before it
  repeats the call.
- \`abandon\`: \`cleanup\` itself gave up; the request ends as it was to end, or \`failed\`.
- \`requeue\`: a person asked for a retry, for a new code, or for another identification (of what is kept at the provider it is
  \`cleanup\` that cancels it first); or \`cleanup\` found a request signed that was to end
  otherwise, and has its documents fetched: then it ends as \`done\`; or a further file of an inbox that bundles joined it
  after the upload.
- \`clean\`: a person asked for a retry of a request that is over and whose cleanup gave up: it is cleaned up again, and
  ends as before.

## How long, and whose turn

No state but an end may last for ever. \`signpipe doctor\` tells of requests that are older than this.

| State | Whose turn | At the most | Older: what to do |
|---|---|---|---|
${ages.join("\n")}
`;
}

/** The tables of a document that is otherwise written by hand, each between its marks. */
function simulator(): string {
  const tables: Record<string, string> = {
    faults: table(
      ["Kind", "What it does"],
      Object.entries(FAULT_KINDS).map(([kind, says]) => [`\`${kind}\``, says]),
    ),
    scenarios: table(
      ["Scenario", "What it is like", "Switches"],
      listScenarios().map(({ name, says, set }) => [`\`${name}\``, says, settingsIn(set).join(", ")]),
    ),
    switches: table(
      ["Switch", "May be", "What it does"],
      namedSwitches().map((row) => [`\`${row.name}\``, standardFirst(row.standard, choicesOf(row)), row.says]),
    ),
    controls: table(
      ["Call", "What it does"],
      CONTROLS.map(({ call, says }) => [`\`${call.replace(" ", " /control")}\``, says]),
    ),
    operations: table(
      ["Name", "What it does", "Newest", "First"],
      Object.entries<{ says: string; newest?: readonly string[]; first?: readonly string[] }>(OPERATIONS).map(
        ([name, { says, newest = [], first = [] }]) => [`\`${name}\``, says, ...[newest, first].map(formsIn)],
      ),
    ),
  };
  const text = readFileSync(new URL("../../docs/simulator.md", import.meta.url), "utf8");
  return Object.entries(tables).reduce(
    (whole, [name, rows]) =>
      whole.replace(
        new RegExp(`<!-- ${name} -->[^]*<!-- /${name} -->`),
        () => `<!-- ${name} -->\n\n${rows}\n\n<!-- /${name} -->`,
      ),
    text,
  );
}

const table = (heads: string[], rows: string[][]): string =>
  [heads, heads.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const formsIn = (forms: readonly string[]): string => forms.map((form) => `\`${form}\``).join("<br>");

const settingsIn = (set: object, prefix = ""): string[] =>
  Object.entries(set).flatMap(([name, value]) =>
    typeof value === "object" && value !== null
      ? settingsIn(value as object, `${name}.`)
      : [`\`${prefix}${name}=${String(value)}\``],
  );

/** What a switch may be, with what it is when nobody says in the first place. */
function standardFirst(standard: unknown, choices: string): string {
  if (standard === Number.MAX_SAFE_INTEGER) return "a number; without a limit";
  if (choices === "a number") return `a number; \`${String(standard)}\``;
  const first = `\`${String(standard)}\``;
  return [first, ...choices.split(", ").filter((choice) => choice !== first)].join(", ");
}
