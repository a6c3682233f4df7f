import { createHash } from "node:crypto";

/**
 * A file's name as the file system has it: each character stands for one byte (Latin-1). Names that are no valid
 * UTF-8 exist; read as text they would point to nothing, and the file would lie there for ever. In an inbox with a route
 * the folders that lead to it stand before it, with "/" behind each.
 */
export type RawName = string;

/** Longest name that a file system takes, in bytes. @source POSIX.1-2024, NAME_MAX on Linux, macOS and Windows */
const LONGEST_BYTES = 255;

/** Path of `raw` in `folder`, for the functions of node:fs. A name out of a listing needs no normalising. */
export function toPath(folder: string, raw: RawName): string | Buffer {
  if (isAscii(raw)) return `${folder}/${raw}`;
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(raw, "latin1")]);
}

/** The name as text, for people; bytes that are no UTF-8 are shown as replacement characters. */
export function toText(raw: RawName): string {
  return isAscii(raw) ? raw : Buffer.from(raw, "latin1").toString("utf8");
}

/** The name as it may stand in a sentence: nothing that a person could not see, or that turns the line around. */
export function toVisible(raw: RawName): string {
  return toText(raw).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

export function fromText(text: string): RawName {
  return isAscii(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** The name itself, without the folders that lead to it. */
export function nameOf(raw: RawName): RawName {
  return raw.slice(raw.lastIndexOf("/") + 1);
}

/** The folders that lead to it, without a "/" at the end; empty when there are none. */
export function folderOf(raw: RawName): RawName {
  return raw.slice(0, Math.max(raw.lastIndexOf("/"), 0));
}

/** The name `name` in the folder `folder`, which may be the empty one. */
export function inFolderOf(folder: RawName, name: RawName): RawName {
  return folder === "" ? name : `${folder}/${name}`;
}

/** Whether a file can have this name at all. */
export function isPossible(raw: RawName): boolean {
  return nameOf(raw).length <= LONGEST_BYTES;
}

/** The `n`th name to try for `raw` when others are taken: "x.pdf", "x (2).pdf". Never longer than a name can be. */
export function withCounter(raw: RawName, n: number): RawName {
  if (n < 2) return raw;
  const { stem, ending } = split(nameOf(raw));
  return inFolderOf(folderOf(raw), fit(stem, ` (${n})${ending}`));
}

/** `raw` with `ending` after it, such as ".error.txt"; a name that would be too long gets a hash in its middle. */
export function withEnding(raw: RawName, ending: string): RawName {
  const name = nameOf(raw);
  if (name.length + ending.length <= LONGEST_BYTES) return raw + ending;
  return inFolderOf(folderOf(raw), fit(name, `~${toShortHash(name)}${ending}`));
}

/** Name of a file about the file `raw`, which any program can read: bytes that are no UTF-8 become a hash. */
export function toNoteName(raw: RawName, ending: string): string {
  const name = nameOf(raw);
  const text = toText(name);
  const safe = fromText(text) === name ? name : fromText(`${text.replaceAll("\uFFFD", "_")}~${toShortHash(name)}`);
  return toText(withEnding(inFolderOf(folderOf(raw), safe), ending));
}

/** Stands for a name in logs: a name can be a person's. */
export function toShortHash(raw: RawName): string {
  return createHash("sha256").update(raw, "latin1").digest("hex").slice(0, 10);
}

export function isPdfName(raw: RawName): boolean {
  return /\.pdf$/i.test(raw);
}

/** Whether it is the sidecar of a PDF, to go by its name: "x.pdf.json". */
export function isSidecarName(raw: RawName): boolean {
  return /\.pdf\.json$/i.test(raw);
}

export function isJsonName(raw: RawName): boolean {
  return /\.json$/i.test(raw);
}

/** The name of the file that a JSON file is the sidecar of. */
export function toDocumentName(sidecar: RawName): RawName {
  return sidecar.slice(0, -".json".length);
}

function split(raw: RawName): { stem: string; ending: string } {
  const at = raw.lastIndexOf(".");
  return at > 0 && raw.length - at <= 12
    ? { stem: raw.slice(0, at), ending: raw.slice(at) }
    : { stem: raw, ending: "" };
}

/** Shortens `stem` so that `stem + rest` is a possible name, without cutting a UTF-8 character in two. */
function fit(stem: RawName, rest: string): RawName {
  let length = Math.min(stem.length, LONGEST_BYTES - rest.length);
  if (length < stem.length) {
    while (length > 0 && (stem.charCodeAt(length) & 0xc0) === 0x80) length--;
  }
  return stem.slice(0, length) + rest;
}

function isAscii(text: string): boolean {
  // eslint-disable-next-line no-control-regex -- everything that is the same byte in UTF-8 and in Latin-1
  return /^[\x00-\x7f]*$/.test(text);
}
