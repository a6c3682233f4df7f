import { expect, test } from "vitest";
import { startHouse } from "../helpers/house.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

test("Redis killed and started again in the middle of everything loses nothing and repeats nothing", async () => {
  const redis = await startOwnRedis();
  const house = await startHouse({ ...AUTO, redisUrl: redis.url });
  house.simulator.set({ latencyMs: 40 });
  const ids: string[] = [];
  for (let i = 0; i < 12; i++) ids.push(await house.submit());
  await expect.poll(() => house.simulator.calls.get("approveVideoId") ?? 0, { timeout: 20_000 }).toBeGreaterThan(2);
  await redis.restart(500);
  for (const id of ids) await house.waits(id, "code", 60_000);
  await redis.restart(500);
  for (const id of ids) {
    await expect
      .poll(
        async () => (await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) })).status,
        {
          timeout: 20_000,
        },
      )
      .toBe(202);
  }
  for (const id of ids) await house.reaches(id, "cleanup", "done", 60_000);
  expect(["create", "approve", "otp", "sign", "delete-document"].map(house.effects)).toEqual([12, 12, 12, 12, 12]);
});

test("while Redis is away the API says so at once, and takes requests again when it is back", async () => {
  const redis = await startOwnRedis();
  const house = await startHouse({ ...AUTO, redisUrl: redis.url });
  const down = redis.restart(3_000);
  await expect.poll(async () => (await house.call("GET", "/health/ready")).status, { timeout: 10_000 }).toBe(503);
  const before = performance.now();
  await expect(house.submit()).rejects.toThrow(/50[37]/);
  expect(performance.now() - before).toBeLessThan(15_000);
  await down;
  await expect.poll(async () => (await house.call("GET", "/health/ready")).status, { timeout: 20_000 }).toBe(200);
  const id = await house.submit();
  await house.waits(id, "code", 30_000);
});
