import { z } from "zod";
import { Signer } from "./signing.ts";

/** What a correction can change of the signer whom we know. The number of the identity document counts among it. */
const OF_SIGNER = ["email", "mobile_phone_number", "given_name", "surname_1", "surname_2", "serial_number"] as const;
/** What the provider alone keeps. */
export const AT_PROVIDER_ONLY = ["birth_date", "country_name"] as const;

/**
 * What is put right about a signer whose identification does not come about. Personal data: it travels in a body, and
 * is encrypted in the vault at once.
 * @source docs/provider.md §Update Request
 */
export const Correction = z
  .strictObject({
    ...Signer.pick({
      email: true,
      mobile_phone_number: true,
      given_name: true,
      surname_1: true,
      surname_2: true,
      serial_number: true,
    }).partial().shape,
    birth_date: z.iso.date("must be a date like 1990-12-31").optional(),
    country_name: z
      .string()
      .regex(/^[A-Z]{2}$/, "must be a two-letter country code like ES")
      .optional(),
  })
  .refine((given) => Object.values(given).some((value) => value !== undefined), "must name what is to be corrected");
export type Correction = z.infer<typeof Correction>;

/** The names of what a correction changes, for records and histories: names are not personal. */
export function fieldsOf(correction: Correction): string[] {
  return Object.entries(correction)
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name);
}

/** The signer after the correction. */
export function corrected(signer: Signer, correction: Correction): Signer {
  const changes = OF_SIGNER.flatMap((name) => (correction[name] === undefined ? [] : [[name, correction[name]]]));
  return Signer.parse({ ...signer, ...Object.fromEntries(changes) });
}

/** What a person has asked for while an identification is awaited, and the stage has not carried out yet. */
export const Order = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("restart"), atMs: z.number() }),
  z.object({
    kind: z.literal("correction"),
    atMs: z.number(),
    /** Which note of the vault has it. */
    note: z.string(),
    fields: z.array(z.string()),
  }),
]);
export type Order = z.infer<typeof Order>;

/** What became of the last one. */
export const Ordered = z.object({
  kind: z.enum(["restart", "correction"]),
  outcome: z.enum(["taken", "refused"]),
  /** Why it was refused: one of the codes of errors. */
  code: z.string().optional(),
  /** What was corrected. */
  fields: z.array(z.string()).optional(),
  atMs: z.number(),
});
export type Ordered = z.infer<typeof Ordered>;

/** How often, and when last, somebody was told to remind the signer. */
export const Reminded = z.object({ count: z.number().int().positive(), atMs: z.number() });
export type Reminded = z.infer<typeof Reminded>;

/** A request at the provider that this one had before; it was cancelled there. */
export const Former = z.object({ requestPk: z.number(), videoidPk: z.number().optional(), untilMs: z.number() });
export type Former = z.infer<typeof Former>;
const Formers = z.array(Former).catch([]);

/** With the request that is at the provider now among those that were there before. */
export function withFormer(facts: Record<string, unknown>, untilMs: number): { former?: Former[] } {
  const now = Former.omit({ untilMs: true }).safeParse(facts).data;
  return now ? { former: [...Formers.parse(facts["former"]), { ...now, untilMs }] } : {};
}
