import { readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { RequestId } from "../core/request.ts";
import { inFolder, isMissing, replaceDurably, toDiskFailure } from "./durable.ts";

const NAME = ".signer";
const Sealed = z.record(z.string(), z.string());

/** The signer's encrypted data beside the request's documents, in case that Redis loses it. Gone when it is erased. */
export function createSpare({ dir }: { dir: string }) {
  const folder = (id: RequestId) => join(dir, RequestId.parse(id));
  return {
    async keep(id: RequestId, sealed: Record<string, string>): Promise<void> {
      await inFolder(folder(id), () => replaceDurably(join(folder(id), NAME), JSON.stringify(sealed)));
    },
    async read(id: RequestId): Promise<Record<string, string> | undefined> {
      let text: string;
      try {
        text = await readFile(join(folder(id), NAME), "utf8");
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw toDiskFailure(error);
      }
      try {
        return Sealed.parse(JSON.parse(text));
      } catch {
        return undefined; // damaged: there is nothing to put back
      }
    },
    async erase(id: RequestId): Promise<void> {
      try {
        // Not flushed: should a power cut bring it back, encrypted as it is, the folder goes with the request all the same.
        await unlink(join(folder(id), NAME));
      } catch (error) {
        if (!isMissing(error)) throw toDiskFailure(error);
      }
    },
  };
}
