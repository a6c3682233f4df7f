import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createApp } from "../../src/app.ts";
import { createLog } from "../../src/log.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, startHouse } from "../helpers/house.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";

const COUNT = 30;

interface Told {
  dry_run: boolean;
  redis: string;
  restored: number;
  requests: { id: string; in_redis: string; by_journal: string; lacks: string[] }[];
  to_check: string[];
}

/** A house on a Redis of its own, and the environment for commands beside it. */
async function setUp(settings: Record<string, string> = {}) {
  const redis = await startOwnRedis();
  const house = await startHouse({
    redisUrl: redis.url,
    settings: { APPROVAL: "auto", ...settings },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
  });
  const env = {
    DATA_DIR: house.dataDir,
    REDIS_URL: redis.url,
    REDIS_PREFIX: house.app.settings.REDIS_PREFIX,
    ONESHOT_URL: house.oneshotUrl,
  };
  return { redis, house, env };
}

/** Another process' app on the same data, Redis and provider. */
async function startAgain(house: House) {
  const { settings } = house.app;
  const { keyRing, redisUrl, oneshotUrl } = house;
  const app = createApp({ settings, keyRing, redisUrl, oneshotUrl, log: createLog("silent") });
  onTestFinished(() => app.close());
  await app.ready();
  app.startKeeping();
  app.startWorkers();
  const api = await app.startApi();
  house.simulator.set({ webhookUrl: `${api}/webhooks/oneshot/${keyRing.webhookSecret}` });
  return app;
}

test(
  "after FLUSHALL, thirty requests in all stages are put back from the journal and come to their ends, each effect once",
  {
    timeout: 150_000,
  },
  async () => {
    const { house, env } = await setUp({ RECONCILE_MS: "2000" });
    const { app, simulator } = house;
    const ids: string[] = [];
    // Done, at the code, and waiting for an officer; then some that are in the middle of things.
    for (let n = 0; n < COUNT - 10; n++) ids.push(await house.submit(n % 5 === 4 ? { approval: "manual" } : {}));
    for (const [n, id] of ids.entries()) await house.waits(id, n % 5 === 4 ? "approval" : "code", 30_000);
    const giveCode = async (id: string) => {
      await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    };
    const early = ids.filter((_, n) => n % 5 === 0);
    for (const id of early) await giveCode(id);
    for (const id of early) await house.reaches(id, "cleanup", "done", 30_000);
    for (const operation of ["approveVideoId", "generateOtp", "uploadDocument"])
      simulator.fault({ operation, kind: "latency", ms: 9_000 });
    simulator.set({ latencyMs: 60 });
    for (let n = 0; n < 10; n++) ids.push(await house.submit());
    await expect
      .poll(() => simulator.calls.get("generateOtp") ?? 0, { timeout: 20_000, interval: 5 })
      .toBeGreaterThan(17);
    await app.redis.flushall();
    await expect.poll(() => app.gate.trouble()?.code, { timeout: 15_000 }).toBe("redis-empty");

    // Not beside workers.
    const tooEarly = await runCommand(["recover", "--yes"], { env });
    expect([tooEarly.exitCode, tooEarly.err]).toEqual([
      1,
      expect.stringMatching(/workers of this pipeline.*stop every signpipe/),
    ]);
    await app.close({ graceMs: 500 });

    const dry = await runCommand(["recover", "--json"], { env });
    const plan = JSON.parse(dry.out) as Told;
    expect(plan).toMatchObject({ dry_run: true, redis: "empty", restored: 0 });
    expect(plan.requests.map(({ id }) => id).sort()).toEqual([...ids].sort());
    expect(plan.requests.filter(({ lacks }) => lacks.length > 0)).toEqual([]);
    const table = await runCommand(["recover"], { env });
    expect(table.out).toMatch(/30 requests would be put back\. Nothing was changed/);
    expect(table.out).toContain("sign waiting for code");

    const done = await runCommand(["recover", "--yes", "--json"], { env });
    expect([done.exitCode, done.err]).toEqual([0, ""]);
    expect(JSON.parse(done.out)).toMatchObject({ dry_run: false, restored: COUNT });
    expect((JSON.parse(done.out) as Told).to_check.join("\n")).toMatch(/Codes that were given[^]*signpipe doctor/);

    const again = await startAgain(house);
    const at = async (id: string) => await again.store.get(id);
    for (const id of ids) {
      await expect
        .poll(
          async () => {
            const { phase, waiting } = await at(id);
            if (phase === "waiting" && waiting?.for === "approval")
              await again.pipeline.approve(id, "api:test").catch(() => {});
            if (phase === "waiting" && waiting?.for === "code") {
              const code = simulator.codeOf((await at(id)).facts["requestPk"] as number);
              if (code) await again.pipeline.giveCode(id, code, "api:test").catch(() => {});
            }
            return phase;
          },
          { timeout: 60_000, interval: 30 },
        )
        .toBe("done");
    }
    const each = async (effect: string) => {
      const pks = await Promise.all(ids.map(async (id) => (await at(id)).facts["requestPk"] as number));
      return pks.map(
        (pk) => simulator.ledger.filter((entry) => entry.effect === effect && entry.request_pk === pk).length,
      );
    };
    const once = ids.map(() => 1);
    for (const effect of ["create", "otp", "sign", "delete-document"]) expect(await each(effect), effect).toEqual(once);
    expect(["approve", "otp", "sign"].map(house.effects)).toEqual([COUNT, COUNT, COUNT]);
    expect(house.effects("create") - house.effects("cancel")).toBe(COUNT);
    expect((await runCommand(["recover"], { env })).out).toContain("there is nothing to do");
  },
);

