import { describe, expect, test } from "vitest";
import { samplePdf } from "../helpers/house.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";
import { until } from "../helpers/signpipe-process.ts";
import { KINDS, namesOf, startPlace } from "./place.ts";

describe.each(KINDS)("%s", (kind) => {
  test("W23: while Redis is down files stay where they are, and go on by themselves when it is back, once each", async () => {
    const redis = await startOwnRedis();
    await redis.set("appendonly", "yes");
    await redis.set("appendfsync", "always");
    const place = await startPlace(kind, { redisUrl: redis.url, settings: { LOCK_MS: "1000" } });
    const drop = async (mark: string, count: number) => {
      const names = Array.from({ length: count }, (_, n) => `${mark} ${n}.pdf`);
      for (const name of names) place.drop(name, await samplePdf());
      return names;
    };
    const before = await drop("before", 10);
    await until("that it has begun", () => place.figures().claimed > 0 || undefined);
    const back = Promise.withResolvers<void>();
    const restarted = redis.restart(back.promise);
    await until("that it is told", () => /Redis does not answer/.test(place.check().note ?? "") || undefined);
    expect(place.check().ok).toBe(false);
    const during = await drop("during", 10);
    expect(place.names("inbox")).toEqual(expect.arrayContaining(during));
    expect(place.names("failed")).toEqual([]);
    back.resolve();
    await restarted;
    const requests = await place.count(20, 60_000);
    expect(requests.flatMap(namesOf).sort()).toEqual([...before, ...during].sort());
    await until("that all is well", () => place.check().ok || undefined);
    expect(place.names("inbox")).toEqual([]);
    expect(place.names("failed")).toEqual([]);
    expect(place.names("duplicates")).toEqual([]);
  });
});
