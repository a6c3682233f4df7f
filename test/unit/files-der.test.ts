import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type BaseBlock, Constructed, fromBER, ObjectIdentifier, Sequence, Set as Asn1Set } from "asn1js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BadDer, type Element, elementsOf, readElement, readOid, TAG } from "../../src/files/der.ts";
import { scratchFolder, tool } from "../helpers/pdfs.ts";

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Every element within, as a tree, by our reader. */
function ours(element: Element): unknown {
  const { tag, body } = element;
  return tag & 0x20 ? [tag, elementsOf(element).map(ours)] : [tag, body.toString("hex")];
}

/** The same by asn1js, which was written by others. */
function theirs(block: BaseBlock): unknown {
  const { idBlock } = block;
  const tag = ((idBlock.tagClass - 1) << 6) | (idBlock.isConstructed ? 0x20 : 0) | idBlock.tagNumber;
  const isList = block instanceof Constructed || block instanceof Sequence || block instanceof Asn1Set;
  if (isList) return [tag, block.valueBlock.value.map(theirs)];
  const raw = Buffer.from(block.valueBeforeDecodeView);
  return [tag, raw.subarray(raw.length - block.lenBlock.length).toString("hex")];
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof BadDer) return undefined;
    throw error;
  }
}

describe("elements", () => {
  test.each([
    ["30 00", [0x30, []]],
    ["04 03 010203", [0x04, "010203"]],
    [
      "30 05 02 01 07 05 00",
      [
        0x30,
        [
          [0x02, "07"],
          [0x05, ""],
        ],
      ],
    ],
    ["a0 03 02 01 02", [0xa0, [[0x02, "02"]]]],
    ["80 01 ff", [0x80, "ff"]],
    ["04 81 01 aa", [0x04, "aa"]],
    ["04 84 00000001 aa", [0x04, "aa"]],
    ["30 80 02 01 07 00 00", [0x30, [[0x02, "07"]]]],
    ["30 80 30 80 04 01 00 00 00 00 00", [0x30, [[0x30, [[0x04, "00"]]]]]],
    [`04 82 0100 ${"00".repeat(256)} ff`, [0x04, "00".repeat(256)]],
  ])("%s", (bytes, expected) => {
    expect(ours(readElement(hex(bytes)))).toEqual(expected);
  });

  test.each([
    ["nothing", ""],
    ["a tag alone", "30"],
    ["less than announced", "30 05 02 01"],
    ["a length without its bytes", "30 82 01"],
    ["a length beyond four bytes", "30 85 0000000001 00"],
    ["a length near the largest number", "30 84 ffffffff"],
    ["a long tag", "3f 81 01 00"],
    ["an indefinite length that does not end", "30 80 02 01 07"],
    ["an indefinite length that ends by halves", "30 80 00"],
    ["an indefinite length of a primitive", "04 80 00 00"],
  ])("%s is none", (_what, bytes) => {
    expect(() => readElement(hex(bytes))).toThrow(BadDer);
  });

  test("an element within does not reach beyond its holder", () => {
    const outer = readElement(hex("30 03 04 05 aa bb cc dd ee"));
    expect(() => elementsOf(outer)).toThrow(BadDer);
  });

  test("a primitive one has no elements", () => {
    expect(() => elementsOf(readElement(hex("04 02 30 00")))).toThrow(BadDer);
  });

  test("depth that has no end is refused, and does not take the stack", () => {
    expect(() => readElement(Buffer.from("3080".repeat(500_000), "hex"))).toThrow(BadDer);
    expect(() => readElement(Buffer.from("3080".repeat(20) + "0000".repeat(20), "hex"))).not.toThrow();
  });
});

describe("object identifiers", () => {
  test.each([
    ["06 09 2a864886f70d010702", "1.2.840.113549.1.7.2"],
    ["06 09 608648016503040201", "2.16.840.1.101.3.4.2.1"],
    ["06 01 00", "0.0"],
    ["06 01 4f", "1.39"],
    ["06 02 8837", "2.999"],
    ["06 03 55040a", "2.5.4.10"],
  ])("%s", (bytes, expected) => {
    expect(readOid(readElement(hex(bytes)))).toBe(expected);
  });

  test.each([
    "06 00",
    "06 02 8001",
    "06 02 2a86",
    "04 01 2a",
    `06 0a 2a${"ff".repeat(8)}7f`,
    `06 41 ${"2a".repeat(65)}`,
  ])("%s is none", (bytes) => {
    expect(() => readOid(readElement(hex(bytes)))).toThrow(BadDer);
  });

  test("are those that asn1js reads", () => {
    const arc = fc.oneof(fc.nat(127), fc.nat(0x7fffffff));
    fc.assert(
      fc.property(fc.constantFrom(0, 1, 2), fc.nat(39), fc.array(arc, { maxLength: 8 }), (first, second, rest) => {
        const dotted = [first, second, ...rest].join(".");
        const bytes = Buffer.from(new ObjectIdentifier({ value: dotted }).toBER());
        expect(readOid(readElement(bytes))).toBe(dotted);
      }),
    );
  });
});

