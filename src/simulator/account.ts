import { numberOrText, textOf } from "./bodies.ts";
import type { Body } from "./bodies.ts";
import type { Context } from "./context.ts";
import { Refusal } from "./envelopes.ts";
import type { Settings } from "./options.ts";

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
export const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
/** With an international prefix; whether it is a number that can be called is found out later. */
export const INTERNATIONAL_PHONE = /^(\+|00)[1-9]/;

/** For whom and on whose account a creation is; what a call leaves out comes from the Optimizer's settings. */
export type Account = {
  env: string | undefined;
  registrationAuthority: string | undefined;
  profile: string | undefined;
  billingUsername: string | undefined;
  billingPassword: string | undefined;
};

/** Reads the account of a creation. @source docs/provider.md §Account */
export function accountFrom({ optimizer }: Context, body: Body): Account {
  const { general, billing, request } = optimizer;
  return {
    env: textOf(body, "env") ?? general.environment,
    registrationAuthority: numberOrText(body, "registration_authority") ?? request.default_ra,
    profile: textOf(body, "profile") ?? request.default_profile,
    billingUsername: textOf(body, "billing_username") ?? billing.billing_username,
    billingPassword: textOf(body, "billing_password") ?? billing.billing_password,
  };
}

/** Throws the refusal of an environment that does not exist, or is missing where it must not be. */
export function checkEnvironment({ settings }: Context, env: string | undefined): void {
  if (env === undefined && settings.requireEnv)
    throw new Refusal(400, "Missing env parameter. Please set it in settings or specify it as parameter");
  if (env === undefined || env === "sandbox" || env === "prod") return;
  const isNamed = settings.unknownEnvironment === "named";
  throw new Refusal(400, isNamed ? `Environment ${env} does not exist` : "The specified environment is not available");
}

const CONFIGURATION = "Configuration error: Please check the certificates path for the environment selected";
const CREDIT = "Cannot check the remaining credit for the billing user. Please check the credentials";

/** Throws the refusal of a billing account. Both come as 500. @source docs/provider.md §Create */
export function checkBilling(
  { credentials: { billing: known } }: Context,
  { billingUsername, billingPassword }: Account,
) {
  // Nobody's credit can be checked without them. @source docs/provider.md §Create: inferred
  if (billingUsername === undefined || billingPassword === undefined) throw new Refusal(500, CREDIT);
  if (!BASE64.test(billingPassword))
    throw new Refusal(500, "Billing credentials not valid. Please check if they are base64 encoded");
  if (!known) return;
  const password = Buffer.from(billingPassword, "base64").toString("utf8");
  if (billingUsername !== known.username || password !== known.password) throw new Refusal(500, CREDIT);
}

/** Throws the refusal of an authority that is not known. */
export function checkAuthority({ credentials }: Context, registrationAuthority: string): void {
  if (credentials.registrationAuthorities?.includes(registrationAuthority) === false)
    throw new Refusal(404, "Registration Authority not found");
}

type Reason = Exclude<Settings["refuseCreation"], "no">;

/** Published refusals that do not come from what was sent. @source docs/provider.md §Create VideoID, §Errors */
const REFUSALS: Record<Reason, (authority: string) => Refusal> = {
  "no-credit": () => new Refusal(500, CREDIT),
  "no-permission": () =>
    new Refusal(
      403,
      'Error creating new videoid request: {"detail":"You do not have permission to perform this action."}',
    ),
  certificates: () =>
    new Refusal(403, "You do not have permission to perform this action. Check your authentication certificates"),
  profile: () => new Refusal(403, "You do not have permission to perform this action"),
  configuration: () => new Refusal(500, CONFIGURATION),
  "videoid-disabled": (authority) => new Refusal(400, `Videoid not enabled for Registration Authority ${authority}`),
  "unknown-authority": () => new Refusal(404, "Registration Authority not found"),
};

/** Throws the refusal of an Optimizer that is not set up. Everything that goes upstream asks. */
export function checkConfiguration({ settings }: Context): void {
  if (settings.misconfigured) throw new Refusal(500, CONFIGURATION);
}

/** Throws what the switches `refuseCreation` and `misconfigured` say. */
export function checkMayCreate(context: Context, registrationAuthority: string): void {
  checkConfiguration(context);
  const { refuseCreation } = context.settings;
  if (refuseCreation !== "no") throw REFUSALS[refuseCreation](registrationAuthority);
}
