import { z } from "zod";
import { RequestId, SignRequest } from "./request.ts";
import { PHASES } from "./status.ts";

/** What a change adds to a record. `null` removes. */
export interface Patch {
  facts?: Record<string, unknown>;
  intent?: SignRequest["intent"] | null;
  waiting?: SignRequest["waiting"] | null;
  failure?: SignRequest["failure"] | null;
  ending?: SignRequest["ending"] | null;
  attempt?: number;
}

/**
 * One change of one request, as it is kept on the data volume, apart from Redis. From its lines alone a request's
 * record can be made again.
 */
export const JournalLine = z.object({
  atMs: z.number(),
  request: RequestId,
  /** The record's version after the change. */
  version: z.number().int().positive(),
  /** Names the state after the change; `before` names the one it was made from, and is left out at the beginning. */
  mark: z.string(),
  before: z.string().optional(),
  event: z.string(),
  stage: z.string(),
  phase: z.enum(PHASES),
  /**
   * The whole record: where the request begins, where it was restored (then there is no `patch`), and where the line
   * before may be missing.
   */
  first: SignRequest.optional(),
  patch: z.record(z.string(), z.unknown()).optional(),
  by: z.string().optional(),
  note: z.string().optional(),
  /** At the beginning: the caller's Idempotency-Key and the fingerprint of what came with it, encrypted. */
  idempotency: z.string().optional(),
});
export type JournalLine = z.infer<typeof JournalLine>;

/** The record after a change. What is undefined or null is left out. */
export function changed(
  request: SignRequest,
  {
    event,
    stage,
    phase,
    patch = {},
    atMs,
  }: { event: string; stage: string; phase: SignRequest["phase"]; patch?: Patch; atMs: number },
): SignRequest {
  const moved = stage !== request.stage || event === "requeue";
  return strip({
    ...request,
    attempt: moved ? 0 : request.attempt,
    ...patch,
    facts: patch.facts ? strip({ ...request.facts, ...patch.facts }) : request.facts,
    stage,
    phase,
    updatedMs: Math.max(atMs, request.updatedMs),
  }) as SignRequest;
}

/** Without what is undefined or null; the object itself where there is none of that, as mostly. */
function strip(object: Record<string, unknown>): Record<string, unknown> {
  for (const name in object) {
    if (isSet(object[name])) continue;
    const left: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(object)) if (isSet(value)) left[key] = value;
    return left;
  }
  return object;
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Who restores a record: such a line holds all that was known by then, and is past every version there was. */
export const RESTORER = "recovery";

/** The order in which the changes of one request were made, whichever process wrote them down. */
export const inOrder = (a: JournalLine, b: JournalLine) => a.version - b.version || a.atMs - b.atMs;

/**
 * A request's record from its lines, in any order. Undefined when it cannot be told: its beginning is not among them,
 * and no later line has the whole of it.
 */
export function foldLines(lines: readonly JournalLine[]): SignRequest | undefined {
  const marks = new Set(lines.map(({ mark }) => mark));
  let request: SignRequest | undefined;
  for (const line of [...lines].sort(inOrder)) {
    // A line whose predecessor is here is applied to what was folded so far: that may know of lines which whoever
    // wrote this one did not, because Redis had lost them.
    const follows = line.patch !== undefined && line.before !== undefined && marks.has(line.before);
    if (line.first && !(request && follows)) request = line.first;
    else if (request) {
      const { facts } = request;
      const isFork = line.before !== request.mark;
      request = { ...changed(request, { ...line, patch: line.patch as Patch }), mark: line.mark };
      if (isFork) request = { ...request, facts: withAllBegun(request.facts, facts) };
    }
  }
  return request;
}

const Counts = z.record(z.string(), z.number()).catch({});

/**
 * The facts, with every call that was ever begun: whoever made a change without knowing of lines that Redis had lost
 * has counted without them, and a call that is not counted leaves behind what nobody removes.
 */
