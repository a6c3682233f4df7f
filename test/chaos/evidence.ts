import { createHash, createHmac } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { spawnSync } from "node:child_process";

/**
 * What the checker looks at, read from what a run has left behind: the simulator's ledger, the folders, the journal's
 * files and a dump of Redis. Nothing here, and nothing in invariants.ts, shares a line with the program under test.
 */
export interface Evidence {
  handedIn: HandedIn[];
  ledger: LedgerEntry[];
  journal: { lines: JournalEntry[]; flaws: string[] };
  dump: Map<string, DumpedKey>;
  records: Map<string, RequestRecord>;
  files: TreeFile[];
  exits: Exit[];
  leaks: Leak[];
  /** When everything had come to rest, in milliseconds since the epoch. */
  atMs: number;
}

/** What the harness dropped or posted. */
export interface HandedIn {
  name: string;
  way: "inbox" | "api";
  /** How often the very same was dropped. */
  copies: number;
  usable: boolean;
  documents: { name: string; sha256: string }[];
  /** Its documents were dropped one by one, for one signer. */
  isApart?: boolean | undefined;
  phoneSha256: string;
  approval: "auto" | "manual";
}

export interface LedgerEntry {
  seq: number;
  at: string;
  effect: string;
  request_pk?: number;
  document_uid?: string;
  sha256?: string;
  phone_sha256?: string;
  reason?: string;
}

export interface JournalEntry {
  atMs: number;
  request: string;
  version: number;
  mark: string;
  before?: string;
  event: string;
  stage: string;
  phase: string;
  first?: { workflow?: string; facts?: Record<string, unknown> };
  patch?: { facts?: Record<string, unknown>; intent?: { effect: string }; ending?: string | null };
  by?: string;
  note?: string;
}

export interface RequestRecord {
  id: string;
  version: number;
  stage: string;
  phase: string;
  source: string;
  facts: Record<string, unknown>;
  waiting?: { for: string; whose: string; untilMs: number };
  intent?: { effect: string };
  failure?: { code: string; message: string };
}

export type DumpedKey =
  | { type: "string"; value: string }
  | { type: "hash"; value: Record<string, string> }
  | { type: "list" | "set"; value: string[] }
  | { type: "zset"; value: [member: string, score: number][] }
  | { type: "other"; value: null };

export interface TreeFile {
  /** Below the data folder, such as "signed/req-…/lease.pdf.signed.pdf". */
  path: string;
  sha256: string;
  /** When its inode was made, in milliseconds since the epoch. */
  bornMs: number;
  /** For signed PDFs: what is wrong with it, or nothing. */
  flaw?: string;
}

export interface Exit {
  name: string;
  code: number | null;
  signal: string | null;
  planned: boolean;
}

export interface Leak {
  what: string;
  where: string;
}

export interface Places {
  dataDir: string;
  ledgerPath: string;
  /** One JSON object a line: {"key", "type", "value"}. */
  dumpPath: string;
  handedInPath: string;
  exitsPath: string;
  /** Words that must not stand anywhere but in results and in what was handed in, by what they are. */
  canariesPath: string;
  /** Files that must not hold a canary, besides journal and dump. */
  searched: string[];
  redisPrefix: string;
}

/** Reads everything. Uses pdfsig, where it is there, for a sample of the signed files. */
export function readEvidence(places: Places, atMs = Date.now()): Evidence {
  const { dataDir } = places;
  const masterKey = Buffer.from(readFileSync(join(dataDir, "keys", "master-key"), "utf8").trim(), "base64");
  const journalKey = createHmac("sha256", masterKey).update("journal").digest();
  const dump = readDump(places.dumpPath);
  return {
    handedIn: readJson(places.handedInPath) as HandedIn[],
    ledger: readLines(places.ledgerPath) as LedgerEntry[],
    journal: readJournal(join(dataDir, "journal"), journalKey),
    dump,
    records: recordsOf(dump, places.redisPrefix),
    files: readTree(dataDir),
    exits: readJson(places.exitsPath) as Exit[],
    leaks: findLeaks(places),
    atMs,
  };
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

function readLines(path: string): unknown[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as unknown);
}

