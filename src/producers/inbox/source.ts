import { createHash } from "node:crypto";
import { constants, lstatSync, readdirSync, renameSync, statSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RequestId } from "../../core/request.ts";
import { syncFolder } from "../../files/durable.ts";
import type { Claim, Wanted } from "./claim.ts";
import { isIgnored, isUnfinished } from "./ignore.ts";
import { createLedger, LEDGER } from "./ledger.ts";
import { errnoOf, printNow } from "./look.ts";
import { type RawName, toPath } from "./names.ts";
import { within } from "./aside.ts";

const BLOCK_BYTES = 1 << 20;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export type Source = ReturnType<typeof createSource>;

/**
 * A folder that is only read: what lies in it is copied instead of taken away, and a ledger says what was. A copy counts
 * from when it stands in the ledger, and what counts is put in its place whatever happens in between; what does not is
 * removed. So each file is taken once, and after a crash too.
 */
export function createSource({
  source,
  gate,
  mustBeHere,
  now,
}: {
  source: string;
  gate: string;
  /** Throws when another process serves the inbox by now: it may have copied the same. */
  mustBeHere: () => void;
  now: () => number;
}) {
  const copies = join(gate, "copies");
  const ledger = createLedger({ path: join(gate, LEDGER), now });
  /** What is being copied here and now. */
  const copying = new Set<RequestId>();
  let wasMounted = false;

  /**
   * Copies a file with its sidecar, or a folder, to the gate, under the claim's id. False when it is not there any more.
   * Throws what the file system says; EBUSY when it changed meanwhile.
   */
  async function copy(claim: Claim, wanted: Wanted): Promise<boolean> {
    copying.add(claim.id);
    try {
      return await copyOne(claim, wanted);
    } finally {
      copying.delete(claim.id);
    }
  }

  async function copyOne(claim: Claim, { print = "" }: Wanted): Promise<boolean> {
    const { id, raw, form, sidecar } = claim;
    const to = join(copies, id);
    const beside = `${to}.json`;
    let isToCount = false;
    try {
      if (sidecar !== undefined) await copyFile(toPath(source, sidecar), beside);
      const from = toPath(source, raw);
      const sha256 = form === "folder" ? await copyFolder(from, to) : await copyFile(from, to);
      if (printNow(source, { raw, sidecar, isFolder: form === "folder" }) !== print) throw changed();
      await syncFolder(copies);
      await syncFolder(gate); // the list that has its name
      mustBeHere();
      // Whoever served the inbox meanwhile has removed what was half copied.
      for (const path of sidecar === undefined ? [to] : [to, beside]) lstatSync(path);
      isToCount = true;
      await ledger.add({ raw, print, id, sha256, atMs: Math.round(now()) });
    } catch (error) {
      // What may stand in the ledger, although the disk reported an error, is not removed: the next start finds out.
      if (!isToCount) await remove(id);
      if (!isToCount && errnoOf(error) === "ENOENT") return false;
      throw error;
    }
    return true;
  }

  /** Puts a copy that counts in its place at the gate. Safe to repeat. The sidecar first: without its file nobody looks at it. */
  function bringIn(id: RequestId): void {
    for (const name of [`${id}.json`, id]) {
      try {
        renameSync(join(copies, name), join(gate, name));
      } catch (error) {
        if (errnoOf(error) !== "ENOENT") throw error;
      }
    }
  }

  async function remove(id: RequestId): Promise<void> {
    await rm(`${join(copies, id)}.json`, { force: true });
    await rm(join(copies, id), { recursive: true, force: true });
  }

  return {
    copy,
    bringIn,
    taken: ledger,
    /** The name under which a copy that counts was taken; undefined of any other. */
    rawOf: (id: RequestId): RawName | undefined => ledger.rawOf(id),

    /** Finishes, or removes, what a crash left half copied. Before anything is looked for at the gate. */
    async recover(): Promise<void> {
      await mkdir(copies, { recursive: true, mode: 0o700 });
      ledger.load();
      for (const name of await readdir(copies)) {
        const id = RequestId.safeParse(name.replace(/\.json$/, "")).data;
        if (id === undefined || copying.has(id)) continue;
        if (ledger.rawOf(id) === undefined) await remove(id);
        else bringIn(id);
      }
    },

    /** Throws "source-not-mounted" when it was a mount, and is the folder under it now. */
    mustBeThere(): void {
      const isMounted = statSync(source).dev !== statSync(dirname(source)).dev;
      if (wasMounted && !isMounted && readdirSync(source).length === 0) {
        throw Object.assign(new Error("the source is not mounted"), { code: "source-not-mounted" });
      }
      wasMounted ||= isMounted;
    },
  };
}

/** What is no file cannot be copied: a folder of that name stands for it, so that whoever checks the folder finds it. */
async function copyFolder(from: string | Buffer, to: string): Promise<string> {
  await mkdir(to, { mode: 0o700 });
  const whole = createHash("sha256");
  const entries = await readdir(from, { withFileTypes: true, encoding: "latin1" });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const raw: RawName = entry.name;
    // That something is still being written has to be seen in the copy, too.
    if (isIgnored(raw) && !isUnfinished(raw)) continue;
    if (entry.isFile()) whole.update(`${raw} ${await copyFile(within(from, raw), within(to, raw))}\n`, "latin1");
    else await mkdir(within(to, raw), { mode: 0o700 });
  }
  await syncFolder(to);
  return whole.digest("hex");
}

/** Copies a file and flushes it; what was read must be what is read a second time, and what is on the disk. Its SHA-256. */
async function copyFile(from: string | Buffer, to: string | Buffer): Promise<string> {
  const source = await open(from as string, READ).catch((error: unknown) => {
    // Neither waited for nor opened: it is found to be no file at the next look.
    throw errnoOf(error) === "ELOOP" || errnoOf(error) === "ENXIO" ? changed() : error;
  });
  try {
    if (!(await source.stat()).isFile()) throw changed();
    const target = await open(to, "wx+", 0o600);
    try {
      const sha256 = await pour(source, target);
      await target.sync();
      if ((await pour(source)) !== sha256 || (await pour(target)) !== sha256) throw changed();
      return sha256;
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/** Reads a file from its beginning to its end, and writes it to another one. The SHA-256 of what was read. */
async function pour(source: FileHandle, target?: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  for (let at = 0; ;) {
    const { bytesRead } = await source.read(block, 0, BLOCK_BYTES, at).catch((cause: unknown) => {
      // A bad place on its disk is this file's own, and keeps nobody else out.
      throw held("it cannot be read", cause);
    });
    if (bytesRead === 0) return hash.digest("hex");
    const part = block.subarray(0, bytesRead);
    hash.update(part);
    for (let written = 0; target && written < bytesRead;) {
      written += (await target.write(part, written, bytesRead - written, at + written)).bytesWritten;
    }
    at += bytesRead;
  }
}

/** Somebody is at work on it. */
function changed(): Error {
  return held("it changed while it was copied");
}

/** It is looked at again later, ever more rarely. */
function held(why: string, cause?: unknown): Error {
  return Object.assign(new Error(why, { cause }), { code: "EBUSY" });
}
