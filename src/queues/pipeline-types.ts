import type { BatchId, BatchPlace } from "../core/batch.ts";
import type { Bundle } from "../core/bundle.ts";
import type { Correction } from "../core/correction.ts";
import type { HistoryLine } from "../core/history.ts";
import type { Door, InboxName, RequestId, SignRequest, Source, StoredDocument } from "../core/request.ts";
import type { Enclosure, Identification } from "../core/identity.ts";
import type { Appearance, Approval, Authentication, Format, Picture, Signer } from "../core/signing.ts";
import type { Workflow } from "../core/workflow.ts";
import type { Standstill } from "./lanes.ts";

/** What a producer hands in: one signer, one to ten documents that are already in the document store. */
export interface Submission {
  id: RequestId;
  workflow: Workflow;
  source: Source;
  /** The inbox that it came through, where that is another one than the one in DATA_DIR. */
  inbox?: InboxName | undefined;
  reference?: string | undefined;
  documents: StoredDocument[];
  /** More documents for the same signer, in the same folder: those of each further request of its group. */
  rest?: StoredDocument[][] | undefined;
  signer: Signer;
  /** How the caller identified the signer, and the files that show it. */
  identification?: Identification | undefined;
  enclosures?: Enclosure[] | undefined;
  /** Have it signed by the provider in the background (classic only). */
  useasync?: boolean | undefined;
  authentication: Authentication;
  /** On whose account, and which of its RAOs decides; the default one, and its first, when left out. */
  tenant?: string | undefined;
  rao?: string | undefined;
  profile?: string | undefined;
  registration_authority?: string | undefined;
  signature?: { format?: Format | undefined; appearance?: Appearance | undefined } | undefined;
  /** The image of the appearance, when it is one of ours. */
  picture?: Picture | undefined;
  /** Whether the appearance lies on the page could not be found out for one of the documents. */
  isPlaceUnchecked?: boolean | undefined;
  approval?: Approval | undefined;
  callback_url?: string | undefined;
  /** The job of the queue "intake" that it was handed in with, and a fingerprint of what that said. */
  intake?: { job: string; print: string } | undefined;
  /** The request that this one tries again. */
  retryOf?: RequestId | undefined;
  /** The batch that it is a row of. */
  batch?: BatchPlace | undefined;
  /** Until when further documents for the same signer may join, and how many there may be. */
  bundle?: Bundle | undefined;
  /** Who handed it in: "inbox", "intake", "api:<key name>". */
  by: string;
  /** The caller's Idempotency-Key with whose it is, and the SHA-256 of what came with it: to outlive Redis. */
  idempotency?: { name: string; bodyHash: string } | undefined;
  /** How long its documents count as handed in before, in milliseconds (default 90 days). */
  duplicatesMs?: number | undefined;
  /** Set it aside when an open or done request has the same documents for the same signer (default false). */
  refuseDuplicate?: boolean;
}

/** The Redis that was found to know all that the journal knows, by a number that changes when it has gone away. */
export type Taking = number;

export type Submitted =
  | { outcome: "accepted"; request: SignRequest }
  /** The id is already there: submitting twice is harmless. */
  | { outcome: "known"; request: SignRequest }
  | { outcome: "duplicate"; of: SignRequest };

/** How what is handed in may join what is there. */
export interface Bundling {
  /** How long a request waits for further documents, in milliseconds. */
  windowMs: number;
  /** Documents in one request, at the most. */
  most: number;
  /** Only what says the same here becomes one, whatever the manifests say: the folder that leads to it. */
  apart?: string | undefined;
  /** The request that an earlier try was about to join. */
  joined?: RequestId | undefined;
  /**
   * Writes down durably, with what is handed in, which request it is about to join, or that it is none. A crash after
   * this is made good by handing it in again with that request as `joined`.
   */
  joining(id: RequestId | undefined): Promise<void>;
}

/** What of a submission may not be wished for everywhere. */
export type Allowable = Pick<Submission, "approval" | "callback_url" | "tenant" | "rao">;

/** Which requests a list is to have. All that is named has to fit. Times in milliseconds since the epoch. */
export interface Wanted {
  state?: string;
  workflow?: string;
  stage?: string;
  /** What they wait for, in the words of core/ages.ts. */
  waitingFor?: string;
  source?: string;
  reference?: string;
  tenant?: string;
  /** Those of one group, by the id of its first request. */
  group?: RequestId;
  /** Those of one batch, by its id. */
  batch?: BatchId;
  /** Made at this time or later. */
  createdSinceMs?: number;
  /** Made before this time. */
  createdUntilMs?: number;
}

/** One page of requests, newest first. */
export interface Page {
  items: SignRequest[];
  next_cursor: string | undefined;
}

/**
 * All that the outside may do. Producers, the API and the CLI use nothing else. Every method that names a request
 * throws PermanentError "no-such-request" when there is none, and "not-possible-now" when the request is elsewhere; those
 * that change one throw RetryableError "redis-away" while Redis may have forgotten what was decided before.
 */
