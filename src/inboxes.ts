import { dirname, isAbsolute, relative, resolve } from "node:path";
import { z } from "zod";
import type { Settings } from "./config.ts";
import { type Duration, toMs } from "./core/duration.ts";
import { REQUEST_DOCUMENTS } from "./core/group.ts";
import { InboxName } from "./core/request.ts";
import { RaoName, TenantName } from "./core/tenant.ts";
import { WORKFLOWS } from "./core/workflow.ts";
import {
  DUPLICATES,
  FOLDERS,
  type InboxConfig,
  type InboxRoot,
  ON_SUCCESS,
  PROTOCOLS,
} from "./producers/inbox/config.ts";
import { RESULT_WORDS } from "./producers/inbox/delivery.ts";
import { readManifest } from "./producers/manifest.ts";
import { mustBeWithout, readSettingsFile } from "./settings-file.ts";
import type { Tenants } from "./tenants.ts";

/** An inbox that the operator has set up, as it is to be started. */
export interface ConfiguredInbox {
  root: InboxRoot;
  config: InboxConfig;
}

const INBOXES_MOST = 100;
/** What stands in for a signer when the rest of the defaults is checked; nobody's. */
const SOMEBODY = { email: "somebody@example.com", mobile_phone_number: "+34600000000" };

const DURATION_HINT = 'must be a length of time like "30s", "5m" or "2h"';
const duration = z.string(DURATION_HINT).transform((text, context) => {
  try {
    return toMs(text as Duration);
  } catch {
    context.addIssue({ code: "custom", message: DURATION_HINT });
    return z.NEVER;
  }
});
const interval = duration.refine((ms) => ms >= 100, 'must be at least "100ms"');
const age = duration.refine((ms) => ms >= 3_600_000, 'must be at least "1h"');
const NAME_HINT = "must be the name of a folder, without / and not beginning with a dot";
const folder = z.string(NAME_HINT).regex(/^[^/\\.\0][^/\\\0]{0,99}$/, NAME_HINT);
const oneOf = <const T extends readonly string[]>(words: T) => z.enum(words, `must be ${words.join(" or ")}`);
const RESULTS_HINT = `must be names of folders with / between them, which may hold ${RESULT_WORDS.map((word) => `{${word}}`).join(", ")}`;
const results = z
  .string(RESULTS_HINT)
  .max(200, "is too long")
  .refine((text) => {
    const rest = text.replaceAll(/\{(\w+)\}/g, (all, word: string) =>
      (RESULT_WORDS as readonly string[]).includes(word) ? "x" : all,
    );
    return /^[^{}\\\0]+$/.test(rest) && rest.split("/").every((part) => part !== "" && !part.startsWith("."));
  }, RESULTS_HINT);

const FOLDER_NAMES = Object.fromEntries(Object.keys(FOLDERS).map((name) => [name, folder.optional()])) as Record<
  keyof typeof FOLDERS,
  z.ZodOptional<typeof folder>
>;

const Entry = z.strictObject({
  name: InboxName,
  path: z.string("must be the path of a folder").min(1, "must not be empty").max(4_000, "is too long"),
  tenant: TenantName.optional(),
  rao: RaoName.optional(),
  workflow: oneOf(WORKFLOWS).optional(),
  defaults: z.record(z.string(), z.unknown(), "must be an object in braces").optional(),
  watch: oneOf(["auto", "native", "poll"]).optional(),
  settle: duration.optional(),
  folder_settle: duration.optional(),
  incomplete: duration.optional(),
  settle_max: duration.optional(),
  sidecar_wait: duration.optional(),
  sweep: interval.optional(),
  protocol: oneOf(PROTOCOLS).optional(),
  duplicates: oneOf(DUPLICATES).optional(),
  on_success: oneOf(ON_SUCCESS).optional(),
  folders: z.strictObject(FOLDER_NAMES).optional(),
  ignore: z
    .array(
      z
        .string()
        .min(1)
        .max(100)
        .regex(/^[^/]+$/, "must be a pattern for names, without /"),
      'must be a list of patterns like "*.bak"',
    )
    .max(100, "has too many")
    .optional(),
  in_flight: z.int("must be a whole number").min(1, "must be at least 1").optional(),
  results: results.optional(),
  bundle: z
    .strictObject({
      window: duration,
      most: z
        .int("must be a whole number")
        .min(2, "must be at least 2")
        .max(REQUEST_DOCUMENTS, `must be at most ${REQUEST_DOCUMENTS}`)
        .optional(),
    })
    .optional(),
  purge: z.strictObject({ archive: age.optional(), failed: age.optional(), duplicates: age.optional() }).optional(),
});
type Entry = z.infer<typeof Entry>;
const InboxesFile = z.array(Entry, "must be a list in brackets").max(INBOXES_MOST, `has more than ${INBOXES_MOST}`);

