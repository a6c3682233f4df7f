import { describe, test } from "vitest";
import type { FaultInput } from "../../src/simulator/faults.ts";
import { startHouse } from "../helpers/house.ts";
import { classic, external, jpeg, mp4, png } from "../helpers/identity.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };
const EFFECTS = ["approve", "upload", "otp", "sign"] as const;

const SILENCES: { name: string; kind: FaultInput["kind"] }[] = [
  { name: "works, and the answer is lost", kind: "reset-after" },
  { name: "does not work, and no answer comes", kind: "reset-before" },
  { name: "works, and says 503", kind: "status-after" },
  { name: "does not work, and says 503", kind: "status-before" },
  { name: "works, and the answer is no JSON", kind: "malformed-json" },
];

// Side by side, all of it: most of the time a pause passes before another attempt. The longest begins first.
test.concurrent(
  "a signed PDF that arrives truncated or spoilt is fetched again, and nothing is deleted before it is whole",
  async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    for (const kind of ["truncate", "truncate-close", "corrupt", "html"] as const) {
      house.simulator.fault({ operation: "getSignedDocument", kind });
    }
    const id = await house.submit();
    await house.waits(id, "code");
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    await house.reaches(id, "cleanup", "done", 60_000);
    const order = house.simulator.ledger.map(({ effect }) => effect);
    expect(order.indexOf("delete-document")).toBeGreaterThan(order.lastIndexOf("download-signed"));
    expect(house.effects("sign")).toBe(1);
  },
);

test.concurrent(
  "a contract that arrives truncated, or as something else, is fetched again before anybody is sent a code",
  async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    for (const kind of ["truncate", "truncate-close", "html"] as const) {
      house.simulator.fault({ operation: "getContract", kind });
    }
    const id = await house.submit();
    await house.waits(id, "code", 60_000);
    expect(house.effects("contract")).toBeGreaterThan(1);
    expect(house.effects("otp")).toBe(1);
    const { status, bytes } = await house.download(`/v1/requests/${id}/contract`);
    expect([status, bytes.subarray(0, 5).toString()]).toEqual([200, "%PDF-"]);
  },
);

test.concurrent(
  "a contract that is never a whole PDF ends the request, and says what it is",
  async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    house.simulator.fault({ operation: "getContract", kind: "truncate-close", times: 100 });
    const id = await house.submit();
    await house.reaches(id, "cleanup", "failed", 90_000);
    expect((await house.app.store.get(id)).failure).toMatchObject({
      code: "pdf-incomplete",
      stage: "contract",
      message: "What the provider sent as the service contract is not a whole PDF",
    });
  },
);

describe.concurrent.each(SILENCES)("when a call $name", ({ kind }) => {
  test.for([
    ["approve", "approveVideoId"],
    ["upload", "uploadDocument"],
    ["otp", "generateOtp"],
    ["sign", "sign"],
  ] as const)("%s happens once all the same", async ([, operation], { expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    house.simulator.fault({ operation, kind, ...(kind.startsWith("status") && { status: 503 }) });
    const id = await house.submit();
    await house.waits(id, "code", 30_000);
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    await house.reaches(id, "cleanup", "done", 30_000);
    const uploaded = house.effects("upload") - house.effects("delete-all");
    expect(EFFECTS.filter((effect) => effect !== "upload").map(house.effects)).toEqual([1, 1, 1]);
    expect(uploaded).toBeLessThanOrEqual(1); // what a doubtful upload left was deleted before the next one
    expect((await house.app.store.get(id)).intent).toBeUndefined();
  });
});

describe.concurrent.each(SILENCES)("when a call about a signer whom we identified $name", ({ kind }) => {
  test.for([["uploadEvidences"], ["uploadVideo"]] as const)(
    "%s gets there all the same",
    async ([operation], { expect, onTestFinished: atEnd }) => {
      const house = await startHouse({ settings: { APPROVAL: "auto" }, atEnd });
      house.simulator.fault({ operation, kind, ...(kind.startsWith("status") && { status: 503 }) });
      const files = { document_front: "f.jpg", document_owner: "o.jpg", video: "v.mp4" };
      const id = await house.submit(external(files), undefined, [
        { name: "f.jpg", bytes: jpeg() },
        { name: "o.jpg", bytes: jpeg() },
        { name: "v.mp4", bytes: mp4() },
      ]);
      await house.waits(id, "code", 30_000);
      expect([house.effects("create"), house.effects("approve"), house.effects("otp")]).toEqual([1, 1, 1]);
      expect((await house.app.store.get(id)).intent).toBeUndefined();
    },
  );
});

describe.concurrent("a creation that approves at once, and is not answered", () => {
  const SIDES = { document_front: "f.jpg", document_rear: "r.png" };
  const files = () => [
    { name: "f.jpg", bytes: jpeg() },
    { name: "r.png", bytes: png() },
  ];

  test("and had worked is found by its webhook, and used: there is only one", async ({
    expect,
    onTestFinished: atEnd,
  }) => {
    const house = await startHouse({ settings: { APPROVAL: "auto" }, atEnd });
    house.simulator.fault({ operation: "createRequest", kind: "reset-after" });
    const id = await house.submit(classic(SIDES), undefined, files());
    await house.waits(id, "code", 30_000);
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    await house.reaches(id, "cleanup", "done", 30_000);
    expect([house.effects("create"), house.effects("cancel"), house.effects("sign")]).toEqual([1, 0, 1]);
  });

  test("and had not worked is made once more after the grace", async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ settings: { APPROVAL: "auto", CREATE_GRACE_MS: "2000" }, atEnd });
    house.simulator.fault({ operation: "createRequest", kind: "reset-before" });
    const id = await house.submit(classic(SIDES), undefined, files());
    await house.waits(id, "word of the creation");
    await house.waits(id, "code", 30_000);
    expect(house.effects("create")).toBe(1);
  });
});

