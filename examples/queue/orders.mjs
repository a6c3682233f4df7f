/**
 * A system that hands in as orders come, and keeps what became of each, for as long as it runs:
 *
 *   REDIS_URL=redis://… INTAKE_KEY="$(signpipe intake key)" ORDERS=orders.json node orders.mjs < new-orders.jsonl
 *
 * Each line that comes in is an order: {"order":"4711","email":"…","phone":"+34…","document":"loans/lease.pdf"}. Each line that
 * goes out is an order and its state. It may be killed at any time and given the same lines again: nothing is signed twice,
 * and no result is lost.
 */
import { Buffer } from "node:buffer";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Queue, Worker } from "bullmq";
import { CompactEncrypt, importJWK } from "jose";

const { REDIS_URL, INTAKE_KEY, REDIS_PREFIX = "{signpipe}", ORDERS = "orders.json" } = process.env;
const at = { connection: { url: REDIS_URL }, prefix: `${REDIS_PREFIX}:queue` };

/** What is known of each order: its state, and when that came about. In a real system this is a table. */
const orders = new Map(readOrders());

function readOrders() {
  try {
    return Object.entries(JSON.parse(readFileSync(ORDERS, "utf8")));
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

function keep(order, { state, timestamp, code }) {
  // Results may come in another order than they came about: of two, the later one holds.
  if ((orders.get(order)?.timestamp ?? "") > timestamp) return;
  orders.set(order, { state, timestamp, ...(code && { code }) });
  // Under another name first: half a file is never read.
  writeFileSync(`${ORDERS}.new`, JSON.stringify(Object.fromEntries(orders), null, 2), { flush: true });
  renameSync(`${ORDERS}.new`, ORDERS);
  console.log(JSON.stringify({ order, state, ...(code && { code }) }));
}

const jwk = JSON.parse(INTAKE_KEY);
const publicKey = await importJWK(jwk, "ECDH-ES");

async function seal(content) {
  return await new CompactEncrypt(Buffer.from(JSON.stringify(content)))
    .setProtectedHeader({ alg: "ECDH-ES", enc: "A256GCM", kid: jwk.kid })
    .encrypt(publicKey);
}

// A job that this throws at comes again, so a result is kept before it is let go.
const results = new Worker(
  "results",
  async ({ data: { type, timestamp, data } }) => {
    const order = data.intake_job_id?.replace(/^order-/, "");
    if (type === "intake.refused") keep(order, { state: "refused at the door", timestamp, code: data.code });
    else keep(order, { state: data.state, timestamp, code: data.failure?.code });
  },
  at,
);
results.on("error", (error) => console.error(`results: ${error.message}`));

const intake = new Queue("intake", at);
for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === "") continue;
  const { order, email, phone, document } = JSON.parse(line);
  const sealed = await seal({
    manifest: { reference: order, signer: { email, mobile_phone_number: phone } },
    documents: [{ path: document }],
  });
  // Added again after a crash it is the same request: its id says so.
  await intake.add("sign", { version: 1, sealed }, { jobId: `order-${order}` });
}
await intake.close();

process.once("SIGTERM", () => void results.close());
