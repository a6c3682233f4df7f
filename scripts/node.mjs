import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { npm } from "./install.mjs";
import { withLock } from "./lock.mjs";
import { ROOT } from "./root.mjs";
import { say } from "./say.mjs";

const OLDEST_MAJOR = 24;
const FETCHED = join(ROOT, ".cache", "node");

/**
 * Path of a Node that runs this project: the pinned one from node_modules; else the one we are running on, when it
 * is new enough; else the pinned one fetched by itself (the `node` package fetches its program in an install script,
 * which a machine may forbid). Throws one sentence when none of the three is to be had.
 */
export async function findNode() {
  const pinned = join(ROOT, "node_modules", "node", "bin", "node");
  if (existsSync(pinned) && runs(pinned)) return pinned;
  if (Number(process.versions.node.split(".")[0]) >= OLDEST_MAJOR) return process.execPath;
  return fetched() ?? fetchNode();
}

/** A program made for another C library is there and cannot run; asking costs a few milliseconds. */
function runs(path) {
  return path === process.execPath || spawnSync(path, ["--version"], { stdio: "ignore" }).status === 0;
}

function pinnedVersion() {
  return JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).dependencies.node;
}

/** Names under which the pinned Node is published for this machine. */
function packageNames() {
  return ["node", "node-bin"].map((prefix) => `${prefix}-${process.platform}-${process.arch}`);
}

/** The Node that an earlier start fetched, when it is still the pinned version. */
function fetched() {
  return packageNames()
    .map((name) => join(FETCHED, "node_modules", name))
    .filter((folder) => existsSync(join(folder, "package.json")))
    .filter((folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version === pinnedVersion())
    .map((folder) => join(folder, "bin", "node"))
    .find((program) => existsSync(program) && runs(program));
}

async function fetchNode() {
  const version = pinnedVersion();
  const onWait = () => say("another start is fetching Node; waiting for it.");
  return withLock(join(ROOT, ".cache", "node.lock"), { onWait }, async (onStart) => {
    if (fetched()) return fetched();
    say(`fetching Node ${version}, which is pinned for this project ...`);
    mkdirSync(FETCHED, { recursive: true });
    writeFileSync(join(FETCHED, "package.json"), JSON.stringify({ private: true }));
    for (const name of packageNames()) {
      await npm(["install", "--no-package-lock", "--ignore-scripts", `${name}@${version}`], { cwd: FETCHED, onStart });
      if (fetched()) return fetched();
    }
    throw new Error(
      `this project needs Node ${OLDEST_MAJOR} or newer; this is Node ${process.versions.node}, and Node ${version} ` +
        `could not be fetched for ${process.platform}-${process.arch}. Install Node ${OLDEST_MAJOR} and start again.`,
    );
  });
}
