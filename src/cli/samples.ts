import { type PDFFont, PDFDocument, type PDFPage, rgb, StandardFonts } from "@cantoo/pdf-lib";

/** A file of the demo, by its path inside the inbox. */
export interface Sample {
  path: string;
  bytes: Uint8Array;
}

/** The demo's documents, and what is to become of them. */
export interface Samples {
  /** One document, with a sidecar that says who signs. */
  alone: { reference: string; files: Sample[]; documents: string[] };
  /** Three documents in a folder, which are one request. */
  folder: { reference: string; files: Sample[]; documents: string[] };
  /** A PDF that was cut off while it was copied. */
  broken: { name: string; reference: string; files: Sample[] };
}

export const SIGNER = {
  email: "ana.demo@example.com",
  mobile_phone_number: "+34600000000",
  given_name: "Ana",
  surname_1: "Demo",
};

/** Lower left and upper right corner of the signature, in points: the box that every sample draws. */
const BOX = [330, 96, 540, 166] as const;

/** The signature as it is drawn into that box. */
export const SIGNATURE = {
  appearance: {
    page: 0,
    position: BOX.join(", "),
    text: ["Signed by %(CN)s", "%(DATE)s", "NOT LEGALLY BINDING"],
  },
};

const request = (reference: string): Uint8Array =>
  toManifest({
    workflow: "videoid",
    reference,
    signer: SIGNER,
    authentication: { method: "sms" },
    signature: SIGNATURE,
  });

/** A manifest as people write it. */
export function toManifest(manifest: object): Uint8Array {
  return Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
}

/** What tells a run's names from those of another: seconds in base 36, short because people read it in paths. */
export function stampOf(at: Date): string {
  return Math.floor(at.getTime() / 1000).toString(36);
}

/**
 * Sample documents for one run. `at` is on every page, so that each run's documents are new ones: the same again would
 * be set aside as duplicates.
 */
export async function makeSamples(at: Date): Promise<Samples> {
  const stamp = stampOf(at);
  const names = { alone: `lease-${stamp}.pdf`, folder: `loan-${stamp}`, broken: `cut-off-${stamp}.pdf` };
  const references = { alone: `demo-lease-${stamp}`, folder: `demo-loan-${stamp}`, broken: `demo-cut-off-${stamp}` };
  const loan = ["1-agreement.pdf", "2-terms.pdf", "3-mandate.pdf"];
  const [lease, ...parts] = await Promise.all([LEASE, AGREEMENT, TERMS, MANDATE].map((text) => draw(text, at)));
  const whole = lease as Uint8Array;
  return {
    alone: {
      reference: references.alone,
      documents: [names.alone],
      // The sidecar first: a document that is there before it has to wait for it.
      files: [
        { path: `${names.alone}.json`, bytes: request(references.alone) },
        { path: names.alone, bytes: whole },
      ],
    },
    folder: {
      reference: references.folder,
      documents: loan,
      files: [
        { path: `${names.folder}/request.json`, bytes: request(references.folder) },
        ...parts.map((bytes, i) => ({ path: `${names.folder}/${loan[i] ?? ""}`, bytes })),
      ],
    },
    broken: {
      name: names.broken,
      reference: references.broken,
      files: [
        { path: `${names.broken}.json`, bytes: request(references.broken) },
        { path: names.broken, bytes: whole.subarray(0, Math.floor(whole.length * 0.6)) },
      ],
    },
  };
}

/** What stands on a sample. */
export interface Text {
  title: string;
  subtitle: string;
  colour: [number, number, number];
  facts: [string, string][];
  clauses: string[];
}

const LEASE: Text = {
  title: "Lease agreement",
  subtitle: "Apartment, 2 rooms, Calle de la Muestra 12, Madrid",
  colour: [0.07, 0.32, 0.45],
  facts: [
    ["Landlord", "Sample Homes, S.L."],
    ["Tenant", "Ana Demo"],
    ["Rent", "950.00 EUR a month"],
    ["From", "the first of next month, for twelve months"],
  ],
  clauses: [
    "The landlord lets the apartment to the tenant for living in it. It is handed over clean, painted and with two sets of keys.",
    "The rent is due on the fifth of each month. Water and community costs are part of it; electricity is not.",
    "Either party may end the lease with two months' notice after the first six months.",
  ],
};

const AGREEMENT: Text = {
  title: "Loan agreement",
  subtitle: "Consumer loan no. 2026-0001",
  colour: [0.36, 0.2, 0.5],
  facts: [
    ["Lender", "Sample Bank, S.A."],
    ["Borrower", "Ana Demo"],
    ["Amount", "6,000.00 EUR"],
    ["Repayment", "24 instalments of 262.41 EUR"],
  ],
  clauses: [
    "The lender pays the amount out within two working days after all three documents of this folder are signed.",
    "The borrower may repay early, in whole or in part, at any time and without a fee.",
    "The borrower may withdraw from this agreement within fourteen days, without giving a reason.",
  ],
};

