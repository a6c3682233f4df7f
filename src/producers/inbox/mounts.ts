import { readFileSync } from "node:fs";
import { resolve } from "node:path";

/** What NFS keeps to itself for at least so long unless somebody has set it otherwise. @source nfs(5), acregmin */
const NFS_MS = 3_000;
/** The same of SMB. @source mount.cifs(8), actimeo */
const SMB_MS = 1_000;
const MOST_MS = 60_000;

/**
 * For how long a share may show a file as it was, in milliseconds; 0 on a local disk, and where nothing can be found out.
 * A client that has looked at a file answers from memory for this long, and only then, if it has not changed, for longer:
 * so two looks further apart than this are two looks at the share. `mounts` is the text of /proc/mounts. Pure.
 */
export function cachedMs(folder: string, mounts: string): number {
  const path = resolve(folder);
  let best: { at: string; type: string; options: string } | undefined;
  for (const line of mounts.split("\n")) {
    const [, rawAt = "", type = "", options = ""] = line.split(" ");
    // Blanks and the like stand there as octal numbers. @source proc_pid_mounts(5), fstab(5)
    const at = rawAt.replaceAll(/\\(\d{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8)));
    const isOver = path === at || path.startsWith(at === "/" ? "/" : `${at}/`);
    // The last one of the same place is the one that is seen.
    if (isOver && at !== "" && (!best || at.length >= best.at.length)) best = { at, type, options };
  }
  if (!best) return 0;
  const { type, options } = best;
  const words = options.split(",");
  const seconds = (name: string): number | undefined => {
    const found = words.find((word) => word.startsWith(`${name}=`));
    return found === undefined ? undefined : Number(found.slice(name.length + 1));
  };
  let ms: number;
  if (/^nfs4?$/.test(type)) ms = words.includes("noac") ? 0 : toMs(seconds("acregmin") ?? seconds("actimeo"), NFS_MS);
  else if (/^(?:cifs|smb3?|smbfs)$/.test(type)) ms = toMs(seconds("actimeo") ?? seconds("acregmax"), SMB_MS);
  else return 0;
  return Math.min(ms, MOST_MS);
}

function toMs(seconds: number | undefined, usual: number): number {
  return seconds === undefined || !Number.isFinite(seconds) ? usual : seconds * 1_000;
}

/** The mounts of this machine; nothing where they cannot be read. */
export function readMounts(): string {
  try {
    return readFileSync("/proc/mounts", "utf8");
  } catch {
    return "";
  }
}
