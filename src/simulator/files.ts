import { unlinkSync, writeFileSync } from "node:fs";

/**
 * Up to this size a file is read and written in one synchronous go: for small files that costs a fraction of what the
 * same steps cost through the thread pool, and this provider has to be faster than what is measured against it.
 */
export const SMALL_BYTES = 256 * 1024;

/** Removes the files that are there. */
export function removeFiles(paths: string[]): void {
  for (const path of paths) {
    try {
      unlinkSync(path);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    }
  }
}

/** Writes a small new file that only the owner can read. */
export const writeSmall = (path: string, bytes: Buffer): void => writeFileSync(path, bytes, { mode: 0o600 });
