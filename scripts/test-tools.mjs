import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { say } from "./say.mjs";

/** Foreign programs the tests ask for a second opinion, and the Debian packages they come in. */
const TOOLS = [
  { program: "pdfsig", debian: "poppler-utils", checks: "pdfsig's opinion on signatures" },
  { program: "qpdf", debian: "qpdf", checks: "qpdf's opinion on PDF structure" },
  { program: "openssl", debian: "openssl", checks: "openssl's opinion on signatures" },
  { program: "curl", debian: "curl", checks: "the commands in the documentation" },
  { program: "jq", debian: "jq", checks: "the commands in the documentation" },
];
const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];

/** Makes pdfsig, qpdf and openssl available where that is possible, else says which checks will be skipped. */
function provideTestTools() {
  const missing = TOOLS.filter(({ program }) => !isOnPath(program));
  if (missing.length === 0) return;
  if (canInstall()) install(missing.map(({ debian }) => debian));
  for (const { program, debian, checks } of missing) {
    if (!isOnPath(program)) say(`${program} is not here (package ${debian}): ${checks} will be skipped.`);
  }
}

/** The same for the browser tests: Debian's chromium. */
export function provideBrowser() {
  provideTestTools();
  if (BROWSERS.some(isOnPath)) return;
  if (canInstall()) install(["chromium"]);
  if (!BROWSERS.some(isOnPath)) say("no chromium is here: the browser tests will be skipped.");
}

function isOnPath(program) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function canInstall() {
  return process.getuid?.() === 0 && isOnPath("apt-get");
}

/** Failure is not fatal: the caller looks again and says what is missing. */
function install(packages) {
  say(`installing ${packages.join(", ")} for the tests ...`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...args) => spawnSync("apt-get", ["-qq", ...args], { env, stdio: "ignore", timeout: 300_000 }).status;
  const add = () => apt("install", "-y", "--no-install-recommends", ...packages);
  if (add() !== 0 && apt("update") === 0) add();
}
