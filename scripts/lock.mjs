import { writeFileSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const HEARTBEAT_MS = 2_000;
const SILENT_TOO_LONG_MS = 60_000;
const GIVE_UP_MS = 15 * 60_000;

/**
 * Runs `work` while holding the lock folder; only one process on this machine does so at a time.
 *
 * A lock whose holder died, or has given no sign of life for a minute, is taken over; not so while the program that
 * the holder started, and named with `note(pid)`, is still at work.
 * @param {string} folder made for the time of the work
 * @param {{ onWait?: () => void }} options `onWait` is called once, when somebody else holds the lock
 * @param {(note: (pid: number) => void) => Promise<T>} work
 * @template T
 */
export async function withLock(folder, { onWait }, work) {
  await mkdir(dirname(folder), { recursive: true });
  const until = Date.now() + GIVE_UP_MS;
  for (let told = false; !(await take(folder));) {
    if (Date.now() > until) throw new Error(`another start has held ${folder} for too long; remove that folder`);
    if (!told) onWait?.();
    told = true;
    await removeIfStale(folder);
    await pause(200);
  }
  const heartbeat = setInterval(() => void utimes(folder, new Date(), new Date()).catch(() => {}), HEARTBEAT_MS);
  try {
    return await work((pid) => writeHolder(folder, pid));
  } finally {
    clearInterval(heartbeat);
    await rm(folder, { recursive: true, force: true });
  }
}

async function take(folder) {
  try {
    await mkdir(folder);
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
  writeHolder(folder);
  return true;
}

function writeHolder(folder, childPid) {
  writeFileSync(join(folder, "holder.json"), JSON.stringify({ pid: process.pid, childPid, host: hostname() }));
}

async function removeIfStale(folder) {
  const seen = await stat(folder).catch(() => undefined);
  if (!seen || !(await isStale(folder, seen))) return;
  // Renaming first: of several processes that saw the same stale lock only one moves it. Should it be a newer lock
  // that was moved, it is put back.
  const aside = `${folder}.stale-${process.pid}`;
  try {
    await rename(folder, aside);
    const moved = await stat(aside);
    if (moved.ino === seen.ino) await rm(aside, { recursive: true, force: true });
    else await rename(aside, folder);
  } catch {
    // Somebody else was faster; the next round sees what is there now.
  }
}

async function isStale(folder, { mtimeMs }) {
  if (Date.now() - mtimeMs > SILENT_TOO_LONG_MS) return true;
  const text = await readFile(join(folder, "holder.json"), "utf8").catch(() => "");
  if (text === "") return Date.now() - mtimeMs > 10_000;
  try {
    const { pid, childPid, host } = JSON.parse(text);
    return host === hostname() && !isAlive(pid) && (childPid === undefined || !isAlive(childPid));
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
