import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import type { Settings } from "./config.ts";
import { DEFAULT_TENANT, RaoName, TenantName } from "./core/tenant.ts";
import type { Environment, Rao } from "./provider/provider.ts";
import { mustBeWithout, readSettingsFile } from "./settings-file.ts";

/** Somebody on whose account requests are made. */
export interface Tenant {
  env: Environment | undefined;
  registrationAuthority: string | undefined;
  profile: string | undefined;
  billingUsername: string | undefined;
  billingPassword: string | undefined;
  /** By name; the first is the one of requests that name none. */
  raos: ReadonlyMap<string, Rao>;
}

export interface Tenants {
  /** By name. The account in the settings themselves is there as "default", when its RAO is. */
  byName: ReadonlyMap<string, Tenant>;
  /** Whether there are others than the default one. */
  areSeveral: boolean;
  /** Why the file should be looked after: others on this machine may read secrets in it. One sentence. */
  warning: string | undefined;
}

/** More than a file with a thousand tenants has. */

const text = z.string("must be a text in quotes").regex(/\S/, "must not be empty").max(500, "is too long");
const NUMBER_HINT = "must be a number like 1400";
const number = z
  .union([z.string().regex(/^\d{1,12}$/, NUMBER_HINT), z.int(NUMBER_HINT).nonnegative(NUMBER_HINT)], NUMBER_HINT)
  .transform(String);

/** A field, or the path of a file that holds it. */
function inFiles<const Name extends string>(...names: Name[]) {
  const both = names.flatMap((name) => [name, `${name}_file`]);
  return Object.fromEntries(both.map((name) => [name, text.optional()])) as Record<
    Name | `${Name}_file`,
    z.ZodOptional<typeof text>
  >;
}

const RaoEntry = z.strictObject({ rao: number, ...inFiles("token", "username", "password", "pin") });
const TenantEntry = z.strictObject({
  env: z.enum(["sandbox", "prod"], "must be sandbox or prod").optional(),
  registration_authority: number.optional(),
  profile: text.optional(),
  ...inFiles("billing_username", "billing_password"),
  raos: z.record(RaoName, RaoEntry, "must be an object with a RAO or several, by name"),
});
type Entry = z.infer<typeof TenantEntry>;
const TenantsFile = z.record(TenantName, TenantEntry, "must be an object with tenants, by name");

/**
 * The account of the settings, and those in TENANTS_FILE. Without `withSecrets` the files that hold secrets are not
 * read, and secrets are empty: for processes that only have to know the names. Throws ConfigError with one sentence for
 * each field that cannot be used.
 */
export function readTenants(settings: Settings, { withSecrets = true } = {}): Tenants {
  const byName = new Map<string, Tenant>();
  const { TENANTS_FILE: path } = settings;
  const ours = toDefault(settings);
  // Who knows no passwords does not know either whether those who do have these.
  if (ours.raos.size > 0 || path === undefined || !withSecrets) byName.set(DEFAULT_TENANT, ours);
  if (path === undefined) return { byName, areSeveral: false, warning: undefined };

  const problems: string[] = [];
  const entries = readEntries(path, problems);
  for (const [name, entry] of Object.entries(entries)) {
    if (name === DEFAULT_TENANT) problems.push(`${name} is the account of the ONESHOT_* settings: take another name`);
    const where = new Whereabouts(name, { folder: dirname(resolve(path)), withSecrets, problems });
    byName.set(name, toTenant(entry, where));
  }
  mustBeWithout(problems, "TENANTS_FILE");
  return { byName, areSeveral: true, warning: warningOf(path, entries) };
}

function readEntries(path: string, problems: string[]): Record<string, Entry> {
  const json = readSettingsFile(path, problems);
  if (json === undefined) return {};
  const read = TenantsFile.safeParse(json);
  if (read.success) {
    if (Object.keys(read.data).length === 0) problems.push("the file names no tenant");
    return read.data;
  }
  problems.push(...read.error.issues.flatMap((issue) => toProblems(json, issue)));
  return {};
}

/** What is wrong with each field. Never repeats a value, which may be a secret. */
function toProblems(json: unknown, issue: z.core.$ZodIssue): string[] {
  const where = issue.path.map(String).join(".");
  const at = where === "" ? "the file" : where;
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => `${[where, key.slice(0, 60)].filter(Boolean).join(".")} is not known here`);
    case "invalid_key":
      return [`${at} ${issue.issues[0]?.message ?? "is not a name"}`];
    default: {
      const found = issue.path.reduce<unknown>(
        (outer, part) => (outer as Record<PropertyKey, unknown> | undefined)?.[part],
        json,
      );
      if (found === undefined) return [`${at} is missing`];
      const said = issue.message.startsWith("Invalid") ? "must be an object in braces" : issue.message;
      return [`${at} ${said}`];
    }
  }
}

