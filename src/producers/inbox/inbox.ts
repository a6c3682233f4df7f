import { statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PermanentError } from "../../core/errors.ts";
import type { RequestId } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { Check } from "../api/status.ts";
import { createSetAside } from "./aside.ts";
import { type Claim, createClaims } from "./claim.ts";
import { createEnds } from "./ends.ts";
import { createFollow } from "./follow.ts";
import { createHeal } from "./heal.ts";
import { createIntake, type InboxDocuments } from "./intake.ts";
import { errnoOf } from "./look.ts";
import { createNotes } from "./notes.ts";
import { createBreath, eachOf } from "./pace.ts";
import { codeOf, createPending } from "./pending.ts";
import { createReports } from "./reports.ts";
import { createStatusFiles } from "./status-file.ts";
import { createTaking } from "./taking.ts";
import { createTracker, type Patience, type Ready } from "./tracker.ts";
import { chooseMode, type Mode, startWatch } from "./watch.ts";

/** Lengths of time in milliseconds. */
export interface InboxConfig {
  /** A file is taken once it has not changed for this long (default 5 s). */
  settleMs?: number;
  /** The same for folders (default 30 s). */
  folderSettleMs?: number;
  /** The inbox is listed this often, whatever the watcher says (default 15 s). */
  sweepMs?: number;
  /** How long an incomplete PDF may stay as it is (default 10 min). */
  settleMaxMs?: number;
  /** How long a PDF waits for its sidecar when there is no defaults.json (default six times settleMs). */
  sidecarWaitMs?: number;
  /** When a file that cannot be used is reported (default 1 min). */
  reportMs?: number;
  /** How often changes of requests are looked for (default 1 s). */
  followMs?: number;
  /** Largest document, in bytes (default 1 GiB). */
  maxBytes?: number;
  /** Claims that may wait to become requests at the same time (default 10,000); the rest stays in the inbox. */
  maxInFlight?: number;
  /** "auto" (the default) polls where events cannot be relied on. */
  watch?: "auto" | Mode;
}

export interface InboxParts {
  dataDir: string;
  pipeline: Pick<Pipeline, "submit" | "find" | "takeChanged" | "putBackChanged">;
  documents: InboxDocuments;
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
  /** Files that nobody can use, left where they are. */
  unusable: number;
  oldestMs: number;
  pending: number;
  held: number;
  /** Requests whose status or files could not be brought up to date yet. */
  behind: number;
  pausedMs: number;
  claimed: number;
  failed: number;
  duplicates: number;
  lastScanMs: number | undefined;
  scanMs: number;
  isRootGone: boolean;
}

export type Inbox = ReturnType<typeof createInbox>;

const AT_ONCE = 8;
const LEAST_GAP_MS = 20;
/** A listing is at most a tenth of the time. */
const LIST_SHARE = 10;

/**
 * The way in by folder: PDFs that are dropped into DATA_DIR/inbox become requests, and come back. The listing is the
 * truth, events are a wake-up; a claim is a rename; nothing is overwritten, and nothing is deleted that was not
 * delivered. See docs/operations.md for what people see of it.
 */
