import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JobsOptions, Queue } from "bullmq";
import { CompactEncrypt, importJWK } from "jose";
import { Redis } from "ioredis";
import { onTestFinished } from "vitest";
import { deriveKey } from "../../src/keys.ts";
import { createOpener } from "../../src/producers/intake/sealed.ts";
import { Result } from "../../src/queues/answers.ts";
import { samplePdf, startHouse } from "./house.ts";

/** The whole program with its public queues, as another system meets them. */
export async function startQueues(settings: Record<string, string> = {}, work = false) {
  const folder = await mkdtemp(join(tmpdir(), "signpipe-intake-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const house = await startHouse({ work, settings: { INTAKE: "true", INTAKE_DIR: folder, ...settings } });
  const { REDIS_PREFIX } = house.app.settings;
  const connection = { url: house.redisUrl };
  const at = { connection, prefix: `${REDIS_PREFIX}:queue` };
  const [intake, results] = [new Queue("intake", at), new Queue<Result>("results", at)];
  const redis = new Redis(house.redisUrl);
  onTestFinished(async () => {
    await Promise.all([intake.close(), results.close()]);
    redis.disconnect();
  });
  const jwk = await createOpener(deriveKey(house.keyRing.masterKey, "intake")).publicJwk();
  await writeFile(join(folder, "lease.pdf"), await samplePdf());
  return {
    house,
    folder,
    intake,
    results,
    redis,
    jwk,
    add: (data: unknown, options: JobsOptions = {}) => intake.add("sign", data, options),
    async seal(content: unknown) {
      const plain = new TextEncoder().encode(JSON.stringify(content));
      const header = { alg: "ECDH-ES", enc: "A256GCM" };
      return await new CompactEncrypt(plain).setProtectedHeader(header).encrypt(await importJWK(jwk, "ECDH-ES"));
    },
    /** Types of the results about a job, with the code of a refusal, in order. */
    async toldOf(job: string) {
      const jobs = await results.getJobs(["waiting", "prioritized"], 0, -1, true);
      return jobs.map(({ data }) => Result.parse(data)).filter(({ data }) => data.intake_job_id === job);
    },
  };
}

export const typesOf = (told: readonly Result[]) =>
  told.map((one) => (one.type === "intake.refused" ? one.data.code : one.type));
