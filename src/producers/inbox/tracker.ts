import { type Dir, opendirSync } from "node:fs";
import { join } from "node:path";
import { DEFAULTS, type Kind, toKind } from "./ignore.ts";
import { errnoOf, isGrowing, lookAt, lookAtFolder, type Mark, peek } from "./look.ts";
import { type RawName, toPath } from "./names.ts";

/** Lengths of time in milliseconds. */
export interface Patience {
  /** A file counts as settled when two looks at least this far apart find it the same. */
  settleMs: number;
  /** The same for a dropped folder, into which people go on copying. */
  folderSettleMs: number;
  /** How long a file that does not change any more may stay incomplete. */
  settleMaxMs: number;
  /** How long a PDF waits for its sidecar when there is no defaults.json. */
  sidecarWaitMs: number;
  /** After this a file that nobody can use is reported. */
  reportMs: number;
}

/** An entry of the inbox, from the first time it is seen until it is claimed or gone. */
export interface Tracked {
  raw: RawName;
  kind: Kind;
  state: "settling" | "waiting" | "busy" | "settled" | "reported";
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
}

const GROW_MOST_MS = 60_000;
/** Entries between two pauses of a listing. */
const SLICE = 2_000;

export type Tracker = ReturnType<typeof createTracker>;

/**
 * Knows what lies in the inbox and decides when it may be taken. The listing is the truth; a file is looked at only
 * when it is due, so that a hundred thousand files that wait cost a listing and nothing else.
 */
