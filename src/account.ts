import { PermanentError, RetryableError } from "./core/errors.ts";
import { type AccountWishes, DEFAULT_TENANT, type TenantTraits } from "./core/tenant.ts";
import { officerOf, toBilling } from "./provider/bodies.ts";
import type { Credentials } from "./provider/guard.ts";
import type { Account } from "./provider/provider.ts";
import type { Tenant, Tenants } from "./tenants.ts";

export type Accounts = ReturnType<typeof createAccounts>;

/** Whose account a request's calls are made on: names in requests, credentials in the configuration. */
export function createAccounts({ byName, areSeveral }: Pick<Tenants, "byName" | "areSeveral">) {
  function account({ tenant: name = DEFAULT_TENANT, rao, profile, registrationAuthority }: AccountWishes): Account {
    const tenant = byName.get(name);
    const officer = rao === undefined ? [...(tenant?.raos.values() ?? [])][0] : tenant?.raos.get(rao);
    if (!tenant || !officer) throw notConfigured(name, rao, areSeveral);
    return {
      ...toAccount(tenant, officer),
      profile: profile ?? tenant.profile,
      registrationAuthority: registrationAuthority ?? tenant.registrationAuthority,
    };
  }

  return {
    /**
     * Refuses a request that names a tenant or a RAO that there is not. Throws PermanentError "unknown-tenant" or
     * "unknown-rao", whose message says which there are.
     */
    mustKnow({ tenant: name, rao }: Pick<AccountWishes, "tenant" | "rao">): void {
      const tenant = byName.get(name ?? DEFAULT_TENANT);
      if (!tenant) {
        const names = [...byName.keys()].join(", ");
        const what = name === undefined ? "tenant is missing" : `There is no tenant "${name}"`;
        throw new PermanentError(names === "" ? what : `${what}: there are ${names}`, { code: "unknown-tenant" });
      }
      if (rao === undefined || tenant.raos.has(rao)) return;
      const whose = name === undefined ? "" : ` of the tenant "${name}"`;
      throw new PermanentError(`There is no RAO "${rao}"${whose}: there are ${[...tenant.raos.keys()].join(", ")}`, {
        code: "unknown-rao",
      });
    },

    /**
     * The account that a request's calls are made on. Throws RetryableError "tenant-not-configured", at which it waits
     * for an operator: what it was accepted for may have been taken out since, by mistake as well.
     */
    account,

    /** What its calls are made with; throws the same. */
    credentialsOf(wishes: AccountWishes): Credentials[] {
      const { rao, ...rest } = account(wishes);
      return [toBilling({ rao, ...rest }).credentials, officerOf(rao)];
    },

    /** What the provider shows of whose a request is; of a tenant that is not configured, what the request says itself. */
    traitsOf({ tenant: name = DEFAULT_TENANT, profile, registrationAuthority }: AccountWishes): TenantTraits {
      const tenant = byName.get(name);
      return {
        tenant: name,
        profile: profile ?? tenant?.profile,
        registrationAuthority: registrationAuthority ?? tenant?.registrationAuthority,
      };
    },

    /** The same of every tenant, for requests that say nothing of it themselves. */
    traits: [...byName].map(([tenant, { profile, registrationAuthority }]): TenantTraits => ({
      tenant,
      profile,
      registrationAuthority,
    })),
  };
}

/** Every account that calls can be made on, with the name under which people know it: a tenant and one of its RAOs. */
export function allAccounts({ byName }: Pick<Tenants, "byName">): { tenant: string; rao: string; account: Account }[] {
  return [...byName].flatMap(([tenant, found]) =>
    [...found.raos].map(([rao, officer]) => ({ tenant, rao, account: toAccount(found, officer) })),
  );
}

/**
 * Whose credentials there are, by their fingerprint: a tenant for a billing account, with the RAO's name for a RAO's.
 * Credentials that several share name them all; those of the default tenant alone have an empty name.
 */
export function ownersOf(tenants: Pick<Tenants, "byName">, print: (parts: string[]) => string): Map<string, string> {
  const names = new Map<string, Set<string>>();
  for (const { tenant, rao, account } of allAccounts(tenants)) {
    const officer = tenant === DEFAULT_TENANT ? tenant : `${tenant}/${rao}`;
    for (const [{ lane, secrets }, name] of [
      [toBilling(account).credentials, tenant],
      [officerOf(account.rao), officer],
    ] as const) {
      const key = print([lane, ...secrets]);
      names.set(key, (names.get(key) ?? new Set()).add(name));
    }
  }
  return new Map(
    [...names]
      .map(([key, known]) => [key, [...known].join(", ")] as const)
      .map(([key, name]) => [key, name === DEFAULT_TENANT ? "" : name]),
  );
}

function toAccount({ raos: _raos, ...tenant }: Tenant, rao: Account["rao"]): Account {
  return { ...tenant, rao };
}

function notConfigured(tenant: string, rao: string | undefined, areSeveral: boolean): RetryableError {
  const what =
    tenant !== DEFAULT_TENANT
      ? rao === undefined
        ? `The tenant "${tenant}" is`
        : `The tenant "${tenant}" with the RAO "${rao}" is`
      : "ONESHOT_RAO and ONESHOT_RAO_TOKEN (or ONESHOT_RAO_USERNAME, _PASSWORD and _PIN) are";
  const where = tenant !== DEFAULT_TENANT && areSeveral ? " in TENANTS_FILE" : "";
  return new RetryableError(`${what} not set${where}: bring that back and restart, or cancel the request`, {
    code: "tenant-not-configured",
    pause: { until: "a configured tenant" },
  });
}
