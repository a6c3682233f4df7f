import { existsSync, readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createApp } from "../../src/app.ts";
import { foldLines } from "../../src/core/journal.ts";
import { createCheckpointer } from "../../src/files/checkpoint.ts";
import { deriveKey } from "../../src/keys.ts";
import { createLog } from "../../src/log.ts";
import { createStore } from "../../src/queues/store.ts";
import { orderOf, STAGE_NAMES } from "../../src/workers/index.ts";
import { type House, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { loseJobs } from "../helpers/jobs.ts";
import { forget, linesOf, mend } from "../helpers/lose.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

async function giveCode(house: House, id: string): Promise<void> {
  await house.waits(id, "code", 30_000);
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
}

/** Waits until no worker is at anything, and takes the request's job away: it would go on from what is forgotten. */
async function atRest({ app }: House, id: string): Promise<void> {
  const active = async () => Object.values(await app.queues.counts()).map((counts) => counts["active"]);
  await expect.poll(active, { timeout: 10_000, interval: 5 }).toEqual(STAGE_NAMES.map(() => 0));
  await loseJobs(app.queues, id);
}

/** A costly call that was made and is never answered; or one that is answered when Redis was mended already. */
const MOMENTS = [
  ["create", "createVideoId", "hang-after"],
  ["approve", "approveVideoId", "hang-after"],
  ["approve", "approveVideoId", "latency"],
  ["upload", "uploadDocument", "latency"],
  ["otp", "generateOtp", "hang-after"],
  ["otp", "generateOtp", "latency"],
  ["sign", "sign", "hang-after"],
  ["sign", "sign", "latency"],
  ["cleanup", "deleteDocument", "hang-after"],
] as const;

// Side by side: most of the time an answer is waited for that does not come.
test.concurrent.for(MOMENTS)(
  "a request that Redis forgets while its %s is under way (%s, %s) is put back, and nothing costly is made twice",
  { timeout: 90_000 },
  async ([stage, operation, kind], { expect, onTestFinished: atEnd }) => {
    const patience = { ONESHOT_TIMEOUT_MS: "1000", ONESHOT_SIGN_TIMEOUT_MS: "1500" };
    const house = await startHouse({
      ...AUTO,
      settings: { ...AUTO.settings, ...(kind === "hang-after" && patience) },
      atEnd,
    });
    const done: string[] = [];
    // All of it is lost; all but the beginning; all but what was before the intent.
    for (const kept of [0, 1, -1]) {
      const calls = () => house.simulator.calls.get(operation) ?? 0;
      const before = calls();
      house.simulator.fault({ operation, kind, ...(kind === "latency" && { ms: 1_000 }) });
      const id = await house.submit();
      if (stage === "sign" || stage === "cleanup") await giveCode(house, id);
      await expect.poll(calls, { timeout: 20_000, interval: 5 }).toBe(before + 1);
      const lines = await linesOf(house, id);
      expect(lines.at(-1)).toMatchObject({ stage, event: "intend" });
      await forget(house, id, kept < 0 ? lines.length - 1 : kept);
      expect(await mend(house)).toBe(1);
      expect((await house.app.store.get(id)).intent).toMatchObject({ tries: 1 });
      if (stage !== "sign" && stage !== "cleanup") await giveCode(house, id);
      await house.reaches(id, "cleanup", "done", 40_000);
      done.push(id);
    }
    expect(done).toHaveLength(3);
    expect(["approve", "otp", "sign", "upload"].map(house.effects)).toEqual([3, 3, 3, 3]);
    // A creation that was never answered leaves an orphan, which is cancelled.
    expect(house.effects("create") - house.effects("cancel")).toBe(3);
    expect(house.effects("cancel")).toBe(stage === "create" ? 3 : 0);
    expect(await mend(house)).toBe(0);
  },
);

test("of a request that waits, or is over, any tail may be lost: it is where it was", { timeout: 60_000 }, async () => {
  const house = await startHouse(AUTO);
  const id = await house.submit({ reference: "loan-7" });
  await house.waits(id, "code");
  for (const phase of ["waiting", "done"]) {
    if (phase === "done") {
      await giveCode(house, id);
      await house.reaches(id, "cleanup", "done");
    }
    const whole = await house.app.store.get(id);
    const history = await house.app.store.history(id);
    const count = (await linesOf(house, id)).length;
    for (let kept = 0; kept < count; kept++) {
      await atRest(house, id);
      await forget(house, id, kept);
      expect(await mend(house), `${kept} of ${count} lines kept`).toBe(1);
      const { mark, updatedMs, ...back } = await house.app.store.get(id);
      expect([mark, updatedMs]).not.toContain(undefined);
      expect(whole).toMatchObject(back);
      const events = (await house.app.store.history(id)).map(({ event, stage }) => `${event} ${stage}`);
      const wanted = history.filter(({ event }) => event !== "start").map(({ event, stage }) => `${event} ${stage}`);
      expect(events).toEqual(expect.arrayContaining(wanted));
    }
  }
  expect(["create", "approve", "upload", "otp", "sign", "delete-document"].map(house.effects)).toEqual([
    1, 1, 1, 1, 1, 1,
  ]);
  // What was erased when it ended did not come back with it.
  expect(await house.app.redis.exists(house.app.keys.vault(id))).toBe(0);
});

test("with a record come back its signer, its place in the indexes, its request_pk and its reference, at once", async () => {
  const house = await startHouse(AUTO);
  const { app } = house;
  const id = await house.submit({ reference: "loan-8" });
  await house.waits(id, "code");
  await app.redis.del(app.keys.reference("loan-8"));
  await forget(house, id, 0);
  expect((await house.call("GET", `/v1/requests/${id}`)).status).toBe(404);
  expect(await mend(house)).toBe(1);
  const { facts, createdMs } = await app.store.get(id);
  const [due, index, pk] = await Promise.all([
    app.redis.zscore(app.keys.due, id),
    app.redis
      .zscore(app.keys.index("active"), id)
      .then(async (at) => at ?? app.redis.zscore(app.keys.index("waiting"), id)),
    app.redis.hget(app.keys.pks, String(facts["requestPk"])),
  ]);
  expect(Number(due)).toBeGreaterThan(createdMs);
  expect([index, pk]).toEqual([String(createdMs), id]);
  expect((await app.vault.read(id))?.signer).toMatchObject(SIGNER);
  const listed = await house.call("GET", "/v1/requests?reference=loan-8");
  expect((listed.body["items"] as { id: string }[]).map((one) => one.id)).toEqual([id]);
});

test("the same document for the same signer is still a duplicate after everything was lost", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const bytes = await samplePdf();
  const id = await house.submit({}, [{ name: "a.pdf", bytes }]);
  const marks = await app.redis.keys(`${app.keys.seen("").replaceAll(/[{}]/g, "[$&]")}*`);
  expect(marks).toHaveLength(1);
  await app.redis.del(marks);
  await forget(house, id, 0);
  expect(await mend(house)).toBe(1);
  const first = await app.store.get(id);
  const again = await app.pipeline.submit({
    id: `req-${"7".repeat(26)}`,
    workflow: "videoid",
    source: "inbox",
    documents: first.facts["documents"] as never,
    signer: SIGNER,
    authentication: { method: "sms" },
    by: "inbox",
    refuseDuplicate: true,
  });
  expect(again).toMatchObject({ outcome: "duplicate", of: { id } });
});

