import { z } from "zod";

/**
 * Who signs. Personal data: it is encrypted in the vault and never part of the record, a job, a log line or an error.
 * @source docs/provider.md §Create VideoID
 */
export const Signer = z.strictObject({
  email: z.email("must be an e-mail address like ana@example.com").max(254),
  mobile_phone_number: z
    .string()
    .regex(/^\+[1-9]\d{6,14}$/, "must be a phone number with international prefix and digits only, like +34699999999"),
  given_name: z.string().min(1).max(100).optional(),
  surname_1: z.string().min(1).max(100).optional(),
  surname_2: z.string().min(1).max(100).optional(),
  serial_number: z.string().min(1).max(50).optional(),
  id_document_type: z.enum(["IDC", "PAS", "PNO", "TIN", "CI", "CE"]).optional(),
  id_document_country: z
    .string()
    .regex(/^[A-Z]{2}$/, "must be a two-letter country code like ES")
    .optional(),
});
export type Signer = z.infer<typeof Signer>;

/**
 * How the signature looks on the page. Sent to the provider as it is.
 * @source docs/provider.md §Sign
 */
export const Appearance = z.strictObject({
  text: z.array(z.string().max(500)).max(20).optional(),
  date: z.string().max(100).optional(),
  timezone: z.string().max(64).optional(),
  position: z
    .string()
    .regex(
      /^\s*\d+(\.\d+)?(\s*,\s*\d+(\.\d+)?){3}\s*$/,
      'must be "x1, y1, x2, y2" in points, from the lower left corner',
    )
    .optional(),
  page: z.int().min(0).optional(),
  image: z.string().max(64).optional(),
  horizontal: z.boolean().optional(),
});
export type Appearance = z.infer<typeof Appearance>;

/** How the signer authenticates: a code by SMS, or an operation at the customer whose id is a secret. */
export const Authentication = z.discriminatedUnion("method", [
  z.strictObject({ method: z.literal("sms") }),
  z.strictObject({ method: z.literal("external"), type: z.string().min(1).max(64), value: z.string().min(1).max(512) }),
]);
export type Authentication = z.infer<typeof Authentication>;

export const Approval = z.enum(["manual", "auto"]);
export type Approval = z.infer<typeof Approval>;

/** The provider's path ids are two different sequences of numbers; a type each keeps them from being mixed up. */
export const RequestPk = z.number().int().positive().brand("RequestPk");
export type RequestPk = z.infer<typeof RequestPk>;
export const VideoIdPk = z.number().int().positive().brand("VideoIdPk");
export type VideoIdPk = z.infer<typeof VideoIdPk>;
export const DocumentUid = z.string().min(1).max(128).brand("DocumentUid");
export type DocumentUid = z.infer<typeof DocumentUid>;
