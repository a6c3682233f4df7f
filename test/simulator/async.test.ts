import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { samplePdf, startHouse, until } from "./house.ts";
import type { House, Uploaded } from "./house.ts";

type Notice = { path: string; event_type: string; request: { pk: number; status: string } };

let house: House;
let origin = "";
const notices: Notice[] = [];
const server = createServer((call, answer) => {
  let text = "";
  call.setEncoding("utf8").on("data", (piece: string) => (text += piece));
  call.on("end", () => {
    notices.push({ path: call.url ?? "", ...(JSON.parse(text) as Omit<Notice, "path">) });
    answer.end();
  });
});

beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  house = await startHouse({ webhookUrl: `${origin}/usual`, webhooks: { concurrency: 1 } });
});
afterEach(() => house.simulator.set({ asyncChecks: "before", asyncOutcome: "signed", callback: "instead" }));
afterAll(async () => {
  await house.simulator.close();
  server.close();
});

/** An asynchronous request with a document and a code. */
async function armed(): Promise<{ pk: number; uid: string; secret: string }> {
  const pk = await house.classicPk({ useasync: "true", callback: `${origin}/callback` });
  const { body } = await house.upload(pk, { file: await samplePdf() });
  await house.call("POST", `/otp/${pk}`);
  const { uid } = (body as { detail: Uploaded }).detail;
  return { pk, uid, secret: house.simulator.codeOf(pk) ?? "" };
}

const noticesOf = (pk: number) =>
  notices.filter(({ request }) => request.pk === pk).map(({ path, request }) => `${path} ${request.status}`);
const signedStatus = async (pk: number, uid: string) =>
  (await house.call("GET", `/document/${pk}/signed/${uid}`)).status;

test("signing is answered at once, done later, and told to the callback alone", async () => {
  const { pk, uid, secret } = await armed();
  expect(await house.call("POST", `/sign/${pk}`, { secret })).toMatchObject({
    status: 200,
    body: { message: "Your documents are going to be signed. You will receive them in a few seconds" },
  });
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  expect(await signedStatus(pk, uid)).toBe(404);
  expect((await house.call("POST", `/sign/${pk}`, { secret })).status).toBe(412);
  house.simulator.advanceClock(2000);
  await until("ISSUED", () => house.simulator.statusOf(pk) === "ISSUED");
  expect(await signedStatus(pk, uid)).toBe(200);
  await until("the last notice", () => noticesOf(pk).length === 3);
  expect(noticesOf(pk)).toEqual(["/callback CREATED", "/callback ENROLLREADY", "/callback ISSUED"]);
  expect(house.effects(pk)).toEqual([
    "create",
    "approve",
    "upload",
    "otp",
    "sign-accepted",
    "sign-rejected",
    "sign",
    "download-signed",
  ]);
});

test("the callback can come beside the usual address, or not at all", async () => {
  house.simulator.set({ callback: "beside" });
  const one = await armed();
  await until("four notices", () => noticesOf(one.pk).length === 4);
  expect(new Set(noticesOf(one.pk).map((line) => line.split(" ")[0]))).toEqual(new Set(["/usual", "/callback"]));
  house.simulator.set({ callback: "ignored" });
  const two = await armed();
  await until("two notices", () => noticesOf(two.pk).length === 2);
  expect(noticesOf(two.pk).every((line) => line.startsWith("/usual"))).toBe(true);
});

test("a wrong code is refused before the answer, or found behind it and told to nobody", async () => {
  const { pk, secret } = await armed();
  expect((await house.call("POST", `/sign/${pk}`, { secret: "wrong" })).status).toBe(403);
  house.simulator.set({ asyncChecks: "behind" });
  expect((await house.call("POST", `/sign/${pk}`, { secret: "wrong" })).status).toBe(200);
  house.simulator.advanceClock(2000);
  await until("the failure", () => house.effects(pk).includes("sign-failed"));
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  expect(noticesOf(pk)).toHaveLength(2);
  expect((await house.call("POST", `/sign/${pk}`, { secret })).status).toBe(200);
  house.simulator.advanceClock(2000);
  await until("ISSUED", () => house.simulator.statusOf(pk) === "ISSUED");
});

test("background signing can end in nothing, or in a cancelled request", async () => {
  house.simulator.set({ asyncOutcome: "silent" });
  const one = await armed();
  await house.call("POST", `/sign/${one.pk}`, { secret: one.secret });
  house.simulator.advanceClock(2000);
  await until("the failure", () => house.effects(one.pk).at(-1) === "sign-failed");
  expect(house.simulator.statusOf(one.pk)).toBe("ENROLLREADY");
  house.simulator.set({ asyncOutcome: "cancelled" });
  await house.call("POST", `/sign/${one.pk}`, { secret: one.secret });
  house.simulator.advanceClock(2000);
  await until("the end", () => house.simulator.statusOf(one.pk) === "CANCELLED");
  await until("the notice of it", () => noticesOf(one.pk).includes("/callback CANCELLED"));
});

test("a request that was cancelled while its signing waited is not signed", async () => {
  const { pk, secret } = await armed();
  await house.call("POST", `/sign/${pk}`, { secret });
  expect((await house.call("DELETE", `/request/${pk}`)).status).toBe(200);
  house.simulator.advanceClock(2000);
  await until("the failure", () => house.effects(pk).includes("sign-failed"));
  expect(house.effects(pk)).not.toContain("sign");
});

test("a callback without useasync is no asynchronous request", async () => {
  const created = await house.classic({ callback: `${origin}/callback` });
  expect(created.body.details).toMatchObject({ asyncmode: false });
});
