import { join } from "node:path";
import { inboxDoor, type RequestId, type SignRequest } from "../../core/request.ts";
import { removeStale } from "../../files/sweeper.ts";
import { prepareFolders } from "./arrival.ts";
import { createSetAside } from "./aside.ts";
import { createBatchFolder } from "./batch-folder.ts";
import { type Claim, createClaims } from "./claim.ts";
import { createClaiming } from "./claiming.ts";
import { FOLDERS, type InboxParts, type InboxStatus, patienceOn, toPatience } from "./config.ts";
import { defaultsOver } from "./defaults.ts";
import { createDelivery, resultFolder } from "./delivery.ts";
import { createEnds } from "./ends.ts";
import { createFollow } from "./follow.ts";
import { createHeal } from "./heal.ts";
import { toGlobTest } from "./ignore.ts";
import { createIntake } from "./intake.ts";
import { createStandings, toLayout } from "./layout.ts";
import { folderOf, toText } from "./names.ts";
import { createLinked } from "./linked.ts";
import { createNotes } from "./notes.ts";
import { createOpen } from "./open.ts";
import { createBreath, eachOf } from "./pace.ts";
import { codeOf, createPending } from "./pending.ts";
import { type Absence, createPresence } from "./presence.ts";
import { createPurge } from "./purge.ts";
import { createReports } from "./reports.ts";
import { foldersOfRoute, ROUTES_MOST } from "./route.ts";
import { createSource } from "./source.ts";
import { createStanding } from "./standing.ts";
import { createStatusFiles } from "./status-file.ts";
import { createStock } from "./stock.ts";
import { createTaking } from "./taking.ts";
import { createTogether } from "./together.ts";
import { createTracker } from "./tracker.ts";
import { beat, toCheck } from "./vital.ts";
import { chooseMode, type Mode, startWatch, type Watch } from "./watch.ts";

export type Inbox = ReturnType<typeof createInbox>;

const AT_ONCE = 8;
/** Between two passes; more where there is much to go through, so that waiting files cost next to nothing. */
const LEAST_GAP_MS = 20;
const ENTRIES_PER_GAP_MS = 500;
/** How often it is looked whether an inbox is back that is away. */
const ABSENT_MS = 5_000;
/** How often claims are looked for that another process may have left behind. */
const LOOK_MS = 60_000;
/** A listing is at most a tenth of the time. */
const LIST_SHARE = 10;

/**
 * The way in by folder: PDFs that are dropped into DATA_DIR/inbox become requests, and come back. The listing is the
 * truth, events are a wake-up; a claim is a rename; nothing is overwritten, and nothing is deleted that was not
 * delivered. See docs/operations.md for what people see of it.
 */
