import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { samplePdf, startHouse, until } from "./house.ts";
import type { House } from "./house.ts";
import type { SimulatorOptions } from "../../src/simulator/index.ts";

type Notice = { event_type?: string; request: { pk: number; status: string }; certificates: unknown[] };
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function start(
  webhooks: SimulatorOptions["webhooks"] = {},
  answerAfterMs = 0,
): Promise<{ house: House; notices: Notice[] }> {
  const notices: Notice[] = [];
  const server = createServer((call, answer) => {
    let text = "";
    call.setEncoding("utf8").on("data", (piece: string) => (text += piece));
    call.on("end", () => {
      notices.push(JSON.parse(text) as Notice);
      setTimeout(() => answer.end(), answerAfterMs);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const house = await startHouse({ webhookUrl: `http://127.0.0.1:${port}/hook`, webhooks });
  closers.push(
    () => house.simulator.close(),
    () => (server.closeAllConnections(), new Promise((done) => server.close(done))),
  );
  return { house, notices };
}

test("each transition is announced once, with the certificate in the last one", async () => {
  const { house, notices } = await start({ concurrency: 1 });
  const { pk, secret } = await house.armed(await samplePdf());
  await house.call("POST", `/sign/${pk}`, { secret });
  await until("four notices", () => notices.length === 4);
  expect(notices.map((notice) => `${notice.event_type} ${notice.request.status}`)).toEqual([
    "REQUEST_CREATED VIDEOPENDING",
    "VIDEOID_UPDATED VIDEOREVIEW",
    "REQUEST_APPROVED ENROLLREADY",
    "REQUEST_ENROLLED ISSUED",
  ]);
  expect(notices[0]).toMatchObject({
    sent_at: expect.stringMatching(/^\d{14}$/),
    request: { pk, registration_authority: 44 },
    certificates: [],
  });
  expect(notices[3]?.certificates).toMatchObject([{ status: "VALID", serial_number: expect.any(String) }]);
});

test("the flat shape of the first generation can be chosen", async () => {
  const { house, notices } = await start({ shape: "old" });
  const { request_pk: pk } = await house.create();
  house.simulator.identify(pk, "incomplete");
  await until("two notices", () => notices.length === 2);
  expect(notices).toContainEqual({
    status: "VIDEOINCOMPLETE",
    previous_status: "VIDEOPENDING",
    request: pk,
    registration_authority: 44,
    date: expect.any(String),
  });
});

test("the nested shape can say what was before, in either place, and have its certificate alone", async () => {
  const { house, notices } = await start({ previousStatus: "beside", certificates: "object", concurrency: 1 });
  const { pk, secret } = await house.armed(await samplePdf());
  await house.call("POST", `/sign/${pk}`, { secret });
  await until("four notices", () => notices.length === 4);
  expect(notices[0]).not.toHaveProperty("previous_status");
  expect(notices[3]).toMatchObject({
    previous_status: "ENROLLREADY",
    request: expect.not.objectContaining({ previous_status: expect.anything() }),
    certificates: { status: "VALID", serial_number: expect.any(String) },
  });
  house.simulator.set({ webhooks: { previousStatus: "inside" } });
  await house.call("POST", `/control/requests/${pk}/certificate`, { status: "SUSPENDED" });
  await until("the certificate's notice", () => notices.length === 5);
  expect(notices[4]).toMatchObject({
    event_type: "CERTIFICATE_SUSPENDED",
    request: { status: "ISSUED", previous_status: "ISSUED" },
    certificates: { status: "SUSPENDED" },
  });
});

test("the validation of 2-step mode is announced", async () => {
  const { house, notices } = await start({ concurrency: 1 });
  house.simulator.set({ videoidMode: 2 });
  const { request_pk: pk } = await house.create();
  house.simulator.identify(pk, "complete");
  house.simulator.validate(pk);
  await until("three notices", () => notices.length === 3);
  expect(notices[2]).toMatchObject({ event_type: "VIDEOID_VALIDATED", request: { pk, status: "CREATED" } });
});

test("a slow receiver never delays an answer of the API", async () => {
  const { house, notices } = await start({}, 1_500);
  const startedAt = performance.now();
  for (let i = 0; i < 20; i++) await house.create();
  expect(performance.now() - startedAt).toBeLessThan(1_500);
  await until("a first notice", () => notices.length > 0);
});

test("notices can come twice, in the wrong order, or not at all", async () => {
  const twice = await start({ duplicate: true });
  await twice.house.create();
  await until("the notice twice", () => twice.notices.length === 2);

  const swapped = await start({ reorder: true, concurrency: 1 });
  const { request_pk: pk } = await swapped.house.create();
  swapped.house.simulator.identify(pk, "complete");
  await until("two notices", () => swapped.notices.length === 2);
  expect(swapped.notices.map((notice) => notice.event_type)).toEqual(["VIDEOID_UPDATED", "REQUEST_CREATED"]);

  const dropped = await start({ drop: 2 });
  for (let i = 0; i < 4; i++) await dropped.house.create();
  await until(
    "two of four",
    async () => ((await dropped.house.call("GET", "/_sim/webhooks")).body as { sent?: number }).sent === 2,
  );
  expect(dropped.notices).toHaveLength(2);
});

test("a notice that nobody takes is not sent again", async () => {
  const { house } = await start();
  house.simulator.set({ webhookUrl: "http://127.0.0.1:1/" });
  await house.create();
  await until(
    "one failure",
    async () => ((await house.call("GET", "/_sim/webhooks")).body as { failed?: number }).failed === 1,
  );
  expect((await house.call("GET", "/_sim/webhooks")).body).toEqual({ sent: 0, failed: 1, dropped: 0 });
});
