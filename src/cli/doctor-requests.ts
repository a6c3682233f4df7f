import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { overAge } from "../core/ages.ts";
import { isFailure } from "../core/errors.ts";
import { RequestId, type ResultFile, type SignRequest } from "../core/request.ts";
import type { RequestPk } from "../core/signing.ts";
import { isEnd } from "../core/status.ts";
import { readJournal } from "../files/journal.ts";
import { createLog } from "../log.ts";
import { createProvider } from "../provider/client.ts";
import { type Group, GROUPS } from "../queues/keys.ts";
import { createRecovery, type ReadLines } from "../queues/recovery.ts";
import { orderOf, type StageName } from "../workers/index.ts";
import { fail, type Finding, ok, type Patient, warn } from "./doctor-finding.ts";
import { checkOpenTenants } from "./doctor-tenants.ts";
import type { Stores } from "./stores.ts";
import { spell } from "./terminal.ts";

/** Enough to say what is wrong; the rest is counted no further. */
const OPEN_MOST = 20_000;
const DONE_MOST = 2_000;
const JOBS_MOST = 1_000;
const ASKED_MOST = 500;
const PAGE = 200;
/** What changed a moment ago may be between two steps. */
const MOMENT_MS = 10_000;
/** Further back Redis is compared with the journal by `signpipe recover`, which takes as long as the journal is old. */
const LOOK_BACK_MS = 7 * 86_400_000;
/** A folder without a record may be one of an upload that is going on. */
const UPLOAD_MS = 3_600_000;

/** Compares records, jobs, journal and files with each other, and with the provider where that is asked for. */
export async function checkRequests(patient: Patient): Promise<Finding[]> {
  const { stores } = patient;
  if (stores?.redis.status !== "ready") return [];
  const open = await openRequests(stores);
  return [
    await count(stores),
    ...(await checkJournal(patient, stores)),
    ...(await checkNextSteps(stores, open)),
    ...(await checkOrphanedJobs(stores)),
    ...(await checkReadable(stores)),
    ...(await checkCleanup(stores)),
    ...checkAges(open),
    ...checkOpenTenants(patient.tenants, open),
    ...checkDocuments(stores, open),
    ...(await checkPks(stores, open)),
    ...(await checkResults(stores)),
    ...(await checkFolders(stores)),
    ...(patient.askProvider ? await checkAtProvider(patient, open) : []),
  ];
}

/** One finding about some requests, or none. */
function about(
  level: typeof fail,
  check: string,
  ids: readonly string[],
  { says, todo }: { says: (number: string) => string; todo: string },
): Finding[] {
  if (ids.length === 0) return [];
  const number = ids.length === 1 ? "1 request" : `${ids.length} requests`;
  return [level(check, `${says(number)}, such as ${ids[0] ?? ""}.`, todo)];
}

async function count({ store }: Stores): Promise<Finding> {
  const { active, waiting, done, failed } = await store.counts();
  return ok("Requests", `${active + waiting} open, ${waiting} of them waiting, ${done} done, ${failed} failed`);
}

async function openRequests({ store }: Stores): Promise<SignRequest[]> {
  const lists = await Promise.all((["active", "waiting"] as const).map((one) => store.newest(one, "+inf", OPEN_MOST)));
  const records = await inPages(lists.flat(), (page) => store.readMany(page.map(({ id }) => id)));
  return records.flat().filter(({ phase }) => !isEnd(phase));
}

async function inPages<T, R>(all: readonly T[], each: (page: T[]) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < all.length; at += PAGE) results.push(await each(all.slice(at, at + PAGE)));
  return results;
}

