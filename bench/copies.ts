import { randomBytes } from "node:crypto";
import type { Redis } from "ioredis";
import { lookAt } from "../src/core/backoff.ts";
import { toRequestId } from "../src/core/request.ts";

const DAY_MS = 86_400_000;
const AT_ONCE = 500;
/** BullMQ keeps delayed jobs by time, times this, plus a counter. @source BullMQ 6, addDelayedJob */
const DELAYED_FACTOR = 4_096;

/** Everything in Redis about one waiting request. */
interface Kept {
  id: string;
  pk: string;
  record: string;
  history: string[];
  vault: Record<string, string>;
  job: Record<string, string>;
}

export interface Place {
  redis: Redis;
  prefix: string;
}

/** What a request that waits for its signer has left in Redis. */
export async function readWaiting({ redis, prefix }: Place, id: string): Promise<Kept> {
  const record = await redis.get(`${prefix}:request:${id}`);
  const pk = /"requestPk":(\d+)/.exec(record ?? "")?.[1];
  if (!record || pk === undefined) throw new Error(`${id} is not waiting`);
  return {
    id,
    pk,
    record,
    history: await redis.lrange(`${prefix}:history:${id}`, 0, -1),
    vault: await redis.hgetall(`${prefix}:vault:${id}`),
    job: await redis.hgetall(`${prefix}:queue:identify:${id}`),
  };
}

/**
 * Writes `count` more requests that wait as `kept` does, as they are a day later: the next look at each comes
 * within `pauseMs`, the pause that they have come to by then. Only who signs cannot be read, as it is encrypted for `kept`; nobody asks
 * while they wait.
 */
export async function addCopies(place: Place, kept: Kept, count: number, pauseMs: number): Promise<void> {
  for (let n = 0; n < count; n += AT_ONCE) {
    const writing = place.redis.pipeline();
    for (let i = n; i < Math.min(n + AT_ONCE, count); i++) addCopy(writing, place.prefix, kept, i, pauseMs);
    for (const [error] of (await writing.exec()) ?? []) if (error) throw error;
  }
}

function addCopy(redis: ReturnType<Redis["pipeline"]>, prefix: string, kept: Kept, n: number, pauseMs: number): void {
  const id = toRequestId(randomBytes(16));
  const pk = String(randomBytes(6).readUIntBE(0, 6) + 10_000_000);
  const adapt = (text: string) => text.replaceAll(kept.id, id).replaceAll(kept.pk, pk);
  const [version, stage, phase, nudged, updated, ...json] = adapt(kept.record).split("|");
  const rest = JSON.parse(json.join("|")) as { createdMs: number; waiting: { sinceMs: number; untilMs: number } };
  rest.createdMs -= DAY_MS;
  rest.waiting.sinceMs -= DAY_MS;
  rest.waiting.untilMs -= DAY_MS;
  const parkedMs = Date.now() - Math.floor(Math.random() * pauseMs);
  const lookMs = lookAt(parkedMs, pauseMs);
  const head = [version, stage, phase, nudged, Number(updated) - DAY_MS];
  redis.set(`${prefix}:request:${id}`, [...head, JSON.stringify(rest)].join("|"));
  redis.rpush(`${prefix}:history:${id}`, ...kept.history);
  redis.hset(`${prefix}:vault:${id}`, kept.vault);
  redis.set(`${prefix}:seen:${randomBytes(32).toString("base64url")}`, id, "PX", 90 * DAY_MS);
  redis.zadd(`${prefix}:due`, lookMs + 60_000, id);
  redis.zadd(`${prefix}:index:waiting`, rest.createdMs, id);
  redis.hset(`${prefix}:pks`, pk, id);
  const job = Object.fromEntries(Object.entries(kept.job).map(([field, value]) => [field, adapt(value)]));
  redis.hset(`${prefix}:queue:identify:${id}`, { ...job, delay: pauseMs });
  redis.zadd(`${prefix}:queue:identify:delayed`, lookMs * DELAYED_FACTOR + (n % DELAYED_FACTOR), id);
}
