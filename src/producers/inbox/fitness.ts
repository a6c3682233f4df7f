import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "./look.ts";

/** What is wrong with a folder, or good to know of it: one sentence for the operator. */
export interface Finding {
  isFault: boolean;
  message: string;
}

const SKEW_MOST_MS = 60_000;
const ROOM_LEAST = 64 * 1024 ** 2;

/**
 * Whether an inbox can work in this folder: its folders can be written to, files renamed from one to the other, there is
 * room. Says also what surprises people: a clock that differs, names that do not tell capitals apart. What it makes, it
 * removes. The folder itself has to be there.
 */
export function examine(folders: Readonly<Record<string, string>>, dir: string, now = Date.now): Finding[] {
  const found: Finding[] = [];
  const fault = (message: string) => void found.push({ isFault: true, message });
  const name = `.signpipe-check-${randomBytes(6).toString("hex")}`;
  let at = "";
  const made: string[] = [];
  try {
    for (const [which, folder] of Object.entries(folders)) {
      at = which;
      makeOnce(folder);
      const path = join(folder, name);
      if (made[0] === undefined) writeFileSync(path, "");
      else renameSync(made[0], path);
      made[0] = path;
    }
    const [last = ""] = made;
    const skewMs = statSync(last).mtimeMs - now();
    if (Math.abs(skewMs) > SKEW_MOST_MS) {
      const seconds = Math.round(Math.abs(skewMs) / 1000);
      const message = `its clock is ${seconds} s ${skewMs > 0 ? "ahead" : "behind"}; files are judged by changes, not by their times`;
      found.push({ isFault: false, message });
    }
    if (existsSync(last.replace(name, name.toUpperCase()))) {
      found.push({ isFault: false, message: "names there do not tell capitals from small letters" });
    }
  } catch (error) {
    const code = errnoOf(error);
    if (code === "EXDEV")
      fault(`files cannot be renamed into its folder ${at}: put all of its folders on one disk, or set "mode": "copy"`);
    else if (["EACCES", "EPERM", "EROFS"].includes(code))
      fault(`its folder ${at} cannot be written to (${code}): give signpipe the right to it`);
    else if (code === "ENOSPC" || code === "EDQUOT") fault("its disk is full: make room");
    else fault(`its folder ${at} cannot be used (${code || "error"})`);
  } finally {
    for (const path of made) rmSync(path, { force: true });
  }
  if (found.some(({ isFault }) => isFault)) return found;
  const { bavail, bsize } = statfsSync(dir);
  if (bavail * bsize < ROOM_LEAST) found.push({ isFault: false, message: "there is less than 64 MiB of room" });
  return found;
}

/** Makes a folder where its parent is. */
function makeOnce(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o770 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}