/**
 * The inboxes in INBOXES_FILE; none without it. Paths are seen from the file's own folder. Looks at no inbox: a share may
 * be away. Throws ConfigError with one sentence for each field that cannot be used.
 */
export function readInboxes(settings: Settings, tenants?: Pick<Tenants, "byName">): ConfiguredInbox[] {
  const { INBOXES_FILE: path } = settings;
  if (path === undefined) return [];
  const problems: string[] = [];
  const entries = readEntries(path, problems);
  const from = dirname(resolve(path));
  const inboxes = entries.map((entry) => toInbox(entry, { from, settings }));
  for (const [i, entry] of entries.entries()) {
    const tell = (problem: string) => void problems.push(`${entry.name}.${problem}`);
    checkEntry(entry, { tenants, tell });
    if (entry.name === "default") tell("name is that of the inbox in DATA_DIR: take another one");
    const { dir } = (inboxes[i] as ConfiguredInbox).root;
    if (isWithin(dir, settings.DATA_DIR) || isWithin(settings.DATA_DIR, dir)) {
      tell("path is in DATA_DIR, or DATA_DIR in it: an inbox of its own lies elsewhere");
    }
    for (const other of inboxes.slice(0, i)) {
      if (other.root.name === entry.name) problems.push(`${entry.name} is there twice: each needs a name of its own`);
      else if (isWithin(dir, other.root.dir) || isWithin(other.root.dir, dir)) {
        tell(`path and that of ${other.root.name} are one in the other: keep them apart`);
      }
    }
  }
  mustBeWithout(problems, "INBOXES_FILE");
  return inboxes;
}

function readEntries(path: string, problems: string[]): Entry[] {
  const json = readSettingsFile(path, problems);
  if (json === undefined) return [];
  const read = InboxesFile.safeParse(json);
  if (read.success) {
    if (read.data.length === 0) problems.push("the file names no inbox");
    return read.data;
  }
  problems.push(...read.error.issues.flatMap((issue) => toProblems(json, issue)));
  return [];
}

/** What is wrong with each field, by the inbox's name where it has one. Never repeats a value: defaults name a person. */
function toProblems(json: unknown, issue: z.core.$ZodIssue): string[] {
  const [index, ...rest] = issue.path;
  const entry: unknown = typeof index === "number" && Array.isArray(json) ? json[index] : undefined;
  const own = InboxName.safeParse((entry as { name?: unknown } | undefined)?.name).data;
  const name = own ?? (typeof index === "number" ? `entry ${index + 1}` : "the file");
  const where = [name, ...rest.map(String)].join(".");
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => `${where}.${key.slice(0, 60)} is not known here`);
  const found = issue.path.reduce<unknown>(
    (outer, part) => (outer as Record<PropertyKey, unknown> | undefined)?.[part],
    json,
  );
  if (found === undefined) return [`${where} is missing`];
  return [`${where} ${issue.message.startsWith("Invalid") ? "must be an object in braces" : issue.message}`];
}

