import { mkdirSync, statSync } from "node:fs";
import { PermanentError } from "../../core/errors.ts";
import type { Log } from "../../core/stage.ts";
import { examine } from "./fitness.ts";
import type { Absence } from "./presence.ts";

/**
 * Makes the folders of an inbox, or examines those of one of its own. What keeps it from being served, or nothing. Throws
 * PermanentError "folders-on-two-disks" of the one in DATA_DIR, and what the file system says.
 */
export function prepareFolders({
  folders,
  dir,
  isOwn,
  log,
}: {
  folders: Readonly<Record<string, string>>;
  dir: string;
  /** Whether it is one of its own, and not the one in DATA_DIR. */
  isOwn: boolean;
  log: Log;
}): Absence | undefined {
  if (!isOwn) {
    for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true, mode: 0o700 });
    mustBeOnOneDisk(folders);
    return undefined;
  }
  const found = examine(folders, dir);
  const fault = found.find(({ isFault }) => isFault);
  if (fault) return { code: "inbox-unfit", message: fault.message };
  for (const { message } of found) log.warn({}, `inbox: ${message}`);
  return undefined;
}

function mustBeOnOneDisk({ inbox = "", ...others }: Readonly<Record<string, string>>): void {
  const { dev } = statSync(inbox);
  for (const [name, folder] of Object.entries(others)) {
    if (statSync(folder).dev === dev) continue;
    throw new PermanentError(
      `DATA_DIR/inbox and DATA_DIR/${name} are on different file systems; files are moved between them by renaming, so put both on one, or have files copied from an inbox of INBOXES_FILE with "mode": "copy".`,
      { code: "folders-on-two-disks" },
    );
  }
}