/** A place in the file, for reading what stands there and telling what is wrong with it. */
class Whereabouts {
  readonly at: string;
  readonly how: { folder: string; withSecrets: boolean; problems: string[] };

  constructor(at: string, how: Whereabouts["how"]) {
    this.at = at;
    this.how = how;
  }

  below(name: string): Whereabouts {
    return new Whereabouts(`${this.at}.${name}`, this.how);
  }

  tell(problem: string): void {
    this.how.problems.push(`${this.at}${problem}`);
  }

  /** The value of a field, or the content of the file that is named in its place. */
  take(name: string, value: string | undefined, file: string | undefined): string | undefined {
    if (file === undefined) return value;
    if (value !== undefined) this.tell(`.${name} and .${name}_file are both there: keep one of them`);
    else if (!this.how.withSecrets) return "";
    else return this.#read(`${name}_file`, resolve(this.how.folder, file));
    return undefined;
  }

  #read(name: string, path: string): string {
    try {
      const content = readFileSync(path, "utf8").replace(/\r?\n$/, "");
      if (content.trim() === "") this.tell(`.${name} names a file that is empty`);
      return content;
    } catch {
      this.tell(`.${name} names a file that cannot be read`);
      return "";
    }
  }
}

function toTenant(entry: Entry, where: Whereabouts): Tenant {
  const raos = new Map<string, Rao>();
  const place = where.below("raos");
  for (const [name, one] of Object.entries(entry.raos)) {
    const rao = toRao(one, place.below(name));
    if (rao) raos.set(name, rao);
  }
  if (Object.keys(entry.raos).length === 0) where.tell(".raos has nobody: nobody could approve an identification");
  const { billing_username, billing_username_file, billing_password, billing_password_file } = entry;
  return {
    env: entry.env,
    registrationAuthority: entry.registration_authority,
    profile: entry.profile,
    billingUsername: where.take("billing_username", billing_username, billing_username_file),
    billingPassword: where.take("billing_password", billing_password, billing_password_file),
    raos,
  };
}

function toRao(entry: z.infer<typeof RaoEntry>, where: Whereabouts): Rao | undefined {
  const { rao } = entry;
  const token = where.take("token", entry.token, entry.token_file);
  const username = where.take("username", entry.username, entry.username_file);
  const password = where.take("password", entry.password, entry.password_file);
  const pin = where.take("pin", entry.pin, entry.pin_file);
  if (token !== undefined) {
    if (username !== undefined) where.tell(" has a token and a username: keep one of them");
    return { rao, token, password, pin };
  }
  if (username !== undefined && password !== undefined && pin !== undefined) return { rao, username, password, pin };
  where.tell(" needs a token, or username, password and pin");
  return undefined;
}

/** The account in the settings; without a RAO when they have not all of one. */
function toDefault(settings: Settings): Tenant {
  const { ONESHOT_RAO: rao, ONESHOT_RAO_TOKEN: token } = settings;
  const { ONESHOT_RAO_USERNAME: username, ONESHOT_RAO_PASSWORD: password, ONESHOT_RAO_PIN: pin } = settings;
  const login = token ? { token } : username && password && pin ? { username, password, pin } : undefined;
  return {
    env: settings.ONESHOT_ENV,
    registrationAuthority: settings.ONESHOT_REGISTRATION_AUTHORITY,
    profile: settings.ONESHOT_PROFILE,
    billingUsername: settings.ONESHOT_BILLING_USERNAME,
    billingPassword: settings.ONESHOT_BILLING_PASSWORD,
    raos: new Map(rao && login ? [[DEFAULT_TENANT, { rao, ...login }]] : []),
  };
}

/** Files that hold secrets are mounted as their owner likes; this one is the operator's own. */
function warningOf(path: string, entries: Record<string, Entry>): string | undefined {
  const hasSecrets = Object.values(entries).some(
    ({ billing_password, raos }) =>
      billing_password !== undefined ||
      Object.values(raos).some(({ token, password, pin }) => (token ?? password ?? pin) !== undefined),
  );
  const isOpen = process.platform !== "win32" && (statSync(path).mode & 0o077) !== 0;
  if (!hasSecrets || !isOpen) return undefined;
  return `TENANTS_FILE has secrets in it and can be read by others on this machine: chmod 600 ${path}`;
}