export function createInbox({
  dataDir,
  root,
  lease,
  pipeline,
  documents,
  appearances,
  batches: batchDoor,
  room: mayTake = () => Promise.resolve(),
  config = {},
  log,
  now = steady,
}: InboxParts) {
  const { dir, places, folders, ours } = toLayout({ dataDir, root });
  const standingOf = createStandings(root);
  const route = root?.route;
  const signed = join(dataDir, FOLDERS.signed);
  const { onSuccess = "archive", protocol = "settle" } = config;
  const leftOut = (config.ignore ?? []).map(toGlobTest);
  const { sweepMs = 15_000, maxBytes = 1024 ** 3, maxDocuments = 100, maxInFlight = 10_000, followMs = 1_000 } = config;
  const patience = toPatience(config);

  const source =
    root?.source === undefined
      ? undefined
      : createSource({
          source: root.source,
          gate: join(folders.work, "gate"),
          mustBeHere: () => standingHere.mustBeHere(),
          now,
        });
  const tracker = createTracker({
    inbox: folders.inbox,
    patience,
    now,
    protocol,
    standingOf,
    route,
    taken: source?.taken,
    isLeftOut: (raw) => leftOut.some((hits) => hits(raw)),
  });
  const stock = root && createStock({ work: join(dataDir, ".work") });
  const claims = createClaims({ inbox: folders.inbox, work: folders.work, now, stock, source });
  const notes = createNotes({ folders });
  const statusFiles = createStatusFiles({ dir: folders.status, places, onSuccess });
  const setAside = createSetAside({ folders, claims, notes });
  const ends = createEnds({ folders, claims, notes, setAside, onSuccess, resultsIn });
  const template = root?.results ?? "{requestId}";
  const deliver = root && createDelivery({ from: signed, to: folders.signed, template });
  const together = deliver ?? createTogether({ signed });
  const open = createOpen({
    most: config.inFlight ?? Number.POSITIVE_INFINITY,
    mostPerTenant: config.inFlightPerTenant,
    tenantOf: (raw) => standingOf(raw)?.tenant,
    rawOf(id) {
      const claim = claims.read(id);
      return claim === "damaged" ? undefined : claim?.raw;
    },
  });
  const tellOpen = open.tell;
  const presence = createPresence({ dir, inbox: folders.inbox, marked: root !== undefined });
  const standingHere = createStanding({ presence, lease, arrive, leave, log });
  const follow = createFollow({
    pipeline,
    claims,
    statusFiles,
    ends,
    together,
    bringsAll: deliver !== undefined,
    mustBeHere: standingHere.mustBeHere,
    door: inboxDoor(root?.name),
    tellOpen,
    log,
    now,
  });
  const purge = createPurge({ folders, depth: route?.levels.length ?? 0, purgeMs: config.purgeMs });
  const intake = createIntake({
    claims,
    notes,
    pipeline,
    documents,
    appearances,
    defaultsFor: (raw) => defaultsOver(folders.inbox, raw),
    standingOf,
    stock,
    root: {
      name: root?.name,
      acceptsDuplicates: config.duplicates === "accept",
      duplicatesMs: config.duplicatesMs,
      bundle: config.bundle,
    },
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
      place: root && { name: root.name, dir, places, standingOf },
      again(claim) {
        pending.add(claim);
        pending.kick();
      },
      log,
      now,
    });
  const linked = createLinked({ deliver, signed: places.signed, mustBeHere: standingHere.mustBeHere });
  const counts = { claimed: 0, failed: 0, duplicates: 0 };
  const taking = createTaking({
    inbox: folders.inbox,
    isCopied: source !== undefined,
    intake,
    batches,
    claims,
    notes,
    setAside,
    statusFiles,
    follow,
    ends,
    mustBeHere: standingHere.mustBeHere,
    linked: config.duplicates === "link" ? linked : undefined,
    tellOpen,
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
      if (isFull && room() > 0) plan();
    },
  });
  const heal = createHeal({
    work: folders.work,
    claims,
    pipeline,
    follow,
    statusFiles,
    takeIn: (claim) => {
      if (!pending.has(claim.id)) pending.add(claim);
    },
    now,
  });
  const reports = createReports({ tracker, statusFiles, inbox: source ? undefined : folders.inbox, log, now });
  const claimAll = createClaiming({
    inbox: folders.inbox,
    claims,
    tracker,
    isAnnounced: protocol === "done-file" && !source,
    paused,
    taken,
    fault: pending.fault,
  });

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
  /** What was in .work when that was last looked at, and when that was. */
  let known = new Set<RequestId>();
  let lookedMs = 0;

  /** How many more may be taken now. */
  const room = () => Math.min(pending.room(), open.room());

  function resultsIn(claim: Claim, lead: SignRequest): string {
    if (!root) return join(signed, claim.joined ?? claim.id);
    return join(folders.signed, resultFolder(template, claim, lead, toText(folderOf(claim.raw))));
  }

  function taken(found: Claim[]): void {
    counts.claimed += found.length;
    for (const { id, raw } of found) open.add(id, raw);
    found.forEach(pending.add);
  }

  /** Its own doing is nothing to be woken by. */
  async function paused(act: () => Promise<void>): Promise<void> {
    try {
      await watcher?.pause();
      await act();
    } finally {
      watcher?.resume();
    }
  }

  /** Lists the inbox when it is time to, takes what is ready. One at a time. */
  async function pass({ mustList }: { mustList: boolean }): Promise<void> {
    if (!(await standingHere.isHere())) return;
    const breathe = createBreath();
    if (mustList) await list(breathe);
    if (isRootGone) return;
    const most = room();
    const ready = await tracker.due(most, breathe, open.quota());
    isFull = most === 0 || ready.length >= most;
    if (ready.length > 0) {
      try {
        await mayTake();
      } catch (error) {
        return pending.fault(error);
      }
      await claimAll(ready, breathe);
    }
    pending.kick();
  }

  async function list(breathe: () => Promise<void>): Promise<void> {
    const startedMs = performance.now();
    isWoken = false;
    try {
      source?.mustBeThere();
      await tracker.list(breathe);
      if (source && tracker.size() > 0) await source.taken.notice((raw) => tracker.get(raw) !== undefined);
      watcher?.cover(tracker.listed().folders.map((folder) => join(folders.inbox, toText(folder))));
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
    if (config.heartbeat) await beat(dir).catch((error: unknown) => log.warn({ code: codeOf(error) }, "no heartbeat"));
    await reports().catch((error: unknown) => log.warn({ code: codeOf(error) }, "troubles of files not told"));
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
    if (standingHere.absence()) return Math.min(sweepMs, ABSENT_MS);
    const roomMs = room() > 0 ? 0 : pending.pausedUntilMs() || Number.POSITIVE_INFINITY;
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
        if (claims.read(id) === undefined) tellOpen(id, false);
      } catch {
        failed.push(id);
      }
    });
    unhealed = [...rest, ...failed];
    pending.kick();
  }

  async function followOnce(): Promise<void> {
    if (!(await standingHere.isHere())) return;
    if (lease && now() - lookedMs >= LOOK_MS) await findUnhealed();
    if (unhealed.length > 0) await healAll();
    await follow.poll();
    await batches?.poll();
    if (isFull && room() > 0) plan();
    const removed = await purge();
    if (removed > 0) log.info({ removed }, "old files removed from the inbox's folders");
  }

  function planFollow(): void {
    if (!isRunning) return;
    followTimer = setTimeout(() => {
      following = followOnce()
        .catch((error: unknown) => log.error({ code: codeOf(error) }, "following failed"))
        .finally(planFollow);
    }, followMs);
  }

  /** Puts in order what is there, when it is found there: at the start, and whenever it, or the lease, is back. */
  async function arrive(): Promise<Absence | undefined> {
    const fault = prepareFolders({ folders: ours, dir, isOwn: root !== undefined, log });
    if (fault) return fault;
    try {
      await source?.recover();
    } catch (error) {
      return {
        code: "inbox-unfit",
        message: `its ledger, or copies, cannot be read (${codeOf(error)}): see .work/gate`,
      };
    }
    if (config.settlesForShare) Object.assign(patience, patienceOn(folders.inbox, config));
    ({ mode, why } = chooseMode(folders.inbox));
    if (config.watch && config.watch !== "auto") [mode, why] = [config.watch, "the configuration says so"];
    for (const folder of [folders.status, folders.failed, folders.duplicates]) {
      for (const one of ["", ...(route ? foldersOfRoute(route, ROUTES_MOST) : [])])
        await removeStale(join(folder, one));
    }
    open.clear();
    known = new Set();
    unhealed = [];
    await findUnhealed();
    if (isRunning) listen();
    return undefined;
  }

  /**
   * Claims that nobody here looks after yet. At the start these are all; later those of a process that lost the lease, and
   * did not notice at once.
   */
  async function findUnhealed(): Promise<void> {
    const found = await heal.list();
    for (const id of found) {
      if (known.has(id) || open.has(id) || pending.has(id)) continue;
      unhealed.push(id);
      open.add(id);
    }
    known = new Set(found);
    lookedMs = now();
  }

  function listen(): void {
    if (mode === "native") watcher ??= startWatch(folders.inbox, { wake, log });
    log.info({ mode, why }, "inbox watched");
  }

  async function leave(): Promise<void> {
    const was = watcher;
    watcher = undefined;
    pending.clear();
    claims.forgetUnsettled();
    await was?.stop();
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
      absence: standingHere.absence(),
    };
  }

  return {
    folders,
    status,

    /**
     * Resolves once it listens, or it is known that it is away, or another process's. What a crash left behind is healed
     * from then on. Throws "folders-on-two-disks".
     */
    async start(): Promise<void> {
      isRunning = true;
      await standingHere.start();
      await standingHere.isHere();
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
      if (!isRunning) await standingHere.renew();
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
      await standingHere.stop();
    },

    /** For health and metrics. No names. */
    check: () => toCheck(status(), { now: now(), sweepMs, oldestMostMs: config.oldestMostMs }),
  };
}

function steady(): number {
  return performance.timeOrigin + performance.now();
}
