import { readFileSync } from "node:fs";
import { join } from "node:path";
import { bigSample, finish, peakOf, run, scratch, startProvider, startRedis, startServer, waitUntil } from "./parts.ts";
import { report } from "./report.ts";

/**
 * One PDF of 300 MB through everything, from the API to "done": the most memory that the process of the pipeline ever
 * had, beside what it has for one of 1 MB. The provider is a process of its own. Linux only: the kernel keeps count.
 */
async function measure(megabytes: number): Promise<{ before: number; peak: number; seconds: number }> {
  const dir = scratch();
  const sample = await bigSample(dir, Math.max(1, Math.round((megabytes * 1e6) / (1 << 20))));
  const { original } = sample;
  const redis = await startRedis();
  const oneshotUrl = await startProvider(sample);
  const { port, pid, secret } = await startServer("./app.ts", [redis.url, oneshotUrl, scratch(), "with-workers"]);
  const api = `http://127.0.0.1:${port}/v1/requests`;
  const bearer = `Authorization: Bearer ${secret}`;
  const manifest = JSON.stringify({
    signer: { email: "bench@example.com", mobile_phone_number: "+34699999999" },
    authentication: { method: "external", type: "bench", value: "v" },
  });
  const form = ["-F", `manifest=${manifest};type=application/json`, "-F", `file=@${original};type=application/pdf`];
  const answer = join(dir, "answer.json");
  const before = peakOf(pid);
  const startedMs = performance.now();
  await run("curl", ["--silent", "--fail", "--output", answer, "-H", bearer, ...form, api]);
  const { id } = JSON.parse(readFileSync(answer, "utf8")) as { id: string };
  await waitUntil(async () => {
    const { state } = (await (
      await fetch(`${api}/${id}`, { headers: { authorization: `Bearer ${secret}` } })
    ).json()) as { state: string };
    if (["failed", "expired", "refused", "cancelled"].includes(state)) throw new Error(`the request is ${state}`);
    return state === "done";
  }, 100);
  return { before, peak: peakOf(pid), seconds: (performance.now() - startedMs) / 1000 };
}

const small = await measure(1);
const big = await measure(Number(process.env["BENCH_MEGABYTES"] ?? 300));
report("memory", {
  "MB at the most, before the first request": big.before,
  "MB at the most, one PDF of 1 MB (reference)": small.peak,
  "MB at the most, one PDF of 300 MB": big.peak,
  "seconds from upload to done, 300 MB": big.seconds,
});
await finish();
process.exit(0);
