import { stripVTControlCharacters } from "node:util";

/** A column of a table. */
export interface Column {
  title: string;
  /** What to do when the terminal is too narrow: cut this column's text, at the end or in the middle. */
  shrink?: "end" | "middle";
  align?: "right";
}

const GAP = "  ";
const LEAST_WIDTH = 8;
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/** Letters that take two columns. @source Unicode Standard Annex #11, East Asian Width W and F (main ranges) */
const WIDE =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u;

/** Columns that a text takes in a terminal; colours take none. */
export function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of graphemes.segment(stripVTControlCharacters(text))) width += WIDE.test(segment) ? 2 : 1;
  return width;
}

/** The text in at most `width` columns, with "…" where something was left out. Text in colour is not cut. */
export function cut(text: string, width: number, where: "end" | "middle" = "end"): string {
  if (widthOf(text) <= width) return text;
  const letters = [...graphemes.segment(text)].map(({ segment }) => segment);
  const take = (from: string[], room: number): string[] => {
    const taken: string[] = [];
    let used = 0;
    for (const letter of from) {
      used += widthOf(letter);
      if (used > room) break;
      taken.push(letter);
    }
    return taken;
  };
  if (where === "end")
    return `${take(letters, width - 1)
      .join("")
      .trimEnd()}…`;
  const tail = take(letters.toReversed(), Math.floor((width - 1) / 2)).toReversed();
  return `${take(letters, width - 1 - widthOf(tail.join(""))).join("")}…${tail.join("")}`;
}

function pad(text: string, width: number, align?: "right"): string {
  const room = " ".repeat(Math.max(width - widthOf(text), 0));
  return align === "right" ? room + text : text + room;
}

/**
 * Rows under their titles. When it is wider than `width`, the columns that may shrink share the loss, widest first;
 * without a width nothing is cut.
 */
export function renderTable(
  columns: Column[],
  rows: string[][],
  { width, title = (text) => text }: { width?: number | undefined; title?: (text: string) => string } = {},
): string[] {
  const widths = columns.map((column, i) =>
    Math.max(widthOf(column.title), ...rows.map((row) => widthOf(row[i] ?? ""))),
  );
  const total = () => widths.reduce((sum, one) => sum + one, 0) + GAP.length * (columns.length - 1);
  while (width !== undefined && total() > width) {
    const widest = columns
      .map(({ shrink }, i) => ({ i, width: shrink ? (widths[i] ?? 0) : 0 }))
      .reduce((a, b) => (b.width > a.width ? b : a));
    if (widest.width <= LEAST_WIDTH) break;
    widths[widest.i] = widest.width - 1;
  }
  const line = (cells: string[], finish: (text: string) => string) =>
    columns
      .map((column, i) => {
        const text = column.shrink ? cut(cells[i] ?? "", widths[i] ?? 0, column.shrink) : (cells[i] ?? "");
        return finish(pad(text, widths[i] ?? 0, column.align));
      })
      .join(GAP)
      .trimEnd();
  return [
    line(
      columns.map((column) => column.title),
      title,
    ),
    ...rows.map((row) => line(row, (text) => text)),
  ];
}
