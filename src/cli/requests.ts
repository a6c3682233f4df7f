import { type FileHandle, open, rm } from "node:fs/promises";
import { type Client, type HistoryLine, isOver, Refused, type Request } from "./client.ts";
import { findRequest } from "./find-request.ts";
import { ageOf, whatFor, whatToDo } from "./progress.ts";
import { renderTable } from "./table.ts";
import { CliError, EXIT, type Paint, type Terminal, visible, when, type Writer } from "./terminal.ts";

const PAGE_MOST = 200;
/** "req-" and 40 random bits: enough to tell requests apart, and to name them to the other commands. */
const SHORT_ID = 12;

const PAINTS: Record<string, Paint> = {
  done: "green",
  waiting: "yellow",
  retrying: "yellow",
  failed: "red",
  expired: "red",
  refused: "red",
  cancelled: "red",
};

export function paintState(writer: Writer, state: string): string {
  const paint = PAINTS[state];
  return paint ? writer.paint(paint, state) : state;
}

/** `signpipe list`: newest first, as a table or as the API tells it. */
export async function list(
  client: Client,
  { out, err }: Terminal,
  {
    state,
    reference,
    tenant,
    group,
    limit,
    json,
  }: { state?: string; reference?: string; tenant?: string; group?: string; limit: number; json?: boolean },
): Promise<number> {
  const whole = group === undefined ? undefined : await findGroup(client, group);
  const items: Request[] = [];
  let cursor: string | undefined;
  do {
    const size = String(Math.min(limit - items.length, PAGE_MOST));
    const page = await client.page({ state, reference, tenant, group: whole, limit: size, cursor });
    items.push(...page.items);
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined && items.length < limit);
  if (json) {
    out.line(JSON.stringify({ items, next_cursor: cursor ?? null }, null, 2));
    return EXIT.done;
  }
  // An API of another version may not tell; the list is what was asked for.
  for (const { reason } of await client.standstills().catch(() => [])) {
    err.line(err.paint("red", `Stands still: ${visible(reason)}`));
  }
  if (items.length === 0) {
    err.line(state || reference || tenant || group ? "No request fits." : "There are no requests yet.");
    return EXIT.done;
  }
  const columns = [
    { title: "REQUEST" },
    { title: "STATE" },
    { title: "WHERE", shrink: "end" as const },
    { title: "DOCUMENTS", shrink: "end" as const },
    { title: "REFERENCE", shrink: "middle" as const },
    { title: "AGE", align: "right" as const },
  ];
  const rows = items.map((request) => [
    request.id.slice(0, SHORT_ID),
    paintState(out, request.state),
    isOver(request.state) ? visible((request.notice ?? request.failure)?.code ?? "") : where(request),
    documentsOf(request),
    visible(request.reference ?? ""),
    ageOf(request),
  ]);
  for (const line of renderTable(columns, rows, { width: out.width, title: (text) => out.paint("bold", text) }))
    out.line(line);
  if (cursor !== undefined) err.line(`There are more: use --limit, or --state and --reference to narrow it down.`);
  return EXIT.done;
}

function where({ stage, waiting }: Request): string {
  return waiting ? `${stage}: ${whatFor(waiting.for)}` : stage;
}

function documentsOf({ documents }: Request): string {
  const [first] = documents;
  if (!first) return "";
  const name = visible(first.name);
  return documents.length === 1 ? name : `${name} + ${documents.length - 1}`;
}

/** `signpipe show`: where a request is, and how it got there. */
export async function show(
  client: Client,
  { out }: Terminal,
  typed: string,
  { json }: { json?: boolean },
): Promise<number> {
  const id = await findRequest(client, typed);
  const [request, history] = await Promise.all([client.get(id), client.history(id)]);
  if (json) {
    out.line(JSON.stringify({ ...request, history }, null, 2));
    return EXIT.done;
  }
  for (const line of describeRequest(request, out)) out.line(line);
  out.line();
  out.line(out.paint("bold", "History"));
  for (const line of describeHistory(history, out)) out.line(line);
  return EXIT.done;
}