test("what somebody wrote after the loss is kept beside what was lost", async () => {
  const house = await startHouse({ simulator: AUTO.simulator });
  const id = await house.submit();
  await house.waits(id, "approval");
  const lines = await linesOf(house, id);
  const intended = lines.findIndex(({ event, note }) => event === "intend" && note === "create");
  await forget(house, id, intended); // without the intent of the creation, and all that followed
  await house.app.store.change(id, () => ({
    event: "note",
    by: "api:test",
    note: "meanwhile",
    patch: { facts: { approval: "auto" } },
  }));
  expect(await mend(house)).toBe(1);
  const merged = await house.app.store.get(id);
  expect(merged).toMatchObject({ stage: "approve", facts: { approval: "auto", requestPk: expect.any(Number) } });
  expect((await house.app.store.history(id)).map(({ note }) => note)).toEqual(
    expect.arrayContaining(["create", "meanwhile", "restored from the journal"]),
  );
  await house.waits(id, "code");
  expect(["create", "approve", "otp"].map(house.effects)).toEqual([1, 1, 1]);
});

test("a Redis that knows more than the journal is left as it is", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const id = await house.submit();
  // The process that wrote this was killed before its line was on disk.
  const unheard = createStore({
    redis: app.redis,
    keys: app.keys,
    orderOf,
    journal: { append: () => Promise.resolve() },
  });
  const note = { event: "note" as const, by: "api:test", note: "unheard", patch: { facts: { approval: "auto" } } };
  await unheard.change(id, () => note);
  const before = await app.redis.get(app.keys.request(id));
  expect(await mend(house)).toBe(0);
  expect(await app.redis.get(app.keys.request(id))).toBe(before);
  // The next line that is written makes the gap good: the record can be made from the journal alone.
  await app.store.change(id, () => ({ event: "note", by: "api:test", note: "heard" }));
  expect(foldLines(await linesOf(house, id))?.facts).toMatchObject({ approval: "auto" });
});

