import { once } from "node:events";
import { describe, test } from "vitest";
import type { House } from "../helpers/house.ts";
import { startHouse } from "../helpers/house.ts";
import { startWorkProcess } from "../helpers/process.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };
const calls = (house: House, operation: string) => house.simulator.calls.get(operation) ?? 0;
const allCalls = (house: House) => [...house.simulator.calls.values()].reduce((sum, one) => sum + one, 0);

async function standing(house: House): Promise<{ lane: string; reason: string }[]> {
  return (await house.call("GET", "/v1/lanes")).body["items"] as { lane: string; reason: string }[];
}

// Side by side: most of the time a pause passes, or a lane stands still.
test.concurrent(
  "an outage of the provider costs a few calls and no attempts, whatever its length, and all goes on by itself",
  async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    await house.waits(await house.submit(), "code"); // the credentials are known to be accepted
    house.simulator.fault({ kind: "status-before", status: 503, times: 100_000 });
    const ids = await Promise.all(Array.from({ length: 30 }, () => house.submit()));
    await expect.poll(() => standing(house), { timeout: 20_000 }).toMatchObject([{ lane: "all" }]);
    const ready = await house.call("GET", "/health/ready");
    expect(ready.status).toBe(200);
    expect(JSON.stringify(ready.body)).toContain("stands still: All calls pause");
    let before = -1; // those that were under way when the breaker opened are over
    await expect.poll(() => before === (before = allCalls(house)), { timeout: 4_000, interval: 300 }).toBe(true);
    const reads = calls(house, "getRequest");
    await expect.poll(() => calls(house, "getRequest"), { timeout: 15_000 }).toBeGreaterThan(reads); // a probe
    expect(calls(house, "createVideoId")).toBeLessThanOrEqual(50); // those that were under way when the first faults came
    expect(allCalls(house) - before).toBeLessThan(10);
    house.simulator.clearFaults();
    for (const id of ids) await house.waits(id, "code", 60_000);
    for (const id of ids)
      expect((await house.app.store.history(id)).filter(({ note }) => note === "provider-error").length).toBeLessThan(
        4,
      );
    expect(await standing(house)).toEqual([]);
    expect(house.effects("create")).toBe(31);
  },
);

test.concurrent(
  "a provider that asks for a pause is left alone by everybody for as long",
  async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    await house.waits(await house.submit(), "code");
    const at: number[] = [];
    house.simulator.fault({ operation: "createVideoId", kind: "rate-limit", retryAfterS: 3 });
    const first = await house.submit();
    await expect.poll(() => standing(house), { timeout: 5_000 }).toMatchObject([{ lane: "all" }]);
    const askedMs = Date.now();
    const before = calls(house, "createVideoId");
    const more = await Promise.all(Array.from({ length: 10 }, () => house.submit()));
    await expect
      .poll(
        () => {
          if (calls(house, "createVideoId") > before) at.push(Date.now());
          return at.length;
        },
        { timeout: 10_000, interval: 20 },
      )
      .toBeGreaterThan(0);
    expect((at[0] ?? 0) - askedMs).toBeGreaterThan(2_000);
    for (const id of [first, ...more]) await house.waits(id, "code", 30_000);
    expect(await house.app.store.history(first)).not.toContainEqual(expect.objectContaining({ note: "rate-limited" }));
  },
);

describe.concurrent("credentials that the provider rejects", () => {
  test("of the RAO: one call, every request waits for an operator, and a restart with the right ones goes on", async ({
    expect,
    onTestFinished: atEnd,
  }) => {
    const rao = { username: "1000001", password: "right-password", pin: "canary-rao-pin", rao: "1400" };
    const house = await startHouse({
      work: false,
      atEnd,
      settings: AUTO.settings,
      simulator: { ...AUTO.simulator, credentials: { rao } },
    });
    const wrong = startWorkProcess(house);
    const ids = await Promise.all(Array.from({ length: 20 }, () => house.submit()));
    for (const id of ids) await house.waits(id, "accepted RAO credentials", 40_000);
    expect(calls(house, "approveVideoId")).toBe(1);
    expect(house.effects("approve")).toBe(0);
    const [lane, ...others] = await standing(house);
    expect(others).toEqual([]);
    expect(lane).toMatchObject({ lane: "rao", code: "rao-rejected" });
    expect((await house.app.store.get(ids[0] ?? "")).waiting).toMatchObject({ whose: "operator" });
    wrong.kill("SIGTERM");
    await once(wrong, "exit");

    startWorkProcess(house, [], { ONESHOT_RAO_PASSWORD: rao.password });
    for (const id of ids) await house.waits(id, "code", 60_000);
    expect(house.effects("approve")).toBe(20);
    expect(await standing(house)).toEqual([]);
  });

  test("of the billing account: creations stand still until an operator says to go on", async ({
    expect,
    onTestFinished: atEnd,
  }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    const before = await house.submit();
    await house.waits(before, "code");
    house.simulator.fault({
      operation: "createVideoId",
      kind: "status-before",
      status: 402,
      body: { status: "402 Payment Required", details: "There is no remaining credit" },
    });
    const first = await house.submit();
    await house.waits(first, "an accepted billing account");
    const made = calls(house, "createVideoId");
    const ids = await Promise.all(Array.from({ length: 10 }, () => house.submit()));
    for (const id of ids) await house.waits(id, "an accepted billing account");
    expect(calls(house, "createVideoId")).toBe(made);
    await house.call("POST", `/v1/requests/${before}/code`, { secret: await house.codeFor(before) });
    await house.reaches(before, "cleanup", "done"); // everything else goes on
    const resumed = await house.call("POST", "/v1/lanes/resume");
    expect(resumed.body["items"]).toMatchObject([{ lane: "billing", code: "billing-rejected" }]);
    for (const id of [first, ...ids]) await house.waits(id, "code", 30_000);
    expect(await standing(house)).toEqual([]);
  });
});
