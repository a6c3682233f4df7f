import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/core/errors.ts";
import { rowJsonSchema } from "../../src/producers/batch/columns.ts";
import { type ReadRow, readBatch } from "../../src/producers/batch/read.ts";

async function rowsOf(table: string | Uint8Array): Promise<ReadRow[]> {
  const rows: ReadRow[] = [];
  for await (const row of readBatch(Buffer.from(table), { maxRows: 100 })) rows.push(row);
  return rows;
}

async function refusalOf(table: string): Promise<string> {
  try {
    await rowsOf(table);
    return "";
  } catch (error) {
    if (isFailure(error, "table-columns", "table-unreadable")) return error.message;
    throw error;
  }
}

/** What is said of the row of a good table in which one cell is this one, by column. */
async function saidOf(column: string, cell: string): Promise<Record<string, string>> {
  const good: Record<string, string> = {
    ...{ files: "a.pdf", email: "ana@example.com", mobile_phone_number: "+34699999999", workflow: "videoid-external" },
    ...{ document_front: "f.jpg", document_rear: "r.jpg", document_photo: "p.jpg", document_owner: "o.jpg" },
    ...{ video: "v.mp4", ocr_given_name: "Ana", ocr_surname_1: "García", ocr_serial_number: "X1" },
    ...{ given_name: "Ana", surname_1: "García", serial_number: "X1" },
    [column]: cell,
  };
  const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
  const [row] = await rowsOf(`${Object.keys(good).join(";")}\r\n${Object.values(good).map(quote).join(";")}\r\n`);
  return Object.fromEntries((row?.problems ?? []).map(({ column: at, message }) => [at, message]));
}

describe("headings in the languages of offices mean the same", () => {
  test.each([
    ["English", "Document;First Name;Last name;E-mail address;Phone number;Document Number;Ref"],
    ["Spanish", "Archivo;Nombre;Primer apellido;Correo electrónico;Teléfono móvil;Nº de documento;Expediente"],
    ["German", "Datei;Vorname;Nachname;E-Mail-Adresse;Handynummer;Ausweisnummer;Aktenzeichen"],
    ["Italian", "File;Nome;Cognome;Indirizzo e-mail;Cellulare;Numero documento;Riferimento"],
    ["capitals, stars and colons", "FILES*;GIVEN NAME;SURNAME 1;E-MAIL:;MOBILE;SERIAL NUMBER;REFERENCE"],
  ])("%s", async (_language, header) => {
    const [row] = await rowsOf(`${header}\r\na.pdf;José;Muñoz;ana@example.com;+34 699 99 99 99;X1;r1\r\n`);
    expect(row).toMatchObject({
      ...{ row: 2, files: ["a.pdf"], reference: "r1" },
      manifest: {
        signer: {
          ...{ email: "ana@example.com", mobile_phone_number: "+34699999999", serial_number: "X1" },
          ...{ given_name: "José", surname_1: "Muñoz" },
        },
      },
    });
  });

  test("what may mean two things is asked about", async () => {
    expect(await refusalOf("archivo;email;documento\r\na.pdf;a@b.example;X\r\n")).toContain(
      'In row 1 of the table, column "documento" is not a column that is known here',
    );
  });
});

