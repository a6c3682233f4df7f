import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { z } from "zod";
import type { Settings } from "./config.ts";
import { type Duration, toMs } from "./core/duration.ts";
import { REQUEST_DOCUMENTS } from "./core/group.ts";
import { InboxName } from "./core/request.ts";
import { AppearanceName, Approval } from "./core/signing.ts";
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
import { readTemplate, type Route, ROUTE_WORDS, type RouteWord } from "./producers/inbox/route.ts";
import { readManifest } from "./producers/manifest.ts";
import { mustBeWithout, readSettingsFile } from "./settings-file.ts";
import type { Tenants } from "./tenants.ts";

/** An inbox that the operator has set up, as it is to be started. */
export interface ConfiguredInbox {
  root: InboxRoot;
  config: InboxConfig;
}

const INBOXES_MOST = 100;
/** In DATA_DIR, where inboxes may be that copy from elsewhere. */
const COPIES = "inboxes";
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

const ROUTE_HINT = 'must be folders like "{tenant}/{profile}/{batch?}/"';
const RouteValues = z.strictObject(
  Object.fromEntries(ROUTE_WORDS.map((word) => [word, z.array(folder).min(1).max(1_000).optional()])) as Record<
    RouteWord,
    z.ZodOptional<z.ZodArray<typeof folder>>
  >,
);

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
  in_flight_per_tenant: z.int("must be a whole number").min(1, "must be at least 1").optional(),
  route: z.string(ROUTE_HINT).min(1, ROUTE_HINT).max(500, "is too long").optional(),
  route_values: RouteValues.optional(),
  mode: oneOf(["move", "copy"]).optional(),
  source: z.string("must be the path of a folder").min(1, "must not be empty").max(4_000, "is too long").optional(),
  duplicates_for: age.optional(),
  oldest_most: interval.optional(),
  heartbeat: z.boolean("must be true or false").optional(),
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
  const inboxes = entries.map((entry) => {
    const tell = (problem: string) => void problems.push(`${entry.name}.${problem}`);
    return toInbox(entry, { from, settings, route: toRoute(entry, tenants, tell) });
  });
  for (const [i, entry] of entries.entries()) {
    const tell = (problem: string) => void problems.push(`${entry.name}.${problem}`);
    checkEntry(entry, { tenants, tell });
    if (entry.name === "default") tell("name is that of the inbox in DATA_DIR: take another one");
    const { dir, source } = (inboxes[i] as ConfiguredInbox).root;
    // What is copied may be kept with the rest of our data.
    const isKept = entry.mode === "copy" && isWithin(dir, join(settings.DATA_DIR, COPIES));
    if (!isKept && areNested(dir, settings.DATA_DIR)) {
      tell("path is in DATA_DIR, or DATA_DIR in it: an inbox of its own lies elsewhere");
    }
    if (entry.mode === "copy" && source === undefined)
      tell("source is missing: mode copy needs the folder to copy from");
    if (entry.mode !== "copy" && source !== undefined) tell('source goes with "mode": "copy" only');
    if (source !== undefined && areNested(source, settings.DATA_DIR)) {
      tell("source is in DATA_DIR, or DATA_DIR in it: they have to lie apart");
    }
    if (source !== undefined && areNested(source, dir)) tell("source and path are one in the other: keep them apart");
    for (const other of inboxes.slice(0, i)) {
      if (other.root.name === entry.name) {
        problems.push(`${entry.name} is there twice: each needs a name of its own`);
        continue;
      }
      const others = [other.root.dir, other.root.source].filter((one) => one !== undefined);
      if (others.some((one) => areNested(dir, one))) {
        tell(`path and that of ${other.root.name} are one in the other: keep them apart`);
      } else if (source !== undefined && others.some((one) => areNested(source, one))) {
        tell(`source and a folder of ${other.root.name} are one in the other: keep them apart`);
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

/** The folders of an entry's route, with those that there may be; undefined without one, or when it cannot be used. */
function toRoute(
  { route: template, route_values: values = {}, ...entry }: Entry,
  tenants: Pick<Tenants, "byName"> | undefined,
  tell: (problem: string) => void,
): Route | undefined {
  if (template === undefined) {
    if (Object.keys(values).length > 0) tell("route_values goes with a route only");
    return undefined;
  }
  const read = readTemplate(template);
  if ("problem" in read) {
    tell(`route ${read.problem}`);
    return undefined;
  }
  const words = read.levels.flatMap((level) => ("word" in level ? [level.word] : []));
  for (const word of Object.keys(values) as RouteWord[]) {
    if (!words.includes(word)) tell(`route_values.${word} is not in the route`);
  }
  for (const word of words) {
    if (word in entry && entry[word as "tenant"] !== undefined) tell(`${word} is said by the route already: keep one`);
    const inSignature = (entry.defaults?.["signature"] as object | undefined) ?? {};
    const isSaid = word === "appearance" ? "appearance" in inSignature : entry.defaults?.[word] !== undefined;
    if (isSaid) tell(`defaults say ${word}, and so does the route: keep one`);
  }
  const account = (tenant: string | undefined) => tenants?.byName.get(tenant ?? "default");
  const known: Record<RouteWord, readonly string[] | undefined> = {
    tenant: tenants && [...tenants.byName.keys()],
    rao: words.includes("tenant")
      ? undefined
      : account(entry.tenant) && [...(account(entry.tenant)?.raos.keys() ?? [])],
    workflow: WORKFLOWS,
    approval: Approval.options,
    profile: undefined,
    appearance: undefined,
  };
  const levels = read.levels.map((level) => {
    if ("name" in level) return { word: undefined, values: [level.name] };
    const { word } = level;
    const own = values[word];
    if (own === undefined && known[word] === undefined && word !== "tenant") {
      tell(`route_values.${word} is missing: it says which folders there may be`);
    }
    for (const value of own ?? []) {
      if (known[word] && !known[word].includes(value)) {
        tell(`route_values.${word} has one that there is not: there are ${known[word].join(", ")}`);
      }
      if (word === "appearance" && !AppearanceName.safeParse(value).success) {
        tell("route_values.appearance has one that is not the name of a template");
      }
    }
    if (new Set(own?.map((one) => one.normalize("NFC").toLowerCase())).size < (own?.length ?? 0)) {
      tell(`route_values.${word} has two that differ in capitals alone`);
    }
    return { word, values: own ?? known[word] };
  });
  return { levels, onlyFolders: read.onlyFolders };
}

function areNested(one: string, other: string): boolean {
  return isWithin(one, other) || isWithin(other, one);
}

function isWithin(inner: string, outer: string): boolean {
  const path = relative(outer, inner);
  return path === "" || (!path.startsWith("..") && !isAbsolute(path));
}

function toInbox(
  entry: Entry,
  { from, settings, route }: { from: string; settings: Settings; route: Route | undefined },
): ConfiguredInbox {
  const { name, tenant, rao, workflow, defaults, results: template, purge } = entry;
  return {
    root: {
      name,
      dir: resolve(from, entry.path),
      folders: Object.fromEntries(Object.entries(entry.folders ?? {}).filter(([, own]) => own !== undefined)),
      tenant,
      defaults: { ...defaults, ...(rao !== undefined && { rao }), ...(workflow !== undefined && { workflow }) },
      results: template,
      ...(route && { route }),
      ...(entry.source !== undefined && { source: resolve(from, entry.source) }),
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
      ...(entry.in_flight_per_tenant !== undefined && { inFlightPerTenant: entry.in_flight_per_tenant }),
      ...(entry.duplicates_for !== undefined && { duplicatesMs: entry.duplicates_for }),
      ...(entry.oldest_most !== undefined && { oldestMostMs: entry.oldest_most }),
      heartbeat: entry.heartbeat ?? false,
      // What somebody has set is what he wants.
      settlesForShare: entry.settle === undefined && entry.protocol !== "rename-in",
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
