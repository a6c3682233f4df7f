import { parseArgs } from "node:util";
import { distribution, quantile } from "./report.ts";
import { runChaos } from "./run.ts";

/**
 * `node test/chaos/kills.ts --kills 100`: how long what a killed worker had in its hands lies there until another process
 * takes it up, with the standard lock. Exit code 1 when that is more than 30 s (p99), or a promise was broken.
 */
const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    lock: { type: "string", default: "15000" },
  },
});
const kills = Number(values.kills);
/** Killed at random: the one with the API, and three workers. Two more live on, as in a deployment that is well. */
const [workers, members] = [5, 4];
const outcome = await runChaos({
  // So many that nearly every death interrupts something.
  requests: kills * 20,
  workers,
  seed: Number(values.seed),
  lockMs: Number(values.lock),
  spanMs: Math.max(kills * 2_000, 30_000),
  amounts: { members, kills, terms: 0, freezes: 0, partitions: 0, redisKills: 0, aofCuts: 0, faultPercent: 0 },
  say: (line) => void process.stderr.write(`${line}\n`),
});
const isSlow = quantile(outcome.recoveryMs, 0.99) > 30_000;
process.stdout.write(`${kills} kills; what they interrupted was taken up again ${distribution(outcome.recoveryMs)}\n`);
for (const { text } of outcome.violations) process.stdout.write(`${text}\n`);
if (outcome.violations.length === 0) outcome.remove();
else process.stdout.write(`What it left behind is in ${outcome.dir}\n`);
process.exit(isSlow || outcome.recoveryMs.length === 0 || outcome.violations.length > 0 ? 1 : 0);