function readDump(path: string): Map<string, DumpedKey> {
  const lines = readLines(path) as ({ key: string } & DumpedKey)[];
  return new Map(lines.map(({ key, ...value }) => [key, value]));
}

/** Records are strings "version|stage|phase|nudged|updated|json"; a history may follow, on lines of its own. */
export function recordsOf(dump: Evidence["dump"], prefix: string): Evidence["records"] {
  const records: Evidence["records"] = new Map();
  for (const [key, entry] of dump) {
    if (!key.startsWith(`${prefix}:request:`) || entry.type !== "string") continue;
    const [version = "", stage = "", phase = "", , , ...json] = entry.value.split("|");
    const rest = JSON.parse(json.join("|").split("\n", 1)[0] ?? "") as RequestRecord;
    records.set(rest.id, { ...rest, version: Number(version), stage, phase });
  }
  return records;
}

/** Journal files, oldest first: each line's HMAC covers it and the line before; a file's first line names the others. */
export function readJournal(dir: string, key: Buffer): Evidence["journal"] {
  const lines: JournalEntry[] = [];
  const flaws: string[] = [];
  const seen = new Map<string, Set<string>>();
  const named: { file: string; mac: string }[] = [];
  const names = existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".jsonl")) : [];
  for (const name of names.sort()) {
    const macs = new Set<string>();
    seen.set(name, macs);
    const text = readFileSync(join(dir, name), "utf8");
    const whole = text.endsWith("\n");
    const parts = text.split("\n").filter((line) => line !== "");
    let last = "";
    for (const [i, line] of parts.entries()) {
      const at = line.lastIndexOf(',"mac":"');
      const json = `${line.slice(0, at)}}`;
      const mac = line.slice(at + 8, -2);
      const right = createHmac("sha256", key).update(`${last}\n${json}`).digest("base64url");
      if (at < 0 || mac !== right) {
        // What a crash leaves of the line that was being written is no flaw.
        if (i < parts.length - 1 || whole) flaws.push(`${name} line ${i + 1}: its HMAC is not the one of this chain`);
        break;
      }
      last = mac;
      macs.add(mac);
      const value = JSON.parse(json) as JournalEntry & { after?: typeof named };
      if (i === 0) named.push(...(value.after ?? []));
      else lines.push(value);
    }
  }
  for (const { file, mac } of named) {
    const macs = seen.get(file);
    if (!macs) flaws.push(`${file} is named by a later file and is not there`);
    else if (!macs.has(mac)) flaws.push(`${file} is shorter than a later file says`);
  }
  return { lines, flaws: [...new Set(flaws)] };
}

const FOLDERS = ["inbox", "signed", "failed", "archive", "duplicates", ".work"];
/** A program for each file would take longer than the run. */
const PDFSIG_MOST = 12;

function readTree(dataDir: string): TreeFile[] {
  const files: TreeFile[] = [];
  const originals = new Map<string, string>();
  for (const folder of FOLDERS) {
    for (const path of walk(join(dataDir, folder))) {
      const bytes = readFileSync(path);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const at = relative(dataDir, path);
      if (folder !== "signed") originals.set(sha256, path);
      files.push({ path: at, sha256, bornMs: statSync(path).birthtimeMs });
    }
  }
  let asked = 0;
  for (const file of files) {
    if (!/^signed\/.*\.signed\.pdf$/.test(file.path) || /\.damaged\./.test(file.path)) continue;
    const path = join(dataDir, file.path);
    const bytes = readFileSync(path);
    const flaw =
      flawOf(bytes) ?? flawOfBeginning(bytes, originals) ?? (asked++ < PDFSIG_MOST ? flawByPdfsig(path) : undefined);
    if (flaw !== undefined) file.flaw = flaw;
  }
  return files;
}

function* walk(folder: string): Generator<string> {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield path;
  }
}

