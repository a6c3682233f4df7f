import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, replaceDurably, writeOnce } from "./durable.ts";

/** The id that ties a DATA_DIR to its Redis: `DATA_DIR/instance`. */
export function createInstance(dataDir: string) {
  const path = join(dataDir, "instance");
  return {
    async read(): Promise<string | undefined> {
      try {
        return (await readFile(path, "utf8")).trim() || undefined;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      }
    },
    async write(id: string): Promise<void> {
      await makeFolder(dataDir);
      await replaceDurably(path, `${id}\n`);
    },
    /** Writes an id where there is none. The one that is there then: of several processes one is first. */
    async claim(id: string): Promise<string> {
      await makeFolder(dataDir);
      await writeOnce(path, `${id}\n`);
      return (await readFile(path, "utf8")).trim();
    },
  };
}
