import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { X509Certificate } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import { type Content, inMemory } from "../../src/files/content.ts";
import { readAdded } from "../../src/files/validation-data.ts";
import { verifySigned } from "../../src/files/verify.ts";
import { createOpenssl } from "../helpers/openssl.ts";
import {
  catalogOf,
  freeNumber,
  numbersWith,
  objectOf,
  startxrefOf,
  withPackedUpdate,
  withUpdate,
} from "../helpers/pdf-update.ts";
import { byQpdf, factsOf, plainPdf, scratchFolder, startSigner, tool } from "../helpers/pdfs.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

const dir = scratchFolder("longterm");
const openssl = createOpenssl(dir);
let signer: Awaited<ReturnType<typeof startSigner>>;
let longTermSigner: typeof signer;
let original: Buffer;
/** Signed, with nothing behind it; and what a test appends to. */
let signed: Buffer;
let longTerm: Buffer;

beforeAll(async () => {
  signer = await startSigner();
  longTermSigner = await startSigner({ signatureLevel: "LT" });
  original = await plainPdf({ text: "Lease", pages: 2 });
  signed = await signer.sign(original);
  longTerm = await longTermSigner.sign(original);
  openssl.certifyStamper("tsa");
});
afterAll(async () => {
  await signer.close();
  await longTermSigner.close();
});

const verify = (pdf: Buffer, of = original) =>
  verifySigned(inMemory(pdf), { original: factsOf(of), incremental: true });

/** Why a PDF is refused, or "valid". */
async function verdict(pdf: Buffer): Promise<string> {
  try {
    await verify(pdf);
    return "valid";
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

function refused(why: string): unknown {
  return expect.stringMatching(new RegExp(`^signature-partial: .*${why}`));
}

const withEntry = (dictionary: string, entry: string) => dictionary.replace(/>>$/, `${entry} >>`);
const dss = (pdf: Buffer, more: Record<number, string> = {}) => ({
  [catalogOf(pdf).number]: withEntry(catalogOf(pdf).text, `/DSS ${freeNumber(pdf)} 0 R`),
  [freeNumber(pdf)]: `<< /Type /DSS /Certs [${freeNumber(pdf) + 1} 0 R] /OCSPs [${freeNumber(pdf) + 1} 0 R] >>`,
  [freeNumber(pdf) + 1]: "<< /Length 3 >>\nstream\nDER\nendstream",
  ...more,
});

/** The same with a document timestamp behind it, as an archive adds it. */
function stamped(pdf: Buffer, { rect = "[0 0 0 0]", type = "DocTimeStamp", of = "" } = {}): Buffer {
  const [at, { number, text }] = [freeNumber(pdf) + 10, catalogOf(pdf)];
  const page = numbersWith(pdf, /\/Type \/Page\b/)[0] ?? 0;
  const room = 12_000;
  const places = "0 0000000000 0000000000 0000000000";
  const fields = text.replace(/(\/Fields \[[^\]]*)\]/, `$1 ${at} 0 R]`);
  const pageText = objectOf(pdf, page);
  const onPage = pageText.includes("/Annots")
    ? pageText.replace(/(\/Annots \[[^\]]*)\]/, `$1 ${at} 0 R]`)
    : withEntry(pageText, `/Annots [${at} 0 R]`);
  const update = withUpdate(pdf, {
    objects: {
      [number]: fields,
      [page]: onPage,
      [at]: `<< /Type /Annot /Subtype /Widget /FT /Sig /T (stamp ${at}) /F 132 /Rect ${rect} /P ${page} 0 R /V ${at + 1} 0 R >>`,
      [at + 1]:
        `<< /Type /${type} /Filter /Adobe.PPKLite /SubFilter /ETSI.RFC3161 /ByteRange [${places}] /Contents <${"0".repeat(room)}> >>`,
    },
  });
  const before = update.indexOf(`<${"0".repeat(room)}>`, pdf.length);
  const after = before + room + 2;
  const range = `0 ${before} ${after} ${update.length - after}`.padEnd(places.length);
  update.write(range, update.indexOf(places, pdf.length), "latin1");
  const covered = of ? Buffer.from(of) : Buffer.concat([update.subarray(0, before), update.subarray(after)]);
  update.write(openssl.stamp(covered, "tsa").toString("hex"), before + 1, "latin1");
  return update;
}

