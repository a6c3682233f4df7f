import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import { type Content, inMemory } from "../../src/files/content.ts";
import { probe, probePdf } from "../../src/files/probe.ts";
import { byQpdf, plainPdf, scratchFolder, startSigner } from "../helpers/pdfs.ts";

const dir = scratchFolder("probe");
const CODES = ["file-empty", "not-a-pdf", "pdf-incomplete", "pdf-encrypted"];

let plain: Buffer;
let signed: Buffer;
let signer: Awaited<ReturnType<typeof startSigner>>;

beforeAll(async () => {
  signer = await startSigner();
  plain = await plainPdf();
  signed = await signer.sign(plain);
});
afterAll(() => signer.close());

/** "whole", or the code that it is refused with. */
async function verdict(bytes: Uint8Array): Promise<string> {
  try {
    await probe(inMemory(Buffer.from(bytes)));
    return "whole";
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    return error.code;
  }
}

const text = (bytes: Buffer, change: (text: string) => string) =>
  Buffer.from(change(bytes.toString("latin1")), "latin1");
/** Where earlier states of a PDF end: a file cut there is that state, and nothing tells that there was more. */
const endsOf = (bytes: Buffer) =>
  [...bytes.toString("latin1").matchAll(/%%EOF\s*/g)].map(({ index, 0: mark }) => [index + 5, index + mark.length]);

function leftOut(): void {
  process.stderr.write("qpdf is not installed: left out\n");
}

describe("good files are whole", () => {
  const MADE: [string, () => Promise<Buffer | undefined> | Buffer | undefined][] = [
    ["a classic table", () => plain],
    ["object streams", () => plainPdf({ useObjectStreams: true, pages: 3 })],
    ["signed", () => signed],
    ["signed twice", () => signer.sign(signed)],
    ["object streams, signed", async () => signer.sign(await plainPdf({ useObjectStreams: true }))],
    ["linearised", async () => byQpdf(dir, await plainPdf({ pages: 4 }), "--linearize")],
    ["object streams by qpdf", () => byQpdf(dir, plain, "--object-streams=generate")],
    ["linearised with object streams", () => byQpdf(dir, plain, "--linearize", "--object-streams=generate")],
    ["as old as they come", () => byQpdf(dir, plain, "--force-version=1.0", "--object-streams=disable")],
  ];
  test.each(MADE)("%s", async (_what, make) => {
    const bytes = await make();
    if (!bytes) return leftOut();
    expect(await probe(inMemory(bytes))).toEqual({ sizeBytes: bytes.length, warnings: [] });
    writeFileSync(join(dir, "good.pdf"), bytes);
    expect(await probePdf(join(dir, "good.pdf"))).toEqual({ sizeBytes: bytes.length, warnings: [] });
  });
});

describe("a good file that is cut is not whole, wherever it is cut", () => {
  test.each([
    ["a classic table", () => plain],
    ["object streams", () => plainPdf({ useObjectStreams: true })],
    ["signed: but for the end of the original, which is a whole PDF", () => signed],
    ["signed twice: but for the ends of the states before", () => signer.sign(signed)],
    ["linearised: its first end mark is no end", () => byQpdf(dir, plain, "--linearize")],
  ])("%s", async (_what, make) => {
    const bytes = await make();
    if (!bytes) return leftOut();
    const isLinearised = bytes.subarray(0, 1024).includes("/Linearized");
    // A linearised file says how long it is: not even its last line end may be missing.
    const ends = isLinearised ? [[bytes.length, bytes.length]] : endsOf(bytes);
    const isWhole = (length: number) => ends.some(([from = 0, to = 0]) => length >= from && length <= to);
    for (let length = 0; length <= bytes.length; length++) {
      const expected = isWhole(length) ? ["whole"] : length === 0 ? ["file-empty"] : ["pdf-incomplete", "not-a-pdf"];
      expect(expected, `cut at ${length} of ${bytes.length}`).toContain(await verdict(bytes.subarray(0, length)));
    }
  });
});

