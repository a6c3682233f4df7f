import { z } from "zod";
import { DocumentUid, ImageUid, RequestPk, TokenUid, VideoIdPk } from "../core/signing.ts";

/** An answer's body, sorted by what it is and not by what its Content-Type says. */
export type Body =
  | { kind: "json"; value: unknown }
  | { kind: "empty" }
  | { kind: "html" }
  /** Neither JSON nor HTML: plain text, or JSON that broke off. */
  | { kind: "text"; text: string };

export function toBody(text: string): Body {
  const trimmed = text.replace(/^\uFEFF/, "").trim();
  if (trimmed === "") return { kind: "empty" };
  try {
    return { kind: "json", value: JSON.parse(trimmed) as unknown };
  } catch {
    return /^<(!doctype|html|head|body|\?xml|h1|title|!--|center)/i.test(trimmed)
      ? { kind: "html" }
      : { kind: "text", text: trimmed };
  }
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "";
}

/**
 * What the body says to a person: the first of details, detail, message, messsage, error. Objects and arrays become
 * JSON, because validation errors arrive as objects of arrays.
 * @source docs/provider.md §Error bodies
 */
export function toText(body: Body): string {
  if (body.kind === "empty") return "";
  if (body.kind === "html") return "an HTML page";
  if (body.kind === "text") return body.text;
  const said = isFields(body.value)
    ? [body.value.details, body.value.detail, body.value.message, body.value.messsage, body.value.error].find(isGiven)
    : body.value;
  const value = said === undefined ? body.value : said;
  return typeof value === "string" && said !== undefined ? value : toJson(value);
}

/** JSON can be read that is nested too deeply to be written. */
function toJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return "deeply nested JSON";
  }
}

/** The envelope's `status`, which may be "success", "404 Not Found", "Invalid JSON" or "error". */
export function toStatusWords(body: Body): string {
  return body.kind === "json" && isFields(body.value) && typeof body.value.status === "string" ? body.value.status : "";
}

/** The HTTP code inside the envelope's `status` ("404 Not Found"), which can differ from the answer's own. */
export function toStatusCode(words: string): number | undefined {
  const code = /^\s*([1-5]\d\d)\b/.exec(words)?.[1];
  return code === undefined ? undefined : Number(code);
}

/** Whether the body reports a failure, whatever the HTTP status was. */
export function isErrorBody(body: Body): boolean {
  if (body.kind !== "json" || !isFields(body.value)) return false;
  const words = toStatusWords(body);
  if ((toStatusCode(words) ?? 0) >= 400) return true;
  if (/^\s*(error|errors|fail|failed|failure|ko|nok|invalid\b.*|bad request)\s*$/i.test(words))
    return !("pk" in body.value);
  if (body.value.success === false) return true;
  if (words !== "") return false;
  return isGiven(body.value.error) || (Array.isArray(body.value.detail) && isSchemaViolation(body.value.detail));
}

function isSchemaViolation(detail: readonly unknown[]): boolean {
  return detail.length > 0 && detail.every((item) => isFields(item) && "loc" in item && "msg" in item);
}

/** The data of a success: under `details`, under `detail`, or the whole body. */
function inner(value: unknown): unknown {
  if (!isFields(value)) return value;
  if (isGiven(value.details)) return value.details;
  if (isGiven(value.detail)) return value.detail;
  return value;
}

const Count = z
  .union([
    z.number(),
    z
      .string()
      .trim()
      .regex(/^\d{1,15}$/)
      .transform(Number),
  ])
  .pipe(z.number().int().positive().max(Number.MAX_SAFE_INTEGER));

/** Text, or a number the provider happens not to quote; anything else, an empty text too, counts as not given. */
const Word = z
  .union([z.string(), z.number()])
  .transform((value) => String(value).trim() || undefined)
  .optional()
  .catch(undefined);

/** A link that may be shown to a person: nothing but http and https. */
const Link = z
  .url({ protocol: /^https?$/ })
  .max(2048)
  .optional()
  .catch(undefined);