test("a request whose beginning is not in the journal is told of, and stops nobody", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const [one, other] = [await house.submit(), await house.submit()];
  const without = async (each: Parameters<typeof app.readJournalLines>[0]) =>
    await app.readJournalLines((line) => each(line.request === one ? { ...line, first: undefined, patch: {} } : line));
  await forget(house, one, 0);
  await forget(house, other, 0);
  expect(await app.recovery.mend(without, 0)).toBe(1);
  expect(await app.pipeline.find(one)).toBeUndefined();
  expect(house.logged()).toMatch(new RegExp(`"requestId":"${one}","code":"journal-incomplete"`));
});

test.each([
  ["is no record", () => "what somebody typed"],
  ["has lost its end", (value: string) => value.slice(0, -20)],
])("a record that %s is put back from the journal, kept beside, and stops nobody", async (_what, spoil) => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const [one, other] = [await house.submit(), await house.submit()];
  const before = await app.pipeline.get(one);
  const spoilt = spoil((await app.redis.get(app.keys.request(one))) ?? "");
  await app.redis.set(app.keys.request(one), spoilt);
  await forget(house, other, 0);
  expect((await app.pipeline.list({ limit: 10 })).items.map(({ id }) => id)).not.toContain(one);
  expect(await mend(house)).toBe(2);
  const { facts, stage, phase } = await app.pipeline.get(one);
  expect({ facts, stage, phase }).toEqual({ facts: before.facts, stage: before.stage, phase: before.phase });
  expect(await app.pipeline.find(other)).toBeDefined();
  expect(await app.redis.get(app.keys.damaged(one))).toBe(spoilt);
});

/** Hands a document in under an Idempotency-Key. */
async function handIn({ api, keyRing }: House, key: string, bytes: Uint8Array, manifest: object = { signer: SIGNER }) {
  const form = new FormData();
  form.set("manifest", JSON.stringify(manifest));
  form.append("file", new Blob([new Uint8Array(bytes)], { type: "application/pdf" }), "lease.pdf");
  const headers = { authorization: `Bearer ${keyRing.apiKeys[0]?.secret ?? ""}`, "idempotency-key": key };
  const answer = await fetch(`${api}/v1/requests`, { method: "POST", headers, body: form });
  const { id, type } = (await answer.json()) as { id?: string; type?: string };
  return [answer.status, id ?? type?.split("#problem-").at(-1), answer.headers.get("idempotency-replayed")];
}

test("a caller who repeats a call after everything was lost gets the first answer, and no second request", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const [bytes, other] = [await samplePdf(), await samplePdf({ pages: 2 })];
  const key = "loan-2031-canary";
  const [, id = ""] = await handIn(house, key, bytes);
  const memories = async () => await app.redis.keys(`${app.keys.prefix.replaceAll(/[{}]/g, "[$&]")}:idempotency:*`);
  expect(await memories()).toHaveLength(1);
  await app.redis.del(await memories());
  await forget(house, String(id), 0);
  expect(await mend(house)).toBe(1);
  expect(await handIn(house, key, bytes)).toEqual([202, id, "true"]);
  expect(await handIn(house, key, other)).toEqual([422, "idempotency-mismatch", null]);
  expect(await handIn(house, key, bytes, { signer: SIGNER, reference: "other" })).toEqual([
    422,
    "idempotency-mismatch",
    null,
  ]);
  expect(await app.pipeline.list({ limit: 10 })).toMatchObject({ items: [{ id }] });
  // It lasts as long as it would have, and a key that Redis still has stays as it is.
  const [memory = ""] = await memories();
  const leftMs = await app.redis.pttl(memory);
  expect(leftMs).toBeGreaterThan(23.9 * 3_600_000);
  expect(leftMs).toBeLessThan(24 * 3_600_000);
  const before = await app.redis.get(memory);
  await forget(house, String(id), 0);
  expect(await mend(house)).toBe(1);
  expect(await app.redis.get(memory)).toBe(before);
  // Neither the key nor what can be found by trying is in the journal.
  const lines = await linesOf(house, String(id));
  expect(lines.filter(({ idempotency }) => idempotency !== undefined)).toHaveLength(1);
  const digest =
    app.keys
      .idempotency(`${house.keyRing.apiKeys[0]?.name ?? ""}:${key}`)
      .split(":")
      .at(-1) ?? "";
  expect(memory).toContain(digest);
  for (const word of [key, digest]) expect(JSON.stringify(lines)).not.toContain(word);
});

