import fc from "fast-check";
import { expect, test } from "vitest";
import { readDictionary } from "../../src/files/pdf-syntax.ts";

test.each([
  ["<<>>", {}],
  ["<</A /B\0>>", { A: "/B" }],
  ["<< /A 1 /B /C >>", { A: "1", B: "/C" }],
  ["<</A<</B<</C 1>>>>/D 2>>", { A: "<</B<</C 1>>>>", D: "2" }],
  ["<</A(a \\) >> /X)/B(nested (>>) too)>>", { A: "(a \\) >> /X)", B: "(nested (>>) too)" }],
  ["<</A<3E3e>/B[/C(])]>>", { A: "<3E3e>", B: "[/C(])]" }],
  ["<</A 1 % a remark >> /X\n/B 2>>", { A: "1 % a remark >> /X", B: "2" }],
  ["<</#45ncrypt 5 0 R>>", { Encrypt: "5 0 R" }],
  ["<</A 1 0 R/A 2 0 R>>", { A: "2 0 R" }],
  ["<</A\0\t\f\r\n1\0>>", { A: "1" }],
  ["<</Empty()/True true/Null null>>", { Empty: "()", True: "true", Null: "null" }],
  ["<</A 1", undefined],
  ["<</A (", undefined],
  ["<</A <12", undefined],
  ["<</A ]>>", undefined],
  ["<<1 2>>", undefined],
  ["", undefined],
  ["<", undefined],
])("%s", (text, expected) => {
  const found = readDictionary(`before${text}`, 6);
  expect(found && Object.fromEntries(found)).toEqual(expected);
});

test("a hundred thousand levels are read without a stack", () => {
  const depth = 100_000;
  const text = `<</A ${"<<".repeat(depth)}${">>".repeat(depth)}/B 1>>`;
  expect(readDictionary(text, 0)?.get("B")).toBe("1");
  expect(readDictionary(`<</A ${"[".repeat(depth)}`, 0)).toBeUndefined();
});

/** A value as PDF writes it, and nothing that could be taken for something else. */
const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    fc.integer().map(String),
    fc.constantFrom("true", "null", "1 0 R", "/Name", "/Na#20me", "<00FF>"),
    fc
      .string({ maxLength: 10 })
      .map((text) => `(${text.replaceAll(/[\\()]/g, "\\$&").replaceAll(/[^\x20-\x7e]/g, "")})`),
    fc.array(tie("value"), { maxLength: 4 }).map((values) => `[ ${values.join(" ")} ]`),
    fc
      .array(fc.tuple(fc.constantFrom("K", "L", "Encrypt"), tie("value")), { maxLength: 3 })
      .map((entries) => `<< ${entries.map(([key, inner]) => `/${key} ${inner}`).join(" ")} >>`),
  ),
}));

test("what is written is read back, whatever is within the values", () => {
  const names = fc.uniqueArray(fc.stringMatching(/^[A-Za-z]{1,6}$/), { maxLength: 5 });
  fc.assert(
    fc.property(names, fc.array(value, { minLength: 5, maxLength: 5 }), fc.string(), (keys, values, behind) => {
      const text = `<< ${keys.map((key, n) => `/${key} ${values[n]}`).join("\n")} >>${behind}`;
      const expected = Object.fromEntries(keys.map((key, n) => [key, values[n]]));
      expect(Object.fromEntries(readDictionary(text, 0) ?? [])).toEqual(expected);
    }),
  );
});

test("any text gives a dictionary or nothing", () => {
  const piece = fc.constantFrom("<<", ">>", "[", "]", "(", ")", "<", ">", "/A", "%", "\n", "\\", " ", "1");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 80 }), (pieces) => {
      const found = readDictionary(`<<${pieces.join("")}`, 0);
      expect(found === undefined || found instanceof Map).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});
