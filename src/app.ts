import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { createAccounts, ownersOf } from "./account.ts";
import { createBatches } from "./batches.ts";
import type { Settings } from "./config.ts";
import type { CrashPoint } from "./core/crash-point.ts";
import type { SignRequest } from "./core/request.ts";
import { isEnd } from "./core/status.ts";
import { AccountWishes } from "./core/tenant.ts";
import { createInboxes, type Inboxes } from "./doors.ts";
import { type ConfiguredInbox, readInboxes } from "./inboxes.ts";
import { startIntake } from "./intake.ts";
import { startKeeping } from "./keeping.ts";
import { deriveKey, type KeyRing } from "./keys.ts";
import { createAppearances } from "./files/appearances.ts";
import { createInstance } from "./files/instance.ts";
import { createJournal, type Journal, readJournal, readOpenRequests } from "./files/journal.ts";
import type { Flaw } from "./files/journal-file.ts";
import { createSpare } from "./files/spare.ts";
import { createDocuments } from "./files/documents.ts";
import { createResults } from "./files/results.ts";
import { createSpace } from "./files/space.ts";
import { toApiDocuments } from "./producers/api/document-store.ts";
import { createRemote } from "./producers/api/remote.ts";
import { createApi } from "./producers/api/server.ts";
import { CLAIM_MS, REMEMBER_MS } from "./producers/api/idempotency-types.ts";
import type { Check, Status } from "./producers/api/status.ts";
import { readUrls } from "./producers/callback/secrets.ts";
import { mayBeTold } from "./producers/callback/tell.ts";
import type { Inbox } from "./producers/inbox/inbox.ts";
import { createProvider } from "./provider/client.ts";
import { createAround } from "./queues/around.ts";
import { connect, toLoginError } from "./queues/connect.ts";
import { createCodes } from "./queues/codes.ts";
import { createFeed } from "./queues/feed.ts";
import { createGate } from "./queues/gate.ts";
import { createGroups } from "./queues/groups.ts";
import { createGuard } from "./queues/guard.ts";
import { createHanded } from "./queues/handed.ts";
import { createCrowd } from "./queues/crowd.ts";
import { createIdempotency } from "./queues/idempotency.ts";
import { createAnswers } from "./queues/answers.ts";
import { createInboxLease } from "./queues/inbox-lease.ts";
import { createImageUids } from "./queues/image-uids.ts";
import { createKeys } from "./queues/keys.ts";
import { createLanes } from "./queues/lanes.ts";
import { createNotifications } from "./queues/notifications.ts";
import { createPipeline } from "./queues/pipeline.ts";
import { createQuota } from "./queues/quota.ts";
import { createQueues } from "./queues/queues.ts";
import { createRecovery, type ReadLines } from "./queues/recovery.ts";
import { createRedisWatch } from "./queues/redis-watch.ts";
import { fingerprint } from "./queues/seal.ts";
import { createStore } from "./queues/store.ts";
import { createStrangers } from "./queues/strangers.ts";
import { createTrail } from "./queues/trail.ts";
import { createVault } from "./queues/vault.ts";
import { type StageWorker, startWorker } from "./queues/worker.ts";
import { readTenants, type Tenants } from "./tenants.ts";
import { orderOf, STAGE_NAMES, type StageName, stages as realStages } from "./workers/index.ts";
import { createOrphans } from "./workers/orphans.ts";
import { createPictures } from "./workers/pictures.ts";
import { createSeal } from "./workers/seal.ts";
import type { Policy, Tools } from "./workers/stage.ts";

export type App = ReturnType<typeof createApp>;

/** Parts that tests replace, to crash at a chosen point or to show that a run without a part goes wrong. */
export interface Doubles {
  crashPoint?: CrashPoint;
  journal?: Journal;
  stages?: typeof realStages;
}

/** Beyond the grace at the end: for what was interrupted to be written down, and for each of the last steps. */
const CLOSE_MARGIN_MS = 2_500;
const LAST_MS = 750;
const PROBE_MS = 10_000;
/** What stands before a provider says this in its place. @source RFC 9110 §15.6.3 to §15.6.5 */
const AWAY = [502, 503, 504];

/** Folders of a DATA_DIR, one file system: files are moved between them by renaming. */
export function foldersOf(dataDir: string) {
  const at = (name: string) => join(dataDir, name);
  return {
    inbox: at("inbox"),
    work: at(".work"),
    signed: at("signed"),
    failed: at("failed"),
    duplicates: at("duplicates"),
    archive: at("archive"),
    status: at("status"),
    keys: at("keys"),
    journal: at("journal"),
    images: at("images"),
    batches: at("batches"),
  };
}

