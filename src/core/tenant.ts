import { z } from "zod";

/** The tenant of requests that name none: the account in the settings themselves. */
export const DEFAULT_TENANT = "default";

const NAME = /^[a-z][a-z0-9-]{0,39}$/;

/** Names are for people and for records; whose account it is stands in the configuration alone. */
export const TenantName = z.string().regex(NAME, "must be the name of a tenant: small letters, digits and -");
export const RaoName = z.string().regex(NAME, "must be the name of a RAO of the tenant: small letters, digits and -");

/** What a request says about the account that its calls are made on. Facts of the record: names, and no secret. */
export const AccountWishes = z.object({
  tenant: z.string().optional(),
  rao: z.string().optional(),
  profile: z.string().optional(),
  registrationAuthority: z.string().optional(),
});
export type AccountWishes = z.infer<typeof AccountWishes>;

/** What the provider shows of whose a request is, as far as it is known: nothing else that it shows tells tenants apart. */
export interface Traits {
  registrationAuthority?: string | undefined;
  profile?: string | undefined;
}

/** A tenant by its name, and what the provider shows of requests that are made on its account. */
export type TenantTraits = Traits & { tenant: string };

/**
 * Whether a request that the provider shows with `shown` may have been made with `own`. What either leaves open
 * contradicts nothing: the Optimizer fills in what a call does not say, and it may not show it.
 * @source docs/provider.md §Get Request, §Account
 */
export function mayBeMadeWith(own: Traits, shown: Traits): boolean {
  const isOpen = (one: string | undefined, other: string | undefined) => one === undefined || other === undefined;
  // A number, with or without the zeros that a configuration may put before it.
  const number = (text = "") => text.trim().replace(/^0+(?=\d)/, "");
  const { registrationAuthority, profile } = own;
  return (
    (isOpen(registrationAuthority, shown.registrationAuthority) ||
      number(registrationAuthority) === number(shown.registrationAuthority)) &&
    (isOpen(profile, shown.profile) || profile?.trim() === shown.profile?.trim())
  );
}
