/**
 * Hands a document in by the queue "intake" and follows it in the queue "results", with nothing of signpipe but its
 * public key:
 *
 *   REDIS_URL=redis://127.0.0.1:6379 INTAKE_KEY="$(signpipe intake key)" node submit.mjs loan-2031 loans/lease.pdf
 *
 * The path is one in INTAKE_DIR. Each result is printed as one line of JSON; it ends with the request, or with --until
 * TYPE at the first result of that type.
 */
import { Buffer } from "node:buffer";
import { Queue, Worker } from "bullmq";
import { CompactEncrypt, importJWK } from "jose";

const [reference, path, , until] = process.argv.slice(2);
const { REDIS_URL, INTAKE_KEY, REDIS_PREFIX = "{signpipe}", EMAIL, PHONE } = process.env;
const connection = { url: REDIS_URL };
const prefix = `${REDIS_PREFIX}:queue`;

// Who signs is sealed for signpipe: nobody else can read it in Redis, nor change what is to be signed.
const jwk = JSON.parse(INTAKE_KEY);
const content = {
  manifest: { reference, signer: { email: EMAIL, mobile_phone_number: PHONE } },
  documents: [{ path }],
};
const sealed = await new CompactEncrypt(Buffer.from(JSON.stringify(content)))
  .setProtectedHeader({ alg: "ECDH-ES", enc: "A256GCM", kid: jwk.kid })
  .encrypt(await importJWK(jwk, "ECDH-ES"));

// The job's id is what makes it safe to add it twice: the same id is the same request.
const intake = new Queue("intake", { connection, prefix });
await intake.add("sign", { version: 1, sealed }, { jobId: `order-${reference}` });
await intake.close();

const OVER = [
  "intake.refused",
  "request.done",
  "request.failed",
  "request.expired",
  "request.refused",
  "request.cancelled",
];
const results = new Worker(
  "results",
  async ({ data }) => {
    console.log(JSON.stringify(data));
    const isOurs = data.data.intake_job_id === `order-${reference}`;
    if (isOurs && (data.type === until || OVER.includes(data.type))) void results.close();
  },
  { connection, prefix },
);
