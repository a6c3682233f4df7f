import { z } from "zod";

/** One thing about the simulator that can be set: what it may be, what it is when nobody says, and what it does. */
type Switch<T> = { schema: z.ZodType<T>; standard: T; says: string };

const one = <const T extends string | number>(values: readonly [T, ...T[]], says: string): Switch<T> => ({
  schema: z.literal(values),
  standard: values[0],
  says,
});
const yes = (standard: boolean, says: string): Switch<boolean> => ({ schema: z.boolean(), standard, says });
const ms = (standard: number, says: string): Switch<number> => ({ schema: z.number().min(0), standard, says });
const count = (standard: number, says: string): Switch<number> => ({ schema: z.int().min(1), standard, says });

/** What a server says of itself, and how. @source docs/provider.md §Contradictions, §Not documented */
export const SWITCHES = {
  latencyMs: ms(0, "Added to every API call, in milliseconds"),
  envelope: one(["newest", "first"], "Envelope of successes under `/oneshot/api/v1`; `/api/v1` always has its own"),
  errorStyle: one(
    ["status", "fastapi", "old", "upstream"],
    'Body of refusals under `/oneshot/api/v1`: `{"status":"error","message"}`, `{"detail"}`, `{"status":"404 Not Found","details"}`, or the registration authority\'s `{"code","id","error"}`',
  ),
  notFoundAs400: yes(false, "An unknown request is HTTP 400 with `404 Not Found` in the body, as under `/api/v1`"),
  createStatus: one([200, 201], "HTTP status of a creation under `/oneshot/api/v1`"),
  createAnswer: one(
    ["pk", "request_pk", "bare", "message"],
    "Where `POST /create` says the number: `details.pk`, `details.request_pk`, `details` itself, or the message alone",
  ),
  uploadShape: one(
    ["new", "array", "coded", "old"],
    "Answer to an upload: an object for one document and an array for several; always an array; an array with error codes; the first generation's text for one and array with digests, in another order, for several",
  ),
  retrieval: one(
    ["both", "seed", "reference"],
    "Which form of the call for signed documents exists under `/oneshot/api/v1`: `/signed/` in the path, `document_type` as a parameter, or both",
  ),
  videoPath: one(
    ["both", "plain", "download", "none"],
    "Path under which a video can be had: `/video`, `/download/video`, both, or none",
  ),
  trailingSlash: one(["accepted", "refused"], "Whether a path with a slash at its end is the same path"),
  doubledPrefix: yes(false, "Paths with the prefix twice, `/oneshot/api/v1/api/v1/…`, work as well"),
  settingsApi: yes(false, "`/settings` exists under `/oneshot/api/v1`, too"),
  firstIds: one(
    ["either", "request_pk", "videoid_pk"],
    "Which number the first generation takes in its `/videoid/{request_pk}/…` paths",
  ),
  requireEnv: yes(false, "`env` must be sent, unless the Optimizer's settings have it"),
  lastCallerWins: yes(
    false,
    "What a creation of a VideoID request sends becomes the Optimizer's default for the next one",
  ),
  refuseCreation: one(
    [
      "no",
      "no-credit",
      "no-permission",
      "certificates",
      "profile",
      "configuration",
      "videoid-disabled",
      "unknown-authority",
    ],
    "Every creation is refused for this reason, with the published code and text",
  ),
  schemaCheck: one(
    ["published", "framework"],
    "A required field that a call lacks, and a uid in a path that is none, are answered as it was published, or with 422 before anything else is looked at",
  ),
  misconfigured: yes(
    false,
    "The Optimizer does not find its certificates: creations, approvals, signings and the list of tokens are refused with the published 500",
  ),
  fieldErrors: one(
    ["optimizer", "upstream"],
    "An e-mail address that is none is refused with 400 and a text, or with 500 and an object of arrays",
  ),
  approvalFailure: one(
    ["created", "nothing"],
    "What a `POST /create` leaves whose approval fails: a request in `CREATED`, or nothing",
  ),
  unknownEnvironment: one(
    ["named", "unnamed"],
    "Whether the refusal of an environment that does not exist says which: both texts are published",
  ),
  raoCredentials: one(
    ["checked", "refused", "unknown"],
    "A RAO's credentials are compared with the known ones, refused whatever they are, or right but for the RAO's number, which nobody knows",
  ),
  videoidMode: one(
    [1, 2],
    "In mode 1 approving validates as well; in mode 2 somebody validates first, and the request is `CREATED` in between",
  ),
  validationLeadsTo: one(
    ["CREATED", "ENROLLREADY"],
    "Where a validation leads to: the approval is still due, or is given with it",
  ),
  videoidLink: one(["given", "empty"], "Whether the answer to a creation has the signer's link"),
  linkLifetimeMs: ms(0, "How long a signer's link works, in milliseconds; 0 is for ever"),
  externalOutcome: one(
    ["by-content", "incomplete", "error"],
    "What evidences and a video lead to: what they are worth (`VIDEOREVIEW` when both are there, `VIDEOERROR` when a check in them failed), or always the same",
  ),
  otpGuardMs: ms(60_000, "Least time between two codes for one request, in milliseconds"),
  otpLifetimeMs: ms(300_000, "How long a code is good, in milliseconds"),
  otpAttempts: count(3, "Wrong codes until a code is void"),
  countersignature: one(
    ["ignored", "checked"],
    "What a `countersignature` in a signing under `/oneshot/api/v1` does: nothing, or what it does under `/api/v1`",
  ),
  secretBesideUnlock: yes(false, "`secret` must be sent beside `ext_unlock_type` and `ext_unlock_value`"),
  asyncSignMs: ms(2000, "How long signing takes behind the answer, when it is asynchronous; in milliseconds"),
  asyncChecks: one(
    ["before", "behind"],
    "Whether the code of an asynchronous signing is looked at before the answer or behind it",
  ),
  asyncOutcome: one(
    ["signed", "silent", "cancelled"],
    "How asynchronous signing ends: well; with nothing, no notification either; with the request cancelled",
  ),
  callback: one(
    ["instead", "beside", "ignored"],
    "Where notifications of a request with a `callback` go: there, there as well, or only to `webhookUrl`",
  ),
  maxDocumentsPerCall: count(10, "Documents in one upload"),
  maxDocumentsPerRequest: count(Number.MAX_SAFE_INTEGER, "Documents of one request"),
  loseDocuments: yes(
    false,
    "Uploaded documents are not in their request's folder when signing wants them, as in a pool without a shared volume",
  ),
  loseImages: yes(false, "An uploaded image is answered with its uid, and is not there when it is asked for"),
  pdfClean: yes(
    false,
    "`usepdfclean`: signing writes PDFs anew instead of appending, and takes earlier signatures away",
  ),
  signatureLevel: one(
    ["T", "B", "LT"],
    "With a timestamp, without one, or with the revocation information that a long-term validation needs",
  ),
} as const satisfies Record<string, Switch<unknown>>;

