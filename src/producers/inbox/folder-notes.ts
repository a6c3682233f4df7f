import { constants } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { replaceDurably } from "../../files/durable.ts";
import { ERROR_NOTE } from "./ignore.ts";
import { errnoOf } from "./look.ts";
import { folderOf, nameOf, type RawName, toText, toVisible } from "./names.ts";
import { find, type Path } from "./place.ts";
import type { Tracker } from "./tracker.ts";

/** Named in a note; whoever mends these finds the others. */
const MOST_NAMED = 50;
/** By this a note is known as ours: anybody may have a file of this name. */
const HEAD = "signpipe cannot take what is named here. This note goes by itself once that is mended.\n\n";

/** Whether a file is a note of ours, which may be replaced and removed. False for anything else, and for nothing. */
export async function isOwnNote(path: Path): Promise<boolean> {
  if (!(await find(path))?.isFile()) return false;
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD.length), 0, HEAD.length, 0);
    return buffer.subarray(0, bytesRead).toString("utf8") === HEAD;
  } finally {
    await file.close();
  }
}

/**
 * Tells, in a folder that leads nowhere and in one where files lie too high, what is the matter: who drops there looks
 * there. A note goes when there is nothing more to be said. That one cannot be written harms nobody: the status says it too.
 */
export function createFolderNotes({ inbox }: { inbox: string }) {
  const told = new Map<RawName, string>();

  return async function tell(found: ReturnType<Tracker["reported"]>, noted: readonly RawName[]): Promise<void> {
    const texts = new Map<RawName, string[]>();
    for (const { raw, kind, trouble, isStray } of found) {
      if (!isStray) continue;
      const folder = kind === "folder" ? raw : folderOf(raw);
      const lines = texts.get(folder) ?? [];
      if (lines.length < MOST_NAMED) lines.push(`${toVisible(nameOf(raw))}: ${trouble.message}\n`);
      texts.set(folder, lines);
    }
    for (const folder of new Set([...told.keys(), ...noted])) {
      if (texts.has(folder)) continue;
      await quietly(async () => {
        if (await isOwnNote(pathIn(folder))) await rm(pathIn(folder), { force: true });
      });
      told.delete(folder);
    }
    for (const [folder, lines] of texts) {
      const text = HEAD + lines.join("");
      if (told.get(folder) === text) continue;
      await quietly(async () => {
        const path = pathIn(folder);
        if ((await find(path)) && !(await isOwnNote(path))) return;
        await replaceDurably(path, text, { fsync: false, mode: 0o640 });
      });
      told.set(folder, text);
    }
  };

  function pathIn(folder: RawName): string {
    return join(inbox, toText(folder), ERROR_NOTE);
  }
}

async function quietly(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (errnoOf(error) === "") throw error;
  }
}
