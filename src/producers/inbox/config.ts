import type { Appearances } from "../../files/appearances.ts";
import type { Log } from "../../core/stage.ts";
import type { InboxName } from "../../core/request.ts";
import type { InboxLease } from "../../queues/inbox-lease.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { InboxBatches } from "./batch-folder.ts";
import type { InboxDocuments } from "./intake.ts";
import { cachedMs, readMounts } from "./mounts.ts";
import type { Patience } from "./tracker.ts";
import type { Absence } from "./presence.ts";
import type { Route } from "./route.ts";
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
  /** How the one who drops says that a file is complete (default "settle": it does not change any more). */
  protocol?: Protocol;
  /** What becomes of a document that was handed in before (default "set-aside"). */
  duplicates?: Duplicates;
  /** What becomes of the original once it is signed (default "archive"). */
  onSuccess?: OnSuccess;
  /** Globs of names that are nobody's business, besides those that never are. */
  ignore?: readonly string[];
  /** Claims that are not over at the same time; the rest stays in the inbox. No bound when left out. */
  inFlight?: number;
  /**
   * PDFs that come alone become one request with others for the same signer: with those that come within `windowMs` of the
   * first, and until the code is sent. At the most `most` of them (default 10, all that the provider takes). Off when left out.
   */
  bundle?: { windowMs: number; most?: number | undefined };
  /** The same for each tenant, where the inbox or its folders say which. No bound when left out. */
  inFlightPerTenant?: number | undefined;
  /** How long a document counts as handed in before (default 90 days). */
  duplicatesMs?: number | undefined;
  /** The settle time is at least twice what a share keeps to itself of what changed, as far as that can be seen. */
  settlesForShare?: boolean;
  /** Waiting longer than this, a file that can be taken is an alarm. Never when left out. */
  oldestMostMs?: number | undefined;
  /** A file in the inbox's folder has the time of the last listing. */
  heartbeat?: boolean;
  /** What is older than this is removed from these folders; never when left out. */
  purgeMs?: { archive?: number | undefined; failed?: number | undefined; duplicates?: number | undefined };
}

export const PROTOCOLS = ["settle", "rename-in", "done-file", "manifest"] as const;
export type Protocol = (typeof PROTOCOLS)[number];
export const DUPLICATES = ["set-aside", "accept", "link"] as const;
export type Duplicates = (typeof DUPLICATES)[number];
export const ON_SUCCESS = ["archive", "delete", "keep"] as const;
export type OnSuccess = (typeof ON_SUCCESS)[number];

/** The folders of an inbox, and what they are called unless somebody says otherwise. */
export const FOLDERS = {
  inbox: "inbox",
  signed: "signed",
  failed: "failed",
  duplicates: "duplicates",
  archive: "archive",
  status: "status",
} as const;
export type FolderNames = Record<keyof typeof FOLDERS, string>;

/** An inbox of its own, beside the one in DATA_DIR. */
export interface InboxRoot {
  name: InboxName;
  /** Its folder, in which all others are, and its marker. */
  dir: string;
  folders?: Partial<FolderNames>;
  /** On whose account everything is that comes through it. */
  tenant?: string | undefined;
  /** What its manifests say where they leave it out. */
  defaults?: Readonly<Record<string, unknown>>;
  /** The folder of a claim's results below signed, such as "{date}/{name}" (default "{requestId}"). */
  results?: string | undefined;
  /** The folders that lead to where files are dropped; they are dropped into the inbox itself when left out. */
  route?: Route | undefined;
  /** A folder that is only read, in the place of the inbox: files are copied from it, and stay. */
  source?: string | undefined;
}

export interface InboxParts {
  dataDir: string;
  /** The one that is meant; that of DATA_DIR when left out. */
  root?: InboxRoot;
  /** Which of several processes serves it; always this one when left out. */
  lease?: InboxLease;
  pipeline: Pick<
    Pipeline,
    "submit" | "bundle" | "find" | "signedBefore" | "isReplaced" | "takeChanged" | "putBackChanged"
  >;
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
  /** Files of a source that were taken and stay there. */
  taken: number;
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
  /** Why it is not served here and now. */
  absence: Absence | undefined;
}

export function toPatience({
  protocol,
  settleMs = protocol === "rename-in" ? 0 : 5_000,
  ...config
}: InboxConfig): Patience {
  return {
    settleMs,
    folderSettleMs: config.folderSettleMs ?? 30_000,
    incompleteMs: config.incompleteMs ?? 30_000,
    settleMaxMs: config.settleMaxMs ?? 600_000,
    sidecarWaitMs: config.sidecarWaitMs ?? Math.max(6 * settleMs, protocol === "rename-in" ? 30_000 : 0),
    reportMs: config.reportMs ?? 60_000,
  };
}

/** The same on a share, where a file is given at least twice the time for which the share may show it as it was. */
export function patienceOn(folder: string, config: InboxConfig): Patience {
  const { settleMs } = toPatience(config);
  return toPatience({ ...config, settleMs: Math.max(settleMs, 2 * cachedMs(folder, readMounts())) });
}
