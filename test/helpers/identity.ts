import { randomBytes } from "node:crypto";
import { crc32, deflateSync } from "node:zlib";

/** A grey picture of 8 by 8 points, whole; the comment in it makes it different from others. */
export function jpeg(comment = randomBytes(6).toString("hex")): Buffer {
  const text = Buffer.from(comment);
  const segment = (marker: number, ...bytes: Buffer[]) => {
    const body = Buffer.concat(bytes);
    return Buffer.concat([Buffer.from([0xff, marker, (body.length + 2) >> 8, (body.length + 2) & 0xff]), body]);
  };
  const table = (kind: number) => Buffer.from([kind, 1, ...new Array<number>(15).fill(0), 0]);
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    segment(0xe0, Buffer.from("JFIF\0", "latin1"), Buffer.from([1, 1, 0, 0, 1, 0, 1, 0, 0])),
    segment(0xfe, text),
    segment(0xdb, Buffer.from([0]), Buffer.alloc(64, 1)),
    segment(0xc0, Buffer.from([8, 0, 8, 0, 8, 1, 1, 0x11, 0])),
    segment(0xc4, table(0x00)),
    segment(0xc4, table(0x10)),
    segment(0xda, Buffer.from([1, 1, 0, 0, 63, 0])),
    Buffer.from([0x3f, 0xff, 0xd9]),
  ]);
}

/** A PNG of one grey point; the text in it makes it different from others. */
export function png(text = randomBytes(6).toString("hex")): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    crc.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, crc]);
  };
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0])),
    chunk("tEXt", Buffer.from(`Comment\0${text}`, "latin1")),
    chunk("IDAT", deflateSync(Buffer.from([0, 128]))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** The beginning of a film, and then as many bytes as are wanted that nobody has seen before. */
export function mp4(sizeBytes = 4_096): Buffer {
  const brand = Buffer.from("\0\0\0\x18ftypisom\0\0\x02\0isommp42", "latin1");
  const rest = randomBytes(Math.max(sizeBytes - brand.length - 8, 8));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(rest.length + 8);
  head.write("mdat", 4, "latin1");
  return Buffer.concat([brand, head, rest]);
}

/** What the provider is told of somebody whom we identified. */
export const OCR_DATA = { given_name: "Ana", surname_1: "García", serial_number: "A9999999E" };

/** A signer of whom a classic request knows all that it needs. */
export const CLASSIC_SIGNER = {
  email: "ana@example.com",
  mobile_phone_number: "+34699999999",
  given_name: "Ana",
  surname_1: "García",
  serial_number: "A9999999E",
  id_document_type: "IDC",
  id_document_country: "ES",
};

/** Manifests of both workflows, each naming the files of `files`. */
export const classic = (files: Record<string, string>, more: object = {}) => ({
  workflow: "classic",
  signer: CLASSIC_SIGNER,
  identity: files,
  ...more,
});
export const external = (files: Record<string, string>, more: object = {}) => ({
  workflow: "videoid-external",
  signer: { email: "ana@example.com", mobile_phone_number: "+34699999999" },
  identity: {
    ...files,
    acceptance: { description: "terms accepted", ip: "203.0.113.7", date: 1622823879708 },
    ocr_data: OCR_DATA,
    security_checks: { liveliness: true, documents_match: true },
    similarity_level: "high",
  },
  ...more,
});
