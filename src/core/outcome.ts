import { growing } from "./backoff.ts";
import { type Duration, toMs } from "./duration.ts";

/** Whose turn it is during a wait. */
export type Whose = "signer" | "RAO" | "provider" | "operator";

/** What `run` returns when the next step is not ours: a person, or the provider, must act first. */
export class Waiting {
  readonly what: string;
  readonly whose: Whose;
  readonly pollMs: (quietMs: number) => number;
  readonly withinMs: number;
  readonly expires: "expired" | "failed";

  constructor(what: string, { whose, poll = growing("5s", { upTo: "15m" }), within, expires = "expired" }: WaitOptions) {
    this.what = what;
    this.whose = whose;
    this.pollMs = poll;
    this.withinMs = typeof within === "number" ? within : toMs(within);
    this.expires = expires;
  }
}

interface WaitOptions {
  whose: Whose;
  poll?: (quietMs: number) => number;
  /** Milliseconds, or a duration as people write it. */
  within: Duration | number;
  /** The end of a request whose wait ran out. */
  expires?: "expired" | "failed";
}

/**
 * Parks the request. It runs again when somebody nudges it, and every now and then in any case: the nudge makes it
 * fast, the poll makes it certain. After `within` the request ends, with code "<what>-expired".
 */
export function waitFor(what: string, options: WaitOptions): Waiting {
  return new Waiting(what, options);
}
