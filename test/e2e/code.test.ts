import { expect, test } from "vitest";
import { startHouse } from "../helpers/house.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

test("a wrong code asks for another one, and the right one signs at once", async () => {
  // The time for which an unanswered signing may still be at work plays no part: this one was answered.
  const house = await startHouse({ ...AUTO, settings: { ...AUTO.settings, SIGN_SETTLE_MS: "600000" } });
  const id = await house.submit();
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: "000000" });
  await house.waits(id, "another code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  expect(house.effects("sign")).toBe(1);
  expect(house.effects("otp")).toBe(1);
});

test("three wrong codes need a new OTP, which is sent on request and no sooner than a minute after the last", async () => {
  const house = await startHouse({ ...AUTO, simulator: { ...AUTO.simulator, otpAttempts: 10, otpGuardMs: 50 } });
  const id = await house.submit();
  await house.waits(id, "code");
  for (const [wrong, next] of [
    ["000001", "another code"],
    ["000002", "another code"],
    ["000003", "a new OTP"],
  ] as const) {
    const told = await house.call("POST", `/v1/requests/${id}/code`, { secret: wrong });
    expect(told.status).toBe(202);
    await expect
      .poll(async () => (await house.app.store.get(id)).facts["wrongCodes"], { timeout: 10_000 })
      .toBe(Number(wrong));
    await house.waits(id, next);
  }
  const late = await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  expect(late).toMatchObject({ status: 409, body: { code: "not-possible-now" } });

  const soon = await house.call("POST", `/v1/requests/${id}/code/resend`);
  expect(soon.body).toMatchObject({ code: "otp-too-soon" });
  expect(house.effects("otp")).toBe(1);

  // The minute passes: the record's own note of it is set back, since nobody wants to wait for it.
  await house.app.store.change(id, (request) => ({
    event: "note",
    patch: { facts: { otp: { ...(request.facts["otp"] as object), sentMs: Date.now() - 61_000 } } },
  }));
  expect((await house.call("POST", `/v1/requests/${id}/code/resend`)).status).toBe(202);
  await house.waits(id, "code");
  expect(house.effects("otp")).toBe(2);
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  expect(house.effects("sign")).toBe(1);
});

test("an external authentication signs without a code, and its secret is nowhere but at the provider", async () => {
  const house = await startHouse(AUTO);
  const id = await house.submit({
    authentication: { method: "external", type: "biometric", value: "canary-unlock-5" },
  });
  await house.reaches(id, "cleanup", "done");
  expect(house.effects("otp")).toBe(0);
  expect(house.effects("sign")).toBe(1);
  expect(house.logged()).not.toContain("canary-unlock-5");
  expect(JSON.stringify(await house.app.store.get(id))).not.toContain("canary-unlock-5");
});
