import { once } from "node:events";
import { expect, test } from "vitest";
import { startHouse } from "../helpers/house.ts";
import { killHard, startWorkProcess } from "../helpers/process.ts";
import { runStops, STOP_WITHIN_MS } from "../chaos/run-stops.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };
/** A stop's grace in these tests, instead of the 20 s that it is without a setting. */
const GRACE_MS = 3_000;

test("workers end within the grace and a little more, whatever is around them, and nothing is done twice", async () => {
  const { ended, violations, remove } = await runStops({ stops: 5, seed: 7, graceMs: GRACE_MS, together: 5 });
  expect(violations.map(({ text }) => text)).toEqual([]);
  expect(ended.map(({ weather, code }) => `${weather}: ${code}`)).toEqual([
    "at work: 0",
    "provider hangs: 0",
    "Redis away: 0",
    "Redis silent: 0",
    "neither answers: 0",
  ]);
  const mostMs = Math.max(...ended.map(({ tookMs }) => tookMs));
  // With the standard grace of 20 s the same is the promise.
  expect(mostMs).toBeLessThan(GRACE_MS + STOP_WITHIN_MS - 20_000);
  remove();
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "a second %s ends a worker at once, and that is safe as well",
  async (signal) => {
    const house = await startHouse({ ...AUTO, work: false });
    house.simulator.fault({ operation: "generateOtp", kind: "hang-after" });
    const worker = startWorkProcess(house, [], { SHUTDOWN_GRACE_MS: "20000" });
    const id = await house.submit();
    await expect.poll(() => house.simulator.calls.get("generateOtp") ?? 0, { timeout: 30_000 }).toBe(1);
    const gone = once(worker, "exit") as Promise<[number | null, string | null]>;
    const said = once(worker.stderr as NodeJS.ReadableStream, "data");
    worker.kill("SIGTERM");
    await said; // it has heard
    const askedMs = performance.now();
    worker.kill(signal);
    expect(await gone).toEqual([signal === "SIGTERM" ? 143 : 130, null]);
    expect(performance.now() - askedMs).toBeLessThan(2_000);

    startWorkProcess(house);
    await house.waits(id, "code", 60_000);
    // The creation that nobody heard of is adopted, or cancelled: one is left.
    expect(house.effects("create") - house.effects("cancel")).toBe(1);
  },
);

test("a worker that stood still for longer than its lock does nothing that is not its own any more", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  house.simulator.set({ latencyMs: 700 });
  const sleeper = startWorkProcess(house);
  const ids = await Promise.all([1, 2, 3, 4].map(() => house.submit()));
  await expect.poll(() => house.simulator.calls.get("createVideoId") ?? 0, { timeout: 30_000 }).toBe(4);
  sleeper.kill("SIGSTOP");
  startWorkProcess(house);
  for (const id of ids) await house.waits(id, "code", 60_000);
  sleeper.kill("SIGCONT");
  for (const id of ids) await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  for (const id of ids) await house.reaches(id, "cleanup", "done", 60_000);
  expect(["approve", "otp", "sign", "delete-document"].map(house.effects)).toEqual([4, 4, 4, 4]);
  // A creation whose answer came too late leaves an orphan, which is cancelled when somebody looks for them.
  await expect.poll(() => house.effects("create") - house.effects("cancel"), { timeout: 45_000 }).toBe(4);
});

test("what a killed worker had in its hands is taken up again within its lock and two looks", async () => {
  const lockMs = 3_000;
  const house = await startHouse({ ...AUTO, settings: { ...AUTO.settings, LOCK_MS: String(lockMs) }, work: false });
  const times: number[] = [];
  for (let n = 0; n < 3; n++) {
    house.simulator.fault({ operation: "getRequest", kind: "hang" });
    const calls = house.simulator.calls.get("getRequest") ?? 0;
    const victim = startWorkProcess(house);
    const id = await house.submit();
    await expect.poll(() => house.simulator.calls.get("getRequest") ?? 0, { timeout: 30_000 }).toBeGreaterThan(calls);
    const survivor = startWorkProcess(house, [], {});
    await expect.poll(() => survivor.exitCode ?? "running", { timeout: 1_000 }).toBe("running");
    const killedMs = performance.now();
    await killHard(victim);
    await house.waits(id, "code", 60_000);
    times.push(performance.now() - killedMs);
    await killHard(survivor);
  }
  // The start of the survivor, on a busy machine, is in it.
  expect(Math.max(...times)).toBeLessThan(lockMs + 2 * lockMs + 6_000);
});
