import { createReadStream } from "node:fs";
import { type FileHandle, link, mkdir, rm, stat, unlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { PermanentError, RetryableError } from "../core/errors.ts";
import { RequestId, type StoredDocument } from "../core/request.ts";
import type { Format } from "../core/signing.ts";
import { hashFile, openRegular } from "./content.ts";
import { isMissing, makeFolder, syncFolder, toDiskFailure, withDisk } from "./durable.ts";
import { passedOn } from "./garbage.ts";
import { archivedName } from "./names.ts";

export type Documents = ReturnType<typeof createDocuments>;

const BLOCK_BYTES = 1 << 20;
/** In the folder of an upload until it is accepted: what has it, and no record, was never anybody's request. */
const UPLOADING = ".uploading";

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

    /** Makes the folder of a request that may never come about. It is on disk when this resolves. */
    async beginUpload(id: RequestId): Promise<string> {
      const folder = join(dir, RequestId.parse(id));
      await makeFolder(folder);
      await withDisk(() => writeFile(join(folder, UPLOADING), "", { mode: 0o600 }));
      return folder;
    },

    /** The upload has become a request. */
    async endUpload(id: RequestId): Promise<void> {
      await rm(join(dir, RequestId.parse(id), UPLOADING), { force: true });
    },

    /** Since when a folder holds an upload that nobody has accepted, in milliseconds; undefined when it holds none. */
    async uploadingSince(id: RequestId): Promise<number | undefined> {
      const folder = join(dir, RequestId.parse(id));
      try {
        const [mark, whole] = await Promise.all([stat(join(folder, UPLOADING)), stat(folder)]);
        return Math.max(mark.mtimeMs, whole.mtimeMs);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      }
    },

    /** The reference of a file that is in the request's folder. Throws "not-a-regular-file", "file-empty". */
    async inspect(id: RequestId, file: string, name: string): Promise<StoredDocument> {
      const reference = `${id}/${file}`;
      const { sizeBytes, sha256 } = await hashFile(path({ id: reference }));
      if (sizeBytes === 0) throw new PermanentError("The file is empty", { code: "file-empty" });
      return { id: reference, name: name.normalize("NFC"), sizeBytes, sha256 };
    },

    /**
     * Its bytes, in blocks of 1 MiB. Throws PermanentError "document-gone" when they are not there, RetryableError
     * "document-unreadable" or "disk-error" when they are and cannot be read.
     */
    async *open(document: StoredDocument): AsyncGenerator<Buffer, void, undefined> {
      const { file, sizeBytes } = await openRegular(path(document)).catch((cause: unknown) => {
        throw isGone(cause) ? documentGone(cause) : unreadable(cause);
      });
      try {
        yield* blocksOf(file, sizeBytes);
      } catch (error) {
        throw toDiskFailure(error);
      } finally {
        await file.close();
      }
    },

    /** The same for somebody who looks at it. Throws PermanentError "document-gone", and what the file system says. */
    async openToShow(document: StoredDocument): Promise<{ content: Readable; sizeBytes: number }> {
      const { file, sizeBytes } = await openRegular(path(document)).catch((cause: unknown) => {
        if (!isGone(cause)) throw cause;
        throw new PermanentError("It is not in the store any more", { code: "document-gone", cause });
      });
      return { content: createReadStream("", { fd: file, highWaterMark: BLOCK_BYTES }), sizeBytes };
    },

    /**
     * Moves the documents of a request that is done to its folder in `archive`, which is on the same file system, under
     * the names people gave them; what else there was goes. Never overwrites; safe to repeat after a crash in between.
     */
    async archive(
      id: RequestId,
      stored: readonly StoredDocument[],
      { archive, format }: { archive: string; format: Format },
    ): Promise<void> {
      const from = join(dir, RequestId.parse(id));
      const to = join(archive, id);
      await mkdir(to, { recursive: true, mode: 0o700 });
      for (const document of stored)
        await moveOnce(path(document), (n) => join(to, archivedName(document.name, n, format)));
      await syncFolder(to);
      await syncFolder(archive);
      await rm(from, { recursive: true, force: true });
    },

    /**
     * The same files in the folder of another request too, as 1.pdf and so on, and what is called otherwise under its own
     * name; each is a file of its own when the other one goes. On disk when this resolves; safe to repeat. References to
     * them, in order. Throws PermanentError "document-gone", and what the disk says.
     */
    async share<T extends Pick<StoredDocument, "id">>(files: readonly T[], to: RequestId): Promise<T[]> {
      const folder = join(dir, RequestId.parse(to));
      await makeFolder(folder);
      let n = 0;
      const shared: T[] = [];
      for (const file of files) {
        const own = basename(path(file));
        const name = /^\d+\.pdf$/.test(own) ? `${++n}.pdf` : own;
        await withDisk(() => linkAnew(path(file), join(folder, name)));
        shared.push({ ...file, id: `${to}/${name}` });
      }
      await syncFolder(folder);
      return shared;
    },

    /**
     * Takes files from elsewhere on the same file system into the folder of a request that may never come about, under
     * the names in `as`; each is a file of its own when the other one goes. On disk when this resolves; safe to repeat.
     * Throws PermanentError "document-gone", and what the disk says.
     */
    async adopt(id: RequestId, files: readonly { path: string; as: string }[]): Promise<void> {
      const folder = await this.beginUpload(id);
      for (const { path: from, as } of files) await withDisk(() => linkAnew(from, join(folder, as)));
      await syncFolder(folder);
    },

    /** Removes these files, when they are there. Throws what the disk says. */
    async erase(files: readonly Pick<StoredDocument, "id">[]): Promise<void> {
      for (const file of files) await withDisk(() => rm(path(file), { force: true }));
    },

    /** Removes everything of a request. Nothing there is fine. */
    async remove(id: RequestId): Promise<void> {
      await rm(join(dir, RequestId.parse(id)), { recursive: true, force: true });
    },
  };
}

