import { ConfigError, type Settings } from "../config.ts";
import { isEnd } from "../core/status.ts";
import { AccountWishes, DEFAULT_TENANT } from "../core/tenant.ts";
import { createProvider } from "../provider/client.ts";
import { readTenants, type Tenant, type Tenants } from "../tenants.ts";
import { type Examined, examineContract } from "./doctor-contract.ts";
import { fail, type Finding, ok, type Patient, warn } from "./doctor-finding.ts";
import type { Stores } from "./stores.ts";
import { CliError } from "./terminal.ts";

/** Requests that are looked through for one that can tell something. */
const OPEN_MOST = 200;
const BEFORE_APPROVAL: readonly string[] = ["evidences", "identify", "approve"];

/** What is known of the tenants here: on a machine without their secrets, the names. Throws ConfigError. */
export function lookAtTenants(settings: Settings): { tenants: Tenants; found: Finding[] } {
  try {
    const tenants = readTenants(settings);
    return { tenants, found: checkTenants(tenants) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const tenants = readTenants(settings, { withSecrets: false });
    const todo = "It has to be readable where workers run; elsewhere the names are enough.";
    return { tenants, found: error.message.split("\n").map((line) => warn("Tenants", line, todo)) };
  }
}

/** Each tenant, without anything secret. */
function checkTenants({ byName, areSeveral, warning }: Tenants): Finding[] {
  if (!areSeveral) return [];
  const found = [...byName].map(([name, tenant]) => ok("Tenants", `${name}: ${describe(tenant)}`));
  const [path] = /\S+$/.exec(warning ?? "") ?? [];
  if (warning !== undefined) found.push(fail("Tenants", `${warning.split(":")[0]}.`, `chmod 600 ${path}`));
  return found;
}

function describe({ env, registrationAuthority, profile, billingUsername, raos }: Tenant): string {
  const officers = [...raos].map(([name, rao]) => `${name} (${rao.rao}, by ${"token" in rao ? "token" : "password"})`);
  return [
    env,
    `RA ${registrationAuthority ?? "of the Optimizer"}`,
    `profile ${profile ?? "of the Optimizer"}`,
    billingUsername === undefined ? "billing of the Optimizer" : "billing account set",
    `RAO ${officers.join(", ")}`,
  ]
    .filter((part) => part !== undefined)
    .join(", ");
}

/** Open requests whose tenant, or RAO, was taken out of the configuration. */
export function checkOpenTenants({ byName }: Tenants, open: readonly { id: string; facts: object }[]): Finding[] {
  const without = open.filter(({ facts }) => {
    const { tenant = DEFAULT_TENANT, rao } = AccountWishes.catch({}).parse(facts);
    const raos = byName.get(tenant)?.raos;
    return raos === undefined || (rao !== undefined && !raos.has(rao));
  });
  if (without.length === 0) return [];
  const says = `${without.length === 1 ? "1 request is" : `${without.length} requests are`} of a tenant, or an officer, that is not configured, such as ${without[0]?.id ?? ""}.`;
  return [warn("Tenants", says, "They wait: bring it back and restart, or cancel them.")];
}

/** Looks at the provider with a tenant's eyes; nothing is done there. Throws CliError for one that there is not. */
export async function examineTenant(
  { settings, oneshotUrl, stores }: Pick<Patient, "settings" | "oneshotUrl" | "stores">,
  name: string,
): Promise<Examined> {
  const { tenants } = lookAtTenants(settings);
  const tenant = tenants.byName.get(name);
  if (!tenant) throw new CliError(`There is no tenant "${name}": there are ${[...tenants.byName.keys()].join(", ")}.`);
  if (oneshotUrl === undefined) throw new CliError("There is no provider to look at: set ONESHOT_URL.");
  const provider = createProvider({ url: oneshotUrl });
  try {
    // One question needs a request of ours; without Redis it stays open.
    const early = stores && (await findEarly(stores, name).catch(() => undefined));
    const examinee = { url: oneshotUrl, retrieval: settings.ONESHOT_RETRIEVAL, provider, raos: tenant.raos, early };
    const { findings, questions } = await examineContract(examinee);
    return { findings: [ok("Tenant", `${name}: ${describe(tenant)}`), ...findings], questions };
  } finally {
    await provider.close();
  }
}

/** The provider's number for a request of the tenant whose identification nobody has approved yet. */
async function findEarly({ store }: Stores, tenant: string): Promise<number | undefined> {
  const records = await store.readMany((await store.newest("waiting", "+inf", OPEN_MOST)).map(({ id }) => id));
  const early = records.find(
    ({ phase, stage, facts }) =>
      !isEnd(phase) &&
      BEFORE_APPROVAL.includes(stage) &&
      facts["requestPk"] !== undefined &&
      (facts["tenant"] ?? DEFAULT_TENANT) === tenant,
  );
  return early?.facts["requestPk"] as number | undefined;
}
