import { z } from "zod";
import { BatchId } from "../../core/batch.ts";
import { RequestId } from "../../core/request.ts";

/** One of some words; nothing at all is as if it were not there. */
export function oneOf(words: readonly string[]) {
  return z
    .union([z.enum(words as [string, ...string[]]), z.literal("")], `must be one of ${words.join(", ")}`)
    .optional();
}

/** What a list of requests, and a stream of their changes, is narrowed by in the same way. */
export const FILTERS = {
  reference: z.string().max(200).optional().describe("Only requests with exactly this caller's id."),
  group: z
    .union([RequestId, z.literal("")], "must be the id of a group, which is that of its first request")
    .optional()
    .describe("Only requests of this group."),
  batch: z
    .union([BatchId, z.literal("")], "must be the id of a batch")
    .optional()
    .describe("Only rows of this batch."),
};
