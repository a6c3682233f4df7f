import { lstat, readdir, rm } from "node:fs/promises";
import type { InboxConfig } from "./config.ts";
import { inFolderOf, type RawName, toPath } from "./names.ts";

const EVERY_MS = 3_600_000;
/** Removed in one round; the next one goes on. */
const ROUND_MOST = 1_000;

/**
 * Removes what is older than was set from archive, failed and duplicates, when anything was set. Its age counts from when
 * it came there: a copy may have kept the time of ten years ago. Nothing else is ever removed, above all no result.
 */
export function createPurge({
  folders,
  depth = 0,
  purgeMs = {},
  now = Date.now,
}: {
  folders: Record<"archive" | "failed" | "duplicates", string>;
  /** How many folders lead to a file, one in the other; these stay. */
  depth?: number;
  purgeMs?: InboxConfig["purgeMs"];
  now?: () => number;
}) {
  let lastMs: number | undefined;

  return async function purge(): Promise<number> {
    if (lastMs !== undefined && now() - lastMs < EVERY_MS) return 0;
    lastMs = now();
    let removed = 0;
    for (const where of ["archive", "failed", "duplicates"] as const) {
      const ageMs = purgeMs[where];
      if (ageMs === undefined) continue;
      for (const name of await namesIn(folders[where], depth)) {
        if (removed >= ROUND_MOST) return removed;
        const path = toPath(folders[where], name);
        const { mtimeMs, ctimeMs } = await lstat(path);
        if (now() - Math.max(mtimeMs, ctimeMs) < ageMs) continue;
        await rm(path, { recursive: true, force: true });
        removed += 1;
      }
    }
    return removed;
  };
}

/** What lies so many folders deep. */
async function namesIn(folder: string, depth: number, above: RawName = ""): Promise<RawName[]> {
  const at = above === "" ? folder : toPath(folder, above);
  const entries = await readdir(at, { withFileTypes: true, encoding: "latin1" });
  const names = entries.map((entry) => inFolderOf(above, entry.name));
  if (depth === 0) return names;
  const below: RawName[] = [];
  for (const [i, entry] of entries.entries()) {
    if (entry.isDirectory()) below.push(...(await namesIn(folder, depth - 1, names[i])));
  }
  return below;
}
