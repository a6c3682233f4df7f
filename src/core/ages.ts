import { type Duration, toMs } from "./duration.ts";
import type { SignRequest } from "./request.ts";
import type { Phase } from "./status.ts";

/** A wait is looked at this long after its time at the latest. */
const LOOKED_AT_MS = toMs("30m");

export interface AgeLimit {
  phase: Phase;
  /** What it waits for. */
  for?: string;
  /** Whose turn it is. */
  owner: "signpipe" | "the sender" | "the signer" | "the RAO" | "the provider" | "an operator";
  /** Older than this is not in order; where a setting says so, its name. */
  limit: string;
  /** What to do about one that is older. */
  todo: string;
}

const WORKERS = "See that workers for this stage run, and that the housekeeping does (docs/operations.md, Stuck).";
const HOUSEKEEPING =
  "Its time was over and nobody noticed: see that the housekeeping runs (docs/operations.md, Stuck).";

/** Everything that a request may wait for, whose turn it is then, and for how long. */
const WAITS = [
  ["identification", "the signer", "IDENTIFY_WITHIN_MS"],
  ["approval", "the RAO", "APPROVE_WITHIN_MS"],
  ["validation", "the provider", "APPROVE_WITHIN_MS"],
  ["more documents", "the sender", "the window of the bundle and an hour"],
  ["code", "the signer", "SIGN_WITHIN_MS"],
  ["another code", "the signer", "SIGN_WITHIN_MS"],
  ["a new OTP", "the signer", "SIGN_WITHIN_MS"],
  ["word of the creation", "the provider", "CREATE_GRACE_MS and an hour"],
  ["outcome of the decision", "the provider", "SETTLE_MS and an hour"],
  ["outcome of the restart", "the provider", "SETTLE_MS and an hour"],
  ["outcome of the upload", "the provider", "SETTLE_MS and an hour"],
  ["outcome of the signing", "the provider", "SIGN_SETTLE_MS and an hour"],
  ["certificate", "the provider", "24h"],
  ["contract", "the provider", "24h"],
  ["signed documents", "the provider", "24h"],
  ["accepted RAO credentials", "an operator", "a year"],
  ["an accepted billing account", "an operator", "a year"],
  ["a configured tenant", "an operator", "a year"],
  ["room on the disk", "an operator", "a year"],
  ["a disk that can be written to", "an operator", "a year"],
  ["the grace before deletion", "an operator", "DELETE_GRACE_MS and a day"],
] as const;
/** What a wait is called: one that has no limit above is no wait. */
export type WaitName = (typeof WAITS)[number][0];
export const WAIT_NAMES: readonly WaitName[] = WAITS.map(([what]) => what);

/** Every state that a request can stay in, whose turn it is, and for how long. Ends have no limit. */
export const AGE_LIMITS: readonly AgeLimit[] = [
  { phase: "queued", owner: "signpipe", limit: "1h", todo: WORKERS },
  { phase: "running", owner: "signpipe", limit: "45m", todo: WORKERS },
  { phase: "retrying", owner: "signpipe", limit: "30m", todo: WORKERS },
  ...WAITS.map(([what, owner, limit]) => ({ phase: "waiting" as const, for: what, owner, limit, todo: HOUSEKEEPING })),
];

/** The limit that a request is beyond, and how old its state is in milliseconds; undefined when all is in order. */
export function overAge(
  { phase, waiting, updatedMs }: SignRequest,
  nowMs: number,
): { limit: AgeLimit; ageMs: number } | undefined {
  const limit = AGE_LIMITS.find((one) => one.phase === phase && (one.for === undefined || one.for === waiting?.for));
  if (!limit) return undefined;
  if (phase === "waiting" && waiting) {
    const isLate = nowMs > waiting.untilMs + LOOKED_AT_MS;
    return isLate ? { limit, ageMs: nowMs - waiting.sinceMs } : undefined;
  }
  const ageMs = nowMs - updatedMs;
  return ageMs > toMs(limit.limit as Duration) ? { limit, ageMs } : undefined;
}
