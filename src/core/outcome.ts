import type { Ending } from "./status.ts";
import type { WaitName } from "./ages.ts";
import { growing } from "./backoff.ts";
import { type Duration, toMs } from "./duration.ts";

/** Whose turn it is during a wait. "sender": whoever hands documents in. */
export type Whose = "signer" | "RAO" | "provider" | "operator" | "sender";

/** What `run` returns when the next step is not ours: a person, or the provider, must act first. */
export class Waiting {
  readonly what: string;
  readonly whose: Whose;
  readonly pollMs: (quietMs: number) => number;
  readonly withinMs: number;
  readonly expires: "expired" | "failed";
  readonly detail: string | undefined;
  readonly facts: Record<string, unknown> | undefined;
  readonly note: string | undefined;

  constructor(
    what: string,
    { whose, poll = growing("5s", { upTo: "15m" }), within, expires, detail, facts, note }: WaitOptions,
  ) {
    this.what = what;
    this.whose = whose;
    this.pollMs = poll;
    this.withinMs = typeof within === "number" ? within : toMs(within);
    this.expires = expires ?? "expired";
    this.detail = detail;
    this.facts = facts;
    this.note = note;
  }
}

interface WaitOptions {
  whose: Whose;
  poll?: (quietMs: number) => number;
  /** Milliseconds, or a duration as people write it. */
  within: Duration | number;
  /** The end of a request whose wait ran out. */
  expires?: "expired" | "failed";
  /** More about the same wait, such as the provider's status. */
  detail?: string;
  /** Facts to keep while waiting. */
  facts?: Record<string, unknown>;
  /** What the history says instead of what is waited for, such as what came of somebody's order. */
  note?: string;
}

/**
 * Parks the request. It runs again when somebody nudges it, and every now and then in any case: the nudge makes it
 * fast, the poll makes it certain. After `within` the request ends, with code "<what>-expired".
 */
export function waitFor(what: WaitName, options: WaitOptions): Waiting {
  return new Waiting(what, options);
}

/** What `run` returns when the request is over before its last stage, and not because something broke. */
export class Ended {
  readonly ending: Ending;
  readonly code: string;
  readonly message: string;

  constructor(ending: Ending, code: string, message: string) {
    this.ending = ending;
    this.code = code;
    this.message = message;
  }
}

/** Ends the request as `ending`; cleanup runs first. `message` is one sentence without personal data. */
export function endAs(ending: Ending, { code, message }: { code: string; message: string }): Ended {
  return new Ended(ending, code, message);
}

/** What `run` returns when an earlier stage has to be done again. */
export class SentBack {
  readonly to: string;
  readonly code: string;
  readonly message: string;
  readonly facts: Record<string, unknown> | undefined;
  readonly note: string | undefined;

  constructor(to: string, code: string, message: string, facts?: Record<string, unknown>, note?: string) {
    this.to = to;
    this.code = code;
    this.message = message;
    this.facts = facts;
    this.note = note;
  }
}

/**
 * Sends the request back to the stage `to`. Bounded by whoever sends back. `message` is without personal data; the
 * history has `note`, or else the code.
 */
export function backTo(
  to: string,
  { code, message, facts, note }: { code: string; message: string; facts?: Record<string, unknown>; note?: string },
): SentBack {
  return new SentBack(to, code, message, facts, note);
}
