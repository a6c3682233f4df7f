import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import type { CrashPoint } from "../core/crash-point.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { decodeLine, encodeLine, type HistoryLine } from "../core/history.ts";
import { changed, type Patch, RESTORER } from "../core/journal.ts";
import { doorOf, type RequestId, SignRequest } from "../core/request.ts";
import { randomText } from "../core/random.ts";
import { type Event, isEnd, move, phasesFor, type Phase } from "../core/status.ts";
import type { OrderOf } from "../core/workflow.ts";
import { toFeedText } from "./feed.ts";
import { wantsToKnow } from "./doors.ts";
import { pack, packedMark, unpack } from "./packed.ts";
import { GROUPS, type Group, groupOf, type Keys } from "./keys.ts";
import type { Trail } from "./trail.ts";

/** A record as it was read, with what is needed to write it again. */
export interface Held {
  request: SignRequest;
  version: string;
  /** When somebody last asked to look at it, in milliseconds since the epoch; 0 for never. */
  nudgedMs: number;
}

export interface Change {
  event: Event | "note";
  patch?: Patch;
  /** The stage to go to, for "requeue". */
  to?: string;
  /** When the request's job is to run next, in milliseconds since the epoch; now, when left out. */
  lookMs?: number;
  /** When it happened, in milliseconds since the epoch, where a fact says so as well; now, when left out. */
  atMs?: number;
  by?: string;
  note?: string;
  /** The caller's Idempotency-Key, as the journal keeps it. */
  idempotency?: string | undefined;
  /** It is in the journal, on disk, before anything follows from it. */
  durable?: boolean;
  /** Asks for a look as well: a wait that is just being parked will notice. */
  nudge?: boolean;
  /** The write counts only while this worker holds its job. */
  fence?: { lockKey: string; token: string };
}

/** Thrown when somebody else wrote the record since it was read, holds its job, or has the request_pk that it would get. */
export class Conflict extends Error {
  override readonly name = "Conflict";
  readonly lockLost: boolean;
  readonly isTaken: boolean;
  constructor(answer: 0 | -1 | -2) {
    super(
      {
        0: "the request was changed meanwhile",
        "-1": "another worker holds this request",
        "-2": "another request has it",
      }[answer],
    );
    this.lockLost = answer === -1;
    this.isTaken = answer === -2;
  }
}

/** Enough that no two states of one request have the same. */
const MARK_BYTES = 6;
/** How long after its time a request counts as overdue. */
const MARGIN_MS = 60_000;
const STARTABLE = `,${phasesFor("start").join(",")},`;

interface Scripts {
  signpipeBegin(...args: (string | number)[]): Promise<string[] | null>;
  signpipeTransition(keys: number, ...args: (string | number)[]): Promise<[string, string] | 0 | -1 | -2>;
  signpipeNudge(...args: (string | number)[]): Promise<[string, string] | null>;
  signpipePark(...args: (string | number)[]): Promise<string | null>;
}

export type Store = ReturnType<typeof createStore>;

