import { randomBytes } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { chmod, copyFile, link, lstat, mkdir, readdir, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder } from "../../files/durable.ts";
import { errnoOf } from "./look.ts";
import type { RawName } from "./names.ts";

/** What the system answers where hard links are not possible, or not allowed for this file. */
const NO_LINKS = new Set(["EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EXDEV"]);

export type Path = string | Buffer;
/** "taken": the name belongs to something else, which was not touched. "missing": there was nothing to move. */
export type Placed = "placed" | "taken" | "missing";

export async function find(path: Path): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** Moves a file, a folder, or whatever it is, within a file system. Never overwrites; can be repeated. */
export async function moveTo(from: Path, to: Path): Promise<Placed> {
  const [source, target] = await Promise.all([find(from), find(to)]);
  if (!source) return "missing";
  if (!source.isFile()) return target ? "taken" : await renameTo(from, to);
  const linked = await linkTo(from, to, source);
  if (linked === "impossible") return target ? "taken" : await renameTo(from, to);
  if (linked === "placed") await unlink(from);
  return linked;
}

/** Gives a file a second place: a hard link, or a copy where that is not possible. Never overwrites. */
export async function shareTo(from: Path, to: Path): Promise<Placed> {
  const source = await find(from);
  if (!source) return "missing";
  const linked = await linkTo(from, to, source);
  return linked === "impossible" ? await copyTo(from, to) : linked;
}

/** Copies a file, for the owner's eyes only. Never overwrites, and never shows a part of it under its name. */
export async function copyTo(from: Path, to: Path): Promise<Placed> {
  const partial = besides(to);
  try {
    await copyFile(from, partial, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(partial, 0o600);
    const source = await lstat(partial);
    const linked = await linkTo(partial, to, source);
    if (linked !== "impossible") return linked;
    return (await find(to)) ? "taken" : await renameTo(partial, to);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "missing";
    throw error;
  } finally {
    await unlink(partial).catch(() => {});
  }
}

/** A name of its own in the same folder; what a crash leaves of it is removed as stale. */
function besides(path: Path): Path {
  const whole = Buffer.from(path);
  const folder = whole.subarray(0, whole.lastIndexOf("/") + 1);
  return Buffer.concat([folder, Buffer.from(`.${randomBytes(9).toString("base64url")}.part`)]);
}

/** Whether a file is what a crash left of a copy, to go by its name. */
export function isPartial(name: string): boolean {
  return /^\.[\w-]{12}\.part$/.test(name);
}

async function linkTo(from: Path, to: Path, source: Stats): Promise<Placed | "impossible"> {
  try {
    await link(from, to);
    return "placed";
  } catch (error) {
    const code = errnoOf(error);
    if (code === "EEXIST") {
      // Ours already, when a crash came between the link and what was to follow it.
      const target = await find(to);
      return target && target.ino === source.ino && target.dev === source.dev ? "placed" : "taken";
    }
    if (code === "ENOENT") return "missing";
    if (NO_LINKS.has(code)) return "impossible";
    throw error;
  }
}

async function renameTo(from: Path, to: Path): Promise<Placed> {
  try {
    await rename(from, to);
    return "placed";
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "missing";
    if (["EEXIST", "ENOTEMPTY", "ENOTDIR", "EISDIR"].includes(errnoOf(error))) return "taken";
    throw error;
  }
}

/** Makes folders below one that has to be there: on a disk that has gone away nothing is made. */
export async function makeBelow(top: string, path: string, mode: number): Promise<void> {
  let at = top;
  for (const part of path.split("/")) {
    if (part === "") continue;
    at = join(at, part);
    try {
      await mkdir(at, { mode });
      await syncFolder(dirname(at));
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
  }
}

/** The names in a folder; none when it is not there. */
export async function namesIn(folder: Path): Promise<RawName[]> {
  try {
    return await readdir(folder, { encoding: "latin1" });
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}