describe.concurrent("a creation that is not answered", () => {
  test("and had worked is found by its webhook and cancelled before a new one is made", async ({
    expect,
    onTestFinished: atEnd,
  }) => {
    const house = await startHouse({ atEnd });
    house.simulator.fault({ operation: "createVideoId", kind: "reset-after" });
    const id = await house.submit();
    await house.waits(id, "identification", 30_000);
    const pk = (await house.app.store.get(id)).facts["requestPk"] as number;
    expect(house.effects("create")).toBe(2);
    expect(house.effects("cancel")).toBe(1);
    expect(house.simulator.statusOf(pk)).toBe("VIDEOPENDING");
    const cancelled = house.simulator.ledger.find(({ effect }) => effect === "cancel");
    expect(cancelled?.request_pk).not.toBe(pk);
  });

  test("and had not worked is made once more after the grace", async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ settings: { CREATE_GRACE_MS: "4000" }, atEnd });
    house.simulator.fault({ operation: "createVideoId", kind: "reset-before" });
    const id = await house.submit();
    await house.waits(id, "word of the creation");
    await house.waits(id, "identification", 30_000);
    expect(house.effects("create")).toBe(1);
  });

  test("and whose webhook is lost is made once more after the grace, and a third time only when a person says so", async ({
    expect,
    onTestFinished: atEnd,
  }) => {
    const house = await startHouse({ settings: { CREATE_GRACE_MS: "500" }, atEnd });
    house.simulator.set({ webhooks: { drop: true } });
    house.simulator.fault({ operation: "createVideoId", kind: "reset-after", times: 2 });
    const id = await house.submit();
    await house.reaches(id, "cleanup", "failed", 30_000);
    const { body } = await house.call("GET", `/v1/requests/${id}`);
    expect(body["failure"]).toMatchObject({ code: "unknown-outcome" });
    expect((body["failure"] as { message: string }).message).toMatch(/cancel .*then retry/);
    expect(house.effects("create")).toBe(2);
    expect((await house.call("POST", `/v1/requests/${id}/retry`)).status).toBe(202);
    await house.waits(id, "identification", 30_000);
    expect(house.effects("create")).toBe(3);
  });

  test("can be cancelled while its outcome is open", async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ settings: { CREATE_GRACE_MS: "60000" }, atEnd });
    house.simulator.set({ webhooks: { drop: true } });
    house.simulator.fault({ operation: "createVideoId", kind: "reset-after" });
    const id = await house.submit();
    await house.waits(id, "word of the creation");
    await house.call("POST", `/v1/requests/${id}/cancel`);
    await house.reaches(id, "cleanup", "cancelled");
    expect(house.effects("create")).toBe(1);
  });
});

test.concurrent(
  "a code that nobody knows to have been sent is not sent again",
  async ({ expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ ...AUTO, atEnd });
    // The guard of the provider is over before we ask again: a second call would send a second message.
    house.simulator.set({ otpGuardMs: 0 });
    house.simulator.fault({ operation: "generateOtp", kind: "reset-after" });
    const id = await house.submit();
    await expect.poll(() => house.effects("otp"), { timeout: 20_000 }).toBe(1);
    await house.app.store.change(id, (request) => ({
      event: "note",
      patch: { intent: request.intent && { ...request.intent, firstMs: Date.now() - 50_000 } },
    }));
    await house.waits(id, "code", 30_000);
    expect(house.effects("otp")).toBe(1);
    expect((await house.app.store.get(id)).facts["otp"]).toMatchObject({ unknown: true });
    // Whoever looks is told so, and a code that is asked for is sent.
    const { body } = await house.call("GET", `/v1/requests/${id}`);
    expect((body["waiting"] as { detail: string }).detail).toMatch(/not known whether the code was sent.*resend/);
    expect((await house.call("POST", `/v1/requests/${id}/code/resend`)).status).toBe(429); // within the minute
    await house.app.store.change(id, ({ facts }) => ({
      event: "note",
      patch: { facts: { otp: { ...(facts["otp"] as object), sentMs: Date.now() - 61_000 } } },
    }));
    expect((await house.call("POST", `/v1/requests/${id}/code/resend`)).status).toBe(202);
    await expect.poll(() => house.effects("otp"), { timeout: 20_000 }).toBe(2);
    await house.waits(id, "code", 30_000);
    const later = (await house.call("GET", `/v1/requests/${id}`)).body["waiting"];
    expect(later).not.toHaveProperty("detail");
  },
);