/** Request records in Redis. The only writer of status: every change is one compare-and-set with its history line. */
export function createStore({
  redis,
  keys,
  orderOf,
  journal,
  isFollowed = () => false,
  now = Date.now,
  crashPoint,
}: {
  redis: Redis;
  keys: Keys;
  orderOf: OrderOf;
  /** Where every change is written down, apart from Redis. */
  journal: Trail;
  /** Whether others are told of a request that names no address for it. */
  isFollowed?: (request: SignRequest) => boolean;
  now?: () => number;
  crashPoint?: CrashPoint | undefined;
}) {
  const script = (name: string) => readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), "utf8");
  redis.defineCommand("signpipeBegin", { numberOfKeys: 4, lua: script("begin") });
  redis.defineCommand("signpipeTransition", { lua: script("transition") });
  redis.defineCommand("signpipeNudge", { numberOfKeys: 1, lua: script("nudge") });
  redis.defineCommand("signpipePark", { numberOfKeys: 2, lua: script("park") });
  const scripts = redis as unknown as Scripts;

  function toHeld(
    id: RequestId,
    [version = "", stage = "", phase = "", nudged = "0", updated = "0", text = "{}"]: string[],
  ): Held {
    const rest = toObject(unpack(id, text).json);
    const request = { ...rest, stage, phase, updatedMs: Number(updated) } as SignRequest;
    return { request, version, nudgedMs: Number(nudged) };
  }

  function toFields(value: string): string[] {
    const fields = /^(\d+)\|([^|]*)\|([^|]*)\|(\d+)\|(\d+)\|(.*)$/s.exec(value);
    if (!fields) throw unreadable();
    return fields.slice(1);
  }

  function parse(id: RequestId, value: string | null): Held | undefined {
    return value === null ? undefined : toHeld(id, toFields(value));
  }

  function parseReadable(id: RequestId, value: string | null): Held | undefined {
    try {
      return parse(id, value);
    } catch (error) {
      if (!isFailure(error, "record-damaged")) throw error;
      return undefined;
    }
  }

  /** Makes room for a record that is put back, where there is one that cannot be read. It is kept beside. */
  async function setAside(id: RequestId): Promise<void> {
    const value = await redis.get(keys.request(id));
    if (value !== null && !parseReadable(id, value)) await redis.rename(keys.request(id), keys.damaged(id));
  }

  async function read(id: RequestId): Promise<Held | undefined> {
    return parse(id, await redis.get(keys.request(id)));
  }

  async function write(
    before: SignRequest | undefined,
    version: string,
    unmarked: SignRequest,
    change: Change,
    floor?: number,
  ): Promise<Held> {
    const mark = randomText(MARK_BYTES);
    const next = { ...unmarked, mark };
    const { id, stage, phase, updatedMs, ...rest } = next;
    const pk = pkChange(before, next, change.event);
    const wants = wantsToKnow(next, change.event, isFollowed).map((name) => keys.changed(name));
    const allKeys = [
      keys.request(id),
      keys.history(id),
      keys.due,
      keys.index(groupOf(before?.phase ?? phase)),
      keys.index(groupOf(phase)),
      keys.pks,
      change.fence?.lockKey ?? keys.due,
      keys.uncleaned,
      keys.feed,
      ...wants,
    ];
    const json = JSON.stringify({ id, ...rest });
    const line = encodeLine({ atMs: updatedMs, event: change.event, stage, phase, ...pick(change) }, next.createdMs);
    const past = phase === "done" ? await linesOf(id) : undefined;
    const answer = await scripts.signpipeTransition(
      allKeys.length,
      ...allKeys,
      id,
      version,
      stage,
      phase,
      updatedMs,
      past ? pack(id, mark, json, [...past.lines, line]) : json,
      line,
      isEnd(phase) ? "" : (change.lookMs ?? updatedMs) + MARGIN_MS,
      next.createdMs,
      change.fence?.token ?? "",
      pk ? String(pk.value) : "",
      pk?.how ?? "",
      change.nudge ? "1" : "",
      floor ?? "",
      past ? packedMark(mark) : `"mark":"${mark}"`,
      past ? past.listed : "",
      uncleanedChange(before, next) ?? "",
      // That a call is about to leave is nothing that anybody outside waits for.
      change.event === "intend" ? "" : toFeedText(id, change.event, stage, phase, updatedMs),
    );
    if (answer === 0 || answer === -1 || answer === -2) throw new Conflict(answer);
    if (crashPoint && change.event === "intend") await crashPoint(`${change.note}:in-redis`, id);
    await writeDown(before, next, change, Number(answer[0]), floor !== undefined);
    return { request: next, version: answer[0], nudgedMs: Number(answer[1]) };
  }

  /**
   * A request's beginning, the intent of a costly call, what somebody outside has decided and what a deletion relies on
   * are on disk before anything follows from them. The rest may come a moment later: a state that the journal does not
   * know yet is one that Redis knows.
   */
  async function writeDown(
    before: SignRequest | undefined,
    next: SignRequest,
    { event, patch, by, note, idempotency, durable: isWaitedFor = false }: Change,
    version: number,
    isWhole: boolean,
  ): Promise<void> {
    const { id, stage, phase, updatedMs, mark = "" } = next;
    const durable = before === undefined || isWhole || event === "intend" || by !== undefined || isWaitedFor;
    const written = journal.append(
      {
        atMs: updatedMs,
        request: id,
        version,
        mark,
        ...(before?.mark && { before: before.mark }),
        event,
        stage,
        phase,
        ...(isWhole ? { first: next } : { patch: { ...patch } }),
        ...(by && { by }),
        ...(note && { note }),
        ...(idempotency && { idempotency }),
      },
      { durable, whole: next },
    );
    if (durable) await written;
    else written.catch(() => {}); // the journal has said so, and refuses the next intent
  }

  /** What could not be written down was not accepted: nobody is to find it, and take it up, after the caller was told. */
  async function withdraw(request: SignRequest): Promise<void> {
    const { id, phase } = request;
    await redis
      .multi()
      .del(keys.request(id), keys.history(id))
      .zrem(keys.due, id)
      .zrem(keys.index(groupOf(phase)), id)
      .srem(keys.changed(doorOf(request)), id)
      .exec()
      .catch(() => {});
  }

  async function get(id: RequestId): Promise<SignRequest> {
    const held = await read(id);
    if (!held) throw new PermanentError(`There is no request ${id}`, { code: "no-such-request" });
    return held.request;
  }

  /** The lines of a history, and how many of them are in its list: that of what is done is with the record. */
  async function linesOf(id: RequestId): Promise<{ lines: string[]; listed: number }> {
    const listed = await redis.lrange(keys.history(id), 0, -1);
    if (listed.length > 0) return { lines: listed, listed: listed.length };
    const value = await redis.get(keys.request(id));
    return { lines: (value !== null && unpack(id, toFields(value)[5] ?? "").history) || [], listed: 0 };
  }

  async function historyOf({ id, createdMs }: SignRequest): Promise<HistoryLine[]> {
    return decoded((await linesOf(id)).lines, createdMs);
  }

  /** The history that is there together with `lines`, each once. Safe to repeat. */
  async function restoreHistory(request: SignRequest, lines: HistoryLine[]): Promise<void> {
    const { id, createdMs } = request;
    const { lines: encoded, listed } = await linesOf(id);
    const there = decoded(encoded, createdMs);
    const known = new Set(there.map((line) => encodeLine(line, createdMs)));
    const missing = lines.filter((line) => !known.has(encodeLine(line, createdMs)));
    if (missing.length === 0 && listed === there.length) return;
    const all = [...there, ...missing].sort((a, b) => a.atMs - b.atMs);
    await redis
      .multi()
      .del(keys.history(id))
      .rpush(keys.history(id), ...all.map((line) => encodeLine(line, createdMs)))
      .exec();
  }

  return {
    read,

    /**
     * Creates the record at the first stage. Undefined when the id is already there: submitting twice is harmless.
     * `idempotency` goes into the journal only; `note` into the first line of the history.
     */
    async add(
      request: Omit<SignRequest, "stage" | "phase" | "attempt" | "updatedMs">,
      by: string,
      { idempotency, note = "submitted" }: { idempotency?: string | undefined; note?: string } = {},
    ): Promise<Held | undefined> {
      const first: SignRequest = {
        ...request,
        stage: orderOf(request.workflow)[0] ?? "",
        phase: "queued",
        attempt: 0,
        updatedMs: request.createdMs,
      };
      SignRequest.parse(first);
      try {
        return await write(undefined, "0", first, { event: "note", by, note, idempotency });
      } catch (error) {
        if (error instanceof Conflict) return undefined;
        await withdraw(first);
        throw error;
      }
    },

    get,

    /** A worker takes the request up at `stage`. The record as it is afterwards; undefined when there is none. */
    async begin(id: RequestId, stage: string, withinMs: number): Promise<Held | undefined> {
      const at = now();
      // The line's time is kept relative to the creation time, which only the record knows: 0 stands for "see due".
      const line = `@${encodeLine({ atMs: at, event: "start", stage, phase: "running" }, 0)}`;
      const answer = await scripts.signpipeBegin(
        keys.request(id),
        keys.history(id),
        keys.due,
        keys.feed,
        id,
        stage,
        at,
        at + withinMs + MARGIN_MS,
        line,
        STARTABLE,
        toFeedText(id, "start", stage, "running", at),
      );
      return answer ? toHeld(id, answer) : undefined;
    },

    /** Applies `change` to the record as it was read. Throws IllegalMove, or Conflict when it is not that any more. */
    async write(held: Held, change: Change): Promise<Held> {
      const { request } = held;
      const { event, patch = {} } = change;
      const position =
        event === "note"
          ? { stage: request.stage, phase: request.phase }
          : move(request, event, {
              stages: orderOf(request.workflow),
              ending: patch.ending === null ? undefined : (patch.ending ?? request.ending),
              ...(change.to && { to: change.to }),
            });
      const next = changed(request, { event, ...position, patch, atMs: change.atMs ?? now() });
      return await write(request, held.version, next, change);
    },

    /**
     * Puts a record back that Redis lost, or lost the newest changes of: `whole` is what the journal makes of it. `held`
     * is what Redis has, if anything. Throws Conflict when that has changed meanwhile.
     */
    async restore(
      whole: SignRequest,
      held: Held | undefined,
      pastVersion: number,
      lines: HistoryLine[],
    ): Promise<Held> {
      if (!held) await setAside(whole.id);
      await restoreHistory(whole, lines);
      const change: Change = { event: "note", by: RESTORER, note: "restored from the journal" };
      return await write(held?.request, held?.version ?? "0", whole, change, pastVersion);
    },

    /**
     * For the outside: reads, decides, writes, and does it again when somebody else was faster. `prepare` runs once, after
     * the first decision and before anything is written.
     */
    async change(
      id: RequestId,
      decide: (request: SignRequest) => Change,
      prepare?: () => Promise<void>,
    ): Promise<SignRequest> {
      let prepared = prepare === undefined;
      for (let tries = 0; tries < 20; tries++) {
        const held = await read(id);
        if (!held) throw new PermanentError(`There is no request ${id}`, { code: "no-such-request" });
        const change = decide(held.request);
        if (!prepared) await prepare?.();
        prepared = true;
        try {
          return (await this.write(held, change)).request;
        } catch (error) {
          if (!(error instanceof Conflict)) throw error;
        }
      }
      throw new PermanentError(`Request ${id} is being changed by too many others; try again`, { code: "contended" });
    },

    /** Asks for a look. The request's position, or undefined when there is none. */
    async nudge(id: RequestId): Promise<{ stage: string; phase: Phase } | undefined> {
      const answer = await scripts.signpipeNudge(keys.request(id), now());
      return answer ? { stage: answer[0], phase: answer[1] as Phase } : undefined;
    },

    /** Notes that a wait goes on until `lookMs`, and tells when the request was last nudged. */
    async park(id: RequestId, lookMs: number): Promise<number> {
      return Number((await scripts.signpipePark(keys.request(id), keys.due, id, lookMs + MARGIN_MS)) ?? 0);
    },

    async history(id: RequestId): Promise<HistoryLine[]> {
      return await historyOf(await get(id));
    },
    /** The history of a request whose record is at hand. */
    historyOf,

    /** How many requests are in each group. */
    async counts(): Promise<Record<Group, number>> {
      const numbers = await Promise.all(GROUPS.map((group) => redis.zcard(keys.index(group))));
      return Object.fromEntries(GROUPS.map((group, i) => [group, numbers[i] ?? 0])) as Record<Group, number>;
    },

    /** Up to `limit` requests that are over and whose cleanup was given up, in no order. */
    async uncleaned(limit: number): Promise<SignRequest[]> {
      return await this.readMany(await redis.srandmember(keys.uncleaned, limit));
    },
    /** How many there are. */
    async uncleanedCount(): Promise<number> {
      return await redis.scard(keys.uncleaned);
    },

    /** Ids whose time is over by `atMs`, the longest overdue first. */
    async overdue(atMs: number, limit: number): Promise<RequestId[]> {
      return await redis.zrangebyscore(keys.due, "-inf", atMs, "LIMIT", 0, limit);
    },
    async overdueCount(atMs: number): Promise<number> {
      return await redis.zcount(keys.due, "-inf", atMs);
    },
    /** Says when to look at an open request again. */
    async postpone(id: RequestId, dueMs: number): Promise<void> {
      await redis.zadd(keys.due, "XX", dueMs, id);
    },
    async forgetDue(id: RequestId): Promise<void> {
      await redis.zrem(keys.due, id);
    },

    /** Records of `ids` with what is needed to write them; those that are gone, or cannot be read, are left out. */
    async readHeld(ids: RequestId[]): Promise<Map<RequestId, Held>> {
      const values = ids.length === 0 ? [] : await redis.mget(ids.map((id) => keys.request(id)));
      const pairs = values.flatMap((value, i): [RequestId, Held][] => {
        const id = ids[i] ?? "";
        const held = parseReadable(id, value);
        return held ? [[id, held]] : [];
      });
      return new Map(pairs);
    },
    /**
     * Records of `ids`, in their order; those that are gone are left out, and so are those that cannot be read: the
     * reconciler tells of these, and a comparison with the journal puts them back.
     */
    async readMany(ids: RequestId[]): Promise<SignRequest[]> {
      if (ids.length === 0) return [];
      const values = await redis.mget(ids.map((id) => keys.request(id)));
      return values.flatMap((value, i) => parseReadable(ids[i] ?? "", value)?.request ?? []);
    },

    /** Those of `ids` that have a record which cannot be read. */
    async damagedAmong(ids: RequestId[]): Promise<RequestId[]> {
      const values = ids.length === 0 ? [] : await redis.mget(ids.map((id) => keys.request(id)));
      return ids.filter((id, i) => (values[i] ?? null) !== null && !parseReadable(id, values[i] ?? null));
    },

    /** Up to `limit` ids of a group with their creation times, newest first, from `fromMs` down. */
    async newest(
      group: Group,
      fromMs: number | "+inf",
      limit: number,
    ): Promise<{ id: RequestId; createdMs: number }[]> {
      const flat = await redis.zrevrangebyscore(keys.index(group), fromMs, "-inf", "WITHSCORES", "LIMIT", 0, limit);
      const found = [];
      for (let i = 0; i + 1 < flat.length; i += 2) found.push({ id: flat[i] ?? "", createdMs: Number(flat[i + 1]) });
      return found;
    },
  };
}

