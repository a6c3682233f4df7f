import { Redis } from "ioredis";
import { orderOf } from "../src/workers/index.ts";
import { runReferenceChain } from "./chain-reference.ts";
import { createFloor } from "./floor.ts";
import {
  countCommands,
  finish,
  giveCodes,
  median,
  sample,
  scratch,
  startApp,
  startProvider,
  startRedis,
  submission,
  submitAll,
  waitUntil,
} from "./parts.ts";
import { report } from "./report.ts";

/**
 * The whole workflow against a provider that costs nothing, beside a bare chain of as many stages; and beside that chain
 * with the least that has to be done for the workflow, which is as near as any program could come.
 */
const REQUESTS = Number(process.env["BENCH_REQUESTS"] ?? 1_500);
const commands = countCommands();
const redis = await startRedis();
const files = await sample(scratch());
const oneshotUrl = await startProvider(files);
const admin = new Redis(redis.url);

async function runPipeline(method: "sms" | "external"): Promise<{ perSecond: number; perRequest: number }> {
  const { app, prefix } = await startApp(redis.url, oneshotUrl);
  app.startWorkers();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const submissions = Array.from({ length: REQUESTS }, () => submission(app, files.original, method));
  const before = performance.now();
  const sent = commands();
  let over = false;
  const codes = method === "sms" ? giveCodes(app, admin, prefix, () => over) : Promise.resolve();
  await submitAll(app, submissions);
  let polls = 0;
  await waitUntil(async () => {
    polls += 1;
    return (await admin.zcard(`${prefix}:index:done`)) === REQUESTS;
  });
  const seconds = (performance.now() - before) / 1000;
  over = true;
  await codes;
  const perRequest = (commands() - sent - polls) / REQUESTS;
  await app.close({ graceMs: 2_000 });
  return { perSecond: REQUESTS / seconds, perRequest };
}

const rounds = Number(process.env["BENCH_ROUNDS"] ?? 3);
const reference: number[] = [];
const external: number[] = [];
const sms: number[] = [];
const floor: number[] = [];
let commandsExternal = 0;
let commandsSms = 0;
for (let round = 0; round < rounds; round++) {
  reference.push(
    (await runReferenceChain({ redisUrl: redis.url, stages: orderOf("videoid").length, requests: REQUESTS })).perSecond,
  );
  const least = await createFloor({ oneshotUrl, original: files.original, dir: scratch() });
  floor.push(
    (
      await runReferenceChain({
        redisUrl: redis.url,
        stages: orderOf("videoid").length,
        requests: REQUESTS,
        work: least.work,
      })
    ).perSecond,
  );
  await least.close();
  const first = await runPipeline("external");
  external.push(first.perSecond);
  commandsExternal = first.perRequest;
  const second = await runPipeline("sms");
  sms.push(second.perSecond);
  commandsSms = second.perRequest;
}
admin.disconnect();
report("chain", {
  "requests/s, bare chain of as many stages (reference)": median(reference),
  "requests/s, workflow, external authentication": median(external),
  "requests/s, chain with the least work of the workflow": median(floor),
  "ratio, chain with the least work": median(floor) / median(reference),
  "ratio, workflow against the least work": median(external) / median(floor),
  ratio: median(external) / median(reference),
  "requests/s, workflow with codes": median(sms),
  "ratio with codes": median(sms) / median(reference),
  "commands per finished request": commandsExternal,
  "commands per finished request, with codes": commandsSms,
});
await finish();
process.exit(0);
