import { parseArgs } from "node:util";
import { distribution } from "./report.ts";
import { runStops, STOP_WITHIN_MS } from "./run-stops.ts";

/**
 * `node test/chaos/stops.ts --stops 100`: how long workers take to end after SIGTERM, at work, with a provider that hangs,
 * without Redis, and with neither. Exit code 1 when one took more than 25 s, did not exit with 0, or a promise was
 * broken.
 */
const { values } = parseArgs({
  options: {
    stops: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    grace: { type: "string", default: "20000" },
    together: { type: "string", default: "4" },
  },
});
const { ended, violations, dir, remove } = await runStops({
  stops: Number(values.stops),
  seed: Number(values.seed),
  graceMs: Number(values.grace),
  together: Number(values.together),
  say: (line) => void process.stderr.write(`${line}\n`),
});
for (const weather of new Set(ended.map((end) => end.weather))) {
  const these = ended.filter((end) => end.weather === weather);
  process.stdout.write(`${weather.padEnd(16)} ${distribution(these.map(({ tookMs }) => tookMs))}\n`);
}
const bad = ended.filter(({ code, tookMs }) => code !== 0 || tookMs > STOP_WITHIN_MS);
for (const { weather, code, tookMs, said } of bad) {
  process.stdout.write(`${weather}: exit code ${code} after ${Math.round(tookMs)} ms\n${said}\n`);
}
for (const { text } of violations) process.stdout.write(`${text}\n`);
const isGood = bad.length === 0 && violations.length === 0;
if (isGood) remove();
else process.stdout.write(`What it left behind is in ${dir}\n`);
process.exit(isGood ? 0 : 1);