describe("what is no whole PDF is refused by name", () => {
  test.each([
    ["nothing", "", "file-empty"],
    ["a web page", "<!doctype html><html><body>%PDF is what you wanted</body></html>", "not-a-pdf"],
    ["a Word document", "PK\x03\x04\x14\x00\x06\x00word/document.xml", "not-a-pdf"],
    ["a header alone", "%PDF-1.7\n", "pdf-incomplete"],
    ["a header too far from the start", `${" ".repeat(1025)}%PDF-1.7\nstartxref\n0\n%%EOF`, "not-a-pdf"],
    ["an end mark without a place of the cross-reference", "%PDF-1.7\n1 0 obj\n%%EOF", "pdf-incomplete"],
    ["an end mark too far from the end", `%PDF-1.7\nstartxref\n0\n%%EOF${"-".repeat(1025)}`, "pdf-incomplete"],
    ["an update that has just begun", "%PDF-1.7\nstartxref\n0\n%%EOF\n12 0 ob", "pdf-incomplete"],
    ["an attached PDF whose holder is cut off", "%PDF-1.7\nstartxref\n0\n%%EOF\nendstr", "pdf-incomplete"],
    ["half an end mark behind an end mark", "%PDF-1.7\nstartxref\n0\n%%EOF\n%%EO", "pdf-incomplete"],
  ])("%s", async (_what, content, code) => {
    expect(await verdict(Buffer.from(content, "latin1"))).toBe(code);
  });

  test.each([
    ["a password to open", ["--encrypt", "user", "owner", "256", "--"]],
    ["rights only", ["--encrypt", "", "owner", "256", "--"]],
    ["40 bits", ["--allow-weak-crypto", "--encrypt", "u", "o", "40", "--"]],
    ["object streams", ["--object-streams=generate", "--encrypt", "", "owner", "256", "--"]],
    ["a linearised file", ["--linearize", "--encrypt", "", "owner", "256", "--"]],
  ])("encrypted: %s", async (_what, options) => {
    const bytes = byQpdf(dir, await plainPdf({ pages: 3 }), ...options);
    if (!bytes) return leftOut();
    expect(await verdict(bytes)).toBe("pdf-encrypted");
    // With a cross-reference that leads nowhere it is found out as well.
    expect(
      await verdict(
        text(bytes, (pdf) => pdf.replace(/\d+(?=\s+%%EOF\s*$)/, (place) => "1".padStart(place.length, "0"))),
      ),
    ).toBe("pdf-encrypted");
  });

  test("too large", async () => {
    writeFileSync(join(dir, "large.pdf"), plain);
    await expect(probePdf(join(dir, "large.pdf"), { maxBytes: plain.length - 1 })).rejects.toMatchObject({
      code: "file-too-large",
    });
    await expect(probePdf(join(dir, "large.pdf"), { maxBytes: plain.length })).resolves.toMatchObject({ warnings: [] });
  });
});

describe("what readers forgive is forgiven, and said", () => {
  test.each([
    [
      "bytes before the header",
      () => Buffer.concat([Buffer.from("mail header\r\n\r\n"), plain]),
      ["bytes before the header"],
    ],
    ["zeros behind the end", () => Buffer.concat([plain, Buffer.alloc(900)]), []],
    ["blank lines behind the end", () => Buffer.concat([plain, Buffer.from("\r\n\r\n  \n")]), []],
    [
      "a web server's remark behind the end",
      () => Buffer.concat([plain, Buffer.from("\n<!-- cached -->\n")]),
      ["bytes behind the end"],
    ],
    [
      "a place of the cross-reference that is wrong",
      () => text(plain, (pdf) => pdf.replace(/startxref\s+\d+/, "startxref\n7")),
      ["cross-reference cannot be followed"],
    ],
    [
      "one beyond all numbers",
      () => text(plain, (pdf) => pdf.replace(/startxref\s+\d+/, `startxref\n${"9".repeat(400)}`)),
      ["cross-reference cannot be followed"],
    ],
    [
      "a broken table",
      () => text(plain, (pdf) => pdf.replace(/\bxref\b(?=\s+0)/, "xxxx")),
      ["cross-reference cannot be followed"],
    ],
    [
      "a trailer that points at itself",
      () =>
        text(plain, (pdf) =>
          pdf.replace(/trailer\s*<</, `$& /Prev ${pdf.lastIndexOf("xref", pdf.lastIndexOf("trailer"))} `),
        ),
      [],
    ],
    [
      "a trailer that points beyond",
      () => text(plain, (pdf) => pdf.replace(/trailer\s*<</, "$& /Prev 99999999999999999999 /XRefStm -5 ")),
      [],
    ],
    ["names in disguise", () => text(plain, (pdf) => pdf.replace("/Root", "/R#6fot")), []],
  ] as [string, () => Buffer, string[]][])("%s", async (_what, make, warnings) => {
    expect((await probe(inMemory(make()))).warnings).toEqual(warnings);
  });

  test("an encrypted trailer whose name is in disguise is seen all the same", async () => {
    const bytes = text(plain, (pdf) => pdf.replace(/trailer\s*<</, "$& /Encr#79pt 9 0 R "));
    expect(await verdict(bytes)).toBe("pdf-encrypted");
  });
});

