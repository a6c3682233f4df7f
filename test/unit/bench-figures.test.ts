import { expect, test } from "vitest";
import { type Figure, judge, toMarkdown, toPlain, toRows } from "../../bench/figures.ts";

const RATIO: Figure = {
  bench: "b",
  what: "Speed",
  value: "mine",
  reference: "theirs",
  judged: "ratio",
  unit: "/s",
  better: "more",
  must: 0.5,
  aim: 0.9,
};
const SIZE: Figure = {
  bench: "b",
  what: "Size",
  value: "bytes",
  unit: "bytes",
  better: "less",
  must: 2_000,
  aim: 1_000,
};

/** Nothing is asked for. */
const { must: _, ...WISH } = RATIO;
const { aim: __, ...COMPARISON } = WISH;

test.each([
  [WISH, { ratio: 0.9 }, "aim reached"],
  [WISH, { ratio: 0.89 }, "aim missed"],
  [WISH, {}, "not measured"],
  [COMPARISON, { ratio: 0.1 }, "for comparison"],
  [RATIO, { ratio: 0.9 }, "aim reached"],
  [RATIO, { ratio: 0.5 }, "must reached"],
  [RATIO, { ratio: 0.49 }, "MISSED"],
  [SIZE, { bytes: 1_000 }, "aim reached"],
  [SIZE, { bytes: 2_000 }, "must reached"],
  [SIZE, { bytes: 2_001 }, "MISSED"],
  [SIZE, {}, "not measured"],
  [SIZE, undefined, "not measured"],
])("%o with %o: %s", (figure, measured, verdict) => {
  expect(judge(figure, measured)).toBe(verdict);
});

test("the table shows what was measured, beside what, and what was not", () => {
  const rows = toRows([RATIO, SIZE], new Map([["b", { mine: 412.34, theirs: 1_700, ratio: 0.2426 }]]));
  expect(rows).toEqual([
    ["Figure", "Measured", "Reference", "Ratio", "Must", "Aim", ""],
    ["Speed", "412 /s", "1,700 /s", "0.243", "≥ 0.5", "≥ 0.9", "MISSED"],
    ["Size", "–", "", "", "≤ 2,000", "≤ 1,000", "not measured"],
  ]);
  expect(toMarkdown(rows).split("\n")[2]).toBe("| Speed | 412 /s | 1,700 /s | 0.243 | ≥ 0.5 | ≥ 0.9 | MISSED |");
  expect(toPlain(rows).split("\n")[2]).toBe("Size    –                           ≤ 2,000  ≤ 1,000  not measured");
});
