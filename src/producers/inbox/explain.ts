import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { formatOf } from "../manifest.ts";
import type { InboxConfig } from "./config.ts";
import { announcementOf, DEFAULTS, isIgnored, REQUEST, toGlobTest, toKind } from "./ignore.ts";
import { lookAt, lookAtFolder, peek } from "./look.ts";
import { fromText, type RawName, toPath, toVisible } from "./names.ts";
import { createPairs } from "./pairs.ts";
import { isEnough, readSmall, type Standing, toManifest, Unusable } from "./read-request.ts";

/** One thing that decides about a file: the rule, and what it says of this one. */
export interface Ruling {
  rule: string;
  says: string;
}

export interface Explained {
  /** What would happen to it now, leaving time aside. */
  verdict: "ignored" | "waits" | "taken" | "fails";
  rulings: Ruling[];
}

/**
 * What would become of a file or folder of an inbox, and which rules decide. Looks only: nothing is moved, made or opened
 * for writing. Whether it still changes takes time to tell, and whether it is a duplicate the records: neither is asked.
 */
export function explain(
  name: string,
  { inbox, config, standing }: { inbox: string; config: InboxConfig; standing: Standing },
): Explained {
  const raw = fromText(name);
  const rulings: Ruling[] = [];
  const tell = (rule: string, says: string) => void rulings.push({ rule, says });
  const end = (verdict: Explained["verdict"]): Explained => ({ verdict, rulings });

  if (raw === DEFAULTS) {
    tell("defaults", "it says who signs the PDFs that come alone, and stays");
    return end("ignored");
  }
  if (isIgnored(raw)) {
    tell("ignored", "names like this are never looked at: hidden, temporary, or left behind by a system");
    return end("ignored");
  }
  const glob = (config.ignore ?? []).find((one) => toGlobTest(one)(raw));
  if (glob !== undefined) {
    tell("ignored", `the inbox's own pattern ${glob} hits it`);
    return end("ignored");
  }
  const stats = lstatSync(toPath(inbox, raw), { throwIfNoEntry: false });
  if (!stats) {
    tell("there", "it is not in the inbox");
    return end("ignored");
  }
  const kind = toKind(Object.assign(stats, { name: raw }));
  tell("kind", kind ?? "nobody's business");
  if (kind === "special") {
    tell("taken", "it is a link, a pipe or a device: it is given back unopened");
    return end("fails");
  }
  const pairs = pairsOf(inbox);
  if (kind === "sidecar" || (kind === "other" && pairs.has(pairs.documentOf(raw)) && pairs.documentOf(raw) !== raw)) {
    const file = pairs.documentOf(raw);
    tell("sidecar", pairs.has(file) ? `it says who signs ${toVisible(file)}` : `it waits for ${toVisible(file)}`);
    return end(pairs.has(file) ? "taken" : "waits");
  }
  if (config.protocol === "done-file" && !pairs.has(announcementOf(raw))) {
    tell("protocol", `done-file: it waits for ${toVisible(announcementOf(raw))}`);
    return end("waits");
  }
  return kind === "folder" ? explainFolder(raw) : explainFile(raw, kind === "pdf");

  function explainFolder(folder: RawName): Explained {
    const path = join(inbox, Buffer.from(folder, "latin1").toString());
    const look = lookAtFolder(path);
    if (!look) return end("waits");
    tell(
      "folder",
      `${look.pdfs.length} PDFs, ${look.others.length} other files, ${look.isReady ? "complete" : "not said to be complete"}`,
    );
    if (look.isUnfinished) {
      tell("settled", "a file in it has a name as if it were still being written");
      return end("waits");
    }
    if (look.hasRequest) return explainManifest(join(path, REQUEST), REQUEST, "folder");
    tell("manifest", `it has no ${REQUEST}`);
    return end("fails");
  }

  function explainFile(file: RawName, isPdf: boolean): Explained {
    const sidecar = pairs.sidecarOf(file);
    const seen = lookAt(toPath(inbox, file));
    if (isPdf && seen) {
      const extent = seen.mark.sizeBytes === 0 ? "empty" : peek(toPath(inbox, file));
      tell(
        "complete",
        { whole: "its end is there", cut: "its end is missing", empty: "it is empty", foreign: "it is no PDF" }[extent],
      );
      if (extent === "cut" || extent === "empty") return end("waits");
      if (extent === "foreign") return end("fails");
    }
    if (sidecar !== undefined) {
      tell("sidecar", toVisible(sidecar));
      return explainManifest(toPath(inbox, sidecar), sidecar, "file", { isPdf });
    }
    if (!isPdf) {
      tell("sidecar", "none: files of other kinds need one, and stay without");
      return end("waits");
    }
    if (config.protocol === "manifest") {
      tell("protocol", "manifest: it waits for a JSON file of its own");
      return end("waits");
    }
    tell("sidecar", `none: ${pairs.has(DEFAULTS) ? DEFAULTS : "what is set for this inbox"} holds`);
    return explainManifest(join(inbox, DEFAULTS), DEFAULTS, "file", { isPdf });
  }

  function explainManifest(
    path: string | Buffer,
    called: RawName,
    form: "folder" | "file",
    { isPdf = true } = {},
  ): Explained {
    try {
      const bytes = readSmall(path);
      if (!bytes && !isEnough(standing)) {
        tell("manifest", "nobody says who signs");
        return end("fails");
      }
      const manifest = toManifest(bytes ?? {}, called, form, standing);
      tell("tenant", manifest.tenant ?? "default");
      tell("workflow", manifest.workflow);
      tell("defaults", Object.keys(standing.defaults ?? {}).join(", ") || "none of this inbox");
      if (isPdf || formatOf(manifest) === "cms") return end("taken");
      tell("manifest", "it is no PDF, and its JSON file does not ask for a signature apart");
      return end("fails");
    } catch (error) {
      if (!(error instanceof Unusable)) throw error;
      tell("manifest", error.reason.message);
      return end("fails");
    }
  }
}

function pairsOf(inbox: string) {
  const names = new Set(readdirSync(inbox, { encoding: "latin1" }));
  const has = (raw: RawName) => names.has(raw);
  const pairs = createPairs({ has });
  for (const name of names) if (name.endsWith(".json")) pairs.see(name);
  return { ...pairs, has };
}
