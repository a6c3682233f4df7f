/** Updates behind a PDF, written by hand: as good or as evil as a test wants them. */

export interface Written {
  /** Text of objects by their number; those with a stream have "stream" in it. */
  objects: Record<number, string>;
  /** Entries of the trailer beside /Size, /Root and /Prev. */
  trailer?: string;
  root?: string;
  prev?: number;
}

/** Where the newest cross-reference of a PDF is, by its end. */
export function startxrefOf(pdf: Buffer): number {
  return Number(/startxref\s+(\d+)\s+%%EOF\s*$/.exec(pdf.toString("latin1"))?.[1]);
}

/** The number of the newest catalog and its text; of PDFs whose catalog is an object of its own. */
export function catalogOf(pdf: Buffer): { number: number; text: string } {
  const text = pdf.toString("latin1");
  const number = Number([...text.matchAll(/\/Root (\d+) 0 R/g)].at(-1)?.[1]);
  return { number, text: objectOf(pdf, number) };
}

/** The newest text of an object of its own. */
export function objectOf(pdf: Buffer, number: number): string {
  const found = [...pdf.toString("latin1").matchAll(new RegExp(`(?<=\\n)${number} 0 obj\\s([^]*?)\\s?endobj`, "g"))];
  return found.at(-1)?.[1]?.trim() ?? "";
}

/** The numbers of the newest objects in whose text this is. */
export function numbersWith(pdf: Buffer, pattern: RegExp): number[] {
  const all = new Set([...pdf.toString("latin1").matchAll(/(?<=\n)(\d+) 0 obj/g)].map((one) => Number(one[1])));
  return [...all].filter((number) => pattern.test(objectOf(pdf, number)));
}

/** The first number that no object has. */
export function freeNumber(pdf: Buffer): number {
  return Math.max(...[...pdf.toString("latin1").matchAll(/\/Size (\d+)/g)].map((one) => Number(one[1])));
}

/** The PDF and an update with a classic table behind it. */
export function withUpdate(pdf: Buffer, { objects, trailer = "", root, prev }: Written): Buffer {
  const places = new Map<number, number>();
  let text = pdf.at(-1) === 0x0a ? "" : "\n";
  for (const [number, body] of Object.entries(objects)) {
    places.set(Number(number), pdf.length + text.length);
    text += `${number} 0 obj\n${body}\nendobj\n`;
  }
  const at = pdf.length + text.length;
  const rows = [...places].map(([number, place]) => `${number} 1\n${String(place).padStart(10, "0")} 00000 n \n`);
  const size = Math.max(freeNumber(pdf), ...[...places.keys()].map((number) => number + 1));
  const entries = `/Size ${size} /Root ${root ?? `${catalogOf(pdf).number} 0 R`} /Prev ${prev ?? startxrefOf(pdf)} ${trailer}`;
  text += `xref\n${rows.join("")}trailer\n<< ${entries} >>\nstartxref\n${at}\n%%EOF\n`;
  return Buffer.concat([pdf, Buffer.from(text, "latin1")]);
}

/** The PDF and an update in the newer form: objects packed into a stream, listed in a stream but for the last ones. */
export function withPackedUpdate(
  pdf: Buffer,
  { objects, unlisted = 0 }: Pick<Written, "objects"> & { unlisted?: number },
): Buffer {
  const first = freeNumber(pdf) + 100;
  const bodies = Object.entries(objects);
  let [table, body] = ["", ""];
  for (const [number, text] of bodies) {
    table += `${number} ${body.length} `;
    body += `${text} `;
  }
  let text = "\n";
  const placeOfPack = pdf.length + text.length;
  text += `${first} 0 obj\n<< /Type /ObjStm /N ${bodies.length} /First ${table.length} /Length ${table.length + body.length} >>\nstream\n${table}${body}\nendstream\nendobj\n`;
  const at = pdf.length + text.length;
  const row = (kind: number, place: number, index: number) => {
    const bytes = Buffer.alloc(7);
    bytes[0] = kind;
    bytes.writeUInt32BE(place, 1);
    bytes.writeUInt16BE(index, 5);
    return bytes;
  };
  const listed = bodies.slice(0, bodies.length - unlisted);
  const rows = [...listed.map((_, index) => row(2, first, index)), row(1, placeOfPack, 0), row(1, at, 0)];
  const data = Buffer.concat(rows).toString("latin1");
  const index = [...listed.map(([number]) => `${number} 1`), `${first} 2`].join(" ");
  text += `${first + 1} 0 obj\n<< /Type /XRef /W [1 4 2] /Index [${index}] /Size ${first + 2} /Length ${data.length} /Root ${catalogOf(pdf).number} 0 R /Prev ${startxrefOf(pdf)} >>\nstream\n${data}\nendstream\nendobj\nstartxref\n${at}\n%%EOF\n`;
  return Buffer.concat([pdf, Buffer.from(text, "latin1")]);
}
