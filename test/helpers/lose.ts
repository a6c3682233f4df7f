import { foldLines, type JournalLine } from "../../src/core/journal.ts";
import type { RequestId } from "../../src/core/request.ts";
import { groupOf } from "../../src/queues/keys.ts";
import type { House } from "./house.ts";

type Inside = Pick<House, "app">;

/** The journal's lines about a request, in order; waits for those that are still on their way to the disk. */
export async function linesOf({ app }: Inside, id: RequestId): Promise<JournalLine[]> {
  const mark = (await app.store.read(id))?.request.mark;
  for (let tries = 0; ; tries++) {
    const lines = await readLines(app, id);
    if (mark === undefined || lines.some((line) => line.mark === mark) || tries > 100) return lines;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function readLines(app: House["app"], id: RequestId): Promise<JournalLine[]> {
  const lines: JournalLine[] = [];
  await app.readJournalLines((line) => {
    if (line.request === id) lines.push(line);
  });
  return lines.sort((a, b) => a.version - b.version || a.atMs - b.atMs);
}

/** Has Redis forget all of a request that came after the first `kept` of its changes; with 0, everything. */
export async function forget(house: Inside, id: RequestId, kept: number): Promise<void> {
  const { redis, keys, store } = house.app;
  const lines = (await linesOf(house, id)).slice(0, kept);
  const version = lines.at(-1)?.version ?? 0;
  const now = await store.get(id);
  await redis
    .multi()
    .del(keys.request(id), keys.history(id), keys.vault(id))
    .zrem(keys.due, id)
    .zrem(keys.index(groupOf(now.phase)), id)
    .hdel(keys.pks, JSON.stringify(now.facts["requestPk"] ?? 0))
    .exec();
  const old = foldLines(lines);
  if (!old) return;
  const { stage, phase, updatedMs, ...rest } = old;
  await redis.set(keys.request(id), [version, stage, phase, 0, updatedMs, JSON.stringify(rest)].join("|"));
  await redis.zadd(keys.index(groupOf(phase)), old.createdMs, id);
}

/** Compares Redis with the whole journal, and puts back what it lost. How many requests. */
export async function mend({ app }: Inside): Promise<number> {
  return await app.recovery.mend(app.readJournalLines, 0);
}
