import { isPdfName, isSidecarName, nameOf, type RawName, toText } from "./names.ts";

/** Takes the place of a sidecar for PDFs that come without one. Never consumed. */
export const DEFAULTS = "defaults.json";
/** Says who signs what is in a folder. */
export const REQUEST = "request.json";
/** Says who signs what is in a folder when there are many: then the folder is a batch. */
const TABLE = /^batch\.(?:csv|json)$/i;
/** What is given back with a table, and is nothing to be signed when it comes again. */
const RESULTS = /^results\.(?:csv|json)$/i;
/** Says that a folder is complete: it is taken after the short settle time instead of the long one. */
export const READY = "_READY";

/** Says in a folder what is the matter with what lies in it. */
export const ERROR_NOTE = "_ERROR.txt";

/** What systems and programs leave behind in folders; nobody means it to be signed. */
const IGNORED =
  /^(?:\..*|~\$.*|desktop\.ini|Thumbs\.db|@eaDir|__MACOSX|lost\+found|_ERROR\.txt)$|\.(?:tmp|part|partial|crdownload|download|filepart)$/i;

/** Names of files that are still being written under another name. */
const UNFINISHED = /\.(?:tmp|part|partial|crdownload|download|filepart)$/i;

export function isIgnored(raw: RawName): boolean {
  return IGNORED.test(nameOf(raw));
}

/** Says, as NAME.done beside NAME, that NAME is complete: where the protocol of an inbox is done-file. */
const DONE = ".done";

/** What a file of this name says to be complete; undefined when it says nothing of the kind. */
export function toAnnounced(raw: RawName): RawName | undefined {
  return raw.length > DONE.length && raw.endsWith(DONE) ? raw.slice(0, -DONE.length) : undefined;
}

/** The name of the file that says so of `raw`. */
export function announcementOf(raw: RawName): RawName {
  return raw + DONE;
}

/**
 * A test for names from a glob: * is any number of characters, ? is one, [abc] one of these. Capitals make no difference.
 * Never a path: a glob with / hits nothing.
 */
export function toGlobTest(glob: string): (raw: RawName) => boolean {
  const source = glob.normalize("NFC").replaceAll(/\[[^\]]+\]|[\s\S]/g, (one) => {
    if (one === "*") return ".*";
    if (one === "?") return ".";
    if (one.length > 2 && one.startsWith("[")) return `[${one.slice(1, -1).replaceAll(/[\\^]/g, "\\$&")}]`;
    return one.replaceAll(/[.+^${}()|[\]\\/]/g, "\\$&");
  });
  const pattern = new RegExp(`^${source}$`, "isu");
  return (raw) => pattern.test(toText(nameOf(raw)).normalize("NFC"));
}

export function isTableName(raw: RawName): boolean {
  return TABLE.test(raw);
}

export function isResultsName(raw: RawName): boolean {
  return RESULTS.test(nameOf(raw));
}

/** Whether a file of this name says that something in its folder is still on its way. */
export function isUnfinished(raw: RawName): boolean {
  return UNFINISHED.test(raw);
}

/** What an entry of the inbox is, as far as its name and type tell. */
export type Kind = "pdf" | "sidecar" | "folder" | "special" | "other";

interface Typed {
  name: RawName;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
  isBlockDevice(): boolean;
  isCharacterDevice(): boolean;
}

/** The kind of an entry; undefined for what is none of our business. */
export function toKind(entry: Typed): Kind | undefined {
  const { name } = entry;
  if (isIgnored(name) || name === DEFAULTS) return undefined;
  if (entry.isDirectory()) return "folder";
  const special = entry.isSymbolicLink() || entry.isFIFO() || entry.isSocket();
  if (special || entry.isBlockDevice() || entry.isCharacterDevice()) return "special";
  if (isPdfName(name)) return "pdf";
  return isSidecarName(name) ? "sidecar" : "other";
}
