import { deflateSync } from "node:zlib";
import { degrees, PDFDocument } from "@cantoo/pdf-lib";
import { describe, expect, test } from "vitest";
import { liesOn, toBox } from "../../src/core/place.ts";
import { type Content, inMemory } from "../../src/files/content.ts";
import { findPage } from "../../src/files/pdf-pages.ts";

const whole = { x1: 0, y1: 0, x2: 400, y2: 300 };

async function pdf(pages: number, { useObjectStreams = true, each = (_: number, __: PDFDocument) => {} } = {}) {
  const document = await PDFDocument.create();
  for (let n = 0; n < pages; n++) {
    document.addPage([400 + n, 300]);
    each(n, document);
  }
  return Buffer.from(await document.save({ useObjectStreams }));
}

/** Objects by number, with a table of the old kind. */
function written(objects: Record<number, string>, { before = "", trailer = "" } = {}): Buffer {
  let text = `${before}%PDF-1.4\n`;
  const offsets = new Map<number, number>();
  for (const [number, body] of Object.entries(objects)) {
    offsets.set(Number(number), text.length);
    text += `${number} 0 obj\n${body}\nendobj\n`;
  }
  const at = text.length;
  const most = Math.max(...offsets.keys());
  text += `xref\n0 ${most + 1}\n0000000000 65535 f \n`;
  for (let n = 1; n <= most; n++) {
    const offset = offsets.get(n);
    text += offset === undefined ? "0000000000 00000 f \n" : `${String(offset).padStart(10, "0")} 00000 n \n`;
  }
  return Buffer.from(
    `${text}trailer\n<< /Root 1 0 R /Size ${most + 1} ${trailer}>>\nstartxref\n${at}\n%%EOF\n`,
    "latin1",
  );
}

const catalog = "<< /Type /Catalog /Pages 2 0 R >>";

describe.each([true, false])("with object streams: %s", (useObjectStreams) => {
  test("a page is found by its number, with its own size", async () => {
    const content = inMemory(await pdf(120, { useObjectStreams }));
    expect(await findPage(content, 0)).toEqual({ pages: 120, shape: { box: whole, turned: 0 } });
    expect(await findPage(content, 119)).toEqual({ pages: 120, shape: { box: { ...whole, x2: 519 }, turned: 0 } });
  });

  test("a page that is not there is told with how many there are", async () => {
    expect(await findPage(inMemory(await pdf(3, { useObjectStreams })), 3)).toEqual({ pages: 3, shape: undefined });
  });

  test("what is cut away of a page and how it is turned is told", async () => {
    const each = (n: number, document: PDFDocument) => {
      document.getPage(n).setRotation(degrees(-90));
      document.getPage(n).setCropBox(50, 60, 1_000, 100);
    };
    const found = await findPage(inMemory(await pdf(1, { useObjectStreams, each })), 0);
    expect(found?.shape).toEqual({ box: { x1: 50, y1: 60, x2: 400, y2: 160 }, turned: 270 });
  });
});

test("a page takes from those above it what it does not say itself, and pages lie at any depth", async () => {
  const bytes = written({
    1: catalog,
    2: "<< /Type /Pages /Count 3 /Kids [3 0 R 4 0 R] /MediaBox [0 0 100 200] /Rotate 180 >>",
    3: "<< /Type /Page /Parent 2 0 R >>",
    4: "<< /Type /Pages /Parent 2 0 R /Count 6 0 R /Kids [5 0 R 7 0 R] /MediaBox 8 0 R >>",
    5: "<< /Type /Page /Parent 4 0 R /Rotate 0 >>",
    6: "2",
    7: "<< /Type /Page /Parent 4 0 R /MediaBox [300 10 0 0] >>",
    8: "[0 0 612 792]",
  });
  const shapes = [0, 1, 2].map(async (n) => (await findPage(inMemory(bytes), n))?.shape);
  expect(await Promise.all(shapes)).toEqual([
    { box: { x1: 0, y1: 0, x2: 100, y2: 200 }, turned: 180 },
    { box: { x1: 0, y1: 0, x2: 612, y2: 792 }, turned: 0 },
    { box: { x1: 0, y1: 0, x2: 300, y2: 10 }, turned: 180 },
  ]);
});

test("an update counts more than what it updates", async () => {
  const first = written({
    1: catalog,
    2: "<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
    3: "<< /Type /Page /MediaBox [0 0 100 100] >>",
  });
  const object = "3 0 obj\n<< /Type /Page /MediaBox [0 0 77 88] >>\nendobj\n";
  const prev = /startxref\n(\d+)/.exec(first.toString("latin1"))?.[1] ?? "";
  const table = `xref\n3 1\n${String(first.length).padStart(10, "0")} 00000 n \n`;
  const end = `trailer\n<< /Root 1 0 R /Size 4 /Prev ${prev} >>\nstartxref\n${first.length + object.length}\n%%EOF\n`;
  const found = await findPage(inMemory(Buffer.concat([first, Buffer.from(object + table + end)])), 0);
  expect(found?.shape?.box).toEqual({ x1: 0, y1: 0, x2: 77, y2: 88 });
});

