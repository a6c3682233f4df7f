import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isMissing, replaceDurably } from "../../files/durable.ts";
import { RESULT_NAMES, type ResultName } from "../../files/batches.ts";
import { fromText, isPossible } from "../inbox/names.ts";
import { shareTo } from "../inbox/place.ts";
import type { RowResult } from "./results.ts";

/**
 * Brings what is signed of a batch, the number of its row in front, and its results, to a folder that is there. What is
 * there already stays, the results are replaced; safe to repeat.
 */
export async function bringResults(
  to: string,
  {
    dataDir,
    items,
    results,
    bring = async (from, name) => void (await shareTo(from, join(to, name))),
  }: {
    dataDir: string;
    items: readonly RowResult[];
    results: (name: ResultName) => Promise<AsyncIterable<string>>;
    /** Brings one file there, under this name; a second name of it, when left out. */
    bring?: (from: string, name: string) => Promise<void>;
  },
): Promise<void> {
  for (const { row, signed_files = [] } of items) {
    for (const path of signed_files) {
      // Many rows may have the same document.
      const name = `${row} ${path.slice(path.lastIndexOf("/") + 1)}`;
      if (isPossible(fromText(name))) await bring(join(dataDir, path), name);
    }
  }
  for (const name of RESULT_NAMES) await replaceDurably(join(to, name), await textOf(await results(name)));
}

/** Whether the results in a folder are those of a batch, as far as these were written; undefined when it has none. */
export async function areCurrent(to: string, folder: string): Promise<boolean | undefined> {
  const read = (dir: string) =>
    readFile(join(dir, "results.json")).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
  const [there, here] = await Promise.all([read(to), read(folder)]);
  return there && here && there.equals(here);
}

/** The whole text of what comes in pieces. */
export async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += piece;
  return text;
}
