import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Check } from "../api/status.ts";
import type { InboxStatus } from "./config.ts";

/** A file of this name has the time of the last listing, for programs that can see nothing but the share. */
export const HEARTBEAT = ".watcher-alive";

/** Writes the heartbeat into the folder of an inbox, which has to be there. Throws what the file system says. */
export async function beat(dir: string): Promise<void> {
  await writeFile(join(dir, HEARTBEAT), `${new Date().toISOString()}\n`, { mode: 0o640 });
}

/** The status in one sentence and in figures, for health and metrics. No names. */
export function toCheck(
  status: InboxStatus,
  { now, sweepMs, oldestMostMs }: { now: number; sweepMs: number; oldestMostMs?: number | undefined },
): Check {
  const { isRootGone, absence, lastScanMs, why, mode, pausedWhy, ...numbers } = status;
  const sinceScanMs = lastScanMs === undefined ? 0 : now - lastScanMs;
  const isLate = sinceScanMs > 3 * sweepMs + 30_000;
  const isElsewhere = absence?.code === "inbox-elsewhere";
  if (absence) return { ok: isElsewhere, note: absence.message, figures: { ...numbers, gone: isElsewhere ? 0 : 1 } };
  const isOld = oldestMostMs !== undefined && status.oldestMs > oldestMostMs;
  const ok = !isRootGone && status.pausedMs === 0 && !isLate && !isOld;
  const note = isRootGone
    ? "the inbox cannot be listed"
    : status.pausedMs > 0
      ? `intake is paused: ${pausedWhy ?? "Redis or the disk does not take anything"}`
      : isLate
        ? "the inbox was not listed for a while"
        : isOld
          ? "a file that could be taken has waited for longer than oldest_most"
          : status.held > 0
            ? `${status.held} files can be neither taken nor given back; look at the folder failed`
            : `watched by ${mode === "native" ? "events and listings" : "listings"}: ${why}`;
  const figures = {
    ...numbers,
    gone: isRootGone ? 1 : 0,
    late: isOld ? 1 : 0,
    lastScanMs: lastScanMs ?? 0,
    sinceScanMs,
  };
  return { ok, note, figures };
}
