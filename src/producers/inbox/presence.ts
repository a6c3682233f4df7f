import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "./look.ts";

/** Says that a folder is the one that was meant, and not the empty place where it is mounted. */
export const MARKER = ".signing-root";

/** Why an inbox is not served at the moment: a code, and a sentence for the operator. */
export interface Absence {
  code: "inbox-missing" | "inbox-unmarked" | "inbox-other-disk" | "inbox-elsewhere" | "inbox-unled" | "inbox-unfit";
  message: string;
}

export type Presence = ReturnType<typeof createPresence>;

/**
 * Whether an inbox is there. A mount that goes away leaves an empty folder behind, which must not be read as "all files
 * were taken away", nor be written to. With `marked` the folder has to have its marker; then it is there again as soon as
 * the marker is, on whatever device. Without one it has to be on the device on which it was at first.
 */
export function createPresence({ dir, inbox, marked }: { dir: string; inbox: string; marked: boolean }) {
  const folder = marked ? dir : inbox;
  let device: number | undefined;

  return {
    /** Undefined when it is there. Never makes anything. */
    absence(): Absence | undefined {
      if (!marked) {
        // That it is not there at all is what its listing says.
        if (!this.isAnother()) return undefined;
        return {
          code: "inbox-other-disk",
          message: "its folder is on another disk than before: mount what is missing",
        };
      }
      try {
        readFileSync(join(dir, MARKER));
        return undefined;
      } catch (error) {
        return toAbsence(errnoOf(error), isThere(dir));
      }
    },

    /** Whether it is on another device than when it was last arrived at: mounted anew, unseen. */
    isAnother(): boolean {
      const is = deviceOf();
      return device !== undefined && is !== undefined && is !== device;
    },

    /** It is served from now on, as it is. */
    arrive(): void {
      device = deviceOf();
    },
  };

  function deviceOf(): number | undefined {
    return statSync(folder, { throwIfNoEntry: false })?.dev;
  }
}

function isThere(dir: string): boolean {
  try {
    return statSync(dir).isDirectory();
  } catch {
    return false;
  }
}

function toAbsence(reason: string, isFolderThere: boolean): Absence {
  if (isFolderThere && reason === "ENOENT") {
    const message = `it has no ${MARKER}: mount what is missing, or, if this is the right folder, run signpipe inbox init`;
    return { code: "inbox-unmarked", message };
  }
  return { code: "inbox-missing", message: `its folder cannot be looked at (${reason}): mount it again` };
}
