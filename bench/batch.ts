import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import {
  awaitDone,
  finish,
  sample,
  scratch,
  startApp,
  startProvider,
  startRedis,
  startServer,
  submission,
  submitAll,
  tried,
} from "./parts.ts";
import { report } from "./report.ts";

/**
 * A batch against a provider that answers each call after 50 ms, with every setting at its default: from the first
 * submission until the last request is done. By one process, and by one for each core. Beside it the documented sequence of calls, one after another, for a few
 * requests, as a script that knows no queue would make them.
 */
const REQUESTS = Number(process.env["BENCH_REQUESTS"] ?? 1_000);
const WARM_UP = 500;
const ALONE = 10;
const LATENCY_MS = 50;
const redis = await startRedis();
const dir = scratch();
const files = await sample(dir);
const oneshotUrl = await startProvider(files, LATENCY_MS);

async function call(method: string, path: string, body?: object | FormData): Promise<Response> {
  const isForm = body instanceof FormData;
  const answer = await fetch(`${oneshotUrl}${path}`, {
    method,
    ...(body && { body: isForm ? body : JSON.stringify(body) }),
    ...(body && !isForm && { headers: { "content-type": "application/json" } }),
  });
  if (!answer.ok) throw new Error(`${method} ${path} was answered with ${answer.status}`);
  return answer;
}

/** One request, call after call. */
async function oneAfterAnother(n: number): Promise<void> {
  const person = { email: "bench@example.com", mobile_phone_number: "+34699999999" };
  const account = { registration_authority: "1", profile: "P", billing_username: "b", billing_password: "cA==" };
  const { detail } = (await (await call("POST", "/videoid", { ...person, ...account })).json()) as {
    detail: { videoid_pk: number; request_pk: number };
  };
  await (await call("GET", `/request/${detail.request_pk}`)).json();
  const officer = { username: "u", password: "p", pin: "p", rao: "1" };
  await (await call("POST", `/videoid/${detail.videoid_pk}/approve`, officer)).json();
  const form = new FormData();
  form.set("file", new Blob([readFileSync(files.original)], { type: "application/pdf" }), "original.pdf");
  const uploaded = (await (await call("POST", `/document/${detail.request_pk}`, form)).json()) as {
    detail: { uid: string };
  };
  const contract = await (await call("GET", `/contract/${detail.request_pk}`)).bytes();
  await writeFile(join(dir, `contract-${n}.pdf`), contract);
  await (await call("POST", `/sign/${detail.request_pk}`, { ext_unlock_type: "b", ext_unlock_value: "v" })).json();
  const signed = await (await call("GET", `/document/${detail.request_pk}/signed/${uploaded.detail.uid}`)).bytes();
  await writeFile(join(dir, `signed-${n}.pdf`), signed);
  await (await call("DELETE", `/document/${detail.request_pk}/${uploaded.detail.uid}`)).json();
}

await oneAfterAnother(-1); // the connection is open, the code is warm
const before = performance.now();
for (let n = 0; n < ALONE; n++) await oneAfterAnother(n);
const alonePerSecond = (ALONE * 1000) / (performance.now() - before);

/** A batch through so many processes with every queue and worker; this one is the first, and hands in. Requests/s. */
async function batch(processes: number): Promise<number> {
  const { app, prefix, dataDir } = await startApp(redis.url, oneshotUrl, tried());
  const admin = new Redis(redis.url);
  app.startWorkers();
  for (let n = 1; n < processes; n++) {
    await startServer("./app.ts", [redis.url, oneshotUrl, dataDir, "with-workers", prefix]);
  }
  let total = 0;
  const through = async (count: number) => {
    const submissions = Array.from({ length: count }, () => submission(app, files.original, "external"));
    const started = performance.now();
    await submitAll(app, submissions);
    total += count;
    await awaitDone(admin, prefix, total);
    return (count * 1000) / (performance.now() - started);
  };
  await through(WARM_UP); // a worker runs for weeks: its code is warm, and so are its connections
  const perSecond = await through(REQUESTS);
  admin.disconnect();
  await app.close({ graceMs: 2_000 });
  return perSecond;
}

const cores = cpus().length;
const alone = await batch(1);
const together = cores > 1 ? await batch(cores) : alone;
report("batch", {
  "requests/s, one process": alone,
  "requests/s, a process for each core": together,
  "requests/s, one after another (reference)": alonePerSecond,
  "ratio, one process": alone / alonePerSecond,
  ratio: together / alonePerSecond,
});
await finish();
process.exit(0);
