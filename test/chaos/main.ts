import { parseArgs } from "node:util";
import { runChaos } from "./run.ts";
import { toText } from "./report.ts";

/** `npm run chaos -- --requests N --seed S`: one run, its report, exit code 1 when a promise was broken. */
const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: "3" },
    span: { type: "string" },
    lock: { type: "string", default: "15000" },
    naive: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});
const outcome = await runChaos({
  requests: number("requests", values.requests),
  seed: number("seed", values.seed),
  workers: number("workers", values.workers),
  ...(values.span !== undefined && { spanMs: number("span", values.span) * 1_000 }),
  lockMs: number("lock", values.lock),
  naive: values.naive,
  say: (line) => void process.stderr.write(`${line}\n`),
});
process.stdout.write(`${toText(outcome)}\n`);
if (outcome.violations.length === 0 && !values.keep) outcome.remove();
else process.stdout.write(`What it left behind is in ${outcome.dir}\n`);
process.exit(outcome.violations.length === 0 ? 0 : 1);

function number(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`--${name} must be a whole number above 0, not "${text}".\n`);
  process.exit(2);
}
