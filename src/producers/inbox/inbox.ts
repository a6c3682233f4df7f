import { statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PermanentError } from "../../core/errors.ts";
import type { RequestId } from "../../core/request.ts";
import { removeStale } from "../../files/sweeper.ts";
import { createSetAside } from "./aside.ts";
import { createBatchFolder } from "./batch-folder.ts";
import { createClaims, type Wanted } from "./claim.ts";
import { type InboxParts, type InboxStatus, toCheck, toPatience } from "./config.ts";
import { createEnds } from "./ends.ts";
import { createFollow } from "./follow.ts";
import { createHeal } from "./heal.ts";
import { createIntake } from "./intake.ts";
import { errnoOf } from "./look.ts";
import type { RawName } from "./names.ts";
import { createNotes } from "./notes.ts";
import { createBreath, eachOf } from "./pace.ts";
import { codeOf, createPending } from "./pending.ts";
import { createReports } from "./reports.ts";
import { createStatusFiles } from "./status-file.ts";
import { createTaking } from "./taking.ts";
import { createTogether } from "./together.ts";
import { createTracker, type Ready } from "./tracker.ts";
import { chooseMode, type Mode, startWatch, type Watch } from "./watch.ts";

export type Inbox = ReturnType<typeof createInbox>;

const AT_ONCE = 8;
/** Somebody has the file open, or we may not take it. */
const BUSY = new Set(["EBUSY", "EACCES", "EPERM", "ESTALE", "ETXTBSY"]);
/** Between two passes; more where there is much to go through, so that waiting files cost next to nothing. */
const LEAST_GAP_MS = 20;
const ENTRIES_PER_GAP_MS = 500;
/** Taking so many, and most of what is there, makes more events than beginning to watch anew would cost. */
const MANY = 1_000;
/** A listing is at most a tenth of the time. */
const LIST_SHARE = 10;

/**
 * The way in by folder: PDFs that are dropped into DATA_DIR/inbox become requests, and come back. The listing is the
 * truth, events are a wake-up; a claim is a rename; nothing is overwritten, and nothing is deleted that was not
 * delivered. See docs/operations.md for what people see of it.
 */
export function createInbox({
  dataDir,
  pipeline,
  documents,
  appearances,
  batches: batchDoor,
  room: mayTake = () => Promise.resolve(),
  config = {},
  log,
  now = steady,
}: InboxParts) {
  const at = (name: string) => join(dataDir, name);
  const folders = {
    inbox: at("inbox"),
    work: at(".work"),
    failed: at("failed"),
    duplicates: at("duplicates"),
    archive: at("archive"),
    status: at("status"),
  };
  const { sweepMs = 15_000, maxBytes = 1024 ** 3, maxDocuments = 100, maxInFlight = 10_000, followMs = 1_000 } = config;
  const patience = toPatience(config);

  const tracker = createTracker({ inbox: folders.inbox, patience, now });
  const claims = createClaims({ inbox: folders.inbox, work: folders.work, now });
  const notes = createNotes({ folders });
  const statusFiles = createStatusFiles({ dir: folders.status });
  const setAside = createSetAside({ folders, claims, notes });
  const ends = createEnds({ folders, claims, notes, setAside });
  const together = createTogether({ signed: at("signed") });
  const follow = createFollow({ pipeline, claims, statusFiles, ends, together, log, now });
  const intake = createIntake({
    claims,
    notes,
    pipeline,
    documents,
    appearances,
    defaultsPath: tracker.defaultsPath,
    maxBytes,
    maxDocuments,
  });
  const batches =
    batchDoor &&
    createBatchFolder({
      door: batchDoor,
      claims,
      statusFiles,
      forgetFailure: ends.forgetFailure,
      dataDir,
      again(claim) {
        pending.add(claim);
        pending.kick();
      },
      log,
    });
  const counts = { claimed: 0, failed: 0, duplicates: 0 };
  const taking = createTaking({
    inbox: folders.inbox,
    intake,
    batches,
    claims,
    notes,
    setAside,
    statusFiles,
    follow,
    ends,
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
  let watcher: Watch | undefined;
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
    if (ready.length > 0) {
      try {
        await mayTake();
      } catch (error) {
        return pending.fault(error);
      }
      await take(ready, breathe);
    }
    pending.kick();
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
    if (isRootGone) return;
    await reports().catch((error: unknown) => log.warn({ code: codeOf(error) }, "troubles of files not told"));
  }

  async function take(ready: readonly Ready[], breathe: () => Promise<void>): Promise<void> {
    const wanted = ready.map(({ item, sidecar }): Wanted => {
      const form = item.kind === "folder" || item.kind === "special" ? item.kind : "file";
      return { form, raw: item.raw, sidecar, mark: form === "file" ? item.mark : undefined };
    });
    const held = new Map<RawName, unknown>();
    const couldNot = ({ raw }: Wanted, error: unknown) => {
      held.set(raw, error);
      if (!BUSY.has(errnoOf(error))) pending.fault(error);
    };
    const isMost = ready.length >= MANY && 2 * ready.length >= tracker.size();
    try {
      if (isMost) await watcher?.pause();
      const taken = await claims.takeAll(wanted, couldNot, breathe);
      counts.claimed += taken.length;
      taken.forEach(pending.add);
    } catch (error) {
      return pending.fault(error);
    } finally {
      if (isMost) watcher?.resume();
    }
    for (const { item, sidecar } of ready) {
      if (held.has(item.raw)) {
        tracker.hold(item, held.get(item.raw));
        continue;
      }
      tracker.forget(item.raw);
      if (sidecar !== undefined) tracker.forget(sidecar);
    }
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
    return Math.max(Math.min(listMs, dueMs) - at, LEAST_GAP_MS, tracker.size() / ENTRIES_PER_GAP_MS);
  }

  async function turn(): Promise<void> {
    if (passing) return;
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
    const rest: RequestId[] = [];
    const failed: RequestId[] = [];
    await eachOf(unhealed, AT_ONCE, async (id) => {
      // Redis or the disk does not answer: the rest would only ask in vain.
      if (failed.length > 0) return void rest.push(id);
      try {
        await heal.one(id);
      } catch {
        failed.push(id);
      }
    });
    unhealed = [...rest, ...failed];
    pending.kick();
  }

  async function followOnce(): Promise<void> {
    if (unhealed.length > 0) await healAll();
    await follow.poll();
    await batches?.poll();
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
    for (const folder of [folders.status, folders.failed, folders.duplicates]) await removeStale(folder);
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
      while (passing) await passing;
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
      await passing;
      await watcher?.stop();
      await pending.stop();
      await following;
      await follow.stop();
    },

    /** For health and metrics. No names. */
    check: () => toCheck(status(), { now: now(), sweepMs }),
  };
}

function steady(): number {
  return performance.timeOrigin + performance.now();
}
