import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { createGuard } from "../../src/queues/guard.ts";
import { createKeys } from "../../src/queues/keys.ts";
import { createLanes } from "../../src/queues/lanes.ts";
import { silent } from "../helpers/toy.ts";

const FAULT = { kind: "fault" } as const;
const ANSWER = { kind: "answer" } as const;
const RAO = { credentials: { lane: "rao", secrets: ["1400", "pin-canary"] } } as const;

/** Several processes with one Redis, each with a guard of its own. */
function startGuards(count: number, more: Partial<Parameters<typeof createGuard>[0]> = {}, { monitored = false } = {}) {
  const keys = createKeys(`{test-${randomBytes(6).toString("hex")}}`);
  const probes = { isBack: false, made: 0, atOnce: 0, most: 0 };
  const clients: Redis[] = [];
  const guards = Array.from({ length: count }, () => {
    const redis = new Redis(inject("redisUrl"), { maxRetriesPerRequest: null });
    clients.push(redis);
    return createGuard({
      redis,
      keys,
      print: (parts) => parts.map((part) => part.length).join("-"),
      async probe() {
        probes.made += 1;
        probes.most = Math.max(probes.most, ++probes.atOnce);
        await new Promise((resolve) => setTimeout(resolve, 30));
        probes.atOnce -= 1;
        return probes.isBack;
      },
      openMs: { first: 200, most: 800 },
      log: silent,
      random: () => 0.5,
      ...more,
    });
  });
  const commands: string[] = [];
  onTestFinished(async () => {
    for (const guard of guards) guard.close();
    const redis = new Redis(inject("redisUrl"));
    clients.push(redis);
    const all = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
    if (all.length > 0) await redis.del(all);
    for (const client of clients) client.disconnect();
  });
  if (monitored) {
    for (const client of clients) {
      const send = client.sendCommand.bind(client);
      client.sendCommand = (command: { name: string }, ...rest: []) => {
        commands.push(command.name);
        return send(command as never, ...rest);
      };
    }
  }
  const lanes = createLanes({ redis: clients[0] as Redis, keys });
  const [one, two] = guards as [ReturnType<typeof createGuard>, ReturnType<typeof createGuard>];
  return { keys, one, two, guards, probes, lanes, commands, redis: clients[0] as Redis };
}

async function fails(work: Promise<unknown>): Promise<RetryableError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(RetryableError);
  return error as RetryableError;
}

describe("the breaker", () => {
  test("opens for all processes after several faults, and closes when a probe is answered", async () => {
    const { one, two, probes, lanes } = startGuards(2);
    for (let i = 0; i < 4; i++) await one.heard({}, FAULT);
    await one.admit({});
    await one.heard({}, FAULT);
    const error = await fails(one.admit({}));
    expect(error).toMatchObject({ code: "provider-paused", effect: "none", pause: {} });
    expect(error.retryAfterMs).toBeGreaterThan(0);
    await expect.poll(() => two.heldMs(), { timeout: 3_000 }).toBeGreaterThan(0);
    expect(await lanes.list()).toMatchObject([{ lane: "all", code: "provider-paused" }]);
    await expect.poll(() => probes.made, { timeout: 5_000 }).toBeGreaterThan(1);
    await fails(one.admit({}));
    probes.isBack = true;
    await expect.poll(() => one.heldMs(), { timeout: 5_000 }).toBe(0);
    await expect.poll(() => two.heldMs(), { timeout: 3_000 }).toBe(0);
    expect(probes.most).toBe(1);
    await two.admit({});
    expect(await lanes.list()).toEqual([]);
  });

  test("stays open for longer each time, up to a bound, and one outage counts once", async () => {
    const { redis, keys, guards } = startGuards(8, { probe: () => new Promise(() => {}) });
    const untilMs = async () => Number((await redis.hget(keys.guard, "breaker"))?.split("|")[1]);
    const pauses: number[] = [];
    for (let outage = 0; outage < 4; outage++) {
      const before = Date.now();
      await Promise.all(
        guards.map(async (guard) => {
          for (let i = 0; i < 5; i++) await guard.heard({}, FAULT);
        }),
      );
      pauses.push((await untilMs()) - before);
      await expect.poll(() => Date.now(), { timeout: 2_000 }).toBeGreaterThan(await untilMs());
    }
    for (const [i, wanted] of [200, 400, 800, 800].entries()) {
      expect(pauses[i]).toBeGreaterThanOrEqual(wanted);
      expect(pauses[i]).toBeLessThan(wanted + 150);
    }
  });

  test("does not open while most calls are answered", async () => {
    const { one } = startGuards(1);
    for (let i = 0; i < 40; i++) await one.heard({}, i % 3 === 0 ? FAULT : ANSWER);
    await one.admit({});
  });

  test("does not hold calls up, nor open, when Redis is away", async () => {
    const { one, redis } = startGuards(1);
    await one.admit({});
    redis.disconnect();
    const before = performance.now();
    await one.admit({});
    for (let i = 0; i < 3; i++) await one.heard({}, ANSWER);
    expect(performance.now() - before).toBeLessThan(1_500);
  });
});