describe("what a spreadsheet did to a cell is told with row, column and remedy, without the cell", () => {
  test.each([
    ["mobile_phone_number", "3,46E+10", "was made a number like 3,47E+10"],
    ["mobile_phone_number", "34611111111", "has no + and no country in front"],
    ["mobile_phone_number", "34699999999,00", "was made a number with decimals"],
    ["mobile_phone_number", "+34699999999.0", "was made a number with decimals"],
    ["mobile_phone_number", "+49 (0) 171 9999999", "has (0) in it"],
    ["mobile_phone_number", "#######", "was saved as ####"],
    ["mobile_phone_number", "#N/A", "is an error of the spreadsheet"],
    ["given_name", "#¡REF!", "is an error of the spreadsheet"],
    ["given_name", "#WERT!", "is an error of the spreadsheet"],
    ["given_name", "JosÃ©", "has letters that were read in another encoding, like Ã© for é"],
    ["surname_1", "MuÃ±oz", "has letters that were read in another encoding"],
    ["surname_1", "Mu\ufffdoz", "has a letter that was lost on the way"],
    ["surname_2", "Mu?oz", "has a ? in the place of a letter"],
    ["registration_authority", "1.000", "was made a number like 1.000"],
    ["registration_authority", "1000,00", "was made a number with decimals"],
    ["serial_number", "1,2E+08", "was made a number like 3,47E+10"],
    ["serial_number", "12345678,0", "was made a number with decimals"],
    ["serial_number", "12/03/1999", "was made a date"],
    ["serial_number", "1999-03-12 00:00:00", "was made a date"],
    ["serial_number", "12-Mär", "was made a date"],
    ["check_liveliness", "perhaps", "must be true or false"],
    ["similarity_level", "0,85", "must be low, medium, high, or a whole number from 0 to 100"],
    ["similarity_level", "850", "must be low, medium, high, or a whole number from 0 to 100"],
  ])("%s: %s", async (column, cell, says) => {
    const said = await saidOf(column, cell);
    expect(said[column]).toContain(says);
    expect(Object.keys(said)).toEqual([column]);
    // What is somebody's own is not repeated; these are our own examples.
    if (!/^#|^1\.000$/.test(cell)) expect(JSON.stringify(said)).not.toContain(cell);
  });

  test.each([
    ["given_name", "SÃO MARTINHO"],
    ["given_name", "Ángel Â"],
    ["serial_number", "12.345.678-Z"],
    ["reference", "1E5"],
    ["reference", "12/03/1999"],
    ["mobile_phone_number", "'+34 699-99.99/99"],
    ["mobile_phone_number", "+34–699–999–999"],
    ["check_liveliness", "WAHR"],
    ["check_liveliness", "Sí"],
    ["similarity_level", "85,0"],
    ["similarity_level", "85 %"],
    ["similarity_level", "HIGH"],
    ["id_document_country", "es"],
    ["approval", "Manual"],
  ])("nothing is said of %s: %s", async (column, cell) => {
    expect(await saidOf(column, cell)).toEqual({});
  });
});

test("rows that end in different ways are rows all the same: a table that was put together of two", async () => {
  const line = (n: number) => `${n}.pdf;a${n}@example.com;+3469999999${n}`;
  const rows = await rowsOf(`files;email;phone\r\n${line(1)}\n${line(2)}\r\n${line(3)}\r${line(4)}`);
  expect(rows.map(({ row, files, problems }) => [row, files[0], problems])).toEqual(
    [1, 2, 3, 4].map((n) => [n + 1, `${n}.pdf`, undefined]),
  );
});

test("several files of one cell stand in lines of it, or between semicolons", async () => {
  const [row] = await rowsOf('files,email,phone\r\n"a.pdf\r\nb.pdf; c.pdf\n",ana@example.com,+34699999999\r\n');
  expect(row).toMatchObject({ row: 2, files: ["a.pdf", "b.pdf", "c.pdf"], manifest: {} });
});

test("a cell below no heading is not left out in silence; empty columns are", async () => {
  const rows = await rowsOf(
    "files;;email;phone;;\r\na.pdf;;a@b.example;+34699999999;;\r\nb.pdf;x;a@b.example;+34699999999;;\r\n",
  );
  expect(rows.map(({ problems }) => problems)).toEqual([
    undefined,
    [
      {
        column: "row",
        message: "has a cell in column 2, which has no heading: give it one, or empty the column",
      },
    ],
  ]);
});

test.each([
  ['"files,email,phone"\r\n"a.pdf,a@b.example,+34699999999"\r\n', "has the whole header in one cell"],
  ["Leases of May;;\r\n;;\r\nfiles;email;phone\r\n", 'column "Leases of May" is not a column'],
  ["Leases of May;;\r\n;;\r\nfiles;email;phone\r\n", "the header must be the first row"],
])("a header that is none: %j", async (table, says) => {
  expect(await refusalOf(table)).toContain(says);
});

test.each(["sep=;\r\n", '"sep=;"\r\n', "sep=;;;\r\n", "\ufeffsep=;\n"])(
  "the line %j is not the header, whoever saved it again",
  async (line) => {
    const rows = await rowsOf(`${line}files;email;phone\r\na.pdf;a@b.example;+34699999999\r\n`);
    expect(rows).toMatchObject([{ row: 2, manifest: {} }]);
  },
);

test("Excel's Unicode text: UTF-16 with a mark, tabs, quotes around line ends, and empty rows at the end", async () => {
  const text =
    'Archivo\tCorreo electrónico\tMóvil\tNombre\t\r\n"a.pdf\nb.pdf"\tana@example.com\t+34699999999\tBegoña\t\r\n\t\t\t\t\r\n';
  const rows = await rowsOf(Buffer.from(`\ufeff${text}`, "utf16le"));
  expect(rows).toMatchObject([{ row: 2, files: ["a.pdf", "b.pdf"], manifest: { signer: { given_name: "Begoña" } } }]);
});

test("the published schema takes what a table takes, and nothing that it refuses", () => {
  const { properties } = rowJsonSchema() as { properties: Record<string, object> };
  expect(properties["similarity_level"]).toMatchObject({
    anyOf: [{ enum: ["low", "medium", "high"] }, { type: "integer", minimum: 0, maximum: 100 }],
  });
  expect(properties["check_liveliness"]).toMatchObject({ type: "boolean" });
});
