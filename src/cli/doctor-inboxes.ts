import { accessSync, constants, existsSync, readdirSync, statSync } from "node:fs";
import type { Settings } from "../config.ts";
import { type ConfiguredInbox, readInboxes } from "../inboxes.ts";
import { examine } from "../producers/inbox/fitness.ts";
import { toLayout } from "../producers/inbox/layout.ts";
import { errnoOf } from "../producers/inbox/look.ts";
import { createPresence, MARKER } from "../producers/inbox/presence.ts";
import { chooseMode } from "../producers/inbox/watch.ts";
import type { Tenants } from "../tenants.ts";
import { roomIn, toSize } from "./doctor-files.ts";
import { fail, type Finding, ok, warn } from "./doctor-finding.ts";

/** The same of every further inbox as of the one in DATA_DIR: it is there, can be written to, renamed within, has room. */
export async function checkInboxes(settings: Settings, tenants: Tenants): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const inbox of readInboxes(settings, tenants)) found.push(...(await checkInbox(settings, inbox)));
  return found;
}

async function checkInbox(settings: Settings, { root, config }: ConfiguredInbox): Promise<Finding[]> {
  const check = `Inbox ${root.name}`;
  const { dir, folders, ours } = toLayout({ dataDir: settings.DATA_DIR, root });
  const absence = createPresence({ dir, inbox: folders.inbox, marked: true }).absence();
  if (absence) {
    const todo = `Mount it; if ${dir} is the right folder and has no ${MARKER} yet, run signpipe inbox init ${root.name}.`;
    return [fail(check, `${dir}: ${absence.message}.`, todo)];
  }
  const found: Finding[] = [];
  if (root.source !== undefined) found.push(...checkSource(check, root.source));
  const missing = Object.values(ours).filter((folder) => !existsSync(folder));
  // Nothing is made here: that is for who serves it.
  const faults = missing.length > 0 ? [] : examine(ours, dir);
  for (const { isFault, message } of faults) {
    const says = `${dir}: ${message}.`;
    found.push(
      isFault ? fail(check, says, "Until then it is not served.") : warn(check, says, "Good to know; it is served."),
    );
  }
  if (missing.length > 0) {
    const says = `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not there.`;
    found.push(warn(check, says, "The next start makes them."));
  }
  const room = await roomIn(dir);
  if (room < settings.DISK_RESERVE_BYTES) {
    found.push(
      fail(check, `${toSize(room)} on its disk`, "Make room: what was taken and what comes back is kept there."),
    );
  }
  if (found.some(({ level }) => level === "fail")) return found;
  const watch = config.watch === undefined || config.watch === "auto" ? undefined : config.watch;
  const mode = existsSync(folders.inbox) ? (watch ?? chooseMode(folders.inbox).mode) : "not watched yet";
  const how = root.source === undefined ? "can be written to and renamed within" : `copies from ${root.source}`;
  return [ok(check, `${dir}: ${how}; ${mode}; ${toSize(room)} of room`), ...found];
}

function checkSource(check: string, source: string): Finding[] {
  try {
    if (!statSync(source).isDirectory()) throw Object.assign(new Error("no folder"), { code: "ENOTDIR" });
    accessSync(source, constants.R_OK | constants.X_OK);
    readdirSync(source);
    return [];
  } catch (error) {
    const todo = "Mount it, or give signpipe the right to read it. Nothing is taken until then, and nothing is lost.";
    return [fail(check, `its source ${source} cannot be read (${errnoOf(error)}).`, todo)];
  }
}
