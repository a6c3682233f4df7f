import { expect, test } from "vitest";
import { killHard, startWorkProcess } from "../helpers/process.ts";
import { startHouse } from "../helpers/house.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

/** The call is at the provider, done or not, when the worker dies; another worker takes over. */
const MOMENTS = [
  ["create", "createVideoId", "hang"],
  ["create", "createVideoId", "hang-after"],
  ["approve", "approveVideoId", "hang"],
  ["approve", "approveVideoId", "hang-after"],
  ["upload", "uploadDocument", "hang"],
  ["upload", "uploadDocument", "hang-after"],
  ["otp", "generateOtp", "hang"],
  ["otp", "generateOtp", "hang-after"],
  ["sign", "sign", "hang"],
  ["sign", "sign", "hang-after"],
  ["fetch", "getSignedDocument", "hang"],
  ["cleanup", "deleteDocument", "hang-after"],
] as const;

test.each(MOMENTS)("a worker killed in the middle of %s (%s, %s) costs time only", async (stage, operation, kind) => {
  const house = await startHouse({ ...AUTO, work: false });
  house.simulator.fault({ operation, kind });
  const first = startWorkProcess(house);
  const id = await house.submit();
  const giveCode = async () => {
    await house.waits(id, "code", 60_000);
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  };
  const late = ["sign", "fetch", "cleanup"].includes(stage);
  if (late) await giveCode();
  await expect.poll(() => house.simulator.calls.get(operation) ?? 0, { timeout: 30_000 }).toBeGreaterThan(0);
  await killHard(first);

  startWorkProcess(house);
  if (!late) await giveCode();
  await house.reaches(id, "cleanup", "done", 60_000);
  expect(["approve", "otp", "sign"].map(house.effects)).toEqual([1, 1, 1]);
  // A creation that worked unheard leaves an orphan, which is cancelled; the documents of a doubtful upload are deleted.
  expect(house.effects("create") - house.effects("cancel")).toBe(1);
  expect(house.effects("upload") - house.effects("delete-all")).toBeLessThanOrEqual(1);
  const deleted = house.simulator.ledger.findIndex(({ effect }) => effect === "delete-document");
  const fetched = house.simulator.ledger.findIndex(({ effect }) => effect === "download-signed");
  expect(fetched).toBeGreaterThan(0);
  expect(deleted).toBeGreaterThan(fetched);
});

test("a worker that is asked to stop finishes or hands back what it does, and another one carries on", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  house.simulator.set({ latencyMs: 300 });
  const first = startWorkProcess(house);
  const ids = await Promise.all([1, 2, 3].map(() => house.submit()));
  await expect.poll(() => house.simulator.calls.get("createVideoId") ?? 0, { timeout: 30_000 }).toBeGreaterThan(0);
  const gone = new Promise<number | null>((resolve) => first.once("exit", (code) => resolve(code)));
  const asked = performance.now();
  first.kill("SIGTERM");
  expect(await gone).toBe(0);
  expect(performance.now() - asked).toBeLessThan(25_000);
  startWorkProcess(house);
  for (const id of ids) await house.waits(id, "code", 60_000);
  expect(["create", "approve", "otp"].map(house.effects)).toEqual([3, 3, 3]);
});

test("workers of one stage each carry a request through together", async () => {
  const house = await startHouse({ ...AUTO, work: false });
  startWorkProcess(house, ["create", "identify", "approve", "upload"]);
  startWorkProcess(house, ["contract", "otp", "sign", "fetch", "cleanup"]);
  const id = await house.submit();
  await house.waits(id, "code", 60_000);
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done", 60_000);
});
