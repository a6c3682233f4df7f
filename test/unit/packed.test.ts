import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { pack, packedMark, unpack } from "../../src/queues/packed.ts";

const ID = "req-00z6mxqt0fys1e55y9hv5raycq";
const JSON_TEXT = JSON.stringify({
  id: ID,
  facts: { documents: [{ name: 'Ångström | "z1:".pdf' }] },
  mark: "-aQlQL4P",
});
const HISTORY = ["0|n|create|q|bench|submitted", "1z|i|create|u||create", "4sr|d|cleanup|done"];

test("what was packed is the same when it is unpacked, history and all", () => {
  const text = pack(ID, "-aQlQL4P", JSON_TEXT, HISTORY);
  expect(text.startsWith(packedMark("-aQlQL4P"))).toBe(true);
  expect(text).not.toContain("|"); // which separates the fields of a record
  expect(unpack(ID, text)).toEqual({ json: JSON_TEXT, history: HISTORY });
});

test("a record that is not packed is left as it is", () => {
  expect(unpack(ID, JSON_TEXT)).toEqual({ json: JSON_TEXT });
});

test("what this version packed can be read for ever: its words do not change", () => {
  const words = readFileSync(new URL("../../src/queues/done-words.txt", import.meta.url));
  expect(createHash("sha256").update(words).digest("hex")).toBe(
    "65a7762358917dca26d4aaf4dd9ebaa9ef375e9c37c2e4d3e0b961c65541eab8",
  );
  expect(
    unpack(
      ID,
      "z1:-aQlQL4P:Q8pCuBXhzhhQfx1uzUsvLik6vC1XoUYhRqnK0CoGkh1qY2vhLtFNDMwJ9DEJUKrlMkAuupJS85IzkIotwypsBZdJcRFa9gcA",
    ),
  ).toEqual({ json: JSON_TEXT, history: HISTORY });
});

test.each(["z1:-aQlQL4P:", "z1:-aQlQL4P:AAAA", "z1:"])("damage is told, and is no empty record: %s", (text) => {
  expect(() => unpack(ID, text)).toThrow(expect.objectContaining({ code: "record-damaged" }));
});
