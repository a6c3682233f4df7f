import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { createApp, type Doubles } from "../../src/app.ts";
import { readSettings } from "../../src/config.ts";
import { readKeys } from "../../src/keys.ts";
import { createLog } from "../../src/log.ts";
import { stages } from "../../src/workers/index.ts";
import { EXIT_NOT_READY, type Order, type Report, type Start } from "./protocol.ts";

/**
 * One process of a deployment under test, put together as the program itself does it. What is added: it can be told to
 * end at one of its crash points, and with `naive` it runs without intents and journal, to show that this goes wrong.
 */
const start = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Start;
const plan = new Map(start.planPath === undefined ? [] : Object.entries(readPlan(start.planPath)));
const announced = new Set<string>();
const pointsPath = start.pointsPath;
const hitsPath = start.hitsPath ?? "";
let order: Order | undefined;
let dying: NodeJS.Timeout | undefined;
let dyingSinceMs: number | undefined;
/** Requests in the middle of a call, and since when: those that are not to die there are waited for. */
const calling = new Map<string, number>();
const CALL_MOST_MS = 6_000;

/** Requests that reach their points one soon after the other go down together: others are in nobody's way by then. */
const QUIET_MS = 1_200;
const TOGETHER_MOST_MS = 6_000;

function tell(report: Report): void {
  if (process.connected) process.send?.(report);
}

function readPlan(path: string): Record<string, string> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
}

function wasHit(id: string, point: string): boolean {
  return existsSync(hitsPath) && readFileSync(hitsPath, "utf8").includes(`${id} ${point}\n`);
}

async function die(): Promise<void> {
  const isCalling = () => [...calling.values()].some((sinceMs) => performance.now() - sinceMs < CALL_MOST_MS);
  while (isCalling()) await new Promise((resolve) => setTimeout(resolve, 5));
  process.kill(process.pid, "SIGKILL");
}

async function crashPoint(name: string, id: string): Promise<void> {
  if (name.endsWith(":taken")) return tell({ kind: "taken", id, stage: name.slice(0, -6), atMs: Date.now() });
  if (pointsPath !== undefined && !announced.has(name)) {
    announced.add(name);
    appendFileSync(pointsPath, `${name}\n`);
  }
  if (order && --order.after <= 0) {
    const { signal } = order;
    order = undefined;
    process.kill(process.pid, signal);
  }
  const point = plan.get(id);
  if (point === undefined || !name.endsWith(point) || wasHit(id, point)) {
    if (/:in-(redis|journal)$/.test(name)) calling.set(id, performance.now());
    else if (!name.endsWith(":called")) calling.delete(id); // what it has done is not written down yet
    return;
  }
  calling.delete(id);
  appendFileSync(hitsPath, `${id} ${point}\n`);
  plan.delete(id);
  dyingSinceMs ??= performance.now();
  const leftMs = dyingSinceMs + TOGETHER_MOST_MS - performance.now();
  clearTimeout(dying);
  dying = setTimeout(() => void die(), Math.min(QUIET_MS, leftMs));
  await new Promise(() => {}); // held here until the process is gone
}

/** Stages whose calls leave no trace before they are made, and are repeated whenever their outcome is not known. */
const naive = stages.map((stage) => ({
  ...stage,
  afterSilence: "repeat",
  run: (run: object) =>
    (stage.run as (run: object) => Promise<unknown>)({ ...run, effect: (_: string, call: () => unknown) => call() }),
})) as unknown as typeof stages;

const doubles: Doubles = {
  crashPoint,
  ...(start.naive && { stages: naive, journal: { dir: "", append: async () => {}, close: async () => {} } }),
};

const settings = readSettings(start.settings, { envFile: "" });
const app = createApp({
  settings,
  keyRing: readKeys(settings),
  redisUrl: start.redisUrl,
  oneshotUrl: start.oneshotUrl,
  log: createLog("info"),
  doubles,
});
process.on("message", (given: Order) => {
  order = given;
});
process.on("disconnect", () => process.exit(0));
let isStopping = false;
process.on("SIGTERM", () => {
  if (isStopping) return;
  isStopping = true;
  void app.close().then(() => process.exit(0));
});
await app.ready(30_000).catch((error: unknown) => {
  process.stderr.write(`not ready: ${String(error)}\n`);
  process.exit(EXIT_NOT_READY);
});
if (start.parts.includes("keeping")) app.startKeeping();
if (start.parts.includes("workers")) app.startWorkers();
if (start.parts.includes("api")) await app.startApi();
if (start.parts.includes("inbox")) await app.startInbox();
flushCompileCache(); // it will hardly come to an orderly end, where Node does that by itself
tell({ kind: "ready" });