/** What others say of a PDF with so many signatures. */
function othersAgree(pdf: Buffer, signatures: number): void {
  const path = join(dir, "judged.pdf");
  writeFileSync(path, pdf);
  const said = pdfsig(path);
  if (said !== undefined) expect(said.match(/Signature is Valid/g)).toHaveLength(signatures);
  const checked = tool("qpdf", "--check", path);
  if (checked) expect(checked.output).toMatch(/No syntax or stream encoding errors/);
}

describe("a signature with what a validation needs years later behind it is valid", () => {
  test.each([
    ["a classic table", () => plainPdf()],
    ["object streams", () => plainPdf({ useObjectStreams: true, pages: 3 })],
    ["a linearised file", async () => byQpdf(dir, await plainPdf({ pages: 3 }), "--linearize")],
    [
      "a linearised file with object streams",
      async () => byQpdf(dir, await plainPdf({ pages: 3 }), "--linearize", "--object-streams=generate"),
    ],
    ["a file that was signed before", async () => signer.sign(await plainPdf())],
    ["bytes before the header", async () => Buffer.concat([Buffer.from("mail\n"), await plainPdf()])],
  ])("%s", async (_what, make) => {
    const pdf = await make();
    if (!pdf) return void process.stderr.write("qpdf is not installed: left out\n");
    const result = await longTermSigner.sign(pdf);
    const verified = await verify(result, pdf);
    expect(verified).toMatchObject({ recognisedBy: "bytes", sha256: factsOf(result).sha256 });
    expect(verified.validationData).toEqual({ certificates: 3, revocations: 1 });
    expect(verified.timestamps).toHaveLength(1);
    expect(new X509Certificate(verified.certificate).subject).toContain("Simulated Signer");
    othersAgree(result, pdf.includes("/ByteRange") ? 2 : 1);
  });

  test("twice over; and the earlier one alone is the original's", async () => {
    const twice = await longTermSigner.sign(longTerm);
    expect((await verify(twice, longTerm)).validationData).toEqual({ certificates: 6, revocations: 2 });
    othersAgree(twice, 2);
    const more = withUpdate(longTerm, { objects: { [freeNumber(longTerm)]: "(more)" } });
    await expect(verify(more, longTerm)).rejects.toMatchObject({
      code: "signature-partial",
      message: expect.stringContaining("more than the original"),
    });
  });

  test("written by others: in a classic table, packed, and with a date in the document information", async () => {
    expect((await verify(withUpdate(signed, { objects: dss(signed) }))).validationData).toEqual({
      certificates: 1,
      revocations: 1,
    });
    const { [freeNumber(signed) + 1]: stream, ...packable } = dss(signed);
    expect(stream).toBeDefined();
    expect(await verdict(withPackedUpdate(signed, { objects: packable }))).toBe("valid");
    const [info] = /\/Info (\d+) 0 R/.exec(signed.toString("latin1"))?.slice(1).map(Number) ?? [];
    if (info === undefined) throw new Error("no document information to try it with");
    const dated = objectOf(signed, info).replace(/\/ModDate \([^)]*\)/, "/ModDate (D:20991231)");
    const trailer = `/Info ${info} 0 R`;
    expect(await verdict(withUpdate(signed, { objects: dss(signed, { [info]: dated }), trailer }))).toBe("valid");
    const titled = withEntry(dated, "/Title (Gift)");
    const other = withUpdate(signed, { objects: dss(signed, { [info]: titled }), trailer });
    expect(await verdict(other)).toEqual(refused("document information's /Title"));
  });

  test("and an archive's timestamp behind it, or two: the person's signature is the one that counts", async () => {
    const archived = stamped(longTerm);
    const verified = await verify(archived);
    expect(verified.certificate.equals((await verify(longTerm)).certificate)).toBe(true);
    expect(verified.validationData).toEqual({ certificates: 3, revocations: 1 });
    // Poppler does not verify timestamps of documents, but takes it for one.
    othersAgree(archived, 1);
    expect(await verdict(stamped(archived))).toBe("valid");
    expect(await verdict(stamped(stamped(longTerm, { of: "else" })))).toBe(
      "signature-invalid: The PDF's signature is not valid: its document timestamp is of something else",
    );
    expect(await verdict(stamped(longTerm, { rect: "[0 0 9 9]" }))).toEqual(refused("can be seen"));
    expect(await verdict(withUpdate(archived, { objects: dss(signed) }))).not.toBe("valid");
  });
});

