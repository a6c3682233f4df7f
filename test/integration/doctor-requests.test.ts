import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { createApp } from "../../src/app.ts";
import { AGE_LIMITS, overAge } from "../../src/core/ages.ts";
import type { RetryableError } from "../../src/core/errors.ts";
import { PHASES, isEnd } from "../../src/core/status.ts";
import { createCheckpointer } from "../../src/files/checkpoint.ts";
import { deriveKey } from "../../src/keys.ts";
import { createLog } from "../../src/log.ts";
import { toDiskFailure } from "../../src/files/durable.ts";
import { codesIn } from "../helpers/codes.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, startHouse } from "../helpers/house.ts";
import { classic, jpeg, png } from "../helpers/identity.ts";
import { loseJobs } from "../helpers/jobs.ts";
import { forget, linesOf } from "../helpers/lose.ts";
import { newId } from "../helpers/toy.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };
const HOUR_MS = 3_600_000;

interface Told {
  check: string;
  level: string;
  says: string;
  todo?: string;
}

async function doctor(house: House, ...more: string[]): Promise<Told[]> {
  const env = {
    DATA_DIR: house.dataDir,
    REDIS_URL: house.redisUrl,
    REDIS_PREFIX: house.app.settings.REDIS_PREFIX,
    ONESHOT_URL: house.oneshotUrl,
  };
  const { out } = await runCommand(["doctor", "--json", ...more], { env });
  return (JSON.parse(out) as { findings: Told[] }).findings;
}

const CHECKS = [
  ...["Requests", "Journal", "Next step", "Overdue", "Jobs", "Failed jobs", "Age", "Documents", "Webhooks"],
  ...["Signed files", "Records", "Cleanup", "At the provider"],
];

/** What is said about requests and is not well. */
async function trouble(house: House, ...more: string[]): Promise<Told[]> {
  return (await doctor(house, ...more)).filter(({ check, level, says }) => {
    return level !== "ok" && (CHECKS.includes(check) || says.includes("belong to no request"));
  });
}

/** A house whose workers have stopped, with a request that waits for its code, and one that is done. */
async function settled() {
  const house = await startHouse(AUTO);
  const [waiting, done] = [await house.submit(), await house.submit()];
  for (const id of [waiting, done]) await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${done}/code`, { secret: await house.codeFor(done) });
  await house.reaches(done, "cleanup", "done");
  await linesOf(house, done);
  return { house, waiting, done };
}

test("a healthy pipeline has nothing that needs a look, and doctor leaves its Redis as it is", async () => {
  const { house } = await settled();
  const marker = await house.app.redis.get(house.app.keys.instance);
  expect(await trouble(house, "--provider")).toEqual([]);
  const well = (await doctor(house, "--provider")).filter(({ check }) => CHECKS.includes(check));
  expect(well.map(({ check, says }) => `${check}: ${says}`)).toEqual([
    "Requests: 1 open, 1 of them waiting, 1 done, 0 failed",
    expect.stringMatching(/^Journal: \d+ lines, whole, and Redis knows them all$/),
    "At the provider: 1 open requests are there as they should be",
  ]);
  expect(await house.app.redis.get(house.app.keys.instance)).toBe(marker);
  const metrics = await fetch(`${house.api}/metrics`, {
    headers: { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` },
  });
  expect(await metrics.text()).toMatch(/^signpipe_requests_without_next_step 0$/m);
});

test("doctor does not make an unused Redis anybody's", async () => {
  const house = await startHouse({ work: false });
  await house.app.close();
  const redis = new Redis(house.redisUrl);
  onTestFinished(() => redis.disconnect());
  await redis.del(house.app.keys.instance);
  await doctor(house);
  expect(await redis.exists(house.app.keys.instance)).toBe(0);
});

