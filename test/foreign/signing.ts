/**
 * Signs PDFs as a provider would: the file as it was, then an update with the signature in it. The CMS is made by
 * openssl, so that nothing of ours judges its own work.
 *
 * @source ISO 32000-2, 7.5.6 (incremental updates), 12.7.5.5 and 12.8 (signatures); ETSI EN 319 142-1 (CAdES in PDF).
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Hash, signHash } from "./hashes.ts";
import { isDict, isRef, pageAt, readPdf, write, type Dict, type PdfFile, type Ref, type Value } from "./pdf-syntax.ts";

export interface Appearance {
  /** x1, y1, x2, y2 in points. */
  rectangle: [number, number, number, number];
  /** Counted from 0. */
  page: number;
  lines: string[];
}

const CMS_BYTES = 8_192;
const HOLE = "0".repeat(CMS_BYTES * 2);
const RANGE = "[0 9999999999 9999999999 9999999999]";

export interface Authority {
  cms(content: Buffer): Promise<Buffer>;
  /** The same over a digest alone. */
  overHash(hash: Hash): Buffer;
  close(): void;
}

/** A certificate authority of one day, and one signer's certificate by it. */
export function createAuthority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), "foreign-ca-"));
  const at = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "1", "-subj", "/CN=Foreign Test CA");
  openssl(
    "req",
    "-new",
    ...key,
    "-keyout",
    "leaf.key",
    "-out",
    "leaf.csr",
    "-subj",
    "/C=ES/CN=Ana Lopez/serialNumber=1",
  );
  writeFileSync(at("leaf.ext"), "keyUsage=critical,nonRepudiation\nbasicConstraints=CA:FALSE\n");
  openssl(
    ..."x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile leaf.ext -out leaf.pem".split(
      " ",
    ),
  );
  const cmsArguments =
    "cms -sign -binary -outform DER -md sha256 -cades -nosmimecap -signer leaf.pem -inkey leaf.key -certfile ca.pem".split(
      " ",
    );
  return {
    cms: (content) =>
      new Promise((resolve, reject) => {
        const child = spawn("openssl", cmsArguments, { cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
        const parts: Buffer[] = [];
        child.stdout.on("data", (part: Buffer) => parts.push(part));
        child.once("error", reject);
        child.once("close", (code) =>
          code === 0 ? resolve(Buffer.concat(parts)) : reject(new Error(`openssl ended with ${code}`)),
        );
        child.stdin.end(content);
      }),
    overHash: (hash) => signHash(folder, hash),
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const name = (text: string): Value => ({ raw: text });

/** The AcroForm with one more field; what it had is kept. */
function withField(file: PdfFile, root: Dict, field: Ref): Dict {
  const old = file.resolve(root.get("/AcroForm"));
  const form: Dict = isDict(old) ? new Map(old) : new Map();
  const fields = file.resolve(form.get("/Fields"));
  form.set("/Fields", [...(Array.isArray(fields) ? fields : []), field]);
  form.set("/SigFlags", 3);
  return form;
}

const escaped = (text: string): string => text.replace(/[^ -~]/g, "?").replace(/[\\()]/g, (found) => `\\${found}`);

function drawing({ rectangle: [x1, y1, x2, y2], lines }: Appearance): string {
  const text = `BT /F1 8 Tf 9 TL 2 ${y2 - y1 - 9} Td ${lines.map((line) => `(${escaped(line)}) Tj T*`).join(" ")} ET`;
  const font = "<</F1 <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>>>";
  const box = `[0 0 ${x2 - x1} ${y2 - y1}]`;
  return `<</Type /XObject /Subtype /Form /BBox ${box} /Resources <</Font ${font}>> /Length ${text.length}>>\nstream\n${text}\nendstream`;
}

function crossReferences(file: PdfFile, offsets: Map<number, { offset: number; gen: number }>, size: number): string {
  const numbers = [...offsets.keys()].sort((a, b) => a - b);
  const entries = numbers.map((number) => {
    const { offset, gen } = offsets.get(number) ?? { offset: 0, gen: 0 };
    return `${number} 1\n${String(offset).padStart(10, "0")} ${String(gen).padStart(5, "0")} n \n`;
  });
  return `xref\n${entries.join("")}trailer\n${write(trailerOf(file, size))}\n`;
}

function trailerOf(file: PdfFile, size: number): Dict {
  const trailer: Dict = new Map([["/Size", size]]);
  for (const key of ["/Root", "/Info", "/ID"]) {
    const value = file.trailer.get(key);
    if (value !== undefined) trailer.set(key, value);
  }
  if (file.startxref !== undefined) trailer.set("/Prev", file.startxref);
  return trailer;
}

/** The section as a stream. Where the old tables could not be used, it names every object that was found. */
function crossReferenceStream(
  file: PdfFile,
  offsets: Map<number, { offset: number; gen: number }>,
  self: { number: number; offset: number },
): string {
  const all = new Map<number, [number, number, number]>();
  if (file.startxref === undefined)
    for (const [number, place] of file.places)
      all.set(number, "offset" in place ? [1, place.offset - file.shift, place.gen] : [2, place.stream, place.index]);
  for (const [number, { offset, gen }] of offsets) all.set(number, [1, offset, gen]);
  all.set(self.number, [1, self.offset, 0]);
  if (file.startxref === undefined) all.set(0, [0, 0, 65_535]);
  const numbers = [...all.keys()].sort((a, b) => a - b);
  const data = Buffer.alloc(numbers.length * 7);
  numbers.forEach((number, row) => {
    const [kind, middle, end] = all.get(number) ?? [0, 0, 0];
    data.writeUInt8(kind, row * 7);
    data.writeUInt32BE(middle, row * 7 + 1);
    data.writeUInt16BE(Math.min(end, 65_535), row * 7 + 5);
  });
  const dict = trailerOf(file, Math.max(self.number, ...numbers) + 1);
  dict.set("/Type", name("/XRef"));
  dict.set("/W", [1, 4, 2]);
  dict.set(
    "/Index",
    numbers.flatMap((number) => [number, 1]),
  );
  dict.set("/Filter", name("/ASCIIHexDecode"));
  const hex = `${data.toString("hex")}>`;
  dict.set("/Length", hex.length);
  return `${self.number} 0 obj\n${write(dict)}\nstream\n${hex}\nendstream\nendobj\n`;
}

/** The original and an update that holds the signature field; the CMS is still a hole. */
function withHole(original: Buffer, appearance: Appearance | undefined): Buffer {
  const file = readPdf(original);
  if (file.trailer.has("/Encrypt")) throw new Error("encrypted");
  const rootRef = file.trailer.get("/Root");
  const root = file.resolve(rootRef);
  if (!isDict(root) || !isRef(rootRef)) throw new Error("no catalog");
  const page = pageAt(file, appearance?.page ?? 0);
  const free = Math.max(Number(file.trailer.get("/Size")) || 0, ...file.places.keys(), 0) + 1;
  const [signature, field, form] = [free, free + 1, free + 2];

  const annots = file.resolve(page.dict.get("/Annots"));
  const newPage = new Map(page.dict).set("/Annots", [...(Array.isArray(annots) ? annots : []), { ref: field, gen: 0 }]);
  const newRoot = new Map(root).set("/AcroForm", withField(file, root, { ref: field, gen: 0 }));
  const gen = (number: number): number => {
    const place = file.places.get(number);
    return place && "gen" in place ? place.gen : 0;
  };
  const now = new Date().toISOString().replace(/[-:T]/g, "").slice(0, 14);
  const rectangle = appearance?.rectangle ?? [0, 0, 0, 0];
  const objects: [number, number, string][] = [
    [
      signature,
      0,
      `<</Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached /M (D:${now}Z)\n/ByteRange ${RANGE}\n/Contents <${HOLE}>>>`,
    ],
    [
      field,
      0,
      `<</Type /Annot /Subtype /Widget /FT /Sig /T (OneShot${field}) /F 132 /Rect [${rectangle.join(" ")}] ` +
        `/P ${write(page.ref)} /V ${signature} 0 R${appearance ? ` /AP <</N ${form} 0 R>>` : ""}>>`,
    ],
    ...(appearance ? [[form, 0, drawing(appearance)] as [number, number, string]] : []),
    [rootRef.ref, gen(rootRef.ref), write(newRoot)],
    [page.ref.ref, gen(page.ref.ref), write(newPage)],
  ];
  let update = "\n";
  const offsets = new Map<number, { offset: number; gen: number }>();
  for (const [number, generation, body] of objects) {
    offsets.set(number, { offset: original.length + update.length - file.shift, gen: generation });
    update += `${number} ${generation} obj\n${body}\nendobj\n`;
  }
  const start = original.length + update.length - file.shift;
  const next = free + (appearance ? 3 : 2);
  update += file.streamed
    ? crossReferenceStream(file, offsets, { number: next, offset: start })
    : crossReferences(file, offsets, next);
  update += `startxref\n${start}\n%%EOF\n`;
  return Buffer.concat([original, Buffer.from(update, "latin1")]);
}

/** Signs; throws an error in words where the file cannot be signed. */
export async function signPdf(authority: Authority, original: Buffer, appearance?: Appearance): Promise<Buffer> {
  const signed = withHole(original, appearance);
  const from = original.length;
  const hole = signed.indexOf(`<${HOLE}>`, from, "latin1");
  const after = hole + HOLE.length + 2;
  const range = `[0 ${hole} ${after} ${signed.length - after}]`.padEnd(RANGE.length);
  signed.write(range, signed.indexOf(RANGE, from, "latin1"), "latin1");
  const cms = await authority.cms(Buffer.concat([signed.subarray(0, hole), signed.subarray(after)]));
  if (cms.length > CMS_BYTES) throw new Error("the signature does not fit");
  signed.write(cms.toString("hex"), hole + 1, "latin1");
  return signed;
}

/** Why a file cannot be signed, in words; undefined when it can. */
export function cannotSign(original: Buffer): string | undefined {
  try {
    return readPdf(original).trailer.has("/Encrypt") ? "encrypted" : undefined;
  } catch (error) {
    return error instanceof Error ? error.message : "unreadable";
  }
}

/** A PDF of one page with a few lines. */
export function smallPdf(lines: string[]): Buffer {
  const text = `BT /F1 12 Tf 15 TL 60 780 Td ${lines.map((line) => `(${escaped(line)}) Tj T*`).join(" ")} ET`;
  const bodies = [
    "<</Type /Catalog /Pages 2 0 R>>",
    "<</Type /Pages /Count 1 /Kids [3 0 R]>>",
    "<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources <</Font <</F1 5 0 R>>>>>>",
    `<</Length ${text.length}>>\nstream\n${text}\nendstream`,
    "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>",
  ];
  let file = "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n";
  const offsets = bodies.map((body, index) => {
    const offset = file.length;
    file += `${index + 1} 0 obj\n${body}\nendobj\n`;
    return `${String(offset).padStart(10, "0")} 00000 n \n`;
  });
  const start = file.length;
  file += `xref\n0 ${bodies.length + 1}\n0000000000 65535 f \n${offsets.join("")}`;
  file += `trailer\n<</Size ${bodies.length + 1} /Root 1 0 R>>\nstartxref\n${start}\n%%EOF\n`;
  return Buffer.from(file, "latin1");
}