/** Builds everything, once, in order, and hands it out. The only place that knows all the parts. Starts nothing. */
export function createApp({
  settings,
  keyRing,
  redisUrl,
  oneshotUrl,
  log,
  version = "0.0.0",
  tenants = readTenants(settings),
  inboxes: configured = readInboxes(settings, tenants),
  giveUp,
  doubles: { stages = realStages, crashPoint, ...doubles } = {},
}: {
  settings: Settings;
  keyRing: KeyRing;
  redisUrl: string;
  oneshotUrl: string;
  log: Logger;
  version?: string;
  /** Whose accounts there are; those of the settings, when left out. */
  tenants?: Tenants;
  /** Which inboxes there are besides the one in DATA_DIR; those of the settings, when left out. */
  inboxes?: readonly ConfiguredInbox[];
  /** Called when only a new process helps. */
  giveUp?: (why: string) => void;
  /** What a test of crashes puts in the place of parts. */
  doubles?: Doubles;
}) {
  const { masterKey, apiKeys, webhookSecret } = keyRing;
  const folders = foldersOf(settings.DATA_DIR);
  for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true, mode: 0o700 });

  const keys = createKeys(settings.REDIS_PREFIX);
  /** Workers wait for Redis as long as it takes; doors tell their callers at once that it is away. */
  let whyAway: string | undefined;
  const away = (reason: string) => {
    whyAway = reason;
    log.warn({ code: "redis-away", reason }, "redis is away");
  };
  const patient = connect(redisUrl, { maxRetriesPerRequest: null }, away);
  const prompt = connect(redisUrl, { maxRetriesPerRequest: 1, commandTimeout: 5_000, enableOfflineQueue: true }, away);

  const standardUrl = readUrls(settings.CALLBACK_URL);
  const isFollowed = ({ facts }: SignRequest) => standardUrl(facts["tenant"] as string | undefined) !== undefined;
  const handed = createHanded();
  const journalKey = deriveKey(masterKey, "journal");
  const journal = doubles.journal ?? createJournal({ dir: folders.journal, key: journalKey, log });
  const trail = createTrail(journal);
  const flawsTold = new Set<string>();
  const readJournalLines: ReadLines = async (each, span) => {
    tellFlaws((await readJournal({ dir: folders.journal, key: journalKey, each, ...span })).flaws);
  };
  function tellFlaws(flaws: readonly Flaw[]): void {
    for (const { file, line, code } of flaws) {
      if (flawsTold.has(`${file}:${line}`)) continue;
      flawsTold.add(`${file}:${line}`);
      log.error({ file, line, code }, "the journal is not whole; see signpipe verify --all");
    }
  }
  const spare = createSpare({ dir: folders.work });
  const inside = createCore(patient);
  const outside = createCore(prompt);
  const strangers = createStrangers({ redis: patient, keys });
  const print = (parts: string[]) => fingerprint(masterKey, parts);
  const guard = createGuard({
    redis: patient,
    keys,
    print,
    owners: ownersOf(tenants, print),
    probe: async () => {
      const ping = await provider.ping({ signal: AbortSignal.timeout(PROBE_MS) });
      return ping.reachable && !AWAY.includes(ping.status);
    },
    perSecond: settings.ONESHOT_RATE,
    log,
  });
  const provider = createProvider({
    url: oneshotUrl,
    guard,
    connections: settings.ONESHOT_CONNECTIONS,
    retrieval: settings.ONESHOT_RETRIEVAL,
    maxDocumentBytes: settings.MAX_DOCUMENT_BYTES * 2,
    timeoutsMs: { call: settings.ONESHOT_TIMEOUT_MS, sign: settings.ONESHOT_SIGN_TIMEOUT_MS },
    log,
  });
  const accounts = createAccounts(tenants);
  const documents = createDocuments({ dir: folders.work });
  const appearanceDir = settings.APPEARANCE_DIR ?? join(settings.DATA_DIR, "appearance");
  const appearances = createAppearances({ dir: appearanceDir, kept: folders.images });
  const results = createResults({ dir: folders.signed, crashPoint });
  const space = createSpace({ dir: settings.DATA_DIR, reserveBytes: settings.DISK_RESERVE_BYTES });
  const orphans = createOrphans({
    provider,
    strangers,
    vault: inside.vault,
    print,
    async whereabouts(id) {
      const request = (await inside.store.read(id))?.request;
      const requestPk = request?.facts["requestPk"] as number | undefined;
      return {
        requestPk,
        isBeingCreated: request !== undefined && request.stage === "create" && !isEnd(request.phase),
        isOver: request === undefined || isEnd(request.phase),
        wishes: AccountWishes.parse(request?.facts ?? {}),
      };
    },
    tenants: accounts,
    answerWithinMs: settings.ONESHOT_TIMEOUT_MS,
    log,
  });
  const callbackHosts = listOf(settings.CALLBACK_HOSTS);
  const policy: Policy = {
    approval: settings.APPROVAL,
    identifyWithinMs: settings.IDENTIFY_WITHIN_MS,
    approveWithinMs: settings.APPROVE_WITHIN_MS,
    signWithinMs: settings.SIGN_WITHIN_MS,
    createGraceMs: settings.CREATE_GRACE_MS,
    settleMs: settings.SETTLE_MS,
    signSettleMs: settings.SIGN_SETTLE_MS,
    asyncGraceMs: settings.ASYNC_GRACE_MS,
    longestPauseMs: createCrowd({ redis: patient, keys }).longestPauseMs,
    deleteGraceMs: settings.DELETE_GRACE_MS,
    incremental: settings.ONESHOT_INCREMENTAL,
    asyncCallback: settings.ONESHOT_CALLBACK_URL,
    compare: settings.ONESHOT_COMPARE,
  };
  const tools: Tools = {
    provider,
    account: accounts.account,
    documents,
    results,
    space,
    vault: inside.vault,
    codes: inside.codes,
    orphans,
    pictures: createPictures({
      provider,
      uids: createImageUids({ redis: patient, keys }),
      open: appearances.open,
      print: ({ sha256 }) => print(["image", oneshotUrl, sha256]),
    }),
    seal: settings.SEAL_CHECK === "on" ? createSeal({ provider, documents, space, ...policy }) : undefined,
    historyOf: inside.store.historyOf,
    policy,
  };

  const recovery = createRecovery({
    store: inside.store,
    queues: inside.queues,
    restoreAround: createAround({
      ...inside,
      redis: patient,
      keys,
      masterKey,
      rememberMs: REMEMBER_MS,
      signerOf: results.signerOf,
    }),
    log,
  });
  const redisWatch = createRedisWatch({ redis: prompt, log });
  const gate = createGate({
    redis: patient,
    keys,
    instance: createInstance(settings.DATA_DIR),
    openRequests: async () => {
      const { open, flaws } = await readOpenRequests({ dir: folders.journal, key: journalKey });
      tellFlaws(flaws);
      // A file's rest behind a changed line is not read: what began there would be started over.
      const isWhole = flaws.every(({ file }) => !file.endsWith(".jsonl"));
      return open.size > 0 || isWhole ? open.size : undefined;
    },
    mend: (sinceMs) => recovery.mend(readJournalLines, sinceMs),
    unfit: redisWatch.unfit,
    log,
  });
  const groups = createGroups({ ...inside, redis: patient, keys, masterKey, documents, crashPoint });
  const lanes = createLanes({ redis: prompt, keys });
  const pipeline = createPipeline({
    ...outside,
    redis: prompt,
    keys,
    strangers: createStrangers({ redis: prompt, keys }),
    handed,
    gate,
    groups: createGroups({ ...outside, redis: prompt, keys, masterKey, documents, crashPoint }),
    lanes,
    full: redisWatch.full,
    masterKey,
    stages,
    orderOf,
    allowAuto: settings.APPROVAL === "auto",
    mayTell: (url) => mayBeTold(url, callbackHosts),
    mustKnow: accounts.mustKnow,
  });

  const batches = createBatches({
    ...{ dir: folders.batches, settings, masterKey, redis: patient, keys, pipeline, documents, appearances, log },
    queues: outside.queues,
    ...{ heldMs: guard.heldMs, closedFor: guard.closedFor, credentialsOf: accounts.credentialsOf },
    remote: createRemote({ hosts: listOf(settings.DOCUMENT_HOSTS) }),
    room: space.need,
    ...(crashPoint && { reach: crashPoint }),
  });

  const apiDocuments = toApiDocuments(documents, {
    maxBytes: settings.MAX_DOCUMENT_BYTES,
    room: space.need,
    appearances,
  });
  const workers: StageWorker[] = [];
  const closers: (() => Promise<unknown>)[] = [];
  let inboxes: Inboxes | undefined;

  function createCore(redis: Redis) {
    return {
      store: createStore({ redis, keys, orderOf, journal: trail, isFollowed, crashPoint }),
      queues: createQueues({ stages: STAGE_NAMES, connection: redis, keys }),
      vault: createVault({ redis, keys, masterKey, spare }),
      codes: createCodes({ redis, keys, masterKey }),
      notifications: createNotifications({ redis, connection: redis, keys }),
      answers: createAnswers({ redis, connection: redis, keys, most: settings.RESULTS_MOST }),
    };
  }

  async function redisAnswers(withinMs: number): Promise<void> {
    const late = new Promise<never>((_, reject) => {
      setTimeout(
        () => reject(new Error(`Redis does not answer (${whyAway ?? "no answer"}): start it, or correct REDIS_URL.`)),
        withinMs,
      ).unref();
    });
    try {
      await Promise.race([patient.ping(), late]);
    } catch (error) {
      throw toLoginError(error);
    }
  }

  async function redisCheck(): Promise<Check> {
    try {
      await prompt.ping();
      const compared = gate.isOpen() ? undefined : "Redis is being compared with the journal";
      const note = gate.trouble()?.message ?? compared ?? (await redisWatch.full());
      return note === undefined ? { ok: true } : { ok: false, note };
    } catch {
      return { ok: false, note: "Redis does not answer" };
    }
  }

  let providerSeen: { atMs: number; check: Check } | undefined;
  async function providerCheck(): Promise<Check> {
    if (!providerSeen || Date.now() - providerSeen.atMs > 15_000) {
      const ping = await provider.ping({ signal: AbortSignal.timeout(5_000) });
      const check = ping.reachable ? { ok: true } : { ok: false, note: "the provider cannot be reached" };
      providerSeen = { atMs: Date.now(), check };
    }
    const standing = await lanes.list().catch(() => []);
    const figures = { standstills: standing.length, paused: standing.filter(({ lane }) => lane === "all").length };
    const [first] = standing;
    if (!first) return { ...providerSeen.check, figures };
    return { ok: false, note: `stands still: ${standing.map(({ reason }) => reason).join(" ")}`, figures };
  }

  async function status(): Promise<Status> {
    const [redis, reach, disk] = await Promise.all([redisCheck(), providerCheck(), space.check()]);
    const own = inboxes && { inbox: inboxes.first.check(), inboxes: inboxes.checks() };
    return { redis, disk, provider: reach, ...own };
  }

  return {
    settings,
    folders,
    keys,
    redis: patient,
    pipeline,
    store: inside.store,
    queues: inside.queues,
    provider,
    documents,
    results,
    gate,
    recovery,
    vault: inside.vault,
    batches,
    readJournalLines,
    status,

    /**
     * Resolves once Redis answers and was compared with the journal. Throws when it does not answer within `withinMs`;
     * the comparison takes as long as it takes: on a busy machine, one that was given up would only be begun again.
     */
    async ready(withinMs = 10_000): Promise<void> {
      await redisAnswers(withinMs);
      gate.start();
      while (!(await gate.whenOpen(withinMs))) {
        if (!gate.isComparing())
          throw gate.trouble() ?? new Error("Redis could not be compared with the journal in time.");
        await redisAnswers(withinMs);
        log.info({}, "Redis is still being compared with the journal");
      }
      await redisWatch.warn().catch(() => {});
    },

    startWorkers(names: readonly StageName[] = STAGE_NAMES): void {
      for (const stage of stages) {
        if (!names.includes(stage.name)) continue;
        workers.push(
          startWorker<Tools>(stage, {
            store: inside.store,
            queues: inside.queues,
            handed,
            gate,
            groups,
            heldMs: guard.heldMs,
            ...(giveUp && { giveUp }),
            keys,
            tools,
            log,
            connection: patient,
            orderOf,
            lockMs: settings.LOCK_MS,
            crashPoint,
            ...(settings.CONCURRENCY !== undefined && { concurrency: settings.CONCURRENCY }),
          }),
        );
      }
    },

    /** The housekeeping that one process of a deployment does. */
    startKeeping(): void {
      const keeping = startKeeping({
        ...inside,
        settings,
        masterKey,
        folders,
        callbackHosts,
        redis: patient,
        keys,
        documents,
        orphans,
        gate,
        log,
      });
      closers.push(() => keeping.stop());
      const feeding = batches.start();
      closers.push(() => feeding.stop());
    },

    /** Takes requests from the public queue "intake". */
    startIntake(): void {
      const remote = createRemote({ hosts: listOf(settings.DOCUMENT_HOSTS) });
      const parts = { ...inside, settings, masterKey, redis: patient, keys, pipeline, documents: apiDocuments, remote };
      const intake = startIntake({ ...parts, log });
      closers.push(async () => {
        await intake.stop();
        await remote.close();
      });
    },

    /** Starts every inbox; the one in DATA_DIR. */
    async startInbox(): Promise<Inbox> {
      inboxes = this.createInboxes();
      closers.push(() => inboxes?.stop() ?? Promise.resolve());
      await inboxes.start();
      return inboxes.first;
    },

    /** Every inbox, without starting any. */
    createInboxes(): Inboxes {
      const lease = (name: string) => createInboxLease({ redis: prompt, keys, name, leaseMs: settings.LOCK_MS });
      const room = () => space.need(0);
      const parts = { pipeline, documents, appearances, batches: batches.door, room };
      return createInboxes({ settings, configured, ...parts, lease, log });
    },

    /** Starts the HTTP API. Its address. */
    async startApi(): Promise<string> {
      const remote = createRemote({ hosts: listOf(settings.DOCUMENT_HOSTS) });
      const feed = createFeed({ redis: prompt, keys, store: outside.store });
      const api = createApi({
        pipeline,
        documents: apiDocuments,
        results,
        shown: {
          enclosure: documents.openToShow,
          video: (videoidPk, signal) => provider.downloadVideo(videoidPk, { signal }),
        },
        batches: batches.door,
        idempotency: createIdempotency({ redis: prompt, keys, masterKey, claimMs: CLAIM_MS, rememberMs: REMEMBER_MS }),
        feed,
        remote,
        quota: createQuota({ redis: prompt, keys }),
        rates: { perKey: settings.API_RATE, perAddress: settings.API_REFUSED_RATE },
        proxies: listOf(settings.API_PROXIES),
        keys: apiKeys,
        webhookSecret,
        status,
        notifications: outside.notifications,
        answers: outside.answers,
        queues: outside.queues.all(),
        stages: stages.map(({ name, title }) => ({ name, title })),
        limits: {
          documents: settings.MAX_DOCUMENTS,
          documentBytes: settings.MAX_DOCUMENT_BYTES,
          streams: settings.API_STREAMS,
        },
        metricsOpen: settings.METRICS_OPEN,
        log,
        version,
      });
      closers.unshift(() =>
        api.close().finally(() => {
          feed.close();
          return remote.close();
        }),
      );
      await api.listen({ host: settings.API_HOST, port: settings.API_PORT });
      const address = api.server.address();
      const port = typeof address === "object" && address ? address.port : settings.API_PORT;
      const host = settings.API_HOST.includes(":") ? `[${settings.API_HOST}]` : settings.API_HOST;
      return `http://${host}:${port}`;
    },

    /** Takes nothing new, lets what runs finish for `graceMs`, then lets go. Bounded, even when Redis is away. */
    async close({ graceMs = settings.SHUTDOWN_GRACE_MS } = {}): Promise<void> {
      // All at once: what waits for Redis, or for a caller who never ends, must not hold up the calls under way.
      const doors = closers.map((close) => close());
      await bounded(
        Promise.allSettled([...doors, ...workers.map((worker) => worker.stop(graceMs))]),
        graceMs + CLOSE_MARGIN_MS,
      );
      const parts = [inside, outside].flatMap(({ queues, notifications, answers }) => [queues, notifications, answers]);
      await bounded(Promise.allSettled([...parts, provider].map((part) => part.close())), LAST_MS);
      guard.close();
      gate.close();
      await bounded(journal.close(), LAST_MS);
      patient.disconnect();
      prompt.disconnect();
    },
  };
}

/** The members of a setting that lists some. */
function listOf(setting: string | undefined): string[] {
  return (setting ?? "").split(",").flatMap((member) => member.trim() || []);
}

async function bounded(work: Promise<unknown>, withinMs: number): Promise<void> {
  const late = new Promise((resolve) => setTimeout(resolve, withinMs).unref());
  await Promise.race([work.catch(() => {}), late]);
}