test("a Redis of another DATA_DIR is taken only when that is said", async () => {
  const { house, env } = await setUp();
  const id = await house.submit();
  await house.waits(id, "code");
  await house.app.close({ graceMs: 500 });
  await house.app.redis.quit().catch(() => {});
  const { Redis } = await import("ioredis");
  const redis = new Redis(house.redisUrl);
  onTestFinished(() => redis.disconnect());
  await redis.flushall();
  await redis.set(house.app.keys.instance, "somebody-else");
  const refused = await runCommand(["recover", "--yes"], { env });
  expect([refused.exitCode, refused.err]).toEqual([1, expect.stringMatching(/another DATA_DIR.*--adopt/)]);
  expect(await redis.exists(house.app.keys.request(id))).toBe(0);
  const taken = await runCommand(["recover", "--yes", "--adopt"], { env });
  expect(taken.exitCode).toBe(0);
  expect(taken.out).toMatch(/1 of 1 requests were put back/);
  const app = await startAgain(house);
  expect((await app.store.get(id)).waiting?.for).toBe("code");
});

test("without a journal, without the key, or with a journal that is not whole, it says what to do", async () => {
  const { house, env } = await setUp();
  await house.waits(await house.submit(), "code");
  await house.app.close({ graceMs: 500 });
  const elsewhere = await runCommand(["recover"], { env: { ...env, DATA_DIR: `${house.dataDir}/none` } });
  expect([elsewhere.exitCode, elsewhere.err]).toEqual([1, expect.stringContaining("There is no journal")]);
  const otherKey = await runCommand(["recover"], { env: { ...env, MASTER_KEY: Buffer.alloc(32).toString("base64") } });
  expect([otherKey.exitCode, otherKey.err]).toEqual([1, expect.stringContaining("another MASTER_KEY")]);
  const folder = join(house.dataDir, "journal");
  const path = join(folder, readdirSync(folder)[0] ?? "");
  writeFileSync(path, readFileSync(path, "utf8").replace('"stage":"identify"', '"stage":"approve"'));
  const broken = await runCommand(["recover", "--yes"], { env });
  expect([broken.exitCode, broken.err]).toEqual([
    1,
    expect.stringMatching(/not whole \(journal-changed.*--incomplete/),
  ]);
});