/** Redis belongs to this DATA_DIR, the journal is whole, and Redis knows all that is in it. */
async function checkJournal({ journalKey: key }: Patient, stores: Stores): Promise<Finding[]> {
  const { redis, keys, instance, store, queues, folders } = stores;
  const [there, here] = await Promise.all([redis.get(keys.instance), instance.read()]);
  const check = "Journal";
  if (there !== null && there !== here) {
    const todo = "Correct REDIS_URL, REDIS_PREFIX or DATA_DIR so that they belong together; else see signpipe recover.";
    return [fail(check, "Redis belongs to another DATA_DIR than this one.", todo)];
  }
  if (!existsSync(folders.journal)) return [];
  if (!key) {
    return [warn(check, "It cannot be checked without the master key.", "Set MASTER_KEY, or run this where it is.")];
  }
  const dir = folders.journal;
  let journal: Awaited<ReturnType<typeof readJournal>> | undefined;
  const readLines: ReadLines = async (each, span) => {
    const read = await readJournal({ dir, key, each, ...span });
    journal ??= read; // later ones look for the lines of some requests, and leave out more
  };
  const recovery = createRecovery({ store, queues, restoreAround: () => Promise.resolve(), log: createLog("silent") });
  const lost: string[] = [];
  for await (const { id } of recovery.compare(readLines, Date.now() - LOOK_BACK_MS)) lost.push(id);
  const { flaws = [], lines = 0, left = 0 } = journal ?? {};
  const older = left > 0 ? `; ${left} older files are there (signpipe verify --all reads them)` : "";
  const found: Finding[] = [];
  if (flaws.length > 0) {
    const { code = "", file = "" } = flaws[0] ?? {};
    const says = `It is not whole: ${flaws.length} places, such as ${code} in ${file}.`;
    found.push(fail(check, says, "signpipe verify --all tells what is concerned; bring the files back from a backup."));
  }
  found.push(
    ...about(fail, check, lost, {
      says: (number) => `Redis does not know the newest of ${number}`,
      todo: "Stop signpipe; signpipe recover tells what would be put back.",
    }),
  );
  return found.length > 0 ? found : [ok(check, `${lines} lines, whole, and Redis knows them all${older}`)];
}

/** Every open request has a job, and none is late. */
async function checkNextSteps({ store, queues }: Stores, open: SignRequest[]): Promise<Finding[]> {
  const states = await inPages(open, (page) => Promise.all(page.map(({ stage, id }) => queues.stateOf(stage, id))));
  const without = open.filter(({ updatedMs }, i) => {
    const state = states.flat()[i] ?? "unknown";
    return ["unknown", "completed", "failed"].includes(state) && Date.now() - updatedMs > MOMENT_MS;
  });
  const overdue = await store.overdue(Date.now(), OPEN_MOST);
  const todo =
    "See that a signpipe with all parts runs: its housekeeping gives such requests a job every RECONCILE_MS. When it does run: signpipe recover.";
  return [
    ...about(fail, "Next step", ids(without), { says: (number) => `${number} have no job that leads on`, todo }),
    ...about(fail, "Overdue", overdue, { says: (number) => `${number} were not looked at when it was time to`, todo }),
  ];
}

const ids = (requests: readonly SignRequest[]) => requests.map(({ id }) => id);

/** Jobs belong to requests; one that has failed belongs to a request that is over, or has gone on. */
async function checkOrphanedJobs({ store, queues }: Stores): Promise<Finding[]> {
  const stray: string[] = [];
  const unexplained: string[] = [];
  for (const queue of queues.all()) {
    const jobs = await queue.getJobs(["waiting", "delayed", "active", "failed"], 0, JOBS_MOST - 1);
    const jobIds = jobs.flatMap(({ id }) => id ?? []);
    const records = new Map((await store.readMany(jobIds)).map((one) => [one.id, one]));
    const failed = new Set((await queue.getFailed(0, JOBS_MOST - 1)).map(({ id }) => id));
    for (const id of jobIds) {
      const record = records.get(id);
      if (!record) stray.push(`${id} (${queue.name})`);
      else if (failed.has(id) && !isEnd(record.phase) && record.stage === queue.name) unexplained.push(id);
    }
  }
  return [
    ...about(warn, "Jobs", stray, {
      says: (number) => `Jobs of ${number} have no record`,
      todo: "They do nothing. If records were lost: signpipe recover; if somebody removed them, remove the jobs as well.",
    }),
    ...about(warn, "Failed jobs", unexplained, {
      says: (number) => `${number} are open and have a failed job`,
      todo: "The next round of a running signpipe gives them their next step.",
    }),
  ];
}

