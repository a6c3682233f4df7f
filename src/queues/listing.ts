import type { Redis } from "ioredis";
import { PermanentError } from "../core/errors.ts";
import { GroupPlace, memberIds } from "../core/group.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import { PHASES } from "../core/status.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import { type Group, GROUPS, groupOf, type Keys } from "./keys.ts";
import type { Page } from "./pipeline-types.ts";
import type { Store } from "./store.ts";

interface Parts {
  redis: Redis;
  keys: Keys;
  store: Store;
}

interface Wanted {
  state?: string;
  reference?: string;
  tenant?: string;
  group?: RequestId;
}

/** Records looked at for one page at the most: a rare state in a huge backlog gives short pages, not slow ones. */
const LOOK_AT_MOST = 2_000;

/**
 * Requests, newest first. The cursor names the last one seen (creation time and id), so that a page neither repeats
 * nor skips what is there all the time. Throws PermanentError "bad-cursor", "bad-state".
 */
export async function listRequests(
  { redis, keys, store }: Parts & { now?: () => number },
  { state, reference, tenant, group, limit, cursor }: Wanted & { limit: number; cursor?: string },
): Promise<Page> {
  if (state !== undefined && !(PHASES as readonly string[]).includes(state)) {
    throw new PermanentError(`There is no state "${state.slice(0, 20)}"; there are ${PHASES.join(", ")}`, {
      code: "bad-state",
    });
  }
  const after = cursor === undefined ? undefined : readCursor(cursor);
  const isWanted = ({ phase, facts }: SignRequest) =>
    (state === undefined || phase === state) &&
    (tenant === undefined || (facts["tenant"] ?? DEFAULT_TENANT) === tenant);
  if (group !== undefined) {
    const fits = (record: SignRequest) =>
      (reference === undefined || record.reference === reference) && isWanted(record);
    return pageOf(await membersOf(store, group), fits, limit, after);
  }
  if (reference !== undefined) {
    const records = await store.readMany(await redis.smembers(keys.reference(reference)));
    return pageOf(records, (record) => record.reference === reference && isWanted(record), limit, after);
  }

  const groups = state === undefined ? GROUPS : [groupOf(state as SignRequest["phase"])];
  const items: SignRequest[] = [];
  let last = after;
  let looked = 0;
  while (items.length < limit && looked < LOOK_AT_MOST) {
    const page = await newestOf(store, groups, last, limit);
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