export interface Pipeline {
  /**
   * Throws RetryableError with the reason while nothing new can be taken in: "redis-full", "redis-empty", "redis-away", …
   * Gives what `submit` is to be told: it refuses when Redis has gone away in between, and may have forgotten since what
   * the caller has asked or noted there.
   */
  mayTake(): Promise<Taking>;
  /**
   * Accepts a request: the record is durable and the first job is queued when this resolves. With `rest` the whole group
   * is accepted with it: what of the others cannot be made now is made before the first one begins. Before anything of it is
   * written down `writes` is called: a failure after that says nothing about whether it was accepted.
   */
  submit(submission: Submission, options?: { taking?: Taking; writes?: () => void }): Promise<Submitted>;
  /**
   * Accepts one document of an inbox as `submit` does, or has it join the request that the inbox has open for the same
   * signer with the same wishes: identified, approved and signed with one code, together. "accepted" and "known" then name
   * that request, whose id is another one. A request takes further documents until the code for its signer leaves.
   * Throws RetryableError "bundle-busy" while it cannot be told whether it still does; nothing has happened then.
   */
  bundle(submission: Submission, bundling: Bundling): Promise<Submitted>;
  /**
   * For each of the documents, the request that it was signed as for the same signer, on the same account and under the
   * same profile; undefined where there is none. Changes nothing.
   */
  signedBefore(
    submission: Pick<
      Submission,
      "documents" | "signer" | "signature" | "tenant" | "profile" | "registration_authority"
    >,
  ): Promise<(SignRequest | undefined)[]>;
  /**
   * Refuses what would not be taken in here, whatever the documents: throws PermanentError "auto-approval-not-allowed",
   * "callback-not-allowed", "unknown-tenant" or "unknown-rao".
   */
  mustBeAllowed(wishes: Allowable): void;
  get(id: RequestId): Promise<SignRequest>;
  find(id: RequestId): Promise<SignRequest | undefined>;
  /**
   * Makes what is missing of the group that this request is the first of. Nothing to do is fine; safe to repeat. Throws
   * PermanentError "signer-erased" or "document-gone" when that cannot be done any more.
   */
  completeGroup(id: RequestId): Promise<void>;
  /**
   * A bounded number of records is looked at: when few fit, a page is short, or empty, and still has a `next_cursor`. It
   * is undefined on the last page.
   */
  list(options: Wanted & { limit: number; cursor?: string }): Promise<Page>;
  history(id: RequestId): Promise<HistoryLine[]>;
  /**
   * Decides an identification that waits for a RAO. The first decision holds; the other one is refused. `call`, here and
   * below, is the print of the caller's Idempotency-Key: it is written into the record in the same step as the act.
   */
  approve(id: RequestId, by: string, call?: string): Promise<SignRequest>;
  refuse(id: RequestId, reason: string, by: string, call?: string): Promise<SignRequest>;
  /** Notes that the signer is to be reminded of the identification, with the same link, and tells those who follow it. */
  remind(id: RequestId, by: string, call?: string): Promise<SignRequest>;
  /**
   * Has the signer's data corrected while the identification is open: at the provider, and here once the provider has
   * taken it. What is not at the provider is corrected here alone. What came of it is a fact ("ordered").
   */
  correct(id: RequestId, correction: Correction, by: string, call?: string): Promise<SignRequest>;
  /** Has the identification begun anew: the request at the provider is cancelled first, then another one is made. */
  restart(id: RequestId, by: string, call?: string): Promise<SignRequest>;
  /** Hands over the code that the signer was sent. It is kept encrypted, for minutes. */
  giveCode(id: RequestId, secret: string, by: string, call?: string): Promise<SignRequest>;
  /** Has a new code sent. At least a minute after the last one, and a bounded number of times. */
  resendCode(id: RequestId, by: string, call?: string): Promise<SignRequest>;
  /** Throws "too-late" once the signature may have been made. */
  cancel(id: RequestId, by: string, call?: string): Promise<SignRequest>;
  /**
   * Takes a failed or expired request up again at the stage where that makes sense. One that is over, however it ended,
   * and whose cleanup was given up, is cleaned up again and nothing else: it ends as before, and can then be retried as
   * any other.
   */
  retry(id: RequestId, by: string, call?: string): Promise<SignRequest>;
  /** Whether all documents of a request that did not end well were signed as another one: then it is never taken up again. */
  isReplaced(id: RequestId): Promise<boolean>;
  /** A webhook spoke of this request_pk: a hint to look. True when the request is ours. */
  nudge(requestPk: number): Promise<boolean>;
  /** Requests that came through `door`, or of batches, and changed since this was last called; each is returned once per change. */
  takeChanged(door: Door, limit: number): Promise<RequestId[]>;
  /** Puts ids back that could not be dealt with. */
  putBackChanged(door: Door, ids: RequestId[]): Promise<void>;
  /** Calls to the provider that stand still, and why. Empty when all goes. */
  standstills(): Promise<Standstill[]>;
  /** Lets them go on. What stood still. */
  resume(): Promise<Standstill[]>;
  /**
   * Requests by state, jobs by queue and BullMQ state, how many requests are overdue, how many the last round of the
   * reconciler found without a next step, how many are over without having been cleaned up, and how many open ones have
   * a record that cannot be read.
   */
  counts(): Promise<{
    states: Record<string, number>;
    queues: Record<string, Record<string, number>>;
    overdue: number;
    withoutNextStep: number;
    uncleaned: number;
    unreadable: number;
  }>;
}
