import { rm } from "node:fs/promises";
import type { Claim, Claims, Wanted } from "./claim.ts";
import { announcementOf } from "./ignore.ts";
import { errnoOf } from "./look.ts";
import { type RawName, toPath } from "./names.ts";
import type { Ready, Tracker } from "./tracker.ts";

/** Somebody has the file open, or we may not take it. */
const BUSY = new Set(["EBUSY", "EACCES", "EPERM", "ESTALE", "ETXTBSY"]);
/** Taking so many, and most of what is there, makes more events than beginning to watch anew would cost. */
const MANY = 1_000;

/** Claims what is ready, and has the tracker forget what is gone with it. */
export function createClaiming({
  inbox,
  claims,
  tracker,
  isAnnounced,
  paused,
  taken,
  fault,
}: {
  inbox: string;
  claims: Pick<Claims, "takeAll">;
  tracker: Pick<Tracker, "hold" | "forget" | "size">;
  /** Whether files that say of others that they are complete go with these. */
  isAnnounced: boolean;
  /** Does `act` while nothing is heard of what it does. */
  paused: (act: () => Promise<void>) => Promise<void>;
  taken: (claims: Claim[]) => void;
  /** The world is at fault, and not a file. */
  fault: (error: unknown) => void;
}) {
  return async function claimAll(ready: readonly Ready[], breathe: () => Promise<void>): Promise<void> {
    const wanted = ready.map(({ item, sidecar, print }): Wanted => {
      const form = item.kind === "folder" || item.kind === "special" ? item.kind : "file";
      // What was copied is another file than the one that was seen.
      const mark = form === "file" && !print ? item.mark : undefined;
      return { form, raw: item.raw, sidecar, mark, print };
    });
    const held = new Map<RawName, unknown>();
    const couldNot = ({ raw }: Wanted, error: unknown) => {
      held.set(raw, error);
      if (!BUSY.has(errnoOf(error))) fault(error);
    };
    const take = async () => taken(await claims.takeAll(wanted, couldNot, breathe));
    try {
      if (ready.length >= MANY && 2 * ready.length >= tracker.size()) await paused(take);
      else await take();
    } catch (error) {
      return fault(error);
    }
    for (const { item, sidecar } of ready) {
      if (held.has(item.raw)) {
        tracker.hold(item, held.get(item.raw));
        continue;
      }
      if (isAnnounced) {
        // Left behind, it would say of the next file of this name that it is complete.
        await rm(toPath(inbox, announcementOf(item.raw)), { force: true }).catch(() => {});
      }
      tracker.forget(item.raw);
      if (sidecar !== undefined) tracker.forget(sidecar);
    }
  };
}