const CreatedVideoIdBody = z.object({
  request_pk: Count.pipe(RequestPk),
  videoid_pk: Count.pipe(VideoIdPk),
  videoid_link: Link,
});

/** The three identifiers of a new request. @source docs/provider.md §Create VideoID */
export interface CreatedVideoId {
  requestPk: RequestPk;
  videoidPk: VideoIdPk;
  videoidLink: string | undefined;
}

export function readCreatedVideoId(body: Body): CreatedVideoId | undefined {
  const found = CreatedVideoIdBody.safeParse(body.kind === "json" ? inner(body.value) : undefined).data;
  return found && { requestPk: found.request_pk, videoidPk: found.videoid_pk, videoidLink: found.videoid_link };
}

/** A request that was registered without video identification. @source docs/provider.md §Create */
export interface CreatedRequest {
  requestPk: RequestPk;
  /** ENROLLREADY, when the answer tells it: approved within the call. */
  status?: string;
  /** Whether the provider says that signing will be asynchronous. */
  asyncmode: boolean;
}

const CreatedBody = z.object({
  pk: Count.pipe(RequestPk).optional(),
  request_pk: Count.pipe(RequestPk).optional(),
  status: Word,
  asyncmode: z.unknown().optional(),
});

/**
 * The identifier of a new request: under pk or request_pk, as the bare data, else the number in the text, which is the
 * one behind "pk" where there are several. Undefined when that is not certain.
 */
export function readCreated(body: Body): CreatedRequest | undefined {
  if (body.kind !== "json") return undefined;
  const value = inner(body.value);
  const found = CreatedBody.safeParse(value).data;
  if (found?.pk !== undefined && found.request_pk !== undefined && found.pk !== found.request_pk) return undefined;
  const requestPk = found?.pk ?? found?.request_pk ?? Count.pipe(RequestPk).safeParse(value).data ?? pkInText(body);
  if (requestPk === undefined) return undefined;
  const isEnvelope = value === body.value && /^(success|ok|\d{3}\b.*)$/i.test(toStatusWords(body));
  const status = isEnvelope ? undefined : found?.status;
  const asyncmode = found?.asyncmode === true || found?.asyncmode === "true";
  return { requestPk, asyncmode, ...(status !== undefined && { status }) };
}

/** The text beside the data, or in its place. */
function pkInText(body: Body & { kind: "json" }): RequestPk | undefined {
  if (!isFields(body.value)) return undefined;
  const { details, detail, message, messsage } = body.value;
  for (const text of [details, detail, message, messsage]) {
    if (typeof text !== "string") continue;
    const numbers = text.match(/(?<![\w.-])\d{1,15}(?![\w-]|\.\d)/g) ?? [];
    const named = /\bpk\b\W{0,3}(\d{1,15})(?![\w-]|\.\d)/i.exec(text)?.[1];
    const one = named ?? (numbers.length === 1 ? numbers[0] : undefined);
    const pk = Count.pipe(RequestPk).safeParse(one).data;
    if (pk !== undefined) return pk;
  }
  return undefined;
}

/** What is told of stored credentials: never the secrets, only whether there are any. @source docs/provider.md §Tokens */
export interface StoredToken {
  uid: TokenUid;
  username?: string;
  hasPassword: boolean;
  hasPin: boolean;
}

/** What is told of a stored image. @source docs/provider.md §Images */
export interface StoredImage {
  uid: ImageUid;
  filename?: string;
  mime?: string;
  /** In pixels. */
  width?: number;
  height?: number;
  /** As the provider writes it, without a time zone. */
  uploadDate?: string;
}

/** What we read of a request; the rest of its hundred fields is left alone. @source docs/provider.md §Get Request */
export interface ProviderRequest {
  /** VIDEOPENDING, VIDEOREVIEW, ENROLLREADY, …; a value we do not know passes as it is. */
  status: string;
  requestPk: RequestPk;
  email?: string;
  mobilePhoneNumber?: string;
  registrationAuthority?: string;
  scratchcard?: string;
  profile?: string;
  countryName?: string;
  videoidPk?: VideoIdPk;
  videoidLink?: string;
  refusalReason?: string;
}

