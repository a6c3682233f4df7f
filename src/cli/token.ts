import { readFileSync } from "node:fs";
import type { Settings } from "../config.ts";
import { TokenUid } from "../core/signing.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import { createProvider } from "../provider/client.ts";
import type { Environment, Provider, TokenCreation } from "../provider/provider.ts";
import { readTenants, type Tenant, type Tenants } from "../tenants.ts";
import { type Ask, createAsk } from "./read-secret.ts";
import { renderTable } from "./table.ts";
import { findProvider } from "./target.ts";
import { CliError, EXIT, type Terminal, visible } from "./terminal.ts";

/** The options of `signpipe token`, as commander gives them. */
export interface TokenOptions {
  tenant?: string;
  rao?: string;
  env?: string;
  username?: string;
  passwordFile?: string;
  pinFile?: string;
  configured?: boolean;
  yes?: boolean;
  json?: boolean;
}

interface Session {
  provider: Provider;
  tenants: Tenants;
  terminal: Terminal;
  options: TokenOptions;
}

/** Enough of a uid to tell tokens apart; the whole of it is as good as the credentials. */
const SHOWN = 8;
const LEAST = 6;

const ACTIONS: Record<string, (session: Session, uid: string | undefined) => Promise<void>> = {
  list,
  create,
  delete: remove,
};

/** `signpipe token list|create|delete`: credentials of RAOs that the provider stores. Asks the provider itself, not the API. */
export async function token(
  settings: Settings,
  terminal: Terminal,
  { what, uid }: { what: string; uid: string | undefined },
  options: TokenOptions,
): Promise<number> {
  const act = Object.hasOwn(ACTIONS, what) ? ACTIONS[what] : undefined;
  if (!act) throw new CliError(`What with tokens? There are ${Object.keys(ACTIONS).join(", ")}.`);
  const tenants = readTenants(settings);
  if (options.tenant !== undefined) tenantOf(tenants, options.tenant);
  const url = findProvider(settings);
  if (url === undefined)
    throw new CliError("There is no provider to ask: set ONESHOT_URL, or start signpipe with its simulator.");
  const provider = createProvider({ url });
  try {
    await act({ provider, tenants, terminal, options }, uid);
    return EXIT.done;
  } finally {
    await provider.close();
  }
}

function tenantOf({ byName }: Tenants, name = DEFAULT_TENANT): Tenant {
  const tenant = byName.get(name);
  if (tenant) return tenant;
  throw new CliError(`There is no tenant "${name}": there are ${[...byName.keys()].join(", ")}.`);
}

async function list({ provider, tenants, terminal, options }: Session): Promise<void> {
  const { out, err } = terminal;
  const users = usersOf(tenants);
  const items = (await provider.listTokens())
    .map(({ uid, username, hasPassword, hasPin }) => ({
      uid: shortened(uid),
      username,
      has_password: hasPassword,
      has_pin: hasPin,
      used_by: users.get(uid) ?? [],
    }))
    .filter(
      ({ used_by }) => options.tenant === undefined || used_by.some((who) => who.split("/")[0] === options.tenant),
    );
  if (options.json) return out.line(JSON.stringify({ items }, null, 2));
  if (items.length === 0) return err.line("There are no tokens.");
  const yes = (is: boolean) => (is ? "yes" : "no");
  const columns = ["TOKEN", "USER NAME", "PASSWORD", "PIN", "USED BY"].map((title) => ({ title }));
  const rows = items.map(({ uid, username = "", has_password, has_pin, used_by }) => {
    return [visible(uid), visible(username), yes(has_password), yes(has_pin), used_by.join(", ")];
  });
  for (const line of renderTable(columns, rows, { width: out.width, title: (text) => out.paint("bold", text) }))
    out.line(line);
}