/** How notifications go. @source docs/provider.md §Webhooks */
export const WEBHOOK_SWITCHES = {
  shape: one(["new", "old"], "Payload: nested, or the flat one of the first generation"),
  previousStatus: one(
    ["absent", "beside", "inside"],
    "Whether the nested payload has `previous_status`, beside `request` or inside",
  ),
  date: one(["absent", "beside"], "Whether the nested payload has `date`, as the flat one has it"),
  certificates: one(["array", "object"], "`certificates` is an array, or a single object"),
  delayMs: ms(0, "How long after its transition a notification leaves, in milliseconds"),
  duplicate: yes(false, "Every notification is sent twice"),
  reorder: yes(false, "Two by two, the later one is sent first"),
  drop: {
    schema: z.union([z.boolean(), z.int().min(1)]),
    standard: false,
    says: "None is sent (`true`), or every n-th one is left out",
  },
  concurrency: count(16, "How many are under way at once"),
  timeoutMs: ms(5000, "When one that is not answered is given up, in milliseconds"),
} as const satisfies Record<string, Switch<unknown>>;

/** Which people act by themselves, as far as they do not on the pages. */
export const HUMAN_SWITCHES = {
  signer: one(["off", "auto"], "`auto`: signers identify themselves"),
  signerDelayMs: ms(0, "How long that takes, in milliseconds"),
  signerOutcome: one(["complete", "incomplete", "fail", "incomplete-then-complete"], "How it ends"),
  operator: one(["off", "auto"], "`auto`: in mode 2, an operator of the provider validates"),
  operatorDelayMs: ms(0, "How long that takes, in milliseconds"),
  rao: one(["off", "auto"], "`auto`: an officer of the provider approves"),
  raoDelayMs: ms(0, "How long that takes, in milliseconds"),
} as const satisfies Record<string, Switch<unknown>>;

