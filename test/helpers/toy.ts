import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { inject, onTestFinished } from "vitest";
import { z } from "zod";
import { Waiting } from "../../src/core/outcome.ts";
import { toRequestId } from "../../src/core/request.ts";
import type { JournalLine } from "../../src/core/journal.ts";
import type { AnyStage, Log } from "../../src/core/stage.ts";
import { createCodes } from "../../src/queues/codes.ts";
import { createHanded } from "../../src/queues/handed.ts";
import { createGroups, type GroupDocuments } from "../../src/queues/groups.ts";
import { createKeys, type Keys } from "../../src/queues/keys.ts";
import { createLanes } from "../../src/queues/lanes.ts";
import { createPipeline, type PipelineParts } from "../../src/queues/pipeline.ts";
import type { Submission } from "../../src/queues/pipeline-types.ts";
import { createQueues } from "../../src/queues/queues.ts";
import { createReconciler } from "../../src/queues/reconciler.ts";
import { createStore } from "../../src/queues/store.ts";
import { createTrail } from "../../src/queues/trail.ts";
import { createStrangers } from "../../src/queues/strangers.ts";
import { createVault, type Spare } from "../../src/queues/vault.ts";
import { startWorker, type StageWorker, type WorkerDeps } from "../../src/queues/worker.ts";

/** A wait as a made-up stage has it; the program's own have names with limits (src/core/ages.ts). */
export function waitFor(what: string, options: ConstructorParameters<typeof Waiting>[1]): Waiting {
  return new Waiting(what, options);
}

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

export function newId(): string {
  return toRequestId(randomBytes(16));
}

/** There are no files here: references are all that groups share. */
const NO_DOCUMENTS: GroupDocuments = {
  share: (files, to) => Promise.resolve(files.map((file, i) => ({ ...file, id: `${to}/${i + 1}.pdf` }))),
  erase: () => Promise.resolve(),
};

/** What the queues are made of, over one connection to Redis. */
type Inside = ReturnType<typeof open>;

function open({ redis, plain, keys, stages, journal, masterKey, now }: Parts) {
  const trail = createTrail({
    append: async (line, { durable }) => void journal.push({ ...line, isDurable: durable }),
  });
  const made = {
    store: createStore({ redis, keys, orderOf: () => stages, journal: trail, now }),
    queues: createQueues({ stages, connection: plain, keys }),
    vault: createVault({ redis, keys, masterKey, spare: memorySpare() }),
  };
  return {
    ...made,
    redis,
    keys,
    codes: createCodes({ redis, keys, masterKey }),
    strangers: createStrangers({ redis, keys, now }),
    handed: createHanded(),
    groups: createGroups({ ...made, redis, keys, masterKey, documents: NO_DOCUMENTS, now }),
  };
}

type WrittenLine = JournalLine & { isDurable: boolean };

interface Parts {
  redis: Redis;
  /** The same without anything in front, for BullMQ. */
  plain: Redis;
  keys: Keys;
  stages: string[];
  journal: WrittenLine[];
  masterKey: Uint8Array;
  now: () => number;
}

/** A made-up stage. */
export function toyStage(
  name: string,
  run: AnyStage["run"] = () => Promise.resolve({}),
  more: Partial<AnyStage<object>> = {},
): AnyStage<object> {
  return {
    name,
    title: name,
    needs: z.object({}),
    gives: z.object({}).loose(),
    attempts: 3,
    backoff: () => 10,
    timeout: "5s",
    concurrency: 4,
    retryFrom: name,
    afterSilence: "repeat",
    run,
    ...more,
  };
}

const OPEN = { trouble: () => undefined, epoch: () => 0, isOpen: () => true, whenOpen: () => Promise.resolve(true) };

