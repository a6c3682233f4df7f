import { PermanentError } from "../core/errors.ts";
import type { EnclosureRole } from "../core/identity.ts";
import { type Content, withContent } from "./content.ts";
import { checkSize } from "./probe.ts";

/** Signatures that are looked for are within these bytes. */
const HEAD_BYTES = 1_024;

/** What a file is by its first bytes; the order decides. */
const KINDS: readonly { contentType: string; is: (head: Buffer) => boolean }[] = [
  // @source ITU-T T.81 Annex B (the marker SOI, and the next one)
  { contentType: "image/jpeg", is: (head) => startsWith(head, "ffd8ff") },
  { contentType: "image/png", is: isPngHead },
  { contentType: "application/pdf", is: (head) => head.includes("%PDF-") },
  // @source ISO/IEC 14496-12 §4.3; the brand "qt  " is QuickTime's, "3g…" that of telephones (3GPP TS 26.244)
  { contentType: "video/quicktime", is: (head) => brandOf(head) === "qt  " || isOldQuickTime(head) },
  { contentType: "video/3gpp", is: (head) => brandOf(head)?.startsWith("3g") === true },
  { contentType: "video/mp4", is: (head) => isVideoBrand(brandOf(head)) },
  // @source RFC 8794 §8.1 (EBML header), RFC 9559 §5.1 (DocType)
  { contentType: "video/webm", is: (head) => startsWith(head, "1a45dfa3") && head.includes("webm") },
  { contentType: "video/x-matroska", is: (head) => startsWith(head, "1a45dfa3") && head.includes("matroska") },
  { contentType: "video/x-msvideo", is: (head) => textAt(head, 0) === "RIFF" && textAt(head, 8) === "AVI " },
  // @source ISO/IEC 13818-1: start codes of packs and sequences; transport packets of 188 bytes with a sync byte each
  { contentType: "video/mpeg", is: (head) => startsWith(head, "000001ba") || startsWith(head, "000001b3") },
  { contentType: "video/mp2t", is: (head) => head.length > 376 && [0, 188, 376].every((at) => head[at] === 0x47) },
];

/** What is wanted of a file by what it shows; whatever is not named may be anything. */
const WANTED: Partial<Record<EnclosureRole, { code: string; message: string; prefix: string[] }>> = {
  video: {
    code: "not-a-video",
    message: "The file is not a video in a form that is known here: MP4, MOV, WebM, Matroska, AVI, MPEG.",
    prefix: ["video/"],
  },
  ...Object.fromEntries(
    (["document_front", "document_rear", "document_photo", "document_owner"] as const).map((role) => [
      role,
      {
        code: "not-a-picture",
        message: "The file is not a JPEG or PNG picture.",
        prefix: ["image/jpeg", "image/png"],
      },
    ]),
  ),
};

/**
 * The content type of a file that shows who the signer is, by its bytes: what it is called says nothing, and is not
 * asked for. Reads a kilobyte. Throws PermanentError "file-empty", "file-too-large" above `maxBytes`, "not-a-picture",
 * "not-a-video", "not-a-regular-file", "file-changed".
 *
 * A video whose container is not known here is turned away although the provider may know it: that costs its sender a
 * conversion, and a video that the provider cannot read costs the whole identification.
 * @source docs/provider.md §Create, §Evidences, §Video
 */
export async function probeEnclosure(
  path: string,
  role: EnclosureRole,
  { maxBytes = Number.POSITIVE_INFINITY } = {},
): Promise<string> {
  return await withContent(path, async (content) => {
    checkSize(content, maxBytes);
    return await contentTypeOf(content, role);
  });
}

/** Whether a PNG begins so: its signature, and the head that has to come first. @source ISO/IEC 15948 §5.2, §11.2.1 */
export function isPngHead(head: Buffer): boolean {
  return startsWith(head, "89504e470d0a1a0a0000000d49484452");
}

/** What a file is by its first kilobyte. */
export function typeOfHead(head: Buffer): string {
  const first = head.subarray(0, HEAD_BYTES);
  return KINDS.find(({ is }) => is(first))?.contentType ?? "application/octet-stream";
}

async function contentTypeOf(content: Content, role: EnclosureRole): Promise<string> {
  const contentType = typeOfHead(await content.read(0, HEAD_BYTES));
  const wanted = WANTED[role];
  if (wanted && !wanted.prefix.some((prefix) => contentType.startsWith(prefix))) {
    throw new PermanentError(wanted.message, { code: wanted.code });
  }
  return contentType;
}

function startsWith(head: Buffer, hex: string): boolean {
  return head.subarray(0, hex.length / 2).toString("hex") === hex;
}

function textAt(head: Buffer, at: number): string {
  return head.toString("latin1", at, at + 4);
}

function brandOf(head: Buffer): string | undefined {
  return textAt(head, 4) === "ftyp" ? textAt(head, 8) : undefined;
}

/** Pictures (HEIF, AVIF) and sound alone (M4A) come in the same container. @source ISO/IEC 23008-12 */
function isVideoBrand(brand: string | undefined): boolean {
  return brand !== undefined && !/^(?:hei|hev|mif|msf|avif|avis|M4A|M4B)/.test(brand);
}

/** Before there were brands, a film began with one of these. @source Apple, QuickTime File Format */
function isOldQuickTime(head: Buffer): boolean {
  return ["moov", "mdat", "wide"].includes(textAt(head, 4));
}
