import { z } from "zod";
import { ENCLOSURES, type EnclosureRole, Identification } from "../core/identity.ts";
import { Appearance, AppearanceName, Approval, Authentication, Format, Signer } from "../core/signing.ts";
import { RaoName, TenantName } from "../core/tenant.ts";
import { WORKFLOWS } from "../core/workflow.ts";

/** Largest manifest that is read, in bytes. */
export const MANIFEST_BYTES = 64 * 1024;
/** Nobody corrects more than this at once. */
const PROBLEMS_SHOWN = 20;
const RA_HINT = "must be the number of a registration authority, like 139";
/** Names that would change how objects behave instead of being data. */
const FORBIDDEN = ["__proto__", "constructor", "prototype"];

const FILE_HINT = "must be the name of a file that is handed in as well, without a folder";
const FileName = z
  .string()
  .min(1)
  .max(255)
  .refine((name) => !/[/\\\0]/.test(name) && !name.startsWith("."), FILE_HINT);

/** How the caller identified the signer: what was found, and the names of the files that show it. */
const Identity = z.strictObject({
  ...(Object.fromEntries(ENCLOSURES.map((role) => [role, FileName.optional()])) as Record<
    EnclosureRole,
    z.ZodOptional<typeof FileName>
  >),
  ...Identification.shape,
});

/** What the provider needs to be told of a signer whom it does not identify. @source docs/provider.md §Create */
const CLASSIC_SIGNER = ["given_name", "surname_1", "serial_number", "id_document_type", "id_document_country"] as const;
/** Without both sides of the identity document the approval fails. @source docs/provider.md §Create */
const CLASSIC_FILES = ["document_front", "document_rear"] as const;
const CLASSIC_TAKES: readonly string[] = [...CLASSIC_FILES, "document_owner", "extra_document"];

/** What one workflow needs, and another has no use for, is said at once: nothing that was meant is left out silently. */
function fitsItsWorkflow(manifest: z.infer<typeof Fields>, context: z.RefinementCtx): void {
  const { workflow, signer, identity, useasync, signature } = manifest;
  const wrong = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  for (const { role, sameAs } of repeatedFiles(identity)) {
    wrong(["identity", role], `names the same file as identity.${sameAs}: each needs a file of its own`);
  }
  if (useasync && workflow !== "classic") wrong(["useasync"], 'goes with "workflow": "classic" only');
  if (signature?.format === "cms" && signature.appearance) {
    wrong(["signature", "appearance"], 'does not go with "format": "cms": there is no page to show it on');
  }
  if (workflow === "videoid") {
    if (identity) wrong(["identity"], 'goes with "workflow": "videoid-external" or "classic" only');
    return;
  }
  const given = Object.keys(identity ?? {});
  if (workflow === "videoid-external") {
    if (!identity?.ocr_data) wrong(["identity", "ocr_data"], 'is missing: "workflow": "videoid-external" needs it');
    if (identity?.extra_document !== undefined) wrong(["identity", "extra_document"], 'goes with "classic" only');
    return;
  }
  for (const field of CLASSIC_SIGNER) {
    if (signer[field] === undefined) wrong(["signer", field], 'is missing: "workflow": "classic" needs it');
  }
  for (const role of CLASSIC_FILES) {
    if (identity?.[role] === undefined) wrong(["identity", role], 'is missing: "workflow": "classic" needs it');
  }
  for (const field of given.filter((one) => !CLASSIC_TAKES.includes(one))) {
    wrong(["identity", field], 'goes with "workflow": "videoid-external" only');
  }
}

/**
 * What is said about a request besides its documents. One schema for three ways in: the sidecar of a PDF, the
 * request.json of a folder, and the "manifest" part of an upload. Unknown keys are refused, so that a misspelt one is
 * not silently left out of a signature.
 */
