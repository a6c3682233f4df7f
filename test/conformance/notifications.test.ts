import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { standardsOf, WEBHOOK_SWITCHES } from "../../src/simulator/switches.ts";
import type { SwitchChange } from "../../src/simulator/switches.ts";
import { readNotification } from "../../src/producers/api/notification.ts";
import { samplePdf, startHouse, until } from "../simulator/house.ts";
import type { House } from "../simulator/house.ts";
import { NOTIFICATION, objections, outline } from "./contract.ts";
import type { Fields } from "./contract.ts";

const { examples, schema } = NOTIFICATION;
const NESTED = Object.keys(examples).filter((name) => examples[name]?.["event_type"] === name);

let house: House;
let heard: Fields[] = [];
const receiver = createServer((request, response) => {
  void json(request).then((body) => {
    heard.push(body as Fields);
    response.end();
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const webhookUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
  house = await startHouse({ webhookUrl });
});
afterAll(async () => {
  await house.simulator.close();
  receiver.close();
});

/** A request from its creation to its signature, and what was told of it. */
async function heardOf(webhooks: SwitchChange["webhooks"]): Promise<Fields[]> {
  heard = [];
  house.simulator.set({ webhooks: { ...standardsOf(WEBHOOK_SWITCHES), ...webhooks } });
  const { pk, secret } = await house.armed(await samplePdf());
  await house.call("POST", `/sign/${pk}`, { secret });
  await until("four notifications", () => heard.length >= 4);
  return heard;
}

describe("the simulator notifies as it is documented", () => {
  test("in the newest generation, event by event", async () => {
    const told = await heardOf({});
    expect(told.flatMap((one) => objections(schema, one))).toEqual([]);
    expect(told.map((one) => one["event_type"]).toSorted()).toEqual(NESTED.toSorted());
    for (const one of told) expect(outline(one, false)).toEqual(outline(examples[String(one["event_type"])], false));
  });
  test.each([
    ["dated", { date: "beside", previousStatus: "beside" }],
    ["previousInside", { previousStatus: "inside" }],
  ] as const)("in the newest, with what may also be there: %s", async (name, webhooks) => {
    const told = await heardOf(webhooks);
    expect(told.flatMap((one) => objections(schema, one))).toEqual([]);
    const review = told.find((one) => (one["request"] as Fields)["status"] === "VIDEOREVIEW");
    expect(outline(review, false)).toEqual(outline(examples[name], false));
  });
  test("in the first", async () => {
    const told = await heardOf({ shape: "old" });
    expect(told.flatMap((one) => objections(schema, one))).toEqual([]);
    const review = told.find((one) => one["status"] === "VIDEOREVIEW");
    expect(outline(review, false)).toEqual(outline(examples["flat"], false));
  });
});

test.each(Object.entries(examples))("we read the request out of the notification %s", (_, value) =>
  expect(readNotification(Buffer.from(JSON.stringify(value)))).toBe(91502),
);
