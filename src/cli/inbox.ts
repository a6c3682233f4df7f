import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Settings } from "../config.ts";
import { type ConfiguredInbox, defaultInboxConfig, readInboxes } from "../inboxes.ts";
import { createLog } from "../log.ts";
import { FOLDERS, patienceOn } from "../producers/inbox/config.ts";
import { isIgnored, toKind } from "../producers/inbox/ignore.ts";
import { listInbox } from "../producers/inbox/listing.ts";
import { createStandings } from "../producers/inbox/layout.ts";
import { createLedger, LEDGER, type Ledger } from "../producers/inbox/ledger.ts";
import { fromText, isJsonName, type RawName, toDocumentName } from "../producers/inbox/names.ts";
import { createPresence, MARKER } from "../producers/inbox/presence.ts";
import { foldersOfRoute, ROUTES_MOST } from "../producers/inbox/route.ts";
import { chooseMode } from "../producers/inbox/watch.ts";
import { writeOnce } from "../files/durable.ts";
import { readTenants } from "../tenants.ts";
import { testFile } from "./inbox-test.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

const WHAT = ["list", "test", "init", "sweep"] as const;
const DEFAULT = "default";
/** A sweep ends when nothing can become ready any more, or after this. */
const SWEEP_MOST_MS = 3_600_000;

interface Place extends Omit<ConfiguredInbox, "root"> {
  name: string;
  dir: string;
  inbox: string;
  root: ConfiguredInbox["root"] | undefined;
}

interface Asked {
  what: string;
  argument: string | undefined;
  json: boolean;
}

/** `signpipe inbox …`: what inboxes there are, what would become of a file, and one pass by hand. */
export async function inbox(
  settings: Settings,
  { what, argument, json }: Asked,
  { terminal, signal }: { terminal: Terminal; signal: AbortSignal },
): Promise<number> {
  const configured = readInboxes(settings, readTenants(settings, { withSecrets: false }));
  const places = placesOf(settings, configured);
  switch (what) {
    case "list":
      return await list(places, terminal, json);
    case "test":
      return await testOne(settings, places, { what, argument, json }, terminal);
    case "init":
      return await init(places, argument, terminal);
    case "sweep":
      return await sweep(settings, terminal, signal);
    default:
      throw new CliError(`There is no "${what}": there are ${WHAT.join(", ")}.`);
  }
}

function placesOf(settings: Settings, configured: readonly ConfiguredInbox[]): Place[] {
  const dir = settings.DATA_DIR;
  const first = {
    name: DEFAULT,
    dir,
    inbox: join(dir, FOLDERS.inbox),
    root: undefined,
    config: defaultInboxConfig(settings),
  };
  const others = configured.map(({ root, config }) => {
    return {
      name: root.name,
      dir: root.dir,
      inbox: root.source ?? join(root.dir, root.folders?.inbox ?? FOLDERS.inbox),
      root,
      config,
    };
  });
  return [first, ...others];
}

async function list(places: readonly Place[], { out }: Terminal, json: boolean): Promise<number> {
  const told = await Promise.all(
    places.map(async (place) => {
      const { name, dir, inbox: folder, root, config } = place;
      const absence = createPresence({ dir, inbox: folder, marked: root !== undefined }).absence();
      const isThere = !absence && existsSync(folder);
      const own = config.watch === "native" || config.watch === "poll" ? config.watch : undefined;
      const chosen = isThere ? chooseMode(folder) : undefined;
      const counted = (sub: string) => (isThere ? countIn(join(dir, sub)) : 0);
      return {
        name,
        path: dir,
        served: isThere,
        why:
          absence?.message ?? (isThere ? (own ? "the configuration says so" : chosen?.why) : "it is made at the start"),
        mode: own ?? chosen?.mode,
        waiting: isThere ? await countWaiting(place) : 0,
        ...(root?.source !== undefined && {
          source: root.source,
          copied: isThere ? (ledgerOf(place)?.size() ?? 0) : 0,
        }),
        claimed: isThere && root ? countIn(join(dir, ".work")) : undefined,
        failed: counted(root?.folders?.failed ?? FOLDERS.failed),
      };
    }),
  );
  if (json) out.line(JSON.stringify({ inboxes: told }, null, 2));
  else
    for (const { name, path, served, why, mode, waiting, failed, source, copied } of told) {
      out.line(`${out.paint(served ? "green" : "red", name)}  ${path}`);
      // Of what is away nothing is known, which is not the same as nothing.
      const counted = served ? `; ${waiting} waiting, ${failed} in failed` : "";
      out.line(`  ${mode ?? "away"}: ${why ?? ""}${counted}`);
      if (source !== undefined)
        out.line(`  copies from ${source}${served ? `; ${copied} copied, which stay there` : ""}`);
    }
  return told.every(({ served }) => served) ? EXIT.done : EXIT.error;
}

function countIn(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder).filter((name) => !isIgnored(name) && name !== "gate").length;
}

/** What was copied from the source of an inbox, where it has one. */
function ledgerOf({ dir, root }: Place): Ledger | undefined {
  if (root?.source === undefined) return undefined;
  const ledger = createLedger({ path: join(dir, ".work", "gate", LEDGER), now: Date.now });
  ledger.load();
  return ledger;
}

