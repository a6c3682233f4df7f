import type { Logger } from "pino";
import type { Settings } from "./config.ts";
import { createCheckpointer } from "./files/checkpoint.ts";
import type { Documents } from "./files/documents.ts";
import { createSweeper } from "./files/sweeper.ts";
import { deriveKey } from "./keys.ts";
import { readSecrets, readUrls } from "./producers/callback/secrets.ts";
import { createTeller } from "./producers/callback/tell.ts";
import { type Answers, startTelling } from "./queues/answers.ts";
import { createCallbacks } from "./queues/callbacks.ts";
import type { connect } from "./queues/connect.ts";
import type { Gate } from "./queues/gate.ts";
import type { Keys } from "./queues/keys.ts";
import type { Notifications } from "./queues/notifications.ts";
import type { Queues } from "./queues/queues.ts";
import { createReconciler } from "./queues/reconciler.ts";
import type { Store } from "./queues/store.ts";
import type { Orphans } from "./workers/orphans.ts";

const ORPHAN_SWEEP_MS = 30_000;
const ORPHANS_WITHIN_MS = 60_000;
/** A thousand folders of work: an hour for a hundred thousand requests, at next to no cost. */
const FOLDER_SWEEP_MS = 30_000;
/** The journal's older files are looked through this often, and once soon after the start: it may not run for long. */
const CHECKPOINT_MS = 3_600_000;
const CHECKPOINT_SOON_MS = 5_000;

/** The housekeeping that one process of a deployment does: lost next steps, late orphans, callbacks, folders, journal. */
export function startKeeping({
  settings,
  masterKey,
  folders,
  callbackHosts,
  redis,
  keys,
  store,
  queues,
  notifications,
  answers,
  documents,
  orphans,
  gate,
  log,
}: {
  settings: Settings;
  masterKey: Uint8Array;
  folders: { signed: string; archive: string; journal: string };
  callbackHosts: readonly string[];
  redis: ReturnType<typeof connect>;
  keys: Keys;
  store: Store;
  queues: Queues;
  notifications: Notifications;
  answers: Answers;
  documents: Documents;
  orphans: Orphans;
  gate: Pick<Gate, "isOpen">;
  log: Logger;
}): { stop(): Promise<void> } {
  const { readMany } = store;
  const reconciler = createReconciler({ redis, keys, store, queues, log, everyMs: settings.RECONCILE_MS });
  const keysOf = readSecrets(settings.CALLBACK_SECRETS, (tenant) => madeSecret(masterKey, tenant));
  const teller = createTeller({ keysOf, allowedHosts: callbackHosts });
  const callbacks = createCallbacks({
    redis,
    connection: redis,
    keys,
    store,
    notifications,
    masterKey,
    standardUrl: readUrls(settings.CALLBACK_URL),
    tell: teller.tell,
    log,
  });
  const telling = startTelling({ redis, keys, store, answers });
  const sweeper = createSweeper({ signedDir: folders.signed, archiveDir: folders.archive, documents, readMany });
  const checkpointer = createCheckpointer({
    dir: folders.journal,
    key: deriveKey(masterKey, "journal"),
    readMany,
  });

  async function tidy(): Promise<void> {
    if (!gate.isOpen()) return; // what has no record may have one that Redis has lost
    try {
      const swept = await sweeper.round();
      if (Object.values(swept).some((count) => count > 0)) log.info(swept, "folders tidied");
    } catch (error) {
      log.warn({ code: "sweep-failed", reason: codeOf(error) }, "folders not tidied");
    }
  }

  async function cancelOrphans(): Promise<void> {
    if (gate.isOpen()) await orphans.sweep(AbortSignal.timeout(ORPHANS_WITHIN_MS));
  }

  async function lookThrough(): Promise<void> {
    if (!gate.isOpen()) return; // what is over is asked of Redis
    try {
      const kept = await checkpointer.round();
      if (kept.added > 0) log.info(kept, "journal files looked through");
    } catch (error) {
      log.warn({ code: "checkpoint-failed", reason: codeOf(error) }, "journal files not looked through");
    }
  }

  reconciler.start();
  callbacks.start();
  const rounds = [
    repeat(cancelOrphans, { everyMs: ORPHAN_SWEEP_MS }),
    repeat(tidy, { firstMs: 0, everyMs: FOLDER_SWEEP_MS }),
    repeat(lookThrough, { firstMs: CHECKPOINT_SOON_MS, everyMs: CHECKPOINT_MS }),
  ];

  return {
    async stop() {
      checkpointer.stop();
      await Promise.all([reconciler.stop(), callbacks.stop(), telling.stop(), ...rounds.map((round) => round.stop())]);
      await sweeper.stop();
      await teller.close();
    },
  };
}

/** The secret of a tenant that was given none. That of the default one is older than tenants are. */
export function madeSecret(masterKey: Uint8Array, tenant: string | undefined): Uint8Array {
  return deriveKey(masterKey, tenant === undefined ? "callbacks" : `callbacks:${tenant}`);
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? "unexpected";
}

/** Does something again and again, one round after the other; a round that fails is followed by the next. */
function repeat(
  act: () => Promise<unknown>,
  { firstMs, everyMs }: { firstMs?: number; everyMs: number },
): { stop(): Promise<unknown> } {
  let acting: Promise<unknown> = Promise.resolve();
  const round = () => {
    acting = acting.then(act).catch(() => {});
  };
  const first = firstMs === undefined ? undefined : setTimeout(round, firstMs);
  const timer = setInterval(round, everyMs);
  return {
    stop() {
      clearTimeout(first);
      clearInterval(timer);
      return acting;
    },
  };
}