test("a pause that the provider asked for holds for all, and then is over by itself", async () => {
  const { one, two } = startGuards(2);
  const failure = new RetryableError("too many", { code: "rate-limited" });
  const instead = await one.heard({}, { kind: "busy", waitMs: 1_500, failure });
  expect(instead).toMatchObject({ code: "provider-paused", retryAfterMs: 1_500, pause: {} });
  expect((await fails(two.admit({}))).retryAfterMs).toBeLessThanOrEqual(1_500);
  await expect.poll(() => two.heldMs(), { timeout: 4_000 }).toBe(0);
  await Promise.all([one.admit({}), two.admit({})]);
});

test("a busy answer whose effect is unknown keeps saying so", async () => {
  const { one } = startGuards(1);
  const failure = new RetryableError("busy", { code: "provider-error", effect: "unknown" });
  expect(await one.heard({}, { kind: "busy", waitMs: 1_000, failure })).toBeUndefined();
});

describe("a lane", () => {
  const rejected = () => new PermanentError("Invalid RAO credentials", { code: "rao-rejected" });

  test("that another process has just found rejected is not tried once more", async () => {
    const { one, two } = startGuards(2);
    await one.admit({}); // has looked: its view is of before the rejection
    const leaving = { ...RAO };
    await two.admit(leaving);
    await two.heard(leaving, { kind: "answer", failure: rejected() });
    expect(await fails(one.admit({ ...RAO }))).toMatchObject({ code: "rao-rejected" });
  });

  test("is stopped by the first rejected call, made alone, and goes on with other credentials", async () => {
    const { one, two, lanes } = startGuards(2);
    const calls = await Promise.allSettled(
      Array.from({ length: 200 }, async (_, i) => {
        const guard = i % 2 ? one : two;
        const leaving = { ...RAO };
        await guard.admit(leaving);
        await new Promise((resolve) => setTimeout(resolve, 50));
        const failure = await guard.heard(leaving, { kind: "answer", failure: rejected() });
        return failure?.code;
      }),
    );
    const made = calls.filter(({ status }) => status === "fulfilled");
    expect(made).toHaveLength(1);
    expect(made[0]).toMatchObject({ value: "rao-rejected" });
    expect(await fails(one.admit({ ...RAO }))).toMatchObject({
      code: "rao-rejected",
      effect: "none",
      pause: { until: "accepted RAO credentials" },
    });
    const [standing] = await lanes.list();
    expect(standing).toMatchObject({ lane: "rao", code: "rao-rejected" });
    expect(JSON.stringify(standing)).not.toContain("canary");

    await one.admit({}); // calls without these credentials are not stopped
    const corrected = { credentials: { lane: "rao", secrets: ["1400", "another-canary"] } } as const;
    await one.admit(corrected);
    await one.heard(corrected, ANSWER);
    await Promise.all([one.admit({ ...corrected }), one.admit({ ...corrected })]);
    expect(await lanes.list()).toEqual([]);
  });

  test("of another tenant stays closed when these are accepted, and its standstill says whose it is", async () => {
    const acme = { credentials: { lane: "rao", secrets: ["7", "acme-pin"] } } as const;
    const beta = { credentials: { lane: "rao", secrets: ["8", "beta-canary"] } } as const;
    const owners = new Map([
      ["3-1-8", "acme/maria"],
      ["3-1-11", "beta/jose"],
    ]);
    const { one, two, lanes } = startGuards(2, { owners });
    const rejectedOne = { ...beta };
    await one.admit(rejectedOne);
    await one.heard(rejectedOne, { kind: "answer", failure: rejected() });
    const old = { ...RAO }; // nobody's any more: it was corrected, and is no longer in the configuration
    await one.admit(old);
    await one.heard(old, { kind: "answer", failure: rejected() });
    expect((await lanes.list()).map(({ whose }) => whose).toSorted()).toEqual(["beta/jose", undefined]);

    const accepted = { ...acme };
    await one.admit(accepted);
    await one.heard(accepted, ANSWER);
    const [standing, ...others] = await lanes.list();
    expect(others).toEqual([]);
    expect(standing).toMatchObject({ lane: "rao", whose: "beta/jose" });
    expect(standing?.reason).toMatch(/of beta\/jose stand still: .* Correct them in TENANTS_FILE/);
    await Promise.all([one.admit({ ...acme }), one.admit({ ...acme })]);
    for (const guard of [one, two]) {
      expect(await fails(guard.admit({ ...beta }))).toMatchObject({ code: "rao-rejected", message: standing?.reason });
    }
  });

  test("goes on when an operator says so, with one call first", async () => {
    const { one, lanes } = startGuards(1);
    const first = { ...RAO };
    await one.admit(first);
    await one.heard(first, { kind: "answer", failure: rejected() });
    expect(await lanes.resume()).toMatchObject([{ lane: "rao" }]);
    expect(await lanes.resume()).toEqual([]);
    const trial = { ...RAO };
    await expect
      .poll(
        () =>
          one.admit(trial).then(
            () => "admitted",
            () => "held",
          ),
        { timeout: 4_000 },
      )
      .toBe("admitted");
    expect((await fails(one.admit({ ...RAO }))).pause).toEqual({});
    await one.heard(trial, ANSWER);
    await one.admit({ ...RAO });
  });

  test("is tried anew within seconds when the process that tried it is gone", async () => {
    const { two, redis, keys } = startGuards(2);
    await redis.set(keys.trial("3-4-10"), "1", "PX", 4_000); // as a process that was killed leaves it
    expect((await fails(two.admit({ ...RAO }))).retryAfterMs).toBeLessThanOrEqual(2_000);
    await expect
      .poll(
        () =>
          two.admit({ ...RAO }).then(
            () => "admitted",
            () => "held",
          ),
        { timeout: 8_000 },
      )
      .toBe("admitted");
  });

  test("is tried by the next call when the one that tried it fell silent", async () => {
    const { one } = startGuards(1);
    const trial = { ...RAO };
    await one.admit(trial);
    await one.heard(trial, FAULT);
    await one.admit({ ...RAO });
  });
});