test("of a large file of thousands of pages next to nothing is read", async () => {
  const pages = 2_000;
  const kids = Array.from({ length: pages }, (_, n) => `${n + 3} 0 R`).join(" ");
  const objects = Object.fromEntries(
    Array.from({ length: pages }, (_, n) => [
      n + 3,
      `<< /Type /Page /MediaBox [0 0 595.28 841.89] >>${" ".repeat(5_000)}`,
    ]),
  );
  const bytes = written({ 1: catalog, 2: `<< /Type /Pages /Count ${pages} /Kids [${kids}] >>`, ...objects });
  let readBytes = 0;
  const counted: Content = {
    ...inMemory(bytes),
    read: async (at, length) => {
      readBytes += length;
      return bytes.subarray(at, at + length);
    },
  };
  expect(await findPage(counted, 1_999)).toMatchObject({ pages, shape: { box: { x2: 595.28 } } });
  expect(bytes.length).toBeGreaterThan(10e6);
  expect(readBytes).toBeLessThan(200_000);
});

const circle = {
  1: catalog,
  2: "<< /Type /Pages /Count 2 /Kids [3 0 R 3 0 R 3 0 R] >>",
  3: "<< /Type /Pages /Count 2 /Kids [2 0 R 2 0 R 2 0 R] >>",
};
const one = { 1: catalog, 2: "<< /Type /Pages /Count 1 /Kids [3 0 R] >>", 3: "<< /Type /Page >>" };

/** Sound, with sections that unpack to `padding` bytes each. */
function unpacking(padding: number): Buffer {
  let text = "%PDF-1.5\n";
  const rows: number[] = [];
  for (const body of [catalog, "<< /Type /Pages /Count 1 /Kids [3 0 R] >>", "<< /Type /Page /MediaBox [0 0 9 9] >>"]) {
    rows.push(text.length);
    text += `${rows.length} 0 obj\n${body}\nendobj\n`;
  }
  for (const prev of ["", "/Prev"]) {
    const table = Buffer.alloc(12 + padding);
    rows.forEach((at, i) => table.writeUInt32BE(0x01000000 + at, 4 * i));
    const data = deflateSync(table).toString("latin1");
    const link = prev && `${prev} ${text.lastIndexOf("4 0 obj")}`;
    text += `4 0 obj\n<< /Type /XRef /Root 1 0 R /W [1 3 0] /Index [1 3] ${link} /Filter /FlateDecode /Length ${data.length} >>\nstream\n${data}\nendstream\nendobj\n`;
  }
  return Buffer.from(`${text}startxref\n${text.lastIndexOf("4 0 obj")}\n%%EOF\n`, "latin1");
}

test("tables are unpacked as far as memory should hold them, all together", async () => {
  expect(await findPage(inMemory(unpacking(20 * 1024 ** 2)), 0)).toMatchObject({ pages: 1 });
  expect(await findPage(inMemory(unpacking(40 * 1024 ** 2)), 0)).toBeUndefined();
});

test.each([
  ["pages in a circle", written(circle)],
  ["a page without a size", written(one)],
  ["a reference to itself", written({ ...one, 2: "2 0 R" })],
  ["a reference to nothing", written({ ...one, 2: "<< /Count 1 /Kids [9 0 R] >>" })],
  ["fewer pages than it says", written({ ...one, 2: "<< /Count 5 /Kids [3 0 R] >>" })],
  ["an encrypted file", written({ ...one, 3: "<< /MediaBox [0 0 9 9] >>" }, { trailer: "/Encrypt 9 0 R " })],
  ["offsets from elsewhere", written({ ...one, 3: "<< /MediaBox [0 0 9 9] >>" }).subarray(3)],
  ["no table", Buffer.from("%PDF-1.4\nstartxref\n5\n%%EOF\n")],
  ["no end", Buffer.from("%PDF-1.4\n")],
])("of %s nothing is said", async (_, bytes) => {
  expect(await findPage(inMemory(bytes), 0)).toBeUndefined();
});

test("whatever is changed in a PDF, the search ends and throws nothing", async () => {
  const sound = await pdf(4);
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48_271) % 0x7fffffff) % below;
  for (let n = 0; n < 300; n++) {
    const bytes = Buffer.from(sound);
    for (let k = 0; k < 5; k++) bytes[random(bytes.length)] = random(256);
    await findPage(inMemory(bytes), random(5));
  }
});

describe("a place", () => {
  const a4 = { box: { x1: 0, y1: 0, x2: 595.28, y2: 841.89 }, turned: 0 };
  test.each([
    ["the whole page", "0, 0, 595, 842", a4, true],
    ["beyond the right edge", "500, 10, 600, 60", a4, false],
    ["above the page", "10, 800, 60, 900", a4, false],
    ["on a turned page, on it in both readings", "10, 10, 500, 500", { ...a4, turned: 90 }, true],
    ["on a turned page, on it as it is seen only", "600, 10, 800, 60", { ...a4, turned: 90 }, false],
    ["on a turned page, on it as the file counts only", "10, 700, 60, 800", { ...a4, turned: 270 }, false],
    ["on a page upside down", "10, 700, 60, 800", { ...a4, turned: 180 }, true],
    ["in what is cut away", "10, 10, 90, 90", { box: { x1: 50, y1: 50, x2: 500, y2: 500 }, turned: 0 }, false],
  ])("%s", (_, position, shape, isOn) => {
    expect(liesOn(toBox(position), shape)).toBe(isOn);
  });
});
