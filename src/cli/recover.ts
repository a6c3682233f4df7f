import { existsSync } from "node:fs";
import { foldersOf } from "../app.ts";
import { environment, type Settings } from "../config.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import { isEnd } from "../core/status.ts";
import { findRedis } from "../embedded/redis.ts";
import { createJournal, readJournal } from "../files/journal.ts";
import { deriveKey, findMasterKey } from "../keys.ts";
import { createLog } from "../log.ts";
import { REMEMBER_MS } from "../producers/api/idempotency-types.ts";
import { createAround } from "../queues/around.ts";
import { adopt } from "../queues/gate.ts";
import { GROUPS } from "../queues/keys.ts";
import { createRecovery, type Finding, type ReadLines } from "../queues/recovery.ts";
import { createTrail } from "../queues/trail.ts";
import { renderTable } from "./table.ts";
import { isHere, readRunFile } from "./target.ts";
import { openStores, type Stores } from "./stores.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

/** Rows that are shown; --json has all. */
const ROWS_MOST = 60;
const PAGE = 500;

export interface RecoverOptions {
  /** Do it, instead of telling what would be done. */
  yes: boolean;
  /** Take a Redis that belongs to another DATA_DIR. */
  adopt: boolean;
  /** Go on although the journal is not whole. */
  incomplete: boolean;
  json: boolean;
}

/** What is the matter with one request, and what is done about it. */
interface Row {
  id: RequestId;
  in_redis: string;
  by_journal: string;
  what: string;
  /** Its signer's data, or a document, is nowhere. */
  lacks: string[];
}

/**
 * `signpipe recover`: makes the records of Redis again from the journal, after Redis was lost, emptied, or brought back
 * from an old backup. Tells what it would do, and does it with `yes`. Throws CliError for what a person has to decide.
 */
export async function recover(
  settings: Settings,
  options: RecoverOptions,
  { out, err }: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const file = readRunFile(settings.DATA_DIR);
  const run = file && isHere(file) ? file : undefined;
  if (options.yes && run) {
    throw new CliError(`A signpipe runs on ${settings.DATA_DIR} (process ${run.pid}): stop it, then recover.`);
  }
  const folders = foldersOf(settings.DATA_DIR);
  if (!existsSync(folders.journal)) {
    throw new CliError(`There is no journal in ${folders.journal}: set DATA_DIR to the folder that signpipe ran on.`);
  }
  const masterKey = findMasterKey(settings);
  if (!masterKey)
    throw new CliError("MASTER_KEY is not set, and DATA_DIR/keys has none: without it nothing can be read.");
  const redis = await findRedis({
    url: settings.REDIS_URL ?? run?.redis_url,
    dir: `${settings.DATA_DIR}/redis`,
    keep: true,
    env: environment,
    say: (line) => err.line(`signpipe: ${line}`),
    signal,
  });
  const key = deriveKey(masterKey, "journal");
  const log = createLog("silent");
  const journal = createJournal({ dir: folders.journal, key, log });
  const stores = openStores({ settings, redisUrl: redis.url, masterKey, trail: createTrail(journal) });
  try {
    const report = await work(stores, options, key);
    if (options.json) out.line(JSON.stringify(report, null, 2));
    else tell(report, out);
    return EXIT.done;
  } finally {
    await stores.close();
    await journal.close();
    await redis.stop();
  }
}

type Report = Awaited<ReturnType<typeof work>>;

