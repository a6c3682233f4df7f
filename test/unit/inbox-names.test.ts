import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isIgnored, toKind } from "../../src/producers/inbox/ignore.ts";
import { fromText, toNoteName, toPath, toText, withCounter, withEnding } from "../../src/producers/inbox/names.ts";

const bytes = (raw: string) => Buffer.byteLength(raw, "latin1");

test("a name keeps its bytes on the way to the file system", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 255 }), (name) => {
      const raw = Buffer.from(name).toString("latin1");
      const path = Buffer.from(toPath("/tmp/ö", raw));
      // A name of ASCII is joined as text; slashes and dots do not come from a listing.
      if (!name.every((byte) => byte < 0x80))
        expect(path).toEqual(Buffer.concat([Buffer.from("/tmp/ö/"), Buffer.from(name)]));
    }),
  );
});

test("a counter stands before the ending, and no name becomes too long or broken", () => {
  expect(withCounter("x.pdf", 1)).toBe("x.pdf");
  expect(withCounter("x.pdf", 2)).toBe("x (2).pdf");
  expect(withCounter("folder", 3)).toBe("folder (3)");
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 90 }),
      fc.integer({ min: 2, max: 9_999 }),
      (text, n) => {
        const raw = fromText(`${text}.pdf`).slice(0, 255);
        const named = withCounter(raw, n);
        expect(bytes(named)).toBeLessThanOrEqual(255);
        expect(named).toContain(` (${n})`);
        if (!toText(raw).includes("\uFFFD")) expect(toText(named)).not.toContain("\uFFFD");
      },
    ),
  );
});

test("two long names that differ at their ends have different notes", () => {
  const long = "a".repeat(250);
  expect(withEnding(`${long}1.pdf`, ".error.txt")).not.toBe(withEnding(`${long}2.pdf`, ".error.txt"));
  expect(bytes(withEnding(`${long}1.pdf`, ".error.txt"))).toBeLessThanOrEqual(255);
});

test("a note about a name that is no text has a name that is", () => {
  const name = toNoteName("\xff\xfe.pdf", ".error.txt");
  expect(name).toMatch(/^__\.pdf~[0-9a-f]{10}\.error\.txt$/);
});

describe("what is never looked at", () => {
  test.each([
    ".x.pdf",
    "._x.pdf",
    ".DS_Store",
    "desktop.ini",
    "THUMBS.DB",
    "~$x.docx",
    "x.tmp",
    "x.pdf.part",
    "x.partial",
    "x.crdownload",
    "x.download",
    "x.filepart",
    ".nfs0001",
    ".stfolder",
    "@eaDir",
    "__MACOSX",
    "lost+found",
  ])("%s", (name) => {
    expect(isIgnored(name)).toBe(true);
  });
  test.each(["x.pdf", "tmp", "part.pdf", "download.pdf", "@eaDir.pdf", "x~$.pdf"])("but %s is", (name) => {
    expect(isIgnored(name)).toBe(false);
  });
});

test("kinds are told by type first, and by name", () => {
  const no = () => false;
  const entry = (name: string, is: string) => ({
    name,
    ...{
      isFile: no,
      isDirectory: no,
      isSymbolicLink: no,
      isFIFO: no,
      isSocket: no,
      isBlockDevice: no,
      isCharacterDevice: no,
    },
    [is]: () => true,
  });
  const kinds = [
    ["x.pdf", "isFile", "pdf"],
    ["X.PDF", "isFile", "pdf"],
    ["x.pdf.json", "isFile", "sidecar"],
    ["x.json", "isFile", "other"],
    ["defaults.json", "isFile", undefined],
    ["defaults.json", "isSymbolicLink", undefined],
    ["x.pdf", "isDirectory", "folder"],
    ["x.pdf", "isSymbolicLink", "special"],
    ["x.pdf", "isFIFO", "special"],
    [".x", "isFIFO", undefined],
  ] as const;
  for (const [name, is, kind] of kinds) expect(toKind(entry(name, is)), `${name} ${is}`).toBe(kind);
});
