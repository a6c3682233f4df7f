import type { Settings } from "../config.ts";
import { ENCLOSURES } from "../core/identity.ts";
import { STAGE_NAMES, type StageName } from "../workers/index.ts";
import { type Client, createClient } from "./client.ts";
import { readSecret } from "./read-secret.ts";
import { act, cancelGroup, list, resume, save, show, wholeNumber } from "./requests.ts";
import { type Part, PARTS } from "../parts.ts";
import { findTarget } from "./target.ts";
import { CliError, type Terminal } from "./terminal.ts";

/** What every command is given. Settings are read only by those that ask for them. */
export interface Context {
  terminal: Terminal;
  settings(): Settings;
  /** Set when somebody asks the command to stop. */
  signal: AbortSignal;
}

// Options are checked by commander: the flags below are what there is.
type Options = Record<string, string | boolean | undefined>;

export interface Command {
  name: string;
  /** As commander writes arguments: "<id>", "[code]", "<file...>". */
  args?: string[];
  summary: string;
  options?: [flags: string, description: string, standard?: string][];
  /** Shown below the help. */
  after?: string;
  run(context: Context, args: (string | string[] | undefined)[], options: Options): Promise<number>;
}

const JSON_OPTION: [string, string] = ["--json", "print JSON on standard output"];
const SIGNER_OPTIONS: [string, string][] = [
  ["--email <address>", "the signer's e-mail address"],
  ["--phone <number>", "the signer's mobile phone, like +34699999999"],
  ["--given-name <name>", "the signer's given name"],
  ["--surname-1 <name>", "the signer's surname"],
  ["--surname-2 <name>", "the signer's second surname"],
  ["--serial-number <text>", "number of the signer's identity document"],
];
const ID = "<id>";

function client({ settings, signal }: Context): Client {
  const read = settings();
  return createClient(findTarget(read), { dataDir: read.DATA_DIR, signal });
}

function text(value: string | string[] | undefined): string {
  return typeof value === "string" ? value : "";
}

/** A command that does one thing to one request. */
function acting(name: string, summary: string, { path = name, said }: { path?: string; said: string }): Command {
  return {
    name,
    args: [ID],
    summary,
    options: [JSON_OPTION],
    run: (context, [id], options) =>
      act(client(context), context.terminal, text(id), { path, said }, { json: options["json"] === true }),
  };
}

