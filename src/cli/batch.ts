import { randomUUID } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ROW_STATES } from "../core/batch.ts";
import { PermanentError } from "../core/errors.ts";
import { readBatch } from "../producers/batch/read.ts";
import { namedFiles } from "../producers/manifest.ts";
import type { Batch, Client, Report } from "./client.ts";
import { wholeNumber } from "./requests.ts";
import { renderTable } from "./table.ts";
import { CliError, EXIT, type Terminal, visible, when } from "./terminal.ts";
import { type FilePart, toFilePart, toMultipart } from "./upload-body.ts";

/** The options of `signpipe batch`, as commander gives them. */
export type BatchOptions = Record<string, string | boolean | undefined>;

interface Call {
  api: Client;
  terminal: Terminal;
  what: string;
  options: BatchOptions;
}

/** What a folder is a batch by, in the order in which they are looked for. */
const TABLES = ["batch.csv", "batch.json"];
const LIST_MOST = 500;
const PROBLEMS_SHOWN = 30;
/** Of what is no terminal: nothing is folded. */
const NO_WIDTH = Number.POSITIVE_INFINITY;
const LEAST_ID_LETTERS = 8;
/** A table is read here for the names in it alone: how large it may be, the API says. */
const ROWS_MOST = 1_000_000;

const ACTS: Record<string, (call: Call) => Promise<number>> = {
  submit,
  list,
  show,
  results,
  pause: (call) => act(call, "pause"),
  resume: (call) => act(call, "resume"),
  cancel: (call) => act(call, "cancel"),
  retry: (call) => act(call, "retry"),
  async priority(call) {
    const { priority } = call.options;
    if (typeof priority !== "string") throw new CliError("Which priority? Give --priority with a number from 1 to 10.");
    return await act(call, "priority", { priority: toPriority(priority) });
  },
};

/** `signpipe batch <act> [what]`. The exit code. */
export async function runBatch(
  api: Client,
  terminal: Terminal,
  { act: name, what }: { act: string; what: string },
  options: BatchOptions,
): Promise<number> {
  const run = Object.hasOwn(ACTS, name) ? ACTS[name] : undefined;
  if (!run) throw new CliError(`There is no "batch ${visible(name)}": there are ${Object.keys(ACTS).join(", ")}.`);
  if (what === "" && name !== "list") {
    throw new CliError(name === "submit" ? "Which folder, or which table?" : "Which batch? Give its id.");
  }
  return await run({ api, terminal, what, options });
}

async function submit({ api, terminal, what, options }: Call): Promise<number> {
  const { out, err } = terminal;
  const path = tableIn(what);
  const table = readFileSync(path);
  const files = await filesOf(table, dirname(path));
  const { dryRun: isDryRun = false, canary = false, priority, name, json } = options;
  const said = {
    name: typeof name === "string" ? name : basename(dirname(resolve(path))).slice(0, 200),
    canary: canary === true,
    ...(typeof priority === "string" && { priority: toPriority(priority) }),
  };
  const fields = [
    { name: "options", bytes: Buffer.from(JSON.stringify(said)) },
    { name: "batch", bytes: table, type: "application/octet-stream" },
  ];
  const body = toMultipart(fields, files, () => {});
  const again = (waitMs: number) => err.line(`No answer; sent again in ${waitMs / 1000} s.`);
  if (isDryRun === true) {
    const { report } = await api.batches.dryRun(body, again);
    if (json === true) out.line(JSON.stringify(report, null, 2));
    else tellReport(report, terminal, "could be submitted");
    return report.rejected > 0 ? EXIT.endedOtherwise : EXIT.done;
  }
  const key = typeof options["idempotencyKey"] === "string" ? options["idempotencyKey"] : randomUUID();
  const sending = { ...body, headers: { ...body.headers, "idempotency-key": key } };
  const { batch, report } = await api.batches.submit(sending, again);
  if (json === true) {
    out.line(JSON.stringify({ batch, report }, null, 2));
  } else {
    tellReport(report, { ...terminal, out: err }, "are submitted");
    out.line(batch.id);
    err.line(`Follow it with: signpipe batch show ${batch.id}`);
  }
  return report.rejected > 0 ? EXIT.endedOtherwise : EXIT.done;
}