test("each thing that does not fit is found, with what to do about it", { timeout: 60_000 }, async () => {
  const { house, waiting, done } = await settled();
  const { redis, keys, queues, store } = house.app;
  const one = async (check: string, about: RegExp, ...more: string[]) => {
    const found = await trouble(house, ...more);
    expect(found.map((finding) => finding.check)).toEqual([check]);
    expect(found[0]?.says).toMatch(about);
    expect(found[0]?.todo).toMatch(/\w{3}/);
  };
  let record = await redis.get(keys.request(waiting));
  const withUpdated = async (ageMs: number, change: (fields: string[]) => void = () => {}) => {
    const fields = /^(\d+)\|([^|]*)\|([^|]*)\|(\d+)\|(\d+)\|(.*)$/s.exec(record ?? "")?.slice(1) ?? [];
    fields[4] = String(Date.now() - ageMs);
    change(fields);
    await redis.set(keys.request(waiting), fields.join("|"));
  };

  // A request without a job; it is not new.
  await withUpdated(HOUR_MS);
  await loseJobs(queues, waiting);
  await one("Next step", /1 request have no job.*such as req-/);
  expect(await queues.revive("sign", waiting, { now: false })).toBe("missing");
  await expect.poll(() => queues.stateOf("sign", waiting)).toBe("delayed");
  await linesOf(house, waiting);
  record = await redis.get(keys.request(waiting)); // its stage has written that it waits on
  await redis.zadd(keys.due, Date.now() - 1_000, waiting);
  await one("Overdue", /not looked at/);
  await redis.zadd(keys.due, Date.now() + HOUR_MS, waiting);

  // A wait whose time is over, and a step that takes too long.
  const lateMs = 30 * 24 * HOUR_MS;
  await withUpdated(0, (fields) => {
    const json = JSON.parse(fields[5] ?? "") as { waiting: { sinceMs: number; untilMs: number } };
    json.waiting.untilMs -= lateMs;
    fields[5] = JSON.stringify(json);
  });
  await one("Age", /waiting for code.*SIGN_WITHIN_MS.*the signer's turn/);
  await withUpdated(2 * HOUR_MS, (fields) => (fields[2] = "running"));
  await one("Age", /running for longer than 45m \(signpipe's turn; up to 2 h\)/);
  await redis.set(keys.request(waiting), record ?? "");

  // What webhooks need.
  await redis.hdel(keys.pks, String((await store.get(waiting)).facts["requestPk"]));
  await one("Webhooks", /Webhooks do not find 1 request/);
  await redis.hset(keys.pks, String((await store.get(waiting)).facts["requestPk"]), waiting);

  // Files.
  const signed = join(house.dataDir, "signed", done, "lease.pdf.signed.pdf");
  renameSync(signed, `${signed}.away`);
  await one("Signed files", /1 request are done/);
  renameSync(`${signed}.away`, signed);
  const nobodys = join(house.dataDir, ".work", newId());
  mkdirSync(nobodys);
  expect(await trouble(house)).toEqual([]); // it may be that of an upload that goes on
  utimesSync(nobodys, new Date(Date.now() - 2 * HOUR_MS), new Date(Date.now() - 2 * HOUR_MS));
  await one("Folders", /1 folders in .work belong to no request/);
  rmSync(nobodys, { recursive: true });

  // The provider.
  await house.app.provider.cancel((await store.get(waiting)).facts["requestPk"] as never);
  await one("At the provider", /does not fit.*sign here, CANCELLED there/, "--provider");

  // The journal.
  await forget(house, done, 2);
  await one("Journal", /does not know the newest of 1 request/);
  expect(await house.app.recovery.mend(house.app.readJournalLines, 0)).toBe(1);
  expect(await trouble(house)).toEqual([]);
  const file = join(house.dataDir, "journal", readdirSync(join(house.dataDir, "journal"))[0] ?? "");
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replace('"note":"otp"', '"note":"oto"'));
  expect((await trouble(house)).map(({ says }) => says)[0]).toMatch(/journal-changed in/);
});

test("a journal that is not whole is told of beside what Redis does not know, wherever either is", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app, keyRing, redisUrl, oneshotUrl } = house;
  await house.submit();
  const folder = app.folders.journal;
  const [early = ""] = readdirSync(folder);
  await new Promise((resolve) => setTimeout(resolve, 5));
  // Another process takes a request in, in a file of its own; then both files are looked through.
  const beside = createApp({ settings: app.settings, keyRing, redisUrl, oneshotUrl, log: createLog("silent") });
  onTestFinished(() => beside.close());
  await beside.ready();
  const id = newId();
  await beside.store.add({ id, workflow: "videoid", source: "api", facts: {}, createdMs: Date.now() }, "api:test");
  const key = deriveKey(keyRing.masterKey, "journal");
  const hourLater = () => Date.now() + HOUR_MS;
  await createCheckpointer({ dir: folder, key, readMany: app.store.readMany, now: hourLater }).round();
  expect(readdirSync(folder)).toHaveLength(3);

  await app.redis.del(app.keys.request(id), app.keys.history(id));
  const path = join(folder, early);
  writeFileSync(path, readFileSync(path, "utf8").replace('"stage":"create"', '"stage":"crabte"'));
  const says = (await trouble(house)).filter(({ check }) => check === "Journal").map((finding) => finding.says);
  expect(says).toEqual([
    expect.stringContaining(`journal-changed in ${early}`),
    expect.stringMatching(new RegExp(`does not know the newest of 1 request, such as ${id}`)),
  ]);
});

test("documents that are gone before they were uploaded are told of", async () => {
  const house = await startHouse({});
  const id = await house.submit();
  await house.waits(id, "identification");
  rmSync(join(house.dataDir, ".work", id), { recursive: true });
  expect((await trouble(house)).map(({ check }) => check)).toEqual(["Documents"]);
});