/** A content that counts what is asked of it, and holds nothing but one text over and over. */
function endless(sizeBytes: number, head: string, filling: string, tail: string) {
  const asked = { bytes: 0, most: 0 };
  const content: Content = {
    sizeBytes,
    async read(at, length) {
      const end = Math.min(at + length, sizeBytes);
      asked.bytes += Math.max(end - at, 0);
      asked.most = Math.max(asked.most, length);
      const buffer = Buffer.alloc(Math.max(end - at, 0), filling, "latin1");
      if (at < head.length) buffer.write(head.slice(at), 0, "latin1");
      const tailAt = sizeBytes - tail.length;
      if (end > tailAt) buffer.write(tail.slice(Math.max(0, at - tailAt)), Math.max(0, tailAt - at), "latin1");
      return buffer;
    },
    feed: () => Promise.reject(new Error("a probe hashes nothing")),
  };
  return { content, asked };
}

describe("work and memory stay bounded", () => {
  const END = "\nstartxref\n9\n%%EOF\n";
  test.each([
    ["depth without end", "<<", 1],
    ["dictionaries that do not end", "obj<</Root(", 1],
    ["trailers that do not end", "trailer<</Root 1 0 R/A[", 1],
    ["trailers within trailers", "obj<</A[", 1],
    ["brackets", "[", 1],
    ["strings in strings", "(", 1],
    ["names", "/", 1],
    ["comments", "%", 1],
    ["blanks", " ", 1],
    ["numbers", "9", 1],
    ["tables without a trailer", "xref\n0 1\n", 257],
  ])("%s", async (_what, filling, mebibytes) => {
    const { content, asked } = endless(1 << 30, "%PDF-1.7\n", filling, END);
    const before = performance.now();
    await probe(content).catch((error: unknown) => {
      expect(error).toBeInstanceOf(PermanentError);
    });
    expect(asked.most).toBeLessThanOrEqual(128 * 1024);
    expect(asked.bytes).toBeLessThanOrEqual(mebibytes << 20);
    expect(performance.now() - before).toBeLessThan(1_500);
  });

  test("a chain of a hundred thousand sections is followed for a thousand", async () => {
    const sections = Array.from({ length: 100_000 }, (_, n) =>
      `xref\n0 0\ntrailer<</Prev ${String(n * 40 + 49).padStart(8, "0")}>>`.padEnd(40),
    );
    const bytes = Buffer.from(`%PDF-1.7\n${sections.join("")}${END}`, "latin1");
    expect(bytes.indexOf("xref")).toBe(9);
    expect(await verdict(bytes)).toBe("whole");
  });
});

describe("whatever the bytes are, the answer is a verdict", () => {
  const WORDS = [
    "%PDF-1.7\n",
    "%%EOF",
    "startxref\n",
    "xref\n0 1\n",
    "trailer",
    "<<",
    ">>",
    "[",
    "]",
    "(",
    ")",
    "\\",
    "/Prev ",
    "/XRefStm ",
    "/Encrypt 1 0 R",
    "/Type/XRef",
    "/Linearized 1/L ",
    "1 0 obj",
    "0",
    "9",
    "18446744073709551616",
    "-1",
    "1e9",
    " ",
    "\n",
    "%",
    "<",
    "\0",
  ];
  const piece = fc.oneof(
    fc.constantFrom(...WORDS),
    fc.nat(4_000).map(String),
    fc.string({ unit: "binary", maxLength: 8 }),
  );

  test("pieces of PDF in any order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 60 }), fc.boolean(), async (pieces, isFramed) => {
        const body = pieces.join("");
        const bytes = Buffer.from(isFramed ? `%PDF-1.7\n${body}\nstartxref\n9\n%%EOF` : body, "latin1");
        expect(["whole", ...CODES]).toContain(await verdict(bytes));
      }),
      { numRuns: 2_000 },
    );
  });

  test("a signed PDF with pieces changed, taken out, or doubled", async () => {
    const change = fc.record({
      at: fc.nat(signed.length - 1),
      length: fc.nat(40),
      put: fc.uint8Array({ maxLength: 40 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        let bytes: Buffer = signed;
        for (const { at, length, put } of changes) {
          bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + length)]);
        }
        expect(["whole", ...CODES]).toContain(await verdict(bytes));
      }),
      { numRuns: 1_000 },
    );
  });
});
