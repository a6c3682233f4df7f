import { isBundle } from "../core/bundle.ts";
import { RetryableError } from "../core/errors.ts";
import type { SignRequest } from "../core/request.ts";
import { isEnd } from "../core/status.ts";
import { isOutOfMemory } from "./redis-watch.ts";
import { type Change, Conflict, type Held, type Store } from "./store.ts";

/** How long a request is left alone when Redis has no room to write down what comes of it. */
const FULL_AGAIN_MS = 5_000;
const ROOM_AGAIN_MS = 500;

/** The stage after which nothing is compared any more. */
const BEFORE_SIGNING = "otp";

/** Events that do not take a request off its way, even when somebody has asked to end it. */
const KEEP_COURSE: readonly Change["event"][] = ["start", "intend", "end"];

/** The request went on without this attempt. */
export class Superseded extends Error {
  override readonly name = "Superseded";
}

/**
 * The record of a request that an attempt at one stage has in its hands: as it was read, and after each write. Writes
 * come one at a time, and take over what others added meanwhile.
 */
export function hold(
  found: Held,
  {
    store,
    stage,
    isLast,
    stopping,
  }: {
    store: Store;
    stage: string;
    /** Whether it is the stage that all requests end at. */
    isLast: boolean;
    stopping: AbortSignal;
  },
) {
  const { id } = found.request;
  let held = found;
  let writing: Promise<unknown> = Promise.resolve();

  async function writeNow(change: Change): Promise<void> {
    for (let tries = 0; ; tries++) {
      const diverted = held.request.ending && !isLast && !KEEP_COURSE.includes(change.event);
      try {
        const patch = { ...change.patch, ...(change.patch?.ending !== null && decided()) };
        const onTheWay = { ...patch, ...(change.event !== "succeed" && orphaned()), waiting: null };
        const whole: Change = diverted ? { ...change, event: "end", patch: onTheWay } : { ...change, patch };
        const before = held;
        const isResult = change.event !== "intend" && change.event !== "start";
        held = await (isResult ? onceThereIsRoom(() => store.write(before, whole)) : store.write(before, whole));
        return;
      } catch (error) {
        if (isOutOfMemory(error)) {
          // Nothing was written: a call that this would have announced is not made.
          const full = "Redis has no memory left to write this down";
          throw new RetryableError(full, { code: "redis-full", cause: error, retryAfterMs: FULL_AGAIN_MS, pause: {} });
        }
        if (!(error instanceof Conflict) || tries > 20) throw error;
        if (error.lockLost) throw takenOver();
        if (error.isTaken) throw takenByAnother();
        const fresh = await store.read(id);
        if (!fresh || fresh.request.stage !== stage || isEnd(fresh.request.phase)) throw new Superseded();
        // Somebody else has begun a call, or settled ours: what we would write over it is not ours to say.
        if (!isSame(fresh.request.intent, held.request.intent)) throw takenOver();
        // Made from a record that does not know of a call begun meanwhile, an intent would be one call too many; from
        // one that does not know of a person's decision, a call against it.
        if (change.event === "intend" && groundsOf(fresh) !== groundsOf(held)) throw takenOver();
        // It would go on as if nobody had asked for anything.
        if (change.event === "succeed" && orderOf(fresh) !== orderOf(held)) throw takenOver();
        // It has looked whether all documents are there, and one more has joined since.
        if (change.event === "succeed" && stage === BEFORE_SIGNING && joinedOf(fresh) !== joinedOf(held))
          throw takenOver();
        held = fresh;
      }
    }
  }

  async function onceThereIsRoom<T>(write: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        if (!isOutOfMemory(error) || stopping.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, ROOM_AGAIN_MS));
      }
    }
  }

  /**
   * How and why a request is to end is said once: what goes wrong on the way there stands in the history alone. Unless a
   * change says that it is not to end so after all.
   */
  function decided(): Pick<SignRequest, "ending" | "failure"> {
    const { ending, failure } = held.request;
    return ending && failure ? { ending, failure } : {};
  }

  function orphaned(): { intent: null; facts?: Record<string, unknown> } {
    const { intent } = held.request;
    return { intent: null, ...(intent?.effect === "create" && { facts: { suspectedOrphan: intent.firstMs } }) };
  }

  return {
    /** The record as it is known here. */
    held: () => held,

    /**
     * Writes, as long as the request is still at this stage. Throws Superseded when it is not, RetryableError
     * "lost-lease" when another worker has it, or "redis-full" when nothing was written for want of room.
     */
    write(change: Change): Promise<void> {
      const written = writing.then(() => writeNow(change));
      writing = written.catch(() => {});
      return written;
    },

    /** Announces a call. The journal may refuse what Redis has: then the intent is ours, and what follows is written over it. */
    async announce(change: Change, intent: NonNullable<SignRequest["intent"]>): Promise<void> {
      await this.write(change).catch(async (error: unknown) => {
        const fresh = await store.read(id).catch(() => undefined);
        if (fresh && isSame(fresh.request.intent, intent)) held = fresh;
        throw error;
      });
    },

    /** What came of a call is kept here until Redis has room for it: lost, the call would have to be asked after. */
    onceThereIsRoom,

    /** A creation that may have worked unheard is remembered, so that the orphan can be cancelled when it shows up. */
    orphaned,
  };
}

/**
 * What was begun outside for a request, what a person has decided, and which documents have joined it, as far as a record
 * of it knows.
 */
function groundsOf({ request }: Held): string {
  const { intent, facts } = request;
  return JSON.stringify([intent, facts["begun"], facts["decision"], facts["order"], documentsIn(request)]);
}

/** The documents of a request that further ones may join. */
function documentsIn(request: SignRequest): unknown {
  return isBundle(request) ? request.facts["documents"] : undefined;
}

function joinedOf({ request }: Held): string | undefined {
  return JSON.stringify(documentsIn(request));
}

/** What a person has asked for and the stage has not carried out yet. */
function orderOf({ request: { facts } }: Held): string | undefined {
  return JSON.stringify(facts["order"]);
}

function takenOver(): RetryableError {
  return new RetryableError("Another worker took this request over", { code: "lost-lease", effect: "unknown" });
}

/**
 * What a creation has made is another request's: one for the same person, whose own creation was not answered. What
 * surfaces of that one is cancelled.
 */
export function takenByAnother(): RetryableError {
  return new RetryableError(
    "Another request of this signer, whose own creation was not answered, has taken the request that was opened for this one: another one is opened",
    { code: "taken-by-another", effect: "none" },
  );
}

function isSame(one: SignRequest["intent"], other: SignRequest["intent"]): boolean {
  return one?.effect === other?.effect && one?.atMs === other?.atMs && one?.tries === other?.tries;
}
