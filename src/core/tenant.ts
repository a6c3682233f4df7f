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
