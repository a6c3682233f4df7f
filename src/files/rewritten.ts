import { Worker } from "node:worker_threads";
import { isFailure, PermanentError } from "../core/errors.ts";
import { becameShorter, type Content, hashContent, withContent } from "./content.ts";
import { documentGone } from "./documents.ts";
import { isMissing } from "./durable.ts";

/** How documents are recognised that were rewritten: by the text of their pages, or by the number of these alone. */
export type By = "text" | "pages";

/** What was compared, and whether it was the same. "nothing": one of them could not be read, or not in time. */
export interface Compared {
  isSame: boolean;
  by: By | "nothing";
}

/** An original as it was taken in, and where it is. */
export interface Original {
  path: string;
  sizeBytes: number;
  sha256: string;
}

/** What the reader is told. */
export interface Question {
  sizesBytes: readonly [original: number, found: number];
  by: By;
  /** The first page to be compared; pages are counted from 1. */
  from: number;
}
export type Asked = Question | { of: 0 | 1; at: number; bytes: Uint8Array };
interface Wanted {
  of: 0 | 1;
  at: number;
  length: number;
}
/** What the reader says: which bytes it needs; that the numbers of pages agree; where another is to go on; the verdict. */
export type Answer = Wanted | "as many pages" | { from: number } | Compared;

/** For a reader that hangs. */
const WITHIN_MS = 120_000;
/** Of the processor's time, for a pair: on a busy machine less would be compared otherwise. */
const CPU_MOST_MS = 30_000;
/** Read by one reader, which stops at a quarter of it: pages with more pictures than this are not compared. */
const READ_MOST_BYTES = 128 << 20;
/** What a reader may unpack, beyond room for the documents themselves, of which only what is read takes memory. */
const UNPACKED_MOST_BYTES = 128 << 20;
const HEAP_MOST_MB = 192;
const WATCH_MS = 200;
/** A reader that nobody needs keeps its memory this long. */
const IDLE_MS = 30_000;

/** The end of whoever has the reader now: there is one, since reading takes a processor. */
let turn: Promise<unknown> = Promise.resolve();
let idle: { reader: Worker; end: NodeJS.Timeout } | undefined;

/**
 * Whether a document shows what its original does, where the bytes may differ because a program has rewritten it: as
 * many pages, and on each of them the original's text (see isSamePage). Two documents that agree in this are the same.
 *
 * Bounded: a thread of its own reads, one pair at a time, with `cpuMostMs` of the processor's time, `withinMs` from its
 * turn on, and some 300 MiB of memory, whatever the size. Beyond that the verdict is of the pages that were reached, and
 * says that it is by their number. What cannot be told is "the same": to block a signer for good by a document that this
 * program cannot read, and others can, is the worse mistake.
 *
 * Throws PermanentError "document-gone" and "document-changed" of the original, "file-changed" of `found`; the reason of
 * `signal`; and what the file system says.
 */
export async function compareRewritten(
  { path, sizeBytes, sha256 }: Original,
  found: Content,
  {
    by,
    signal,
    withinMs = WITHIN_MS,
    cpuMostMs = CPU_MOST_MS,
  }: { by: By; signal?: AbortSignal | undefined; withinMs?: number; cpuMostMs?: number },
): Promise<Compared> {
  try {
    return await withContent(path, async (original) => {
      const isOriginal = original.sizeBytes === sizeBytes && (await hashContent(original)).sha256 === sha256;
      if (!isOriginal) throw new PermanentError("A document is not what was taken in", { code: "document-changed" });
      return await inTurn(signal, () => read([original, found], { by, signal, withinMs, cpuMostMs }));
    });
  } catch (cause) {
    if (!isMissing(cause) && !isFailure(cause, "not-a-regular-file")) throw cause;
    throw documentGone(cause);
  }
}

/** Does `act` when everybody before is done. Throws the reason of `signal`. */
async function inTurn<T>(signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
  const before = turn;
  const { promise: mine, resolve: done } = Promise.withResolvers<void>();
  turn = before.then(() => mine);
  try {
    await unlessAborted(before, signal);
    return await act();
  } finally {
    done();
  }
}

async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await promise;
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason as Error);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

