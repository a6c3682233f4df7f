import { closeSync, constants, fchmodSync, fsync, lstatSync, openSync } from "node:fs";
import { chmod, copyFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { isFailure, PermanentError, toFailure } from "../../core/errors.ts";
import type { StoredDocument } from "../../core/request.ts";
import type { Format } from "../../core/signing.ts";
import type { Appearances, Fitted } from "../../files/appearances.ts";
import { syncFolder } from "../../files/durable.ts";
import { probeEnclosure } from "../../files/enclosure.ts";
import { checkSignable } from "../../files/signable.ts";
import type { Pipeline, Submitted } from "../../queues/pipeline-types.ts";
import { toDisplayName } from "../api/names.ts";
import { formatOf, isSameName, type Manifest, type NamedFile, namedFiles } from "../manifest.ts";
import { type Claim, type Claims, PLACES } from "./claim.ts";
import { createHandIn, type Found } from "./hand-in.ts";
import { DEFAULTS, REQUEST } from "./ignore.ts";
import { errnoOf, isSame, lookAtFolder, toMark } from "./look.ts";
import { folderOf, fromText, isJsonName, isPdfName, type RawName, toDocumentName, toPath, toText } from "./names.ts";
import type { Notes } from "./notes.ts";
import { Held } from "./pending.ts";
import { isEnough, readSmall, type Standing, toManifest, Unusable } from "./read-request.ts";
import type { Stock } from "./stock.ts";
import {
  badRequest,
  both,
  noRequest,
  notAskedFor,
  offRoute,
  type Reason,
  refused,
  refusedEnclosure,
  sidecarGone,
  special,
  wrongFolder,
} from "./unusable.ts";

const sync = promisify(fsync);
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** What the inbox needs of the document store. */
export interface InboxDocuments {
  /** The reference of a file that is in the request's folder, hashed. */
  inspect(id: string, file: string, name: string): Promise<StoredDocument>;
}

type Part = Claim["parts"][number];

/** What became of a claim. "changed": somebody was still writing; it goes back into the inbox. */
export type Taken =
  | { outcome: "submitted"; submitted: Submitted; documents: StoredDocument[] }
  | { outcome: "unusable"; reason: Reason }
  | { outcome: "changed" };

/**
 * Turns a claim into a request, or into several that stay together: reads who signs, checks and hashes the documents,
 * puts them safely on disk, and submits them under the claim's id. Every step can be repeated. Throws when the world is at fault and the claim has
 * to wait: RetryableError, or what the file system says.
 */
export function createIntake({
  claims,
  notes,
  pipeline,
  documents,
  appearances,
  defaultsFor,
  standingOf,
  stock,
  root = {},
  maxBytes,
  maxDocuments,
}: {
  claims: Claims;
  notes: Notes;
  pipeline: Pick<Pipeline, "submit" | "bundle" | "find" | "signedBefore">;
  documents: InboxDocuments;
  appearances: Pick<Appearances, "fit">;
  /** Where the file that speaks for a PDF without one of its own may be, the nearest first. */
  defaultsFor: (raw: RawName) => readonly string[];
  /** What holds for the manifest of a file here; undefined when it lies where nothing is taken. */
  standingOf: (raw: RawName) => Standing | undefined;
  /** Where copies are kept of what was claimed; left out where the claim itself is in the document store. */
  stock?: Stock | undefined;
  /** Which inbox this is, where it is not the one in DATA_DIR, and whether it minds duplicates. */
  root?: Parameters<typeof createHandIn>[0]["root"];
  maxBytes: number;
  /** Most documents in a folder. */
  maxDocuments: number;
}) {
  const handIn = createHandIn({ claims, notes, pipeline, root });
  /** Where the document store has a file of a claim. */
  const at = stock?.at ?? claims.at;

  return async function intake(claim: Claim): Promise<Taken> {
    try {
      if (claim.form === "special") return unusable(special());
      if (claim.form === "folder") await arrange(claim);
      else if (!isPdfName(claim.raw)) mustBeAskedFor(claim);
      const read = ifUsable(() => readRequest(claim));
      const found = await checkAll(claim, formatOf(read));
      if (!found) return { outcome: "changed" };
      const manifest = read ?? readRequest(claim);
      const fitted = await fit(claim, manifest, found);
      await putOnDisk(claim);
      const submitted = await handIn(claim, manifest, { ...found, ...fitted });
      return { outcome: "submitted", submitted, documents: found.documents };
    } catch (error) {
      if (isFailure(error, "file-changed")) return { outcome: "changed" };
      if (error instanceof Unusable) return unusable(error.reason);
      if (error instanceof PermanentError) return unusable(refused(error));
      if (error instanceof Held) throw error;
      throw errnoOf(error) === "" ? toFailure(error) : error;
    }
  };

  function unusable(reason: Reason): Taken {
    return { outcome: "unusable", reason };
  }

  /** A file of another kind than PDF is here because of its sidecar, which must ask for the one thing that can be done. */
  function mustBeAskedFor(claim: Claim): void {
    if (formatOf(readRequest(claim)) !== "cms") throw new Unusable(notAskedFor(claim.sidecar ?? ""));
  }

  /**
   * Gives the PDFs of a folder, or with the format cms its files of any kind, the names they have in the store, in the order of their own names, and the files that
   * its manifest names those of what they show: their own may be personal.
   */
  async function arrange(claim: Claim): Promise<void> {
    const folder = claims.at(claim.id, PLACES.folder);
    if (claim.parts.length === 0) {
      const look = lookAtFolder(folder);
      const { pdfs = [], others = [], strangers = [], isUnfinished = false, hasRequest = false } = look ?? {};
      const manifest = ifUsable(() => readRequest(claim));
      const { found, missing } = findNamed(namedFiles(manifest?.identity), [...pdfs, ...others, ...strangers]);
      const isNamed = (raw: RawName) => found.some((part) => part.raw === raw);
      const format = formatOf(manifest);
      const loose = format === "cms" ? sidecarsAmong([...pdfs, ...others]) : others;
      const files = format === "cms" ? [...pdfs, ...others.filter((raw) => !loose.includes(raw))] : pdfs;
      const documents = files.filter((raw) => !isNamed(raw));
      // What a manifest names that cannot be read is not known.
      const unknown = hasRequest && !manifest ? strangers : [...loose, ...strangers];
      // Whether files of other kinds were meant to be signed is not known either: what has to be corrected comes first.
      if (hasRequest && !manifest && pdfs.length === 0 && others.length > 0) readRequest(claim);
      const reason = wrongFolder(
        { documents, strangers: unknown.filter((raw) => !isNamed(raw)), missing, isUnfinished, format },
        maxDocuments,
      );
      if (reason) throw withOther(claim, new Unusable(reason));
      claim.parts = [...documents.sort(byName).map((raw, i) => ({ raw, as: `${i + 1}.pdf` })), ...found];
      await claims.save(claim);
    }
    for (const { raw, as } of claim.parts) {
      await rename(toPath(folder, raw), claims.at(claim.id, as)).catch((error: unknown) => {
        if (errnoOf(error) !== "ENOENT") throw error;
      });
    }
  }

  /** What the claim brings, in order; undefined when one of it changed. The first that cannot be used speaks for all. */
  async function checkAll(claim: Claim, format: Format): Promise<Found | undefined> {
    const found: Found = { documents: [], enclosures: [] };
    try {
      for (const part of claim.parts) if (!(await check(claim, part, { found, format }))) return undefined;
      return found;
    } catch (error) {
      throw error instanceof Unusable ? withOther(claim, error) : error;
    }
  }

  /** The same, with what is wrong with the request besides. */
  function withOther(claim: Claim, unusable: Unusable): Unusable {
    try {
      readRequest(claim);
      return unusable;
    } catch (error) {
      if (error instanceof Unusable) return new Unusable(both(unusable.reason, error.reason));
      throw error;
    }
  }

  function readRequest(claim: Claim): Manifest {
    const { id, form, raw, sidecar } = claim;
    const standing = standingOf(raw);
    // Never another account instead: the folders that lead to it may have been renamed in the configuration.
    if (!standing) throw new Unusable(offRoute(folderOf(raw)));
    const place = form === "folder" ? join(PLACES.folder, REQUEST) : PLACES.sidecar;
    let bytes = readSmall(claims.at(id, place));
    let name: RawName = form === "folder" ? REQUEST : (sidecar ?? "");
    if (!bytes && sidecar !== undefined) {
      claims.takeSidecar(claim);
      bytes = readSmall(claims.at(id, place));
      // Never the defaults instead: somebody else would be asked to sign.
      if (!bytes) throw new Unusable(sidecarGone(raw));
    }
    if (!bytes && form === "file") {
      for (const path of defaultsFor(raw)) bytes ??= readSmall(path);
      name = DEFAULTS;
    }
    const isFolder = form === "folder";
    if (!bytes && isFolder) throw new Unusable(noRequest(raw, "folder"));
    if (!bytes && !isEnough(standing)) throw new Unusable(noRequest(raw, "file"));
    return toManifest(bytes ?? {}, name, isFolder ? "folder" : "file", standing);
  }

  /** Checks and hashes a file, and adds it to what was found. False when it changed since it was found settled. */
  async function check(
    claim: Claim,
    { raw, as, role }: Part,
    { found, format }: { found: Found; format: Format },
  ): Promise<boolean> {
    const original = claims.at(claim.id, as);
    const path = at(claim.id, as);
    const isDetached = stock ? false : await detach(path);
    const named = claim.parts.length > 1 ? raw : undefined;
    try {
      await stock?.bring(original, claim.id, as);
      if (role !== undefined) {
        const contentType = await probeEnclosure(path, role, { maxBytes });
        await makePrivate(path);
        const file = await documents.inspect(claim.id, as, role);
        found.enclosures.push({ ...file, name: role, contentType });
        return lstatSync(original).size === file.sizeBytes;
      }
      const signable = await checkSignable(path, { name: toText(raw), format, maxBytes });
      const document = await documents.inspect(claim.id, as, nameFor(raw, found.documents));
      found.documents.push({ ...document, ...signable });
      const stats = lstatSync(original);
      const isStill = !claim.mark || isDetached || isSame(claim.mark, toMark(stats));
      return isStill && stats.size === document.sizeBytes;
    } catch (error) {
      if (isFailure(error, "file-changed")) return false;
      if (error instanceof PermanentError) {
        throw new Unusable(role === undefined ? refused(error, named) : refusedEnclosure(error, role, raw));
      }
      if (errnoOf(error) === "ELOOP") throw new Unusable(special());
      // A bad place on the disk is this file's own: it keeps nobody else out.
      if (errnoOf(error) === "EIO") throw new Held("a file cannot be read", { cause: error });
      throw error;
    }
  }

  /** A file with two names could be changed under the other one after it was hashed: ours becomes a file of its own. */
  async function detach(path: string): Promise<boolean> {
    const found = lstatSync(path);
    if (!found.isFile() || found.nlink < 2) return false;
    await replaceByCopy(path);
    return true;
  }

  /** Nobody but us reads what shows who somebody is. A file of somebody else's cannot be shut: ours becomes a copy. */
  async function makePrivate(path: string): Promise<void> {
    const file = openSync(path, READ);
    try {
      fchmodSync(file, 0o600);
    } catch (error) {
      if (errnoOf(error) !== "EPERM") throw error;
      await replaceByCopy(path, 0o600);
    } finally {
      closeSync(file);
    }
  }

  async function replaceByCopy(path: string, mode?: number): Promise<void> {
    const copy = `${path}.copy`;
    await rm(copy, { force: true });
    await copyFile(path, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    if (mode !== undefined) await chmod(copy, mode);
    await rename(copy, path);
  }

  /** Everything of the claim is on disk when this resolves: from here on the record may rely on it. */
  async function putOnDisk({ id, parts, sidecar }: Claim): Promise<void> {
    if (stock) return; // each copy was, when it was made
    // Not the claim: what is in it stands on its list until now, and in the record from now on.
    const names = [...parts.map(({ as }) => as), ...(sidecar === undefined ? [] : [PLACES.sidecar])];
    for (const name of names) {
      const file = openSync(claims.at(id, name), READ);
      try {
        await sync(file);
      } finally {
        closeSync(file);
      }
    }
    await syncFolder(claims.folderOf(id));
  }

  /** How the signature looks, held against the documents. */
  async function fit(claim: Claim, { signature }: Manifest, { documents: found }: Found): Promise<Fitted> {
    const parts = claim.parts.filter(({ role }) => role === undefined);
    const shown = parts.map(({ as }, i) => ({ path: at(claim.id, as), name: found[i]?.name ?? as }));
    try {
      return await appearances.fit(signature, shown);
    } catch (error) {
      if (!isFailure(error, "invalid-manifest") || !(error instanceof PermanentError)) throw error;
      const problems = Object.entries(error.fields ?? {}).map(([field, message]) => ({ field, message }));
      const name = claim.form === "folder" ? REQUEST : (claim.sidecar ?? DEFAULTS);
      throw new Unusable(badRequest(name, problems));
    }
  }
}

/** The JSON files that are named after another one of these, as if they said who signs it. */
function sidecarsAmong(files: readonly RawName[]): RawName[] {
  return files.filter((raw) => isJsonName(raw) && files.includes(toDocumentName(raw)));
}

function ifUsable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Unusable) return undefined;
    throw error;
  }
}

/** The files of a folder that its manifest names, and what it names besides. The name as it is comes first. */
function findNamed(files: readonly NamedFile[], there: readonly RawName[]): { found: Part[]; missing: NamedFile[] } {
  const found: Part[] = [];
  const missing: NamedFile[] = [];
  for (const file of files) {
    const { role, name } = file;
    const raw = there.find((one) => one === fromText(name)) ?? there.find((one) => isSameName(toText(one), name));
    if (raw === undefined) missing.push(file);
    else found.push({ raw, as: role, role });
  }
  return { found, missing };
}

const collator = new Intl.Collator("en", { numeric: true });
/** "2.pdf" before "10.pdf"; names that only differ in what a collator ignores have a fixed order too. */
function byName(a: RawName, b: RawName): number {
  return collator.compare(toText(a), toText(b)) || (a < b ? -1 : 1);
}

/** The name for people. Twins within a request get a counter, so that their results can be told apart. */
function nameFor(raw: RawName, before: readonly StoredDocument[]): string {
  const name = toDisplayName(toText(raw), "document.pdf");
  let free = name;
  for (let n = 2; before.some((one) => one.name === free); n++) free = name.replace(/(\.pdf)?$/i, ` (${n})$1`);
  return free;
}
