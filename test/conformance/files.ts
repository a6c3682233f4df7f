import { samplePdf } from "../simulator/house.ts";
import { JPEG, MP4 } from "../simulator/house.ts";

const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAQAAAACCAIAAADwyuo0AAAAEElEQVR4nGNQcGiAIwZkDgBYGgcBJ5S78gAAAABJRU5ErkJggg==",
  "base64",
);
/** The messageDigest attribute around the SHA-256 of "abc". @source RFC 5652 §11.2, FIPS 180-4 */
const HASH = JSON.stringify({
  messageDigest: Buffer.from(
    "302f06092a864886f70d010904312204" + "20ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "hex",
  ).toString("base64"),
  digestAlgorithm: "sha256WithRSAEncryption",
  addAuthAttribute: 1,
  addSigningTime: 1,
  otherAuthAttributes: [],
});

/** The type of a file and the bytes that it begins with, by the ending of its name. */
export const KINDS: Record<string, { type: string; starts: Buffer }> = {
  jpg: { type: "image/jpeg", starts: Buffer.from("ffd8ff", "hex") },
  png: { type: "image/png", starts: Buffer.from("89504e47", "hex") },
  pdf: { type: "application/pdf", starts: Buffer.from("%PDF-") },
  mp4: { type: "video/mp4", starts: MP4.subarray(0, 8) },
  json: { type: "application/json", starts: Buffer.from("{") },
  p7m: { type: "application/pkcs7-mime", starts: Buffer.from("30", "hex") },
  txt: { type: "text/plain", starts: Buffer.from("no") },
  gif: { type: "image/gif", starts: Buffer.from("GIF8") },
};

const CONTENTS: Record<string, Buffer> = {
  jpg: JPEG,
  png: PNG,
  pdf: await samplePdf(),
  mp4: MP4,
  json: Buffer.from(HASH),
  txt: Buffer.from("no document"),
  gif: Buffer.from("GIF89a"),
  // A SEQUENCE with the OID of signed data in it, as every CMS begins. @source RFC 5652 §5.1
  p7m: Buffer.concat([Buffer.from("308204000609" + "2a864886f70d010702", "hex"), Buffer.alloc(1014)]),
};

const endingOf = (name: string): string => name.split(".").at(-1) ?? "";

/** What stands for a file in an example, as a file. */
export function fileOf(name: string): { bytes: Buffer; type: string; name: string } {
  const [bytes, kind] = [CONTENTS[endingOf(name)], KINDS[endingOf(name)]];
  if (!bytes || !kind) throw new Error(`No file is known for ${name}`);
  return { bytes, type: kind.type, name };
}

/** Whether bytes begin as a file of this media type does. */
export const beginsAs = (bytes: Buffer, type: string): boolean =>
  Object.values(KINDS).some((kind) => kind.type === type && bytes.subarray(0, kind.starts.length).equals(kind.starts));
