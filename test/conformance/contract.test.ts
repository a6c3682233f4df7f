import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import { describe, expect, test } from "vitest";
import {
  ANSWERS,
  description,
  DESCRIPTION_PATH,
  fieldsOf,
  NOTIFICATION,
  objections,
  OPERATIONS,
  REQUESTS,
  REQUIRED,
} from "./contract.ts";
import type { Fields } from "./contract.ts";

const PROVIDER = readFileSync(new URL("../../docs/provider.md", import.meta.url), "utf8");
const section = (title: string): string => PROVIDER.split(`\n## ${title}\n`)[1]?.split("\n## ")[0] ?? "";

test("the description is valid OpenAPI 3.1", async () => {
  const { valid, errors } = await new Validator().validate(readFileSync(DESCRIPTION_PATH, "utf8"));
  expect(errors ?? []).toEqual([]);
  expect(valid).toBe(true);
});

test("it describes the calls that docs/provider.md lists, and no other", () => {
  const listed = [...section("Endpoints").matchAll(/^\| `([A-Z]+ [^`?]+)[^`]*` \|/gm)].map(([, call]) => call);
  const described = OPERATIONS.map(({ method, path }) => `${method} ${path}`);
  expect(new Set(described)).toEqual(new Set(listed));
});

test("everything in it says where it is known from, in the words of docs/provider.md", () => {
  const words = [...section("Sources").matchAll(/^\| \*\*(.+?)\*\* \|/gm)].map(([, word]) => word);
  expect(words.length).toBeGreaterThan(4);
  const told = fieldsOf(NOTIFICATION.schema).map(({ path, schema }) => [path, schema["x-source"]] as const);
  const marks = OPERATIONS.flatMap(({ id, source, body, parameters, responses }) => [
    [id, source] as const,
    ...parameters.map((one) => [`${id} ${one.name}`, (one as { "x-source"?: string[] })["x-source"]] as const),
    ...responses.map((one) => [`${id} ${one.status}`, one.source] as const),
    ...fieldsOf(body?.schema ?? {}).map(({ path, schema }) => [`${id} ${path}`, schema["x-source"]] as const),
    ...responses.flatMap(({ status, examples }) =>
      examples.flatMap(({ schema }) =>
        fieldsOf(schema).map((field) => [`${id} ${status} ${field.path}`, field.schema["x-source"]] as const),
      ),
    ),
  ]);
  expect(
    [...marks, ...told].filter(([, source]) => !source?.length || !source.every((word) => words.includes(word))),
  ).toEqual([]);
});

describe("its examples are what its schemas say", () => {
  test.each(ANSWERS.filter(({ documented }) => documented.type === "application/json"))(
    "$operation.id answers $documented.status $documented.name",
    ({ documented: { schema, value } }) => expect(objections(schema, value)).toEqual([]),
  );
  test.each(REQUESTS)("$operation.id is asked: $name", ({ operation, value }) =>
    expect(objections(operation.body?.schema ?? {}, value)).toEqual([]),
  );
});

test.each(Object.entries(NOTIFICATION.examples))("the notification %s is what its schema says", (_, value) =>
  expect(objections(NOTIFICATION.schema, value)).toEqual([]),
);

test("every field of a request is in one of its examples", () => {
  const has = (value: unknown, path: string): boolean =>
    path.split(".").reduce<unknown>((at, step) => (at as Fields | undefined)?.[step], value) !== undefined;
  const missing = OPERATIONS.flatMap(({ id, body }) =>
    fieldsOf(body?.schema ?? {})
      .filter(({ path }) => !Object.values(body?.examples ?? {}).some((value) => has(value, path)))
      .map(({ path }) => `${id} ${path}`),
  );
  expect(missing).toEqual([]);
});

test("it says what happens without each required field, and of no other", () => {
  const said = OPERATIONS.flatMap(({ id, body }) => Object.keys(body?.leftOut ?? {}).map((path) => `${id} ${path}`));
  expect(new Set(said)).toEqual(new Set(REQUIRED.map(({ operation, path }) => `${operation.id} ${path}`)));
});

test("it names no real host, person or account", () => {
  expect(description["openapi"]).toBe("3.1.0");
  expect(JSON.stringify(description)).not.toMatch(/uanataca\.com|namirial/i);
});
