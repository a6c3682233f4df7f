import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { isFailure } from "../../core/errors.ts";
import type { RequestId } from "../../core/request.ts";
import { openRegular } from "../../files/content.ts";
import { makeFolder, writeDurably } from "../../files/durable.ts";

export type Stock = ReturnType<typeof createStock>;

/**
 * Copies, in the document store, of what was claimed in an inbox that may be on a share: what is being signed must not go
 * away with the share. The originals stay there with their claim, and come back, or to the archive, without another copy.
 */
export function createStock({ work }: { work: string }) {
  const at = (id: RequestId, name: string) => join(work, id, name);

  return {
    at,

    /**
     * Copies a file of a claim, flushes the copy and compares what is on the disk with what was read. Safe to repeat: what
     * an earlier try left is made anew where it is another file. Throws what opening the file, and the disk, say.
     */
    async bring(from: string, id: RequestId, name: string): Promise<void> {
      const dir = join(work, id);
      await makeFolder(dir);
      for (let isAgain = false; ; isAgain = true) {
        const { file } = await openRegular(from);
        try {
          await writeDurably({ dir, name, source: file.createReadStream({ autoClose: false, start: 0 }) });
          return;
        } catch (error) {
          if (isAgain || !isFailure(error, "name-taken")) throw error;
          await rm(at(id, name), { force: true });
        } finally {
          await file.close();
        }
      }
    },

    /** Removes the copies of a request, when nobody needs them any more. */
    drop(id: RequestId): void {
      rmSync(join(work, id), { recursive: true, force: true });
    },
  };
}
