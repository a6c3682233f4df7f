import type { SignRequest, StoredDocument } from "../../core/request.ts";
import type { Claim } from "./claim.ts";
import type { createDelivery } from "./delivery.ts";
import { errnoOf } from "./look.ts";
import { resultsOf, resultsOnly, sameIn } from "./together.ts";
import { toWhole } from "./whole.ts";

/**
 * Brings what these documents were signed as to whoever hands them in again. What else was signed with them is not his.
 * Where it is; nowhere, when somebody has removed it since. Throws what the disk says.
 */
export function createLinked({
  deliver,
  signed,
  mustBeHere,
}: {
  /** Brings it to an inbox of its own; left out where it is already. */
  deliver: ReturnType<typeof createDelivery> | undefined;
  /** What the folder of results is called. */
  signed: string;
  /** Throws when the inbox is away: then that something is not there says nothing. */
  mustBeHere: () => void;
}) {
  return async function linked(claim: Claim, of: SignRequest, documents: readonly StoredDocument[]): Promise<string[]> {
    const { ids, isAll } = sameIn(of, documents);
    if (!deliver) {
      const results = isAll ? resultsOf(of) : resultsOnly(of, (id) => ids.has(id));
      return results.map(({ name }) => `${signed}/${of.id}/${name}`);
    }
    try {
      return await deliver({ ...claim, id: of.id, joined: undefined }, toWhole([of], 1), isAll ? undefined : ids);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
      mustBeHere();
      return [];
    }
  };
}
