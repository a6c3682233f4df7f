import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/core/errors.ts";
import { readTable } from "../../src/producers/batch/table.ts";
import { decode, delimiterOf, encodingOf } from "../../src/producers/batch/text.ts";

async function read(bytes: Uint8Array): Promise<string[][]> {
  const rows: string[][] = [];
  for await (const { cells } of readTable(bytes)) rows.push(cells);
  return rows;
}

async function refusal(bytes: Uint8Array): Promise<string> {
  try {
    await read(bytes);
  } catch (error) {
    if (isFailure(error, "table-unreadable")) return error.message;
    throw error;
  }
  return "it was read";
}

/** What TextEncoder does not write. @source WHATWG Encoding Standard, index windows-1252 */
const IN_1252: Record<string, number> = { "€": 0x80, "…": 0x85, "–": 0x96, "’": 0x92, œ: 0x9c };

const ENCODERS: Record<string, (text: string) => Buffer> = {
  "UTF-8": (text) => Buffer.from(text),
  "UTF-8 with a mark": (text) => Buffer.from(`\ufeff${text}`),
  "UTF-16, little end first, with a mark": (text) => Buffer.from(`\ufeff${text}`, "utf16le"),
  "UTF-16, big end first, with a mark": (text) => Buffer.from(`\ufeff${text}`, "utf16le").swap16(),
  "UTF-16 without a mark": (text) => Buffer.from(text, "utf16le"),
  "Windows-1252": (text) => Buffer.from([...text].map((letter) => IN_1252[letter] ?? letter.charCodeAt(0))),
};

/** As the spreadsheets of offices in several countries save it. */
const TABLES: Record<string, string> = {
  "commas, as in English": 'files,given_name,note\r\nlease.pdf,José,"Calle Mayor 5, 2º"\r\n',
  "semicolons, as in Spanish and German": 'files;given_name;note\r\nlease.pdf;José;"Calle Mayor 5, 2º"\r\n',
  "tabs, as saved as text": 'files\tgiven_name\tnote\r\nlease.pdf\tJosé\t"Calle Mayor 5, 2º"\r\n',
  bars: 'files|given_name|note\nlease.pdf|José|"Calle Mayor 5, 2º"\n',
  "a first line that says what separates": 'sep=;\r\nfiles;given_name;note\r\nlease.pdf;José;"Calle Mayor 5, 2º"\r\n',
  "no line end at the end": 'files,given_name,note\nlease.pdf,José,"Calle Mayor 5, 2º"',
  "line ends of old Macs": 'files,given_name,note\rlease.pdf,José,"Calle Mayor 5, 2º"\r',
  "empty columns and rows at the end":
    'files;given_name;note;;\r\nlease.pdf;José;"Calle Mayor 5, 2º";;\r\n;;;;\r\n\r\n',
  "spaces around, some of which do not break":
    'files ;\u00a0given_name;note\r\nlease.pdf; José\u00a0;"Calle Mayor 5, 2º"\r\n',
  "text made sure of": 'files;given_name;note\r\nlease.pdf;"=""José""";"Calle Mayor 5, 2º"\r\n',
};

describe.each(Object.entries(ENCODERS))("a table in %s reads the same", (_encoding, encode) => {
  test.each(Object.entries(TABLES))("with %s", async (_name, text) => {
    expect(await read(encode(text))).toEqual([
      ["files", "given_name", "note"],
      ["lease.pdf", "José", "Calle Mayor 5, 2º"],
    ]);
  });
});

test("rows are counted as the spreadsheet counts: one with line ends in a cell is one, an empty one is one", async () => {
  const rows: number[] = [];
  const text = 'sep=,\r\nfiles,note\r\n"a.pdf","two\r\nlines"\r\n\r\n,,\r\nb.pdf,\r\n';
  for await (const { row } of readTable(Buffer.from(text))) rows.push(row);
  expect(rows).toEqual([1, 2, 5]);
});

test("what Windows-1252 has and Latin-1 has not", () => {
  const bytes = Buffer.from([0x80, 0x20, 0x92, 0x20, 0xf1]);
  expect([encodingOf(bytes), decode(bytes)]).toEqual(["windows-1252", "€ ’ ñ"]);
});

test("what separates is looked for outside of quotes, in the header", () => {
  expect(delimiterOf('"a;b;c;d",e\nx;y;z;w')).toEqual({ delimiter: ",", from: 0 });
  expect(delimiterOf("files\nx;y").delimiter).toBe(",");
});

test.each([
  ["a workbook", Buffer.from("504b030414000600", "hex"), "save it as CSV UTF-8"],
  ["a workbook of before 2007", Buffer.from("d0cf11e0a1b11ae100", "hex"), "save it as CSV UTF-8"],
  ["UTF-8 that breaks off", Buffer.from("efbbbf61c3", "hex"), "save it as CSV UTF-8"],
  ["a quote that is never closed", Buffer.from('files,note\na.pdf,"x\nb.pdf,y'), "row 2 on: it begins with a quote"],
  ["a quote in the middle", Buffer.from('files,note\na.pdf,5" pipe\n'), "row 2 on: it has a quote inside"],
])("%s is refused with what to do", async (_name, bytes, says) => {
  expect(await refusal(bytes)).toContain(says);
});

const letters = fc.string({ unit: fc.constantFrom(..."aZ0ñéü€’ ,;|\t\"'\r\n=+-@.".split("")), maxLength: 12 });
/** Cells keep neither the spaces around them nor what keeps a spreadsheet from calculating: those are read as meant. */
const cells = letters.filter((text) => text === text.trim() && !/^="|^sep=/i.test(text));

test("any table reads back, whatever separates, quotes and encodes it", async () => {
  const table = fc.array(fc.array(cells, { minLength: 2, maxLength: 5 }), { minLength: 1, maxLength: 6 });
  const how = fc.record({
    delimiter: fc.constantFrom(",", ";", "\t", "|"),
    encoding: fc.constantFrom(...Object.keys(ENCODERS)),
    newline: fc.constantFrom("\r\n", "\n"),
    quoteAll: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(table, how, async (rows, { delimiter, encoding, newline, quoteAll }) => {
      const quote = (text: string) =>
        quoteAll || /["\r\n]/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
      const header = ["files", "reference", "note"];
      const text = [header, ...rows].map((row) => row.map(quote).join(delimiter) + newline).join("");
      const bytes = ENCODERS[encoding]?.(text) ?? Buffer.alloc(0);
      const expected = [header, ...rows.map(withoutEnd)].filter((row) => row.length > 0);
      expect(await read(bytes)).toEqual(expected);
    }),
    { numRuns: 150 },
  );
});

function withoutEnd(row: string[]): string[] {
  return row.slice(0, row.findLastIndex((cell) => cell !== "") + 1);
}
