import { expect, test } from "vitest";
import { findKey, readBearer } from "../../src/producers/api/api-keys.ts";
import { readSession, toSession } from "../../src/producers/api/session.ts";

const ana = { name: "ana.ops", secret: "secret-a" };
const bob = { name: "bob", secret: "secret-b" };

test("a key is found by its secret alone", () => {
  expect(findKey([ana, bob], "secret-b")).toBe(bob);
  expect(findKey([ana, bob], "secret-")).toBeUndefined();
  expect(findKey([ana, bob], "")).toBeUndefined();
  expect(readBearer([ana], "Bearer secret-a")).toBe(ana);
  expect(readBearer([ana], "bearer  secret-a ")).toBe(ana);
  for (const header of [undefined, "", "secret-a", "Basic secret-a", "Bearer", "Bearer secret-a x"]) {
    expect(readBearer([ana], header)).toBeUndefined();
  }
});

test("a login is over when its time is", () => {
  const session = toSession(ana, 1_000);
  expect(readSession([bob, ana], session, 999)).toBe(ana);
  expect(readSession([bob, ana], session, 1_000)).toBeUndefined();
});

test("a login cannot be made, prolonged or passed to another key", () => {
  const [name = "", until = "", signature = ""] = toSession(ana, 1_000).split(".");
  const bobs = Buffer.from("bob").toString("base64url");
  const forged = [
    "",
    "..",
    `${name}.${until}`,
    `${name}.zzzzzz.${signature}`,
    `${bobs}.${until}.${signature}`,
    `${name}.${until}.${signature}x`,
    `${name}.${until}.${signature}.x`,
  ];
  for (const session of forged) expect(readSession([ana, bob], session, 0)).toBeUndefined();
  expect(readSession([{ ...ana, secret: "changed" }], toSession(ana, 1_000), 0)).toBeUndefined();
});
