import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import type { Work } from "./floor.ts";

/**
 * The reference: a bare BullMQ chain. As many queues and workers as the pipeline has stages, in one process, one status
 * update (HSET and XADD in a script) and one `add` of the next job per hop, and no work in between, or what `work` does.
 */
export async function runReferenceChain({
  redisUrl,
  stages,
  requests,
  concurrency = 50,
  work = () => Promise.resolve(),
}: {
  redisUrl: string;
  stages: number;
  requests: number;
  concurrency?: number;
  work?: Work;
}): Promise<{ seconds: number; perSecond: number }> {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const prefix = `{reference-${Date.now()}}`;
  connection.defineCommand("referenceStatus", {
    numberOfKeys: 2,
    lua: `redis.call('HSET', KEYS[1], 'stage', ARGV[1], 'phase', 'queued')
          redis.call('XADD', KEYS[2], 'MAXLEN', '~', '1000', '*', 'id', ARGV[2], 'stage', ARGV[1])`,
  });
  const status = connection as unknown as { referenceStatus(...args: string[]): Promise<unknown> };
  const names = Array.from({ length: stages }, (_, i) => `stage-${i}`);
  const queues = names.map(
    (name) =>
      new Queue(name, {
        connection,
        prefix,
        streams: { events: { maxLen: 1000 } },
        defaultJobOptions: { removeOnComplete: true },
      }),
  );
  let left = requests;
  let finished = () => {};
  const done = new Promise<void>((resolve) => (finished = resolve));
  const workers = names.map(
    (name, i) =>
      new Worker(
        name,
        async (job) => {
          const { id } = job.data as { id: string };
          await work(i, id);
          await status.referenceStatus(`${prefix}:r:${id}`, `${prefix}:events`, name, id);
          const next = queues[i + 1];
          if (next) await next.add("step", { id }, { jobId: id });
          else if (--left === 0) finished();
        },
        { connection, prefix, concurrency, removeOnComplete: { count: 0 } },
      ),
  );
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  const before = performance.now();
  for (let i = 0; i < requests; i += 100) {
    const page = Array.from({ length: Math.min(100, requests - i) }, (_, j) => `r-${i + j}`);
    await Promise.all(page.map(async (id) => await queues[0]?.add("step", { id }, { jobId: id })));
  }
  await done;
  const seconds = (performance.now() - before) / 1000;
  await Promise.all(workers.map((worker) => worker.close()));
  await Promise.all(queues.map((queue) => queue.obliterate({ force: true })));
  await Promise.all(queues.map((queue) => queue.close()));
  connection.disconnect();
  return { seconds, perSecond: requests / seconds };
}
