import type { z } from "zod";
import type { HistoryLine } from "../core/history.ts";
import type { SignRequest } from "../core/request.ts";
import type { Approval } from "../core/signing.ts";
import type { Stage } from "../core/stage.ts";
import type { AccountWishes } from "../core/tenant.ts";
import type { Documents } from "../files/documents.ts";
import type { Results } from "../files/results.ts";
import type { By } from "../files/rewritten.ts";
import type { Space } from "../files/space.ts";
import type { Account, Provider } from "../provider/client.ts";
import type { Codes } from "../queues/codes.ts";
import type { Vault } from "../queues/vault.ts";
import type { Orphans } from "./orphans.ts";
import type { Pictures } from "./pictures.ts";
import type { Seal } from "./seal.ts";

/** What a deployment decides; every length of time in milliseconds. */
export interface Policy {
  /** Who approves an identification when the request does not say: a RAO, or nobody ("auto"). */
  approval: Approval;
  identifyWithinMs: number;
  approveWithinMs: number;
  signWithinMs: number;
  /** How long the outcome of a creation is left open before it is tried once more. */
  createGraceMs: number;
  /** How long a call that was not answered may still be at work at the provider. */
  settleMs: number;
  signSettleMs: number;
  /** How long what the provider signs behind its answer may take before it counts as not signed. */
  asyncGraceMs: number;
  /** The longest pause between two looks at a request whose signer or officer is awaited. */
  longestPauseMs(): number;
  /** How long a safe signed file waits before its copy at the provider goes. */
  deleteGraceMs: number;
  /** The signed file continues the original byte by byte (false when the provider sanitises PDFs). */
  incremental: boolean;
  /** Where the provider tells that it has signed in the background; undefined when it cannot reach us. */
  asyncCallback: string | undefined;
  /** How a document is recognised that was rewritten. */
  compare: By;
}

/** Everything a stage may reach for. Built once in app.ts, replaced in tests. */
export interface Tools {
  provider: Provider;
  /** The account that a request's calls are made on. Throws RetryableError "tenant-not-configured": it waits then. */
  account(wishes: AccountWishes): Account;
  documents: Documents;
  results: Results;
  space: Pick<Space, "need" | "book">;
  vault: Vault;
  codes: Codes;
  orphans: Orphans;
  pictures: Pictures;
  /** Left out where the look at the provider's copies is switched off. */
  seal?: Seal | undefined;
  historyOf(request: SignRequest): Promise<HistoryLine[]>;
  policy: Policy;
}

/** Checks a stage and keeps its name as a literal type. */
export function defineStage<const Name extends string, N extends z.ZodObject, G extends z.ZodObject>(
  stage: Stage<Tools, N, G> & { readonly name: Name },
) {
  return stage;
}
