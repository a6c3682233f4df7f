import { createHash } from "node:crypto";
import { z } from "zod";
import { RequestId, toRequestId } from "./request.ts";

/** The provider takes this many documents in one request. @source docs/provider.md §Upload */
export const REQUEST_DOCUMENTS = 10;

/** Where a request stands among those that were handed in together: the `n`th `of` so many, beginning with 1. */
export const GroupPlace = z.object({
  /** The id of the group, which is that of its first request. */
  id: RequestId,
  n: z.int().positive(),
  of: z.int().positive(),
});
export type GroupPlace = z.infer<typeof GroupPlace>;

/**
 * The documents in order, in as few requests as can take them. They are spread evenly: no request has more than one
 * document more than another. One request for `REQUEST_DOCUMENTS` or fewer.
 */
export function splitDocuments<T>(documents: readonly T[]): T[][] {
  const requests = Math.max(Math.ceil(documents.length / REQUEST_DOCUMENTS), 1);
  const from = (n: number) => Math.ceil((n * documents.length) / requests);
  return Array.from({ length: requests }, (_, n) => documents.slice(from(n), from(n + 1)));
}

/**
 * The id of a group's `n`th request, beginning with 1. It follows from the group's own, so that whoever finishes a group
 * that a crash left half made makes the same request, and not one more.
 */
export function memberId(group: RequestId, n: number): RequestId {
  return n === 1 ? group : toRequestId(createHash("sha256").update(`${group} ${n}`).digest());
}

/** The ids of all requests of a group, in order. */
export function memberIds({ id, of }: Pick<GroupPlace, "id" | "of">): RequestId[] {
  return Array.from({ length: of }, (_, i) => memberId(id, i + 1));
}
