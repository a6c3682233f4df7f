import { createReadStream } from "node:fs";
import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { CrashPoint, FileBoundary } from "../core/crash-point.ts";
import { PermanentError, RetryableError } from "../core/errors.ts";
import { RequestId, type ResultFile } from "../core/request.ts";
import { Signer } from "../core/signing.ts";
import { type Content, hashContent, hashFile, openRegular, withContent } from "./content.ts";
import { cutToBytes } from "./names.ts";
import { inFolder, isMissing, replaceDurably, toDiskFailure, withDisk, writeDurably } from "./durable.ts";

export type Results = ReturnType<typeof createResults>;

/** Throws PermanentError for bytes that are not what they should be. May tell the `sha256` of all that it has read. */
type Verify = (content: Content) => Promise<object>;

/** Results: a folder for each request with the signed documents, the contract and the evidence. */
export function createResults({ dir, crashPoint }: { dir: string; crashPoint?: CrashPoint | undefined }) {
  const folder = (id: RequestId) => join(dir, RequestId.parse(id));

  function path(id: RequestId, name: string): string {
    if (name === "" || name.startsWith(".") || /[/\\\0]/.test(name)) {
      throw new PermanentError("The name is not one of a result", { code: "no-such-file" });
    }
    return join(folder(id), name);
  }

  async function readEvidence(id: RequestId): Promise<unknown> {
    try {
      return JSON.parse(await readFile(join(folder(id), "evidence.json"), "utf8")) as unknown;
    } catch {
      return undefined;
    }
  }

  async function moveAside(id: RequestId, name: string, why: "damaged" | "earlier"): Promise<void> {
    const aside = join(folder(id), cutToBytes(`${Date.now().toString(36)}.${why}.${name}`, 200));
    await withDisk(() => rename(path(id, name), aside));
  }

  return {
    dir,
    folder,
    path,

    /**
     * Verifies and stores a file for good; it is on disk when this resolves. With `evidenceFollows` its name is only when
     * the evidence, which stands in the same folder, has been written.
     */
    async store(
      id: RequestId,
      name: string,
      source: AsyncIterable<Uint8Array>,
      verify: Verify,
      { evidenceFollows = false } = {},
    ): Promise<ResultFile> {
      path(id, name);
      const reach = crashPoint && ((boundary: FileBoundary) => crashPoint(`${name}:${boundary}`, id));
      const { sizeBytes, sha256 } = await writeDurably({
        dir: folder(id),
        name,
        source,
        check: verify,
        flushName: !evidenceFollows,
        reach,
      });
      return { name, sizeBytes, sha256 };
    },

    /**
     * A file that an interrupted attempt has stored, when it still verifies. One that does not is set aside under
     * another name, so that nothing is lost and a good one can take its place.
     */
    async existing(id: RequestId, name: string, verify: Verify): Promise<ResultFile | undefined> {
      const at = path(id, name);
      try {
        return await withContent(at, async (content) => {
          await verify(content);
          return { name, ...(await hashContent(content)) };
        });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        if (!(error instanceof PermanentError)) throw toDiskFailure(error);
        await moveAside(id, name, "damaged");
        return undefined;
      }
    },

    /** Gives a file that is of no use any more another name, so that nothing is lost. Nothing happens when it is not there. */
    async setAside(id: RequestId, name: string): Promise<void> {
      await moveAside(id, name, "earlier").catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    },

    /**
     * Whether a stored file is still, byte by byte, what was verified; a link in its place is not. Throws RetryableError
     * "result-unreadable" or "disk-error" where that cannot be told.
     */
    async rehash(id: RequestId, file: ResultFile): Promise<boolean> {
      try {
        const { sizeBytes, sha256 } = await hashFile(path(id, file.name));
        return sizeBytes === file.sizeBytes && sha256 === file.sha256;
      } catch (error) {
        if (error instanceof PermanentError || isMissing(error)) return false;
        const failure = toDiskFailure(error);
        if (failure !== error) throw failure;
        throw new RetryableError("A signed file cannot be read", { code: "result-unreadable", cause: error });
      }
    },

    /** Opens a stored file for reading. Throws an error with code ENOENT when it is not there. */
    async open(id: RequestId, name: string): Promise<{ content: Readable; sizeBytes: number }> {
      const { file, sizeBytes } = await openRegular(path(id, name));
      return { content: createReadStream("", { fd: file, highWaterMark: 1 << 20 }), sizeBytes };
    },

    /** Writes evidence.json anew; it is on disk when this resolves. */
    async writeEvidence(id: RequestId, evidence: object): Promise<void> {
      const text = `${JSON.stringify(evidence, null, 2)}\n`;
      await inFolder(folder(id), () => replaceDurably(join(folder(id), "evidence.json"), text));
    },

    /** Who signed, as the evidence has it; undefined when there is none. */
    async signerOf(id: RequestId): Promise<Signer | undefined> {
      const evidence = (await readEvidence(id)) as { signer?: unknown } | undefined;
      return Signer.safeParse(evidence?.signer).data;
    },

    readEvidence,
  };
}
