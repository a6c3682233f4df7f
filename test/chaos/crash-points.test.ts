import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { EFFECT_BOUNDARIES, FILE_BOUNDARIES } from "../../src/core/crash-point.ts";
import { jpeg, mp4 } from "../helpers/identity.ts";
import { ENDS, readRecords, startDeployment } from "./deployment.ts";
import { makeWishes, post, type Wish } from "./hand-in.ts";
import { startPeople } from "./people.ts";
import { randomFrom } from "./random.ts";

const WORKERS_DIR = new URL("../../src/workers/", import.meta.url).pathname;
const TIMES = 3;
/** Three more of each: now and then a process dies for others while one of its requests is in the middle of a call. */
const PLANNED = TIMES + 3;

/** The costly calls, as the stages' own source names them. */
function effects(): string[] {
  const sources = readdirSync(WORKERS_DIR).map((name) => readFileSync(join(WORKERS_DIR, name), "utf8"));
  const names = sources.flatMap((text) => [...text.matchAll(/\beffect\(\s*"(\w+)"/g)].map(([, name]) => name ?? ""));
  return [...new Set(names)].sort();
}

/** Calls that only a signer whom we identified ourselves needs. */
const OF_EXTERNAL = ["evidences", "video"];
const pointsOf = (calls: readonly string[]) =>
  calls.flatMap((effect) => EFFECT_BOUNDARIES.map((boundary) => `${effect}:${boundary}`));
/** The first of two calls of one stage, of which only the last leads on; and a correction, after which it waits as before. */
const UNREACHED = ["evidences:recorded", "evidences:handed-on", "update:recorded", "update:handed-on"];
const POINTS = {
  videoid: [
    ...pointsOf(effects().filter((effect) => !OF_EXTERNAL.includes(effect))).filter(
      (point) => !UNREACHED.includes(point),
    ),
    ...["contract.pdf", "signed.pdf"].flatMap((file) => FILE_BOUNDARIES.map((boundary) => `${file}:${boundary}`)),
  ],
  "videoid-external": pointsOf(OF_EXTERNAL).filter((point) => !UNREACHED.includes(point)),
  // Its creation approves, and cannot be told from others by what comes of it.
  classic: pointsOf(["create"]),
};

test("every costly call is made under an intent", () => {
  const mutating = /provider\s*\.(create\w+|update\w+|upload\w*|approve|refuse|otp|sign|cancel|deleteDocuments?)\(/;
  /** What is safe to repeat whenever it is not known to have worked: a deletion, a cancellation, an image of nobody's. */
  const exempt = ["orphans.ts cancel", "cleanup.ts deleteDocuments", "cleanup.ts cancel", "pictures.ts uploadImage"];
  const loose = readdirSync(WORKERS_DIR).flatMap((name) => {
    const lines = readFileSync(join(WORKERS_DIR, name), "utf8").split("\n");
    return lines.flatMap((line, i) => {
      const call = mutating.exec(line)?.[1];
      const around = lines.slice(Math.max(i - 3, 0), i + 1).join("\n");
      return call === undefined || /effect\(/.test(around) ? [] : [`${name} ${call}`];
    });
  });
  expect(loose.filter((one) => !exempt.includes(one))).toEqual([]);
  expect(effects()).toEqual([
    "approve",
    "cancel",
    "create",
    "delete",
    "evidences",
    "otp",
    "refuse",
    "sign",
    "update",
    "upload",
    "video",
  ]);
});

test(`a worker killed at any of ${POINTS.videoid.length} crash points, ${TIMES} times each, costs time only`, () =>
  killAtEach(POINTS.videoid));

test.each(["videoid-external", "classic"] as const)("the same at those of a %s request", (workflow) =>
  killAtEach(POINTS[workflow], workflow),
);

/** Kills workers at these points, and sees that every request ends as it should, with everything done once. */
async function killAtEach(all: readonly string[], workflow: keyof typeof POINTS = "videoid"): Promise<void> {
  const deployment = await startDeployment({ lockMs: 2_000, signer: workflow === "videoid" ? "auto" : "off" });
  const { dir, api, redis, simulator } = deployment;
  const at = (name: string) => join(dir, name);
  let isWell = false;
  try {
    const points = all.flatMap((point) => Array.from({ length: PLANNED }, () => point));
    const wishes = makeWishes(points.length, randomFrom(11), { unusable: 0 }).map((wish, i): Wish => {
      const is = (effect: string) => points[i]?.startsWith(`${effect}:`) === true;
      const isRefusal = is("refuse");
      const order = is("cancel") ? "restart" : is("update") ? "correct" : undefined;
      return {
        ...wish,
        way: "api",
        copies: 1,
        approval: isRefusal || order ? "manual" : i % 2 === 0 ? "auto" : "manual",
        decision: isRefusal ? "refuse" : "approve",
        authentication: "sms",
        wrongCodes: 0,
        cancelAt: undefined,
        ...(workflow !== "videoid" && { identified: { workflow, files: filesOf(workflow, wish.name) } }),
        order,
      };
    });
    await deployment.start([{ name: "front", parts: ["api"] }]);
    const ids = await Promise.all(wishes.map((wish) => post(wish, api, () => false)));
    writeFileSync(at("plan.json"), JSON.stringify(Object.fromEntries(ids.map((id, i) => [id, points[i]]))));
    const plan = { planPath: at("plan.json"), hitsPath: at("hits"), pointsPath: at("points") };
    const people = startPeople({
      wishes: wishes,
      api,
      codesOf: (phone) => simulator.outbox.filter((message) => message.phone === phone).map(({ code }) => code),
    });
    const fleet = await deployment.start([
      { name: "worker-1", parts: ["workers", "keeping"], ...plan },
      { name: "worker-2", parts: ["workers"], ...plan },
      { name: "worker-3", parts: ["workers"], ...plan },
    ]);
    await expect
      .poll(
        async () =>
          (await readRecords(redis))
            .filter(({ phase }) => !ENDS.includes(phase))
            .map(({ id, stage, phase }) => `${points[ids.indexOf(id)]} ${stage} ${phase}`),
        {
          timeout: 200_000,
          interval: 500,
        },
      )
      .toEqual([]);
    await people.stop();

    const hits = readFileSync(at("hits"), "utf8").trim().split("\n");
    const times = Map.groupBy(hits, (line) => line.split(" ")[1] ?? "");
    expect(all.filter((point) => (times.get(point)?.length ?? 0) < TIMES)).toEqual([]);
    expect(fleet.exits.filter(({ signal }) => signal === "SIGKILL").length).toBeGreaterThanOrEqual(3);
    const announced = new Set(readFileSync(at("points"), "utf8").trim().split("\n"));
    const isAnnounced = (point: string) => [...announced].some((name) => name.endsWith(point));
    expect(all.filter((point) => !isAnnounced(point))).toEqual([]);
    await deployment.stop();
    expect((await deployment.check(wishes)).map(({ text }) => text)).toEqual([]);

    const phases = new Map((await readRecords(redis)).map(({ id, phase }) => [id, phase]));
    const bad = ids.flatMap((id, i) => {
      const wanted = points[i]?.startsWith("refuse:") ? "refused" : "done";
      const { phoneSha256 = "" } = wishes[i] ?? {};
      return phases.get(id ?? "") === wanted && isOnce(phoneSha256, wanted)
        ? []
        : [`${points[i]}: ${id} ${phases.get(id ?? "")}`];
    });
    expect(bad).toEqual([]);
    isWell = true;

    function isOnce(phone: string, end: string): boolean {
      const pks = simulator.ledger
        .filter(({ effect, phone_sha256 }) => effect === "create" && phone_sha256 === phone)
        .map(({ request_pk }) => request_pk);
      const count = (effect: string) =>
        simulator.ledger.filter((entry) => entry.effect === effect && pks.includes(entry.request_pk)).length;
      // A classic request that nobody heard of was approved as it was created.
      const once = end === "done" ? ["otp", "sign", ...(workflow === "classic" ? [] : ["approve"])] : ["refuse"];
      return once.every((effect) => count(effect) === 1);
    }
  } finally {
    await deployment.close();
    if (isWell) deployment.remove();
  }
}

/** What shows who the signer is, all of it different from all others. */
function filesOf(workflow: "videoid-external" | "classic", name: string) {
  const front = { role: "document_front", name: `front of ${name}.jpg`, bytes: jpeg(name) };
  if (workflow === "classic") {
    return [front, { role: "document_rear", name: `rear of ${name}.jpg`, bytes: jpeg(`rear ${name}`) }];
  }
  return [
    front,
    { role: "document_owner", name: `owner of ${name}.jpg`, bytes: jpeg(`owner ${name}`) },
    { role: "video", name: `film of ${name}.mp4`, bytes: mp4(20_000) },
  ];
}
