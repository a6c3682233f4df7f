import { styleText } from "node:util";
import { expect, test } from "vitest";
import { cut, renderTable, widthOf } from "../../src/cli/table.ts";
import { spell, visible } from "../../src/cli/terminal.ts";

test("colours take no room, wide letters take two columns, and an accent belongs to its letter", () => {
  expect(widthOf(styleText("red", "abc", { validateStream: false }))).toBe(3);
  expect(widthOf("契約.pdf")).toBe(8);
  expect(widthOf("e\u0301")).toBe(1);
});

test("a text that is too long is cut where the column says, and never wider than it may be", () => {
  expect(cut("a long reference", 8)).toBe("a long…");
  expect(cut("a-long-reference", 9, "middle")).toBe("a-lo…ence");
  expect(widthOf(cut("契約契約契約", 5))).toBeLessThanOrEqual(5);
  expect(cut("short", 5)).toBe("short");
});

test("a table fits the terminal by cutting the columns that may be cut, widest first", () => {
  const columns = [
    { title: "ID" },
    { title: "NAME", shrink: "end" as const },
    { title: "AGE", align: "right" as const },
  ];
  const rows = [["req-1", "a name that goes on and on and on", "3 s"]];
  const lines = renderTable(columns, rows, { width: 30 });
  expect(lines).toEqual(["ID     NAME                AGE", "req-1  a name that goes…   3 s"]);
  expect(Math.max(...lines.map(widthOf))).toBeLessThanOrEqual(30);
});

test("without a terminal nothing is cut, so that a script sees everything", () => {
  const lines = renderTable([{ title: "NAME", shrink: "end" }], [["x".repeat(300)]]);
  expect(lines[1]).toBe("x".repeat(300));
});

test("text from elsewhere cannot steer the terminal or turn the writing round", () => {
  expect(visible("a\u001b[2Jb\u202ecod.exe\nc")).toBe("a [2Jb cod.exe c");
});

test("times are told as people tell them", () => {
  expect([800, 12_300, 240_000, 7_200_000, 3 * 86_400_000].map(spell)).toEqual([
    "0.8 s",
    "12 s",
    "4 min",
    "2 h",
    "3 d",
  ]);
});