const Fields = z.strictObject({
  workflow: z
    .enum(WORKFLOWS)
    .default("videoid")
    .describe(
      "How the signer is identified: on video at the provider (videoid), or by you, with evidences of it (videoid-external) or copies of the identity document (classic).",
    ),
  reference: z.string().min(1).max(200).optional().describe("Your own id; requests can be looked up by it."),
  signer: Signer.describe("Who signs. Encrypted as soon as it is read, and never shown again."),
  identity: Identity.optional().describe("How you identified the signer. For videoid-external and classic."),
  useasync: z
    .boolean()
    .optional()
    .describe("Have the provider sign in the background; for classic only. Good for many or large documents."),
  authentication: Authentication.default({ method: "sms" }).describe(
    "How the signer confirms: a code by SMS, or an operation of yours (external).",
  ),
  tenant: TenantName.optional().describe(
    "On whose account: one of those in TENANTS_FILE; default: the one of the ONESHOT_* settings.",
  ),
  rao: RaoName.optional().describe(
    "Which of the tenant's registration officers stands for the decision at the provider, by name; default: the first.",
  ),
  profile: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .describe("Certificate profile; default: the tenant's, or ONESHOT_PROFILE."),
  registration_authority: z
    .union(
      [z.string().regex(/^[1-9]\d{0,9}$/, RA_HINT), z.int(RA_HINT).positive(RA_HINT).max(9_999_999_999, RA_HINT)],
      {
        error: RA_HINT,
      },
    )
    .transform(String)
    .optional()
    .describe("Number of the registration authority; default: the tenant's, or ONESHOT_REGISTRATION_AUTHORITY."),
  signature: z
    .strictObject({
      format: Format.optional().describe(
        "What comes back: the PDF, signed (pades, the default), or a signature apart for a file of any kind (cms): only the file's hash leaves here.",
      ),
      appearance: z
        .union([AppearanceName, Appearance], 'must be an object in braces, or the name of a template like "letter"')
        .optional()
        .describe("How the signature looks on the page, or the name of a template for it. Not with format cms."),
    })
    .optional(),
  approval: Approval.optional().describe("Who approves the identification: a RAO (manual), or nobody (auto)."),
  callback_url: z
    .url({ protocol: /^https?$/, error: "must be an address that begins with https://" })
    .max(2000)
    .optional()
    .describe(
      "Told whenever the request waits for somebody, and when it ends. An https address; http only at hosts that the operator allowed.",
    ),
});

export const Manifest = Fields.superRefine(fitsItsWorkflow).meta({ title: "signpipe request manifest" });
export type Manifest = z.infer<typeof Manifest>;

/** What is to come back. As long as it is not known what a request asks for, it is a signed PDF. */
export function formatOf(manifest: Manifest | undefined): Format {
  return manifest?.signature?.format ?? "pades";
}

/** What is wrong with one field. Never repeats the value, which may be personal data. */
export interface ManifestProblem {
  /** Where it is, such as "signer.email"; "manifest" for the whole of it. */
  field: string;
  /** What must be so, as the end of a sentence that begins with the field. */
  message: string;
}

/** A file that the manifest names, to be handed in along with the documents. */
export interface NamedFile {
  role: EnclosureRole;
  /** As the caller wrote it. It may be personal: for matching, and for what is said to the caller alone. */
  name: string;
}

/** The files that show who the signer is, in the order in which the provider's pages list them. */
export function namedFiles(identity: Manifest["identity"] = {}): NamedFile[] {
  return ENCLOSURES.flatMap((role) => {
    const name = identity[role];
    return name === undefined ? [] : [{ role, name }];
  });
}

/** Where a manifest names a file, for people. */
export function fieldOf(role: EnclosureRole): string {
  return `identity.${role}`;
}

/** Whether two names are one file's: a Mac spells "é" in two characters where other systems take one. */
export function isSameName(a: string, b: string): boolean {
  return a.normalize("NFC") === b.normalize("NFC");
}

