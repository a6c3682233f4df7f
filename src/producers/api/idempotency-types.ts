import type { RequestId } from "../../core/request.ts";

/** What an Idempotency-Key stands for: one body, one request, and what was answered where that is more than its id. */
export interface Bound {
  /** SHA-256 of the manifest and the documents. It is derived from personal data too: keep it keyed or encrypted. */
  bodyHash: string;
  requestId: RequestId;
  /** As JSON. It is kept encrypted too. */
  answer?: string | undefined;
}

/** The exclusive right to work under a key. It ends with `finish` or `release`, or by itself when it is not extended. */
export interface Claim {
  /** Keeps the claim for another `CLAIM_MS`. False when it was lost to somebody else. */
  extend(): Promise<boolean>;
  /**
   * Ties the key to a body and a request, durably, before the request is submitted: when the process dies between the
   * two, the next attempt with this key submits the same id again. False when the claim was lost: then do not submit.
   */
  bind(bound: Bound): Promise<boolean>;
  /** It is done: from now on `begin` says "done", and has this answer. */
  finish(answer?: string): Promise<void>;
  /** Gives the claim up. What was bound stays bound; an unbound key is free again. After `finish` it does nothing. */
  release(): Promise<void>;
}

export type Begun =
  /** Somebody else works under this key now. */
  | { state: "busy" }
  | { state: "done"; bound: Bound }
  /** The key is ours. `earlier` is there when an attempt before us bound it and never finished. */
  | { state: "yours"; earlier: Bound | undefined; claim: Claim };

/** How long a claim lives without `extend`, in milliseconds: the longest a client waits after a crash of ours. */
export const CLAIM_MS = 20_000;

/** How long a finished key is remembered, at least, in milliseconds. */
export const REMEMBER_MS = 24 * 3_600_000;

/** Memory of Idempotency-Keys, shared by all API processes. `name` holds the API key's name and the client's key. */
export interface Idempotency {
  begin(name: string): Promise<Begun>;
  /**
   * What a record keeps of a key: `<of the key>.<of the key with its body>`. Keyed, since a body may be a code of six
   * digits, which could be found by trying.
   */
  printOf(name: string, bodyHash: string): string;
}