function checkEntry(
  { tenant, rao, workflow, defaults = {}, folders = {} }: Entry,
  { tenants, tell }: { tenants: Pick<Tenants, "byName"> | undefined; tell: (problem: string) => void },
): void {
  const account = tenants?.byName.get(tenant ?? "default");
  if (tenants && tenant !== undefined && !account) {
    tell(`tenant is not one of those that there are: ${[...tenants.byName.keys()].join(", ")}`);
  }
  if (account && rao !== undefined && !account.raos.has(rao)) {
    tell(`rao is not one of the tenant's: ${[...account.raos.keys()].join(", ")}`);
  }
  for (const [field, own] of Object.entries({ tenant, rao, workflow })) {
    if (own !== undefined && defaults[field] !== undefined)
      tell(`defaults.${field} is said by ${field} already: keep one`);
  }
  const names = Object.entries(FOLDERS).map(([which, usual]) =>
    (folders[which as keyof typeof FOLDERS] ?? usual).toLowerCase(),
  );
  if (new Set(names).size < names.length) tell("folders has the same name twice");
  const signer = typeof defaults["signer"] === "object" ? { ...SOMEBODY, ...defaults["signer"] } : SOMEBODY;
  const read = readManifest({ ...defaults, signer });
  if (!read.ok) for (const { field, message } of read.problems) tell(`defaults.${field} ${message}`);
}

function isWithin(inner: string, outer: string): boolean {
  const path = relative(outer, inner);
  return path === "" || (!path.startsWith("..") && !isAbsolute(path));
}

function toInbox(entry: Entry, { from, settings }: { from: string; settings: Settings }): ConfiguredInbox {
  const { name, tenant, rao, workflow, defaults, results: template, purge } = entry;
  return {
    root: {
      name,
      dir: resolve(from, entry.path),
      folders: Object.fromEntries(Object.entries(entry.folders ?? {}).filter(([, own]) => own !== undefined)),
      tenant,
      defaults: { ...defaults, ...(rao !== undefined && { rao }), ...(workflow !== undefined && { workflow }) },
      results: template,
    },
    config: {
      ...(entry.settle !== undefined && { settleMs: entry.settle }),
      ...(entry.settle === undefined && entry.protocol !== "rename-in" && { settleMs: settings.INBOX_SETTLE_MS }),
      folderSettleMs: entry.folder_settle ?? settings.INBOX_FOLDER_SETTLE_MS,
      incompleteMs: entry.incomplete ?? settings.INBOX_INCOMPLETE_MS,
      settleMaxMs: entry.settle_max ?? settings.INBOX_SETTLE_MAX_MS,
      sweepMs: entry.sweep ?? settings.INBOX_SWEEP_MS,
      ...(entry.sidecar_wait !== undefined && { sidecarWaitMs: entry.sidecar_wait }),
      maxBytes: settings.MAX_DOCUMENT_BYTES,
      maxDocuments: settings.MAX_DOCUMENTS,
      watch: entry.watch ?? "auto",
      protocol: entry.protocol ?? "settle",
      duplicates: entry.duplicates ?? "set-aside",
      onSuccess: entry.on_success ?? "archive",
      ignore: entry.ignore ?? [],
      ...(entry.in_flight !== undefined && { inFlight: entry.in_flight }),
      ...(entry.bundle && { bundle: { windowMs: entry.bundle.window, most: entry.bundle.most } }),
      ...(purge && { purgeMs: purge }),
    },
  };
}

/** How the inbox in DATA_DIR is set. */
export function defaultInboxConfig(settings: Settings): InboxConfig {
  return {
    settleMs: settings.INBOX_SETTLE_MS,
    incompleteMs: settings.INBOX_INCOMPLETE_MS,
    settleMaxMs: settings.INBOX_SETTLE_MAX_MS,
    sweepMs: settings.INBOX_SWEEP_MS,
    folderSettleMs: settings.INBOX_FOLDER_SETTLE_MS,
    maxBytes: settings.MAX_DOCUMENT_BYTES,
    maxDocuments: settings.MAX_DOCUMENTS,
    ...(settings.INBOX_BUNDLE_MS > 0 && { bundle: { windowMs: settings.INBOX_BUNDLE_MS } }),
  };
}
