import { readFileSync } from "node:fs";
import { afterEach, beforeAll, afterAll, describe, expect, test } from "vitest";
import { SCENARIO_NAMES, SCENARIOS } from "../../src/simulator/scenarios.ts";
import { changeFrom, choicesOf, namedSwitches } from "../../src/simulator/switches.ts";
import { RAO, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse({ otpGuardMs: 100 })));
afterEach(() => play());
afterAll(() => house.simulator.close());

const play = (...scenarios: string[]) => house.call("POST", "/control/scenarios", { scenarios });

test("every scenario can be played, and the next one begins where the simulator started", async () => {
  const { body: atStart } = await house.call("GET", "/control/settings");
  for (const name of SCENARIO_NAMES) {
    const { status, body } = await play(name);
    expect([name, status]).toEqual([name, 200]);
    const { settings, faults } = body as { settings?: unknown; faults?: unknown[] };
    expect([name, JSON.stringify(settings) !== JSON.stringify(atStart) || (faults ?? []).length > 0]).toEqual([
      name,
      true,
    ]);
  }
  await play();
  expect((await house.call("GET", "/control/settings")).body).toEqual(atStart);
  expect((await house.call("GET", "/control/faults")).body).toEqual([]);
});

test("scenarios are listed, refused when unknown, and put over one another", async () => {
  const { body } = await house.call("GET", "/control/scenarios");
  expect(body).toHaveLength(SCENARIO_NAMES.length);
  expect(body).toContainEqual(expect.objectContaining({ name: "two-step", says: SCENARIOS["two-step"].says }));
  expect((await play("no-such")).status).toBe(400);
  await play("two-step", "operator-approves");
  const more = await house.call("POST", "/control/scenarios", { scenarios: ["lost-webhooks"], over: true });
  expect(more.body).toMatchObject({
    settings: { videoidMode: 2, humans: { rao: "auto" }, webhooks: { drop: true } },
  });
});

test("a start can name scenarios, and what it says beside them is over them", async () => {
  const other = await startHouse({ scenarios: ["two-step", "slow-optimizer"], latencyMs: 0 });
  try {
    const { request_pk: pk, videoid_pk: videoidPk } = await other.create();
    other.simulator.identify(pk, "complete");
    expect((await other.call("POST", `/videoid/${videoidPk}/approve`, RAO)).status).toBe(412);
    expect((await other.call("GET", "/control/settings")).body).toMatchObject({ latencyMs: 0, videoidMode: 2 });
    await other.call("POST", "/control/scenarios", { scenarios: [] });
    expect((await other.call("GET", "/control/settings")).body).toMatchObject({ videoidMode: 1 });
  } finally {
    await other.simulator.close();
  }
});

describe("what scenarios do", () => {
  test("no-credits, wrong-rao and wrong-certificates refuse with the published words", async () => {
    await play("no-credits");
    expect((await house.call("POST", "/videoid", SIGNER)).body).toMatchObject({
      message: expect.stringContaining("remaining credit"),
    });
    await play("wrong-certificates");
    expect((await house.call("POST", "/videoid", SIGNER)).status).toBe(403);
    await play("wrong-rao");
    const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
    house.simulator.identify(pk, "complete");
    expect((await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).status).toBe(403);
  });

  test("expired-links closes the signer's page by the simulator's clock", async () => {
    await play("expired-links");
    const { request_pk: pk, videoid_link: link } = await house.create();
    expect((await fetch(link)).status).toBe(200);
    house.simulator.advanceClock(1001);
    const page = await fetch(link);
    expect(page.status).toBe(410);
    expect(await page.text()).toContain("This link has expired");
    await fetch(link, { method: "POST", body: new URLSearchParams({ outcome: "complete" }) });
    expect(house.simulator.identify(pk, "complete")).toBe(false);
    expect(house.simulator.statusOf(pk)).toBe("VIDEOPENDING");
  });

  test("short-codes makes a code void by the simulator's clock", async () => {
    await play("short-codes");
    const { pk, secret } = await house.armed(await samplePdf());
    house.simulator.advanceClock(1001);
    expect((await house.call("POST", `/sign/${pk}`, { secret })).status).toBe(403);
  });

  test("signers-dawdle takes its minute by the simulator's clock", async () => {
    await play("signers-dawdle");
    const { request_pk: pk } = await house.create();
    house.simulator.advanceClock(59_000);
    expect(house.simulator.statusOf(pk)).toBe("VIDEOPENDING");
    house.simulator.advanceClock(1000);
    expect(house.simulator.statusOf(pk)).toBe("VIDEOINCOMPLETE");
    house.simulator.advanceClock(60_000);
    expect(house.simulator.statusOf(pk)).toBe("VIDEOREVIEW");
  });

  test("lost-answers loses each answer once, and the work is done", async () => {
    await play("lost-answers");
    await expect(house.call("POST", "/videoid", SIGNER)).rejects.toThrow();
    expect(house.simulator.ledger.at(-1)?.effect).toBe("create");
    expect((await house.call("POST", "/videoid", SIGNER)).status).toBe(200);
  });

  test("first-generation has its envelopes under the newest paths", async () => {
    await play("first-generation");
    const { status, body } = await house.call("POST", "/videoid", SIGNER);
    expect([status, body]).toMatchObject([201, { status: "201 Created", details: { request_pk: expect.any(Number) } }]);
    expect(await house.call("GET", "/request/1")).toMatchObject({ status: 400, body: { status: "404 Not Found" } });
  });

  test("behind-a-proxy answers everything with a page", async () => {
    await play("behind-a-proxy");
    for (const path of ["/request/1", "/tokens", "/api/v1/hello"])
      expect((await house.call("GET", path)).headers.get("content-type")).toContain("text/html");
  });
});

