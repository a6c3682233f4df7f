import type { Appearances } from "../../files/appearances.ts";
import type { Log } from "../../core/stage.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { Check } from "../api/status.ts";
import type { InboxBatches } from "./batch-folder.ts";
import type { InboxDocuments } from "./intake.ts";
import type { Patience } from "./tracker.ts";
import type { Mode } from "./watch.ts";

/** Lengths of time in milliseconds. */
export interface InboxConfig {
  /** A file is taken once it has not changed for this long (default 5 s). */
  settleMs?: number;
  /** The same for folders, and for files that are no PDFs (default 30 s). */
  folderSettleMs?: number;
  /** The inbox is listed this often, whatever the watcher says (default 15 s). */
  sweepMs?: number;
  /** How long a PDF without its end may stay as it is (default 30 s; at least twice settleMs). */
  incompleteMs?: number;
  /** The same for an empty PDF, and for a folder without a PDF (default 10 min). */
  settleMaxMs?: number;
  /** How long a PDF waits for its sidecar when there is no defaults.json (default six times settleMs). */
  sidecarWaitMs?: number;
  /** When the status tells what keeps a file in the inbox (default 1 min). */
  reportMs?: number;
  /** How often changes of requests are looked for (default 1 s). */
  followMs?: number;
  /** Largest document, in bytes (default 1 GiB). */
  maxBytes?: number;
  /** Most documents in a folder (default 100); more than one request takes become several. */
  maxDocuments?: number;
  /** Claims that may wait to become requests at the same time (default 10,000); the rest stays in the inbox. */
  maxInFlight?: number;
  /** "auto" (the default) polls where events cannot be relied on. */
  watch?: "auto" | Mode;
}

export interface InboxParts {
  dataDir: string;
  pipeline: Pick<Pipeline, "submit" | "find" | "signedBefore" | "isReplaced" | "takeChanged" | "putBackChanged">;
  documents: InboxDocuments;
  /** Takes folders with a table; without it they are folders like others. */
  batches?: InboxBatches | undefined;
  appearances: Pick<Appearances, "fit">;
  /** Throws RetryableError "disk-full" while nothing may be taken in. */
  room?: () => Promise<void>;
  config?: InboxConfig;
  log: Log;
  /** Milliseconds since the epoch. The default never jumps, whatever is done to the machine's clock. */
  now?: () => number;
}

/** How the inbox is. Counts since the start; times in milliseconds. */
export interface InboxStatus {
  mode: Mode;
  why: string;
  waiting: number;
  settling: number;
  busy: number;
  /** Files that cannot be taken as they are, left where they are; the status of each says why. */
  unusable: number;
  oldestMs: number;
  pending: number;
  held: number;
  /** Requests whose status or files could not be brought up to date yet. */
  behind: number;
  pausedMs: number;
  /** Said by who refused to take anything, for people; undefined when nobody said. */
  pausedWhy: string | undefined;
  claimed: number;
  failed: number;
  duplicates: number;
  lastScanMs: number | undefined;
  scanMs: number;
  isRootGone: boolean;
}

export function toPatience({ settleMs = 5_000, ...config }: InboxConfig): Patience {
  return {
    settleMs,
    folderSettleMs: config.folderSettleMs ?? 30_000,
    incompleteMs: config.incompleteMs ?? 30_000,
    settleMaxMs: config.settleMaxMs ?? 600_000,
    sidecarWaitMs: config.sidecarWaitMs ?? 6 * settleMs,
    reportMs: config.reportMs ?? 60_000,
  };
}

/** The status in one sentence and in figures, for health and metrics. No names. */
export function toCheck(status: InboxStatus, { now, sweepMs }: { now: number; sweepMs: number }): Check {
  const { isRootGone, lastScanMs, why, mode, pausedWhy, ...numbers } = status;
  const sinceScanMs = lastScanMs === undefined ? 0 : now - lastScanMs;
  const isLate = sinceScanMs > 3 * sweepMs + 30_000;
  const ok = !isRootGone && status.pausedMs === 0 && !isLate;
  const note = isRootGone
    ? "the inbox cannot be listed"
    : status.pausedMs > 0
      ? `intake is paused: ${pausedWhy ?? "Redis or the disk does not take anything"}`
      : isLate
        ? "the inbox was not listed for a while"
        : status.held > 0
          ? `${status.held} files can be neither taken nor given back; look at the folder failed`
          : `watched by ${mode === "native" ? "events and listings" : "listings"}: ${why}`;
  return { ok, note, figures: { ...numbers, sinceScanMs } };
}
