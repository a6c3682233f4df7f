import { readManifest } from "../manifest.ts";
import { createDefaults } from "./defaults.ts";
import { DEFAULTS, isResultsName, type Kind, REQUEST, toAnnounced, toKind } from "./ignore.ts";
import { type Listed, listInbox } from "./listing.ts";
import { errnoOf, type Extent, findPart, lookAt, lookAtFolder, type Mark, peek, printOf } from "./look.ts";
import { folderOf, isJsonName, type RawName, toPath } from "./names.ts";
import { createPairs } from "./pairs.ts";
import type { Protocol } from "./config.ts";
import { isEnough, readSmall, type Standing, Unusable } from "./read-request.ts";
import type { Route } from "./route.ts";
import {
  busy,
  noRequest,
  notAnnounced,
  notWhole,
  type Reason,
  special,
  unfinished,
  unlisted,
  unsupported,
} from "./unusable.ts";

/** Lengths of time in milliseconds. */
export interface Patience {
  /** A file counts as settled when two looks at least this far apart find it the same. */
  settleMs: number;
  /** The same for a dropped folder, into which people go on copying, and for a file whose end cannot be told. */
  folderSettleMs: number;
  /** How long a PDF that has begun, and does not change any more, may be without its end. */
  incompleteMs: number;
  /** The same for one that is still empty, and for a folder that people still put together. */
  settleMaxMs: number;
  /** How long a PDF waits for its sidecar when there is no defaults.json. */
  sidecarWaitMs: number;
  /** After this, what is the matter with a file that lies in the inbox is told. */
  reportMs: number;
}

/** An entry of the inbox, from the first time it is seen until it is claimed or gone. */
export interface Tracked {
  raw: RawName;
  kind: Kind;
  /** "taken": a copy of it was, as it is; it stays where it is. */
  state: "settling" | "waiting" | "busy" | "taken";
  /** What is the matter with the place where it lies. */
  stray: Reason | undefined;
  /** Why it is not taken although it does not change: somebody has to do something about it. */
  trouble: Reason | undefined;
  /** What it looked like, and since when it looks so. */
  key: string;
  sinceMs: number;
  mark: Mark | undefined;
  firstMs: number;
  /** When to look at it again. */
  dueMs: number;
  tries: number;
  /** The listing that saw it last. */
  listing: number;
}

/** Something that is to be claimed now. */
export interface Ready {
  item: Tracked;
  sidecar?: RawName;
  /** Tells it, with its sidecar, from what was or will be there under the same name. */
  print?: string;
}

/** How many more may be taken of those that share something with a file. */
export interface Quota {
  isFull(raw: RawName): boolean;
  use(raw: RawName): void;
}

const GROW_MOST_MS = 60_000;
/** When something is looked at again whose like may not be taken now. */
const FULL_MS = 1_000;
const NO_QUOTA: Quota = { isFull: () => false, use() {} };

export type Tracker = ReturnType<typeof createTracker>;

/**
 * Knows what lies in the inbox and decides when it may be taken. The listing is the truth; a file is looked at only
 * when it is due, so that a hundred thousand files that wait cost a listing and nothing else.
 */