test("a switch is set by its name, and what it may be is told", () => {
  expect(changeFrom("videoidMode=2")).toEqual({ videoidMode: 2 });
  expect(changeFrom("humans.signer=auto")).toEqual({ humans: { signer: "auto" } });
  expect(changeFrom("webhooks.drop=3")).toEqual({ webhooks: { drop: 3 } });
  expect(() => changeFrom("retrieval=other")).toThrow("retrieval must be one of `both`, `seed`, `reference`");
  expect(() => changeFrom("retreival=both")).toThrow('There is no switch "retreival"');
  expect(() => changeFrom("retrieval")).toThrow("name=value");
});

test("every switch says what it does and what it may be, and is what it says when nobody says otherwise", async () => {
  const fresh = await startHouse();
  try {
    const { body } = await fresh.call("GET", "/control/settings");
    for (const row of namedSwitches()) {
      const [first = "", second] = row.name.split(".");
      const value = (body as Record<string, unknown>)[first];
      expect([row.name, second === undefined ? value : (value as Record<string, unknown>)[second]]).toEqual([
        row.name,
        row.standard,
      ]);
      expect(row.says.length).toBeGreaterThan(8);
      expect(row.schema.safeParse(row.standard).success).toBe(true);
      expect(choicesOf(row)).not.toBe("");
    }
    expect((await fresh.call("GET", "/control/switches")).body).toHaveLength(namedSwitches().length);
  } finally {
    await fresh.simulator.close();
  }
});

test("what docs/simulator.md says about contradictions names switches that there are", () => {
  const text = readFileSync(new URL("../../docs/simulator.md", import.meta.url), "utf8");
  const section = text.slice(text.indexOf("## Where the published pages"), text.indexOf("## Signatures"));
  const answers = [...section.matchAll(/^\| .* \| (.*) \|$/gm)].map(([, answer = ""]) => answer);
  const named = answers.flatMap((answer) => [...answer.matchAll(/`([a-z][\w.]+)`/g)].map(([, name = ""]) => name));
  const names = namedSwitches().map(({ name }) => name);
  expect(named.length).toBeGreaterThan(15);
  expect(named.filter((name) => !names.includes(name))).toEqual([]);
});

test("a certificate is suspended, reactivated and revoked, and its list says so", async () => {
  const { pk, secret } = await house.armed(await samplePdf());
  await house.call("POST", `/sign/${pk}`, { secret });
  const change = async (status: string) =>
    (await house.call("POST", `/control/requests/${pk}/certificate`, { status })).status;
  expect(await change("VALID")).toBe(409);
  expect([await change("SUSPENDED"), await change("VALID"), await change("REVOKED")]).toEqual([200, 200, 200]);
  expect(await change("VALID")).toBe(409);
  const { certificate_set } = (await house.call("GET", `/request/${pk}`)).body.details as {
    certificate_set: [{ status: string; serial_number: string }];
  };
  expect(certificate_set[0].status).toBe("REVOKED");
  const list = Buffer.from(await (await fetch(`${house.simulator.origin}/control/ca.crl`)).arrayBuffer());
  expect(list.includes(Buffer.from(certificate_set[0].serial_number, "hex"))).toBe(true);
});

test("control calls are the same beside the pages", async () => {
  for (const path of ["health", "clock", "faults", "scenarios", "switches", "operations", "calls", "webhooks"])
    expect(Object.keys((await house.call("GET", `/_sim/${path}`)).body)).toEqual(
      Object.keys((await house.call("GET", `/control/${path}`)).body),
    );
});
