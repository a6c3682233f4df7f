import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { withLock } from "./lock.mjs";
import { ROOT } from "./root.mjs";
import { say } from "./say.mjs";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Makes sure node_modules holds what package-lock.json asks for; installs it when something is missing or different.
 * Safe when two starts do it at once. What counts is what npm wrote down about the folder, so an install made by
 * hand (`npm ci`, also with `--omit=dev`) is accepted as it is.
 * @param {{ dev: boolean }} needs `dev`: the tools for testing and checking must be there as well
 */
export async function ensureInstalled({ dev }) {
  if (isInstalled({ dev })) return;
  const onWait = () => say("another start is installing packages; waiting for it.");
  await withLock(join(ROOT, ".cache", "install.lock"), { onWait }, async (note) => {
    if (!isInstalled({ dev })) await install({ dev, onStart: note });
  });
}

/**
 * True when every package of package-lock.json that this machine needs is in node_modules in the locked version.
 * `.package-lock.json` is npm's own list, written at the end of an install: after an interrupted one it is missing.
 */
export function isInstalled({ dev }) {
  let wanted, present;
  try {
    wanted = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")).packages;
    present = JSON.parse(readFileSync(join(ROOT, "node_modules", ".package-lock.json"), "utf8")).packages;
  } catch {
    return false;
  }
  return Object.entries(wanted).every(([path, entry]) => {
    const found = present[path];
    if (path === "") return true;
    if (!found) return entry.optional || entry.devOptional || (entry.dev && !dev);
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

async function install({ dev, onStart }) {
  const startedMs = Date.now();
  say("installing packages (about a minute the first time) ...");
  const include = dev ? ["--include=dev"] : [];
  let result = await npm(["ci", ...include], { onStart });
  if (result.code !== 0) {
    say("npm ci did not succeed; trying once more without the packages' own install scripts ...");
    result = await npm(["install", "--no-save", "--ignore-scripts", ...include], { onStart });
  }
  if (result.code !== 0) {
    process.stderr.write(`${result.output.trim().split("\n").slice(-20).join("\n")}\n`);
    throw new Error("the packages could not be installed; npm's reason is above. Run `npm ci` after removing it.");
  }
  if (!isInstalled({ dev })) {
    throw new Error("npm left packages out, although it reported success; remove node_modules and run `npm ci`.");
  }
  say(`packages installed in ${Math.round((Date.now() - startedMs) / 1000)} s.`);
}

/**
 * Runs npm quietly and keeps what it said, for the case that it fails. When this process is asked to end, npm ends too.
 * @param {string[]} args
 * @param {{ cwd?: string, onStart?: (pid: number) => void }} options
 * @returns {Promise<{ code: number, output: string }>}
 */
export function npm(args, { cwd = ROOT, onStart } = {}) {
  return new Promise((resolve) => {
    // The log level is set again because `npm run -s` hands "silent" on, and then a failure would have no reason.
    const all = [...args, "--loglevel=error", "--no-audit", "--no-fund"];
    const child = spawn("npm", all, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    if (child.pid !== undefined) onStart?.(child.pid);
    const endBoth = (signal) => {
      child.kill(signal);
      process.exit(1);
    };
    for (const signal of SIGNALS) process.once(signal, endBoth);
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => resolve({ code: 1, output: `npm could not be started: ${error.message}` }));
    child.on("close", (code) => {
      for (const signal of SIGNALS) process.off(signal, endBoth);
      resolve({ code: code ?? 1, output });
    });
  });
}
