/**
 * What `npm pack` goes through, before and after: makes the package that other programs install for `signpipe/client`.
 * It has the compiled client, its manual, and no dependencies; the program itself is run from a clone or an image. For
 * the time of the packing package.json is that of the client, and put back afterwards, also when the last time was
 * interrupted.
 *
 *     node scripts/pack.mjs begin | end
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./root.mjs";
import { giveUp } from "./say.mjs";

const MANIFEST = join(ROOT, "package.json");
const KEPT = join(ROOT, ".cache", "package.json");
const DIST = join(ROOT, "dist");

/** What of package.json is true of the client. `private` stays: nobody publishes it by mistake. */
const OF_CLIENT = ["name", "version", "private", "license", "type", "engines", "exports", "files"];

function putBack() {
  if (existsSync(KEPT)) renameSync(KEPT, MANIFEST);
}

function begin() {
  putBack();
  rmSync(DIST, { recursive: true, force: true });
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const built = spawnSync(process.execPath, [tsc, "-p", join(ROOT, "tsconfig.client.json")], { encoding: "utf8" });
  if (built.status !== 0) giveUp(`the client cannot be built:\n${built.stdout}${built.stderr}`);
  nameWhatIsThere();
  const whole = readFileSync(MANIFEST, "utf8");
  const all = JSON.parse(whole);
  const own = Object.fromEntries(OF_CLIENT.map((name) => [name, all[name]]));
  const description = "Client for signpipe's HTTP API: hand documents in, follow them, fetch what was signed.";
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  writeFileSync(KEPT, whole);
  writeFileSync(MANIFEST, `${JSON.stringify({ ...own, description }, null, 2)}\n`);
}

/** In declarations the compiler leaves imports as they are written, with the names of files that are not packed. */
function nameWhatIsThere() {
  const folder = join(DIST, "client");
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".d.ts"))) {
    const path = join(folder, name);
    writeFileSync(path, readFileSync(path, "utf8").replaceAll(/(from "\.\/[\w-]+)\.ts"/g, '$1.js"'));
  }
}

const steps = { begin, end: putBack };
const step = steps[process.argv[2]];
if (!step) giveUp("say begin or end: node scripts/pack.mjs begin");
step();
