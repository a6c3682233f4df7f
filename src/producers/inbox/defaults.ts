import { join } from "node:path";
import { DEFAULTS } from "./ignore.ts";
import { lookAt } from "./look.ts";
import { readSmall, type Standing, toManifest, Unusable } from "./read-request.ts";
import { brokenDefaults, type Reason } from "./unusable.ts";

/**
 * What is wrong with defaults.json, if anything. One broken file must not send a thousand PDFs back, nor must one that
 * somebody is saving at this moment: PDFs wait in the inbox until it can be used. Read anew only when it changed.
 */
export function createDefaults({ inbox, standing }: { inbox: string; standing?: Standing | undefined }) {
  const path = join(inbox, DEFAULTS);
  let key = "";
  let fault: Reason | undefined;

  return {
    path,

    /** Undefined when it can be used, and when there is none. Throws what the file system says. */
    fault(): Reason | undefined {
      const seen = lookAt(path);
      if (!seen) return undefined;
      if (seen.key !== key) {
        fault = read();
        ({ key } = seen);
      }
      return fault;
    },
  };

  function read(): Reason | undefined {
    try {
      const bytes = readSmall(path);
      if (bytes) toManifest(bytes, DEFAULTS, "file", standing);
      return undefined;
    } catch (error) {
      if (error instanceof Unusable) return brokenDefaults(error.reason);
      throw error;
    }
  }
}
