import { z } from "zod";
import { ENDINGS, PHASES } from "./status.ts";
import { WORKFLOWS } from "./workflow.ts";

/** Ours, not the provider's: "req-" and 128 random bits. Safe as a BullMQ job id, a folder name and a URL segment. */
export const RequestId = z
  .string()
  .regex(/^req-[0-9a-z]{26}$/, "a request id looks like req-… with 26 letters and digits");
export type RequestId = z.infer<typeof RequestId>;

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** A request id from 16 random bytes, in Crockford's base 32. */
export function toRequestId(random: Uint8Array): RequestId {
  let text = "";
  let held = 0;
  let bits = 2; // 26 letters have room for two bits more
  for (const byte of random.subarray(0, 16)) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; held &= (1 << bits) - 1) {
      bits -= 5;
      text += ALPHABET.charAt(held >> bits);
    }
  }
  return `req-${text}`;
}

export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** A digest that a hash file gives to be signed. Of the content that it is of, nothing else is known here. */
export const Digest = z.object({
  algorithm: z.enum(["sha256", "sha384", "sha512"]),
  /** In hexadecimal, lower case. */
  value: z.string().regex(/^[0-9a-f]{64,128}$/),
});
export type Digest = z.infer<typeof Digest>;

/** A document that was handed in. The bytes are in the document store under `id`; records carry only this. */
export const StoredDocument = z.object({
  /** Where the store keeps it, relative to the store. */
  id: z.string().min(1),
  /** The name the person gave it, for people. Never used to build a path. */
  name: z.string().min(1),
  sizeBytes: z.number().int().positive(),
  sha256: Sha256,
  /** Of a hash file: what it gives to be signed. Others are signed themselves, or by their SHA-256. */
  digest: Digest.optional(),
});
export type StoredDocument = z.infer<typeof StoredDocument>;

/** What of a document is signed: two of the same are signed once. */
export function contentOf({ sha256, digest }: Pick<StoredDocument, "sha256" | "digest">): string {
  return digest?.value ?? sha256;
}

/** A file that was fetched and verified, in the request's folder of results. */
export const ResultFile = z.object({
  name: z.string().min(1),
  sizeBytes: z.number().int().positive(),
  sha256: Sha256,
});
export type ResultFile = z.infer<typeof ResultFile>;

/** Which door a request came through. */
export const Source = z.enum(["inbox", "api", "intake", "batch"]);
export type Source = z.infer<typeof Source>;

/** Ways in by which people hand the same thing in twice, and mean it once: there a second one is refused. */
export function refusesDuplicates(source: Source): boolean {
  return source === "inbox" || source === "batch";
}

/** Name of an inbox among several; the one in DATA_DIR has none. */
export const InboxName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,29}$/, "must be small letters, digits and -, at most 30, beginning with a letter");
export type InboxName = z.infer<typeof InboxName>;

/** Who is told of a request's changes: each inbox of those that it brought. */
export type Door = Source | `inbox:${InboxName}`;

/** The inbox with this name, as a door. */
export function inboxDoor(name: InboxName | undefined): Door {
  return name === undefined ? "inbox" : `inbox:${name}`;
}

/** The door that a request came through. */
export function doorOf({ source, facts }: Pick<SignRequest, "source" | "facts">): Door {
  return source === "inbox" ? inboxDoor(InboxName.safeParse(facts["inbox"]).data) : source;
}

/**
 * The record in Redis: the single source of truth about one request. It holds no personal data and no secret: who
 * signs is in the vault, the code with the codes.
 */
export const SignRequest = z.object({
  id: RequestId,
  workflow: z.enum(WORKFLOWS),
  source: Source,
  /** The caller's own id. */
  reference: z.string().optional(),
  stage: z.string(),
  phase: z.enum(PHASES),
  /** Failed attempts at the current stage. */
  attempt: z.number().int().nonnegative(),
  /** What is known so far: the producer's input, then what each stage gave. */
  facts: z.record(z.string(), z.unknown()),
  /** A costly call that left, or was about to leave, and whose outcome is not recorded. */
  intent: z
    .object({ effect: z.string(), atMs: z.number(), firstMs: z.number(), tries: z.number().int().positive() })
    .optional(),
  waiting: z
    .object({
      for: z.string(),
      whose: z.string(),
      detail: z.string().optional(),
      sinceMs: z.number(),
      untilMs: z.number(),
    })
    .optional(),
  failure: z.object({ code: z.string(), message: z.string(), stage: z.string() }).optional(),
  /** How the request is to end once cleanup is over. */
  ending: z.enum(ENDINGS).optional(),
  /** Names this state in the journal. */
  mark: z.string().optional(),
  createdMs: z.number(),
  updatedMs: z.number(),
});
export type SignRequest = z.infer<typeof SignRequest>;