function describeRequest(request: Request, out: Writer): string[] {
  const { id, workflow, reference, tenant, group, bundle, waiting, failure, notice, documents, enclosures } = request;
  const { request_pk, videoid_link, created_at, updated_at } = request;
  const { former_request_pks: former = [], reminders, order } = request;
  const fields: [string, string | undefined][] = [
    ["State", `${paintState(out, request.state)}${isOver(request.state) ? "" : `, at ${request.stage}`}`],
    ["Waiting for", waiting && `${whatFor(waiting.for)}, until ${when(waiting.until)}`],
    ["Note", waiting?.detail && visible(waiting.detail)],
    ["Reason", failure && `${visible(failure.message)} (${visible(failure.code)})`],
    ["Mind", notice && `${visible(notice.message)} (${visible(notice.code)})`],
    ["Next", whatToDo(request)],
    ["Reference", reference && visible(reference)],
    ["Tenant", tenant && visible(tenant)],
    ["Group", group && `${group.n} of ${group.of}  (signpipe list --group ${visible(group.id).slice(0, SHORT_ID)})`],
    [
      "Open for",
      bundle?.is_open ? `files of this signer, ${documents.length} of ${bundle.most}, until the code leaves` : "",
    ],
    ["Handed in", enclosures && `${enclosures.map(({ name }) => visible(name)).join(", ")}  (signpipe enclosure)`],
    ["request_pk", [request_pk, ...former.map((pk) => `(before: ${pk})`)].join(" ").trim()],
    // A signer whom we identified has nothing to do there.
    [
      "Signer's page",
      waiting?.for === "identification" && workflow === "videoid" ? videoid_link && visible(videoid_link) : undefined,
    ],
    ["Reminded", reminders && `${times(reminders.count)}, last ${when(reminders.last_at)}`],
    ["Asked for", order && describeOrder(order)],
    ["Created", `${when(created_at)}, ${ageOf(request)} ${isOver(request.state) ? "until its end" : "ago"}`],
    ["Changed", when(updated_at)],
  ];
  const lines = [out.paint("bold", id)];
  for (const [name, value] of fields) if (value) lines.push(`  ${out.paint("dim", name.padEnd(13))}  ${value}`);
  for (const [i, { name, signed_sha256 }] of documents.entries()) {
    const title = out.paint("dim", (i === 0 ? (documents.length === 1 ? "Document" : "Documents") : "").padEnd(13));
    lines.push(`  ${title}  ${visible(name)}${signed_sha256 ? out.paint("green", "  signed") : ""}`);
  }
  return lines;
}

const times = (count: number) => (count === 1 ? "once" : `${count} times`);

/** "correction of email: refused (wrong-state)" */
function describeOrder({ kind, outcome, code, fields }: NonNullable<Request["order"]>): string {
  const what = fields && fields.length > 0 ? `${kind} of ${fields.join(", ")}` : kind;
  return visible(`${what}: ${outcome}${code ? ` (${code})` : ""}`);
}

function describeHistory(history: HistoryLine[], out: Writer): string[] {
  const rows = history.map(({ at, event, stage, phase, by, note }) => [
    out.paint("dim", when(at)),
    visible(event),
    visible(stage),
    paintState(out, visible(phase)),
    visible([by && `by ${by}`, note].filter(Boolean).join(", ")),
  ]);
  const columns = [{ title: "" }, { title: "" }, { title: "" }, { title: "" }, { title: "", shrink: "end" as const }];
  const indent = "  ";
  const width = out.width === undefined ? undefined : out.width - indent.length;
  return renderTable(columns, rows, { width })
    .slice(1)
    .map((line) => indent + line);
}

/** What a command does to a request, and what it says when the API took it. */
export interface Act {
  path: string;
  json?: unknown;
  said: string;
  /** Says what the person needs for the next step, and is printed on standard output. */
  gives?: (request: Request) => string | undefined;
}

