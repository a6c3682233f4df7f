import { type DocumentUid } from "../core/signing.ts";
import { PermanentError } from "../core/errors.ts";
import { nameOf } from "./calls.ts";
import { unexpected } from "./errors.ts";
import { partNames, type UploadFile } from "./multipart.ts";
import { redact } from "./redact.ts";
import type { UploadEntry } from "./wire.ts";

/** The document an entry is about, as an index; undefined when this way of telling does not say. */
type Teller = (entry: UploadEntry, entryIndex: number) => number | undefined;

/**
 * The provider's uid of each document, in the documents' order. The answer's own order means nothing: an entry is
 * told by its part name, by the digest, or by the file's name; by order only when there is nothing else. Where it is
 * not certain which uid is whose, throws RetryableError "unexpected-answer" with effect "unknown", because the other
 * mistake gives a person the wrong document; PermanentError "document-rejected" when an entry carries an error.
 * @source docs/provider.md §Upload
 */
export function toUids(
  entries: readonly UploadEntry[] | undefined,
  files: readonly UploadFile[],
  secrets: readonly string[] = [],
): DocumentUid[] {
  const rejected = entries?.find(({ errorCode }) => errorCode !== undefined && errorCode !== "0");
  if (rejected) {
    const text = redact(rejected.errorMessage ?? rejected.errorCode ?? "", secrets, { atMost: 120 });
    throw new PermanentError(`${nameOf("upload")} did not take a document: ${text}`, {
      code: "document-rejected",
      effect: "unknown",
    });
  }
  if (entries?.length !== files.length) {
    throw unexpected("upload", `${entries?.length ?? "no"} uids for ${files.length} documents`);
  }
  for (const tell of tellers(entries, files)) {
    const uids = assign(entries, files, tell);
    if (uids) return uids;
  }
  throw unexpected("upload", "uids that cannot be assigned to the documents with certainty");
}

function tellers(entries: readonly UploadEntry[], files: readonly UploadFile[]): Teller[] {
  const parts = new Map(partNames(files).map((name, index) => [name, index]));
  const names = new Map(files.map((file, index) => [file.name.trim(), index]));
  const free = new Set(files.keys());
  const byPart: Teller = ({ name, key }) => parts.get(key ?? "") ?? parts.get(name ?? "");
  const byDigest: Teller = ({ digest }) => {
    // Equal documents have equal digests; any of them will do, each once.
    const index = digest && [...free].find((i) => files[i]?.sha256?.toLowerCase() === digest.toLowerCase());
    if (typeof index === "number") free.delete(index);
    return typeof index === "number" ? index : undefined;
  };
  const byName: Teller = ({ name, filename }) =>
    names.size === files.length ? (names.get(filename ?? "") ?? names.get(name ?? "")) : undefined;
  const nameless = entries.every(({ name, key, filename, digest }) => !(name ?? key ?? filename ?? digest));
  return [byPart, byDigest, byName, ...(nameless || files.length === 1 ? [(_: UploadEntry, i: number) => i] : [])];
}

/** The uids in the documents' order, if `tell` gives every entry a document of its own and no digest contradicts. */
function assign(
  entries: readonly UploadEntry[],
  files: readonly UploadFile[],
  tell: Teller,
): DocumentUid[] | undefined {
  const uids: DocumentUid[] = [];
  for (const [entryIndex, entry] of entries.entries()) {
    const index = tell(entry, entryIndex);
    if (index === undefined || entry.uid === undefined || uids[index] !== undefined) return undefined;
    if (contradicts(entry, files[index])) return undefined;
    uids[index] = entry.uid;
  }
  return new Set(uids).size === files.length ? uids : undefined;
}

function contradicts({ digest }: UploadEntry, file: UploadFile | undefined): boolean {
  // Of a hash, the digest that is told may be the one to sign and not the file's.
  if (!digest || !file?.sha256 || file.kind === "hash" || !/^[0-9a-f]{64}$/i.test(digest)) return false;
  return digest.toLowerCase() !== file.sha256.toLowerCase();
}