export function createTracker({
  inbox,
  patience,
  now,
  protocol = "settle",
  standingOf,
  route,
  taken,
  isLeftOut = () => false,
}: {
  inbox: string;
  patience: Patience;
  now: () => number;
  protocol?: Protocol;
  standingOf: (raw: RawName) => Standing | undefined;
  /** The folders that lead to where files are dropped; the inbox itself when left out. */
  route?: Route | undefined;
  /** Which were copied already, where files are not taken away. */
  taken?: { has(raw: RawName, print: string): boolean } | undefined;
  /** Names that are nobody's business here, besides those that never are. */
  isLeftOut?: (raw: RawName) => boolean;
}) {
  const items = new Map<RawName, Tracked>();
  const pairs = createPairs({ has: (raw) => items.has(raw) });
  const defaults = createDefaults({ inbox, standingOf });
  /** What somebody said to be complete, by its name. */
  let announced = new Set<RawName>();
  let listing = 0;
  /** Folders with a file that speaks for the PDFs in it, and below. */
  let withDefaults = new Set<RawName>();
  let listed: Listed = { folders: [""], unlisted: new Map(), noted: [] };

  /** How long something is left alone that only somebody else can make any better. */
  const longMs = () => Math.max(patience.reportMs, patience.settleMs);

  /** Reads the inbox's names. Throws what the file system says when there is no inbox. */
  async function list(breathe: () => Promise<void>): Promise<void> {
    listing += 1;
    const sawDefaults = new Set<RawName>();
    const said = new Set<RawName>();
    listed = await listInbox({
      inbox,
      route,
      breathe,
      see(raw, entry, stray) {
        const announces = protocol === "done-file" ? toAnnounced(raw) : undefined;
        if (entry.name === DEFAULTS) sawDefaults.add(folderOf(raw));
        if (announces !== undefined) said.add(announces);
        else if (!isLeftOut(raw)) see(raw, toKind(entry), stray);
      },
    });
    for (const [folder, errno] of listed.unlisted) {
      see(folder, "folder", unlisted(errno));
      for (const item of items.values()) if (item.raw.startsWith(`${folder}/`)) item.listing = listing;
    }
    withDefaults = sawDefaults;
    for (const raw of said) if (!announced.has(raw)) wake(raw);
    announced = said;
    for (const item of items.values()) if (item.listing !== listing) forget(item.raw);
  }

  function wake(raw: RawName): void {
    const item = items.get(raw);
    if (item?.state === "waiting") item.dueMs = now();
  }

  /** Whether the one who drops has yet to say that it is complete; it is looked at again when that was said. */
  function isUnannounced(item: Tracked, at: number): boolean {
    if (protocol !== "done-file" || announced.has(item.raw)) return false;
    item.trouble = notAnnounced(item.raw);
    waitUntil(item, at + longMs());
    return true;
  }

  function forget(raw: RawName): void {
    items.delete(raw);
    pairs.forget(raw);
  }

  function see(raw: RawName, kind: Kind | undefined, stray: Reason | undefined): void {
    if (!kind) return;
    const item = items.get(raw);
    if (item && item.kind === kind) {
      item.listing = listing;
      item.stray = stray;
      return;
    }
    const at = now();
    const fresh: Tracked = {
      raw,
      kind,
      state: "settling",
      trouble: undefined,
      stray,
      key: "",
      sinceMs: at,
      mark: undefined,
      firstMs: at,
      dueMs: at,
      tries: 0,
      listing,
    };
    items.set(raw, fresh);
    if (isJsonName(raw) && !stray) pairs.see(raw);
  }

  /** Whether something speaks for a PDF that comes alone. */
  function hasDefaults(raw: RawName): boolean {
    if (isEnough(standingOf(raw) ?? {})) return true;
    for (let folder = folderOf(raw); ; folder = folderOf(folder)) {
      if (withDefaults.has(folder)) return true;
      if (folder === "") return false;
    }
  }

  /** The sidecar of a file. A JSON file that has one of its own is to be signed itself, and says nothing of others. */
  function sidecarOf({ kind, raw }: Tracked): RawName | undefined {
    const sidecar = pairs.sidecarOf(raw);
    if (kind === "pdf" || sidecar === undefined) return sidecar;
    return pairs.sidecarOf(sidecar) === undefined ? sidecar : undefined;
  }

  /** Whether it may be signed, to go by its name and what lies beside it: of other kinds, what has a sidecar. */
  function isDocument(item: Tracked): boolean {
    if (item.stray) return false;
    return item.kind === "pdf" || (item.kind === "other" && sidecarOf(item) !== undefined);
  }

  /** Whether it says, or may say, who signs another file. */
  function isSidecar(item: Tracked): boolean {
    return item.kind === "sidecar" || (item.kind === "other" && isJsonName(item.raw) && !isDocument(item));
  }

  /** Whether it is what came of an earlier batch, and neither to be signed itself nor somebody's sidecar. */
  function isResults(item: Tracked): boolean {
    if (item.kind !== "other" || !isResultsName(item.raw) || isDocument(item)) return false;
    return !isJsonName(item.raw) || !items.has(pairs.documentOf(item.raw));
  }

  /** Looks at what is due. What may be taken now, the oldest first, at most `room`, and of each kind what its quota allows. */
  async function due(room: number, breathe: () => Promise<void>, quota: Quota = NO_QUOTA): Promise<Ready[]> {
    const at = now();
    const found: Tracked[] = [];
    for (const item of items.values()) if (item.dueMs <= at) found.push(item);
    found.sort((a, b) => age(a) - age(b));
    const ready: Ready[] = [];
    // Sidecars first: a PDF asks how its sidecar is.
    for (const item of [...found.filter(isSidecar), ...found.filter((one) => !isSidecar(one))]) {
      if (ready.length >= room && item.key !== "") continue;
      if (item.key !== "" && item.state !== "taken" && quota.isFull(item.raw) && !isSidecar(item)) {
        waitUntil(item, at + FULL_MS);
        continue;
      }
      try {
        item.trouble = undefined;
        const one = look(item, at);
        if (one) quota.use(item.raw);
        if (one) ready.push(one);
      } catch (error) {
        if (errnoOf(error) === "ENOENT") forget(item.raw);
        else hold(item, error);
      }
      await breathe();
    }
    return ready;
  }

  const age = ({ mark, sinceMs }: Tracked) => mark?.modifiedMs ?? sinceMs;

  function look(item: Tracked, at: number): Ready | undefined {
    if (item.stray) {
      item.trouble = item.stray;
      return waitUntil(item, at + longMs());
    }
    if (item.kind === "other" && !isDocument(item) && !isSidecar(item) && !isResults(item)) {
      // What it holds makes no difference: only whether somebody puts a sidecar beside it.
      item.trouble = unsupported(item.raw, item.kind);
      item.dueMs = at + longMs();
      return undefined;
    }
    return item.kind === "folder" ? lookIntoFolder(item, at) : lookAtFile(item, at);
  }

  function lookAtFile(item: Tracked, at: number): Ready | undefined {
    const path = toPath(inbox, item.raw);
    const seen = lookAt(path);
    if (!seen) {
      forget(item.raw);
      return undefined;
    }
    item.mark = seen.mark;
    // Nothing in a file of another kind tells whether its end is there: it is given the time that a folder is given.
    const isLong = item.kind === "other" && (isDocument(item) || isResults(item));
    const quietMs = isLong ? patience.folderSettleMs : patience.settleMs;
    if (!isSettled(item, seen.key, quietMs, at)) return undefined;
    if (item.kind === "special") return taken ? stays(item, at) : { item };
    if (isSidecar(item) && !isResults(item)) return settleSidecar(item, at);
    const print = filePrint(item, seen.mark);
    if (isTaken(item, print, at)) return undefined;
    if (isUnannounced(item, at)) return undefined;
    if (isResults(item)) return { item, print };
    const extent = seen.mark.sizeBytes === 0 ? "empty" : peek(path);
    const untilMs = item.sinceMs + patienceWith(extent, 2 * patience.settleMs);
    if (at < untilMs) {
      if (extent === "cut" || extent === "empty") item.trouble = notWhole(extent, untilMs);
      return later(item, at, { firstMs: patience.settleMs, untilMs });
    }
    const sidecar = items.get(sidecarOf(item) ?? "");
    if (sidecar) {
      const isStill = lookAt(toPath(inbox, sidecar.raw))?.key === sidecar.key;
      if (isStill && at - sidecar.sinceMs >= patience.settleMs) return { item, sidecar: sidecar.raw, print };
      if (!isStill) sidecar.dueMs = at;
      return waitUntil(item, Math.max(sidecar.dueMs, at + 1));
    }
    if (protocol === "manifest") {
      item.trouble = noRequest(item.raw, "file");
      return waitUntil(item, at + longMs());
    }
    const windowMs = hasDefaults(item.raw)
      ? 2 * patience.settleMs
      : Math.max(2 * patience.settleMs, patience.sidecarWaitMs);
    if (at - item.sinceMs < windowMs) return waitUntil(item, item.sinceMs + windowMs);
    item.trouble = hasDefaults(item.raw) ? defaults.fault(item.raw) : undefined;
    if (item.trouble) return later(item, at, { firstMs: patience.settleMs, untilMs: Number.POSITIVE_INFINITY });
    return { item, print };
  }

  function filePrint(item: Tracked, mark: Mark): string {
    if (!taken) return "";
    const sidecar = sidecarOf(item);
    const beside = sidecar === undefined ? undefined : lookAt(toPath(inbox, sidecar));
    return [mark, ...(beside ? [beside.mark] : [])].map(printOf).join(" ");
  }

  /** Whether a copy of it was taken as it is: then it is looked at now and then, since it may change. */
  function isTaken(item: Tracked, print: string, at: number): boolean {
    if (!taken?.has(item.raw, print)) return false;
    item.state = "taken";
    // It stays as well, and waits for nothing.
    const sidecar = items.get(sidecarOf(item) ?? "");
    if (sidecar?.state === "waiting") sidecar.state = "taken";
    item.dueMs = at + longMs();
    return true;
  }

  /** Nothing that is no file can be copied. */
  function stays(item: Tracked, at: number): undefined {
    item.trouble = special();
    return waitUntil(item, at + longMs());
  }

  /** How long something of this extent may stay as it is; `leastMs` where it may not be judged earlier. */
  function patienceWith(extent: Extent, leastMs: number): number {
    if (extent === "empty") return patience.settleMaxMs;
    return extent === "cut" ? Math.max(patience.incompleteMs, leastMs) : 0;
  }

  /** A settled sidecar calls its file; one without a file is reported after a while. */
  function settleSidecar(item: Tracked, at: number): undefined {
    const file = items.get(pairs.documentOf(item.raw));
    if (file && isDocument(file)) file.dueMs = Math.min(file.dueMs, at);
    else item.trouble = unsupported(item.raw, item.kind);
    const was = item.state;
    waitUntil(item, at + longMs());
    if (was === "taken" && file?.state === "taken") item.state = was;
  }

  function lookIntoFolder(item: Tracked, at: number): Ready | undefined {
    const path = toPath(inbox, item.raw);
    const seen = lookAtFolder(path);
    if (!seen) {
      forget(item.raw);
      return undefined;
    }
    if (!isSettled(item, seen.key, seen.isReady ? patience.settleMs : patience.folderSettleMs, at)) return undefined;
    const { print } = seen;
    if (isTaken(item, print, at)) return undefined;
    if (isUnannounced(item, at)) return undefined;
    const quietMs = at - item.sinceMs;
    if (quietMs >= patience.settleMaxMs) return { item, print };
    const untilMs = item.sinceMs + patience.settleMaxMs;
    const isLate = seen.pdfs.length === 0 && !seen.isBatch;
    if (seen.isUnfinished || (isLate && !(seen.others.length > 0 && asksForHashes(path)))) {
      item.trouble = unfinished(seen.isUnfinished, untilMs);
      return later(item, at, { firstMs: patience.folderSettleMs, untilMs });
    }
    if (!seen.hasRequest && !seen.isBatch && quietMs < patience.sidecarWaitMs)
      return waitUntil(item, item.sinceMs + patience.sidecarWaitMs);
    const part = findPart(path, [...seen.pdfs, ...seen.others]);
    const partMs = part ? item.sinceMs + patienceWith(part.extent, patience.folderSettleMs) : 0;
    if (!part || at >= partMs) return { item, print };
    item.trouble = notWhole(part.extent, partMs, part.raw);
    return later(item, at, { firstMs: patience.folderSettleMs, untilMs: partMs });
  }

  /** Two looks that agree, far enough apart. Compares what was seen, never the clocks of two machines. */
  function isSettled(item: Tracked, key: string, quietMs: number, at: number): boolean {
    if (item.key !== key) {
      Object.assign(item, { key, sinceMs: at, dueMs: at + quietMs, tries: 0, state: "settling" });
      return false;
    }
    if (at - item.sinceMs >= quietMs) return true;
    item.dueMs = item.sinceMs + quietMs;
    return false;
  }

  /** Looks again after a pause that grows, at the latest when patience ends. */
  function later(item: Tracked, at: number, { firstMs, untilMs }: { firstMs: number; untilMs: number }): undefined {
    item.tries += 1;
    const pauseMs = Math.min(firstMs * 2 ** Math.min(item.tries - 1, 20), GROW_MOST_MS);
    item.dueMs = Math.min(at + pauseMs, Math.max(untilMs, at + 1));
    item.state = "settling";
  }

  function waitUntil(item: Tracked, dueMs: number): undefined {
    item.state = "waiting";
    item.dueMs = dueMs;
  }

  /** Somebody else has it open, or we may not touch it: tried again for ever, ever more rarely. */
  function hold(item: Tracked, error: unknown): void {
    item.tries += 1;
    item.state = "busy";
    item.trouble = busy(errnoOf(error));
    item.dueMs = now() + Math.min(Math.max(patience.settleMs, 1_000) * 2 ** Math.min(item.tries - 1, 20), GROW_MOST_MS);
  }

  /** Whether a person should hear of it: not of what may be over in a moment. */
  function isReported({ trouble, sinceMs }: Tracked): boolean {
    return trouble !== undefined && now() - sinceMs >= patience.reportMs;
  }

  return {
    list,
    due,
    hold,
    forget,
    size: () => items.size,
    /** Entries that are not taken, and why. */
    reported: () =>
      [...items.values()].filter(isReported).map(({ raw, kind, trouble, stray }) => ({
        raw,
        kind,
        trouble: trouble as Reason,
        isStray: stray !== undefined,
      })),
    /** When the next entry is due. */
    nextMs(): number {
      let next = Number.POSITIVE_INFINITY;
      for (const { dueMs } of items.values()) if (dueMs < next) next = dueMs;
      return next;
    },
    figures() {
      const counts = { waiting: 0, settling: 0, busy: 0, unusable: 0, taken: 0 };
      let oldestMs = 0;
      for (const item of items.values()) {
        const is = item.state !== "busy" && isReported(item) ? "unusable" : item.state;
        counts[is] += 1;
        if (is !== "unusable" && is !== "taken") oldestMs = Math.max(oldestMs, now() - item.firstMs);
      }
      return { ...counts, oldestMs };
    },
    /** What the last listing came by. */
    listed: () => listed,
    /** What is known of an entry. */
    get: (raw: RawName): Readonly<Tracked> | undefined => items.get(raw),
    /** The sidecar of an entry, if there is one. */
    sidecarOf: (raw: RawName): RawName | undefined => {
      const item = items.get(raw);
      return item && isDocument(item) ? sidecarOf(item) : undefined;
    },
  };
}

/** Whether the manifest of a folder asks for signatures apart, for which files of any kind will do. */
function asksForHashes(folder: string | Buffer): boolean {
  try {
    const read = readManifest(readSmall(Buffer.concat([Buffer.from(folder), Buffer.from(`/${REQUEST}`)])) ?? "");
    return read.ok && read.manifest.signature?.format === "cms";
  } catch (error) {
    if (error instanceof Unusable) return false;
    throw error;
  }
}