/** `signpipe remind|correct|restart|approve|refuse|code|resend|cancel|retry`. */
export async function act(
  client: Client,
  { out, err }: Terminal,
  typed: string,
  { path, json, said, gives }: Act,
  { json: asJson }: { json?: boolean },
): Promise<number> {
  const id = await findRequest(client, typed);
  const request = await client.act(id, path, json);
  if (asJson) out.line(JSON.stringify(request, null, 2));
  else {
    err.line(`${said} ${id}. See how it goes on with: signpipe show ${id.slice(0, SHORT_ID)}`);
    const given = gives?.(request);
    if (given !== undefined) out.line(visible(given));
  }
  return EXIT.done;
}

/** The group that a person means by its id, by that of any of its requests, or by the beginning of one. */
async function findGroup(client: Client, typed: string): Promise<string> {
  const id = await findRequest(client, typed);
  const { group } = await client.get(id);
  if (group) return group.id;
  throw new CliError(`Request ${id} is not one of a group: it was handed in alone.`);
}

/**
 * `signpipe cancel --group`: cancels what is open of a group, one request after the other. One that cannot be cancelled
 * any more holds nobody up; it is told, and the exit code says that not all were.
 */
export async function cancelGroup(
  client: Client,
  { out, err }: Terminal,
  typed: string,
  { json }: { json?: boolean },
): Promise<number> {
  const { items } = await client.page({ group: await findGroup(client, typed), limit: String(PAGE_MOST) });
  const cancelled: Request[] = [];
  let isWhole = true;
  for (const { id, state } of items.reverse()) {
    if (isOver(state)) {
      err.line(`Is ${state} already: ${id}`);
      continue;
    }
    try {
      cancelled.push(await client.act(id, "cancel"));
      err.line(`Cancelling: ${id}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      isWhole = false;
      err.line(err.paint("red", visible(error.message)));
    }
  }
  if (json) out.line(JSON.stringify({ items: cancelled }, null, 2));
  return isWhole ? EXIT.done : EXIT.error;
}

/**
 * `signpipe video|enclosure`: saves what an officer looks at before deciding, for its owner's eyes only. Never
 * overwrites; nothing is left behind when it breaks off.
 */
export async function save(
  client: Client,
  { err }: Terminal,
  typed: string,
  { from, output }: { from: (client: Client, id: string) => AsyncIterable<Buffer>; output: unknown },
): Promise<number> {
  if (typeof output !== "string" || output === "") throw new CliError("Where to? Give --output with a file name.");
  const id = await findRequest(client, typed);
  let file: FileHandle | undefined;
  let sizeBytes = 0;
  try {
    for await (const chunk of from(client, id)) {
      file ??= await open(output, "wx", 0o600);
      await file.writeFile(chunk);
      sizeBytes += chunk.length;
    }
  } catch (error) {
    if (file) await rm(output, { force: true });
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code === "EEXIST") throw new CliError(`${visible(output)} is there already: it is not overwritten.`);
    if (error instanceof CliError) throw error;
    throw new CliError(`${visible(output)} cannot be written (${code || "error"}): check --output.`);
  } finally {
    await file?.close();
  }
  err.line(`Saved, ${sizeBytes} bytes: ${visible(output)}. It shows a person: delete it when you have seen it.`);
  return EXIT.done;
}

/** `signpipe resume`. */
export async function resume(client: Client, { out, err }: Terminal, { json }: { json?: boolean }): Promise<number> {
  const items = await client.resume();
  if (json) out.line(JSON.stringify({ items }, null, 2));
  else if (items.length === 0) err.line("Nothing stands still.");
  else for (const { reason } of items) err.line(`Goes on, one call first: ${visible(reason)}`);
  return EXIT.done;
}

/** A whole number of an option. Throws CliError that names it. */
export function wholeNumber(name: string, text: string, { least = 0, most = Number.MAX_SAFE_INTEGER } = {}): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new CliError(
    `${name} must be a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ""}, not "${text}".`,
  );
}