/** Every record can be read. What cannot is left out of all other checks. */
async function checkReadable({ store }: Stores): Promise<Finding[]> {
  const lists = await Promise.all(
    GROUPS.map((group) => store.newest(group, "+inf", isOpenGroup(group) ? OPEN_MOST : DONE_MOST)),
  );
  const damaged = (await inPages(lists.flat(), (page) => store.damagedAmong(page.map(({ id }) => id)))).flat();
  return about(fail, "Records", [...new Set(damaged)], {
    says: (number) => `Records of ${number} in Redis cannot be read`,
    todo: "Find out who writes there; restart one process: a start puts them back from the journal (record-damaged).",
  });
}

const isOpenGroup = (group: Group) => group === "active" || group === "waiting";

/** Nothing is left at the provider of what is over. */
async function checkCleanup({ store }: Stores): Promise<Finding[]> {
  const left = (await store.uncleaned(DONE_MOST)).filter(({ facts }) => facts["cleanupFailed"] !== undefined);
  return about(fail, "Cleanup", ids(left), {
    says: (number) =>
      `${number} ended, and their documents may still be at the provider, and who signs here: cleaning up was given up`,
    todo: "signpipe show tells why. Mend that, then signpipe retry: it is cleaned up again, and its end stays as it is.",
  });
}

function checkAges(open: SignRequest[]): Finding[] {
  const late = open.flatMap((request) => {
    const found = overAge(request, Date.now());
    return found ? [{ request, ...found }] : [];
  });
  const states = [...new Set(late.map(({ limit }) => limit))];
  return states.flatMap((limit) => {
    const here = late.filter((one) => one.limit === limit);
    const state = limit.for ? `waiting for ${limit.for}` : limit.phase;
    const oldest = spell(Math.max(...here.map(({ ageMs }) => ageMs)));
    return about(fail, "Age", ids(here.map(({ request }) => request)), {
      says: (number) =>
        `${number} are ${state} for longer than ${limit.limit} (${limit.owner}'s turn; up to ${oldest})`,
      todo: limit.todo,
    });
  });
}

/** Documents, and what shows who signs, are here until they are at the provider. */
function checkDocuments({ documents }: Stores, open: SignRequest[]): Finding[] {
  const gone = open.filter(({ workflow, stage, facts, ending }) => {
    if (ending) return false;
    const order: readonly string[] = orderOf(workflow);
    const isNeeded = (at: StageName) => order.indexOf(stage) <= order.indexOf(at);
    const kept = isNeeded("upload") ? ((facts["documents"] ?? []) as { id: string }[]) : [];
    const shown = isNeeded(workflow === "classic" ? "create" : "evidences")
      ? ((facts["enclosures"] ?? []) as { id: string }[])
      : [];
    return ![...kept, ...shown].every((file) => existsSync(documents.path(file)));
  });
  return about(fail, "Documents", ids(gone), {
    says: (number) => `Documents of ${number}, or what shows who signs, are not in .work any more`,
    todo: "Bring .work back from a backup before they are uploaded; else cancel them and have them handed in anew.",
  });
}

/** A webhook finds its request. */
async function checkPks({ redis, keys }: Stores, open: SignRequest[]): Promise<Finding[]> {
  const having = open.filter(({ facts }) => facts["requestPk"] !== undefined);
  const owners = await inPages(having, (page) =>
    redis.hmget(keys.pks, ...page.map(({ facts }) => String(facts["requestPk"] as number))),
  );
  const lost = having.filter(({ id }, i) => owners.flat()[i] !== id);
  return about(warn, "Webhooks", ids(lost), {
    says: (number) => `Webhooks do not find ${number}, which are looked at now and then all the same`,
    todo: "signpipe recover --yes, while nothing runs, makes the map anew.",
  });
}

