import { lstatSync, readdirSync } from "node:fs";
import type { Format } from "../../core/signing.ts";
import { formatOf, isSameName, type Manifest, namedFiles } from "../manifest.ts";
import type { InboxConfig } from "./config.ts";
import { defaultsOver } from "./defaults.ts";
import { announcementOf, DEFAULTS, isIgnored, isResultsName, REQUEST, toGlobTest, toKind } from "./ignore.ts";
import { type FolderLook, lookAt, lookAtFolder, peek, printNow } from "./look.ts";
import { folderOf, inFolderOf, nameOf, type RawName, toPath, toText, toVisible } from "./names.ts";
import { createPairs } from "./pairs.ts";
import { isEnough, readSmall, type Standing, toManifest, Unusable } from "./read-request.ts";
import { astray, type Route, templateOf, valueOf } from "./route.ts";
import { misplaced, type Reason } from "./unusable.ts";

/** One thing that decides about a file: the rule, and what it says of this one. */
export interface Ruling {
  rule: string;
  says: string;
}

/** What would be handed in. */
export interface Offer {
  manifest: Manifest;
  format: Format;
  documents: { path: string | Buffer; name: string }[];
}

export interface Explained {
  /** What would happen to it now, leaving time and earlier requests aside. */
  verdict: "ignored" | "waits" | "taken" | "fails";
  /** In the order in which they are asked; the last one decides. */
  rulings: Ruling[];
  /** Of what would be taken as a request, or several. */
  offer?: Offer;
}

/** The inbox in which a file lies. */
export interface Where {
  inbox: string;
  config: InboxConfig;
  /** What the inbox itself says. */
  whole: Standing;
  /** The same with what the folders say that lead to a file. */
  standingOf: (raw: RawName) => Standing | undefined;
  route: Route | undefined;
  /** Which were copied already, where files are not taken away. */
  taken?: { has(raw: RawName, print: string): boolean } | undefined;
}

/**
 * What would become of a file or folder of an inbox, and which rules decide. Looks only: nothing is moved, made or opened
 * for writing. Whether it still changes takes time to tell, and whether it is a duplicate the records: neither is asked.
 */
