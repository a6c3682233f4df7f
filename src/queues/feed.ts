import type { Redis } from "ioredis";
import { isLater } from "../core/feed-id.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import type { Keys } from "./keys.ts";
import type { Store } from "./store.ts";

/** Changes read at once. */
const PAGE = 200;
/** A read waits this long for a change. */
const BLOCK_MS = 10_000;
const ANSWER_MS = 5_000;
const AGAIN_MS = 500;

/** That a request changed. */
export interface FeedEntry {
  /** Names the change; later ones are greater (`isLater`). */
  id: string;
  requestId: RequestId;
  event: string;
  stage: string;
  phase: string;
  atMs: number;
  /** The request as it was when the change was read: it may have changed again. */
  request: SignRequest;
}

/** What is said of changes after one, and whether those are all: older ones are not kept for ever. */
export interface Backlog {
  entries: FeedEntry[];
  isWhole: boolean;
  /** Where to go on; undefined when that was all. */
  next: string | undefined;
}

export interface Feed {
  /** Hears of every change from now on, of all processes, in order. Some from just before may come first. */
  follow(listener: (entries: readonly FeedEntry[]) => void): Promise<() => void>;
  /** The next changes after the one with this id, the oldest first; none when there are no more. */
  since(id: string): Promise<Backlog>;
  close(): void;
}

/** What is put into the feed for a change, and read there again. */
export function toFeedText(id: RequestId, event: string, stage: string, phase: string, atMs: number): string {
  return [id, event, stage, phase, atMs].join("|");
}

type Raw = [id: string, fields: string[]];

/**
 * Tells of changes as they happen: the stream in Redis that every change of a record is put into with it. It is read once
 * for all who listen here, over a connection of its own, and only while somebody does. The stream keeps the last ten
 * thousand or so. It is no record: whoever misses one asks the record.
 */
export function createFeed({ redis, keys, store }: { redis: Redis; keys: Keys; store: Pick<Store, "readMany"> }): Feed {
  const listeners = new Set<(entries: readonly FeedEntry[]) => void>();
  let reader: Redis | undefined;
  let starting: Promise<void> | undefined;

  async function toEntries(raw: readonly Raw[]): Promise<FeedEntry[]> {
    const read = raw.flatMap(([id, fields]) => {
      const [requestId = "", event = "", stage = "", phase = "", at = ""] = (fields[1] ?? "").split("|");
      return [{ id, requestId, event, stage, phase, atMs: Number(at) }];
    });
    const records = await store.readMany([...new Set(read.map(({ requestId }) => requestId))]);
    const byId = new Map(records.map((record) => [record.id, record]));
    return read.flatMap((entry) => {
      const request = byId.get(entry.requestId);
      return request ? [{ ...entry, request }] : [];
    });
  }

  /** Reads on until nobody listens any more. What cannot be read now is read later: the place is kept. */
  async function run(connection: Redis, from: string): Promise<void> {
    let last = from;
    while (reader === connection) {
      try {
        const answer = await connection.xread("COUNT", PAGE, "BLOCK", BLOCK_MS, "STREAMS", keys.feed, last);
        const raw = (answer?.[0]?.[1] ?? []) as Raw[];
        if (raw.length === 0) continue;
        const entries = await toEntries(raw);
        last = raw.at(-1)?.[0] ?? last;
        for (const listener of listeners) listener(entries);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS).unref());
      }
    }
  }

  async function start(): Promise<void> {
    const newest = (await redis.xrevrange(keys.feed, "+", "-", "COUNT", 1)) as Raw[];
    if (listeners.size === 0) return; // whoever asked has gone meanwhile
    const connection = redis.duplicate({ maxRetriesPerRequest: null, commandTimeout: BLOCK_MS + ANSWER_MS });
    connection.on("error", () => {}); // the connection it was made from tells of an outage
    reader = connection;
    void run(connection, newest[0]?.[0] ?? "0-0");
  }

  function stop(): void {
    reader?.disconnect();
    reader = undefined;
    starting = undefined;
  }

  return {
    async follow(listener) {
      listeners.add(listener);
      try {
        await (starting ??= start());
      } catch (error) {
        listeners.delete(listener);
        starting = undefined;
        throw error;
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) stop();
      };
    },

    async since(id) {
      const [[oldest], raw] = (await Promise.all([
        redis.xrange(keys.feed, "-", "+", "COUNT", 1),
        redis.xrange(keys.feed, `(${id}`, "+", "COUNT", PAGE),
      ])) as [Raw[], Raw[]];
      const isWhole = oldest !== undefined && !isLater(oldest[0], id);
      return { entries: await toEntries(raw), isWhole, next: raw.at(-1)?.[0] };
    },

    close() {
      listeners.clear();
      stop();
    },
  };
}
