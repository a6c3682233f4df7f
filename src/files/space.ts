import { statfs } from "node:fs/promises";
import { RetryableError } from "../core/errors.ts";
import { ROOM, toDiskFailure } from "./durable.ts";

const LOOK_MS = 1_000;
/** A file that takes no more names is as full as one without room. */
const FILES_LEAST = 1_000;
const MIB = 1 << 20;

export type Space = ReturnType<typeof createSpace>;

/** A promise of room: what it was for is on disk, or given up, when `release` is called. */
export interface Booking {
  release(): void;
}

/**
 * How much room is left on the file system of `dir`, asked once a second at the most. What has been promised and is not
 * on disk yet counts as used. Where the file system does not tell, there is room.
 */
export function createSpace({
  dir,
  reserveBytes,
  look: ask = statfs,
  now = () => performance.now(),
}: {
  dir: string;
  /** What intake and new signatures leave free for everything else that is kept here. */
  reserveBytes: number;
  look?: (dir: string) => Promise<{ bsize: number; blocks: number; bavail: number; files: number; ffree: number }>;
  now?: () => number;
}) {
  let freeBytes = Number.POSITIVE_INFINITY;
  let bookedBytes = 0;
  let lookedMs = Number.NEGATIVE_INFINITY;
  let looking: Promise<void> | undefined;
  let trouble: unknown;

  async function measure(): Promise<void> {
    const { bsize, blocks, bavail, files, ffree } = await ask(dir);
    freeBytes = blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
    if (files > 0 && ffree < FILES_LEAST) freeBytes = 0;
  }

  /** Throws RetryableError "disk-error" where the file system itself is at fault. */
  async function free(): Promise<number> {
    if (!looking && now() - lookedMs >= LOOK_MS) {
      lookedMs = now();
      looking = measure()
        .then(() => (trouble = undefined))
        .catch((error: unknown) => (trouble = error))
        .then(() => (looking = undefined));
    }
    await looking;
    if (trouble !== undefined) throw toDiskFailure(trouble);
    return freeBytes - bookedBytes;
  }

  async function need(bytes: number, { mayUseReserve = false } = {}): Promise<void> {
    const keptBytes = mayUseReserve ? reserveBytes / 2 : reserveBytes;
    const leftBytes = await free();
    if (leftBytes >= bytes + keptBytes) return;
    const message = tooLittle(leftBytes, bytes, keptBytes);
    throw new RetryableError(message, { code: "disk-full", pause: { until: ROOM } });
  }

  return {
    /**
     * Throws RetryableError "disk-full", whose attempt does not count, when `bytes` would not fit beyond the reserve, or
     * beyond half of it for what must not wait (`mayUseReserve`).
     */
    need,

    /** The same, and promises that room to the caller. */
    async book(bytes: number, options?: { mayUseReserve?: boolean }): Promise<Booking> {
      await need(bytes, options);
      bookedBytes += bytes;
      let isHeld = true;
      return {
        release() {
          if (!isHeld) return;
          isHeld = false;
          bookedBytes -= bytes;
          freeBytes -= bytes; // until it is asked for again it counts as written
        },
      };
    },

    /** For health and metrics. */
    async check(): Promise<{ ok: boolean; note?: string; figures: Record<string, number> }> {
      try {
        const leftBytes = await free();
        const figures = { ...(Number.isFinite(leftBytes) && { freeBytes: leftBytes }), reserveBytes };
        if (leftBytes >= reserveBytes) return { ok: true, figures };
        return { ok: false, note: tooLittle(leftBytes, 0, reserveBytes), figures };
      } catch {
        return { ok: false, note: "the file system of DATA_DIR reports an error", figures: { reserveBytes } };
      }
    },
  };
}

function tooLittle(leftBytes: number, bytes: number, keptBytes: number): string {
  const needed = bytes > 0 ? `${toMib(bytes)} are needed beyond` : "intake waits for";
  return `The disk of DATA_DIR is full: ${toMib(Math.max(leftBytes, 0))} are free, and ${needed} the ${toMib(keptBytes)} that are kept free (DISK_RESERVE_BYTES)`;
}

function toMib(bytes: number): string {
  return `${Math.ceil(bytes / MIB)} MiB`;
}
