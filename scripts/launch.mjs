/**
 * What every npm script and `npx signpipe` go through. Runs on the machine's own Node (20 or newer) with nothing
 * installed: installs what is missing, finds the pinned Node, and becomes the command that was asked for.
 *
 *     node scripts/launch.mjs <command> [arguments ...]
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureInstalled } from "./install.mjs";
import { findNode } from "./node.mjs";
import { ROOT } from "./root.mjs";
import { become } from "./run.mjs";
import { giveUp } from "./say.mjs";
import { provideBrowser } from "./test-tools.mjs";

const cli = (...args) => [join(ROOT, "src", "cli.ts"), ...args];
const vitest = (...args) => [join(ROOT, "node_modules", "vitest", "vitest.mjs"), "run", ...args];

/** Commands: what runs, whether the development packages are needed, and what else must be on the machine. */
const COMMANDS = {
  start: { dev: false, args: cli("start") },
  demo: { dev: false, args: cli("demo") },
  signpipe: { dev: false, args: cli() },
  test: { dev: true, args: vitest(), before: provideBrowser },
  "test:browser": { dev: true, args: vitest("--project", "browser", "--passWithNoTests"), before: provideBrowser },
  check: { dev: true, args: [join(ROOT, "scripts", "check.mjs")] },
  docs: { dev: true, args: [join(ROOT, "scripts", "write-docs.ts")] },
  bench: { dev: true, args: [join(ROOT, "bench", "run.ts")] },
  chaos: { dev: true, args: [join(ROOT, "test", "chaos", "main.ts")] },
  run: { dev: true, args: [] },
};

/** Runs one command of the table; does not return. */
export async function launch(name, rest) {
  const command = COMMANDS[name];
  if (!command) giveUp(`"${name}" is not a command; known are ${Object.keys(COMMANDS).join(", ")}.`);
  try {
    await ensureInstalled({ dev: command.dev });
    const node = await findNode();
    command.before?.();
    become(node, [...command.args, ...rest]);
  } catch (error) {
    giveUp(error.message);
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await launch(process.argv[2], process.argv.slice(3));
}
