import type { Failure } from "../core/errors.ts";

/** Credentials that a call carries. When the provider rejects them, every other call that has them is in vain. */
export interface Credentials {
  lane: "rao" | "billing";
  /** Plain; told apart by a keyed fingerprint, and never kept. */
  secrets: readonly string[];
}

/** A call that is about to leave. */
export interface Leaving {
  credentials?: Credentials | readonly Credentials[] | undefined;
  signal?: AbortSignal | undefined;
}

/** How a call ended, as far as it says something about the provider. */
export type Heard =
  /** The provider did answer, whatever it said. */
  | { kind: "answer"; failure?: Failure }
  /** Silence, no connection, or a fault of the provider. */
  | { kind: "fault" }
  /** It asked to be left alone for a while, in milliseconds from now. */
  | { kind: "busy"; waitMs: number; failure: Failure }
  /** We gave up ourselves: it says nothing. */
  | { kind: "nothing" };

/**
 * Stands before the provider's calls, in every process: keeps their pace, and keeps them back while they would be in
 * vain. It never waits long, because the intent of a costly call is written by then.
 */
export interface Guard {
  /** Resolves when the call may leave. Throws RetryableError with `pause`, effect "none", when it may not now. */
  admit(leaving: Leaving): Promise<void>;
  /** Told how an admitted call ended. A failure that it gives back takes the place of the one that was heard. */
  heard(leaving: Leaving, how: Heard): Promise<Failure | undefined>;
}

/** No guard: for looks from outside, such as a doctor's. */
export const UNGUARDED: Guard = {
  admit: () => Promise.resolve(),
  heard: () => Promise.resolve(undefined),
};