function toObject(json: string): object {
  try {
    return JSON.parse(json) as object;
  } catch (error) {
    throw unreadable(error);
  }
}

function unreadable(cause?: unknown): PermanentError {
  return new PermanentError("A record in Redis is not readable", { code: "record-damaged", cause });
}

/** A webhook names a request by its request_pk: the map follows the record, until the request is over. */
function pkChange(
  before: SignRequest | undefined,
  after: SignRequest,
  event: Change["event"],
): { value: unknown; how: "claim" | "set" | "drop" } | undefined {
  const was = before?.facts["requestPk"];
  const is = after.facts["requestPk"];
  // What failed may be taken up again with what it has at the provider: until then that is no stranger's.
  if (is !== undefined && isEnd(after.phase) && after.phase !== "failed") return { value: is, how: "drop" };
  // What a creation has made is nobody else's, or this is not written.
  if (is !== undefined && is !== was) return { value: is, how: event === "succeed" ? "claim" : "set" };
  if (is !== undefined && before && isEnd(before.phase)) return { value: is, how: "set" };
  if (was !== undefined && is === undefined) return { value: was, how: "drop" };
  return undefined;
}

/** What is over and was not cleaned up is listed until it is. */
function uncleanedChange(before: SignRequest | undefined, after: SignRequest): "add" | "drop" | undefined {
  if (after.facts["cleanupFailed"] !== undefined) return isEnd(after.phase) ? "add" : undefined;
  return before?.facts["cleanupFailed"] === undefined ? undefined : "drop";
}

function decoded(lines: readonly string[], createdMs: number): HistoryLine[] {
  return lines.map((line) => (line.startsWith("@") ? decodeLine(line.slice(1), 0) : decodeLine(line, createdMs)));
}

function pick({ by, note }: Change): { by?: string; note?: string } {
  return { ...(by && { by }), ...(note && { note }) };
}
