import fc from "fast-check";
import { expect, test } from "vitest";
import { toContentDisposition, toDisplayName } from "../../src/producers/api/names.ts";

test("a shown name is the last segment, composed, without what cannot be seen", () => {
  expect(toDisplayName("C:\\temp\\Vertrag.pdf", "x")).toBe("Vertrag.pdf");
  expect(toDisplayName("../../etc/passwd", "x")).toBe("passwd");
  expect(toDisplayName("Cafe\u0301.pdf", "x")).toBe("Café.pdf");
  expect(toDisplayName("a\r\nSet-Cookie: b=c\0.pdf", "x")).toBe("aSet-Cookie: b=c.pdf");
  expect(toDisplayName("invoice\u202Efdp.exe", "x")).toBe("invoicefdp.exe");
  expect(toDisplayName("\ud800.pdf", "x")).toBe(".pdf");
});

test("a name of nothing is replaced", () => {
  for (const name of [undefined, "", "..", "dir/", "\u200b", "   "])
    expect(toDisplayName(name, "document-1.pdf")).toBe("document-1.pdf");
});

test("a long name keeps its ending", () => {
  const name = toDisplayName(`${"ü".repeat(500)}.pdf`, "x");
  expect([...name]).toHaveLength(200);
  expect(name.endsWith(".pdf")).toBe(true);
});

/** Every code point, surrogates on their own included. */
const anyText = fc.array(fc.nat(0x10ffff), { maxLength: 50 }).map((points) => String.fromCodePoint(...points));

test("a file name cannot leave its header", () => {
  fc.assert(
    fc.property(anyText, (name) =>
      /^attachment; filename="[\x20-\x21\x23-\x5b\x5d-\x7e]*"; filename\*=UTF-8''[\w.~!$&+^`|%#-]*$/.test(
        toContentDisposition(name),
      ),
    ),
  );
  expect(toContentDisposition('a";x=y\r\n.pdf')).toBe(
    "attachment; filename=\"a__x=y__.pdf\"; filename*=UTF-8''a%22%3Bx%3Dy%0D%0A.pdf",
  );
});
