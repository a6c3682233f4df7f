import { z } from "zod";
import { StoredDocument } from "./request.ts";

/** Files that show who the signer is, by the provider's names for them. @source docs/provider.md §Create, §Evidences */
export const ENCLOSURES = [
  "document_front",
  "document_rear",
  "document_photo",
  "document_owner",
  "extra_document",
  "video",
] as const;
export type EnclosureRole = (typeof ENCLOSURES)[number];

/** Those that an identification done by the caller consists of. @source docs/provider.md §Evidences */
export const EVIDENCES = [
  "document_front",
  "document_rear",
  "document_photo",
  "document_owner",
  "video",
] as const satisfies readonly EnclosureRole[];

/** A file that shows who the signer is, in the document store. Its name is its role: the caller's own may be personal. */
export const Enclosure = StoredDocument.extend({ name: z.enum(ENCLOSURES), contentType: z.string() });
export type Enclosure = z.infer<typeof Enclosure>;

const ENDINGS: Record<string, string> = {
  "image/jpeg": ".jpg",
  "image/png": ".png",
  "application/pdf": ".pdf",
  "video/mp4": ".mp4",
  "video/quicktime": ".mov",
  "video/3gpp": ".3gp",
  "video/webm": ".webm",
  "video/x-matroska": ".mkv",
  "video/x-msvideo": ".avi",
  "video/mpeg": ".mpg",
  "video/mp2t": ".ts",
};

/** A name that says what a file shows and nothing about whom: "document_front.jpg". */
export function fileNameOf({ name, contentType }: { name: EnclosureRole; contentType: string }): string {
  return `${name}${ENDINGS[contentType] ?? ""}`;
}

/** What the signer agreed to, and how, when the caller identified him. @source docs/provider.md §Evidences */
const Acceptance = z
  .strictObject({
    description: z.string().min(1).max(500),
    "url-doc-privacypolicy": z.url().max(2000),
    "url-doc-termsconditions": z.url().max(2000),
    "url-web-videoid": z.url().max(2000),
    ip: z.string().min(2).max(45),
    "user-agent": z.string().min(1).max(500),
    date: z.union([z.int().positive(), z.string().min(1).max(40)]).describe("Milliseconds since 1970, or text."),
  })
  .partial();

/** What was read off the identity document. */
const OcrData = z.strictObject({
  given_name: z.string().min(1).max(100),
  surname_1: z.string().min(1).max(100),
  surname_2: z.string().min(1).max(100).optional(),
  mobile_phone_number: z.string().min(1).max(20).optional(),
  email: z.string().min(1).max(254).optional(),
  serial_number: z.string().min(1).max(50),
  id_document_type: z.enum(["IDC", "PAS", "PNO", "TIN"]).optional(),
  id_document_country: z
    .string()
    .regex(/^[A-Z]{2}$/, "must be a two-letter country code like ES")
    .optional(),
});

const CHECKS = [
  "otp_validation",
  "documents_match",
  "data_integrity",
  "document_notcopy",
  "document_notexpired",
  "document_notunderage",
  "liveliness",
] as const;

/**
 * How the caller identified the signer, apart from the files. Personal data: it is encrypted in the vault like the
 * signer. Of `similarity_level` both published forms are taken.
 * @source docs/provider.md §Evidences
 */
export const Identification = z.strictObject({
  acceptance: Acceptance.optional(),
  ocr_data: OcrData.optional(),
  security_checks: z.partialRecord(z.enum(CHECKS), z.boolean()).optional(),
  similarity_level: z
    .union([z.enum(["low", "medium", "high"]), z.int().min(0).max(100)], {
      error: 'must be "low", "medium", "high" or a whole number from 0 to 100',
    })
    .optional(),
});
export type Identification = z.infer<typeof Identification>;
