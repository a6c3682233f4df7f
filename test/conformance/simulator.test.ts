import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { standardsOf, SWITCHES } from "../../src/simulator/switches.ts";
import { startHouse } from "../simulator/house.ts";
import type { House } from "../simulator/house.ts";
import {
  ANSWERS,
  fieldsOf,
  objections,
  OPERATIONS,
  outline,
  plain,
  REQUESTS,
  REQUIRED,
  textOf,
  without,
} from "./contract.ts";
import type { Documented, Fields, Operation } from "./contract.ts";
import { beginsAs, fileOf } from "./files.ts";
import { READY, situationFor, situationsWithout } from "./situations.ts";
import type { Ready, Situation } from "./situations.ts";

const ERRORS = ANSWERS.filter(({ documented }) => documented.status >= 400);
const fieldCount = OPERATIONS.reduce((sum, { body }) => sum + fieldsOf(body?.schema ?? {}).length, 0);

let house: House;
beforeAll(async () => {
  house = await startHouse();
  process.stdout.write(
    `Conformance of the simulator: ${OPERATIONS.length} operations, ${REQUESTS.length} requests, ` +
      `${fieldCount} fields, ${REQUIRED.length} left out, ${ANSWERS.length} answers, ${ERRORS.length} of them errors\n`,
  );
});
afterEach(() => void house.simulator.set(standardsOf(SWITCHES)));
afterAll(() => house.simulator.close());

type Got = { status: number; type: string; bytes: Buffer; body: unknown };
type Sent = Pick<RequestInit, "body" | "headers">;

/** A body as the operation documents it; parts that stand for files become files. */
function sentAs({ body }: Operation, value: Fields): Sent {
  if (body?.type !== "multipart/form-data")
    return { body: JSON.stringify(value), headers: { "content-type": "application/json" } };
  const form = new FormData();
  for (const [name, part] of Object.entries(value as Record<string, string | undefined>)) {
    if (part === undefined) continue;
    const isFile = /^(file\d*|hashfile)$/.test(name) || body.schema.properties?.[name]?.contentMediaType !== undefined;
    if (!isFile) {
      form.append(name, part);
      continue;
    }
    const file = fileOf(part);
    form.append(name, new Blob([new Uint8Array(file.bytes)], { type: file.type }), file.name);
  }
  return { body: form };
}

async function send(operation: Operation, ids: Ready["ids"], sent: Sent, query = "signed"): Promise<Got> {
  const { simulator } = house;
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(ids[name]));
  const asked = operation.parameters.some((one) => one.in === "query") ? `?document_type=${query}` : "";
  const base = operation.generation === "first" ? simulator.firstUrl : simulator.url;
  const answer = await fetch(base + path + asked, { method: operation.method, ...sent });
  const bytes = Buffer.from(await answer.arrayBuffer());
  const type = (answer.headers.get("content-type") ?? "").split(";")[0] ?? "";
  const body: unknown = type === "application/json" ? JSON.parse(bytes.toString()) : undefined;
  return { status: answer.status, type, bytes, body };
}

/** An example of a request with what only the simulator knows in its place: code, image, scratchcard. */
function filled(example: Fields, { body: told = {} }: Ready): Fields {
  const { image, ...top } = told;
  const value = Object.fromEntries(Object.entries(example).map(([key, old]) => [key, top[key] ?? old]));
  const signature = value["signature"] as { appearance: Fields } | undefined;
  if (signature?.appearance["image"] === undefined || image === undefined) return value;
  return { ...value, signature: { appearance: { ...signature.appearance, image } } };
}

const exampleOf = ({ body }: Operation, name?: string): Fields =>
  (name === undefined ? Object.values(body?.examples ?? {})[0] : body?.examples[name]) ?? {};

/** Brings a situation about and makes the call. */
async function meet(operation: Operation, situation: Situation): Promise<Got> {
  const ready = await (situation.ready ?? READY[operation.id])?.(house);
  if (!ready) throw new Error(`Nobody has said what ${operation.id} needs`);
  house.simulator.set(situation.set ?? {});
  const ids = { ...ready.ids, ...situation.ids };
  const example = filled(exampleOf(operation, situation.request), ready);
  const json = { "content-type": "application/json" };
  const call = (): Promise<Got> => {
    if (situation.raw !== undefined) return send(operation, ids, { body: situation.raw, headers: json });
    if (!operation.body) return send(operation, ids, {}, situation.query);
    return send(operation, ids, sentAs(operation, situation.body?.(example) ?? example));
  };
  if (situation.twice) await call();
  return call();
}