describe("what is changed behind a signature is found", () => {
  const page = () => numbersWith(signed, /\/Type \/Page\b/)[0] ?? 0;
  const free = () => freeNumber(signed);
  const root = () => catalogOf(signed);
  const contents = () => Number(/\/Contents \[? ?(\d+) 0 R/.exec(objectOf(signed, page()))?.[1]);
  const drawn = "<< /Length 2 >>\nstream\nBT\nendstream";
  const update = (objects: Record<number, string>, more = {}) => withUpdate(signed, { objects, ...more });
  const inserted = (pdf: Buffer, text: string) => {
    const at = pdf.indexOf("xref\n", signed.length);
    const moved = pdf.toString("latin1", at).replace(/(?<=startxref\n)\d+/, String(at + text.length));
    return Buffer.concat([pdf.subarray(0, at), Buffer.from(text + moved, "latin1")]);
  };

  test.each<[string, () => Buffer, string]>([
    ["a page's content is replaced", () => update({ [contents()]: drawn }), "replaces object"],
    [
      "a page shows other content",
      () =>
        update({
          [page()]: objectOf(signed, page()).replace(/\/Contents [^/>]*/, `/Contents ${free()} 0 R `),
          [free()]: drawn,
        }),
      "a page's /Contents",
    ],
    [
      "an annotation is added",
      () =>
        update({
          [page()]: objectOf(signed, page()).replace(/\/Annots \[/, `/Annots [${free()} 0 R `),
          [free()]: "<< /Type /Annot /Subtype /FreeText /Rect [0 0 99 99] /Contents (paid) >>",
        }),
      "/Annots",
    ],
    [
      "an annotation is added at the end",
      () =>
        update({
          [page()]: objectOf(signed, page()).replace(/(\/Annots \[[^\]]*)/, `$1 ${free()} 0 R`),
          [free()]: "<< /Type /Annot /Subtype /FreeText /Rect [0 0 99 99] /Contents (paid) >>",
        }),
      "adds an annotation",
    ],
    [
      "the catalog has other pages",
      () =>
        update({
          [root().number]: root().text.replace(/\/Pages \d+ 0 R/, `/Pages ${free()} 0 R`),
          [free()]: "<< /Type /Pages /Kids [] /Count 0 >>",
        }),
      "the catalog's /Pages",
    ],
    [
      "something is done on opening",
      () => update({ [root().number]: withEntry(root().text, "/OpenAction << /S /JavaScript /JS (x) >>") }),
      "the catalog's /OpenAction",
    ],
    [
      "the same beside a store",
      () =>
        update(
          dss(signed, { [root().number]: withEntry(root().text, `/DSS ${free()} 0 R /OpenAction ${free() + 1} 0 R`) }),
        ),
      "the catalog's /OpenAction",
    ],
    [
      "an entry is there twice",
      () => update({ [root().number]: withEntry(root().text, "/DSS 1 0 R /DSS 2 0 R") }),
      "twice",
    ],
    ["another catalog", () => update({ [free()]: root().text }, { root: `${free()} 0 R` }), "another catalog"],
    [
      "an object is replaced through an object stream",
      () => withPackedUpdate(signed, { objects: { [page()]: "<< /Type /Page >>" } }),
      "a page's",
    ],
    [
      "an object stream has more objects than are listed",
      () => withPackedUpdate(signed, { objects: { [free()]: "(a)", [free() + 1]: "(b)" }, unlisted: 1 }),
      "in no cross-reference",
    ],
    [
      "the field of the signature is replaced",
      () => {
        const [field = 0] = numbersWith(signed, /\/FT \/Sig/);
        return update({ [field]: objectOf(signed, field).replace(/\/Rect \[[^\]]*\]/, "/Rect [0 0 99 99]") });
      },
      "replaces object",
    ],
    ["a field is added that is no timestamp", () => stamped(signed, { type: "Sig" }), "a field that is no timestamp"],
    [
      "an object is in no cross-reference",
      () => inserted(update(dss(signed)), "1 0 obj\n<< >>\nendobj\n"),
      "in no cross-reference",
    ],
    [
      "a second end is hidden in a comment",
      () => inserted(update(dss(signed)), "%startxref 0 %%EOF\n"),
      "a comment that is a trap",
    ],
    [
      "objects are hidden in a stream",
      () => update(dss(signed, { [free() + 1]: "<< /Length 19 >>\nstream\n1 0 obj << >> endob\nendstream" })),
      "a trap",
    ],
    [
      "objects are hidden in a string",
      () => update(dss(signed, { [free() + 2]: "(\n1 0 obj << >> endobj\n)" })),
      "a trap",
    ],
    [
      "bytes stand behind the last end",
      () => Buffer.concat([update(dss(signed)), Buffer.from("<!-- -->")]),
      "bytes that are no update",
    ],
    [
      "an update leads past what was signed",
      () => update(dss(signed), { prev: startxrefOf(original) }),
      "does not continue",
    ],
    ["an update leads to itself", () => update(dss(signed), { prev: signed.length }), "does not continue"],
    ["a reader is sent to a second cross-reference", () => update(dss(signed), { trailer: "/XRefStm 9" }), "/XRefStm"],
    [
      "an object is taken away",
      () => {
        const text = update({ [contents()]: drawn }).toString("latin1");
        const at = text.lastIndexOf(`${contents()} 0 obj`);
        const without =
          text.slice(0, at) + text.slice(text.indexOf("xref\n", at)).replace(/\d{10} 00000 n/, "0000000000 00001 f");
        return Buffer.from(without.replace(/\d+(?=\n%%EOF\n$)/, String(at)), "latin1");
      },
      "was taken away",
    ],
    [
      "an object is said to be in the midst of what was signed",
      () => {
        const text = update({ [free()]: "(x)" }).toString("latin1");
        const at = text.lastIndexOf(`${free()} 0 obj`);
        const without =
          text.slice(0, at) + text.slice(text.indexOf("xref\n", at)).replace(/\d{10} 00000 n/, "0000000100 00000 n");
        return Buffer.from(without.replace(/\d+(?=\n%%EOF\n$)/, String(at)), "latin1");
      },
      "not where the cross-reference says",
    ],
    [
      "a bomb",
      () => {
        const packed = deflateSync(Buffer.alloc(20 << 20)).toString("latin1");
        return update(
          dss(signed, {
            [free() + 1]:
              `<< /Type /XRef /W [1 1 1] /Filter /FlateDecode /Length ${packed.length} >>\nstream\n${packed}\nendstream`,
          }),
        );
      },
      "cannot be unpacked",
    ],
  ])("%s", async (_what, make, why) => {
    expect(await verdict(make())).toEqual(refused(why));
  });

  test("an object that what was signed already refers to appears", async () => {
    const at = freeNumber(original) + 40;
    const [number = 0] = numbersWith(original, /\/Type \/Page\b/);
    const shadowed = withUpdate(original, {
      objects: { [number]: objectOf(original, number).replace("/Annots [ ]", `/Annots [ ${at} 0 R ]`) },
    });
    expect(shadowed.includes(`${at} 0 R`)).toBe(true);
    const base = await signer.sign(shadowed);
    const shown = withUpdate(base, { objects: { [at]: "<< /Type /Annot /Subtype /FreeText /Rect [0 0 9 9] >>" } });
    await expect(verify(shown, shadowed)).rejects.toMatchObject({
      code: "signature-partial",
      message: expect.stringContaining("is used by what was signed"),
    });
  });

  test("a flipped byte is found, or is one of the new objects' own", async () => {
    const packed = await longTermSigner.sign(await plainPdf({ useObjectStreams: true }));
    let refusals = 0;
    for (const whole of [packed, stamped(longTerm)]) {
      const { certificate } = await verifySigned(inMemory(whole), { incremental: true });
      const end = whole === packed ? whole.lastIndexOf("%%EOF", whole.length - 9) : longTerm.length;
      for (let n = 0; n < 150; n++) {
        const changed = Buffer.from(whole);
        const at = end + 7 + Math.floor(((n + 0.5) * (whole.length - end - 9)) / 150);
        changed[at] = (changed[at] ?? 0) ^ 0x01;
        const found = await verifySigned(inMemory(changed), { incremental: true }).catch((error: unknown) => error);
        if (found instanceof PermanentError) refusals += 1;
        else expect(found, `byte ${at}`).toMatchObject({ certificate });
      }
    }
    expect(refusals).toBeGreaterThan(150);
  });

  test("a stream of what was signed goes on behind it", async () => {
    const at = freeNumber(original);
    const shadowed = withUpdate(original, { objects: { [at]: "<< /Length 99999 >>\nstream\nBT\nendstream" } });
    const base = await signer.sign(shadowed);
    const shown = withUpdate(base, { objects: dss(base) });
    await expect(verify(shown, shadowed)).rejects.toMatchObject({
      code: "signature-partial",
      message: expect.stringContaining("reaches beyond what was signed"),
    });
  });

  test("the store of before, where the catalog does something else with it", async () => {
    const before = withUpdate(original, {
      objects: {
        [catalogOf(original).number]: withEntry(catalogOf(original).text, "/DSS 90 0 R /Names 90 0 R"),
        90: "<< /Type /DSS >>",
      },
    });
    const base = await signer.sign(before);
    const changed = withUpdate(base, { objects: { 90: "<< /Type /DSS /JavaScript << >> >>" } });
    await expect(verify(changed, before)).rejects.toMatchObject({
      message: expect.stringContaining("is used by what was signed"),
    });
  });
});

test("any change of the catalog but the allowed ones is refused", async () => {
  const { number, text } = catalogOf(signed);
  const change = async (changed: string) =>
    verdict(withUpdate(signed, { objects: { ...dss(signed), [number]: changed } }));
  const store = withEntry(text, `/DSS ${freeNumber(signed)} 0 R`);
  expect(await change(withEntry(store, "/Extensions << /ESIC << /BaseVersion /1.7 /ExtensionLevel 2 >> >>"))).toBe(
    "valid",
  );
  const names =
    "Version Pages PageLabels Names Dests ViewerPreferences PageLayout PageMode Outlines Threads OpenAction AA";
  const more = "URI Metadata StructTreeRoot MarkInfo Lang SpiderInfo OutputIntents PieceInfo OCProperties Perms Legal";
  const last = "Requirements Collection NeedsRendering AF DPartRoot Type dss DSS1 #41A";
  for (const name of `${names} ${more} ${last}`.split(" ")) {
    const has = new RegExp(`/${name}\\b\\s*(?:/\\w+|\\d+ 0 R)`);
    const other = has.test(text) ? store.replace(has, `/${name} (other)`) : withEntry(store, `/${name} (other)`);
    expect(await change(other), name).toEqual(refused("it changes the catalog"));
    if (has.test(text)) expect(await change(store.replace(has, "")), name).toEqual(refused("it changes the catalog"));
  }
  for (const entry of ["/XFA (x)", "/NeedAppearances true", "/DR << >>", "/CO []"]) {
    const form = store.replace(/\/AcroForm\s*<</, `/AcroForm << ${entry}`);
    expect(form).not.toBe(store);
    expect(await change(form), entry).toEqual(refused("it changes the form"));
  }
});

describe("nothing is spent on what is large or hostile", () => {
  /** A PDF with a stream of zeros that is nowhere but in its numbers, and an update behind it. */
  function virtual(filling: number, more = "") {
    const head = `%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n2 0 obj\n<< /Length ${filling} >>\nstream\n`;
    const at = head.length + filling + "\nendstream\nendobj\n".length;
    const rows = [9, head.indexOf("2 0 obj")].map((place) => `${String(place).padStart(10, "0")} 00000 n \n`).join("");
    const signedPart = `\nendstream\nendobj\nxref\n1 2\n${rows}trailer\n<< /Size 3 /Root 1 0 R >>\nstartxref\n${at}\n%%EOF\n`;
    const end = head.length + filling + signedPart.length;
    const catalog = "1 0 obj\n<< /Type /Catalog /DSS << /Certs [3 0 R] >> >>\nendobj\n3 0 obj\n(DER)\nendobj\n";
    const row = (offset: number) => `${String(end + offset).padStart(10, "0")} 00000 n \n`;
    const table = `xref\n1 1\n${row(0)}3 1\n${row(catalog.indexOf("3 0 obj"))}trailer\n<< /Size 4 /Root 1 0 R /Prev ${at} >>\n`;
    const tail = Buffer.from(`${signedPart}${catalog}${table}startxref\n${end + catalog.length}\n%%EOF\n${more}`);
    const sizeBytes = head.length + filling + tail.length;
    const read: number[] = [];
    const content: Content = {
      sizeBytes,
      async read(from, length) {
        const bytes = Buffer.alloc(Math.max(0, Math.min(length, sizeBytes - from)));
        read.push(bytes.length);
        if (from < head.length) bytes.write(head.slice(from));
        const tailAt = head.length + filling - from;
        if (tailAt < bytes.length) tail.copy(bytes, Math.max(0, tailAt), Math.max(0, -tailAt));
        return bytes;
      },
      feed: () => Promise.reject(new Error("nothing is to be hashed")),
    };
    return { content, end, read };
  }

  test("of 300 MB a few windows are read", async () => {
    const { content, end, read } = virtual(300 * 1024 ** 2);
    const { validationData } = await readAdded(content, end);
    expect(validationData).toEqual({ certificates: 1, revocations: 0 });
    expect(read.reduce((sum, one) => sum + one, 0)).toBeLessThan(1 << 20);
  });

  test("more than 32 MiB behind a signature are not read", async () => {
    const { content, end, read } = virtual(9, " ".repeat(33 * 1024 ** 2));
    await expect(readAdded(content, end)).rejects.toThrow("more stands behind it");
    expect(read).toEqual([]);
  });

  test("objects that are within one another end it", async () => {
    const nested = (count: number) => {
      let text = "%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n";
      const places = [9];
      for (let n = 2; n < count; n++) {
        places.push(text.length);
        text += `${n} 0 obj (\n`;
      }
      text += `${")".repeat(count)}\nendobj\n`;
      const rows = places.map((place) => `${String(place).padStart(10, "0")} 00000 n \n`).join("");
      const startxref = text.length;
      text += `xref\n1 ${places.length}\n${rows}trailer\n<< /Size ${count} /Root 1 0 R >>\nstartxref\n${startxref}\n%%EOF\n`;
      return Buffer.from(text);
    };
    const base = nested(10_000);
    const pdf = withUpdate(base, { objects: { 10_001: "(x)" } });
    await expect(readAdded(inMemory(pdf), base.length)).rejects.toThrow("more than is looked at");
  });
});
