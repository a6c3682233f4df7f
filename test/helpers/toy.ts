import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { inject, onTestFinished } from "vitest";
import { toRequestId } from "../../src/core/request.ts";
import type { JournalLine } from "../../src/core/journal.ts";
import type { AnyStage, Log } from "../../src/core/stage.ts";
import { createCodes } from "../../src/queues/codes.ts";
import { createHanded } from "../../src/queues/handed.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createLanes } from "../../src/queues/lanes.ts";
import { createPipeline } from "../../src/queues/pipeline.ts";
import type { Submission } from "../../src/queues/pipeline-types.ts";
import { createQueues } from "../../src/queues/queues.ts";
import { createReconciler } from "../../src/queues/reconciler.ts";
import { createStore } from "../../src/queues/store.ts";
import { createTrail } from "../../src/queues/trail.ts";
import { createStrangers } from "../../src/queues/strangers.ts";
import { createVault, type Spare } from "../../src/queues/vault.ts";
import { startWorker, type StageWorker } from "../../src/queues/worker.ts";

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

export function newId(): string {
  return toRequestId(randomBytes(16));
}

/** The queues without a provider: real Redis, stages made up by the test. Cleaned up with the test that asked. */
export async function startToy(
  stages: AnyStage<object>[],
  {
    now = Date.now,
    lockMs = 2_000,
    heldMs = () => Promise.resolve(0),
  }: { now?: () => number; lockMs?: number; heldMs?: () => Promise<number> } = {},
) {
  const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const masterKey = randomBytes(32);
  const names = stages.map(({ name }) => name);
  const journal: JournalLine[] = [];
  const store = createStore({
    redis,
    keys,
    stages: names,
    journal: createTrail({ append: async (line) => void journal.push(line) }),
    now,
  });
  const queues = createQueues({ stages: names, connection: redis, keys });
  const vault = createVault({ redis, keys, masterKey, spare: memorySpare() });
  const codes = createCodes({ redis, keys, masterKey });
  const strangers = createStrangers({ redis, keys, now });
  const handed = createHanded();
  const pipeline = createPipeline({
    redis,
    handed,
    gate: { trouble: () => undefined },
    lanes: createLanes({ redis, keys, now }),
    full: () => Promise.resolve(undefined),
    keys,
    store,
    queues,
    vault,
    codes,
    strangers,
    masterKey,
    stages,
    allowAuto: true,
    now,
  });
  const reconciler = createReconciler({ redis, keys, store, queues, log: silent, now });
  const workers: StageWorker[] = [];

  onTestFinished(async () => {
    await Promise.all(workers.map((worker) => worker.stop(1_000)));
    await queues.close();
    const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await redis.del(all);
    redis.disconnect();
  });

  return {
    redis,
    keys,
    journal,
    store,
    queues,
    vault,
    codes,
    strangers,
    pipeline,
    reconciler,
    work(only: string[] = names) {
      for (const stage of stages.filter(({ name }) => only.includes(name))) {
        workers.push(
          startWorker(stage, {
            store,
            queues,
            keys,
            handed,
            gate: { epoch: () => 0, isOpen: () => true, whenOpen: () => Promise.resolve(true) },
            tools: {},
            log: silent,
            connection: redis,
            stages: names,
            heldMs,
            now,
            lockMs,
          }),
        );
      }
      return workers;
    },
    async submit(more: Partial<Submission> = {}): Promise<string> {
      const id = more.id ?? newId();
      await pipeline.submit({ ...submission(id), ...more });
      return id;
    },
    /** Waits until the request is there. When it gives up it tells the request's history, which is usually the answer. */
    async reaches(id: string, stage: string, phase: string, withinMs = 15_000): Promise<void> {
      const until = Date.now() + withinMs;
      for (;;) {
        const at = await store.get(id);
        if (at.stage === stage && at.phase === phase) return;
        if (Date.now() > until) {
          const lines = await store.history(id);
          throw new Error(
            `${id} is at ${at.stage} ${at.phase}, not at ${stage} ${phase}:\n${lines.map((line) => JSON.stringify(line)).join("\n")}`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  };
}

export function memorySpare(): Spare {
  const kept = new Map<string, Record<string, string>>();
  return {
    keep: async (id, sealed) => void kept.set(id, sealed),
    read: (id) => Promise.resolve(kept.get(id)),
    erase: async (id) => void kept.delete(id),
  };
}

export function submission(id: string): Submission {
  return {
    id,
    workflow: "videoid",
    source: "api",
    documents: [
      {
        id: `${id}/1.pdf`,
        name: "lease.pdf",
        sizeBytes: 10,
        sha256: id
          .slice(4)
          .padEnd(64, "0")
          .replaceAll(/[^0-9a-f]/g, "a"),
      },
    ],
    signer: { email: "ana@example.com", mobile_phone_number: "+34699999999" },
    authentication: { method: "sms" },
    by: "api:test",
  };
}