test("a record that cannot be read is told of, whether its request is open or over", async () => {
  const { house, waiting, done } = await settled();
  const { redis, keys } = house.app;
  for (const id of [waiting, done]) await redis.set(keys.request(id), "what somebody typed");
  const told = (await trouble(house)).filter(({ check }) => check === "Records");
  expect(told).toMatchObject([
    { level: "fail", says: expect.stringMatching(/Records of 2 requests .* cannot be read/) },
  ]);
  expect(told[0]?.todo).toContain("record-damaged");
});

test("a request that ended, and whose cleanup was given up, is told of until a retry has cleaned it up", async () => {
  const house = await startHouse(AUTO);
  const id = await house.submit();
  await house.waits(id, "code");
  const metric = async () => {
    const bearer = { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` };
    const text = await (await fetch(`${house.api}/metrics`, { headers: bearer })).text();
    return /^signpipe_requests_uncleaned (\d+)$/m.exec(text)?.[1];
  };
  house.simulator.fault({ operation: "deleteAllDocuments", kind: "status-before", status: 401 });
  await house.call("POST", `/v1/requests/${id}/cancel`);
  await house.reaches(id, "cleanup", "cancelled");
  const { body } = await house.call("GET", `/v1/requests/${id}`);
  expect(body).toMatchObject({
    state: "cancelled",
    failure: { code: "cancelled" },
    notice: { code: "cleanup-given-up" },
  });
  const [told, ...more] = await trouble(house);
  expect([told?.check, told?.level, more]).toEqual(["Cleanup", "fail", []]);
  expect(told?.says).toMatch(new RegExp(`1 request ended, .* given up, such as ${id}`));
  expect(told?.todo).toContain("signpipe retry");
  expect(await metric()).toBe("1");
  expect(await house.app.vault.read(id)).toBeDefined();

  expect((await house.call("POST", `/v1/requests/${id}/retry`)).status).toBe(202);
  await house.reaches(id, "cleanup", "cancelled");
  expect((await house.call("GET", `/v1/requests/${id}`)).body).not.toHaveProperty("notice");
  expect(await trouble(house)).toEqual([]);
  expect(await metric()).toBe("0");
  expect(house.effects("cancel")).toBe(1); // what is cancelled has no documents there any more
  expect(await house.app.vault.read(id)).toBeUndefined();
});

test("what shows who signs is no stranger in its folder, and is told of when it is gone before it was sent", async () => {
  const house = await startHouse({});
  const files = { document_front: "front.jpg", document_rear: "rear.png" };
  const id = await house.submit(classic(files), undefined, [
    { name: "front.jpg", bytes: jpeg() },
    { name: "rear.png", bytes: png() },
  ]);
  await house.waits(id, "approval");
  expect(await trouble(house, "--provider")).toEqual([]);
  const { enclosures } = (await house.app.store.get(id)).facts as { enclosures: { id: string }[] };
  rmSync(join(house.dataDir, ".work", enclosures[1]?.id ?? ""));
  expect((await trouble(house)).map(({ check, says }) => [check, says])).toEqual([
    ["Documents", expect.stringContaining("or what shows who signs")],
  ]);
});

test("a job whose record is gone is told of", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  await house.app.queues.add("upload", newId());
  expect((await trouble(house)).map(({ check, says }) => [check, says])).toEqual([
    ["Jobs", expect.stringContaining("have no record")],
  ]);
});

test("every state has a limit and somebody whose turn it is: all phases, and all that is waited for", () => {
  const waits = [...codesIn(new URL("../../src", import.meta.url).pathname)].filter((code) =>
    code.endsWith("-expired"),
  );
  expect(waits.length).toBeGreaterThan(8);
  const limited = AGE_LIMITS.map((limit) => `${(limit.for ?? "").replaceAll(/[^a-z0-9]+/gi, "-")}-expired`);
  expect(waits.filter((code) => !limited.includes(code))).toEqual([]);
  // That nothing else is waited for is checked by the types: test/types/stage.test.ts.
  for (const code of ["ENOSPC", "EROFS"]) {
    const failure = toDiskFailure(Object.assign(new Error(code), { code })) as RetryableError;
    expect(AGE_LIMITS.map((limit) => limit.for)).toContain(failure.pause?.until);
  }
  const phases = new Set(AGE_LIMITS.map(({ phase }) => phase));
  expect(PHASES.filter((phase) => !isEnd(phase) && !phases.has(phase))).toEqual([]);
  for (const { owner, limit, todo } of AGE_LIMITS)
    expect([owner, limit, todo].every((text) => text.length > 1)).toBe(true);
  const at = { phase: "queued", updatedMs: 0 } as Parameters<typeof overAge>[0];
  expect(overAge(at, HOUR_MS)).toBeUndefined();
  expect(overAge(at, HOUR_MS + 1)?.limit.owner).toBe("signpipe");
});
