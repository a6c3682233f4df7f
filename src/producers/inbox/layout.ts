import { join } from "node:path";
import { FOLDERS, type InboxRoot } from "./config.ts";
import { folderOf, type RawName } from "./names.ts";
import type { Standing } from "./read-request.ts";
import { standingOn } from "./route.ts";

/** Where everything is that belongs to an inbox: the one in DATA_DIR, or one of its own. Pure. */
export function toLayout({ dataDir, root }: { dataDir: string; root: InboxRoot | undefined }) {
  const dir = root?.dir ?? dataDir;
  const places = { ...FOLDERS, ...root?.folders };
  const at = (name: string) => join(dir, name);
  const folders = {
    inbox: root?.source ?? at(places.inbox),
    work: at(".work"),
    failed: at(places.failed),
    duplicates: at(places.duplicates),
    archive: at(places.archive),
    status: at(places.status),
    signed: at(places.signed),
  };
  const { inbox, signed, ...rest } = folders;
  // A source is only read; results go where all others are unless the inbox has its own folder for them.
  const ours = { ...(root?.source === undefined && { inbox }), ...rest, ...(root && { signed }) };
  return { dir, places, folders, ours };
}

/** What holds for a file of an inbox, by where it lies; undefined beside its route. */
export function createStandings(root: InboxRoot | undefined): (raw: RawName) => Standing | undefined {
  const whole: Standing = { defaults: root?.defaults, tenant: root?.tenant };
  const route = root?.route;
  if (!route) return () => whole;
  const known = new Map<RawName, Standing | undefined>();
  return (raw) => {
    const folder = folderOf(raw);
    if (!known.has(folder)) known.set(folder, standingOn(route, folder, whole));
    return known.get(folder);
  };
}