function expectAnswer(got: Got, { status, type, schema, value }: Documented): void {
  expect({ status: got.status, type: got.type, body: got.body }).toMatchObject({ status, type });
  if (type !== "application/json") return expect(beginsAs(got.bytes, type)).toBe(true);
  expect(objections(schema, got.body)).toEqual([]);
  // Which finding a schema check has depends on what is wrong; where it is wrong does not.
  if (status === 422) expect(placeOf(got.body)[0]).toBe(placeOf(value)[0]);
  else expect(outline(got.body, status >= 400)).toEqual(outline(namedLike(got.body, value), status >= 400));
}

const placeOf = (body: unknown): unknown[] => (body as { detail: { loc: unknown[] }[] }).detail[0]?.loc ?? [];

/** An id that is made up for each answer has no other likeness than that it is one. */
function namedLike(got: unknown, value: unknown): unknown {
  const id = (got as Fields)["id"];
  return typeof (value as Fields)["id"] === "string" && typeof id === "string" ? { ...(value as Fields), id } : value;
}

describe("every documented answer is given", () => {
  test.each(ANSWERS)("$operation.id: $documented.status $documented.name", async ({ operation, documented }) =>
    expectAnswer(await meet(operation, situationFor(operation, documented)), documented),
  );
});

describe("every documented request is taken", () => {
  test.each(REQUESTS)("$operation.id: $name", async ({ operation, name }) => {
    const { status, body } = await meet(operation, { request: name });
    expect({ status, body }).toMatchObject({ status: 200 });
  });
});

describe("every required field is missed, with the documented answer", () => {
  test.each(REQUIRED)("$operation.id without $path ($name)", async ({ operation, name, path }) => {
    const got = await meet(operation, { request: name, body: (value) => without(value, path) });
    const [status, answer, named = path] = operation.body?.leftOut[path]?.split(" ") ?? [];
    const documented = ANSWERS.find(
      (one) =>
        one.operation === operation && one.documented.status === Number(status) && one.documented.name === answer,
    )?.documented;
    if (!documented) throw new Error(`${operation.id} does not document ${status} ${answer}`);
    expect({ status: got.status, body: got.body }).toMatchObject({ status: Number(status) });
    if (got.status === 422) {
      const finding = { type: "missing", loc: ["body", ...named.split(".")], msg: "Field required" };
      expect(got.body).toEqual({ detail: [finding] });
    } else if (answer === "required") {
      expect(textOf(got.body)).toEqual({ [path]: ["This field is required"] });
    } else expect(outline(got.body, true)).toEqual(outline(documented.value, true));
  });
});

describe("a required body of another type is refused, with a documented status", () => {
  test.each(OPERATIONS.filter(({ body }) => body?.required))("$id", async (operation) => {
    const ready = await READY[operation.id]?.(house);
    const headers = { "content-type": "text/plain" };
    const { status } = await send(operation, ready?.ids ?? {}, { body: "something else", headers });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(operation.responses.map((one) => one.status)).toContain(status);
  });
});

/** Errors whose text is in the envelope of the newest generation, which is one of several readings. */
const STYLED = ERRORS.filter(({ documented: { value } }) => (value as Fields)["status"] === "error");

describe.each(["status", "fastapi", "old", "upstream"] as const)("errors in the style %s", (errorStyle) => {
  test.each(STYLED)("$operation.id: $documented.status $documented.name", async ({ operation, documented }) => {
    const situation = situationFor(operation, documented);
    const got = await meet(operation, { ...situation, set: { ...situation.set, errorStyle } });
    expect({ status: got.status, body: got.body }).toMatchObject({ status: documented.status });
    expect(objections(documented.schema, got.body)).toEqual([]);
    expect(plain(String(textOf(got.body)))).toBe(plain(String(textOf(documented.value))));
  });
});

describe("every value of a parameter is taken", () => {
  const values = OPERATIONS.flatMap((operation) =>
    operation.parameters.flatMap(({ examples = {} }) =>
      Object.values(examples).map(({ value }) => ({ operation, value })),
    ),
  );
  test.each(values)("$operation.id: $value", async ({ operation, value }) =>
    expect((await meet(operation, { query: value })).status).toBe(200),
  );
  test("getDocument: no other", async () => {
    const operation = OPERATIONS.find(({ id }) => id === "getDocument") as Operation;
    expect((await meet(operation, { query: "any" })).status).toBe(422);
  });
});

test("no situation is left over from an answer that is not documented any more", () => {
  const named = ANSWERS.map(({ operation: { id }, documented: { status, name } }) => `${id} ${status} ${name}`);
  expect(new Set(named).size).toBe(named.length);
  expect(situationsWithout(new Set(named))).toEqual([]);
});
