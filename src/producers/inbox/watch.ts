import { statfsSync } from "node:fs";
import { watch } from "chokidar";
import type { Log } from "../../core/stage.ts";
import { errnoOf } from "./look.ts";

export type Mode = "native" | "poll";

/** File systems whose events do not tell of what other machines do. @source Linux statfs(2), linux/magic.h */
const SILENT: Record<number, string> = {
  0x6969: "NFS",
  0x517b: "SMB",
  0xff534d42: "CIFS",
  0xfe534d42: "SMB2",
  0x65735546: "FUSE",
  0x01021997: "9P",
  0x794c7630: "overlay",
  0x786f4256: "a shared folder of a virtual machine",
};
/** The listing comes when no event did for so long: a thousand files that come at once are one event. */
const QUIET_MS = 50;
/** It comes after this in any case. */
const WAIT_MOST_MS = 500;

/** Whether to watch a folder or only to list it, and why. */
export function chooseMode(
  folder: string,
  typeOf: (folder: string) => number = (path) => statfsSync(path).type,
): { mode: Mode; why: string } {
  // Some systems give it with its sign.
  const name = SILENT[typeOf(folder) >>> 0];
  return name
    ? { mode: "poll", why: `the inbox is on ${name}, whose events are not reliable` }
    : { mode: "native", why: "the file system tells of changes" };
}

export interface Watch {
  /** Hears nothing until `resume`, which wakes: for when events would only tell of what is being done here. */
  pause(): Promise<void>;
  resume(): void;
  /** Hears of these folders from now on, besides the first one. */
  cover(folders: readonly string[]): void;
  stop(): Promise<void>;
}

/**
 * Calls `wake` soon after something happened in `folder`. Only a wake-up: events can be lost, doubled or early, and
 * the listing finds out what is there. So nothing in the folder is followed by itself, which would cost a hundred
 * times more than the listing does, and only the raw event is used; sub-folders are looked at when they are due.
 * It wakes as well once it listens: what came before that is told by no event.
 */
export function startWatch(folder: string, { wake, log }: { wake: () => void; log: Log }): Watch {
  let timer: NodeJS.Timeout | undefined;
  let latestMs = 0;
  const soon = () => {
    if (timer) return void (performance.now() < latestMs && timer.refresh());
    latestMs = performance.now() + WAIT_MOST_MS - QUIET_MS;
    timer = setTimeout(() => {
      timer = undefined;
      wake();
    }, QUIET_MS);
  };
  let covered = new Set([folder]);
  let watcher = listen();

  function listen() {
    return (
      watch([...covered], {
        depth: 0,
        ignoreInitial: true,
        followSymlinks: false,
        atomic: false,
        ignored: (path) => !covered.has(path),
      })
        .on("raw", soon)
        .on("all", soon)
        // What came before it listened is told by no event.
        .on("ready", wake)
        .on("error", (error) => {
          log.warn(
            { code: "watch-failed", reason: errnoOf(error) || "error" },
            "watching failed; the inbox is listed all the same",
          );
        })
    );
  }

  return {
    pause: () => watcher.close(),
    resume() {
      watcher = listen();
    },
    cover(folders) {
      const wanted = new Set([folder, ...folders]);
      const [more, less] = [
        [...wanted].filter((one) => !covered.has(one)),
        [...covered].filter((one) => !wanted.has(one)),
      ];
      covered = wanted;
      if (more.length > 0) watcher.add(more);
      if (less.length > 0) watcher.unwatch(less);
    },
    async stop() {
      clearTimeout(timer);
      await watcher.close();
    },
  };
}
