import type { Logger } from "pino";
import type { Settings } from "./config.ts";
import { PermanentError, RetryableError } from "./core/errors.ts";
import { deriveKey } from "./keys.ts";
import type { DocumentStore } from "./producers/api/ports.ts";
import { ApiError } from "./producers/api/problem.ts";
import type { Remote } from "./producers/api/remote.ts";
import { createOpener } from "./producers/intake/sealed.ts";
import { createTake } from "./producers/intake/take.ts";
import type { Answers } from "./queues/answers.ts";
import type { connect } from "./queues/connect.ts";
import { startIntakeWorker } from "./queues/intake.ts";
import type { Keys } from "./queues/keys.ts";
import type { Pipeline } from "./queues/pipeline-types.ts";
import type { Queues } from "./queues/queues.ts";
import { createShares } from "./queues/shares.ts";

/** Takes requests from the public queue "intake". Several processes of a deployment may do it. */
export function startIntake({
  settings,
  masterKey,
  redis,
  keys,
  pipeline,
  documents,
  remote,
  answers,
  queues,
  log,
}: {
  settings: Settings;
  masterKey: Uint8Array;
  redis: ReturnType<typeof connect>;
  keys: Keys;
  pipeline: Pipeline;
  documents: DocumentStore;
  /** How documents are had that jobs name by their url. */
  remote: Pick<Remote, "fetch">;
  answers: Answers;
  queues: Pick<Queues, "waiting">;
  log: Logger;
}): { stop(): Promise<void> } {
  const secret = deriveKey(masterKey, "intake");
  const take = createTake({
    pipeline,
    documents,
    opener: createOpener(secret),
    folder: settings.INTAKE_DIR,
    fetchDocument: (url) => fetchFrom(remote, url),
    allowPlain: settings.INTAKE_PLAIN,
    most: settings.MAX_DOCUMENTS,
    printKey: secret,
    holdMs: createShares({ perSecond: settings.INTAKE_TENANT_RATE, waiting: () => queues.waiting() }).holdMs,
  });
  return startIntakeWorker({ connection: redis, keys, masterKey, take, find: pipeline.find, answers, log });
}

/** A host that does not answer now may do so later; what it, or the operator, does not give is not there. */
async function fetchFrom(remote: Pick<Remote, "fetch">, url: string) {
  try {
    const { content, declaredBytes } = await remote.fetch(url);
    return { content, sizeBytes: declaredBytes };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const { message, code } = error;
    throw code === "document-host-unreachable"
      ? new RetryableError(message, { code })
      : new PermanentError(message, { code });
  }
}
