import { shown, widthOf } from "../pdf/text.ts";

/** What the contract names. The same facts give the same bytes, so it need not be kept. */
export type ContractFacts = {
  requestPk: number;
  profile: string;
  signerName: string;
  /** How the signer was identified: by video, or by an officer who saw the document. */
  byVideo: boolean;
  approvedAt: Date;
};

const PAGE = { width: 595, height: 842, margin: 64 };

const consent = (byVideo: boolean): string[] =>
  wrap(
    `The signer has been identified ${byVideo ? "by video" : "by an identity document"}, has seen the documents to be ` +
      "signed, and agrees that the certificate is used once, for all documents of this request and for this contract, " +
      "and destroyed afterwards.",
  );
const NO_LEGAL_VALUE = wrap(
  "Simulator: nothing is legally signed. This page was made by a local test provider; its certificates have no legal value.",
);

/**
 * The service contract of a request: one A4 page that says which request it is for and that nothing is legally signed.
 */
export function contractPdf(facts: ContractFacts): Buffer {
  const approved = facts.approvedAt.toISOString().slice(0, 19).replace("T", " ");
  const paragraphs = [
    wrap(`This contract covers one single-use certificate, issued for signing request ${facts.requestPk}.`),
    wrap(`Certificate profile: ${facts.profile}`),
    wrap(`Signer: ${facts.signerName}`),
    [`Approved by the registration authority on ${approved} UTC.`],
    consent(facts.byVideo),
    NO_LEGAL_VALUE,
  ];
  let y = PAGE.height - 150;
  let content = `BT /F2 20 Tf 0.1 0.12 0.2 rg ${PAGE.margin} ${PAGE.height - 96} Td ${shown("Service contract")} Tj ET\n`;
  content += `q 0.8 0.82 0.86 RG 1 w ${PAGE.margin} ${PAGE.height - 112} m ${PAGE.width - PAGE.margin} ${PAGE.height - 112} l S Q\n`;
  for (const paragraph of paragraphs) {
    for (const line of paragraph) {
      content += `BT /F1 11 Tf 0.15 0.15 0.2 rg ${PAGE.margin} ${y} Td ${shown(line)} Tj ET\n`;
      y -= 16;
    }
    y -= 10;
  }
  return assemble(Buffer.from(content, "latin1"), facts.requestPk);
}

function wrap(text: string, size = 11, room = PAGE.width - 2 * PAGE.margin): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line ? `${line} ${word}` : word;
    if (line && widthOf(longer, size) > room) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}

function assemble(content: Buffer, requestPk: number): Buffer {
  const font = (base: string) => `<</Type/Font/Subtype/Type1/BaseFont/${base}/Encoding/WinAnsiEncoding>>`;
  const bodies = [
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    `<</Type/Page/Parent 2 0 R/MediaBox[0 0 ${PAGE.width} ${PAGE.height}]/Contents 4 0 R/Resources<</Font<</F1 5 0 R/F2 6 0 R>>>>>>`,
    `<</Length ${content.length}>>\nstream\n${content.toString("latin1")}\nendstream`,
    font("Helvetica"),
    font("Helvetica-Bold"),
    `<</Title(Service contract of request ${requestPk})/Producer(signpipe simulator)>>`,
  ];
  let text = "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n";
  const offsets = bodies.map((body, i) => {
    const offset = text.length;
    text += `${i + 1} 0 obj\n${body}\nendobj\n`;
    return offset;
  });
  const rows = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  text += `xref\n0 ${bodies.length + 1}\n0000000000 65535 f \n${rows}`;
  const start = text.lastIndexOf("xref\n0 ");
  return Buffer.from(
    `${text}trailer\n<</Size ${bodies.length + 1}/Root 1 0 R/Info 7 0 R>>\nstartxref\n${start}\n%%EOF\n`,
    "latin1",
  );
}