async function create({ provider, tenants, terminal, options }: Session): Promise<void> {
  const { out, err } = terminal;
  const tenant = tenants.byName.get(options.tenant ?? DEFAULT_TENANT);
  const credentials = options.configured ? configured(tenant, options) : await asked(createAsk(terminal), options);
  const uid = await provider.createToken(credentials, { env: toEnvironment(options.env) ?? tenant?.env });
  if (options.json) out.line(JSON.stringify({ token_uid: uid }));
  else out.line(uid);
  err.line(
    "This token is as good as the credentials, and is shown this once. Keep it in a file for its owner alone, and name that file as ONESHOT_RAO_TOKEN_FILE, or as token_file in TENANTS_FILE.",
  );
}

async function remove({ provider, tenants, terminal, options }: Session, typed: string | undefined): Promise<void> {
  const given = (typed ?? (await createAsk(terminal)("Token: "))).trim().replace(/…$/, "");
  const uid = await findToken(provider, given);
  const users = usersOf(tenants).get(uid) ?? [];
  if (users.length > 0 && !options.yes) {
    throw new CliError(
      `This token is in use (${users.join(", ")}): nothing could be approved without it. Give --yes to delete it all the same.`,
    );
  }
  const outcome = await provider.deleteToken(TokenUid.parse(uid));
  terminal.err.line(outcome === "deleted" ? "Deleted." : "It was not there any more.");
}

/** The whole uid: what was typed, or the one token whose uid begins so. */
async function findToken(provider: Provider, given: string): Promise<string> {
  if (!/^[\w-][\w.-]*$/.test(given) || given.length < LEAST) {
    throw new CliError(
      `Which token? Give its uid, or at least ${LEAST} letters that it begins with (signpipe token list).`,
    );
  }
  if (given.length >= 32) return given;
  const fitting = (await provider.listTokens()).filter(({ uid }) => uid.startsWith(given));
  if (fitting.length === 1) return fitting[0]?.uid ?? given;
  throw new CliError(
    fitting.length === 0 ? "No token begins so: see signpipe token list." : "Several tokens begin so: give more of it.",
  );
}

/** Who uses which token, by uid: tenants, with their RAO's name. */
function usersOf({ byName }: Tenants): Map<string, string[]> {
  const users = new Map<string, string[]>();
  for (const [tenant, { raos }] of byName) {
    for (const [name, rao] of raos) {
      if (!("token" in rao)) continue;
      const who = tenant === DEFAULT_TENANT ? tenant : `${tenant}/${name}`;
      users.set(rao.token, [...(users.get(rao.token) ?? []), who]);
    }
  }
  return users;
}

/** The credentials that a tenant's RAO has in the configuration, to have them stored. */
function configured(tenant: Tenant | undefined, { rao: name }: TokenOptions): TokenCreation {
  const rao = name === undefined ? [...(tenant?.raos.values() ?? [])][0] : tenant?.raos.get(name);
  if (rao && "username" in rao) return { username: rao.username, password: rao.password, pin: rao.pin };
  throw new CliError("--configured: this RAO has no user name, password and PIN in the configuration.");
}

async function asked(ask: Ask, { username, passwordFile, pinFile }: TokenOptions): Promise<TokenCreation> {
  const name = (username ?? (await ask("User name: ", { isHidden: false }))).trim();
  if (name === "")
    throw new CliError("Whose token? Give --username, or the user name on the first line of standard input.");
  const password =
    passwordFile === undefined
      ? await ask("Password (empty: not stored): ")
      : contentOf(passwordFile, "--password-file");
  const pin = pinFile === undefined ? await ask("PIN (empty: not stored): ") : contentOf(pinFile, "--pin-file");
  return { username: name, ...(password !== "" && { password }), ...(pin !== "" && { pin }) };
}

function contentOf(path: string, option: string): string {
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new CliError(`${option}: the file cannot be read (${(error as NodeJS.ErrnoException).code ?? "error"}).`);
  }
}

function toEnvironment(text: string | undefined): Environment | undefined {
  if (text === undefined || text === "sandbox" || text === "prod") return text;
  throw new CliError("--env must be sandbox or prod.");
}

function shortened(uid: string): string {
  return uid.length > SHOWN + 4 ? `${uid.slice(0, SHOWN)}…` : uid;
}
