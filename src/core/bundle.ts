import { z } from "zod";
import { REQUEST_DOCUMENTS } from "./group.ts";
import { type RequestId, type SignRequest, StoredDocument } from "./request.ts";
import { isEnd } from "./status.ts";

/** What makes a request one that further files may join: until when it waits for them, and how many it takes in all. */
export const Bundle = z.object({ untilMs: z.number(), most: z.int().min(1).max(REQUEST_DOCUMENTS) });
export type Bundle = z.infer<typeof Bundle>;

/** Where documents are not yet at the provider: one that comes on top costs nothing but a line in the record. */
const BEFORE_UPLOAD = ["create", "evidences", "identify", "approve", "upload"];
/** Where they are there, and no code is out yet. Before the code leaves, what is there is compared with what should be. */
const BEFORE_CODE = ["contract", "otp"];

const Facts = z.object({
  bundle: Bundle.optional().catch(undefined),
  documents: z.array(StoredDocument).catch([]),
  otp: z.unknown().optional(),
  order: z.looseObject({ kind: z.string() }).optional().catch(undefined),
  begun: z.looseObject({ otp: z.number().optional(), sign: z.number().optional() }).catch({}).default({}),
});

/**
 * Whether a further document may join a request. "open": now, and the stage it is at goes on; "again": now, and what is at
 * the provider is sent anew. "busy": not at this moment, because a call is under way that tells of the documents there
 * are. "closed": never, because it is full, over, about to be another signer's, or the code to sign these documents with is out. Pure.
 */
export function joinable({ stage, phase, intent, ending, facts }: SignRequest): "open" | "again" | "busy" | "closed" {
  const { bundle, documents, otp, begun, order } = Facts.parse(facts);
  const isOver = isEnd(phase) || ending !== undefined;
  const isOut = otp !== undefined || begun.otp !== undefined || begun.sign !== undefined;
  const isCorrected = order?.kind === "correction";
  if (!bundle || isOver || isOut || isCorrected || documents.length >= bundle.most) return "closed";
  if (BEFORE_UPLOAD.includes(stage)) return stage === "upload" && intent ? "busy" : "open";
  if (!BEFORE_CODE.includes(stage)) return "closed";
  if (intent) return "busy";
  // What is to be repeated is not taken back: it sends itself back, once it comes to the code.
  return phase === "retrying" ? "open" : "again";
}

/** Whether a request waits for further documents at this moment: nothing goes to the provider before the time is over. */
export function waitsForMore({ most, untilMs }: Bundle, documents: number, nowMs: number): boolean {
  return documents < most && nowMs < untilMs;
}

/** The claims of the inbox whose documents a request has, in order. The one that it began with has its own id. */
export function claimsIn({ facts }: Pick<SignRequest, "facts">): RequestId[] {
  const { documents } = Facts.parse(facts);
  return [...new Set(documents.map(({ id }) => id.split("/", 1)[0] ?? ""))];
}

/** Whether a request has the documents of this claim. */
export function hasClaim(request: Pick<SignRequest, "facts">, claim: RequestId): boolean {
  return claimsIn(request).includes(claim);
}

/** What a request says of itself that further documents may join, and whether they still may; undefined where none ever could. */
export function bundleOf(request: SignRequest): (Bundle & { isOpen: boolean }) | undefined {
  const { bundle } = isBundle(request) ? Facts.parse(request.facts) : {};
  return bundle && { ...bundle, isOpen: joinable(request) !== "closed" };
}

/** Whether further documents may join, or might have, a request. */
export function isBundle({ facts }: Pick<SignRequest, "facts">): boolean {
  return facts["bundle"] !== undefined; // asked at each step of every request
}