export function createInbox({ dataDir, pipeline, documents, config = {}, log, now = steady }: InboxParts) {
  const at = (name: string) => join(dataDir, name);
  const folders = {
    inbox: at("inbox"),
    work: at(".work"),
    failed: at("failed"),
    duplicates: at("duplicates"),
    archive: at("archive"),
    status: at("status"),
  };
  const { settleMs = 5_000, sweepMs = 15_000, maxBytes = 1024 ** 3, maxInFlight = 10_000, followMs = 1_000 } = config;
  const patience: Patience = {
    settleMs,
    folderSettleMs: config.folderSettleMs ?? 30_000,
    settleMaxMs: config.settleMaxMs ?? 600_000,
    sidecarWaitMs: config.sidecarWaitMs ?? 6 * settleMs,
    reportMs: config.reportMs ?? 60_000,
  };

  const tracker = createTracker({ inbox: folders.inbox, patience, now });
  const claims = createClaims({ inbox: folders.inbox, work: folders.work, now });
  const notes = createNotes({ folders });
  const statusFiles = createStatusFiles({ dir: folders.status });
  const setAside = createSetAside({ folders, claims, notes });
  const ends = createEnds({ folders, claims, notes, setAside });
  const follow = createFollow({ pipeline, claims, statusFiles, ends, log, now });
  const intake = createIntake({ claims, notes, pipeline, documents, defaultsPath: tracker.defaultsPath, maxBytes });
  const counts = { claimed: 0, failed: 0, duplicates: 0 };
  const taking = createTaking({
    inbox: folders.inbox,
    intake,
    claims,
    setAside,
    statusFiles,
    follow,
    counts,
    log,
    now,
  });
  const pending = createPending({
    work: taking,
    concurrency: AT_ONCE,
    most: maxInFlight,
    now,
    log,
    changed: () => {
      if (isFull && pending.room() > 0) plan();
    },
  });
  const heal = createHeal({
    work: folders.work,
    claims,
    pipeline,
    follow,
    statusFiles,
    takeIn: (claim) => pending.add(claim),
    now,
  });
  const reports = createReports({ tracker, statusFiles, log, now });

  let mode: Mode = "poll";
  let why = "not started";
  let isRunning = false;
  let isWoken = false;
  let isFull = false;
  let isRootGone = false;
  let lastScanMs: number | undefined;
  let scanMs = 0;
  let watcher: { stop(): Promise<void> } | undefined;
  let sweepTimer: NodeJS.Timeout | undefined;
  let followTimer: NodeJS.Timeout | undefined;
  let following: Promise<void> = Promise.resolve();
  let passing: Promise<void> | undefined;
  let unhealed: RequestId[] = [];

  /** Lists the inbox when it is time to, takes what is ready. One at a time. */
  async function pass({ mustList }: { mustList: boolean }): Promise<void> {
    const breathe = createBreath();
    if (mustList) await list(breathe);
    if (isRootGone) return;
    const room = pending.room();
    const ready = await tracker.due(room, breathe);
    isFull = room === 0 || ready.length >= room;
    for (const one of ready) {
      take(one);
      await breathe();
    }
  }

  async function list(breathe: () => Promise<void>): Promise<void> {
    const startedMs = performance.now();
    isWoken = false;
    try {
      await tracker.list(breathe);
      if (isRootGone) log.info({}, "inbox is back");
      isRootGone = false;
    } catch (error) {
      // Never read as "all files are gone", and never made anew: something else may be mounted here in a moment.
      if (!isRootGone) log.error({ code: codeOf(error) }, "inbox cannot be listed");
      isRootGone = true;
    }
    lastScanMs = now();
    scanMs = performance.now() - startedMs;
    if (!isRootGone) await reports();
  }

  function take({ item, sidecar }: Ready): void {
    const form = item.kind === "folder" || item.kind === "special" ? item.kind : "file";
    let claim: Claim | undefined;
    try {
      claim = claims.take({ form, raw: item.raw, sidecar, mark: form === "file" ? item.mark : undefined });
    } catch (error) {
      tracker.hold(item);
      if (!["EBUSY", "EACCES", "EPERM", "ESTALE", "ETXTBSY"].includes(errnoOf(error))) pending.fault(error);
      return;
    }
    tracker.forget(item.raw);
    if (sidecar !== undefined) tracker.forget(sidecar);
    if (!claim) return;
    counts.claimed += 1;
    pending.add(claim);
  }

  function plan(delayMs?: number): void {
    if (!isRunning || passing) return;
    clearTimeout(sweepTimer);
    sweepTimer = setTimeout(() => void turn(), delayMs ?? untilNextMs());
  }

  function untilNextMs(): number {
    const at = now();
    const last = lastScanMs ?? 0;
    const listMs = isWoken ? last + Math.max(scanMs * LIST_SHARE, LEAST_GAP_MS) : last + sweepMs;
    const roomMs = pending.room() > 0 ? 0 : pending.pausedUntilMs() || Number.POSITIVE_INFINITY;
    const dueMs = Math.max(tracker.nextMs(), roomMs);
    return Math.max(Math.min(listMs, dueMs) - at, LEAST_GAP_MS);
  }

  async function turn(): Promise<void> {
    const at = now();
    const isDue = lastScanMs === undefined || at - lastScanMs >= sweepMs;
    const mustList = isDue || (isWoken && at - (lastScanMs ?? 0) >= scanMs * LIST_SHARE);
    passing = pass({ mustList }).catch((error: unknown) => {
      log.error({ code: codeOf(error) }, "sweep failed");
    });
    await passing;
    passing = undefined;
    plan();
  }

  function wake(): void {
    isWoken = true;
    plan();
  }

  /** Heals what can be healed; the rest is tried again with the next look at the changes. */
  async function healAll(): Promise<void> {
    const failed: RequestId[] = [];
    await eachOf(unhealed, AT_ONCE, async (id) => {
      try {
        await heal.one(id);
      } catch {
        failed.push(id);
      }
    });
    unhealed = failed;
  }

  async function followOnce(): Promise<void> {
    if (unhealed.length > 0) await healAll();
    await follow.poll();
  }

  function planFollow(): void {
    if (!isRunning) return;
    followTimer = setTimeout(() => {
      following = followOnce()
        .catch((error: unknown) => log.error({ code: codeOf(error) }, "following failed"))
        .finally(planFollow);
    }, followMs);
  }

  async function prepare(): Promise<void> {
    for (const folder of Object.values(folders)) await mkdir(folder, { recursive: true, mode: 0o700 });
    const { dev } = statSync(folders.inbox);
    for (const [name, folder] of Object.entries(folders)) {
      if (statSync(folder).dev === dev) continue;
      throw new PermanentError(
        `DATA_DIR/inbox and DATA_DIR/${name} are on different file systems; files are moved between them by renaming, so put both on one.`,
        { code: "folders-on-two-disks" },
      );
    }
    ({ mode, why } = chooseMode(folders.inbox));
    if (config.watch && config.watch !== "auto") [mode, why] = [config.watch, "the configuration says so"];
    unhealed = await heal.list();
  }

  function status(): InboxStatus {
    return {
      mode,
      why,
      ...tracker.figures(),
      ...pending.figures(),
      behind: follow.behind() + unhealed.length,
      ...counts,
      lastScanMs,
      scanMs,
      isRootGone,
    };
  }

  return {
    folders,
    status,

    /** Resolves once it listens. What a crash left behind is healed from then on. Throws "folders-on-two-disks". */
    async start(): Promise<void> {
      await prepare();
      isRunning = true;
      if (mode === "native") watcher = startWatch(folders.inbox, { wake, log });
      log.info({ mode, why }, "inbox watched");
      followTimer = setTimeout(() => {
        following = followOnce()
          .catch(() => {})
          .finally(planFollow);
      }, 0);
      plan(0);
    },

    /**
     * Lists the inbox, takes what has settled by now, and brings statuses and files up to date. Resolves when that is
     * done. A file needs two of these, settleMs apart.
     */
    async sweepOnce(): Promise<void> {
      if (mode === "poll" && why === "not started") await prepare();
      await passing;
      passing = pass({ mustList: true });
      try {
        await passing;
      } finally {
        passing = undefined;
      }
      pending.kick();
      await pending.settled();
      await followOnce();
      await pending.settled();
      plan();
    },

    /** Takes nothing new; resolves once everything that was begun is safe. */
    async stop(): Promise<void> {
      isRunning = false;
      clearTimeout(sweepTimer);
      clearTimeout(followTimer);
      await watcher?.stop();
      await passing;
      await pending.stop();
      await following;
      await follow.stop();
    },

    /** For health and metrics. No names. */
    check(): Check {
      const { isRootGone: isGone, pausedMs, lastScanMs: last, why: _why, mode: is, ...numbers } = status();
      const sinceMs = last === undefined ? 0 : now() - last;
      const isLate = sinceMs > 3 * sweepMs + 30_000;
      const note = isGone
        ? "the inbox cannot be listed"
        : pausedMs > 0
          ? "intake is paused: Redis or the disk does not take anything"
          : isLate
            ? "the inbox was not listed for a while"
            : `watched by ${is === "native" ? "events and listings" : "listings"}`;
      const figures = { ...numbers, pausedMs, sinceScanMs: sinceMs };
      return { ok: !isGone && pausedMs === 0 && !isLate, note, figures };
    },
  };
}

function steady(): number {
  return performance.timeOrigin + performance.now();
}
