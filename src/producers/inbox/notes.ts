import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { replaceDurably } from "../../files/durable.ts";
import type { Claim } from "./claim.ts";
import { Note } from "./claim.ts";
import { type RawName, toNoteName, toVisible } from "./names.ts";

const ENDINGS = { failed: ".error", duplicates: ".duplicate" } as const;
type Where = keyof typeof ENDINGS;

/** The notes beside a file that was set aside: one sentence for people, and the same as data for programs. */
export function createNotes({ folders }: { folders: Record<Where, string> }) {
  const path = (where: Where, raw: RawName, ending: ".txt" | ".json") =>
    join(folders[where], toNoteName(raw, ENDINGS[where] + ending));

  return {
    /** Replaces older notes of the same name: what they told of is not there any more. */
    async write({ where, raw, note }: NonNullable<Claim["aside"]>): Promise<void> {
      const text = `${toVisible(raw)}: ${note.message}\n`;
      await replaceDurably(path(where, raw, ".txt"), text, { fsync: false, mode: 0o640 });
      await replaceDurably(path(where, raw, ".json"), `${JSON.stringify(note, null, 2)}\n`, { fsync: false });
    },

    /** Synchronous, because it is asked for every file and is there for almost none. */
    read(where: Where, raw: RawName): Note | undefined {
      try {
        const parsed = Note.safeParse(JSON.parse(readFileSync(path(where, raw, ".json"), "utf8")));
        return parsed.success ? parsed.data : undefined;
      } catch {
        // Only a hint: that failed/ cannot be read is no reason not to sign.
        return undefined;
      }
    },

    async remove(where: Where, raw: RawName): Promise<void> {
      await rm(path(where, raw, ".txt"), { force: true });
      await rm(path(where, raw, ".json"), { force: true });
    },
  };
}
export type Notes = ReturnType<typeof createNotes>;
