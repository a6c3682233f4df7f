import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/core/errors.ts";
import { rowJsonSchema } from "../../src/producers/batch/columns.ts";
import { type ReadRow, readBatch } from "../../src/producers/batch/read.ts";
import { toCsv } from "../../src/producers/batch/results.ts";

const SIGNER = "ana@example.com;+34 699 99-99 99";

async function rowsOf(text: string, maxRows = 100): Promise<ReadRow[]> {
  const rows: ReadRow[] = [];
  for await (const row of readBatch(Buffer.from(text), { maxRows })) rows.push(row);
  return rows;
}

async function refusalOf(text: string, maxRows?: number): Promise<{ code: string; message: string }> {
  try {
    await rowsOf(text, maxRows);
  } catch (error) {
    if (isFailure(error, "table-unreadable", "table-columns", "table-empty", "too-many-rows"))
      return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "none", message: "" };
}

const problemsOf = (row: ReadRow | undefined) =>
  Object.fromEntries((row?.problems ?? []).map(({ column, message }) => [column, message]));

test("a row becomes a manifest: the columns are its fields, however people write their names", async () => {
  const text =
    `File; E-Mail ;Mobile Phone Number;Given-Name;Reference;Authentication;authentication type;Authentication_Value;FORMAT;appearance
a.pdf; b.pdf;${SIGNER};Ana;loan-1;external;bank;op-1;PAdES;letter
`.replace("a.pdf; b.pdf", '"a.pdf; b.pdf"');
  expect(await rowsOf(text)).toMatchObject([
    {
      row: 2,
      files: ["a.pdf", "b.pdf"],
      reference: "loan-1",
      manifest: {
        workflow: "videoid",
        signer: { email: "ana@example.com", mobile_phone_number: "+34699999999", given_name: "Ana" },
        authentication: { method: "external", type: "bank", value: "op-1" },
        signature: { format: "pades", appearance: "letter" },
      },
    },
  ]);
});

describe("what a spreadsheet has done to a telephone number is told with the remedy", () => {
  test.each([
    ["3,46E+10", "was made a number like 3,47E+10"],
    ["3.46999E+11", "was made a number like 3,47E+10"],
    ["34600000001", "has no + and no country in front"],
    ["0034600000001", "must begin with + in the place of 00"],
  ])("%s", async (phone, says) => {
    const [row] = await rowsOf(`files;email;phone\na.pdf;ana@example.com;${phone}\n`);
    expect(problemsOf(row)["mobile_phone_number"]).toContain(says);
    expect(JSON.stringify(row?.problems)).not.toContain(phone);
  });
});

test("problems are told by row and column, and one row's are not another's", async () => {
  const rows = await rowsOf(
    `files;email;phone;workflow\na.pdf;${SIGNER};\n;nobody;+34699999999;paper\nb.pdf;${SIGNER};\n`,
  );
  expect(rows.map(({ row }) => row)).toEqual([2, 3, 4]);
  expect(rows.map(({ problems }) => problems?.length ?? 0)).toEqual([0, 3, 0]);
  expect(problemsOf(rows[1])).toMatchObject({
    files: "is empty: name the file that is to be signed",
    email: "must be an e-mail address like ana@example.com",
    workflow: expect.stringContaining("must be"),
  });
});

test("a row has more cells than the header", async () => {
  const [row] = await rowsOf(`files;email;phone\na.pdf;${SIGNER};García;Ana\n`);
  expect(problemsOf(row)["row"]).toContain("has a cell in column 4");
});

test.each([
  [
    "a column that is misspelt",
    "files;emial;phone\n",
    'column "emial" is not a column that is known here: is "email" meant?',
  ],
  ["a column that nothing is like", "files;shoe size\n", 'column "shoe size" is not a column that is known here.'],
  ["a column that is there twice", "files;email;E-Mail\n", 'column "E-Mail" is there twice (column 3)'],
  ["no column for files", "email;phone\n", 'column "files" is missing'],
  ["a header and nothing else", "files;email;phone\n\n", "no row below its header"],
  ["JSON that is none", '{"rows": [', "must be JSON"],
  ["JSON of another form", '{"lines": []}', 'must be {"defaults": {…}, "rows": […]}'],
  ["JSON with a key twice", '{"rows": [{"files": "a.pdf", "email": "a@b.example", "email": "c@d.example"}]}', "twice"],
])("%s is refused as a whole", async (_name, text, says) => {
  expect((await refusalOf(text)).message).toContain(says);
});

test("more rows than a batch takes are refused", async () => {
  const text = `files;email;phone\n${`a.pdf;${SIGNER}\n`.repeat(3)}`;
  expect(await refusalOf(text, 2)).toMatchObject({ code: "too-many-rows" });
  expect(await rowsOf(text, 3)).toHaveLength(3);
});

test("batch.json: defaults for what a row does not say; a row may have what a manifest has", async () => {
  const rows = await rowsOf(
    JSON.stringify({
      defaults: { workflow: "classic", signer: { id_document_type: "IDC", id_document_country: "ES" } },
      rows: [
        {
          files: ["a.pdf"],
          ...{ email: "ana@example.com", phone: "+34699999999", given_name: "Ana", surname_1: "García" },
          serial_number: "X1",
          identity: { document_front: "front.jpg", document_rear: "rear.jpg" },
        },
        {
          files: "b.pdf",
          workflow: "videoid",
          signer: { email: "b@example.com", mobile_phone_number: "+34699999998" },
        },
        "no row",
        { files: "c.pdf", __proto__x: 1, shoe_size: 41 },
      ],
    }),
  );
  expect(rows[0]).toMatchObject({ row: 1, manifest: { workflow: "classic", signer: { id_document_type: "IDC" } } });
  expect(rows[1]).toMatchObject({ row: 2, manifest: { signer: { id_document_type: "IDC", email: "b@example.com" } } });
  expect(problemsOf(rows[2])["row"]).toBe("must be an object in braces");
  expect(Object.keys(problemsOf(rows[3]))).toContain("shoe_size");
});

test("a name that would change how objects behave is refused like any that is not known", async () => {
  const [row] = await rowsOf('{"rows": [{"files": "a.pdf", "__proto__": {"workflow": "classic"}}]}');
  expect(row?.problems?.map(({ column }) => column)).toContain("__proto__");
});

test("the published schema has every column, and asks for files", () => {
  const schema = rowJsonSchema() as { properties: Record<string, object>; required: string[] };
  expect(schema.required).toEqual(["files"]);
  for (const name of ["email", "document_front", "ocr_given_name", "check_liveliness", "authentication_value"]) {
    expect(schema.properties).toHaveProperty(name);
  }
});

test("results are a table that a spreadsheet does not calculate with", async () => {
  const record = { id: `bat-${"0".repeat(26)}` } as Parameters<typeof toCsv>[0];
  async function* rows() {
    yield { row: 2, reference: "=HYPERLINK(1)", files: ['a "b".pdf', "c,d.pdf"] };
  }
  let text = "";
  for await (const piece of toCsv(record, rows(), new Map())) text += piece;
  expect(text.split("\r\n")[1]).toBe(`2,'=HYPERLINK(1),"a ""b"".pdf;c,d.pdf",pending,,,,,,${record.id}`);
});