async function work(stores: Stores, { yes, adopt: mayAdopt, incomplete }: RecoverOptions, key: Uint8Array) {
  const { redis, keys, instance, store, queues, vault, results } = stores;
  await redis.ping().catch(() => {
    throw new CliError("Redis does not answer: start it, or correct REDIS_URL.");
  });
  const [there, here] = await Promise.all([redis.get(keys.instance), instance.read()]);
  const whose = there === null ? ("empty" as const) : there === here ? ("ours" as const) : ("foreign" as const);
  if (yes && whose === "foreign" && !mayAdopt) {
    throw new CliError(
      "This Redis belongs to another DATA_DIR. Correct REDIS_URL, REDIS_PREFIX or DATA_DIR; or, if it is to be this one's from now on, add --adopt.",
    );
  }
  if (yes) await refuseBesideWorkers(stores);

  const known = new Set<RequestId>();
  const first = await readJournal({ dir: stores.folders.journal, key, each: ({ request }) => known.add(request) });
  if (first.lines === 0 && first.flaws.length > 0) {
    throw new CliError("The journal was written under another MASTER_KEY: set the one that signpipe ran with.");
  }
  if (yes && first.flaws.length > 0 && !incomplete) {
    throw new CliError(
      `The journal is not whole (${first.flaws.map(({ file, line, code }) => `${code} in ${file}, line ${line}`).join("; ")}): bring the missing part back from a backup; or, if there is none, add --incomplete.`,
    );
  }
  const readLines: ReadLines = (each) => readJournal({ dir: stores.folders.journal, key, each });
  const restoreAround = createAround({ ...stores, rememberMs: REMEMBER_MS, signerOf: results.signerOf });
  const recovery = createRecovery({ store, queues, restoreAround, log: createLog("silent") });
  const rows: Row[] = [];
  const open: SignRequest[] = [];
  let restored = 0;
  for await (const finding of recovery.compare(readLines, 0)) {
    rows.push(await toRow(finding, stores));
    if (finding.request && !isEnd(finding.request.phase)) open.push(finding.request);
    if (yes && (await recovery.restore(finding))) restored += 1;
  }
  const strangers = await unknownTo(known, stores);
  if (yes) {
    await reindex(stores);
    await adopt({ redis, keys, instance });
  }
  return {
    dry_run: !yes,
    redis: whose,
    journal: { files: first.files, lines: first.lines, requests: known.size, flaws: first.flaws },
    restored,
    requests: rows,
    unknown_to_the_journal: strangers,
    to_check: rows.length === 0 && whose === "ours" ? [] : toCheck(rows, open, strangers),
  };

  async function refuseBesideWorkers({ queues: all }: Stores): Promise<void> {
    const workers = await all.workers();
    if (workers !== undefined && workers > 0) {
      throw new CliError(
        `${workers} workers of this pipeline are connected to Redis: stop every signpipe, then recover.`,
      );
    }
  }

  async function toRow({ id, request, held }: Finding, { documents, spare }: Stores): Promise<Row> {
    const inRedis = held ? positionOf(held.request) : "nothing";
    if (!request) {
      const what = "cannot be put back: its beginning is not in the journal";
      return { id, in_redis: inRedis, by_journal: "not known", what, lacks: [] };
    }
    const lacks: string[] = [];
    if (!isEnd(request.phase)) {
      const signer = (await vault.read(id).catch(() => undefined)) ?? (await spare.read(id));
      if (!signer) lacks.push("signer");
      const kept = (request.facts["documents"] ?? []) as { id: string }[];
      if (!kept.every((document) => existsSync(documents.path(document)))) lacks.push("documents");
    }
    return { id, in_redis: inRedis, by_journal: positionOf(request), what: whatHappens(request), lacks };
  }
}

/** Gives every open request its place among what is looked at, its request_pk for webhooks, and a job. */
async function reindex({ redis, keys, store, queues }: Stores): Promise<void> {
  for (const group of ["active", "waiting"] as const) {
    const ids = await redis.zrange(keys.index(group), "0", "-1");
    for (let at = 0; at < ids.length; at += PAGE) {
      for (const { id, stage, phase, facts } of await store.readMany(ids.slice(at, at + PAGE))) {
        if (isEnd(phase)) continue;
        await redis.zadd(keys.due, "NX", Date.now(), id);
        const pk = facts["requestPk"] as number | undefined;
        if (pk !== undefined) await redis.hset(keys.pks, pk, id);
        await queues.revive(stage, id, { now: true });
      }
    }
  }
}

/** Requests that Redis has and the journal does not know: somebody else's, or from before there was a journal. */
async function unknownTo(known: Set<RequestId>, { redis, keys }: Stores): Promise<RequestId[]> {
  const lists = await Promise.all(GROUPS.map((group) => redis.zrange(keys.index(group), "0", "-1")));
  return lists.flat().filter((id) => !known.has(id));
}

