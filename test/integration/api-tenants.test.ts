import { expect, test } from "vitest";
import {
  AUTHORIZED,
  filePart,
  freshId,
  KEY,
  MANIFEST,
  manifestPart,
  record,
  startApiHouse,
  submit,
  told,
} from "../helpers/api-house.ts";

const ACME = { name: "crm@acme", secret: "canary-acme-key-5d1", tenant: "acme" };
const OURS = { name: "office@default", secret: "canary-default-key-5d1", tenant: "default" };
const acme = { authorization: `Bearer ${ACME.secret}` };
const ours = { authorization: `Bearer ${OURS.secret}` };

async function startHouse() {
  const house = await startApiHouse({ keys: [KEY, ACME, OURS], queues: [] });
  const mine = record({ id: freshId(), facts: { tenant: "acme", documents: [] } });
  const theirs = record({ id: freshId(), facts: { tenant: "beta", documents: [] } });
  const nobodys = record({ id: freshId(), facts: { documents: [] } });
  for (const one of [mine, theirs, nobodys]) house.records.set(one.id, one);
  return { ...house, mine: mine.id, theirs: theirs.id, nobodys: nobodys.id };
}

test("every call about a request of another tenant is answered as if there were none, and reaches nobody", async () => {
  const house = await startHouse();
  const document = told<{ paths: Record<string, object> }>(await house.app.inject({ url: "/openapi.json" }));
  const calls = Object.entries(document.paths).flatMap(([path, item]) =>
    path.startsWith("/v1/requests/{id}") ? Object.keys(item).map((method) => [method, path] as const) : [],
  );
  expect(calls.length).toBeGreaterThan(9);
  for (const id of [house.theirs, house.nobodys, freshId(), "x"]) {
    for (const [method, path] of calls) {
      const url = path.replace("{id}", id).replace("{n}", "1");
      const answer = await house.app.inject({ method: method.toUpperCase() as "GET", url, headers: acme });
      expect([answer.statusCode, told(answer).code], `${method} ${url}`).toEqual([404, "no-such-request"]);
    }
  }
  expect(new Set(house.calls.map(([name]) => name))).toEqual(new Set(["find"]));
});

test("a key for a tenant reads and acts on that tenant's requests; one for the default tenant on those that name none", async () => {
  const house = await startHouse();
  for (const [headers, id] of [
    [acme, house.mine],
    [ours, house.nobodys],
    [AUTHORIZED, house.theirs],
  ] as const) {
    expect((await house.app.inject({ url: `/v1/requests/${id}`, headers })).statusCode).toBe(200);
    const act = await house.app.inject({ method: "POST", url: `/v1/requests/${id}/approve`, headers });
    expect(act.statusCode).toBe(202);
  }
  expect(
    told<{ tenant: string }>(await house.app.inject({ url: `/v1/requests/${house.mine}`, headers: acme })).tenant,
  ).toBe("acme");
  const decided = house.calls.filter(([name]) => name === "approve");
  expect(decided.map(([, , by]) => by)).toEqual(["api:crm@acme", "api:office@default", "api:crm"]);
});

test("lists are of the key's tenant, whatever is asked for", async () => {
  const house = await startHouse();
  await house.app.inject({ url: "/v1/requests?tenant=beta", headers: acme });
  await house.app.inject({ url: "/v1/requests?tenant=beta", headers: AUTHORIZED });
  await house.app.inject({ url: "/v1/requests", headers: AUTHORIZED });
  const asked = house.calls.filter(([name]) => name === "list").map(([, options]) => options);
  expect(asked).toEqual([{ limit: 50, tenant: "acme" }, { limit: 50, tenant: "beta" }, { limit: 50 }]);
});

test("what a key for a tenant hands in is that tenant's; another is refused, and nothing is stored", async () => {
  const house = await startHouse();
  expect((await submit(house.app, [manifestPart(), filePart()], acme)).statusCode).toBe(202);
  expect((await submit(house.app, [manifestPart({ ...MANIFEST, tenant: "acme" }), filePart()], acme)).statusCode).toBe(
    202,
  );
  const stored = await house.stored();
  const refused = await submit(house.app, [manifestPart({ ...MANIFEST, tenant: "beta" }), filePart()], acme);
  expect([refused.statusCode, told(refused).code]).toEqual([403, "not-for-this-key"]);
  expect(await house.stored()).toEqual(stored);
  expect((await submit(house.app, [manifestPart({ ...MANIFEST, tenant: "beta" }), filePart()])).statusCode).toBe(202);
  expect(house.submissions.map(({ tenant }) => tenant)).toEqual(["acme", "acme", "beta"]);
});

test.each([
  ["GET", "/v1/lanes"],
  ["POST", "/v1/lanes/resume"],
  ["GET", "/metrics"],
] as const)("%s %s, which is about everybody, is not for a key for a tenant", async (method, url) => {
  const house = await startHouse();
  const answer = await house.app.inject({ method, url, headers: acme });
  expect([answer.statusCode, told(answer).code]).toEqual([403, "not-for-this-key"]);
  expect((await house.app.inject({ method, url, headers: AUTHORIZED })).statusCode).toBe(200);
});

test("the board, which shows everybody's jobs, is not for a key for a tenant", async () => {
  const house = await startHouse();
  const logIn = (key: string) =>
    house.app.inject({
      method: "POST",
      url: "/queues/login",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      payload: new URLSearchParams({ key }).toString(),
    });
  expect((await logIn(ACME.secret)).statusCode).toBe(401);
  expect((await logIn(KEY.secret)).statusCode).toBe(303);
});
