import { randomBytes } from "node:crypto";
import { crc32, deflateSync } from "node:zlib";
import { draw, type Sample, SIGNATURE, SIGNER, stampOf, type Text, toManifest } from "./samples.ts";

/** A folder for the inbox that goes another way than identification on video at the provider. */
export interface WorkflowSample {
  /** What people call this way. */
  name: string;
  /** What is in the folder, in few words, and what comes back. */
  wentIn: string;
  comesOut: string;
  /** How the signer is identified, or what is special about it. */
  says: string;
  folder: string;
  reference: string;
  /** With their paths inside the inbox. */
  files: Sample[];
  document: string;
}

/** What an officer writes off the identity document. */
const IDENTIFIED = { ...SIGNER, serial_number: "A9999999E", id_document_type: "IDC", id_document_country: "ES" };
const SIDES = { document_front: "front.png", document_rear: "rear.png" };
const FILMED = { ...SIDES, document_owner: "holding.png", video: "interview.mp4" };

/** One request for each other way to a signature. New ones at another `at`, as makeSamples. */
export async function makeWorkflowSamples(at: Date): Promise<WorkflowSample[]> {
  const stamp = stampOf(at);
  const [letter, order, consent] = await Promise.all([LETTER, ORDER, CONSENT].map((text) => draw(text, at)));
  const sides = { [SIDES.document_front]: card(0.35), [SIDES.document_rear]: card(0.75) };
  const make = (
    { name, ...words }: Pick<WorkflowSample, "name" | "wentIn" | "comesOut" | "says">,
    document: string,
    manifest: object,
    contents: Record<string, Uint8Array | undefined>,
  ): WorkflowSample => {
    const folder = `${name}-${stamp}`;
    const reference = `demo-${name}-${stamp}`;
    const given = { "request.json": toManifest({ reference, signer: IDENTIFIED, ...manifest }), ...contents };
    const files = Object.entries(given).map(([file, bytes = new Uint8Array()]) => ({
      path: `${folder}/${file}`,
      bytes,
    }));
    return { name, ...words, folder, reference, files, document };
  };
  return [
    make(
      {
        name: "classic",
        wentIn: "PDF, 2 pictures",
        comesOut: "signed PDF",
        says: "the signer was identified by you, face to face",
      },
      "letter.pdf",
      { workflow: "classic", identity: SIDES, signature: SIGNATURE },
      { "letter.pdf": letter, ...sides },
    ),
    make(
      {
        name: "asynchronous",
        wentIn: "PDF, 2 pictures",
        comesOut: "signed PDF",
        says: "the same, signed behind the provider's answer",
      },
      "order.pdf",
      { workflow: "classic", useasync: true, identity: SIDES, signature: SIGNATURE },
      { "order.pdf": order, ...sides },
    ),
    make(
      {
        name: "videoid-external",
        wentIn: "PDF, 3 pictures, film",
        comesOut: "signed PDF",
        says: "the signer was identified by you, on video",
      },
      "consent.pdf",
      { workflow: "videoid-external", signer: SIGNER, identity: EVIDENCE, signature: SIGNATURE },
      { "consent.pdf": consent, ...sides, [FILMED.document_owner]: card(0.55), [FILMED.video]: film() },
    ),
    make(
      {
        name: "hash",
        wentIn: "CSV, its hash alone",
        comesOut: "signature, .p7m",
        says: "a file of any kind; only its hash leaves",
      },
      "figures.csv",
      { workflow: "videoid", signer: SIGNER, signature: { format: "cms" } },
      { "figures.csv": Buffer.from(`month,rent\n${at.toISOString()},950.00\n`) },
    ),
  ];
}

/** What was found out in the interview on video. */
const EVIDENCE = {
  ...FILMED,
  acceptance: { description: "Terms and privacy policy accepted", ip: "203.0.113.7", date: 1_767_225_600_000 },
  ocr_data: { given_name: SIGNER.given_name, surname_1: SIGNER.surname_1, serial_number: IDENTIFIED.serial_number },
  security_checks: { documents_match: true, liveliness: true },
  similarity_level: "high",
};

const LETTER: Text = {
  title: "Engagement letter",
  subtitle: "Accounts of one year",
  colour: [0.2, 0.3, 0.5],
  facts: [
    ["Accountant", "Sample Accounts, S.L."],
    ["Client", "Ana Demo"],
    ["Fee", "480.00 EUR"],
  ],
  clauses: [
    "The accountant makes up the accounts of the client for one year, from the papers that the client hands in.",
  ],
};

const ORDER: Text = {
  title: "Purchase order",
  subtitle: "No. 2026-0002",
  colour: [0.45, 0.35, 0.1],
  facts: [
    ["Seller", "Sample Bicycles, S.L."],
    ["Buyer", "Ana Demo"],
    ["Price", "740.00 EUR"],
  ],
  clauses: ["The seller delivers one bicycle within two weeks. The buyer pays on delivery."],
};

const CONSENT: Text = {
  title: "Consent",
  subtitle: "To the use of a photograph",
  colour: [0.3, 0.4, 0.2],
  facts: [
    ["Given by", "Ana Demo"],
    ["To", "Sample Studio, S.L."],
  ],
  clauses: ["The studio may show the photograph in its window. The consent can be taken back at any time."],
};

const CARD = { width: 342, height: 216 } as const;

/** An empty card with a place for a portrait, as a grey PNG. `shade` of its paper is from 0, black, to 1. */
function card(shade: number): Buffer {
  const rows = Array.from({ length: CARD.height }, (_, y) => {
    const isHeadHigh = y > 50 && y < 160;
    const row = Array.from({ length: CARD.width }, (_, x) => (isHeadHigh && x > 20 && x < 110 ? 230 : shade * 255));
    return Buffer.from([0, ...row]); // each line begins with its filter: none
  });
  const header = Buffer.alloc(13);
  header.writeUInt32BE(CARD.width, 0);
  header.writeUInt32BE(CARD.height, 4);
  header[8] = 8; // bits of a grey point
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.concat(rows))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** @source PNG (Third Edition) §5.3 */
function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}

/** What is a film by its container, with noise in it: the simulator does not watch it. @source ISO/IEC 14496-12 §4.3 */
function film(): Buffer {
  const box = (type: string, data: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length + 8);
    return Buffer.concat([length, Buffer.from(type, "latin1"), data]);
  };
  return Buffer.concat([
    box("ftyp", Buffer.from("isom\0\0\x02\0isommp41", "latin1")),
    box("mdat", randomBytes(20_000)),
  ]);
}
