import type { RequestId } from "../../src/core/request.ts";
import type { Queues } from "../../src/queues/queues.ts";

/** Takes a request's jobs away, wherever they are and nobody runs them: as if Redis had lost them. */
export async function loseJobs(queues: Pick<Queues, "all">, id: RequestId): Promise<void> {
  await Promise.all(queues.all().map((queue) => queue.remove(id).catch(() => 0)));
}