type Table = Record<string, Switch<unknown>>;
/** The values of a table of switches. */
export type ValuesOf<T> = { -readonly [K in keyof T]: T[K] extends Switch<infer V> ? V : never };

/** What a table says when nobody says otherwise. */
export const standardsOf = <T extends Table>(table: T): ValuesOf<T> =>
  Object.fromEntries(Object.entries(table).map(([name, { standard }]) => [name, standard])) as ValuesOf<T>;

/** A schema that takes any part of a table, and refuses what is not in it. */
const partOf = <T extends Table>(table: T): z.ZodType<Partial<ValuesOf<T>>> =>
  z.strictObject(
    Object.fromEntries(Object.entries(table).map(([name, { schema }]) => [name, schema.optional()])),
  ) as unknown as z.ZodType<Partial<ValuesOf<T>>>;

/** Any part of all that can be set. `webhookUrl: null` switches notifications off. */
export const CHANGE = z.strictObject({
  ...Object.fromEntries(Object.entries(SWITCHES).map(([name, { schema }]) => [name, schema.optional()])),
  webhooks: partOf(WEBHOOK_SWITCHES).optional(),
  humans: partOf(HUMAN_SWITCHES).optional(),
  webhookUrl: z.url().nullable().optional(),
}) as unknown as z.ZodType<SettingsChange>;

/** Any part of the switches. */
export type SwitchChange = Partial<ValuesOf<typeof SWITCHES>> & {
  webhooks?: Partial<ValuesOf<typeof WEBHOOK_SWITCHES>>;
  humans?: Partial<ValuesOf<typeof HUMAN_SWITCHES>>;
};

export type SettingsChange = SwitchChange & { webhookUrl?: string | null };

/** A switch by the name that people write: `errorStyle`, `humans.signer`. */
export type NamedSwitch = { name: string; schema: z.ZodType; standard: unknown; says: string };

/** All switches, in the order of the documents. */
export const namedSwitches = (): NamedSwitch[] => [
  ...rows("", SWITCHES),
  ...rows("humans.", HUMAN_SWITCHES),
  ...rows("webhooks.", WEBHOOK_SWITCHES),
];

const rows = (prefix: string, table: Table): NamedSwitch[] =>
  Object.entries(table).map(([name, one]) => ({ name: prefix + name, ...one }));

/** What a switch may be set to, in words. */
export function choicesOf({ schema }: NamedSwitch): string {
  if (schema instanceof z.ZodLiteral) return [...schema.values].map((value) => `\`${String(value)}\``).join(", ");
  if (schema instanceof z.ZodBoolean) return "`true`, `false`";
  if (schema instanceof z.ZodUnion) return "`true`, `false`, a number";
  return "a number";
}

/**
 * The change that `name=value` asks for: the value as JSON where it is, else as text. Throws RangeError in words that
 * name what is possible.
 */
export function changeFrom(text: string): SwitchChange {
  const at = text.indexOf("=");
  const [name, value] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  const known = namedSwitches().find((one) => one.name === name);
  if (!known) throw new RangeError(`There is no switch "${at < 0 ? text : name}". Write it as name=value.`);
  const parsed = known.schema.safeParse(readValue(value));
  if (!parsed.success) throw new RangeError(`${name} must be one of ${choicesOf(known)}, not "${value}".`);
  const [first = "", second] = name.split(".");
  return { [first]: second === undefined ? parsed.data : { [second]: parsed.data } };
}

function readValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
