import type { Redis } from "ioredis";
import { PermanentError } from "../core/errors.ts";
import { batchOf } from "../core/batch.ts";
import { GroupPlace, memberIds } from "../core/group.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import { PHASES } from "../core/status.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import { type Group, GROUPS, groupOf, type Keys } from "./keys.ts";
import type { Page, Wanted } from "./pipeline-types.ts";
import type { Store } from "./store.ts";

interface Parts {
  redis: Redis;
  keys: Keys;
  store: Store;
}

/** Records looked at for one page at the most: a rare state in a huge backlog gives short pages, not slow ones. */
const LOOK_AT_MOST = 2_000;

/**
 * Requests, newest first. The cursor names the last one seen (creation time and id), so that a page neither repeats
 * nor skips what is there all the time. Throws PermanentError "bad-cursor", "bad-state".
 */
export async function listRequests(
  { redis, keys, store }: Parts,
  { limit, cursor, ...wanted }: Wanted & { limit: number; cursor?: string },
): Promise<Page> {
  const { state, reference, group, createdSinceMs = 0, createdUntilMs = Infinity } = wanted;
  if (state !== undefined && !(PHASES as readonly string[]).includes(state)) {
    throw new PermanentError(`There is no state "${state.slice(0, 20)}"; there are ${PHASES.join(", ")}`, {
      code: "bad-state",
    });
  }
  const after = beginAfter(cursor === undefined ? undefined : readCursor(cursor), createdUntilMs);
  const isWanted = (record: SignRequest) => fits(record, wanted) && record.createdMs >= createdSinceMs;
  if (group !== undefined) return pageOf(await membersOf(store, group), isWanted, limit, after);
  // A reference that very many share is no shortcut: their records would all be read for each page.
  if (reference !== undefined && (await redis.scard(keys.reference(reference))) <= LOOK_AT_MOST) {
    return pageOf(await store.readMany(await redis.smembers(keys.reference(reference))), isWanted, limit, after);
  }

  const groups = state === undefined ? GROUPS : [groupOf(state as SignRequest["phase"])];
  const items: SignRequest[] = [];
  let last = after;
  let looked = 0;
  while (items.length < limit && looked < LOOK_AT_MOST) {
    const newest = await newestOf(store, groups, last, limit);
    const page = newest.filter(({ createdMs }) => createdMs >= createdSinceMs);
    if (page.length === 0) return { items, next_cursor: undefined };
    looked += page.length;
    const records = new Map((await store.readMany(page.map(({ id }) => id))).map((record) => [record.id, record]));
    for (const entry of page) {
      last = entry;
      const record = records.get(entry.id);
      if (record && isWanted(record)) items.push(record);
      if (items.length === limit) break;
    }
  }
  return { items, next_cursor: last && writeCursor(last) };
}

/** Whether a record is one of those that are wanted; when it was made is not looked at. */
function fits(record: SignRequest, wanted: Wanted): boolean {
  const { state, workflow, stage, waitingFor, source, reference, tenant, batch } = wanted;
  const { facts, waiting, phase } = record;
  return (
    (state ?? phase) === phase &&
    (workflow ?? record.workflow) === record.workflow &&
    (stage ?? record.stage) === record.stage &&
    (source ?? record.source) === record.source &&
    (waitingFor === undefined || (phase === "waiting" && waiting?.for === waitingFor)) &&
    (reference === undefined || record.reference === reference) &&
    (tenant === undefined || (facts["tenant"] ?? DEFAULT_TENANT) === tenant) &&
    (batch === undefined || batchOf(record)?.id === batch)
  );
}

/** The entry after which a page begins: what the cursor names, or the time before which all of it was made. */
function beginAfter(cursor: Entry | undefined, untilMs: number): Entry | undefined {
  if (untilMs === Infinity) return cursor;
  const bound = { id: "", createdMs: untilMs };
  return cursor && isAfter(cursor, bound) ? cursor : bound;
}

type Entry = { id: RequestId; createdMs: number };

function isAfter(entry: Entry, than: Entry): boolean {
  return entry.createdMs < than.createdMs || (entry.createdMs === than.createdMs && entry.id < than.id);
}

async function newestOf(
  store: Store,
  groups: readonly Group[],
  after: Entry | undefined,
  limit: number,
): Promise<Entry[]> {
  // Redis orders equal scores by id, so reading from the cursor's time down and dropping what was seen is exact; a
  // page is widened until more than the dropped ones are there.
  const lists = await Promise.all(
    groups.map(async (group) => {
      for (let size = limit + 1; ; size *= 2) {
        const found = await store.newest(group, after?.createdMs ?? "+inf", size);
        const fresh = after ? found.filter((entry) => isAfter(entry, after)) : found;
        if (fresh.length > 0 || found.length < size) return fresh;
      }
    }),
  );
  return lists
    .flat()
    .sort((a, b) => (isAfter(a, b) ? 1 : -1))
    .slice(0, limit);
}

/** The requests of a group, by the id of its first; none when it is the id of something else. */
async function membersOf(store: Store, group: RequestId): Promise<SignRequest[]> {
  const [first] = await store.readMany([group]);
  const place = GroupPlace.safeParse(first?.facts["group"]);
  return place.success && place.data.id === group ? await store.readMany(memberIds(place.data)) : [];
}

/** A page of records that are all at hand. */
function pageOf(
  records: SignRequest[],
  isWanted: (record: SignRequest) => boolean,
  limit: number,
  after: Entry | undefined,
): Page {
  const fitting = records
    .filter((record) => isWanted(record) && (!after || isAfter(record, after)))
    .sort((a, b) => (isAfter(a, b) ? 1 : -1));
  const items = fitting.slice(0, limit);
  const last = items.at(-1);
  return { items, next_cursor: fitting.length > limit && last ? writeCursor(last) : undefined };
}

function writeCursor({ createdMs, id }: Entry): string {
  return Buffer.from(`${createdMs.toString(36)}.${id}`).toString("base64url");
}

function readCursor(cursor: string): Entry {
  const match = /^([0-9a-z]{1,11})\.(req-[0-9a-z]{26})$/.exec(Buffer.from(cursor, "base64url").toString());
  if (!match)
    throw new PermanentError("The cursor is not one that a page gave; leave it out to begin with the first page.", {
      code: "bad-cursor",
    });
  return { createdMs: Number.parseInt(match[1] ?? "", 36), id: match[2] ?? "" };
}
