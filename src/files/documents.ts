import { createReadStream } from "node:fs";
import { constants } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { PermanentError } from "../core/errors.ts";
import { RequestId, type StoredDocument } from "../core/request.ts";
import { hashFile } from "./durable.ts";

export type Documents = ReturnType<typeof createDocuments>;

const BLOCK_BYTES = 1 << 20;

/**
 * The store of what was handed in: a folder for each request. Records hold references ("<request id>/<file>"), never
 * paths, so that another kind of store can take its place.
 */
export function createDocuments({ dir }: { dir: string }) {
  function path({ id }: Pick<StoredDocument, "id">): string {
    const [request = "", file = "", ...more] = id.split("/");
    const bad = more.length > 0 || file === "" || file === "." || file === ".." || file.includes("\0");
    if (bad || !RequestId.safeParse(request).success) {
      throw new PermanentError("The document's reference is not one of this store", { code: "document-gone" });
    }
    return join(dir, request, file);
  }

  return {
    dir,
    path,
    folder: (id: RequestId): string => join(dir, RequestId.parse(id)),

    /** Makes the request's folder. */
    async newFolder(id: RequestId): Promise<string> {
      const folder = join(dir, RequestId.parse(id));
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return folder;
    },

    /** The reference of a file that is in the request's folder. Throws "not-a-regular-file", "file-empty". */
    async inspect(id: RequestId, file: string, name: string): Promise<StoredDocument> {
      const reference = `${id}/${file}`;
      const { sizeBytes, sha256 } = await hashFile(path({ id: reference }));
      if (sizeBytes === 0) throw new PermanentError("The file is empty", { code: "file-empty" });
      return { id: reference, name: name.normalize("NFC"), sizeBytes, sha256 };
    },

    /** Its bytes. The stream fails with PermanentError "document-gone" when they are not there. */
    open(document: StoredDocument): Readable {
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
      return Readable.from(
        (async function* () {
          const file = await open(path(document), flags).catch((cause: unknown) => {
            throw new PermanentError("A document is not in the store any more", { code: "document-gone", cause });
          });
          yield* createReadStream("", { fd: file, highWaterMark: BLOCK_BYTES }) as AsyncIterable<Buffer>;
        })(),
        { objectMode: false, highWaterMark: BLOCK_BYTES },
      );
    },

    /** Removes everything of a request. Nothing there is fine. */
    async remove(id: RequestId): Promise<void> {
      await rm(join(dir, RequestId.parse(id)), { recursive: true, force: true });
    },
  };
}
