import type { Log } from "../../core/stage.ts";
import { toShortHash, type RawName } from "./names.ts";
import type { StatusFiles } from "./status-file.ts";
import type { Tracker } from "./tracker.ts";
import { unsupported } from "./unusable.ts";

/** More than this get no status of their own: then it is not files that went astray, but a folder that is something else. */
const MOST_TOLD = 1_000;

/** Tells once of files that lie in the inbox and that nobody can use. They stay where they are. */
export function createReports({
  tracker,
  statusFiles,
  log,
  now,
}: {
  tracker: Tracker;
  statusFiles: StatusFiles;
  log: Log;
  now: () => number;
}) {
  let told = new Set<RawName>();

  return async function report(): Promise<void> {
    const reported = tracker.reported();
    if (reported.length === 0 && told.size === 0) return;
    const still = new Set(reported.map(({ raw }) => raw));
    const fresh = reported.filter(({ raw }) => !told.has(raw)).slice(0, Math.max(MOST_TOLD - told.size, 0));
    for (const raw of told) if (!still.has(raw)) await statusFiles.forgetUnusable(raw);
    for (const { raw, kind } of fresh) await statusFiles.tellUnusable(raw, unsupported(raw, kind), now());
    told = new Set([...told].filter((raw) => still.has(raw)).concat(fresh.map(({ raw }) => raw)));
    if (fresh.length === 0) return;
    const names = fresh.slice(0, 10).map(({ raw }) => toShortHash(raw));
    log.warn({ code: "unsupported-file", count: reported.length, names }, "files in the inbox cannot be used");
  };
}