/** What is done has its signed files. */
async function checkResults({ store, results }: Stores): Promise<Finding[]> {
  const newest = await store.newest("done", "+inf", DONE_MOST);
  const done = (await inPages(newest, (page) => store.readMany(page.map(({ id }) => id)))).flat();
  const without: string[] = [];
  for (const { id, facts } of done) {
    const files = (facts["signed"] ?? []) as ResultFile[];
    const sizes = await Promise.all(files.map(({ name }) => stat(results.path(id, name)).catch(() => undefined)));
    if (files.length === 0 || files.some(({ sizeBytes }, i) => sizes[i]?.size !== sizeBytes)) without.push(id);
  }
  return about(fail, "Signed files", without, {
    says: (number) => `${number} are done, and their signed files are missing or of another size`,
    todo: "Bring signed/ back from a backup: at the provider they are deleted. signpipe verify tells more.",
  });
}

/** Folders belong to requests. */
async function checkFolders({ store, folders }: Stores): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const [name, folder] of [
    [".work", folders.work],
    ["signed", folders.signed],
  ] as const) {
    const names = (await readdir(folder).catch(() => [])).filter((one) => RequestId.safeParse(one).success);
    const owned = new Set((await inPages(names, (page) => store.readMany(page))).flat().map(({ id }) => id));
    const nobodys: string[] = [];
    for (const one of names.filter((id) => !owned.has(id))) {
      const { mtimeMs } = await stat(join(folder, one)).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > UPLOAD_MS) nobodys.push(one);
    }
    if (nobodys.length === 0) continue;
    const says = `${nobodys.length} folders in ${name} belong to no request, such as ${nobodys[0] ?? ""}.`;
    const todo = "If records were lost: signpipe recover. Else they are left over; move them away.";
    found.push(warn("Folders", says, todo));
  }
  return found;
}

/** Statuses at the provider that fit a stage. Later ones than it has heard of may be there any moment. */
const FITTING: Partial<Record<string, readonly string[]>> = {
  evidences: ["VIDEOPENDING", "VIDEOINCOMPLETE", "VIDEOREVIEW", "VIDEOERROR", "CREATED", "ENROLLREADY"],
  identify: ["VIDEOPENDING", "VIDEOINCOMPLETE", "VIDEOREVIEW", "VIDEOERROR", "CREATED", "ENROLLREADY"],
  approve: ["VIDEOREVIEW", "CREATED", "ENROLLREADY"],
  upload: ["ENROLLREADY"],
  contract: ["ENROLLREADY"],
  otp: ["ENROLLREADY"],
  sign: ["ENROLLREADY", "ISSUED"],
  fetch: ["ISSUED"],
};

async function checkAtProvider({ oneshotUrl }: Patient, open: SignRequest[]): Promise<Finding[]> {
  if (oneshotUrl === undefined) return [];
  const provider = createProvider({ url: oneshotUrl, connections: 5 });
  const asked = open
    .filter(({ stage, facts }) => FITTING[stage] && facts["requestPk"] !== undefined)
    .slice(0, ASKED_MOST);
  const gone: string[] = [];
  const odd: string[] = [];
  const unheard: string[] = [];
  try {
    await inPages(asked, (page) =>
      Promise.all(
        page.map(async ({ id, stage, facts }) => {
          try {
            const { status } = await provider.getRequest(facts["requestPk"] as RequestPk);
            if (!FITTING[stage]?.includes(status)) odd.push(`${id} (${stage} here, ${status} there)`);
          } catch (error) {
            (isFailure(error, "not-found") ? gone : unheard).push(id);
          }
        }),
      ),
    );
  } finally {
    await provider.close();
  }
  const found = [
    ...about(fail, "At the provider", gone, {
      says: (number) => `The provider does not know ${number}`,
      todo: "Is ONESHOT_URL the one they were made at? Else cancel them and have them handed in anew.",
    }),
    ...about(fail, "At the provider", odd, {
      says: (number) => `${number} are in a state there that does not fit the one here`,
      todo: "Somebody acted there. Look at them with signpipe show; cancel what is not wanted any more.",
    }),
    ...about(warn, "At the provider", unheard, {
      says: (number) => `The provider did not answer about ${number}`,
      todo: "Try again later.",
    }),
  ];
  return found.length > 0
    ? found
    : [ok("At the provider", `${asked.length} open requests are there as they should be`)];
}