/** The table itself, or the one in a folder. */
function tableIn(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile()) return path;
  const inside = TABLES.map((name) => join(path, name)).find((one) =>
    statSync(one, { throwIfNoEntry: false })?.isFile(),
  );
  if (inside !== undefined) return inside;
  throw new CliError(`${visible(path)} is neither a table nor a folder with ${TABLES.join(" or ")} in it.`);
}

/** The files beside the table that its rows name. Those that are not there are told by the API, with their rows. */
async function filesOf(table: Buffer, folder: string): Promise<FilePart[]> {
  const names = new Set<string>();
  try {
    for await (const row of readBatch(table, { maxRows: ROWS_MOST })) {
      for (const name of row.files) names.add(name);
      if ("manifest" in row) for (const { name } of namedFiles(row.manifest.identity)) names.add(name);
    }
  } catch (error) {
    // What is wrong with it as a whole is known here already.
    if (error instanceof PermanentError) throw new CliError(visible(error.message));
    throw error;
  }
  // A table may be somebody else's: it fetches nothing from outside of its folder.
  return [...names]
    .filter((name) => basename(name) === name && !name.startsWith("."))
    .map((name) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
    .map((path) => toFilePart(path, "the table names it"));
}

function tellReport(
  { rows, good, rejected, problems, to_fetch, unused_files }: Report,
  { out }: Pick<Terminal, "out">,
  verb: string,
): void {
  out.line(`${good} of ${rows} rows ${verb}${rejected > 0 ? `; ${rejected} cannot be used as they are:` : "."}`);
  for (const { row, column, message } of problems.slice(0, PROBLEMS_SHOWN)) {
    out.line(`  row ${row}, ${visible(column)} ${visible(message)}`);
  }
  if (problems.length > PROBLEMS_SHOWN) out.line(`  … and more: --json has the first ${problems.length}`);
  if (to_fetch > 0) {
    const what = to_fetch === 1 ? "1 document is" : `${to_fetch} documents are`;
    out.line(`${what} fetched from the address in the row when it is submitted, and looked at then.`);
  }
  if (unused_files.length > 0) out.line(`Named by no row: ${unused_files.map(visible).join(", ")}`);
}

async function list({ api, terminal: { out, err }, options }: Call): Promise<number> {
  const page = await api.batches.page({ limit: String(LIST_MOST) });
  if (options["json"] === true) {
    out.line(JSON.stringify(page, null, 2));
    return EXIT.done;
  }
  if (page.items.length === 0) err.line("There are no batches yet.");
  const columns = [
    { title: "BATCH" },
    { title: "NAME", shrink: "end" as const },
    { title: "STATE" },
    { title: "OVER", align: "right" as const },
    { title: "ROWS", align: "right" as const },
    { title: "SINCE" },
  ];
  const rows = page.items.map(({ id, name, state, over, rows: all, created_at }) => [
    ...[id, visible(name ?? ""), state, String(over), String(all), when(created_at)],
  ]);
  if (rows.length > 0) for (const line of renderTable(columns, rows, { width: out.width })) out.line(line);
  return EXIT.done;
}

async function show({ api, terminal: { out }, what, options }: Call): Promise<number> {
  const batch = await api.batches.get(await findBatch(api, what));
  for (const line of options["json"] === true
    ? [JSON.stringify(batch, null, 2)]
    : describe(batch, out.width ?? NO_WIDTH))
    out.line(line);
  return EXIT.done;
}

function describe(batch: Batch, width: number): string[] {
  const { id, name, state, priority, asked, held, stands, rows, counts, over, waiting_for_people: waiting } = batch;
  const finish = batch.estimated_finish_at;
  const said: [title: string, text: string][] = [
    ["State", `${state}${asked === undefined ? "" : ` (${asked} is being carried out)`}, priority ${priority}`],
    ["Progress", `${toBar(over, rows)} ${over} of ${rows} rows are over`],
    ["Rows", inOrder(counts)],
    ...(waiting > 0 ? [["People", `${waiting} wait for people, for whom no time can be estimated`] as const] : []),
    ...(held ? [["Paused", `${visible(held.message)} (${held.code})`] as const] : []),
    ...(stands ? [["Stands", `${visible(stands.message)} (${stands.code}); then it goes on by itself`] as const] : []),
    ...(finish === undefined ? [] : [["Finish", `about ${when(finish)}`] as const]),
  ].map(([title = "", text = ""]) => [title, text]);
  const heading = `${id}${name === undefined ? "" : `  ${visible(name)}`}`;
  return [heading, ...said.flatMap(([title, text]) => folded(title, text, width))];
}

const BAR_LETTERS = 20;

/** Full only when all is over, and empty only when nothing is. */
function toBar(over: number, rows: number): string {
  const share = rows === 0 ? 0 : over / rows;
  const full = share >= 1 ? BAR_LETTERS : Math.min(Math.ceil(share * BAR_LETTERS), BAR_LETTERS - 1);
  return `[${"#".repeat(full)}${"-".repeat(BAR_LETTERS - full)}] ${Math.floor(share * 100)} %,`;
}

/** How many rows are where, in the order in which rows go through it. */
function inOrder(counts: Record<string, number>): string {
  const place = (state: string) => ROW_STATES.indexOf(state as (typeof ROW_STATES)[number]);
  const states = Object.entries(counts).toSorted(([a], [b]) => place(a) - place(b));
  return states.map(([state, count]) => `${count} ${state}`).join(", ");
}

const TITLE_LETTERS = 11;

/** A title and what is said under it, in lines that a terminal does not break. */
function folded(title: string, text: string, width: number): string[] {
  const lines = [""];
  // A number stays with what it counts.
  for (const word of text.split(/(?<!\d) /)) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && TITLE_LETTERS + line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map((line, i) => (i === 0 ? title : "").padEnd(TITLE_LETTERS) + line);
}

async function results({ api, terminal, what, options: { output } }: Call): Promise<number> {
  const id = await findBatch(api, what);
  const isJson = typeof output === "string" && /\.json$/i.test(output);
  const pieces = api.batches.results(id, isJson ? "results.json" : "results.csv");
  if (typeof output !== "string") {
    for await (const piece of pieces) terminal.out.stream.write(piece);
    return EXIT.done;
  }
  let file: FileHandle | undefined;
  try {
    file = await open(output, "wx", 0o600);
    for await (const piece of pieces) await file.writeFile(piece);
    await file.close();
  } catch (error) {
    await file?.close().catch(() => {});
    if (file) await rm(output, { force: true });
    if (error instanceof CliError) throw error;
    throw new CliError(`${visible(output)} cannot be written (${(error as NodeJS.ErrnoException).code ?? "error"}).`);
  }
  terminal.err.line(`Saved as ${visible(output)}.`);
  return EXIT.done;
}

async function act({ api, terminal: { out }, what, options }: Call, path: string, json?: object): Promise<number> {
  const batch = await api.batches.act(await findBatch(api, what), path, json);
  for (const line of options["json"] === true
    ? [JSON.stringify(batch, null, 2)]
    : describe(batch, out.width ?? NO_WIDTH))
    out.line(line);
  return EXIT.done;
}

/** A whole id, or the beginning of one that no other begins with. */
async function findBatch(api: Client, typed: string): Promise<string> {
  if (/^bat-[0-9a-z]{26}$/.test(typed)) return typed;
  if (typed.length < LEAST_ID_LETTERS || !typed.startsWith("bat-")) {
    throw new CliError(`"${visible(typed)}" is no batch: give its id, like bat-… (signpipe batch list has them).`);
  }
  const { items } = await api.batches.page({ limit: String(LIST_MOST) });
  const [first, second] = items.filter(({ id }) => id.startsWith(typed));
  if (!first)
    throw new CliError(`There is no batch that begins with ${visible(typed)} (signpipe batch list has them).`);
  if (second) throw new CliError(`Several batches begin with ${visible(typed)}: give more of the id.`);
  return first.id;
}

function toPriority(text: string): number {
  return wholeNumber("--priority", text, { least: 1, most: 10 });
}