describe("asn1js reads the same", () => {
  const element: fc.Arbitrary<Buffer> = fc.letrec<{ element: Buffer }>((tie) => ({
    element: fc.oneof(
      { maxDepth: 5, depthSize: "small" },
      fc
        .tuple(fc.constantFrom(0x04, 0x80, 0x81, 0x9e), fc.uint8Array({ maxLength: 300 }))
        .map(([tag, body]) => wrap(tag, Buffer.from(body))),
      fc
        .tuple(fc.constantFrom(0x30, 0x31, 0xa0, 0xa3), fc.array(tie("element"), { maxLength: 5 }), fc.boolean())
        .map(([tag, inner, isEndless]) => {
          const body = Buffer.concat(inner);
          return isEndless ? Buffer.concat([Buffer.from([tag, 0x80]), body, Buffer.alloc(2)]) : wrap(tag, body);
        }),
    ),
  })).element;

  function wrap(tag: number, body: Buffer): Buffer {
    const length =
      body.length < 0x80
        ? [body.length]
        : body.length < 0x100
          ? [0x81, body.length]
          : [0x82, body.length >> 8, body.length & 0xff];
    return Buffer.concat([Buffer.from([tag, ...length]), body]);
  }

  test("what is well made", () => {
    fc.assert(
      fc.property(element, fc.uint8Array({ maxLength: 4 }), (bytes, behind) => {
        const { offset, result } = fromBER(bytes);
        expect(offset).toBe(bytes.length);
        const found = readElement(Buffer.concat([bytes, behind]));
        expect(found.raw.length).toBe(bytes.length);
        expect(ours(found)).toEqual(theirs(result));
      }),
      { numRuns: 500 },
    );
  });

  test("what is not: whatever we accept, asn1js accepts, with the same content", () => {
    const change = fc.record({ at: fc.nat(400), put: fc.nat(255) });
    let accepted = 0;
    fc.assert(
      fc.property(element, fc.array(change, { minLength: 1, maxLength: 3 }), (bytes, changes) => {
        const spoilt = Buffer.from(bytes);
        for (const { at, put } of changes) spoilt[at % spoilt.length] = put;
        const found = attempt(() => ours(readElement(spoilt)));
        if (found === undefined) return;
        // asn1js looks into types that we leave alone, and refuses some of their contents, or throws at them.
        if (hasOtherTypes(found)) return;
        accepted += 1;
        const { offset, result } = fromBER(spoilt);
        expect(offset).toBeGreaterThan(0);
        expect(found).toEqual(theirs(result));
      }),
      { numRuns: 2_000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  /** Types whose contents asn1js takes apart, or writes in another way. */
  function hasOtherTypes(tree: unknown): boolean {
    const [tag, inner] = tree as [number, unknown];
    const isKnown = [0x04, 0x30, 0x31].includes(tag) || (tag & 0xc0) === 0x80;
    return !isKnown || (Array.isArray(inner) && inner.some(hasOtherTypes));
  }

  test("certificates that openssl made", () => {
    const dir = scratchFolder("der");
    if (!tool("openssl", "version")) return process.stderr.write("openssl is not installed: left out\n");
    for (const key of [["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["ed25519"]]) {
      const out = join(dir, "certificate.der");
      const args = ["req", "-x509", "-newkey", ...key, "-nodes", "-subj", "/CN=Ana/C=ES", "-outform", "DER"];
      execFileSync("openssl", [...args, "-keyout", join(dir, "key.pem"), "-out", out], { stdio: "ignore" });
      const bytes = readFileSync(out);
      const [body, algorithm] = elementsOf(readElement(bytes));
      const [their] = (fromBER(bytes).result as Sequence).valueBlock.value;
      expect(Buffer.from((their as BaseBlock).valueBeforeDecodeView).equals(body?.raw ?? Buffer.alloc(0))).toBe(true);
      expect(algorithm?.tag).toBe(TAG.sequence);
    }
  });
});