function positionOf({ stage, phase, waiting }: SignRequest): string {
  if (isEnd(phase)) return phase;
  return `${stage} ${phase}${waiting && phase === "waiting" ? ` for ${waiting.for}` : ""}`;
}

function whatHappens({ phase, intent, stage }: SignRequest): string {
  if (isEnd(phase)) return "the record is put back";
  if (intent) return `goes on at ${stage}, which first settles whether its "${intent.effect}" was done`;
  return phase === "waiting" ? "waits on" : `goes on at ${stage}`;
}

/** What a person should look at afterwards. */
function toCheck(rows: Row[], open: SignRequest[], strangers: RequestId[]): string[] {
  const some = (ids: string[]) => `${ids.slice(0, 5).join(", ")}${ids.length > 5 ? ` and ${ids.length - 5} more` : ""}`;
  const lacking = (what: string) => rows.filter(({ lacks }) => lacks.includes(what)).map(({ id }) => id);
  const creating = open.filter(({ intent }) => intent?.effect === "create").map(({ id }) => id);
  const codes = open.filter(({ stage }) => stage === "sign").map(({ id }) => id);
  const lost = rows.filter(({ by_journal }) => by_journal === "not known").map(({ id }) => id);
  const list: [string[], (ids: string) => string][] = [
    [
      lost,
      (ids) => `Not put back: ${ids}. Bring the journal's missing files from a backup, or have them handed in anew.`,
    ],
    [
      creating,
      (ids) =>
        `A creation was begun and its outcome is not known: ${ids}. They wait for its webhook; a second one that fails as well ends with unknown-outcome (docs/operations.md).`,
    ],
    [lacking("signer"), (ids) => `Who signs is not known any more: ${ids}. Cancel them, and have them handed in anew.`],
    [lacking("documents"), (ids) => `Documents are missing in .work: ${ids}. Bring them back from a backup.`],
    [codes, (ids) => `Codes that were given and not used are gone: ${ids}. Give them again, or: signpipe resend <id>.`],
    [
      strangers,
      (ids) =>
        `Redis has requests that the journal does not know: ${ids}. Find out whose they are before you start workers.`,
    ],
  ];
  return [
    ...list.filter(([ids]) => ids.length > 0).map(([ids, say]) => say(some(ids))),
    "Then start signpipe, and look with: signpipe doctor; signpipe verify --all.",
  ];
}

function tell({ dry_run: isDry, redis, journal, requests, restored, to_check }: Report, out: Terminal["out"]): void {
  const words = { empty: "empty", ours: "this DATA_DIR's own", foreign: "another DATA_DIR's" };
  out.line(`Redis is ${words[redis]}. The journal has ${journal.lines} lines about ${journal.requests} requests.`);
  for (const { file, line, code } of journal.flaws) out.line(out.paint("red", `${code}: ${file}, line ${line}`));
  if (requests.length > 0) {
    out.line();
    const columns = [
      { title: "Request" },
      { title: "In Redis" },
      { title: "By the journal" },
      { title: isDry ? "What would happen" : "What happened" },
    ];
    const cells = requests.slice(0, ROWS_MOST).map(({ id, in_redis, by_journal, what, lacks }) => {
      const missing = lacks.length > 0 ? ` (missing: ${lacks.join(", ")})` : "";
      return [id, in_redis, by_journal, what + missing];
    });
    for (const line of renderTable(columns, cells, { title: (text) => out.paint("bold", text) })) out.line(line);
    if (requests.length > ROWS_MOST) out.line(`… and ${requests.length - ROWS_MOST} more (--json has all)`);
    out.line();
  }
  if (to_check.length === 0) return out.line("Redis knows all that the journal knows: there is nothing to do.");
  if (isDry) {
    out.line(`${requests.length} requests would be put back. Nothing was changed: add --yes to do it.`);
    return;
  }
  out.line(`${restored} of ${requests.length} requests were put back, and Redis is this DATA_DIR's now. Please check:`);
  for (const line of to_check) out.line(`- ${line}`);
}
