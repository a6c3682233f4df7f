import { createReadStream } from "node:fs";
import { realpath } from "node:fs/promises";
import { isAbsolute, join, normalize, sep } from "node:path";
import type { Readable } from "node:stream";
import { PermanentError, RetryableError } from "../core/errors.ts";
import { openRegular } from "./content.ts";
import { isMissing } from "./durable.ts";

/**
 * Opens a file that others put into the shared folder `dir`, by its path in there, for reading. Links are followed as
 * long as they stay inside. Throws PermanentError "path-not-allowed" for what is or leads elsewhere and
 * "not-a-regular-file"; RetryableError "document-missing" while nothing is there, and what the file system says.
 */
export async function openShared(dir: string, path: string): Promise<{ content: Readable; sizeBytes: number }> {
  const wanted = normalize(path);
  if (path.includes("\0") || isAbsolute(path) || wanted === ".." || wanted.startsWith(`..${sep}`)) throw notAllowed();
  try {
    const root = await realpath(dir);
    const real = await realpath(join(root, wanted));
    mustBeIn(root, real);
    const { file, sizeBytes } = await openRegular(real);
    try {
      // Somebody may have put a link in the place of a folder since: what counts is what was opened.
      const opened = await realpath(`/proc/self/fd/${file.fd}`).catch(() => real);
      mustBeIn(root, opened);
      return { content: createReadStream("", { fd: file, highWaterMark: 1 << 20 }), sizeBytes };
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    throw new RetryableError("The file is not there (yet)", { code: "document-missing", cause });
  }
}

function mustBeIn(root: string, real: string): void {
  if (!real.startsWith(root.endsWith(sep) ? root : root + sep)) throw notAllowed();
}

function notAllowed(): PermanentError {
  return new PermanentError("It is not a path within the shared folder", { code: "path-not-allowed" });
}
