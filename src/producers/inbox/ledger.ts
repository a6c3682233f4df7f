import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { RequestId } from "../../core/request.ts";
import { replaceDurably, syncFolder, withDisk } from "../../files/durable.ts";
import { errnoOf } from "./look.ts";
import type { RawName } from "./names.ts";

/** A file that was not in its source for so long is forgotten: it may come back with a disk that was away for weeks. */
const KEEP_MS = 30 * 86_400_000;
/** Between two rewritings that only make it smaller. */
const REWRITE_MS = 3_600_000;

/** What was copied: where from, what it looked like, as which claim, and what was in it. */
const Line = z.object({
  raw: z.string().min(1),
  print: z.string(),
  id: RequestId,
  sha256: z.string(),
  atMs: z.number(),
  /** Since when it is not there any more. */
  goneMs: z.number().optional(),
});
type LedgerLine = z.infer<typeof Line>;

export type Ledger = ReturnType<typeof createLedger>;

/** Its name, at the gate of an inbox. */
export const LEDGER = "ledger.jsonl";

/**
 * Which files of a source were taken, where they stay: a line for each, on disk before the copy counts. Bounded by the
 * files that are there, and those that went in the last 30 days.
 */
export function createLedger({ path, now }: { path: string; now: () => number }) {
  const lines = new Map<RawName, LedgerLine>();
  const ids = new Map<RequestId, RawName>();
  let isTorn = false;
  let isStale = false;
  let rewrittenMs = Number.NEGATIVE_INFINITY;

  /** Reads what is on disk. Throws what the file system says: one that cannot be read is not an empty one. */
  function load(): void {
    lines.clear();
    ids.clear();
    isTorn = isStale = false;
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      throw error;
    }
    const all = text.split("\n");
    isTorn = all.pop() !== "";
    for (const one of all) {
      const line = parse(one);
      if (line) keep(line);
      else isTorn = true;
    }
  }

  function keep(line: LedgerLine): void {
    lines.set(line.raw, line);
    ids.set(line.id, line.raw);
  }

  async function rewrite(): Promise<void> {
    const text = [...lines.values()].map((line) => `${JSON.stringify(line)}\n`).join("");
    await replaceDurably(path, text);
    isTorn = isStale = false;
    rewrittenMs = now();
  }

  return {
    load,
    size: () => lines.size,

    /** Whether a file was taken as it is now. One whose JSON file has gone since is still the one that was taken. */
    has(raw: RawName, print: string): boolean {
      const line = lines.get(raw);
      return line !== undefined && (line.print === print || line.print.startsWith(`${print} `));
    },

    /** Whether something of this name was taken, whatever it looked like. */
    knows: (raw: RawName): boolean => lines.has(raw),

    /** The name of what was copied, of a copy that counts; undefined of any other. */
    rawOf: (id: RequestId): RawName | undefined => ids.get(id),

    /** On disk when this resolves. */
    async add(line: LedgerLine): Promise<void> {
      // Behind a line that a crash has cut off, this one could not be read.
      if (isTorn) await rewrite();
      isTorn = true;
      await withDisk(async () => {
        const file = await open(path, "a", 0o600);
        try {
          await file.appendFile(`${JSON.stringify(line)}\n`);
          await file.sync();
        } finally {
          await file.close();
        }
        if (lines.size === 0) await syncFolder(dirname(path));
      });
      isTorn = false;
      keep(line);
    },

    /** Told after each listing what is there. Never of one that found nothing: that may be a disk that is away. */
    async notice(isThere: (raw: RawName) => boolean): Promise<void> {
      for (const [raw, line] of lines) {
        if (isThere(raw)) {
          if (line.goneMs === undefined) continue;
          delete line.goneMs;
        } else if (line.goneMs === undefined) line.goneMs = now();
        else if (now() - line.goneMs >= KEEP_MS) {
          lines.delete(raw);
          ids.delete(line.id);
        } else continue;
        isStale = true;
      }
      if (isStale && now() - rewrittenMs >= REWRITE_MS) await rewrite();
    },
  };
}

function parse(text: string): LedgerLine | undefined {
  try {
    return Line.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