/** What is thrown of a document that somebody has taken away. */
export function documentGone(cause: unknown): PermanentError {
  return new PermanentError("A document is not in the store any more", { code: "document-gone", cause });
}

/** Nothing is there, or something that was never put there. */
function isGone(error: unknown): boolean {
  return error instanceof PermanentError || isMissing(error);
}

function unreadable(cause: unknown): unknown {
  const failure = toDiskFailure(cause);
  if (failure !== cause) return failure;
  return new RetryableError("A document cannot be read", { code: "document-unreadable", cause });
}

/** The next block is read while the one before is at work; each is its own, since nobody says when he is done with it. */
async function* blocksOf(file: FileHandle, sizeBytes: number): AsyncGenerator<Buffer, void, undefined> {
  const read = (at: number) => {
    const buffer = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, sizeBytes - at));
    return file.read(buffer, 0, buffer.length, at);
  };
  let next: ReturnType<typeof read> | undefined;
  try {
    for (let at = 0; at < sizeBytes;) {
      const { bytesRead, buffer } = await (next ?? read(at));
      at += bytesRead;
      next = at < sizeBytes && bytesRead > 0 ? read(at) : undefined;
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      passedOn(bytesRead);
    }
  } finally {
    // Whoever stops in between closes the file, which must not be under the feet of a read.
    await next?.catch(() => {});
  }
}

/** Moves a file to the first of these places that is free. One that is gone was moved before. */
async function moveOnce(from: string, place: (n: number) => string): Promise<void> {
  for (let n = 1; ; n++) {
    const to = place(n);
    try {
      await link(from, to);
      return await unlink(from);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return;
      if (code !== "EEXIST") throw error;
      if (await isSameFile(from, to)) return await unlink(from);
    }
  }
}

/** Gives a file a second name, in the place of what an earlier try may have left there. */
async function linkAnew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw documentGone(error);
    if (code !== "EEXIST") throw error;
    if (await isSameFile(from, to)) return;
    await unlink(to);
    await link(from, to);
  }
}

/** Whether a crash came between the link and the removal of the old name. */
async function isSameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([stat(a), stat(b)]);
  return one.ino === other.ino && one.dev === other.dev;
}