const TERMS: Text = {
  title: "General terms",
  subtitle: "They belong to loan no. 2026-0001",
  colour: [0.16, 0.38, 0.3],
  facts: [
    ["Valid from", "1 January 2026"],
    ["Language", "English"],
  ],
  clauses: [
    "Notices are sent to the e-mail address that the borrower gave. Each party tells the other when an address changes.",
    "An instalment that is more than ten days late bears interest at the legal rate.",
    "The lender keeps the documents of this loan for as long as the law asks for, and erases them after that.",
  ],
};

const MANDATE: Text = {
  title: "Direct debit mandate",
  subtitle: "For the instalments of loan no. 2026-0001",
  colour: [0.55, 0.27, 0.12],
  facts: [
    ["Creditor", "Sample Bank, S.A."],
    ["Debtor", "Ana Demo"],
    ["Account", "ES00 0000 0000 0000 0000 0000"],
    ["Kind", "Recurrent payments"],
  ],
  clauses: [
    "The debtor allows the creditor to collect the instalments from the account, and the debtor's bank to pay them.",
    "The debtor can have a payment returned within eight weeks of the date on which it was made.",
  ],
};

const A4 = [595.28, 841.89] as const;
const LEFT = 56;
const RIGHT = A4[0] - LEFT;

interface Fonts {
  plain: PDFFont;
  bold: PDFFont;
}

/** One page: a coloured head, a small table, numbered clauses, a box for the signature, and what this paper is not. */
export async function draw({ title, subtitle, colour, facts, clauses }: Text, at: Date): Promise<Uint8Array> {
  const pdf = await PDFDocument.create();
  pdf.setTitle(title);
  pdf.setProducer("signpipe demo");
  pdf.setCreationDate(at);
  pdf.setModificationDate(at);
  const page = pdf.addPage([...A4]);
  const fonts: Fonts = {
    plain: await pdf.embedFont(StandardFonts.Helvetica),
    bold: await pdf.embedFont(StandardFonts.HelveticaBold),
  };
  page.drawRectangle({ x: 0, y: A4[1] - 132, width: A4[0], height: 132, color: rgb(...colour) });
  page.drawText(title, { x: LEFT, y: A4[1] - 78, size: 28, font: fonts.bold, color: rgb(1, 1, 1) });
  page.drawText(subtitle, { x: LEFT, y: A4[1] - 104, size: 11, font: fonts.plain, color: rgb(1, 1, 1) });

  let y = A4[1] - 176;
  for (const [name, value] of facts) {
    page.drawText(name, { x: LEFT, y, size: 10.5, font: fonts.bold, color: rgb(...colour) });
    page.drawText(value, { x: LEFT + 110, y, size: 10.5, font: fonts.plain });
    page.drawLine({
      start: { x: LEFT, y: y - 8 },
      end: { x: RIGHT, y: y - 8 },
      thickness: 0.4,
      color: rgb(0.8, 0.8, 0.8),
    });
    y -= 25;
  }
  y -= 18;
  for (const [i, clause] of clauses.entries()) {
    page.drawText(`${i + 1}.`, { x: LEFT, y, size: 11, font: fonts.bold, color: rgb(...colour) });
    y = drawParagraph(page, clause, { x: LEFT + 24, y, width: RIGHT - LEFT - 24, font: fonts.plain, size: 11 }) - 12;
  }
  drawFoot(page, fonts, at);
  return await pdf.save();
}

/** Lines broken at words. The next free line. */
function drawParagraph(
  page: PDFPage,
  text: string,
  { x, y, width, font, size }: { x: number; y: number; width: number; font: PDFFont; size: number },
): number {
  let line = "";
  for (const word of [...text.split(" "), ""]) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (word !== "" && font.widthOfTextAtSize(longer, size) <= width) {
      line = longer;
      continue;
    }
    page.drawText(line, { x, y, size, font });
    y -= size * 1.45;
    line = word;
  }
  return y;
}

function drawFoot(page: PDFPage, { plain, bold }: Fonts, at: Date): void {
  const [x1, y1, x2, y2] = BOX;
  page.drawText("Signature of Ana Demo", { x: x1, y: y2 + 8, size: 9, font: bold });
  const dashed = { borderWidth: 0.8, borderColor: rgb(0.55, 0.55, 0.6), borderDashArray: [3, 3] };
  page.drawRectangle({ x: x1, y: y1, width: x2 - x1, height: y2 - y1, ...dashed });
  const note = `Made by signpipe's demo at ${at.toISOString()}. A sample: it binds nobody.`;
  page.drawText(note, { x: LEFT, y: 44, size: 8, font: plain, color: rgb(0.45, 0.45, 0.5) });
}