export function createTracker({ inbox, patience, now }: { inbox: string; patience: Patience; now: () => number }) {
  const { settleMs, folderSettleMs, settleMaxMs, sidecarWaitMs, reportMs } = patience;
  const items = new Map<RawName, Tracked>();
  let listing = 0;
  let hasDefaults = false;

  /** Reads the inbox's names. Throws what the file system says when there is no inbox. */
  async function list(breathe: () => Promise<void>): Promise<void> {
    listing += 1;
    let sawDefaults = false;
    const folder: Dir = opendirSync(inbox, { encoding: "latin1" as BufferEncoding, bufferSize: 1024 });
    try {
      for (let n = 1; ; n++) {
        const entry = folder.readSync();
        if (!entry) break;
        if (entry.name === DEFAULTS) sawDefaults = true;
        see(entry.name, toKind(entry));
        if (n % SLICE === 0) await breathe();
      }
    } finally {
      folder.closeSync();
    }
    hasDefaults = sawDefaults;
    for (const item of items.values()) if (item.listing !== listing) items.delete(item.raw);
  }

  function see(raw: RawName, kind: Kind | undefined): void {
    if (!kind) return;
    const item = items.get(raw);
    if (item && item.kind === kind) {
      item.listing = listing;
      return;
    }
    const at = now();
    const fresh: Tracked = {
      raw,
      kind,
      state: "settling",
      key: "",
      sinceMs: at,
      mark: undefined,
      firstMs: at,
      dueMs: at,
      tries: 0,
      listing,
    };
    items.set(raw, fresh);
  }

  /** Looks at what is due. What may be taken now, the oldest first, at most `room`. */
  async function due(room: number, breathe: () => Promise<void>): Promise<Ready[]> {
    const at = now();
    const found: Tracked[] = [];
    for (const item of items.values()) if (item.dueMs <= at) found.push(item);
    found.sort((a, b) => age(a) - age(b));
    const ready: Ready[] = [];
    // Sidecars first: a PDF asks how its sidecar is.
    for (const item of [...found.filter(isSidecar), ...found.filter((one) => !isSidecar(one))]) {
      if (ready.length >= room && item.key !== "") continue;
      try {
        const one = look(item, at);
        if (one) ready.push(one);
      } catch (error) {
        if (errnoOf(error) === "ENOENT") items.delete(item.raw);
        else hold(item);
      }
      await breathe();
    }
    return ready;
  }

  const isSidecar = ({ kind }: Tracked) => kind === "sidecar";
  const age = ({ mark, sinceMs }: Tracked) => mark?.modifiedMs ?? sinceMs;

  function look(item: Tracked, at: number): Ready | undefined {
    if (item.kind === "other") {
      if (at - item.firstMs < reportMs) item.dueMs = item.firstMs + reportMs;
      else report(item);
      return undefined;
    }
    return item.kind === "folder" ? lookIntoFolder(item, at) : lookAtFile(item, at);
  }

  function lookAtFile(item: Tracked, at: number): Ready | undefined {
    const path = toPath(inbox, item.raw);
    const seen = lookAt(path);
    if (!seen) {
      items.delete(item.raw);
      return undefined;
    }
    item.mark = seen.mark;
    if (!isSettled(item, seen.key, settleMs, at)) return undefined;
    if (item.kind === "special") return { item };
    if (item.kind === "sidecar") return settleSidecar(item, at);
    const isPart = seen.mark.sizeBytes === 0 || peek(path) === "growing";
    if (isPart && at - item.sinceMs < settleMaxMs) return later(item, at, settleMs);
    const sidecar = items.get(`${item.raw}.json`);
    if (sidecar) {
      const isStill = lookAt(toPath(inbox, sidecar.raw))?.key === sidecar.key;
      if (isStill && at - sidecar.sinceMs >= settleMs) return { item, sidecar: sidecar.raw };
      if (!isStill) sidecar.dueMs = at;
      return waitUntil(item, Math.max(sidecar.dueMs, at + 1));
    }
    const windowMs = hasDefaults ? 2 * settleMs : Math.max(2 * settleMs, sidecarWaitMs);
    if (at - item.sinceMs < windowMs) return waitUntil(item, item.sinceMs + windowMs);
    return { item };
  }

  /** A settled sidecar calls its PDF; one without a PDF is reported after a while. */
  function settleSidecar(item: Tracked, at: number): undefined {
    if (item.state !== "reported") item.state = "settled";
    const pdf = items.get(item.raw.slice(0, -".json".length));
    if (pdf) pdf.dueMs = Math.min(pdf.dueMs, at);
    else if (at - item.firstMs >= reportMs) report(item);
    if (item.state !== "reported") item.dueMs = Math.max(item.firstMs + reportMs, at + settleMs);
  }

  function lookIntoFolder(item: Tracked, at: number): Ready | undefined {
    const path = toPath(inbox, item.raw);
    const seen = lookAtFolder(path);
    if (!seen) {
      items.delete(item.raw);
      return undefined;
    }
    if (!isSettled(item, seen.key, seen.isReady ? settleMs : folderSettleMs, at)) return undefined;
    const quietMs = at - item.sinceMs;
    if (quietMs >= settleMaxMs) return { item };
    if (seen.pdfs.length === 0 || seen.isUnfinished) return later(item, at, folderSettleMs);
    if (!seen.hasRequest && quietMs < sidecarWaitMs) return waitUntil(item, item.sinceMs + sidecarWaitMs);
    if (isGrowing(path, seen.pdfs)) return later(item, at, folderSettleMs);
    return { item };
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
  function later(item: Tracked, at: number, firstMs: number): undefined {
    item.tries += 1;
    const pauseMs = Math.min(firstMs * 2 ** Math.min(item.tries - 1, 20), GROW_MOST_MS);
    item.dueMs = Math.min(at + pauseMs, Math.max(item.sinceMs + settleMaxMs, at + 1));
    item.state = "settling";
  }

  function waitUntil(item: Tracked, dueMs: number): undefined {
    item.state = "waiting";
    item.dueMs = dueMs;
  }

  function report(item: Tracked): void {
    item.state = "reported";
    item.dueMs = Number.POSITIVE_INFINITY;
  }

  /** Somebody else has it open, or we may not touch it: tried again for ever, ever more rarely. */
  function hold(item: Tracked): void {
    item.tries += 1;
    item.state = "busy";
    item.dueMs = now() + Math.min(Math.max(settleMs, 1_000) * 2 ** Math.min(item.tries - 1, 20), GROW_MOST_MS);
  }

  return {
    list,
    due,
    hold,
    forget: (raw: RawName) => void items.delete(raw),
    hasDefaults: () => hasDefaults,
    size: () => items.size,
    /** Entries that nobody can use, for the report. */
    reported: () => [...items.values()].filter(({ state }) => state === "reported"),
    /** When the next entry is due. */
    nextMs(): number {
      let next = Number.POSITIVE_INFINITY;
      for (const { dueMs } of items.values()) if (dueMs < next) next = dueMs;
      return next;
    },
    figures() {
      const counts = { waiting: 0, settling: 0, busy: 0, unusable: 0 };
      let oldestMs = 0;
      for (const { state, firstMs } of items.values()) {
        counts[state === "reported" ? "unusable" : state === "settled" ? "waiting" : state] += 1;
        if (state !== "reported") oldestMs = Math.max(oldestMs, now() - firstMs);
      }
      return { ...counts, oldestMs };
    },
    defaultsPath: join(inbox, DEFAULTS),
  };
}
