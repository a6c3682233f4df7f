import { DEFAULTS } from "./ignore.ts";
import { lookAt } from "./look.ts";
import { folderOf, inFolderOf, type RawName, toPath } from "./names.ts";
import { readSmall, type Standing, toManifest, Unusable } from "./read-request.ts";
import { brokenDefaults, type Reason } from "./unusable.ts";

type StandingOf = (raw: RawName) => Standing | undefined;

/** Where the file may be that speaks for PDFs in a folder of an inbox: in that folder, or in one that leads to it. */
export function defaultsOver(inbox: string, raw: RawName): string[] {
  const paths: string[] = [];
  for (let folder = folderOf(raw); ; folder = folderOf(folder)) {
    // Names of folders that lead anywhere are text (route.ts).
    paths.push(toPath(inbox, inFolderOf(folder, DEFAULTS)).toString());
    if (folder === "") return paths;
  }
}

/**
 * What is wrong with defaults.json, if anything. One broken file must not send a thousand PDFs back, nor must one that
 * somebody is saving at this moment: PDFs wait in the inbox until it can be used. Read anew only when it changed.
 */
export function createDefaults({ inbox, standingOf }: { inbox: string; standingOf: StandingOf }) {
  const known = new Map<RawName, { key: string; fault: Reason | undefined }>();

  return {
    /** Undefined when the one that speaks for this file can be used, and when there is none. Throws what the file system says. */
    fault(raw: RawName): Reason | undefined {
      for (const path of defaultsOver(inbox, raw)) {
        const seen = lookAt(path);
        if (!seen) continue;
        const key = `${path} ${seen.key}`;
        const folder = folderOf(raw);
        const before = known.get(folder);
        if (before?.key === key) return before.fault;
        const fault = read(path, standingOf(raw));
        known.set(folder, { key, fault });
        return fault;
      }
      return undefined;
    },
  };
}

function read(path: string, standing: Standing | undefined): Reason | undefined {
  try {
    const bytes = readSmall(path);
    if (bytes) toManifest(bytes, DEFAULTS, "file", standing);
    return undefined;
  } catch (error) {
    if (error instanceof Unusable) return brokenDefaults(error.reason);
    throw error;
  }
}
