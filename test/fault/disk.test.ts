import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { hashFile } from "../../src/files/content.ts";
import { signedName } from "../../src/files/names.ts";
import { EFFECT_BOUNDARIES, FILE_BOUNDARIES } from "../../src/core/crash-point.ts";
import { findRedis } from "../../src/embedded/redis.ts";
import { orderOf, STAGE_NAMES } from "../../src/workers/index.ts";
import { type House, readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { startWorkProcess } from "../helpers/process.ts";
import { mountSmallDisk, whyNoSmallDisk } from "../helpers/small-disk.ts";

const AUTO = {
  settings: { APPROVAL: "auto", DISK_RESERVE_BYTES: "0" },
  simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } },
};
const ONCE = ["create", "approve", "upload", "otp", "sign", "delete-document"];
/** How long the disk stays full, each time. */
const FULL_MS = 400;

if (whyNoSmallDisk) process.stderr.write(`Tests of a full disk are skipped: ${whyNoSmallDisk}.\n`);
const testOnDisk = test.skipIf(whyNoSmallDisk !== undefined);

/** Sees requests through to their end: hands over codes, and does not wait for the pauses of those that were held up. */
async function seeThrough(house: House, ids: readonly string[], withinMs = 90_000): Promise<void> {
  const late = Date.now() + withinMs;
  const open = new Set(ids);
  while (open.size > 0 && Date.now() < late) {
    for (const id of open) {
      const { stage, phase, waiting } = await house.app.store.get(id);
      if (phase === "done") open.delete(id);
      else if (waiting?.for === "code" && phase === "waiting") {
        await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
      } else await house.app.queues.promote(stage, id);
    }
    await pause(100);
  }
  const [first] = open;
  if (first !== undefined) await house.reaches(first, "cleanup", "done", 0);
}

/** By the provider's own books each effect happened once, and here is everything that was signed, whole. */
async function expectOnceAndWhole(house: House, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const { facts } = await house.app.store.get(id);
    const entries = house.simulator.ledger.filter(({ request_pk }) => request_pk === facts["requestPk"]);
    const counts = ONCE.map((effect) => entries.filter((entry) => entry.effect === effect).length);
    expect(Object.fromEntries(ONCE.map((effect, i) => [effect, counts[i]])), id).toEqual(
      Object.fromEntries(ONCE.map((effect) => [effect, 1])),
    );
    for (const { name, sha256 } of facts["signed"] as { name: string; sha256: string }[]) {
      expect((await hashFile(join(house.dataDir, "signed", id, name))).sha256).toBe(sha256);
    }
    expect(existsSync(join(house.dataDir, "signed", id, "evidence.json"))).toBe(true);
  }
  expect(house.effects("create")).toBe(ids.length);
  const names = readdirSync(house.dataDir, { recursive: true, encoding: "utf8" });
  expect(names.filter((name) => /\.part$|\.copy$/.test(name))).toEqual([]);
  await expectIntentsFirst(house, ids);
  // The journal has no gap that matters: from it alone nothing would be missing, and nothing is known better.
  const lost: string[] = [];
  for await (const { id } of house.app.recovery.compare(house.app.readJournalLines, 0)) lost.push(id);
  expect(lost).toEqual([]);
  expect(house.logged()).not.toContain("the journal is not whole");
}

/** No costly call was made whose intent was not on the disk before. */
async function expectIntentsFirst(house: House, ids: readonly string[]): Promise<void> {
  const INTENT_OF: Record<string, string> = { "delete-document": "delete" };
  const intents = new Map<string, number>();
  await house.app.readJournalLines(({ event, request, note = "", atMs }) => {
    const key = `${request} ${note}`;
    if (event === "intend") intents.set(key, Math.min(atMs, intents.get(key) ?? Number.POSITIVE_INFINITY));
  });
  for (const id of ids) {
    const pk = (await house.app.store.get(id)).facts["requestPk"];
    for (const { effect, at } of house.simulator.ledger.filter((entry) => entry.request_pk === pk)) {
      if (!ONCE.includes(effect)) continue;
      const intendedMs = intents.get(`${id} ${INTENT_OF[effect] ?? effect}`) ?? Number.POSITIVE_INFINITY;
      expect(intendedMs, `${effect} of ${id}`).toBeLessThanOrEqual(Date.parse(at));
    }
  }
}

