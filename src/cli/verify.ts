import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { foldersOf } from "../app.ts";
import type { Settings } from "../config.ts";
import { inOrder, type JournalLine } from "../core/journal.ts";
import { RequestId } from "../core/request.ts";
import { createDocuments } from "../files/documents.ts";
import { readJournal, type Span } from "../files/journal.ts";
import { createResults } from "../files/results.ts";
import { deriveKey, findMasterKey } from "../keys.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";
import { type Verified, verifyRequest } from "./verify-request.ts";

/** Requests whose lines are in memory at once. */
const MANY = 5_000;

/**
 * `signpipe verify`: checks what is in DATA_DIR, or in a copy of it, and asks nobody: the journal's chain, that each
 * costly call was announced before it was made, documents, signed files with their signatures, and the evidence. Exit
 * code 1 when anything is not as it should be.
 */
export async function verify(
  settings: Settings,
  { request: wanted, all, json }: { request: string | undefined; all: boolean; json: boolean },
  { out, err }: Terminal,
): Promise<number> {
  if ((wanted === undefined) === !all) throw new CliError("Which one? Name a request, or say --all.");
  const folders = foldersOf(settings.DATA_DIR);
  if (!existsSync(folders.journal) && !existsSync(folders.signed)) {
    throw new CliError(`There is neither a journal nor signed files in ${settings.DATA_DIR}: set DATA_DIR.`);
  }
  const masterKey = findMasterKey(settings);
  const key = masterKey && deriveKey(masterKey, "journal");
  const read = (each: (line: JournalLine) => void, span: Span = {}) =>
    readJournal({ dir: folders.journal, key, each, ...span });

  const known = new Map<RequestId, Known>();
  /** By whom what a request is about was handed in again. */
  const again = new Map<RequestId, RequestId>();
  const chain = await read((line) => {
    known.set(line.request, noted(known.get(line.request), line));
    const { data: earlier } = RequestId.safeParse(line.first?.facts["retryOf"]);
    if (earlier !== undefined) again.set(earlier, line.request);
  });
  for (const id of await readdir(folders.signed).catch(() => [])) {
    if (RequestId.safeParse(id).success && !known.has(id)) known.set(id, NOWHERE);
  }
  // By age, so that the lines of many are in few files.
  const ids = all
    ? [...known].sort(([, a], [, b]) => a.fromMs - b.fromMs).map(([id]) => id)
    : choose(wanted ?? "", known);

  const places = {
    documents: createDocuments({ dir: folders.work }),
    results: createResults({ dir: folders.signed }),
    archive: folders.archive,
    incremental: settings.ONESHOT_INCREMENTAL,
    compare: settings.ONESHOT_COMPARE,
  };
  const requests: Verified[] = [];
  let bad = 0;
  for (let at = 0; at < ids.length; at += MANY) {
    const some = ids.slice(at, at + MANY).sort();
    const page = new Map(some.map((id): [RequestId, JournalLine[]] => [id, []]));
    await read((line) => page.get(line.request)?.push(line), spanOf(some, known));
    for (const [id, lines] of page) {
      lines.sort(inOrder);
      const verified = await verifyRequest(id, lines, places, again.get(id));
      if (!verified.ok) bad += 1;
      if (json) requests.push(verified);
      else out.line(toLine(verified, out));
    }
  }

  const isWell = bad === 0 && chain.flaws.length === 0;
  if (json) {
    const journal = {
      files: chain.files,
      lines: chain.lines,
      chain: key ? "checked" : "not checked",
      flaws: chain.flaws,
    };
    out.line(JSON.stringify({ ok: isWell, journal, requests }, null, 2));
    return isWell ? EXIT.done : EXIT.error;
  }
  for (const { file, line, code } of chain.flaws) {
    out.line(`${out.paint("red", "FAIL")}  journal  ${code}: ${file}${line > 0 ? `, line ${line}` : ""}`);
  }
  if (!key) err.line("signpipe: The journal's chain was not checked: that needs MASTER_KEY.");
  out.line();
  const checked = key ? `the journal's ${chain.lines} lines in ${chain.files} files` : "files";
  if (isWell) out.line(out.paint("green", `All is well: ${ids.length} requests, and ${checked}.`));
  else
    out.line(
      out.paint(
        "red",
        `${bad} of ${ids.length} requests, and ${chain.flaws.length} places of the journal, are not as they should be.`,
      ),
    );
  return isWell ? EXIT.done : EXIT.error;
}

/** What is kept of each request from the first reading: when its lines were written. */
interface Known extends Required<Span> {
  reference: string | undefined;
}

/** Of a request that has no lines. */
const NOWHERE: Known = { reference: undefined, fromMs: Infinity, toMs: -Infinity };

function noted({ reference, fromMs, toMs } = NOWHERE, { first, atMs }: JournalLine): Known {
  return {
    reference: first?.reference ?? reference,
    fromMs: Math.min(fromMs, atMs),
    toMs: Math.max(toMs, atMs),
  };
}

function spanOf(ids: readonly RequestId[], known: ReadonlyMap<RequestId, Known>): Span {
  let { fromMs, toMs } = NOWHERE;
  for (const id of ids) {
    const one = known.get(id) ?? NOWHERE;
    [fromMs, toMs] = [Math.min(fromMs, one.fromMs), Math.max(toMs, one.toMs)];
  }
  return { fromMs, toMs };
}

/** Ids may be shortened, and references work as well. */
function choose(wanted: string, known: ReadonlyMap<RequestId, Known>): RequestId[] {
  const ids = [...known.keys()];
  const found = ids.filter(
    (id) => id.startsWith(wanted) || id.slice(4).startsWith(wanted) || known.get(id)?.reference === wanted,
  );
  if (found.length === 1) return found;
  const hint =
    found.length === 0 ? "No request here is" : `${found.length} requests here begin with, or have the reference,`;
  throw new CliError(`${hint} "${wanted}": see signpipe verify --all.`);
}

function toLine(verified: Verified, out: Terminal["out"]): string {
  const { id, state, ok, findings, notes, signed_files, timestamps, validation_data: data } = verified;
  const files = signed_files > 0 ? `${signed_files} signed` : "";
  const stamped = timestamps.length > 0 ? `timestamp ${timestamps.join(", ")}` : "";
  const kept = data ? `long-term data: ${data.certificates} certificates, ${data.revocations} revocation entries` : "";
  const says = findings.map(({ code, message }) => `${code}: ${message}`).join("; ");
  const word = ok ? out.paint("green", "ok  ") : out.paint("red", "FAIL");
  return [word, id, state, ok ? [files, stamped, kept, ...notes].filter(Boolean).join("; ") : says]
    .join("  ")
    .trimEnd();
}
