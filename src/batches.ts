import { createHmac } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Accounts } from "./account.ts";
import type { Settings } from "./config.ts";
import type { BatchId } from "./core/batch.ts";
import { isFailure } from "./core/errors.ts";
import type { Log } from "./core/stage.ts";
import type { Appearances } from "./files/appearances.ts";
import { createBatchFolders } from "./files/batches.ts";
import type { Documents } from "./files/documents.ts";
import { deriveKey } from "./keys.ts";
import type { Remote } from "./producers/api/remote.ts";
import { areCurrent, bringResults } from "./producers/batch/bring.ts";
import { createBatchDoor } from "./producers/batch/door.ts";
import { createFeeder, type FeederParts, LEAD_LAPSE_MS } from "./producers/batch/feeder.ts";
import type { RowAccount } from "./producers/batch/open-batch.ts";
import type { connect } from "./queues/connect.ts";
import type { Guard } from "./queues/guard.ts";
import type { Keys } from "./queues/keys.ts";
import { createLeader } from "./queues/leader.ts";
import type { Pipeline } from "./queues/pipeline-types.ts";
import type { Queues } from "./queues/queues.ts";
import { createRowSeals } from "./queues/row-seals.ts";

const STALE_MS = 24 * 3_600_000;
const SWEEP_MS = 600_000;

/** Everything about batches: the door for those who hand in and follow, and what feeds their rows. Starts nothing. */
export function createBatches({
  dir,
  settings,
  masterKey,
  redis,
  keys,
  pipeline,
  queues,
  heldMs,
  documents,
  appearances,
  credentialsOf,
  closedFor,
  remote,
  room,
  log,
  reach,
}: {
  dir: string;
  settings: Settings;
  masterKey: Uint8Array;
  redis: ReturnType<typeof connect>;
  keys: Keys;
  pipeline: Pipeline;
  queues: Pick<Queues, "waiting">;
  /** For how many milliseconds no call to the provider may leave. */
  heldMs: FeederParts["heldMs"];
  documents: Documents;
  appearances: Appearances;
  /** What calls on this account are made with. Throws RetryableError when it is not configured. */
  credentialsOf: Accounts["credentialsOf"];
  closedFor: Guard["closedFor"];
  remote: Remote;
  room: (bytes: number) => Promise<void>;
  log: Log;
  reach?: FeederParts["reach"];
}) {
  const folders = createBatchFolders({ dir });
  const seals = createRowSeals({ masterKey });
  const idKey = deriveKey(masterKey, "batches");
  const door = createBatchDoor({
    folders,
    pipeline,
    appearances,
    seals,
    whyNotFetched,
    digest: (text) => createHmac("sha256", idKey).update(text).digest(),
    maxRows: settings.BATCH_MAX_ROWS,
    maxTableBytes: settings.BATCH_MAX_TABLE_BYTES,
    maxDocumentBytes: settings.MAX_DOCUMENT_BYTES,
    maxBytes: settings.BATCH_MAX_BYTES,
  });

  function whyNotFetched(url: string): string | undefined {
    try {
      remote.mayFetch(url);
      return undefined;
    } catch (error) {
      return `names an address: ${(error as Error).message.replace(/[.\s]*$/, "")}`;
    }
  }

  async function standsFor(account: RowAccount): Promise<{ code: string; message: string } | undefined> {
    try {
      return await closedFor(credentialsOf(account));
    } catch (error) {
      // It was configured when the batch was handed in, and may have been taken out by mistake.
      if (isFailure(error, "tenant-not-configured")) return { code: error.code, message: error.message };
      throw error;
    }
  }

  /** People who dropped the batch were given results, which another try has made old. */
  async function renew(id: BatchId): Promise<void> {
    const to = join(settings.DATA_DIR, "signed", id);
    if ((await areCurrent(to, folders.folder(id))) !== false) return;
    const { items } = await door.rows(id, { limit: Number.MAX_SAFE_INTEGER });
    await bringResults(to, { dataDir: settings.DATA_DIR, items, results: (name) => door.results(id, name) });
  }

  async function isStale(path: string): Promise<boolean> {
    const found = await stat(path).catch(() => undefined);
    return found !== undefined && Date.now() - found.mtimeMs > STALE_MS;
  }

  return {
    door,
    folders,
    /** Feeds the rows; one of the processes that have started it does. */
    start(): { stop(): Promise<void> } {
      const feeder = createFeeder({
        folders,
        pipeline,
        documents,
        seals,
        leader: createLeader({ redis, keys, what: "batches", lapseMs: LEAD_LAPSE_MS }),
        waiting: () => queues.waiting(),
        heldMs,
        standsFor,
        renew,
        fetch: { remote, appearances, room, maxBytes: settings.MAX_DOCUMENT_BYTES },
        keepMs: settings.BATCH_KEEP_MS,
        log,
        ...(reach && { reach }),
      });
      feeder.start();
      const sweep = () => void folders.sweep(isStale).catch(() => 0);
      const timer = setInterval(sweep, SWEEP_MS);
      return {
        async stop() {
          clearInterval(timer);
          await remote.close();
          await feeder.stop();
        },
      };
    },
  };
}