const EFFECTS = ["create", "approve", "upload", "otp", "sign", "delete"];
const POINTS = [
  ...orderOf("videoid").map((stage) => `${stage}:taken`),
  ...EFFECTS.flatMap((effect) => EFFECT_BOUNDARIES.map((boundary) => `${effect}:${boundary}`)),
  ...["contract.pdf", signedName("lease.pdf", new Set(), "pades")].flatMap((file) =>
    FILE_BOUNDARIES.map((boundary) => `${file}:${boundary}`),
  ),
];

testOnDisk("a disk that is full at any step of a request's life costs time only", async () => {
  const disk = mountSmallDisk(64);
  const plan = new Map<string, string>();
  let full = 0;
  function crashPoint(name: string, id: string): void {
    if (plan.get(id) !== name) return;
    plan.delete(id);
    full += 1;
    disk.fill();
    setTimeout(() => {
      full -= 1;
      if (full === 0) disk.free();
    }, FULL_MS);
  }
  const house = await startHouse({ ...AUTO, dataDir: disk.dir, doubles: { crashPoint }, work: false });
  const ids: string[] = [];
  for (const point of POINTS) {
    const id = await house.submit();
    plan.set(id, point);
    ids.push(id);
  }
  house.app.startWorkers();
  await seeThrough(house, ids);
  expect([...plan.values()], "points at which the disk was not filled").toEqual([]);
  expect(house.logged().match(/"code":"disk-full"/g)?.length ?? 0).toBeGreaterThan(10);
  await expectOnceAndWhole(house, ids);
});

testOnDisk("a full disk keeps files in the inbox and calls at the door, says why, and goes on by itself", async () => {
  const disk = mountSmallDisk(16);
  const house = await startHouse({ ...AUTO, dataDir: disk.dir });
  await house.app.startInbox();
  const pdf = await samplePdf();
  writeFileSync(join(disk.dir, "lease.pdf"), pdf);
  writeFileSync(join(disk.dir, "inbox", "lease.pdf.json"), JSON.stringify({ signer: SIGNER }));

  disk.fill();
  renameSync(join(disk.dir, "lease.pdf"), join(disk.dir, "inbox", "lease.pdf"));
  const ready = async () => JSON.stringify((await house.call("GET", "/health/ready")).body);
  await expect.poll(ready, { timeout: 15_000 }).toMatch(/intake is paused: the disk of DATA_DIR is full/i);
  const refused = await postDocument(house, await samplePdf());
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([507, "60"]);
  expect(await refused.json()).toMatchObject({ code: "disk-full" });
  expect(house.effects("create")).toBe(0);

  disk.free();
  await expect.poll(() => idOf(house), { timeout: 40_000 }).toBeDefined();
  const id = idOf(house) ?? "";
  await house.waits(id, "code", 30_000);
  // Full once more while it is signed, stored, told of and put away.
  disk.fill();
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await expect
    .poll(async () => (await house.app.store.get(id)).waiting?.for, { timeout: 15_000 })
    .toBe("room on the disk");
  disk.free();
  await seeThrough(house, [id]);
  await expectOnceAndWhole(house, [id]);
  await expect.poll(() => readdirSync(join(disk.dir, "archive", id)), { timeout: 20_000 }).toEqual(["lease.pdf"]);
  expect(await ready()).toContain('"status":"ready"');
});

/** The request that a file in the inbox has become, by its status file. */
function idOf({ dataDir }: House): string | undefined {
  const path = join(dataDir, "status", "lease.pdf.status.json");
  return existsSync(path) ? (readJson(path)["request_id"] as string | undefined) : undefined;
}

function postDocument({ api, keyRing }: House, pdf: Uint8Array): Promise<Response> {
  const form = new FormData();
  form.set("manifest", JSON.stringify({ signer: SIGNER }));
  form.append("file", new Blob([new Uint8Array(pdf)], { type: "application/pdf" }), "lease.pdf");
  const headers = { authorization: `Bearer ${keyRing.apiKeys[0]?.secret ?? ""}` };
  return fetch(`${api}/v1/requests`, { method: "POST", headers, body: form });
}

