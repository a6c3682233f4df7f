import { randomUUID } from "node:crypto";
import { existsSync, linkSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { foldersOf } from "../app.ts";
import { fail, type Finding, ok, warn } from "./doctor-finding.ts";

/** Room below which we warn, in bytes. */
const ROOM_WARN = 2 * 1024 ** 3;

/** The folders are there, can be written to, and files can be renamed and linked from one to the other. */
export function checkFolders(dataDir: string): Finding[] {
  if (!existsSync(dataDir)) {
    return [
      warn(
        "Folders",
        `${dataDir} is not there yet.`,
        "The first start makes it; set DATA_DIR when it should be elsewhere.",
      ),
    ];
  }
  const { inbox, work, signed, failed } = foldersOf(dataDir);
  const missing = [inbox, work, signed, failed].filter((folder) => !existsSync(folder));
  if (missing.length > 0) {
    const gone = existsSync(work) || existsSync(signed);
    const says = `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not there.`;
    if (gone) return [fail("Folders", says, "If it was a mount, mount it again; else the next start makes it.")];
    return [warn("Folders", says, "The first start makes them.")];
  }
  // Dot files are never taken for documents.
  const name = `.signpipe-doctor-${randomUUID()}`;
  const [here, there, linked] = [join(inbox, name), join(work, name), join(failed, name)];
  const made: string[] = [];
  try {
    for (const folder of [signed, failed, inbox]) {
      made.push(join(folder, name));
      writeFileSync(join(folder, name), "");
      if (folder !== inbox) rmSync(join(folder, name));
    }
    made.push(there, linked);
    renameSync(here, there);
    linkSync(there, linked);
    return [ok("Folders", `${dataDir}: can be written to, renamed and linked within`)];
  } catch (error) {
    const { code, path = dataDir, dest } = error as NodeJS.ErrnoException & { dest?: string };
    if (code === "EXDEV") {
      const says = `inbox, .work and failed are not on one file system (${path} → ${dest ?? ""}).`;
      return [fail("Folders", says, "Put the whole DATA_DIR on one file system: files are claimed by renaming.")];
    }
    if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
      return [
        fail(
          "Folders",
          `${dirname(path)} cannot be written to (${code}).`,
          "Give it to the user that signpipe runs as.",
        ),
      ];
    }
    return [fail("Folders", `${path}: ${code ?? "error"}.`, "See what is wrong with this folder.")];
  } finally {
    for (const path of made) rmSync(path, { force: true });
  }
}

/** Below `reserveBytes` nothing new is taken in, and nothing is signed. */
export async function checkSpace(dataDir: string, reserveBytes: number): Promise<Finding[]> {
  let folder = dataDir;
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  const { bavail, bsize, ffree, files } = await statfs(folder);
  const room = bavail * bsize;
  const says = `${toSize(room)} on the file system of ${folder}`;
  const todo =
    "Make room: documents, results and the embedded Redis are kept there. Intake and signing stop below DISK_RESERVE_BYTES.";
  if (files > 0 && ffree < 1_000) return [fail("Free space", `Only ${ffree} more files fit on the file system.`, todo)];
  if (room < reserveBytes) return [fail("Free space", says, todo)];
  return [room < ROOM_WARN ? warn("Free space", says, todo) : ok("Free space", says)];
}

/** Room on the file system of a folder, in bytes. */
export async function roomIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Key files are for the owner's eyes only. */
export function checkKeys(dataDir: string): Finding[] {
  const folder = foldersOf(dataDir).keys;
  if (process.platform === "win32" || !existsSync(folder)) return [];
  const open = [folder, ...readdirSync(folder).map((name) => join(folder, name))].filter(
    (path) => (statSync(path).mode & 0o077) !== 0,
  );
  if (open.length === 0) return [ok("Keys", `${folder} is readable by its owner alone`)];
  const says = `${open.join(", ")} can be read by others on this machine.`;
  return [fail("Keys", says, `chmod -R go= ${folder}`)];
}

export function toSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  const number = bytes / 1024 ** power;
  return `${number < 10 && power > 0 ? number.toFixed(1) : Math.round(number)} ${units[power] ?? ""}`;
}
