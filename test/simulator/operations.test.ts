import { request } from "undici";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { BASE_PATHS, formsOf, OPERATIONS } from "../../src/simulator/operations.ts";
import type { Generation, OperationName } from "../../src/simulator/operations.ts";
import { startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse({ settingsApi: true })));
afterEach(() => house.simulator.clearFaults());
afterAll(() => house.simulator.close());

type Form = { name: OperationName; generation: Generation; method: string; url: string };

const FORMS: Form[] = (Object.keys(OPERATIONS) as OperationName[]).flatMap((name) =>
  (["newest", "first"] as const).flatMap((generation) =>
    formsOf(name, generation).map((form) => ({ name, generation, ...form })),
  ),
);

/** An address of a form, with numbers that nobody has. */
const addressOf = ({ generation, url }: Form): string =>
  house.simulator.origin + BASE_PATHS[generation] + url.replaceAll(/:\w+/g, "7");

async function ask(form: Form) {
  const method = form.method as "GET" | "POST" | "PUT" | "DELETE";
  const answer = await request(addressOf(form), { method, headersTimeout: 2000 });
  return { status: answer.statusCode, body: await answer.body.text() };
}

/** The calls of the published description of the newest generation. */
const PUBLISHED =
  "POST /videoid, POST /videoid/{videoid_pk}/approve, POST /videoid/{videoid_pk}/refuse, " +
  "POST /videoid/{videoid_pk}/evidences, POST /videoid/{videoid_pk}/video, GET /videoid/{videoid_pk}/video, " +
  "POST /create, GET /request/{request_pk}, PUT /request/{request_pk}, DELETE /request/{request_pk}, " +
  "POST /document/{request_pk}, DELETE /document/{request_pk}, GET /document/{request_pk}/signed/{document_uid}, " +
  "GET /document/{request_pk}/{document_uid}, DELETE /document/{request_pk}/{document_uid}, " +
  "GET /contract/{request_pk}, POST /otp/{request_pk}, POST /sign/{request_pk}, POST /token, " +
  "GET /token/{token_uid}, DELETE /token/{token_uid}, GET /tokens, POST /image, GET /image/{image_uid}, " +
  "DELETE /image/{image_uid}, GET /images, DELETE /images";

test("every call of the newest generation is served", () => {
  const all: { newest?: readonly string[]; says: string }[] = Object.values(OPERATIONS);
  const served = all.flatMap(({ newest = [] }) => newest);
  expect(PUBLISHED.split(", ").filter((call) => !served.includes(call))).toEqual([]);
});

describe.each(FORMS)("$generation $method $url ($name)", (form) => {
  test("reaches its operation and is counted there", async () => {
    const before = house.simulator.calls.get(form.name) ?? 0;
    const { status, body } = await ask(form);
    expect(house.simulator.calls.get(form.name)).toBe(before + 1);
    expect(status).not.toBe(405);
    expect(body).not.toContain('"detail":"Not Found"');
    expect(body).not.toContain("Internal error");
  });

  test("can fail before its work, be cut off, and be answered by a proxy", async () => {
    for (const kind of ["status-before", "rate-limit", "html", "validation"] as const) {
      house.simulator.fault({ operation: form.name, kind });
      const { status } = await ask(form);
      expect([kind, status]).toEqual([
        kind,
        { "status-before": 503, "rate-limit": 429, html: 502, validation: 500 }[kind],
      ]);
    }
    house.simulator.fault({ operation: form.name, kind: "reset-before" });
    await expect(ask(form)).rejects.toThrow();
    house.simulator.fault({ operation: form.name, kind: "reset-after" });
    await expect(ask(form)).rejects.toThrow();
    expect((await ask(form)).status).toBeLessThan(501);
  });
});

test("a fault of an operation that there is not is refused, and the operations can be asked for", async () => {
  expect(await house.call("POST", "/control/faults", { operation: "singe", kind: "hang" })).toMatchObject({
    status: 400,
    body: { error: expect.stringContaining("No such operation") },
  });
  expect((await house.call("GET", "/control/operations")).body).toMatchObject({
    sign: { newest: ["POST /sign/{request_pk}"] },
  });
});
