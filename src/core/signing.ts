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
  communication_language: z.enum(["ES", "PL", "EN"]).optional(),
  // Only some profiles need these.
  residence: z.string().min(1).max(200).optional(),
  residence_city: z.string().min(1).max(100).optional(),
  residence_postal_code: z.string().min(1).max(20).optional(),
  residence_address: z.string().min(1).max(200).optional(),
  special_conditions: z.string().min(1).max(500).optional(),
});
export type Signer = z.infer<typeof Signer>;

const PLACE = /^\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*$/;
const PLACE_HINT =
  'must be "x1, y1, x2, y2": the lower left and the upper right corner in whole points, counted from the lower left';

function isPlace(position: string): boolean {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = PLACE.exec(position)?.slice(1).map(Number) ?? [];
  return x1 < x2 && y1 < y2;
}

/** An offset is none, and neither is a name in other letters: where names are files, as at the provider, it is not found. */
const ZONE = /^[A-Za-z][A-Za-z0-9_+/-]*$/;
const ZONE_HINT = "must be the name of a time zone, like Europe/Madrid";

function isTimeZone(name: string): boolean {
  try {
    const { timeZone } = new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions();
    return name === timeZone || name.toLowerCase() !== timeZone.toLowerCase();
  } catch {
    return false;
  }
}

/** What may stand in a line of text. @source docs/provider.md §Signature appearance */
const VARIABLES = ["%(CN)s", "%(SUBJECT)s", "%(DATE)s", "%(E)s"];
const TEXT_HINT = `may have "%" in ${VARIABLES.slice(0, -1).join(", ")} and ${VARIABLES.at(-1)} only`;

/** A line in which something else begins with "%" would break, or be drawn as it is, when the signer has signed. */
function hasKnownVariables(line: string): boolean {
  return !VARIABLES.reduce((rest, variable) => rest.replaceAll(variable, ""), line).includes("%");
}

/** @source Python library reference, "strftime() and strptime() format codes"; POSIX strftime for e, D, F, R, T, h, n, t, C */
const DATE = /^(?:[^%]|%[-_0^#]?[aAbBcCdDeFGhHIjmMnpRStTuUVwWxXyYzZf%])*$/su;
const DATE_HINT = "must be a pattern of strftime, like %d/%m/%Y %H:%M";

/** Of a template in the folder APPEARANCE_DIR. */
export const AppearanceName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, "must be the name of a template: letters, digits, - and _");

const IMAGE_HINT = "must be the name of a PNG in APPEARANCE_DIR, like logo.png, or the uid of an image at the provider";

/** Whether the image is a file of ours, and not one that somebody has stored at the provider. */
export function isPicture(image: string): boolean {
  return /\.png$/i.test(image);
}

/**
 * How the signature looks on the page. Sent to the provider as it is, but for an image that is a file here: that one is
 * stored at the provider first, and its uid sent. Checked here because the provider says what it
 * does not like about it at the signing only, when the signer has done everything and the code is used up; it refuses
 * an appearance without its place.
 * @source docs/provider.md §Signature appearance
 */
export const Appearance = z.strictObject({
  text: z.array(z.string().max(500).refine(hasKnownVariables, TEXT_HINT)).max(20).optional(),
  date: z.string().max(100).regex(DATE, DATE_HINT).optional(),
  timezone: z.string().max(64).regex(ZONE, { error: ZONE_HINT, abort: true }).refine(isTimeZone, ZONE_HINT).optional(),
  position: z
    .string()
    .regex(PLACE, { error: PLACE_HINT, abort: true })
    .refine(isPlace, PLACE_HINT)
    .describe('"x1, y1, x2, y2" in points from the lower left corner.'),
  page: z.int().min(0).default(0).describe("0 is the first page."),
  image: z
    .string()
    .max(64)
    .regex(/^[^./\\\p{C}][^/\\\p{C}]*$/u, IMAGE_HINT)
    .optional()
    .describe("A PNG in APPEARANCE_DIR by its name, or an image at the provider by its uid."),
  horizontal: z.boolean().optional(),
});
export type Appearance = z.infer<typeof Appearance>;

/**
 * The same as records have it. What was taken in under earlier rules is sent as it was: found wrong only when the signer
 * has given the code, it would have to be handed in anew.
 */
export const AppearanceFact = z.object({
  text: z.array(z.string()).optional(),
  date: z.string().optional(),
  timezone: z.string().optional(),
  position: z.string(),
  page: z.int(),
  image: z.string().optional(),
  horizontal: z.boolean().optional(),
}) satisfies z.ZodType<Appearance>;

/** A PNG of the visible signature, by its bytes: kept here, and stored at the provider when it is needed there. */
export const Picture = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.number().int().positive() });
export type Picture = z.infer<typeof Picture>;

/** How a code travels to the signer's phone. @source docs/provider.md §OTP */
export const Delivery = z.enum(["sms", "whatsapp"]);

/**
 * How the signer authenticates: a code sent to the phone, or an operation at the customer whose id is a secret. With the
 * latter an older reading of the provider's wants a `secret` of the customer's beside it.
 * @source docs/provider.md §Sign
 */
export const Authentication = z.discriminatedUnion("method", [
  z.strictObject({ method: z.literal("sms"), delivery_method: Delivery.optional() }),
  z.strictObject({
    method: z.literal("external"),
    type: z.string().min(1).max(64),
    value: z.string().min(1).max(512),
    secret: z.string().min(1).max(64).optional(),
  }),
]);
export type Authentication = z.infer<typeof Authentication>;

/** What comes back: a signed PDF, or a CMS signature over the hash of a file of any kind, which never leaves here. */
export const Format = z.enum(["pades", "cms"]);
export type Format = z.infer<typeof Format>;
/** As records have it, of which those of signed PDFs say nothing. */
export const FormatFact = Format.default("pades");

export const Approval = z.enum(["manual", "auto"]);
export type Approval = z.infer<typeof Approval>;

/** The provider's path ids are two different sequences of numbers; a type each keeps them from being mixed up. */
export const RequestPk = z.number().int().positive().brand("RequestPk");
export type RequestPk = z.infer<typeof RequestPk>;
export const VideoIdPk = z.number().int().positive().brand("VideoIdPk");
export type VideoIdPk = z.infer<typeof VideoIdPk>;
export const DocumentUid = z.string().min(1).max(128).brand("DocumentUid");
export type DocumentUid = z.infer<typeof DocumentUid>;
/** An image for the visible signature, stored at the provider. */
export const ImageUid = z.string().min(1).max(128).brand("ImageUid");
export type ImageUid = z.infer<typeof ImageUid>;
/** Credentials of a RAO, stored at the provider. As good as the credentials themselves: a secret. */
export const TokenUid = z.string().min(1).max(128).brand("TokenUid");
export type TokenUid = z.infer<typeof TokenUid>;
