import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { BatchId } from "../../core/batch.ts";
import { isFailure } from "../../core/errors.ts";
import type { Log } from "../../core/stage.ts";
import { makeFolder, replaceDurably } from "../../files/durable.ts";
import { textOf } from "../batch/bring.ts";
import { type BatchDoor, isOver } from "../batch/door.ts";
import type { RowResult } from "../batch/results.ts";
import { errnoOf } from "./look.ts";
import type { RawName } from "./names.ts";
import { codeOf } from "./pending.ts";

const EVERY_MS = 60_000;
/** Batches that are looked at in one round; the next one goes on. */
const ROUND_MOST = 200;
const Ways = z.array(z.string());

/**
 * Keeps in mind where an inbox of its own was given the results of batches, and renews these when somebody has had a batch
 * tried again: whoever feeds it may not reach the share. A batch whose rows were erased changes no more, and is forgotten.
 */
export function createRenewal({
  dir,
  door,
  readResults,
  bring,
  log,
  now,
}: {
  /** Where that is kept: in DATA_DIR, since the share tells of nothing but files. */
  dir: string;
  door: Pick<BatchDoor, "find" | "get" | "rows" | "results">;
  /** What was brought, by the folders that led to it; undefined where nothing is any more. */
  readResults: (id: BatchId, way: RawName) => Promise<Buffer | undefined>;
  bring: (id: BatchId, way: RawName, items: readonly RowResult[]) => Promise<void>;
  log: Log;
  now: () => number;
}) {
  const pathOf = (id: BatchId) => join(dir, `${id}.json`);
  /** Of each batch, the version at which all was as it should be. */
  const looked = new Map<BatchId, number>();
  let lookedMs = Number.NEGATIVE_INFINITY;
  let next = 0;

  async function waysOf(id: BatchId): Promise<RawName[]> {
    try {
      return Ways.parse(JSON.parse(await readFile(pathOf(id), "utf8")));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return [];
      throw error;
    }
  }

  async function forget(id: BatchId): Promise<void> {
    looked.delete(id);
    await rm(pathOf(id), { force: true });
  }

  async function renew(id: BatchId): Promise<void> {
    const found = await door.find(id);
    if (!found) return await forget(id);
    if (looked.get(id) === found.version) return;
    const standing = await door.get(id);
    if (!isOver(standing)) return;
    const { version, erasedMs } = standing.record;
    const current = Buffer.from(await textOf(await door.results(id, "results.json")));
    for (const way of await waysOf(id)) {
      const there = await readResults(id, way);
      // What somebody has taken away is not brought a second time.
      if (!there || there.equals(current)) continue;
      const { items } = await door.rows(id, { limit: Number.MAX_SAFE_INTEGER });
      await bring(id, way, items);
      log.info({ batch: id }, "results of a batch renewed");
    }
    looked.set(id, version);
    if (erasedMs !== undefined) await forget(id);
  }

  async function idsNoted(): Promise<BatchId[]> {
    const names = await readdir(dir).catch((error: unknown) => {
      if (errnoOf(error) === "ENOENT") return [];
      throw error;
    });
    return names.flatMap((name) => BatchId.safeParse(name.replace(/\.json$/, "")).data ?? []).sort();
  }

  return {
    /** Notes durably that results are about to be brought there. Safe to repeat. */
    async note(id: BatchId, way: RawName): Promise<void> {
      const ways = await waysOf(id);
      if (ways.includes(way)) return;
      await makeFolder(dir);
      await replaceDurably(pathOf(id), JSON.stringify([...ways, way]));
    },

    /** Looks, once a minute, whether results have become old. */
    async poll(): Promise<void> {
      if (now() - lookedMs < EVERY_MS) return;
      lookedMs = now();
      const ids = await idsNoted();
      if (next >= ids.length) next = 0;
      const round = ids.slice(next, next + ROUND_MOST);
      next += ROUND_MOST;
      for (const id of round) {
        try {
          await renew(id);
        } catch (error) {
          if (isFailure(error, "no-such-batch")) continue;
          log.warn({ batch: id, code: codeOf(error) }, "results of a batch not renewed");
        }
      }
    },
  };
}