/** The queues without a provider: real Redis, stages made up by the test. Cleaned up with the test that asked. */
export async function startToy(
  stages: AnyStage<object>[],
  {
    now = Date.now,
    lockMs = 2_000,
    tools = () => ({}),
    wrap = (redis) => redis,
    heldMs = () => Promise.resolve(0),
    gate,
    ...more
  }: Partial<Pick<WorkerDeps<object>, "now" | "lockMs" | "heldMs" | "deafMs" | "giveUp" | "crashPoint">> & {
    /** What the stages may reach for. */
    tools?: (inside: Inside) => object;
    /** The gate before what the outside does; open, when left out. */
    gate?: Partial<PipelineParts["gate"]>;
    /** Puts something in front of the connection that the pipeline and `work` use. */
    wrap?: (redis: Redis) => Redis;
  } = {},
) {
  const connect = () => new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const masterKey = randomBytes(32);
  const names = stages.map(({ name }) => name);
  const journal: WrittenLine[] = [];
  const parts = { keys, stages: names, journal, masterKey, now };
  const plain = connect();
  const inside = open({ ...parts, redis: wrap(plain), plain });
  const { redis, store, queues } = inside;
  const pipeline = createPipeline({
    ...inside,
    gate: { ...OPEN, ...gate },
    lanes: createLanes({ redis, keys, now }),
    full: () => Promise.resolve(undefined),
    masterKey,
    stages,
    orderOf: () => names,
    allowAuto: true,
    now,
  });
  const reconciler = createReconciler({ redis, keys, store, queues, log: silent, now });
  const workers: StageWorker[] = [];
  const crews: { stop(): Promise<void> }[] = [];

  function startWorkers(own: Inside, connection: Redis, gate: WorkerDeps<object>["gate"], only: string[]) {
    return stages
      .filter(({ name }) => only.includes(name))
      .map((stage) =>
        startWorker(stage, {
          ...own,
          gate,
          tools: tools(own),
          log: silent,
          connection,
          orderOf: () => names,
          heldMs,
          now,
          lockMs,
          ...more,
        }),
      );
  }

  onTestFinished(async () => {
    await Promise.all([...workers.map((worker) => worker.stop(1_000)), ...crews.map((crew) => crew.stop())]);
    await queues.close();
    const all = await plain.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await plain.del(all);
    plain.disconnect();
  });

  return {
    ...inside,
    /** The connection without what `wrap` puts in front. */
    plain,
    stages: names,
    journal,
    pipeline,
    reconciler,
    work(only: string[] = names, gate: WorkerDeps<object>["gate"] = OPEN) {
      workers.push(...startWorkers(inside, plain, gate, only));
      return workers;
    },
    /** Workers with a connection of their own, as another process has them. */
    crew({ only = names, wrap = (one) => one }: { only?: string[]; wrap?: (redis: Redis) => Redis } = {}) {
      const connection = connect();
      const all = [connection];
      const duplicate = connection.duplicate.bind(connection);
      connection.duplicate = (...options) => {
        const other = duplicate(...options);
        all.push(other);
        return other;
      };
      let epoch = 0;
      connection.on("close", () => (epoch += 1)).on("error", () => {});
      const own = open({ ...parts, redis: wrap(connection), plain: connection });
      const gate = {
        epoch: () => epoch,
        isOpen: () => connection.status === "ready",
        whenOpen: () => expectReady(connection),
      };
      const running = startWorkers(own, connection, gate, only);
      let isOver = false;
      const crew = {
        redis: connection,
        async stop(graceMs = 1_000): Promise<void> {
          if (isOver) return;
          isOver = true;
          await Promise.all(running.map((worker) => worker.stop(graceMs)));
          await own.queues.close();
          connection.disconnect();
        },
        /** As if its process were killed: what is under way goes on, and nothing more of it gets to Redis. */
        kill(): void {
          isOver = true;
          for (const one of all) one.disconnect();
          for (const worker of running) void worker.stop(0).catch(() => {}); // no Redis: it does not come to an end
        },
      };
      crews.push(crew);
      return crew;
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

async function expectReady(connection: Redis): Promise<boolean> {
  for (let i = 0; i < 50 && connection.status !== "ready"; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  return connection.status === "ready";
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