/** What lies where files are dropped, and was not taken yet; a file with its JSON file is one. */
async function countWaiting(place: Place): Promise<number> {
  const ledger = ledgerOf(place);
  const there = new Set<RawName>();
  await listInbox({
    inbox: place.inbox,
    route: place.root?.route,
    see(raw, entry) {
      if (toKind(entry) !== undefined) there.add(raw);
    },
    breathe: () => Promise.resolve(),
  });
  const isSidecar = (raw: RawName) => isJsonName(raw) && there.has(toDocumentName(raw));
  return [...there].filter((raw) => !isSidecar(raw) && !ledger?.knows(raw)).length;
}

async function testOne(
  settings: Settings,
  places: readonly Place[],
  { argument: path, json }: Asked,
  { out }: Terminal,
): Promise<number> {
  if (path === undefined) throw new CliError("Which one? Give the path of a file, or a folder, in an inbox.");
  const whole = resolve(path);
  const place = places.find(({ inbox: folder, root }) =>
    root?.route ? whole.startsWith(`${folder}/`) : dirname(whole) === folder,
  );
  if (!place) {
    const folders = places.map(({ inbox: folder }) => folder).join(", ");
    throw new CliError(`${whole} lies directly in no inbox: they are ${folders}.`);
  }
  const { inbox: folder, config, root } = place;
  const ledger = ledgerOf(place);
  const { verdict, decided_by, rulings } = await testFile(settings, fromText(whole.slice(folder.length + 1)), {
    inbox: folder,
    config: config.settlesForShare ? { ...config, settleMs: patienceOn(folder, config).settleMs } : config,
    whole: { defaults: root?.defaults, tenant: root?.tenant },
    standingOf: createStandings(root),
    route: root?.route,
    taken: ledger,
  });
  if (json) out.line(JSON.stringify({ inbox: place.name, verdict, decided_by, rulings }, null, 2));
  else {
    out.line(`inbox       ${place.name}`);
    for (const { rule, says } of rulings) out.line(`${rule.padEnd(11)} ${says}`);
    out.line(`verdict     ${verdict}, by ${decided_by}`);
  }
  return verdict === "fails" ? EXIT.endedOtherwise : EXIT.done;
}

async function init(places: readonly Place[], name: string | undefined, { out }: Terminal): Promise<number> {
  const place = places.find((one) => one.name === name && one.root !== undefined);
  const names = places.slice(1).map((one) => one.name);
  if (!place) throw new CliError(`Which one? There are ${names.join(", ") || "none in INBOXES_FILE"}.`);
  const isFolder = statSync(place.dir, { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!isFolder) throw new CliError(`${place.dir} is not there: mount it, or make it, first.`);
  await writeOnce(join(place.dir, MARKER), `${place.name}\n`);
  const { route, source } = place.root ?? {};
  // A source is only read.
  const folders = route && source === undefined ? foldersOfRoute(route, ROUTES_MOST) : [];
  for (const folder of folders) mkdirSync(join(place.inbox, folder), { recursive: true, mode: 0o770 });
  out.line(`${place.dir} is the inbox ${place.name} from now on.`);
  if (folders.length > 0) out.line(`${folders.length} folders to drop into are in ${place.inbox}.`);
  if (source !== undefined) {
    const how = existsSync(source) ? "nothing is changed there" : "it is not there now: mount it, or make it";
    out.line(`Files are copied from ${source}; ${how}.`);
  }
  return EXIT.done;
}

/** Takes what can be taken now, once, and ends. */
async function sweep(given: Settings, { out, err }: Terminal, signal: AbortSignal): Promise<number> {
  const { besideRunning, findRunning } = await import("./running.ts");
  const { SIMULATED, start } = await import("../start.ts");
  const earlier = await findRunning(given.DATA_DIR);
  const settings = earlier ? besideRunning(given, earlier, SIMULATED) : given;
  const say = (line: string) => err.line(`signpipe: ${line}`);
  const running = await start(settings, { parts: [], log: createLog(settings.LOG_LEVEL), say, signal });
  const inboxes = running.app.createInboxes();
  const untilMs = Date.now() + SWEEP_MOST_MS;
  let isAway = false;
  try {
    for (const [name, one] of inboxes.all()) {
      for (;;) {
        await one.sweepOnce();
        const { waiting, settling, pending, absence, claimed, failed, duplicates, unusable, pausedMs } = one.status();
        const isOver = absence !== undefined || waiting + settling + pending === 0 || pausedMs > 0;
        if (!isOver && !signal.aborted && Date.now() < untilMs) {
          await pause(250);
          continue;
        }
        isAway ||= absence !== undefined || pausedMs > 0;
        out.line(
          absence
            ? `${name}: ${absence.message}`
            : `${name}: ${claimed} taken, ${failed} failed, ${duplicates} duplicates${unusable > 0 ? `; ${unusable} cannot be taken, and their statuses say why` : ""}`,
        );
        break;
      }
    }
  } finally {
    await inboxes.stop();
    await running.stop();
  }
  return isAway ? EXIT.error : EXIT.done;
}