function repeatedFiles(identity: Manifest["identity"]): { role: EnclosureRole; sameAs: EnclosureRole }[] {
  const files = namedFiles(identity);
  return files.flatMap(({ role, name }, i) => {
    const first = files.slice(0, i).find((other) => isSameName(other.name, name));
    return first ? [{ role, sameAs: first.role }] : [];
  });
}

/**
 * What of a manifest a request consists of: the names of its files are left behind, since what they show is known by
 * now, and so is the signature, which is what fits the documents (files/appearances.ts).
 */
export function toWishes({ identity, signature: _signature, ...wishes }: Manifest): Omit<
  Manifest,
  "identity" | "signature"
> & {
  identification?: Identification;
} {
  const { acceptance, ocr_data, security_checks, similarity_level } = identity ?? {};
  const found = { acceptance, ocr_data, security_checks, similarity_level };
  const isAny = Object.values(found).some((one) => one !== undefined);
  return { ...wishes, ...(isAny && { identification: found }) };
}

/** What holds for a manifest because of where it is handed in. */
export interface ManifestFrame {
  under?: Readonly<Record<string, unknown>> | undefined;
  tenant?: string | undefined;
  fixed?: Readonly<Record<string, string>> | undefined;
}

export type ReadManifest = { ok: true; manifest: Manifest } | { ok: false; problems: ManifestProblem[] };

/**
 * Reads a manifest from text, from the bytes of a file (UTF-8, with or without a byte order mark), or from a value
 * that was parsed already. What it leaves out is taken from `under`, and of a signer and the like each field by itself;
 * with `tenant` it is for that one alone, and what `fixed` says of a field it says too, or nothing. Never throws; says for each field what is wrong with it.
 */
export function readManifest(json: unknown, { under, tenant, fixed = {} }: ManifestFrame = {}): ReadManifest {
  const read = typeof json === "string" || json instanceof Uint8Array ? parseText(json) : { value: json };
  if ("message" in read) return { ok: false, problems: [{ field: "manifest", message: read.message }] };
  const forbidden = findForbidden(read.value);
  if (forbidden) return { ok: false, problems: [{ field: forbidden, message: "is not a key that is known here" }] };
  const value = under ? laidOver(under, read.value) : read.value;
  const parsed = Manifest.safeParse(value);
  if (parsed.success && tenant !== undefined && (parsed.data.tenant ?? tenant) !== tenant) {
    return {
      ok: false,
      problems: [{ field: "tenant", message: `must be left out, or be "${tenant}": so it is set here` }],
    };
  }
  if (parsed.success) {
    const { signature, ...fields } = parsed.data;
    const said: Record<string, unknown> = { ...fields, appearance: signature?.appearance };
    const others = Object.entries(fixed).filter(([field, own]) => said[field] !== own);
    if (others.length > 0) return { ok: false, problems: others.map(toOther) };
  }
  if (parsed.success) return { ok: true, manifest: { ...parsed.data, ...(tenant !== undefined && { tenant }) } };
  const problems = parsed.error.issues
    .flatMap(meant)
    .flatMap((issue) =>
      isMissing(value, issue) ? { field: toField(issue), message: "is missing" } : toProblems(issue),
    );
  return { ok: false, problems: problems.slice(0, PROBLEMS_SHOWN) };
}

function toOther([field, own]: [string, string]): ManifestProblem {
  const message = `must be left out, or be "${own}": so the folder says in which it lies`;
  return { field: field === "appearance" ? "signature.appearance" : field, message };
}