const VideoIdData = z
  .object({ pk: Count.pipe(VideoIdPk).optional().catch(undefined), videoid_link: Link, refusal_reason: Word })
  .optional()
  .catch(undefined);

const RequestBody = z.object({
  status: z.string().trim().min(1).max(64),
  pk: Count.optional().catch(undefined),
  email: Word,
  mobile_phone_number: Word,
  registration_authority: Word,
  scratchcard: Word,
  profile: Word,
  country_name: Word,
  videoid_pk: Count.pipe(VideoIdPk).optional().catch(undefined),
  videoid_link: Link,
  refusal_reason: Word,
  videoid_data: VideoIdData,
});

/** The request `requestPk`; "another" when the answer names another one, undefined when it has no request at all. */
export function readRequest(body: Body, requestPk: RequestPk): ProviderRequest | "another" | undefined {
  if (body.kind !== "json") return undefined;
  const value = inner(body.value);
  // Without data the envelope's own "success" would be taken for a request status.
  if (value === body.value && /^(success|ok|\d{3}\b.*)$/i.test(toStatusWords(body))) return undefined;
  const found = RequestBody.safeParse(value).data;
  if (!found) return undefined;
  if (found.pk !== undefined && found.pk !== requestPk) return "another";
  const { videoid_data: video } = found;
  return given({
    status: found.status,
    requestPk,
    email: found.email,
    mobilePhoneNumber: found.mobile_phone_number,
    registrationAuthority: found.registration_authority,
    scratchcard: found.scratchcard,
    profile: found.profile,
    countryName: found.country_name,
    videoidPk: found.videoid_pk ?? video?.pk,
    videoidLink: found.videoid_link ?? video?.videoid_link,
    refusalReason: found.refusal_reason ?? video?.refusal_reason,
  });
}

type Given<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}

/** A uid that could not stand in a path is no uid. */
const AnyUid = z
  .union([z.string(), z.number()])
  .transform(String)
  .pipe(z.string().regex(/^[\w-][\w.-]*$/));
const Uid = AnyUid.pipe(DocumentUid).optional().catch(undefined);

/** One stored document in an upload's answer. */
const UploadEntry = z.object({
  uid: Uid,
  name: Word,
  key: Word,
  filename: Word,
  digest: Word,
  errorCode: Word,
  errorMessage: Word,
});
export type UploadEntry = z.infer<typeof UploadEntry>;

/** The entries of an upload's answer: an object, an array or a bare uid. @source docs/provider.md §Upload */
export function readUpload(body: Body): UploadEntry[] | undefined {
  if (body.kind !== "json") return undefined;
  const value = inner(body.value);
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  // The contract calls the identifier document_uid everywhere but in this answer.
  const named = (item: Fields) => (isGiven(item.uid) ? item : { ...item, uid: item.document_uid });
  const entries = items.map((item) => UploadEntry.safeParse(isFields(item) ? named(item) : { uid: item }).data);
  return entries.length > 0 && entries.every((entry) => entry !== undefined) ? entries : undefined;
}

/** Whether the answer to Sign says that the work is still to be done. @source docs/provider.md §Sign */
export function isAccepted(status: number, body: Body): boolean {
  if (status === 202) return true;
  const data = body.kind === "json" ? inner(body.value) : undefined;
  if (isFields(data) && data.asyncmode === true) return true;
  return /going to be signed|in a few seconds/i.test(toText(body));
}

/** A UUID, or the 32 hexadecimal digits that the first generation wrote. */
const UID_IN_TEXT = /(?<![\w-])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})(?![\w-])/gi;

/**
 * The one uid in an answer that stores something: under `name` or "uid", as the bare data, the same in an array of one,
 * else the one that the text has. Undefined when there is none, or more than one.
 */
