import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../../files/durable.ts";
import { type Claim, type Claims, type Note, PLACES } from "./claim.ts";
import { errnoOf } from "./look.ts";
import { folderOf, type RawName, toPath, toText, withCounter, withEnding } from "./names.ts";
import type { Notes } from "./notes.ts";
import { copyTo, find, isPartial, makeBelow, moveTo, type Path, type Placed, shareTo } from "./place.ts";

export interface Aside {
  where: "failed" | "duplicates";
  note: Note;
  /** The originals stay in .work as well, because the request can be retried. */
  keep: boolean;
}

/** A folder of ten thousand files with the same name is not what this is for. */
const MOST_TWINS = 10_000;

export type SetAside = ReturnType<typeof createSetAside>;

/**
 * Gives files back to the person who dropped them, with a note that says why. Never overwrites; a name that is taken
 * gets a counter. Where it goes is written down before it goes, so that a crash in between is finished later.
 */
export function createSetAside({
  folders,
  claims,
  notes,
}: {
  folders: { failed: string; duplicates: string };
  claims: Claims;
  notes: Notes;
}) {
  async function setAside(claim: Claim, { where, note, keep }: Aside): Promise<void> {
    const before = claim.aside;
    const route = toText(folderOf(claim.raw));
    await makeBelow(folders[where], route, 0o770);
    for (let n = 1; n <= MOST_TWINS; n++) {
      // The place it had before, when it was given back for an earlier attempt.
      const raw = n === 1 && before?.where === where ? before.raw : withCounter(claim.raw, n);
      if (raw !== before?.raw && (await isTaken(where, raw, claim))) continue;
      claim.aside = { where, raw, keep, note, isUnderWay: true };
      await claims.save(claim);
      if ((await place(claim, folders[where], raw, keep)) === "taken") continue;
      await notes.write(claim.aside);
      await syncFolder(join(folders[where], route));
      delete claim.aside.isUnderWay;
      if (keep) await claims.save(claim);
      else claims.finish(claim);
      return;
    }
    throw new Error("too many files of the same name are set aside");
  }

  async function isTaken(where: Aside["where"], raw: RawName, { sidecar }: Claim): Promise<boolean> {
    const names = sidecar === undefined ? [raw] : [raw, sidecarOf(raw)];
    const found = await Promise.all(names.map((name) => find(toPath(folders[where], name))));
    return found.some((one) => one !== undefined);
  }

  async function place(claim: Claim, to: string, raw: RawName, keep: boolean): Promise<Placed> {
    if (claim.form === "folder") return await placeFolder(claim, toPath(to, raw), keep);
    const source = claims.at(claim.id, claim.form === "special" ? PLACES.special : "1.pdf");
    const placed = await (keep ? shareTo(source, toPath(to, raw)) : moveTo(source, toPath(to, raw)));
    if (placed === "taken") return "taken";
    const sidecar = claims.at(claim.id, PLACES.sidecar);
    if (keep) await copyTo(sidecar, toPath(to, sidecarOf(raw)));
    // Its name was free a moment ago. Should somebody have been that fast, it is kept under another one.
    else for (let n = 1; (await moveTo(sidecar, toPath(to, withCounter(sidecarOf(raw), n)))) === "taken"; n++);
    return placed;
  }

  async function placeFolder(claim: Claim, target: Path, keep: boolean): Promise<Placed> {
    const folder = claims.at(claim.id, PLACES.folder);
    if (keep) {
      await makeOne(target);
      // What a crash left of an earlier try would keep the folder from being taken when it is put back.
      for (const name of await readdir(target)) if (isPartial(name)) await rm(within(target, name), { force: true });
      for (const { raw, as } of claim.parts) await shareTo(claims.at(claim.id, as), within(target, raw));
      for (const name of await readdir(folder, { encoding: "latin1" }).catch(() => [])) {
        await giveCopy(toPath(folder, name), within(target, name));
      }
      return "placed";
    }
    // Everything back under its own name, then the folder as a whole.
    const rest = await Promise.all([folder, ...claim.parts.map(({ as }) => claims.at(claim.id, as))].map(find));
    if (rest.every((one) => one === undefined)) return "missing";
    await makeOne(folder);
    for (const { raw, as } of claim.parts) await moveTo(claims.at(claim.id, as), toPath(folder, raw));
    return await moveTo(folder, target);
  }

  return setAside;
}

/** Gives back a copy of a file, and what cannot be copied itself: folders, and what may not be read. */
async function giveCopy(from: Path, to: Path): Promise<void> {
  try {
    if ((await find(from))?.isFile()) await copyTo(from, to);
    else await moveTo(from, to);
  } catch (error) {
    if (errnoOf(error) !== "EACCES" && errnoOf(error) !== "EPERM") throw error;
    await moveTo(from, to);
  }
}

/** Makes a folder where its parent has to be: on a disk that has gone away nothing is made. There already is fine. */
export async function makeOne(folder: Path): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}

/** The name of the sidecar of a file that was set aside as `raw`. */
export function sidecarOf(raw: RawName): RawName {
  return withEnding(raw, ".json");
}

export function within(folder: Path, raw: RawName): Path {
  return Buffer.concat([Buffer.from(folder), Buffer.from(`/${raw}`, "latin1")]);
}