/** A signed file is its original, byte by byte, and what the signature added. */
function flawOfBeginning(bytes: Buffer, originals: ReadonlyMap<string, string>): string | undefined {
  // Where the original ends is not written anywhere: it ends behind one of the marks that end a PDF.
  for (let at = bytes.indexOf("%%EOF"); at >= 0; at = bytes.indexOf("%%EOF", at + 5)) {
    for (const end of [at + 5, at + 6, at + 7]) {
      if (originals.has(createHash("sha256").update(bytes.subarray(0, end)).digest("hex"))) return undefined;
    }
  }
  return "does not continue any document that was handed in";
}

/** A signed PDF's last signature covers the file to its end. @source ISO 32000-1 §12.8.1 */
export function flawOf(bytes: Buffer): string | undefined {
  const text = bytes.toString("latin1");
  if (!text.startsWith("%PDF-")) return "does not begin like a PDF";
  if (!/%%EOF\s*$/.test(text)) return "does not end like a PDF";
  const ranges = [...text.matchAll(/\/ByteRange\s*\[\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*\]/g)];
  const last = ranges.at(-1);
  if (!last) return "has no signature";
  const [from = 1, length = 0, again = 0, rest = 0] = last.slice(1).map(Number);
  if (from !== 0 || again <= length || again + rest !== bytes.length) return "has a signature that does not cover it";
  return undefined;
}

function flawByPdfsig(path: string): string | undefined {
  const { error, stdout } = spawnSync("pdfsig", ["-nocert", path], { encoding: "utf8", timeout: 20_000 });
  if (error) return undefined; // not on this machine
  return /Signature is Valid/.test(stdout) ? undefined : "has a signature that pdfsig does not accept";
}

function findLeaks({ canariesPath, searched, dumpPath, dataDir }: Places): Leak[] {
  const canaries = readJson(canariesPath) as Canary[];
  const find = searchFor(canaries);
  const journal = [...walk(join(dataDir, "journal"))];
  const leaks: Leak[] = [];
  for (const path of [...searched, dumpPath, ...journal].filter(existsSync)) {
    const found = new Set<string>();
    for (const text of pieces(path)) for (const what of find(text)) found.add(what);
    leaks.push(...[...found].map((what) => ({ what, where: path })));
  }
  return leaks;
}

const PIECE_BYTES = 32 << 20;

/** A file's text in pieces of whole lines. */
function* pieces(path: string): Generator<string> {
  const file = openSync(path, "r");
  try {
    const block = Buffer.alloc(PIECE_BYTES);
    let rest = "";
    for (let read; (read = readSync(file, block)) > 0;) {
      const text = rest + block.toString("latin1", 0, read);
      const end = text.lastIndexOf("\n") + 1;
      yield text.slice(0, end);
      rest = text.slice(end);
    }
    yield rest;
  } finally {
    closeSync(file);
  }
}

export interface Canary {
  what: string;
  word: string;
}

/** So many letters of a word are looked for first: words of one kind begin alike, and there are few kinds. */
const BEGINNING = 5;

/** What of the canaries a text holds. Digits count only where they stand alone: a code would be found in any number. */
export function searchFor(canaries: readonly Canary[]): (text: string) => Set<string> {
  const numbers = new Map<string, string>();
  const kinds = new Map<string, { words: Map<string, string>; lengths: Set<number> }>();
  for (const { what, word } of canaries) {
    if (/^\d+$/.test(word)) {
      numbers.set(word, what);
      continue;
    }
    const start = word.slice(0, BEGINNING);
    const kind = kinds.get(start) ?? { words: new Map<string, string>(), lengths: new Set<number>() };
    kinds.set(start, kind);
    kind.words.set(word, what);
    kind.lengths.add(word.length);
  }
  return (text) => {
    const found = new Set<string>();
    for (const [number] of text.matchAll(/(?<![\w+/.-])\d{4,8}(?![\w+/.-])/g)) {
      const what = numbers.get(number);
      if (what !== undefined) found.add(what);
    }
    for (const [start, { words, lengths }] of kinds) {
      for (let at = text.indexOf(start); at >= 0; at = text.indexOf(start, at + 1)) {
        for (const length of lengths) {
          const what = words.get(text.slice(at, at + length));
          if (what !== undefined) found.add(what);
        }
      }
    }
    return found;
  };
}
