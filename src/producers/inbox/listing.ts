import { type Dir, opendirSync } from "node:fs";
import { ERROR_NOTE } from "./ignore.ts";
import { errnoOf } from "./look.ts";
import { inFolderOf, type RawName, toPath } from "./names.ts";
import { astray, type Route, templateOf, valueOf } from "./route.ts";
import { misplaced, type Reason } from "./unusable.ts";

/** Entries between two pauses of a listing. */
const SLICE = 2_000;

type Entry = NonNullable<ReturnType<Dir["readSync"]>>;

/** What a listing came by, besides the entries themselves. */
export interface Listed {
  /** Every folder that was listed; the inbox itself is the empty one. */
  folders: RawName[];
  /** Folders that lead to files and could not be listed, and why. */
  unlisted: Map<RawName, string>;
  /** Folders in which a note tells what is the matter. */
  noted: RawName[];
}

/**
 * Lists an inbox: its own entries, or, with a route, those of the folders to which it leads. `see` is called for each,
 * with what is the matter with it where it lies beside the route. One folder that cannot be listed keeps none of the
 * others from it. Throws what the file system says when the inbox itself cannot be listed.
 */
export async function listInbox({
  inbox,
  route,
  see,
  breathe,
}: {
  inbox: string;
  route: Route | undefined;
  see: (raw: RawName, entry: Entry, stray: Reason | undefined) => void;
  breathe: () => Promise<void>;
}): Promise<Listed> {
  const listed: Listed = { folders: [], unlisted: new Map(), noted: [] };
  let n = 0;

  async function visit(folder: RawName, depth: number): Promise<void> {
    const below: RawName[] = [];
    try {
      await read(folder, depth, below);
      listed.folders.push(folder);
    } catch (error) {
      if (depth === 0) throw error;
      if (errnoOf(error) === "ENOENT") return;
      listed.unlisted.set(folder, errnoOf(error));
    }
    for (const one of below) await visit(one, depth + 1);
  }

  async function read(folder: RawName, depth: number, below: RawName[]): Promise<void> {
    const level = route?.levels[depth];
    const dir: Dir = opendirSync(folder === "" ? inbox : toPath(inbox, folder), {
      encoding: "latin1" as BufferEncoding,
      bufferSize: 1024,
    });
    try {
      for (let entry = dir.readSync(); entry; entry = dir.readSync()) {
        const raw = inFolderOf(folder, entry.name);
        const isFolder = entry.isDirectory();
        if (entry.name === ERROR_NOTE) listed.noted.push(folder);
        if (!route) see(raw, entry, undefined);
        else if (!level) see(raw, entry, route.onlyFolders && !isFolder ? misplaced(templateOf(route)) : undefined);
        else if (isFolder && valueOf(level, entry.name) !== undefined) below.push(raw);
        else see(raw, entry, astray(route, raw, { depth, isFolder }));
        n += 1;
        if (n % SLICE === 0) await breathe();
      }
    } finally {
      dir.closeSync();
    }
  }

  await visit("", 0);
  return listed;
}