/** Every command, in the order of the help. */
export const COMMANDS: Command[] = [
  {
    name: "start",
    summary: "run everything: inbox, API, workers, and a Redis and a simulator where none is set",
    options: [["--only <parts>", `only these, with commas between them: ${PARTS.join(", ")}`]],
    after: "When the API listens, one line of JSON with all addresses is printed on standard output.",
    async run({ settings, terminal, signal }, _args, { only }) {
      const parts = typeof only === "string" ? toParts(only) : PARTS;
      const { runStart } = await import("./running.ts");
      return await runStart(settings(), parts, { terminal, signal });
    },
  },
  {
    name: "work",
    args: ["[stage...]"],
    summary: "run workers only, for all stages or for those named",
    after: `Stages, in order: ${STAGE_NAMES.join(", ")}`,
    async run({ settings, terminal, signal }, [names]) {
      const stages = toStages(Array.isArray(names) ? names : []);
      const { runWork } = await import("./running.ts");
      return await runWork(settings(), stages, { terminal, signal });
    },
  },
  {
    name: "inbox",
    args: ["<what>", "[path]"],
    summary: "list the inboxes, say what would become of a file, mark a new inbox, or go through all of them once",
    options: [JSON_OPTION],
    after:
      "list: mode and figures of each. test <path>: what would become of a file and which rule decides, whether it still changes and was handed in before; nothing is touched. init <name>: says that a folder of INBOXES_FILE is the one that was meant, and makes the folders of its route. sweep: takes what lies there, and ends.",
    async run({ settings, terminal, signal }, [what, path], { json }) {
      const { inbox } = await import("./inbox.ts");
      const argument = typeof path === "string" ? path : undefined;
      return await inbox(settings(), { what: text(what), argument, json: json === true }, { terminal, signal });
    },
  },
  {
    name: "submit",
    args: ["<file...>"],
    summary: "hand in documents that one person signs: PDFs, or any with --format cms",
    options: [
      ["-m, --manifest <file>", "JSON file that says who signs, and how (docs/api.md); - reads standard input"],
      ...SIGNER_OPTIONS,
      ["--id-document-type <type>", "its kind: IDC, PAS, PNO, TIN, CI, CE"],
      ["--id-document-country <code>", "its country, like ES"],
      ["--workflow <name>", "how the signer is identified: videoid, videoid-external, classic"],
      ["--document-front <file>", "picture of the identity document's front"],
      ["--document-rear <file>", "picture of its rear"],
      ["--document-photo <file>", "the portrait on it"],
      ["--document-owner <file>", "picture of the signer, who holds it"],
      ["--extra-document <file>", "what else shows who the signer is"],
      ["--video <file>", "film of the identification"],
      ["--reference <text>", "your own id for it; list and show find it again"],
      ["--tenant <name>", "on whose account, where there are several"],
      ["--rao <name>", "which of the tenant's registration officers, where there are several"],
      ["--auth <how>", 'how the signer authenticates: "sms", "whatsapp" or "external:<type>:<value>"'],
      ["--appearance <template>", "how the signature looks: a template of the operator's, by its name"],
      ["--format <what>", 'what comes back: "pades", the PDF signed, or "cms", a signature apart (.p7m) from any file'],
      ["--approval <who>", '"manual" (a registration officer) or "auto", where that is allowed'],
      ["--idempotency-key <key>", "makes the same submission twice count once; made up when not given"],
      ["-w, --wait", "stay until it is over"],
      JSON_OPTION,
    ],
    after:
      "More than ten documents become several requests, each identified, approved and signed by itself.\n" +
      "Files that the manifest names under identity are taken from beside it, or from where an option says.\n" +
      "Exit code: 0 accepted, or done with --wait; 2 ended otherwise than done; 1 a mistake or no answer.",
    async run(context, [paths], options) {
      const { submit } = await import("./submit.ts");
      const files = Array.isArray(paths) ? paths : [];
      const { terminal, signal } = context;
      return await submit(client(context), terminal, files, options, { stages: STAGE_NAMES, signal });
    },
  },
  {
    name: "batch",
    args: ["<act>", "[what]"],
    summary: "hand in many requests from a table, follow them, and steer them",
    options: [
      ["--dry-run", "with submit: check every row and file, and hand nothing in"],
      ["--canary", "with submit: one row goes ahead, the others follow when it is done"],
      ["--priority <n>", "with submit and priority: how many turns it gets beside other batches, 1 to 10"],
      ["--name <text>", "with submit: what you call it; the folder's name when not given"],
      ["--idempotency-key <key>", "with submit: makes the same batch twice count once; made up when not given"],
      ["-o, --output <file>", "with results: where to (results.csv or .json); a file that is there is not overwritten"],
      JSON_OPTION,
    ],
    after:
      "signpipe batch submit <folder or table>   hands in batch.csv or batch.json, and the files beside it that it names;\n" +
      "                                          a row may name an address instead (DOCUMENT_HOSTS)\n" +
      "signpipe batch list                       all batches, newest first\n" +
      "signpipe batch show <id>                  how many of its rows are where, and when it will be over\n" +
      "signpipe batch results <id>               what came of each row, as a table\n" +
      "signpipe batch pause|resume|cancel <id>   submit no more rows; go on; cancel what is not done\n" +
      "signpipe batch retry <id>                 try again what failed, expired or was cancelled, and nothing else;\n" +
      "                                          dropping its results.csv into the inbox does the same\n" +
      "signpipe batch priority <id> --priority 8 give it more turns, or fewer\n" +
      "An id may be shortened, like bat-0k3v. Columns, and what spreadsheets do to tables: docs/batches.md.\n" +
      "Exit code: 0; with submit, 2 when some rows cannot be used; 1 a mistake or no answer.",
    async run(context, [name, what], options) {
      const { runBatch } = await import("./batch.ts");
      return await runBatch(client(context), context.terminal, { act: text(name), what: text(what) }, options);
    },
  },
  {
    name: "list",
    summary: "list requests, newest first",
    options: [
      ["--state <state>", "only those in this state: queued, running, waiting, retrying, done, refused, …"],
      ["--reference <text>", "only those with this id of yours"],
      ["--tenant <name>", "only those of this tenant"],
      ["--group <id>", "only those that were handed in together with this one"],
      ["--limit <n>", "how many at the most", "20"],
      JSON_OPTION,
    ],
    run: (context, _args, { state, reference, tenant, group, limit, json }) =>
      list(client(context), context.terminal, {
        ...(typeof state === "string" && { state }),
        ...(typeof reference === "string" && { reference }),
        ...(typeof tenant === "string" && { tenant }),
        ...(typeof group === "string" && { group }),
        limit: wholeNumber("--limit", String(limit), { least: 1, most: 100_000 }),
        json: json === true,
      }),
  },
  {
    name: "show",
    args: [ID],
    summary: "say where a request is, and how it got there",
    options: [JSON_OPTION],
    run: (context, [id], options) =>
      show(client(context), context.terminal, text(id), { json: options["json"] === true }),
  },
  {
    name: "video",
    args: [ID],
    summary: "save the film of the identification, to look at before deciding",
    options: [["-o, --output <file>", "where to; a file that is there is not overwritten"]],
    run: (context, [id], { output }) =>
      save(client(context), context.terminal, text(id), { from: (api, found) => api.video(found), output }),
  },
  {
    name: "enclosure",
    args: [ID, "<name>"],
    summary: "save a file with which it was shown who the signer is, to look at before deciding",
    options: [["-o, --output <file>", "where to; a file that is there is not overwritten"]],
    after: `Names: ${ENCLOSURES.join(", ")}. signpipe show tells which there are.`,
    run: (context, [id, name], { output }) =>
      save(client(context), context.terminal, text(id), {
        from: (api, found) => api.enclosure(found, text(name)),
        output,
      }),
  },
  {
    name: "remind",
    args: [ID],
    summary: "have the signer reminded of the identification; prints the link once more",
    options: [JSON_OPTION],
    after: "Passing the link on is yours; whoever follows the request is told.",
    run: (context, [id], { json }) => {
      const what = {
        path: "remind",
        said: "Noted, for the link below:",
        gives: ({ videoid_link }: { videoid_link?: string | undefined }) => videoid_link,
      };
      return act(client(context), context.terminal, text(id), what, { json: json === true });
    },
  },
  {
    name: "correct",
    args: [ID],
    summary: "correct the signer's data while the identification is open",
    options: [
      ["--data <file>", "JSON object with what is to be corrected (docs/api.md); - reads standard input"],
      ...SIGNER_OPTIONS,
      ["--birth-date <date>", "the signer's date of birth, like 1990-12-31; kept by the provider alone"],
      ["--country-name <code>", "the signer's country, like ES; kept by the provider alone"],
      JSON_OPTION,
    ],
    after: "What the provider says of it shows in: signpipe show. Arguments can be seen by others on this machine.",
    async run(context, [id], options) {
      const { toCorrection } = await import("./correct.ts");
      const what = { path: "correct", json: toCorrection(options), said: "Taken:" };
      return await act(client(context), context.terminal, text(id), what, { json: options["json"] === true });
    },
  },
  acting("restart", "begin the identification anew; the one before is cancelled at the provider first", {
    said: "Begins anew:",
  }),
  acting("approve", "approve the signer's identification, as a registration officer", { said: "Approved:" }),
  {
    name: "refuse",
    args: [ID],
    summary: "refuse the signer's identification, as a registration officer",
    options: [["--reason <text>", "why, in a sentence; the provider keeps it"], JSON_OPTION],
    async run(context, [id], { reason, json }) {
      if (typeof reason !== "string" || reason.trim() === "") throw new CliError("Why? Give --reason with a sentence.");
      const what = { path: "refuse", json: { reason }, said: "Refused:" };
      return await act(client(context), context.terminal, text(id), what, { json: json === true });
    },
  },
  {
    name: "code",
    args: [ID, "[code]"],
    summary: "hand over the code that the signer was sent",
    options: [JSON_OPTION],
    after:
      "Without a code it is asked for, or read from standard input: arguments can be seen by others on this machine.",
    async run(context, [id, given], { json }) {
      const { terminal } = context;
      if (given !== undefined) {
        terminal.err.line("A code in the arguments can be seen in the process list; leave it out to be asked for it.");
      }
      const api = client(context);
      const secret = given === undefined ? await readSecret(terminal, "Code: ") : text(given);
      return await act(
        api,
        terminal,
        text(id),
        { path: "code", json: { secret }, said: "Taken:" },
        { json: json === true },
      );
    },
  },
  acting("resend", "have a new code sent", { path: "code/resend", said: "A new code is on its way:" }),
  {
    name: "cancel",
    args: ["[id]"],
    summary: "cancel a request; others of its group go on",
    options: [["--group <id>", "cancel all that were handed in together with this one"], JSON_OPTION],
    async run(context, [id], { group, json }) {
      if ((id === undefined) === (group === undefined)) {
        throw new CliError("Which one? Give its id, or --group with the id of one of those that came together.");
      }
      const api = client(context);
      const how = { json: json === true };
      if (typeof group === "string") return await cancelGroup(api, context.terminal, group, how);
      return await act(api, context.terminal, text(id), { path: "cancel", said: "Cancelling:" }, how);
    },
  },
  acting("retry", "take a failed or expired request up again, or have one that is over cleaned up again", {
    said: "Taken up again:",
  }),
  {
    name: "notifications",
    args: ["<what>", "[id]", "[notification]"],
    summary: "list what a request's callback address was told; replay it; print the secret that signs it",
    options: [
      ["--since <time>", "replay: all that came about since then and was not delivered, of all requests"],
      ["--tenant <name>", "secret: whose, where there are several"],
      JSON_OPTION,
    ],
    after:
      "signpipe notifications <id>                        list\n" +
      "signpipe notifications replay <id> [notification]  tell one once more, or all that were not delivered\n" +
      "signpipe notifications secret                      for whoever verifies signatures; keep it as a password",
    async run(context, [what, id, notification], { since, tenant, json }) {
      const told = await import("./notifications.ts");
      const { terminal } = context;
      const how = { json: json === true };
      if (text(what) === "secret") {
        return told.printSecrets(context.settings(), terminal, typeof tenant === "string" ? tenant : undefined);
      }
      if (text(what) !== "replay") return await told.listNotifications(client(context), terminal, text(what), how);
      const which = {
        typed: text(id),
        notification: text(notification),
        since: typeof since === "string" ? since : undefined,
      };
      return await told.replayNotifications(client(context), terminal, which, how);
    },
  },
  {
    name: "intake",
    args: ["<what>"],
    summary: "key: print the public key with which who signs is sealed in jobs of the queue intake",
    async run({ settings, terminal }, [what]) {
      const { printIntakeKey } = await import("./notifications.ts");
      return await printIntakeKey(settings(), terminal, text(what));
    },
  },
  {
    name: "resume",
    summary: "let calls to the provider go on that stand still, after the cause was mended there",
    options: [JSON_OPTION],
    after: "One call is let through first. With corrected credentials a restart is enough.",
    run: (context, _args, { json }) => resume(client(context), context.terminal, { json: json === true }),
  },
  {
    name: "token",
    args: ["<what>", "[uid]"],
    summary: "list, create or delete tokens: a RAO's credentials, stored at the provider",
    options: [
      ["--tenant <name>", "whose: list shows those it uses, create takes its environment"],
      ["--env <name>", "create: sandbox or prod; default: the tenant's, or ONESHOT_ENV"],
      ["--username <name>", "create: the RAO's user name; asked for when not given"],
      ["--password-file <file>", "create: file with the password; asked for without echo when not given"],
      ["--pin-file <file>", "create: file with the PIN; asked for without echo when not given"],
      ["--configured", "create: take user name, password and PIN from the configuration"],
      ["--rao <name>", "with --configured: which of the tenant's; default: the first"],
      ["--yes", "delete: although the configuration uses it"],
      JSON_OPTION,
    ],
    after:
      "Talks to the provider itself, with the settings of this machine. Where no terminal is, user name, password and PIN are lines of standard input, and so is the uid that delete is not given.",
    async run({ settings, terminal }, [what, uid], options) {
      const { token } = await import("./token.ts");
      return await token(
        settings(),
        terminal,
        { what: text(what), uid: typeof uid === "string" ? uid : undefined },
        options,
      );
    },
  },
  {
    name: "simulate",
    summary: "run the stand-in for the provider alone; nothing it signs counts",
    options: [
      ["--port <n>", "port to listen on; 0 takes any free one", "8090"],
      ["--host <address>", "address to listen on", "127.0.0.1"],
      ["--origin <url>", "how people reach its pages, for the links to them, where that is another address"],
      ["--data-dir <folder>", "where it keeps what outlives a restart; a temporary folder when not given"],
      ["--webhook-url <url>", "where it sends its notifications"],
      ["--scenario <names>", "situations to begin with, such as two-step,lost-webhooks; docs/simulator.md has them"],
      ["--set <switches>", "switches, such as errorStyle=fastapi,otpAttempts=5; over what a scenario says"],
      ["--humans <who>", "people it plays by itself: none (as without it), signer, rao, all"],
      ["--human-delay <ms>", "how long they take, in milliseconds"],
      ["--latency <ms>", "added to every call, in milliseconds"],
      ["--otp-guard <ms>", "least time between two codes, in milliseconds; 60000 when not given"],
      ["--retrieval <form>", "form of the call for signed documents: both (as without it), seed, reference"],
      ["--error-style <style>", "how refusals are worded: status (as without it), fastapi, old, upstream"],
      ["--json", "print one line of JSON when it listens"],
      ["--with-parent", "stop when standard input ends"],
    ],
    after: "All of it: docs/simulator.md.",
    async run({ terminal, signal }, _args, options) {
      const { simulate } = await import("./simulate.ts");
      return await simulate(options as unknown as Parameters<typeof simulate>[0], terminal, signal);
    },
  },
  {
    name: "doctor",
    summary: "check this machine, the settings, Redis, the provider and every request, and say what to do",
    options: [
      ["--provider", "ask the provider about each open request, too"],
      ["--tenant <name>", "look at the provider alone, as this tenant (default: default), and say what it answers"],
      JSON_OPTION,
    ],
    after:
      "With --tenant: whether the provider's server is what its pages promise, by calls that cost nothing and do nothing there, and what it answers where the pages leave something open. Exit code: 0 when nothing fails, else 1.",
    async run({ settings, terminal }, _args, options) {
      const { doctor } = await import("./doctor.ts");
      const what = { json: options["json"] === true, provider: options["provider"] === true };
      const tenant = typeof options["tenant"] === "string" ? options["tenant"] : undefined;
      return await doctor(settings, terminal, { ...what, tenant });
    },
  },
  {
    name: "recover",
    summary: "after Redis was lost or is older than it should be: make its records again from the journal",
    options: [
      ["--yes", "do it; without this it is only told what would be done"],
      ["--adopt", "take a Redis that belongs to another DATA_DIR"],
      ["--incomplete", "go on although the journal is not whole"],
      JSON_OPTION,
    ],
    after: "Stop every signpipe first. What to look at afterwards is told at the end, and in docs/operations.md.",
    async run({ settings, terminal, signal }, _args, options) {
      const { recover } = await import("./recover.ts");
      const has = (name: string) => options[name] === true;
      const what = { yes: has("yes"), adopt: has("adopt"), incomplete: has("incomplete"), json: has("json") };
      return await recover(settings(), what, terminal, signal);
    },
  },
  {
    name: "verify",
    args: ["[request]"],
    summary: "check a request, or all, without asking anybody: journal, documents, signatures, evidence",
    options: [["--all", "every request of DATA_DIR"], JSON_OPTION],
    after:
      "Needs DATA_DIR, or a copy of it, and the master key for the journal's chain. Exit code: 0 when all is well, else 1.",
    async run({ settings, terminal }, [request], options) {
      const { verify } = await import("./verify.ts");
      const what = { all: options["all"] === true, json: options["json"] === true };
      return await verify(
        settings(),
        { request: typeof request === "string" ? request : undefined, ...what },
        terminal,
      );
    },
  },
  {
    name: "demo",
    summary: "show the whole pipeline on sample documents, with the simulator, in about ten seconds",
    async run({ settings, terminal, signal }) {
      const { demo } = await import("./demo.ts");
      return await demo(settings(), terminal, signal);
    },
  },
];

/** Parts by name, "api,inbox". Throws CliError that lists them. */
export function toParts(only: string): readonly Part[] {
  const names = only.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !(PARTS as readonly string[]).includes(name));
  if (unknown !== undefined) {
    throw new CliError(`--only: there is no part "${unknown}": there are ${PARTS.join(", ")}.`);
  }
  return PARTS.filter((part) => names.includes(part));
}

/** Stages by name; all when none is named. Throws CliError that lists them. */
export function toStages(names: string[]): readonly StageName[] {
  if (names.length === 0) return STAGE_NAMES;
  const unknown = names.filter((name) => !(STAGE_NAMES as readonly string[]).includes(name));
  if (unknown.length > 0) {
    throw new CliError(`There is no stage "${unknown.join('", "')}": there are ${STAGE_NAMES.join(", ")}.`);
  }
  return STAGE_NAMES.filter((name) => names.includes(name));
}