interface Limits {
  signal: AbortSignal | undefined;
  withinMs: number;
  cpuMostMs: number;
}
type Pair = readonly [original: Content, found: Content];

/** Reads with one reader after the other, for as long as there is time. */
async function read(pair: Pair, { by, withinMs, ...limits }: Limits & { by: By }): Promise<Compared> {
  const endMs = performance.now() + withinMs;
  const spent = { cpuMs: 0 };
  for (let from = 1; ;) {
    const leftMs = endMs - performance.now();
    // A reader that is quick would have its first word in before a timer of no time at all.
    if (leftMs <= 0) return { isSame: true, by: from > 1 ? "pages" : "nothing" };
    const part = await readPart(pair, { ...limits, by, from, spent, withinMs: leftMs });
    if ("isSame" in part) return part;
    from = part.from;
  }
}

async function readPart(
  pair: Pair,
  { by, from, spent, signal, withinMs, cpuMostMs }: Limits & { by: By; from: number; spent: { cpuMs: number } },
): Promise<Compared | { from: number }> {
  const sizesBytes = [pair[0].sizeBytes, pair[1].sizeBytes] as const;
  const mostBytes = sizesBytes[0] + sizesBytes[1] + UNPACKED_MOST_BYTES;
  const { promise: verdict, resolve, reject } = Promise.withResolvers<Compared | { from: number }>();
  let reached: Compared = { isSame: true, by: from > 1 ? "pages" : "nothing" };
  let readBytes = 0;
  let isThrough = false;
  const giveUp = () => resolve(reached);

  async function give({ of, at, length }: Wanted): Promise<void> {
    readBytes += length;
    if (readBytes > READ_MOST_BYTES) return giveUp();
    const bytes = new Uint8Array(await pair[of].read(at, length)); // a copy, which the reader may keep
    if (bytes.length < length) throw becameShorter();
    // What it asked for and did not wait for must not reach it with the next pair.
    if (!isThrough) reader.postMessage({ of, at, bytes } satisfies Asked, [bytes.buffer]);
  }

  function take(answer: Answer): void {
    if (answer === "as many pages") reached = { isSame: true, by: "pages" };
    else if ("of" in answer) give(answer).catch(reject);
    else {
      isThrough = "isSame" in answer;
      resolve(answer);
    }
  }

  const reader = takeReader();
  reader.on("message", take);
  reader.on("error", giveUp); // it is out of memory
  const timer = setTimeout(giveUp, withinMs);
  let lastMs: number | undefined;
  const look = async () => {
    const [{ external_memory: takenBytes }, { user, system }] = await Promise.all([
      reader.getHeapStatistics(),
      reader.cpuUsage(),
    ]);
    const nowMs = (user + system) / 1_000;
    spent.cpuMs += nowMs - (lastMs ?? nowMs);
    lastMs = nowMs;
    if (takenBytes > mostBytes || spent.cpuMs > cpuMostMs) giveUp();
  };
  // It rejects when the reader has ended, which "error" tells.
  const watch = setInterval(() => void look().catch(() => {}), WATCH_MS);
  try {
    reader.postMessage({ sizesBytes, by, from } satisfies Asked);
    return await unlessAborted(verdict, signal);
  } finally {
    clearTimeout(timer);
    clearInterval(watch);
    reader.off("message", take).off("error", giveUp);
    if (isThrough) keepReader(reader);
    else await reader.terminate();
  }
}

/** The reader that is there, or a new one. It has no environment, and nothing of what it would print is printed. */
function takeReader(): Worker {
  const kept = idle;
  idle = undefined;
  if (kept) {
    clearTimeout(kept.end);
    kept.reader.ref();
    return kept.reader;
  }
  const reader = new Worker(new URL("rewritten-reader.ts", import.meta.url), {
    env: {},
    execArgv: [],
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MOST_MB },
  });
  reader.on("error", () => {
    if (idle?.reader === reader) idle = undefined;
  });
  return reader;
}

/** Keeps it for the next one, but nobody waits for it at the end of the program. */
function keepReader(reader: Worker): void {
  const end = setTimeout(() => {
    idle = undefined;
    void reader.terminate();
  }, IDLE_MS);
  end.unref();
  reader.unref();
  idle = { reader, end };
}