function readUid(body: Body, name: string): string | undefined {
  if (body.kind !== "json") return undefined;
  const value = inner(body.value);
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (items.length !== 1) return undefined;
  const [item] = items;
  const found = AnyUid.safeParse(isFields(item) ? (isGiven(item[name]) ? item[name] : item.uid) : item).data;
  if (found !== undefined) return found;
  const texts = isFields(body.value) ? [item, body.value.message, body.value.messsage] : [item];
  const uids = texts.flatMap((text) => (typeof text === "string" ? (text.match(UID_IN_TEXT) ?? []) : []));
  return new Set(uids).size === 1 ? uids[0] : undefined;
}

/** The uid of a new token. @source docs/provider.md §Tokens */
export function readTokenUid(body: Body): TokenUid | undefined {
  return TokenUid.safeParse(readUid(body, "token_uid")).data;
}

/** The uid of a new image. @source docs/provider.md §Images */
export function readImageUid(body: Body): ImageUid | undefined {
  return ImageUid.safeParse(readUid(body, "image_uid")).data;
}

const TokenBody = z.object({ username: Word, password: z.unknown().optional(), pin: z.unknown().optional() });
const TOKEN_KEYS = Object.keys(TokenBody.shape);

/** What is stored under `uid`. Should a secret be there where a yes or no belongs, it is a yes and goes no further. */
export function readToken(body: Body, uid: TokenUid): StoredToken | undefined {
  const value = body.kind === "json" ? inner(body.value) : undefined;
  return isFields(value) && TOKEN_KEYS.some((key) => key in value) ? toToken(uid, value) : undefined;
}

function toToken(uid: TokenUid, value: Fields): StoredToken {
  const { username, password, pin } = TokenBody.parse(value);
  const isThere = (one: unknown) => isGiven(one) && one !== false && one !== "false";
  return { uid, hasPassword: isThere(password), hasPin: isThere(pin), ...(username !== undefined && { username }) };
}

/** All tokens: an object by uid, or an array of such that name theirs. */
export function readTokens(body: Body): StoredToken[] | undefined {
  return entriesOf(body, "token_uid", TOKEN_KEYS)?.flatMap(([uid, value]) => {
    const token = TokenUid.safeParse(uid).data;
    return token === undefined ? [] : [toToken(token, value)];
  });
}

const Pixels = z.number().int().positive();
const ImageBody = z.object({
  filename: Word,
  mime: Word,
  upload_date: Word,
  size: z.tuple([Pixels, Pixels]).optional().catch(undefined),
});

/** All images, in the same two forms. */
export function readImages(body: Body): StoredImage[] | undefined {
  return entriesOf(body, "image_uid", [...Object.keys(ImageBody.shape), "ext"])?.flatMap(([text, value]) => {
    const uid = ImageUid.safeParse(text).data;
    if (uid === undefined) return [];
    const { filename, mime, upload_date: uploadDate, size } = ImageBody.parse(value);
    return [given({ uid, filename, mime, width: size?.[0], height: size?.[1], uploadDate })];
  });
}

/** The entries of a list, each with its uid and one of `keys`. A remark beside them, such as the sandbox's NOTE, is none. */
function entriesOf(body: Body, name: string, keys: readonly string[]): [uid: string, value: Fields][] | undefined {
  const value = body.kind === "json" ? inner(body.value) : undefined;
  const isArray = Array.isArray(value);
  if (!isArray && !isFields(value)) return undefined;
  const items: [unknown, unknown][] = isArray
    ? value.map((item: unknown) => [isFields(item) ? (item[name] ?? item.uid) : undefined, item])
    : Object.entries(value).filter(([key]) => key.toUpperCase() !== "NOTE");
  const entries = items.flatMap(([key, item]): [string, Fields][] => {
    const uid = AnyUid.safeParse(key).data;
    return uid !== undefined && isFields(item) && keys.some((one) => one in item) ? [[uid, item]] : [];
  });
  // An envelope without data is no list, and neither is another answer.
  return entries.length > 0 || items.length === 0 ? entries : undefined;
}