function withAllBegun(facts: SignRequest["facts"], earlier: SignRequest["facts"]): SignRequest["facts"] {
  if (!earlier["begun"]) return facts;
  const before = Counts.parse(earlier["begun"]);
  const begun = Counts.parse(facts["begun"] ?? {});
  for (const [call, times] of Object.entries(before)) begun[call] = Math.max(begun[call] ?? 0, times);
  return { ...facts, begun };
}

/**
 * The record to put back: what the journal makes of it, with what the one in Redis has beyond that. `held` may have
 * been written after the loss by a process that was killed before its line was on disk.
 */
export function merged(whole: SignRequest, held: SignRequest | undefined, lines: readonly JournalLine[]): SignRequest {
  if (!held || lines.some(({ mark }) => mark === held.mark)) return whole;
  const facts = { ...held.facts, ...whole.facts };
  const { ending = held.ending, failure = held.failure } = whole;
  return { ...whole, facts, ...(ending && { ending }), ...(failure && { failure }) };
}

/** Whether the line is a record that was put back: it has all that was known, by whatever way. */
export function isRestored({ first, patch }: Pick<JournalLine, "first" | "patch">): boolean {
  return first !== undefined && patch === undefined;
}

/**
 * Lines that a record in Redis does not know of: it is older than the journal, because Redis lost what was written
 * last. `mark` and `version` are the record's; both are undefined when there is none.
 *
 * Walks back from the record's mark, to its beginning or to where it was restored last, which took all older lines in.
 * Where a line on the way is missing, because a process died before it was on disk, everything older is taken as
 * known: a request is then looked at by its stage, which asks the provider.
 */
export function unknownLines(
  lines: readonly JournalLine[],
  record: { mark: string | undefined; version: number } | undefined,
): JournalLine[] {
  if (!record) return [...lines];
  const byMark = new Map(lines.map((line) => [line.mark, line]));
  const known = new Set<string>();
  let mark = record.mark;
  let olderThan = record.version;
  for (let line = byMark.get(mark ?? ""); line && !known.has(line.mark); line = byMark.get(mark ?? "")) {
    known.add(line.mark);
    olderThan = line.version;
    if (isRestored(line)) break;
    mark = line.before;
  }
  return lines.filter((line) => !known.has(line.mark) && (mark === undefined || line.version >= olderThan));
}

/** What is kept of a request's lines while they are read, in any order: not the lines, since a day has many. */
export interface Tips {
  /** States from which no line follows, of those that were read. */
  tips: { mark: string; version: number }[];
  /** States that lines follow from and whose own lines were not read. */
  followed: string[];
  /** The newest line that is a record which was put back: it took all older ones in. */
  restored: number;
  /** When the oldest and the newest line was written; the beginning of the request, where a line tells it. */
  fromMs: number;
  toMs: number;
}

/** Takes another line in. */
export function noteTip(known: Tips | undefined, line: JournalLine): Tips {
  const { mark, before, version, atMs } = line;
  const fromMs = Math.min(atMs, line.first?.createdMs ?? atMs);
  const noted = known ?? { tips: [], followed: [], restored: 0, fromMs, toMs: atMs };
  noted.fromMs = Math.min(noted.fromMs, fromMs);
  noted.toMs = Math.max(noted.toMs, atMs);
  if (isRestored(line)) noted.restored = Math.max(noted.restored, version);
  const at = noted.followed.indexOf(mark);
  if (at >= 0) noted.followed.splice(at, 1);
  else noted.tips.push({ mark, version });
  if (before === undefined) return noted;
  const tip = noted.tips.findIndex((one) => one.mark === before);
  if (tip >= 0) noted.tips.splice(tip, 1);
  else noted.followed.push(before);
  return noted;
}

/** Whether `unknownLines` would find nothing, for a record with this mark. Where it is false, the lines have to tell. */
export function isTip({ tips, restored }: Tips, mark: string | undefined): boolean {
  const left = tips.filter(({ version }) => version >= restored);
  return left.length === 1 && left[0]?.mark === mark;
}
