import { type Dir } from "node:fs";
import { lstat, opendir, readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { RequestId, type SignRequest, StoredDocument } from "../core/request.ts";
import { FormatFact } from "../core/signing.ts";
import type { Documents } from "./documents.ts";

/** What a crash left half done is nobody's after this, in milliseconds. */
const STALE_MS = 24 * 3_600_000;
/** Folders looked at in one round; of those with results a part is enough, since nobody waits for what may go there. */
const ROUND_MOST = 1_000;
const SIGNED_SHARE = 1 / 10;
const RECORDS_AT_ONCE = 100;
/** A folder with this in it is the inbox's, which looks after it itself. */
const CLAIM = "claim.json";
/** Nobody can take these up again. */
const OVER: ReadonlySet<string> = new Set(["done", "refused", "cancelled"]);

/** What a round did. */
export interface Swept {
  partials: number;
  uploads: number;
  archived: number;
  removed: number;
}

/** Removes partial files that a crash left in a folder: ours by their names, and a day old. How many. */
export async function removeStale(dir: string, now = Date.now()): Promise<number> {
  let removed = 0;
  for (const name of await readdir(dir).catch(() => [])) {
    if (!/^\.[\w-]{12}\.part$/.test(name)) continue;
    const found = await stat(join(dir, name)).catch(() => undefined);
    if (!found || now - found.mtimeMs < STALE_MS) continue;
    await unlink(join(dir, name)).catch(() => {});
    removed += 1;
  }
  return removed;
}

/**
 * Keeps the folders of DATA_DIR tidy, a bounded number of them in each round; the next round goes on where the last one
 * stopped, and a pass that is through begins anew with the next.
 *
 * - `signed/<id>/`: partial files that a crash left, a day old.
 * - `.work/<id>/`: an upload that was cut off before it was accepted, a day old, goes, when no record is there. The
 *   originals of requests from the API that are done go to the archive; of those that were refused or cancelled, which
 *   nobody can take up again and whose senders have them, they go. Everything else stays, whatever it is: above all a
 *   folder without a record that does not say of itself that it is an upload, since the records may be those of a
 *   wrong, or an older, Redis.
 */
export function createSweeper({
  signedDir,
  archiveDir,
  documents,
  readMany,
  now = Date.now,
}: {
  signedDir: string;
  archiveDir: string;
  documents: Documents;
  /** Records of these ids; those that are not there are left out. Throws when that cannot be told. */
  readMany: (ids: RequestId[]) => Promise<SignRequest[]>;
  now?: () => number;
}) {
  const signed = createWalk(signedDir);
  const work = createWalk(documents.dir);

  async function sweepWork(ids: RequestId[], swept: Swept): Promise<void> {
    const found = new Map((await readMany(ids)).map((request) => [request.id, request]));
    for (const id of ids) {
      const request = found.get(id);
      if (!request) {
        const begunMs = await documents.uploadingSince(id);
        if (begunMs === undefined || now() - begunMs < STALE_MS) continue;
        await documents.remove(id);
        swept.uploads += 1;
      } else if (request.source !== "inbox") await settle(request, swept);
    }
  }

  async function settle({ id, phase, facts }: SignRequest, swept: Swept): Promise<void> {
    // The disk is asked only about what is over: a hundred thousand that wait cost no look at it.
    if (!OVER.has(phase) || (await isThere(join(documents.folder(id), CLAIM)))) return;
    if (phase === "done") {
      const format = FormatFact.parse(facts["format"]);
      await documents.archive(id, StoredDocument.array().parse(facts["documents"]), { archive: archiveDir, format });
      swept.archived += 1;
    } else {
      await documents.remove(id);
      swept.removed += 1;
    }
  }

  return {
    /** One round. Throws what the disk or Redis says; the next round tries again. */
    async round(most = ROUND_MOST): Promise<Swept> {
      const swept: Swept = { partials: 0, uploads: 0, archived: 0, removed: 0 };
      const signedMost = Math.ceil(most * SIGNED_SHARE);
      for (const name of await signed.next(signedMost))
        swept.partials += await removeStale(join(signedDir, name), now());
      const ids = await work.next(most);
      for (let n = 0; n < ids.length; n += RECORDS_AT_ONCE) await sweepWork(ids.slice(n, n + RECORDS_AT_ONCE), swept);
      return swept;
    },

    async stop(): Promise<void> {
      await Promise.all([signed.stop(), work.stop()]);
    },
  };
}

/** The folders of requests in a folder, some at a time. */
function createWalk(dir: string) {
  let open: Dir | undefined;
  async function stop(): Promise<void> {
    const was = open;
    open = undefined;
    await was?.close();
  }
  return {
    /** Up to `most`; fewer at the end of a pass. */
    async next(most: number): Promise<RequestId[]> {
      open ??= await opendir(dir);
      const names: RequestId[] = [];
      while (names.length < most) {
        const entry = await open.read();
        if (!entry) {
          await stop();
          break;
        }
        if (entry.isDirectory() && RequestId.safeParse(entry.name).success) names.push(entry.name);
      }
      return names;
    },
    stop,
  };
}

async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}
