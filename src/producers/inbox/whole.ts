import { hasClaim } from "../../core/bundle.ts";
import { memberIds } from "../../core/group.ts";
import type { SignRequest } from "../../core/request.ts";
import { isEnd, type Phase } from "../../core/status.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { Claim } from "./claim.ts";

/** What is told first of several: where somebody is waited for; of what is over, what went wrong. */
const TOLD_FIRST = [
  "waiting",
  "retrying",
  "running",
  "queued",
  "failed",
  "expired",
  "refused",
  "cancelled",
  "done",
] as const satisfies readonly Phase[];

/** What has become of a claim, in all of its requests. */
export interface Whole {
  /** Those that are there, in order. */
  requests: SignRequest[];
  /** Requests of earlier attempts as which some of its documents were signed. */
  earlier: SignRequest[];
  /** The state of all, and the request that it is that of. */
  state: Phase;
  lead: SignRequest;
  /** Nothing happens any more unless somebody retries one. */
  isOver: boolean;
  updatedMs: number;
}

/** Reads what has become of a claim; undefined when nothing of it was accepted. Throws what Redis says. */
export async function readWhole(pipeline: Pick<Pipeline, "find">, claim: Claim): Promise<Whole | undefined> {
  const joined = claim.joined === undefined ? undefined : await pipeline.find(claim.joined);
  // A crash may have come before it joined, and it may have become a request of its own since.
  const isJoined = joined !== undefined && hasClaim(joined, claim.id);
  const first = isJoined ? joined : await pipeline.find(claim.id);
  if (!first) return undefined;
  if (isJoined) return toWhole([first], 1);
  const of = claim.requests ?? 1;
  const others = await Promise.all(
    memberIds({ id: claim.id, of })
      .slice(1)
      .map((id) => pipeline.find(id)),
  );
  const earlier = await Promise.all((claim.signedAs ?? []).map((id) => pipeline.find(id)));
  return toWhole([first, ...others.filter((one) => one !== undefined)], of, {
    earlier: earlier.filter((one) => one !== undefined),
  });
}

/** Puts together what has become of `of` requests. Those that are not there yet are about to be made of the first one. Pure. */
export function toWhole(
  requests: [SignRequest, ...SignRequest[]],
  of: number,
  { earlier = [] }: { earlier?: SignRequest[] } = {},
): Whole {
  const [first] = requests;
  const lead = requests.reduce((one, other) => (rank(other) < rank(one) ? other : one));
  // Over before it has made the others: it cannot, and its failure says why.
  const isComplete = requests.length === of || (isEnd(first.phase) && first.facts["rest"] !== undefined);
  const isOver = isComplete && requests.every(({ phase }) => isEnd(phase));
  return {
    requests,
    earlier,
    state: isOver || !isEnd(lead.phase) ? lead.phase : "queued",
    lead,
    isOver,
    updatedMs: Math.max(...requests.map(({ updatedMs }) => updatedMs)),
  };
}

function rank({ phase }: SignRequest): number {
  return TOLD_FIRST.indexOf(phase);
}
