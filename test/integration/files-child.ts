import { writeDurably } from "../../src/files/durable.ts";
import { type OnStep, watchSteps } from "../helpers/file-steps.ts";

/**
 * Writes a file as the pipeline does, and dies at a step, as in a power cut. Arguments: folder, name, bytes, step, the
 * how manieth, before or after it. Ends with 0 when there was no such step.
 */
const [dir = "", name = "", size = "0", step = "", count = "1", when = ""] = process.argv.slice(2);

async function* source(): AsyncGenerator<Buffer> {
  for (let left = Number(size); left > 0; left -= 65_536) yield Buffer.alloc(Math.min(left, 65_536), "a");
}

const die: OnStep = (at, n, moment) => {
  if (at === step && n === Number(count) && moment === when) process.kill(process.pid, "SIGKILL");
};
await watchSteps(die);
await writeDurably({ dir, name, source: source(), check: async () => ({}) });
