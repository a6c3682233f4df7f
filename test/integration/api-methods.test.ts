import { expect, test } from "vitest";
import { AUTHORIZED, filePart, manifestPart, startApiHouse, submit, told } from "../helpers/api-house.ts";

interface Document {
  paths: Record<string, Record<string, object>>;
}

/** Every address of the OpenAPI document, with names in the place of what is in braces. */
async function startWithAll() {
  const house = await startApiHouse();
  const { id } = told(await submit(house.app, [manifestPart(), filePart()]));
  const { paths } = (await house.app.inject({ url: "/openapi.json" })).json<Document>();
  const all = Object.entries(paths).map(([path, item]) => ({
    url: path.replace("{id}", String(id)).replaceAll(/\{[^}]+\}/g, "1"),
    methods: Object.keys(item).map((name) => name.toUpperCase()),
  }));
  return { house, all };
}

/** It has no end, and so nothing that HEAD could tell of it. */
const isStream = (url: string) => url.endsWith("/events");

test("OPTIONS tells of every address which methods it takes, without a key", async () => {
  const { house, all } = await startWithAll();
  expect(all.length).toBeGreaterThan(30);
  for (const { url, methods } of all) {
    const answer = await house.app.inject({ method: "OPTIONS", url });
    expect([answer.statusCode, answer.body], url).toEqual([204, ""]);
    const allowed = String(answer.headers.allow).split(", ");
    expect(allowed, url).toEqual(expect.arrayContaining([...methods, "OPTIONS"]));
    if (methods.includes("GET") && !isStream(url)) expect(allowed, url).toContain("HEAD");
  }
});

test("HEAD is answered like GET, without the body, whether it succeeds or not; streams take none", async () => {
  const { house, all } = await startWithAll();
  expect(all.filter(({ url }) => isStream(url))).toHaveLength(2);
  for (const { url, methods } of all) {
    if (!methods.includes("GET")) continue;
    const head = await house.app.inject({ method: "HEAD", url, headers: AUTHORIZED });
    expect(head.body, url).toBe("");
    if (isStream(url)) {
      expect([head.statusCode, head.headers.allow], url).toEqual([405, "GET, OPTIONS"]);
      continue;
    }
    const get = await house.app.inject({ method: "GET", url, headers: AUTHORIZED });
    expect([head.statusCode, head.headers["content-type"]], url).toEqual([get.statusCode, get.headers["content-type"]]);
  }
});

test("whatever is refused is a problem document, for a browser and at an unknown address as well", async () => {
  const { house } = await startWithAll();
  const calls = [
    { method: "GET", url: "/v1/nothing", status: 404, code: "not-found" },
    { method: "GET", url: "/nothing", status: 404, code: "not-found" },
    { method: "DELETE", url: "/v1/requests", status: 405, code: "method-not-allowed" },
    { method: "PATCH", url: "/docs", status: 405, code: "method-not-allowed" },
    { method: "GET", url: "/v1/requests?state=no", status: 400, code: "invalid-request" },
    { method: "GET", url: "/v1/requests/%E0%A4%A", status: 400, code: "invalid-request" },
  ] as const;
  for (const { method, url, status, code } of calls) {
    for (const accept of ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8"]) {
      const answer = await house.app.inject({ method, url, headers: { ...AUTHORIZED, accept } });
      expect([answer.statusCode, answer.headers["content-type"]], url).toEqual([
        status,
        "application/problem+json; charset=utf-8",
      ]);
      expect(answer.json(), url).toMatchObject({ status, code, correlation_id: answer.headers["x-correlation-id"] });
    }
  }
});

test("the OpenAPI document names the Idempotency-Key at every call that takes one, with how its misuse is answered", async () => {
  const { house } = await startWithAll();
  interface Operation {
    operationId: string;
    parameters?: { name: string; in: string }[];
    responses: Record<string, object>;
  }
  const { paths } = (await house.app.inject({ url: "/openapi.json" })).json<{
    paths: Record<string, Record<string, Operation>>;
  }>();
  const keyed = Object.values(paths)
    .flatMap((item) => Object.values(item))
    .filter(({ parameters = [] }) => parameters.some((one) => one.name === "Idempotency-Key" && one.in === "header"));
  const acts = ["remindOf", "correct", "restart", "approve", "refuse", "cancel", "retry"].map((act) => `${act}Request`);
  expect(keyed.map(({ operationId }) => operationId).sort()).toEqual(
    [...acts, "giveCode", "resendCode", "submitRequest", "submitBatch"].sort(),
  );
  for (const { operationId, responses } of keyed) {
    expect(Object.keys(responses), operationId).toEqual(expect.arrayContaining(["202", "400", "422"]));
  }
});
