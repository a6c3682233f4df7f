import { join } from "node:path";
import { foldersOf } from "../app.ts";
import type { Settings } from "../config.ts";
import { createDocuments } from "../files/documents.ts";
import { createInstance } from "../files/instance.ts";
import { createResults } from "../files/results.ts";
import { createSpare } from "../files/spare.ts";
import { connect } from "../queues/connect.ts";
import { createKeys } from "../queues/keys.ts";
import { createLanes } from "../queues/lanes.ts";
import { createQueues } from "../queues/queues.ts";
import { createStore } from "../queues/store.ts";
import type { Trail } from "../queues/trail.ts";
import { createVault } from "../queues/vault.ts";
import { orderOf, STAGE_NAMES } from "../workers/index.ts";

export type Stores = ReturnType<typeof openStores>;

/** For commands that only look. */
const NO_TRAIL: Trail = { append: () => Promise.reject(new Error("This command changes nothing.")) };

/**
 * What a deployment keeps, in Redis and in DATA_DIR, for commands that look at it from outside: no gate, no workers, no
 * folder that is made. Without a `trail` nothing can be written.
 */
export function openStores({
  settings,
  redisUrl,
  masterKey,
  trail = NO_TRAIL,
}: {
  settings: Settings;
  redisUrl: string;
  masterKey: Uint8Array;
  trail?: Trail;
}) {
  const folders = foldersOf(settings.DATA_DIR);
  const redis = connect(redisUrl, { maxRetriesPerRequest: 1, connectTimeout: 3_000, connectionName: "signpipe-cli" });
  const keys = createKeys(settings.REDIS_PREFIX);
  const queues = createQueues({ stages: STAGE_NAMES, connection: redis, keys });
  const spare = createSpare({ dir: folders.work });
  return {
    settings,
    folders,
    redis,
    keys,
    masterKey,
    queues,
    lanes: createLanes({ redis, keys }),
    store: createStore({ redis, keys, orderOf, journal: trail }),
    vault: createVault({ redis, keys, masterKey, spare }),
    documents: createDocuments({ dir: folders.work }),
    results: createResults({ dir: folders.signed }),
    spare,
    instance: createInstance(settings.DATA_DIR),
    redisDir: join(settings.DATA_DIR, "redis"),
    async close(): Promise<void> {
      const closed = queues.close().catch(() => {});
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 1_000).unref())]);
      redis.disconnect();
    },
  };
}
