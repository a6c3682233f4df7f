import { afterEach, expect, test } from "vitest";
import { RAO, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";
import type { SimulatorOptions } from "../../src/simulator/index.ts";

let house: House;
afterEach(() => house.simulator.close());

async function inReview(options: SimulatorOptions = {}): Promise<{ pk: number; videoidPk: number }> {
  house = await startHouse({ videoidMode: 2, ...options });
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  house.simulator.identify(pk, "complete");
  return { pk, videoidPk };
}

test("in 2-step mode somebody validates before the RAO approves", async () => {
  const { pk, videoidPk } = await inReview();
  expect(await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).toMatchObject({
    status: 412,
    body: { message: "Invalid request status" },
  });
  expect(house.simulator.validate(pk)).toBe(true);
  expect(house.simulator.statusOf(pk)).toBe("CREATED");
  expect(house.simulator.validate(pk)).toBe(false);
  expect((await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).status).toBe(200);
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  expect(house.effects(pk)).toEqual(["create", "identify", "validate", "approve"]);
});

test("the first generation has a call for the validation, and takes the mode with the creation", async () => {
  house = await startHouse();
  const { body } = await house.call("POST", "/api/v1/videoid", { ...SIGNER, videoid_mode: 2 });
  const { request_pk: pk } = body.details as { request_pk: number };
  house.simulator.identify(pk, "complete");
  expect(await house.call("POST", `/api/v1/videoid/${pk}/validate`, { ...RAO, pin: undefined })).toMatchObject({
    status: 400,
  });
  expect((await house.call("POST", `/api/v1/videoid/${pk}/validate`, RAO)).body).toEqual({
    status: "200 OK",
    details: "Videoid validated",
  });
  expect((await house.call("POST", `/api/v1/request/${pk}/approve`, RAO)).body).toEqual({
    status: "200 OK",
    details: "Request approved successfully",
  });
  const { body: second } = await house.call("POST", "/api/v1/videoid", SIGNER);
  const { request_pk: other } = second.details as { request_pk: number };
  house.simulator.identify(other, "complete");
  expect((await house.call("POST", `/api/v1/videoid/${other}/validate`, RAO)).status).toBe(412);
});

test("a validated request can be refused", async () => {
  const { pk, videoidPk } = await inReview();
  house.simulator.validate(pk);
  const refusal = { ...RAO, reason: "not the same person" };
  expect((await house.call("POST", `/videoid/${videoidPk}/refuse`, refusal)).status).toBe(200);
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: { status: "CANCELLED", videoid_data: { status: "REFUSED", refusal_reason: "not the same person" } },
  });
});

test("a validation can bring the approval with it, without any call", async () => {
  const { pk } = await inReview({ validationLeadsTo: "ENROLLREADY" });
  house.simulator.validate(pk);
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
});

test("an operator and an officer of the provider do it all by themselves", async () => {
  const { pk } = await inReview({ humans: { operator: "auto", rao: "auto" } });
  await expect.poll(() => house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  expect(house.effects(pk)).toEqual(["create", "identify", "validate", "approve"]);
});

test("people outside the program validate, approve, refuse and cancel by the control calls", async () => {
  const { pk } = await inReview();
  const act = (what: string, body?: object) => house.call("POST", `/control/requests/${pk}/${what}`, body);
  expect((await act("approve")).status).toBe(409);
  expect(await act("validate")).toMatchObject({ status: 200, body: { status: "CREATED" } });
  expect(await act("approve")).toMatchObject({ status: 200, body: { status: "ENROLLREADY" } });
  expect((await act("refuse", { reason: "late" })).status).toBe(409);
  expect(await act("cancel")).toMatchObject({ status: 200, body: { status: "CANCELLED" } });
  expect((await house.call("POST", "/control/requests/1/cancel")).status).toBe(404);
});