/** What the manifest says, and what it does not say as it is in `under`. Of objects, each field by itself. */
function laidOver(under: Readonly<Record<string, unknown>>, value: unknown): unknown {
  if (!isObject(value)) return value;
  const merged: Record<string, unknown> = { ...under };
  for (const [key, own] of Object.entries(value)) {
    const below = under[key];
    // Another workflow, or another way to confirm, is another thing and no addition to it.
    const isWhole = key !== "signer" && key !== "signature";
    merged[key] = !isWhole && isObject(own) && isObject(below) ? { ...below, ...own } : own;
  }
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The manifest's JSON Schema, in the form in which it is written (draft 2020-12). */
export function manifestJsonSchema(): object {
  return z.toJSONSchema(Manifest, { io: "input", unrepresentable: "any" });
}

function parseText(json: string | Uint8Array): { value: unknown } | { message: string } {
  const bytes = typeof json === "string" ? Buffer.from(json) : json;
  if (bytes.length > MANIFEST_BYTES) return { message: `must not be larger than ${MANIFEST_BYTES / 1024} KiB` };
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { message: "must be text in UTF-8; save it again with that encoding" };
  }
  if (text.trim() === "") return { message: "must not be empty" };
  try {
    const value: unknown = JSON.parse(text);
    const twice = findRepeatedKey(text);
    if (twice !== undefined) return { message: `must name each key once, but "${shown(twice)}" is there twice` };
    return { value };
  } catch {
    return { message: "must be JSON; look for a missing quote, comma or brace" };
  }
}

/**
 * The first key that an object of this valid JSON text has twice. A parser keeps the last one without a word, and a
 * person who looks at the first believes that somebody else signs.
 */
export function findRepeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (const [token, isKey] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (isKey !== undefined) {
      const key = JSON.parse(token.slice(0, -isKey.length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

/** Path of a key that is never data. The schema would skip some of them without a word. */
function findForbidden(value: unknown, path: string[] = []): string | undefined {
  if (typeof value !== "object" || value === null || path.length > 20) return undefined;
  for (const [key, member] of Object.entries(value)) {
    const here = [...path, key];
    if (FORBIDDEN.includes(key)) return here.map(shown).join(".");
    const found = findForbidden(member, here);
    if (found) return found;
  }
  return undefined;
}

type Issue = z.core.$ZodIssue;

/** Of several forms the one that was meant: whoever gives an object hears what is wrong in it, not that it is no name. */
function meant(issue: Issue): Issue[] {
  if (issue.code !== "invalid_union") return [issue];
  const form = issue.errors.find((list) => list.some(({ code, path }) => code !== "invalid_type" || path.length > 0));
  return form?.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })) ?? [issue];
}

function isMissing(value: unknown, { code, path }: Issue): boolean {
  if (code !== "invalid_type" || path.length === 0) return false;
  const there = path.reduce<unknown>(
    (outer, part) => (outer as Record<PropertyKey, unknown> | undefined)?.[part],
    value,
  );
  return there === undefined;
}

function toField({ path }: Issue): string {
  return path.map((part) => shown(String(part))).join(".") || "manifest";
}

function toProblems(issue: Issue): ManifestProblem[] {
  const path = issue.path.map((part) => shown(String(part)));
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      field: [...path, shown(key)].join("."),
      message: "is not a key that is known here",
    }));
  }
  return [{ field: toField(issue), message: toMessage(issue) }];
}

const KINDS: Record<string, string> = { object: "an object in braces", array: "a list", int: "a whole number" };

function toMessage(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.message.startsWith("Invalid input")
        ? `must be ${KINDS[issue.expected] ?? `a ${issue.expected}`}`
        : issue.message;
    case "invalid_value":
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
    case "invalid_union":
      return issue.message.startsWith("Invalid") ? 'must be "sms" or "external"' : issue.message;
    case "too_small":
      return issue.origin === "string" ? "must not be empty" : `must be at least ${String(issue.minimum)}`;
    case "too_big":
      if (issue.origin === "string") return `must not be longer than ${String(issue.maximum)} characters`;
      return issue.origin === "array"
        ? `must not have more than ${String(issue.maximum)} entries`
        : `must be at most ${String(issue.maximum)}`;
    default:
      return issue.message;
  }
}

/** A key as it may be shown: short, and without control characters. */
function shown(key: string): string {
  const clean = key.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
  return clean.length > 60 ? `${clean.slice(0, 60)}…` : clean;
}
