import { constants } from "node:fs";
import { lstat, open as openFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { BatchId } from "../../core/batch.ts";
import { isFailure, PermanentError } from "../../core/errors.ts";
import type { InboxName, RequestId } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import { type Incoming, noSuchBatch, type ResultName } from "../../files/batches.ts";
import { hashFile } from "../../files/content.ts";
import { isDiskFailure, replaceDurably, syncFolder } from "../../files/durable.ts";
import { enclosuresNamed, excerptOf, toWord } from "../batch/again.ts";
import type { BatchFile } from "../batch/check.ts";
import { bringResults } from "../batch/bring.ts";
import { type Earlier, readEarlier } from "../batch/earlier.ts";
import { type BatchDoor, type BatchStanding, countsOf, isOver } from "../batch/door.ts";
import { type RowResult, toCsvOf } from "../batch/results.ts";
import { type Claim, type Claims, PLACES } from "./claim.ts";
import { type FolderNames, FOLDERS } from "./config.ts";
import { bringFile } from "./delivery.ts";
import type { Ends } from "./ends.ts";
import { isIgnored, isResultsName, isTableName, READY, REQUEST } from "./ignore.ts";
import { createInTurn } from "./in-turn.ts";
import { errnoOf } from "./look.ts";
import { folderOf as wayTo, inFolderOf, nameOf, type RawName, toPath, toShortHash, toText } from "./names.ts";
import { codeOf } from "./pending.ts";
import { copyTo, find, isPartial, makeBelow, moveTo, namesIn, type Path, shareTo } from "./place.ts";
import { frameOf, type Standing } from "./read-request.ts";
import type { StatusFile, StatusFiles } from "./status-file.ts";
import { createRenewal } from "./renewal.ts";
import { offRoute, type Reason } from "./unusable.ts";

/** What the inbox needs of batches. */
export type InboxBatches = Pick<
  BatchDoor,
  "idFor" | "find" | "get" | "begin" | "take" | "rows" | "results" | "retry" | "limits"
>;

const AGAIN = "Correct it, then drop the folder into the inbox again.";
const RETRY_HINT = "To hand rows in anew, drop the folder with their table.";
const RETRY_HINTS: Record<string, string> = {
  "not-possible-now": "Drop it again when all rows are over: its status, or signpipe batch show, says so.",
};
const PRIORITY = 5;
const NAMED = 3;
const PROBLEMS_TOLD = 20;
const NAME_LETTERS = 200;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

type Told = NonNullable<StatusFile["batch"]>;

/** A folder whose batch is not over. */
interface Open {
  claim: Claim;
  id: BatchId;
  problems: NonNullable<Told["problems"]>;
  /** What the status was made from that was told last. */
  told: string;
}

export type BatchFolder = ReturnType<typeof createBatchFolder>;

/**
 * Folders with a table, batch.csv or batch.json, instead of a request.json: each becomes a batch, whose id follows from
 * that of its claim, and comes back when all of its rows are over. Every step can be repeated.
 */
export function createBatchFolder({
  door,
  claims,
  statusFiles,
  forgetFailure,
  dataDir,
  place,
  again,
  log,
  now,
}: {
  door: InboxBatches;
  claims: Claims;
  statusFiles: Pick<StatusFiles, "tellBatch" | "tellBatchDone">;
  forgetFailure: Ends["forgetFailure"];
  dataDir: string;
  /** The inbox that it comes from and goes back to, where that is not the one in DATA_DIR. */
  place?:
    | { name: InboxName; dir: string; places: FolderNames; standingOf: (raw: RawName) => Standing | undefined }
    | undefined;
  /** Has `take` called anew for a claim: its batch is over. */
  again: (claim: Claim) => void;
  log: Log;
  now: () => number;
}) {
  const open = new Map<RequestId, Open>();

  /** The table as it was handed in, whatever becomes of the folder. */
  const tableOf = (claim: Claim) => claims.at(claim.id, PLACES.table);
  const folderOf = (claim: Claim) => claims.at(claim.id, PLACES.folder);
  const { dir = dataDir, places = FOLDERS } = place ?? {};
  const by = place ? `inbox:${place.name}` : "inbox";
  /** Where results, and originals, of a batch go: from the folder that all of this is in. */
  const pathOf = (where: "signed" | "archive", way: RawName, id: BatchId) =>
    join(places[where], toText(inFolderOf(way, id)));
  /** One thing at a time with the results of a batch: two folders may want them at once, or be renewed meanwhile. */
  const inTurn = createInTurn();
  const renewal =
    place &&
    createRenewal({
      dir: join(dataDir, "batches", ".brought", place.name),
      door,
      readResults: (id, way) => readIfThere(join(dir, pathOf("signed", way, id), "results.json")),
      bring: (id, way, items) => inTurn(id, () => bringTo(id, way, items)),
      log,
      now,
    });

  async function isBatch(claim: Claim): Promise<boolean> {
    if (await resultsIn(claim)) return true;
    if (claim.form !== "folder") return false;
    if (await find(tableOf(claim))) return true;
    const names = await namesIn(folderOf(claim));
    return !names.includes(REQUEST) && names.some(isTableName);
  }

  /** The results of an earlier batch, when that is what was dropped: alone, or in a folder without a table. */
  async function resultsIn(claim: Claim): Promise<Path | undefined> {
    if (claim.form === "file") {
      const isAlone = claim.sidecar === undefined && isResultsName(claim.raw);
      return isAlone ? claims.at(claim.id, "1.pdf") : undefined;
    }
    if (claim.form !== "folder" || (await find(tableOf(claim)))) return undefined;
    const names = await namesIn(folderOf(claim));
    if (names.includes(REQUEST) || names.some(isTableName)) return undefined;
    // Of both, the one that no spreadsheet has changed.
    const found = names.filter(isResultsName).sort().at(-1);
    return found === undefined ? undefined : toPath(folderOf(claim), found);
  }

  /** Has what failed in an earlier batch tried again, and sees that through to its end. Why it is given back, if it is. */
  async function takeAgain(claim: Claim, path: Path): Promise<Reason | undefined> {
    let id: BatchId;
    if (!(await find(path))) {
      // A crash came when all was done but this.
      claims.finish(claim);
      return undefined;
    }
    try {
      if ((await lstat(path)).size > door.limits.maxTableBytes) throw tooLarge();
      id = (await readEarlier(await readFile(path))).batch;
      // Results lie in many places: what they bring may not become somebody else's.
      const { tenant } = place?.standingOf(claim.raw) ?? {};
      if (tenant !== undefined && (await door.get(id)).record.tenant !== tenant) throw noSuchBatch();
      await door.retry(id, by, { once: claim.id, mustBeOver: true });
    } catch (error) {
      if (!(error instanceof PermanentError) || isDiskFailure(error)) throw error;
      const why = error.message.replace(/[.\s]*$/, "");
      return { code: error.code, message: `${why}. ${RETRY_HINTS[error.code] ?? RETRY_HINT}` };
    }
    const standing = await door.get(id);
    if (!isOver(standing)) return await follow(claim, standing);
    open.delete(claim.id);
    const { items } = await door.rows(id, { limit: Number.MAX_SAFE_INTEGER });
    await bring(claim, id, items);
    await keepDropped(claim, pathOf("archive", wayTo(claim.raw), id), path);
    await tellDone(claim, standing);
    if (claim.form === "file") await rm(path, { force: true });
    claims.finish(claim);
    return undefined;
  }

  /** What was dropped says what was once; it is kept, as everything is that people drop. The results stay until the end. */
  async function keepDropped(claim: Claim, archive: string, path: Path): Promise<void> {
    const to = join(dir, archive, claim.id);
    await makeBelow(dir, join(archive, claim.id), place ? 0o750 : 0o700);
    if (claim.form === "file") {
      await shareTo(path, toPath(to, nameOf(claim.raw)));
    } else {
      for (const raw of await namesIn(folderOf(claim))) {
        const from = toPath(folderOf(claim), raw);
        if (isResultsName(raw)) await shareTo(from, toPath(to, raw));
        else await moveTo(from, toPath(to, raw));
      }
    }
    await syncFolder(to);
  }

  /** Makes it a batch, and sees it through to its end. Why it is to be given back, if it is. */
  async function take(claim: Claim): Promise<Reason | undefined> {
    const results = await resultsIn(claim);
    if (results) return await takeAgain(claim, results);
    const id = door.idFor(`inbox ${claim.id}`);
    if (!(await door.find(id))) {
      const reason = await handIn(claim, id);
      if (reason) return reason;
      log.info({ batch: id, name: toShortHash(claim.raw) }, "folder taken as a batch");
    }
    const standing = await door.get(id);
    return isOver(standing) ? await deliver(claim, standing) : await follow(claim, standing);
  }

  /** Keeps its status up to date until it is over. */
  async function follow(claim: Claim, standing: BatchStanding): Promise<undefined> {
    const { id } = standing.record;
    const { items } = await door.rows(id, { state: "rejected", limit: PROBLEMS_TOLD });
    const problems = items.map(({ row, reason = "" }) => ({ row, reason }));
    const one: Open = { claim, id, problems, told: "" };
    open.set(claim.id, one);
    await tell(one, standing);
    // A convenience: when all is delivered, it is done again.
    await forgetFailure(claim).catch(() => {});
    return undefined;
  }

  async function handIn(claim: Claim, id: BatchId): Promise<Reason | undefined> {
    const standing = place ? place.standingOf(claim.raw) : {};
    if (!standing) return offRoute(wayTo(claim.raw));
    const folder = folderOf(claim);
    const names = await namesIn(folder);
    const tables = names.filter(isTableName);
    if (tables.length > 1) {
      return { code: "table-repeated", message: `There are several tables in it: leave one there. ${AGAIN}` };
    }
    // A copy: a program that still has the folder's own open cannot change this one.
    if (!(await find(tableOf(claim)))) await copyTo(toPath(folder, tables[0] ?? ""), tableOf(claim));
    const { maxTableBytes } = door.limits;
    if ((await lstat(tableOf(claim))).size > maxTableBytes) {
      return {
        code: "table-unreadable",
        message: `Its table is larger than BATCH_MAX_TABLE_BYTES; split it, or have the operator raise that limit.`,
      };
    }
    const incoming = await door.begin(id);
    try {
      const files = await receive(folder, names, incoming);
      if (!Array.isArray(files)) return files;
      const table = await readFile(tableOf(claim));
      const name = toText(claim.raw).slice(0, NAME_LETTERS);
      const earlier = await doneBefore(folder, names);
      const { tenant } = standing;
      const frame = frameOf(standing);
      const wishes = { source: "inbox" as const, by, name, tenant, frame, priority: PRIORITY, canary: false, earlier };
      const taken = await door.take(id, incoming, { table, files }, wishes);
      if (taken.outcome !== "refused") return undefined;
      const results = await taken.results();
      await replaceDurably(join(folder, "results.csv"), toCsvOf(results));
      return { code: "no-good-row", message: `None of its rows can be submitted: ${firstOf(results)} ${AGAIN}` };
    } catch (error) {
      if (!(error instanceof PermanentError) || isDiskFailure(error)) throw error;
      return { code: error.code, message: `${error.message} ${AGAIN}` };
    } finally {
      await incoming.discard().catch(() => {}); // swept later
    }
  }

  /** What was done before, when the results of that were left with the table. */
  async function doneBefore(folder: string, names: readonly RawName[]): Promise<Earlier["done"]> {
    const done: Earlier["done"] = new Map();
    for (const raw of names.filter(isResultsName)) {
      const path = toPath(folder, raw);
      if ((await lstat(path)).size > door.limits.maxTableBytes) continue;
      try {
        const found = await readEarlier(await readFile(path));
        for (const [row, what] of found.done) done.set(row, what);
      } catch (error) {
        // Somebody's own file of this name says nothing of rows, as before there was any use for it.
        if (!isFailure(error, "results-unreadable")) throw error;
      }
    }
    return done;
  }

  /** Copies the files of the folder to their places in the batch. Or why it cannot be taken. */
  async function receive(folder: string, names: readonly RawName[], incoming: Incoming): Promise<BatchFile[] | Reason> {
    const files: BatchFile[] = [];
    let leftBytes = door.limits.maxBytes;
    for (const raw of names) {
      if (isOurs(raw) || isIgnored(raw)) continue;
      const path = toPath(folder, raw);
      const before = await lstat(path);
      if (!before.isFile()) continue;
      leftBytes -= before.size;
      if (leftBytes < 0) {
        const message =
          "Its files together are larger than BATCH_MAX_BYTES; split it, or have the operator raise that.";
        return { code: "file-too-large", message };
      }
      const n = files.length + 1;
      try {
        const file = await openFile(path, READ);
        const { sizeBytes, sha256 } = await incoming.receive(n, file.createReadStream(), door.limits.maxDocumentBytes);
        const after = await lstat(path);
        if (after.size !== sizeBytes || after.mtimeMs !== before.mtimeMs) {
          return {
            code: "file-changed",
            message: "A file was changed while it was taken; drop it into the inbox again.",
          };
        }
        files.push({ name: toText(raw), n, path: incoming.documentPath(n), sizeBytes, sha256 });
      } catch (error) {
        // Rows that name one which is empty, or too large, are told that it is not there.
        if (!isFailure(error, "file-empty") && !isFailure(error, "file-too-large")) throw error;
        await rm(incoming.documentPath(n), { force: true });
      }
    }
    return files;
  }

  /**
   * Brings the results to signed/<batch>, the originals of what is signed to archive/<batch>, and leaves in the folder what
   * is to come back: the rows that did not end well, as a table, with what came of them, and their files.
   */
  async function deliver(claim: Claim, standing: BatchStanding): Promise<Reason | undefined> {
    const { record } = standing;
    const { id } = record;
    open.delete(claim.id);
    const { items } = await door.rows(id, { limit: Number.MAX_SAFE_INTEGER });
    await bring(claim, id, items);
    const back = items.filter(({ state }) => state !== "done" && state !== "duplicate");
    const table = await readFile(tableOf(claim));
    const left = await excerptOf(table, new Set(back.map(({ row }) => row)));
    await removePartials(folderOf(claim));
    const names = await namesIn(folderOf(claim));
    const frame = frameOf(place?.standingOf(claim.raw) ?? {});
    const gone = await enclosuresNamed(table, (row) => !left.rows.has(row), frame);
    await putAway(claim, id, { names, stay: back.length > 0 ? left.words : new Set(), gone });
    if (back.length === 0) {
      await tellDone(claim, standing);
      claims.finish(claim);
      return undefined;
    }
    // Rows are named as they are in the table that lies beside.
    const results = back.map((one) => ({ ...one, row: left.rows.get(one.row) ?? one.row }));
    const own = names.find(isTableName) ?? "batch.csv";
    await replaceDurably(join(folderOf(claim), toText(own)), left.table);
    await replaceDurably(join(folderOf(claim), "results.csv"), toCsvOf(results));
    const message = `${back.length} of ${record.rows} rows are not signed, and are in its table: ${firstOf(results)} results.csv there says why of each; what is signed is in ${pathOf("signed", wayTo(claim.raw), id)}. ${AGAIN}`;
    return { code: "rows-not-signed", message };
  }

  async function bring(claim: Claim, id: BatchId, items: readonly RowResult[]): Promise<void> {
    const way = wayTo(claim.raw);
    await inTurn(id, async () => {
      await renewal?.note(id, way);
      await bringTo(id, way, items);
    });
  }

  async function bringTo(id: BatchId, way: RawName, items: readonly RowResult[]): Promise<void> {
    const to = join(dir, pathOf("signed", way, id));
    await makeBelow(dir, pathOf("signed", way, id), place ? 0o750 : 0o700);
    await removePartials(to);
    const results = (name: ResultName) => door.results(id, name);
    await bringResults(to, { dataDir, items, results, ...(place && { bring: (from, name) => copy(from, to, name) }) });
  }

  /** Another inbox, which may be on another disk, has a copy that was compared. */
  async function copy(from: string, to: string, name: string): Promise<void> {
    if (await find(from)) await bringFile(from, to, { name, sha256: (await hashFile(from)).sha256 });
  }

  /** What showed who the signers are of rows that do not come back is erased; everything else is kept. */
  async function putAway(
    claim: Claim,
    id: BatchId,
    { names, stay, gone }: { names: readonly RawName[]; stay: ReadonlySet<string>; gone: ReadonlySet<string> },
  ): Promise<void> {
    const to = join(dir, pathOf("archive", wayTo(claim.raw), id));
    await makeBelow(dir, pathOf("archive", wayTo(claim.raw), id), place ? 0o750 : 0o700);
    for (const raw of names) {
      const word = toWord(toText(raw));
      if (isOurs(raw) || stay.has(word)) continue;
      const from = toPath(folderOf(claim), raw);
      if (gone.has(word)) await rm(from, { force: true });
      else await moveTo(from, toPath(to, raw));
    }
    await syncFolder(to);
  }

  async function tell({ claim, problems }: Pick<Open, "claim" | "problems">, standing: BatchStanding): Promise<void> {
    const { record, progress } = standing;
    const state = record.state === "paused" ? "paused" : "running";
    const updatedMs = Math.max(record.updatedMs, progress?.atMs ?? 0);
    await statusFiles.tellBatch(claim, { state, batch: toTold(standing, problems), updatedMs });
  }

  /** All of it is where it belongs. */
  async function tellDone(claim: Claim, standing: BatchStanding): Promise<void> {
    const { id, updatedMs } = standing.record;
    const way = wayTo(claim.raw);
    const [signed, archive] = [pathOf("signed", way, id), pathOf("archive", way, id)];
    await statusFiles.tellBatchDone(claim, toTold(standing, []), { updatedMs, signed, archive });
    await forgetFailure(claim);
  }

  return {
    isBatch,
    take,

    /** Brings statuses up to date, has what is over delivered, and renews what has become old. */
    async poll(): Promise<void> {
      for (const one of [...open.values()]) {
        try {
          // Somebody else has served the inbox meanwhile, and seen it through.
          if (claims.read(one.claim.id) === undefined) {
            open.delete(one.claim.id);
            continue;
          }
          const standing = await door.get(one.id);
          if (isOver(standing)) {
            open.delete(one.claim.id);
            again(one.claim);
            continue;
          }
          const told = `${standing.record.version} ${standing.progress?.atMs ?? 0}`;
          if (told === one.told) continue;
          await tell(one, standing);
          one.told = told;
        } catch (error) {
          log.warn({ batch: one.id, code: codeOf(error) }, "status of a batch not brought up to date");
          if (!isFailure(error, "no-such-batch")) continue;
          // Somebody removed it: what of it is open or done is not done twice.
          open.delete(one.claim.id);
          again(one.claim);
        }
      }
      await renewal?.poll();
    },
  };
}

function tooLarge(): PermanentError {
  return new PermanentError("It is larger than BATCH_MAX_TABLE_BYTES", { code: "results-unreadable" });
}

function toTold(standing: BatchStanding, problems: NonNullable<Told["problems"]>): Told {
  const { id, rows } = standing.record;
  return { id, rows, counts: countsOf(standing), ...(problems.length > 0 && { problems }) };
}

/** The first rows, and what is the matter with them. */
function firstOf(results: readonly RowResult[]): string {
  const told = results.slice(0, NAMED).map(({ row, state, reason }) => {
    return `row ${row}: ${(reason ?? `it is ${state}`).replace(/[.\s]*$/, "")}`;
  });
  return `${told.join("; ")}${results.length > NAMED ? "; …" : ""}.`;
}

/** What is ours in a folder: neither to be signed, nor anybody's to be kept. */
function isOurs(raw: RawName): boolean {
  return isTableName(raw) || isResultsName(raw) || raw === READY;
}

/** What a crash left of files that were being written. */
async function removePartials(folder: string): Promise<void> {
  for (const name of await namesIn(folder)) if (isPartial(name)) await rm(join(folder, name), { force: true });
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
