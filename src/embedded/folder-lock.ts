import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";

const LOCK = "owner.json";

/** Who works on a data folder. The birth marks tell a living process from a later one with the same number. */
const Owner = z.object({
  pid: z.number(),
  birth: z.string(),
  redisPid: z.number().optional(),
  redisBirth: z.string().optional(),
  /** Address of the Redis with its password; the file is readable by its owner alone. */
  url: z.string().optional(),
});
type Owner = z.infer<typeof Owner>;

/** A data folder that belongs to this process until it is released. */
export interface FolderLock {
  /** Notes the Redis that now works on the folder, so that nobody starts a second one while it lives. */
  note(redis: { pid?: number | undefined; url: string }): void;
  release(): void;
}

/**
 * Takes a data folder (made when missing, readable by its owner alone) for this process.
 *
 * After a crash the Redis of the earlier start may still be writing its last lines: then it waits up to `patienceMs`.
 * Throws one sentence when another start, or its Redis, lives on in the folder.
 */
export async function lockFolder(
  dir: string,
  { patienceMs = 10_000, signal }: { patienceMs?: number; signal?: AbortSignal | undefined } = {},
): Promise<FolderLock> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, LOCK);
  const until = Date.now() + patienceMs;
  const mine: Owner = { pid: process.pid, birth: birthOf(process.pid) };
  while (!create(path, mine)) {
    const owner = readOwner(path);
    if (owner && isAlive(owner.pid, owner.birth)) {
      throw new Error(
        `another signpipe (process ${owner.pid}) works on ${dir}; stop it, or give this one a DATA_DIR of its own`,
      );
    }
    if (owner?.redisPid !== undefined && isAlive(owner.redisPid, owner.redisBirth ?? "")) {
      if (Date.now() > until) {
        throw new Error(
          `the Redis of an earlier start (process ${owner.redisPid}) still works on ${dir}; ` +
            `stop it with "kill ${owner.redisPid}" and start again`,
        );
      }
      await pause(50);
      signal?.throwIfAborted();
      continue;
    }
    takeAway(path);
  }
  return {
    note({ pid, url }) {
      const redis = pid === undefined ? {} : { redisPid: pid, redisBirth: birthOf(pid) };
      const fresh = `${path}.${process.pid}`;
      writeFileSync(fresh, JSON.stringify({ ...mine, ...redis, url }), { mode: 0o600 });
      renameSync(fresh, path);
    },
    release() {
      rmSync(path, { force: true });
    },
  };
}

/** Address of the Redis that a living start runs on this folder, for the other commands; `undefined` when none does. */
export function readRunningRedis(dir: string): string | undefined {
  const owner = readOwner(join(dir, LOCK));
  return owner && isAlive(owner.pid, owner.birth) ? owner.url : undefined;
}

/** False when the file is there already. Written apart and linked, so that nobody ever reads half of it. */
function create(path: string, owner: Owner): boolean {
  const fresh = `${path}.${process.pid}`;
  writeFileSync(fresh, JSON.stringify(owner), { mode: 0o600 });
  try {
    linkSync(fresh, path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(fresh, { force: true });
  }
}

function readOwner(path: string): Owner | undefined {
  try {
    return Owner.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** Of several starts that saw the same dead owner, only one moves the file; the others look again. */
function takeAway(path: string): void {
  const aside = `${path}.dead.${process.pid}`;
  try {
    renameSync(path, aside);
    const moved = readOwner(aside);
    if (moved && isAlive(moved.pid, moved.birth)) renameSync(aside, path);
    else rmSync(aside, { force: true });
  } catch {
    // Somebody else was faster.
  }
}

function isAlive(pid: number, birth: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  const now = birthOf(pid);
  return now === "" || birth === "" || now === birth;
}

/**
 * When a process started, in the kernel's own ticks; empty where the system does not say (then the number alone counts).
 * @source proc_pid_stat(5), field 22; the second field, the name, may hold blanks, hence the cut after its bracket
 */
function birthOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie is dead, although its number is still taken.
    return fields[0] === "Z" ? "dead" : (fields[19] ?? "");
  } catch {
    return "";
  }
}