export function explain(raw: RawName, where: Where): Explained {
  const { inbox, config, standingOf, route, taken } = where;
  const rulings: Ruling[] = [];
  const tell = (rule: string, says: string) => void rulings.push({ rule, says });
  const end = (verdict: Explained["verdict"], offer?: Offer): Explained => ({
    verdict,
    rulings,
    ...(offer && { offer }),
  });
  const name = nameOf(raw);

  if (name === DEFAULTS) {
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
  if (route) {
    const stray = strayOn(route, raw, stats.isDirectory());
    if (stray === "leads") {
      tell("route", `it is one of the folders ${templateOf(route)}: it stays, and what is in it is looked at`);
      return end("ignored");
    }
    tell("route", stray?.message ?? `it lies in a folder ${templateOf(route)}`);
    if (stray) return end("waits");
  }
  const kind = toKind(Object.assign(stats, { name }));
  tell("kind", kind ?? "nobody's business");
  if (kind === "special") {
    tell("taken", `it is a link, a pipe or a device: it ${taken ? "stays" : "is given back"} unopened`);
    return end(taken ? "waits" : "fails");
  }
  const pairs = pairsIn(inbox, folderOf(raw));
  if (kind === "sidecar" || (kind === "other" && pairs.has(pairs.documentOf(raw)) && pairs.documentOf(raw) !== raw)) {
    const file = pairs.documentOf(raw);
    tell("sidecar", pairs.has(file) ? `it says who signs ${toVisible(file)}` : `it waits for ${toVisible(file)}`);
    return end(pairs.has(file) ? "taken" : "waits");
  }
  const isFolder = kind === "folder";
  if (taken?.has(raw, printNow(inbox, { raw, sidecar: isFolder ? undefined : pairs.sidecarOf(raw), isFolder }))) {
    tell("ledger", "a copy of it was taken as it is now; it stays, and is taken again when it changes");
    return end("ignored");
  }
  if (config.protocol === "done-file" && !pairs.has(announcementOf(raw))) {
    tell("protocol", `done-file: it waits for ${toVisible(announcementOf(raw))}`);
    return end("waits");
  }
  if (kind === "folder") return explainFolder();
  if (kind === "other" && isResultsName(raw) && pairs.sidecarOf(raw) === undefined) {
    tell("results", "it says what came of a batch: what failed in that is tried again");
    return end("taken");
  }
  return explainFile(kind === "pdf");

  function explainFolder(): Explained {
    const path = toPath(inbox, raw);
    const look = lookAtFolder(path);
    if (!look) return end("waits");
    tell(
      "folder",
      `${look.pdfs.length} PDFs, ${look.others.length} other files, ${look.isReady ? "complete" : "not said to be complete"}`,
    );
    if (look.isUnfinished) {
      tell("complete", "a file in it has a name as if it were still being written");
      return end("waits");
    }
    if (look.isBatch) {
      tell(
        "batch",
        "it has a table, each row of which becomes a request (signpipe batch --check tries it), or the results of one, of which what failed is tried again",
      );
      return end("taken");
    }
    if (look.hasRequest) return explainManifest([inFolderOf(raw, REQUEST)], "folder", (read) => inFolder(look, read));
    tell("manifest", `it has no ${REQUEST}`);
    return end("fails");
  }

  function inFolder({ pdfs, others }: FolderLook, manifest: Manifest): Offer["documents"] {
    const named = namedFiles(manifest.identity);
    const files = formatOf(manifest) === "cms" ? [...pdfs, ...others] : pdfs;
    return files
      .filter((one) => !named.some((file) => isSameName(file.name, toText(one))))
      .map((one) => ({ path: toPath(inbox, inFolderOf(raw, one)), name: toText(one) }));
  }

  function explainFile(isPdf: boolean): Explained {
    const alone = () => [{ path: toPath(inbox, raw), name: toText(name) }];
    const sidecar = pairs.sidecarOf(raw);
    const seen = lookAt(toPath(inbox, raw));
    if (isPdf && seen) {
      const extent = seen.mark.sizeBytes === 0 ? "empty" : peek(toPath(inbox, raw));
      tell(
        "complete",
        { whole: "its end is there", cut: "its end is missing", empty: "it is empty", foreign: "it is no PDF" }[extent],
      );
      if (extent === "cut" || extent === "empty") return end("waits");
      if (extent === "foreign") return end("fails");
    }
    if (sidecar !== undefined) {
      tell("sidecar", toVisible(sidecar));
      return explainManifest([sidecar], "file", alone, { isPdf });
    }
    if (!isPdf) {
      tell("sidecar", "none: files of other kinds need one, and stay without");
      return end("waits");
    }
    if (config.protocol === "manifest") {
      tell("protocol", "manifest: it waits for a JSON file of its own");
      return end("waits");
    }
    const over = defaultsOver(inbox, raw).filter((path) => lookAt(path));
    const instead = over[0] ?? (isEnough(standingOf(raw) ?? {}) ? "what is set for this inbox" : undefined);
    tell("sidecar", instead === undefined ? "none, and nothing that holds instead" : `none: ${instead} holds`);
    const defaults = over.map((path) => path.slice(inbox.length + 1));
    return explainManifest(defaults.slice(0, 1), "file", alone, { isPdf });
  }

  /** The manifest in the first of these, or none at all. */
  function explainManifest(
    [called = DEFAULTS]: readonly RawName[],
    form: "folder" | "file",
    offered: (manifest: Manifest) => Offer["documents"],
    { isPdf = true } = {},
  ): Explained {
    const standing = standingOf(raw) ?? {};
    try {
      const bytes = readSmall(toPath(inbox, called));
      if (!bytes && !isEnough(standing)) {
        tell("manifest", "nobody says who signs");
        return end("fails");
      }
      const manifest = toManifest(bytes ?? {}, called, form, standing);
      tell("tenant", `${manifest.tenant ?? "default"}${standing.tenant === undefined ? "" : " (set for this place)"}`);
      tell("workflow", manifest.workflow);
      tell("defaults", sourcesOf(standing, where, bytes && called) || "none");
      if (isPdf || formatOf(manifest) === "cms") {
        return end("taken", { manifest, format: formatOf(manifest), documents: offered(manifest) });
      }
      tell("manifest", "it is no PDF, and its JSON file does not ask for a signature apart");
      return end("fails");
    } catch (error) {
      if (!(error instanceof Unusable)) throw error;
      tell("manifest", error.reason.message);
      return end("fails");
    }
  }
}

/** Which fields are said where, without what they say: a signer is nobody else's business. */
function sourcesOf(
  { defaults = {}, fixed = {}, tenant }: Standing,
  { whole }: Where,
  file: RawName | undefined,
): string {
  const byFolder = [...Object.keys(fixed), ...(tenant !== undefined && tenant !== whole.tenant ? ["tenant"] : [])];
  const byInbox = Object.keys(whole.defaults ?? {}).filter((key) => key in defaults && !byFolder.includes(key));
  if (whole.tenant !== undefined && !byFolder.includes("tenant")) byInbox.push("tenant");
  return [
    file !== undefined && nameOf(file) === DEFAULTS ? `what ${toVisible(file)} says` : "",
    byFolder.length > 0 ? `${byFolder.join(", ")} from its folders` : "",
    byInbox.length > 0 ? `${byInbox.join(", ")} from INBOXES_FILE, where the JSON file leaves it out` : "",
  ]
    .filter((part) => part !== "")
    .join("; ");
}

/** What is the matter with the place of an entry; "leads" for a folder of the route. */
function strayOn(route: Route, raw: RawName, isFolder: boolean): Reason | "leads" | undefined {
  const parts = raw.split("/");
  for (const [depth, part] of parts.entries()) {
    const level = route.levels[depth];
    const isLast = depth === parts.length - 1;
    if (!level) return isLast && route.onlyFolders && !isFolder ? misplaced(templateOf(route)) : undefined;
    const way = parts.slice(0, depth + 1).join("/");
    if ((isLast && !isFolder) || valueOf(level, part) === undefined) {
      return astray(route, way, { depth, isFolder: !isLast || isFolder });
    }
  }
  return "leads";
}

function pairsIn(inbox: string, folder: RawName) {
  const at = folder === "" ? inbox : toPath(inbox, folder);
  const all = readdirSync(at, { encoding: "latin1" }).map((name) => inFolderOf(folder, name));
  const names = new Set(all);
  const has = (raw: RawName) => names.has(raw);
  const pairs = createPairs({ has });
  for (const name of names) if (name.endsWith(".json")) pairs.see(name);
  return { ...pairs, has };
}