describe("credentials that go bad after they were accepted", () => {
  const rejected = { kind: "answer", failure: new PermanentError("no", { code: "rao-rejected" }) } as const;

  test("are tried alone again when nobody had them accepted for a minute", async () => {
    const clock = { shiftMs: 0 };
    const { one, two } = startGuards(2, { now: () => Date.now() + clock.shiftMs });
    const first = { ...RAO };
    await one.admit(first);
    await one.heard(first, ANSWER);
    for (let i = 0; i < 3; i++) {
      clock.shiftMs += 50_000; // each time they are accepted, a minute begins
      const next = { ...RAO };
      await Promise.all([one.admit(next), one.admit({ ...RAO }), two.admit({ ...RAO })]);
      await one.heard(next, ANSWER);
    }
    clock.shiftMs += 61_000;
    const morning = await Promise.allSettled([one, two, one, two].map((guard) => guard.admit({ ...RAO })));
    expect(morning.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("stay rejected here although an answer of Redis from before says otherwise", async () => {
    const clock = { shiftMs: 0 };
    const { one, redis } = startGuards(1, { now: () => Date.now() + clock.shiftMs });
    const [first, second] = [{ ...RAO }, { ...RAO }];
    for (const leaving of [first, second]) {
      await one.admit(leaving);
      if (leaving === first) await one.heard(leaving, ANSWER);
    }
    const read = redis.hgetall.bind(redis);
    const held = Promise.withResolvers<undefined>();
    redis.hgetall = async (key: string) => {
      const fields = await read(key);
      await held.promise;
      return fields;
    };
    clock.shiftMs += 2_000;
    await one.admit({ ...RAO }); // it is not waited for longer than half a second
    expect(await one.heard(second, rejected)).toMatchObject({ code: "rao-rejected" });
    held.resolve(undefined);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await fails(one.admit({ ...RAO }))).toMatchObject({ code: "rao-rejected" });
  });

  test("are not sent by a call that waited for its turn meanwhile", async () => {
    const { one } = startGuards(1, { perSecond: 2 });
    const first = { ...RAO };
    await one.admit(first);
    await one.heard(first, ANSWER);
    const under = { ...RAO };
    await one.admit(under);
    const waiting = Array.from({ length: 4 }, () => one.admit({ ...RAO }));
    const held = Promise.all(waiting.map((one) => fails(one)));
    await new Promise((resolve) => setTimeout(resolve, 20)); // all of them have found the credentials good by now
    await one.heard(under, rejected);
    expect((await held).some(({ code }) => code === "rao-rejected")).toBe(true);
  });
});

describe("a call with several credentials", () => {
  const billing = { lane: "billing", secrets: ["billing-user", "billing-canary"] } as const;
  const both = () => ({ credentials: [RAO.credentials, billing] });
  const refused = (code: string) => ({ kind: "answer", failure: new PermanentError("no", { code }) }) as const;

  test("tries all of them, alone, and has all of them accepted", async () => {
    const { one, two, redis, keys } = startGuards(2);
    const first = both();
    await one.admit(first);
    for (const guard of [one, two]) {
      expect((await fails(guard.admit(both()))).pause).toEqual({});
      expect((await fails(guard.admit({ ...RAO }))).pause).toEqual({});
      expect((await fails(guard.admit({ credentials: billing }))).pause).toEqual({});
    }
    await one.heard(first, ANSWER);
    await Promise.all([one.admit(both()), one.admit({ ...RAO }), one.admit({ credentials: billing })]);
    expect(await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*trial*`)).toEqual([]);
  });

  test.each([
    ["rao-rejected", "accepted RAO credentials", billing, RAO.credentials],
    ["billing-rejected", "an accepted billing account", RAO.credentials, billing],
  ])(
    "stands still when one of them is rejected, and calls with the other go on: %s",
    async (code, until, other, bad) => {
      const { one, two, lanes } = startGuards(2);
      const first = both();
      await one.admit(first);
      expect(await one.heard(first, refused(code))).toMatchObject({ code, pause: { until } });
      expect(await lanes.list()).toMatchObject([{ lane: bad.lane, code }]);
      await expect
        .poll(async () => (await two.admit(both()).catch((error: unknown) => error)) as RetryableError, {
          timeout: 4_000,
        })
        .toMatchObject({ code, pause: { until } });
      expect(await fails(one.admit(both()))).toMatchObject({ code, pause: { until } });
      // What was not rejected was not tried once more by those that stood still: it is free for the next call.
      const next = { credentials: other };
      await one.admit(next);
      await one.heard(next, ANSWER);
      expect(await fails(one.admit({ credentials: bad }))).toMatchObject({ code });
    },
  );

  test("leaves those alone that it cannot be made with: one that is being tried lets the other go", async () => {
    const { one } = startGuards(1);
    const trial = { ...RAO };
    await one.admit(trial);
    expect((await fails(one.admit(both()))).pause).toEqual({});
    await one.admit({ credentials: billing }); // at once, and not after the trial of one that gave up
    await one.heard(trial, ANSWER);
  });

  test("gives all of them back when its turn does not come", async () => {
    const { one } = startGuards(1, { perSecond: 1 });
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, () =>
        one.admit({}).then(
          () => "left",
          () => "held",
        ),
      ),
    );
    expect(outcomes).toContain("held");
    expect((await fails(one.admit(both()))).message).toContain("ONESHOT_RATE");
    await expect
      .poll(
        () =>
          one.admit(both()).then(
            () => "left",
            (error: Error) => error.message,
          ),
        { timeout: 20_000, interval: 1_000 },
      )
      .toBe("left");
  });
});

describe("the pace", () => {
  test("holds over all processes, and turns away with a time to come again", async () => {
    const { guards } = startGuards(3, { perSecond: 50 });
    const until = performance.now() + 2_000;
    let left = 0;
    let turnedAway = 0;
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        while (performance.now() < until) {
          try {
            await guards[i % 3]?.admit({});
            left += 1;
          } catch (error) {
            turnedAway += 1;
            const { retryAfterMs = 0 } = error as RetryableError;
            expect(retryAfterMs).toBeGreaterThan(0);
            await new Promise((resolve) => setTimeout(resolve, Math.min(retryAfterMs, 300)));
          }
        }
      }),
    );
    expect(left).toBeGreaterThan(70);
    expect(left).toBeLessThanOrEqual(50 * 2 * 1.5);
    expect(turnedAway).toBeGreaterThan(0);
  });

  test("costs a few commands a second, and no command for a call", async () => {
    const { one, commands } = startGuards(1, { perSecond: 1_000 }, { monitored: true });
    await one.admit({});
    commands.length = 0;
    const before = performance.now();
    for (let i = 0; i < 600; i++) {
      const leaving = {};
      await one.admit(leaving);
      await one.heard(leaving, ANSWER);
    }
    const seconds = (performance.now() - before) / 1_000;
    expect(commands.length).toBeLessThanOrEqual(Math.ceil(seconds) * 4 + 2);
  });
});
