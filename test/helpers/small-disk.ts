import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

export interface SmallDisk {
  /** A folder on it. */
  dir: string;
  /** Leaves not a byte. */
  fill(): void;
  /** Leaves that many bytes. */
  leave(bytes: number): void;
  /** Takes either back. */
  free(): void;
  /** Refuses every write from now on. Only while no file on it is open for writing. */
  makeReadOnly(): void;
}

/** Why this machine lets nobody mount a small disk; undefined when it does. */
export const whyNoSmallDisk = findWhyNot();

function findWhyNot(): string | undefined {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-disk-"));
  try {
    mount(dir, 1);
    execFileSync("umount", [dir], { stdio: "ignore" });
    return undefined;
  } catch {
    return "a file system in memory cannot be mounted here (Linux and root are needed), so no disk can be filled";
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function mount(dir: string, mebibytes: number): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", dir], { stdio: "ignore" });
}

/** A file system of its own for one test, in memory. Asked for before what uses it, it goes after that. */
export function mountSmallDisk(mebibytes: number): SmallDisk {
  const root = mkdtempSync(join(tmpdir(), "signpipe-disk-"));
  mount(root, mebibytes);
  onTestFinished(() => {
    execFileSync("umount", ["-l", root]);
    rmSync(root, { recursive: true, force: true });
  });
  const dir = join(root, "data");
  mkdirSync(dir, { mode: 0o700 });
  const ballast = join(root, "ballast");
  return {
    dir,
    fill() {
      const file = openSync(ballast, "a");
      try {
        for (const size of [1 << 20, 1 << 12, 1]) fillBy(file, Buffer.alloc(size));
      } finally {
        closeSync(file);
      }
    },
    leave(bytes) {
      const { bavail, bsize } = statfsSync(root);
      writeFileSync(ballast, Buffer.alloc(bavail * bsize - bytes));
    },
    free: () => rmSync(ballast, { force: true }),
    makeReadOnly: () => void execFileSync("mount", ["-o", "remount,ro", root]),
  };
}

function fillBy(file: number, block: Buffer): void {
  try {
    while (writeSync(file, block) === block.length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}