testOnDisk("below the reserve nothing is taken in, no code is sent and nothing is signed", async () => {
  const disk = mountSmallDisk(64);
  const reserve = { ...AUTO.settings, DISK_RESERVE_BYTES: String(32 << 20) };
  const house = await startHouse({ ...AUTO, settings: reserve, dataDir: disk.dir });
  const [signing, coding] = [await house.submit(), await house.submit()];
  await house.waits(signing, "code", 30_000);
  await house.waits(coding, "code", 30_000);

  disk.leave(20 << 20);
  const seen = async () => (await house.call("GET", "/health/ready")).body["reasons"];
  const reason = expect.stringMatching(/^disk: The disk of DATA_DIR is full: 20 MiB are free/) as string;
  await expect.poll(seen, { timeout: 5_000 }).toEqual([reason]);
  const refused = await postDocument(house, await samplePdf());
  expect(refused.status).toBe(507);
  await house.call("POST", `/v1/requests/${signing}/code`, { secret: await house.codeFor(signing) });
  await house.waits(signing, "room on the disk");
  const { stage, attempt, waiting } = await house.app.store.get(signing);
  expect([stage, attempt, waiting?.whose]).toEqual(["sign", 0, "operator"]);
  expect(waiting?.detail).toMatch(/20 MiB are free, and 1 MiB are needed beyond the 32 MiB .*DISK_RESERVE_BYTES/);
  expect(house.effects("sign")).toBe(0);

  disk.free();
  await seeThrough(house, [signing, coding]);
  await expectOnceAndWhole(house, [signing, coding]);
});

testOnDisk("Redis whose own disk is full begins nothing, and goes on when there is room", async () => {
  const disk = mountSmallDisk(8);
  const redis = await findRedis({ dir: disk.dir, keep: true, env: process.env, ways: ["path", "debian"] });
  onTestFinished(() => redis.stop());
  const house = await startHouse({ ...AUTO, redisUrl: redis.url });
  const ids = [await house.submit(), await house.submit()];
  for (const id of ids) await house.waits(id, "code", 30_000);
  const before = redis.pid;
  disk.fill();
  // What is left of the file's last block takes a few more.
  for (let status = 0; status !== 503;) {
    const answer = await postDocument(house, await samplePdf());
    status = answer.status;
    if (status === 202) ids.push(((await answer.json()) as { id: string }).id);
    expect(ids.length).toBeLessThan(20);
  }
  await expect.poll(() => redis.pid !== before, { timeout: 20_000 }).toBe(true);
  disk.free();
  await expect.poll(async () => (await house.call("GET", "/health/ready")).status, { timeout: 30_000 }).toBe(200);
  await seeThrough(house, ids);
  await expectOnceAndWhole(house, ids);
});

test("that every signed file is safe stands in the journal, on disk, before anything is deleted", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  startWorkProcess(
    house,
    STAGE_NAMES.filter((stage) => stage !== "cleanup"),
  );
  const id = await house.submit();
  await house.waits(id, "code", 30_000);
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "queued", 30_000);
  // Looked at the moment the next stage could begin: nothing is waited for.
  const hashes: unknown[] = [];
  await house.app.readJournalLines(({ event, patch }) => {
    const signed = (patch?.["facts"] as { signed?: { sha256: string }[] } | undefined)?.signed;
    if (event === "succeed" && signed) hashes.push(...signed.map(({ sha256 }) => sha256));
  });
  const { facts } = await house.app.store.get(id);
  expect(hashes).toEqual((facts["signed"] as { sha256: string }[]).map(({ sha256 }) => sha256));

  startWorkProcess(house, ["cleanup"]);
  await house.reaches(id, "cleanup", "done", 30_000);
  const intents: unknown[] = [];
  await house.app.readJournalLines(({ event, note, first }) => {
    if (event === "intend" && note === "delete") intents.push(first?.facts["signed"]);
  });
  // Another process than the one that fetched writes the whole record with its intent: the hashes are in it once more.
  expect(intents).toEqual([facts["signed"]]);
});
