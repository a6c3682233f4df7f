import type { Redis } from "ioredis";
import type { RequestId } from "../core/request.ts";
import type { Keys } from "./keys.ts";

/** A request_pk that nobody has is forgotten after this. */
const KEPT_MS = 30 * 60_000;
/** More than this at once is a flood, not news. */
const MOST = 1_000;

/** A request_pk that a webhook spoke of and that no request of ours has. */
export interface Stranger {
  requestPk: number;
  /** When a webhook first spoke of it, in milliseconds since the epoch, by the clock of the host that heard it. */
  heardMs: number;
  /** Fingerprint of the person it is about, once it was read at the provider. */
  print: string | undefined;
}

/** A request whose creation may have worked unheard. */
export interface Suspect {
  id: RequestId;
  /** Fingerprint of the person it is about. */
  print: string;
  /** When the call was first about to leave: what was heard of before is not its doing. */
  sinceMs: number;
}

export type Strangers = ReturnType<typeof createStrangers>;

/**
 * The creation of a request can work without our hearing of it. The provider has no search, so the only trace of such
 * an orphan is its webhook: a request_pk that is nobody's. These are kept for a while, next to the requests whose
 * creation is unheard of.
 */
export function createStrangers({ redis, keys, now = Date.now }: { redis: Redis; keys: Keys; now?: () => number }) {
  /** All that are kept, with the request that has them or is about to, where there is one. */
  async function all(): Promise<(Stranger & { owner: RequestId | undefined })[]> {
    const flat = await redis.zrangebyscore(keys.strangers, now() - KEPT_MS, "+inf", "WITHSCORES");
    const pks = flat.filter((_, i) => i % 2 === 0);
    const printed = await redis.hkeys(keys.strangerPrints);
    const old = printed.filter((pk) => !pks.includes(pk));
    if (old.length > 0) await redis.hdel(keys.strangerPrints, ...old);
    if (pks.length === 0) return [];
    const [owners, prints] = await Promise.all([
      redis.hmget(keys.pks, ...pks),
      redis.hmget(keys.strangerPrints, ...pks),
    ]);
    return pks.map((pk, i) => ({
      requestPk: Number(pk),
      heardMs: Number(flat[2 * i + 1]),
      print: prints[i] ?? undefined,
      owner: owners[i] ?? undefined,
    }));
  }

  return {
    all,
    /** Notes a stranger. False when it is known already or there are too many. */
    async add(requestPk: number): Promise<boolean> {
      await redis.zremrangebyscore(keys.strangers, "-inf", now() - KEPT_MS);
      if ((await redis.zcard(keys.strangers)) >= MOST) return false;
      return Number(await redis.zadd(keys.strangers, "NX", now(), String(requestPk))) === 1;
    },
    /** Those that nobody has: the creation of others was heard of meanwhile. For `id` also the one that it has claimed. */
    async list(id?: RequestId): Promise<Stranger[]> {
      const free = (await all()).filter(({ owner }) => owner === undefined || owner === id);
      return free.map(({ requestPk, heardMs, print }) => ({ requestPk, heardMs, print }));
    },
    /** Makes the stranger `id`'s. False when another request was faster: of two for one person, only one may have it. */
    async claim(requestPk: number, id: RequestId): Promise<boolean> {
      if (Number(await redis.hsetnx(keys.pks, String(requestPk), id)) === 1) return true;
      return (await redis.hget(keys.pks, String(requestPk))) === id;
    },
    /** The request that has a request_pk, or is about to. */
    async ownerOf(requestPk: number): Promise<RequestId | undefined> {
      return (await redis.hget(keys.pks, String(requestPk))) ?? undefined;
    },
    /** Whoever had it has it no more. */
    async disown(requestPk: number): Promise<void> {
      await redis.hdel(keys.pks, String(requestPk));
    },
    /** The fingerprint of the person that it is about, once somebody has read it. */
    async printOf(requestPk: number): Promise<string | undefined> {
      return (await redis.hget(keys.strangerPrints, String(requestPk))) ?? undefined;
    },
    async keepPrint(requestPk: number, print: string): Promise<void> {
      await redis.hset(keys.strangerPrints, String(requestPk), print);
    },
    /** It is over at the provider: nobody has it, and nobody is to have it. */
    async drop(requestPk: number): Promise<void> {
      await redis.zrem(keys.strangers, String(requestPk));
      await redis.hdel(keys.strangerPrints, String(requestPk));
      await redis.hdel(keys.pks, String(requestPk));
    },
    /** Remembers that this request may have an orphan, until `untilMs`. Of several creations the first one counts. */
    async suspect({ id, print, sinceMs }: Suspect, untilMs: number): Promise<void> {
      await forgetOld();
      const before = toSuspect(id, (await redis.hget(keys.suspectPrints, id)) ?? undefined);
      const firstMs = Math.min(sinceMs, before?.sinceMs ?? sinceMs);
      await redis.hset(keys.suspectPrints, id, `${firstMs}|${print}`);
      await redis.zadd(keys.suspects, untilMs, id);
    },
    /** Requests that may have an orphan. */
    async suspects(): Promise<Suspect[]> {
      await forgetOld();
      const prints = await redis.hgetall(keys.suspectPrints);
      return Object.entries(prints).flatMap(([id, text]) => toSuspect(id, text) ?? []);
    },
  };

  async function forgetOld(): Promise<void> {
    const old = await redis.zrangebyscore(keys.suspects, "-inf", now());
    if (old.length === 0) return;
    await redis.hdel(keys.suspectPrints, ...old);
    await redis.zrem(keys.suspects, ...old);
  }
}

function toSuspect(id: RequestId, text: string | undefined): Suspect | undefined {
  const [, since, print] = /^(\d+)\|(.*)$/s.exec(text ?? "") ?? [];
  return since === undefined || print === undefined ? undefined : { id, print, sinceMs: Number(since) };
}