test("what Redis lost is put back from files that a start does not read, as far back as the request began", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const first = await house.submit({ reference: "loan-9" });
  await house.submit();
  await app.store.change(first, () => ({ event: "note", by: "api:test", note: "early" }));
  const looked = createCheckpointer({
    dir: app.folders.journal,
    key: deriveKey(house.keyRing.masterKey, "journal"),
    readMany: app.store.readMany,
    now: () => Date.now() + 3_600_000,
  });
  expect(await looked.round()).toEqual({ added: 1, over: 0 });
  await new Promise((resolve) => setTimeout(resolve, 5));
  const sinceMs = Date.now();

  // Another process goes on, in a file of its own.
  const { settings, redis, keys } = app;
  const { keyRing, redisUrl, oneshotUrl } = house;
  const later = createApp({ settings, keyRing, redisUrl, oneshotUrl, log: createLog("silent") });
  onTestFinished(() => later.close());
  await later.ready();
  for (const note of ["late", "later"]) {
    await later.store.change(first, () => ({ event: "note", by: "api:test", note }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const spans: number[] = [];
  const readLines: typeof app.readJournalLines = async (each, span) => {
    let count = 0;
    await app.readJournalLines((line) => {
      count += 1;
      each(line);
    }, span);
    spans.push(count);
  };
  const notesOf = async () => (await app.store.history(first)).map(({ note }) => note);
  const all = ["submitted", "early", "late", "later", "restored from the journal"];

  expect(await later.recovery.mend(readLines, sinceMs)).toBe(0);
  expect(spans).toEqual([2]); // only what is new

  // Without a record, and with nothing but the newest line in the time that is compared, all files are read.
  const newestMs = (await linesOf(house, first)).at(-1)?.atMs ?? 0;
  expect(newestMs).toBeGreaterThan(sinceMs);
  spans.length = 0;
  await forget(house, first, 0);
  expect(await later.recovery.mend(readLines, newestMs)).toBe(1);
  expect(spans.slice(0, 3)).toEqual([2, 2, 5]);
  expect(await notesOf()).toEqual(all);

  // With an older record: as far back as that began.
  await forget(house, first, 1);
  spans.length = 0;
  expect(await later.recovery.mend(readLines, sinceMs)).toBe(1);
  expect(spans.slice(0, 3)).toEqual([3, 3, 6]);
  expect(await notesOf()).toEqual([...all, "restored from the journal"]);
  expect((await app.store.get(first)).reference).toBe("loan-9");

  // A Redis without anything is not taken for one that has nothing to lose.
  await redis.del(keys.instance);
  const third = createApp({ settings, keyRing, redisUrl, oneshotUrl, log: createLog("silent") });
  onTestFinished(() => third.close());
  await expect(third.ready()).rejects.toMatchObject({
    code: "redis-empty",
    message: expect.stringMatching(/ 2 requests/),
  });
});

test("who keeps house looks through the journal's older files by itself, soon after the start", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { settings, folders } = house.app;
  const { keyRing, redisUrl, oneshotUrl } = house;
  const id = await house.submit();
  await house.app.close();
  const [file = ""] = readdirSync(folders.journal);
  const hourAgo = Date.now() / 1000 - 3_600;
  utimesSync(join(folders.journal, file), hourAgo, hourAgo);
  const next = createApp({ settings, keyRing, redisUrl, oneshotUrl, log: createLog("silent") });
  onTestFinished(() => next.close());
  await next.ready();
  next.startKeeping();
  const path = join(folders.journal, "checkpoint.json");
  await expect.poll(() => existsSync(path), { timeout: 15_000 }).toBe(true);
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ files: [{ file, open: [id] }] });
}, 30_000);

test("a request that could not be written down was not accepted, and is not taken up", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  const { app } = house;
  const broken = createStore({
    redis: app.redis,
    keys: app.keys,
    orderOf,
    journal: { append: () => Promise.reject(new Error("the disk is full")) },
  });
  const id = `req-${"5".repeat(26)}`;
  const first = { id, workflow: "videoid" as const, source: "api" as const, facts: {}, createdMs: Date.now() };
  await expect(broken.add(first, "api:test")).rejects.toThrow("full");
  expect(await app.store.read(id)).toBeUndefined();
  expect(await app.redis.zscore(app.keys.due, id)).toBeNull();
});
