import { readFileSync } from "node:fs";
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Ended, type Environment, findOnPath, run } from "./command.ts";
import type { Program } from "./server.ts";

/** Server and tools, in the order in which they are tried; on Debian the program itself is in the tools' package. */
const PACKAGES = [
  ["redis-server", "redis-tools"],
  ["valkey-server", "valkey-tools"],
] as const;
const DOWNLOAD_MS = 180_000;

/**
 * Redis from the packages of Debian or Ubuntu, unpacked into `cacheDir` and nowhere else: no root is needed, nothing
 * is installed, and no service starts that nobody asked for. The second time it is taken from there.
 * Gives `undefined` where there is no apt-get; throws one sentence when the packages cannot be had.
 */
export async function unpackDebianRedis(
  cacheDir: string,
  env: Environment,
  say: (line: string) => void,
  signal?: AbortSignal,
): Promise<Program | undefined> {
  if (!findOnPath(["apt-get"], env) || !findOnPath(["dpkg"], env)) return undefined;
  const home = join(cacheDir, `redis-${systemName()}-${process.arch}`);
  const present = await programIn(home);
  if (present) return present;

  say(`fetching the Redis of Debian's packages into ${cacheDir} (nothing is installed) ...`);
  await mkdir(cacheDir, { recursive: true, mode: 0o700 });
  const work = await mkdtemp(join(cacheDir, "unpack-"));
  try {
    await mkdir(join(work, "root"));
    const apt = createApt(work, signal);
    const packages = (await download(work, apt, [])) ?? (await download(work, apt, await privateLists(work, apt)));
    if (!packages) throw new Error("apt-get could not get redis-server (is the package mirror reachable?)");
    for (const file of packages) {
      const { code, stderr } = await run("dpkg", ["-x", file, "root"], { cwd: work, timeoutMs: 60_000, signal });
      if (code !== 0) throw new Error(`dpkg could not unpack ${file}: ${lastLine(stderr)}`);
    }
    await chmod(join(work, "root"), 0o700);
    // Another start may have been faster; then its folder is as good as ours.
    await rename(join(work, "root"), home).catch(() => {});
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const program = await programIn(home);
  if (!program) throw new Error(`the redis-server unpacked into ${home} does not run here`);
  return program;
}

/** Downloads the packages into `work` and names the files; `undefined` when apt-get does not know or get them. */
async function download(work: string, apt: Apt, options: readonly string[]): Promise<string[] | undefined> {
  for (const names of PACKAGES) {
    // What would be installed: the two, and those of their libraries that this machine has not.
    const plan = await apt([...options, "-s", "--no-install-recommends", "install", ...names]);
    if (plan.code !== 0) continue;
    const missing = [...plan.stdout.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? "");
    const wanted = [...new Set([...missing, ...names])];
    if ((await apt([...options, "download", ...wanted])).code !== 0) continue;
    const files = (await readdir(work)).filter((file) => file.endsWith(".deb"));
    if (files.length > 0) return files;
  }
  return undefined;
}

/** Package lists of our own, for a machine whose lists are empty or too old, and which may not be ours to change. */
async function privateLists(work: string, apt: Apt): Promise<string[]> {
  await mkdir(join(work, "lists", "partial"), { recursive: true });
  await mkdir(join(work, "archives", "partial"), { recursive: true });
  const options = ["-o", `Dir::State::lists=${join(work, "lists")}`, "-o", `Dir::Cache=${join(work, "archives")}`];
  await apt([...options, "update"]);
  return options;
}

type Apt = (args: readonly string[]) => Promise<Ended>;

function createApt(work: string, signal: AbortSignal | undefined): Apt {
  const always = ["-qq", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"];
  return (args) => run("apt-get", [...always, ...args], { cwd: work, timeoutMs: DOWNLOAD_MS, signal });
}

/** The server in an unpacked folder, when it is there and runs. */
async function programIn(home: string): Promise<Program | undefined> {
  for (const name of ["redis-server", "valkey-server"]) {
    const path = join(home, "usr", "bin", name);
    const exists = await access(path).then(
      () => true,
      () => false,
    );
    if (!exists) continue;
    const libraryPath = (await libraryFolders(home)).join(":");
    const { code } = await run(path, ["--version"], { timeoutMs: 10_000, env: { LD_LIBRARY_PATH: libraryPath } });
    if (code === 0) return { path, libraryPath };
  }
  return undefined;
}

async function libraryFolders(home: string): Promise<string[]> {
  const roots = [join(home, "usr", "lib"), join(home, "lib")];
  const folders = await Promise.all(
    roots.map(async (root) => {
      const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
      return [root, ...entries.filter((entry) => entry.isDirectory()).map((entry) => join(root, entry.name))];
    }),
  );
  return folders.flat();
}

/** One home folder may serve several systems: "debian-12", "ubuntu-24.04". @source os-release(5) */
function systemName(): string {
  try {
    const text = readFileSync("/etc/os-release", "utf8");
    const value = (key: string): string => new RegExp(`^${key}="?([^"\n]*)`, "m").exec(text)?.[1] ?? "";
    return `${value("ID")}-${value("VERSION_ID")}`.replace(/[^\w.-]/g, "");
  } catch {
    return "unknown";
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
