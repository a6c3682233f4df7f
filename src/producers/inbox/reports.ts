import type { Log } from "../../core/stage.ts";
import { createFolderNotes } from "./folder-notes.ts";
import { toShortHash, type RawName } from "./names.ts";
import type { StatusFiles } from "./status-file.ts";
import type { Tracker } from "./tracker.ts";
import type { Reason } from "./unusable.ts";

/** More than this get no status of their own: then it is not files that went astray, but a folder that is something else. */
const MOST_TOLD = 1_000;
const MOST_NAMED = 10;

/** Tells of files that lie in the inbox and cannot be taken, each time that what is the matter is another matter. */
export function createReports({
  tracker,
  statusFiles,
  inbox,
  log,
  now,
}: {
  tracker: Tracker;
  statusFiles: StatusFiles;
  /** Where a note may be left for whoever drops into a wrong folder; left out where nothing may be written. */
  inbox?: string | undefined;
  log: Log;
  now: () => number;
}) {
  const told = new Map<RawName, Reason>();
  const astray = inbox === undefined ? undefined : createFolderNotes({ inbox });

  return async function report(): Promise<void> {
    const found = tracker.reported();
    const reported = new Map(found.map(({ raw, trouble }) => [raw, trouble]));
    await astray?.(found, tracker.listed().noted);
    for (const raw of told.keys()) {
      if (reported.has(raw)) continue;
      await statusFiles.forgetUnusable(raw);
      told.delete(raw);
    }
    const fresh = [...reported].filter(([raw, { message }]) => told.get(raw)?.message !== message);
    const codes = new Set<string>();
    const names: string[] = [];
    for (const [raw, reason] of fresh) {
      if (!told.has(raw) && told.size >= MOST_TOLD) continue;
      if (told.get(raw)?.code !== reason.code) {
        codes.add(reason.code);
        if (names.length < MOST_NAMED) names.push(toShortHash(raw));
      }
      await statusFiles.tellUnusable(raw, reason, now());
      told.set(raw, reason);
    }
    if (names.length === 0) return;
    log.warn({ codes: [...codes], count: reported.size, names }, "files in the inbox cannot be taken");
  };
}
