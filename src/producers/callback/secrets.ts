/** A list's entry: what it says, and the tenant that it is for, when it is for one. */
interface Entry {
  tenant: string | undefined;
  value: string;
}

/** "value" or "tenant=value", with commas or spaces between several. */
export function readEntries(text = ""): Entry[] {
  return text
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .map((entry) => {
      const [, tenant, value = entry] = /^([a-z][a-z0-9-]{0,39})=(.*)$/.exec(entry) ?? [];
      return { tenant, value };
    });
}

/** The value for a tenant, or the one for all that have none of their own. */
export function readUrls(text: string | undefined): (tenant?: string) => string | undefined {
  const entries = readEntries(text);
  const find = (tenant: string | undefined) => entries.find((entry) => entry.tenant === tenant)?.value;
  return (tenant) => (tenant === undefined ? undefined : find(tenant)) ?? find(undefined);
}

const WHSEC = "whsec_";

/**
 * The keys that messages to a tenant's receivers are signed with, newest first: those given for it, else those given for
 * all, else `made`, one of its own. Whoever knows one tenant's key can so not pass for us at another's, unless the
 * operator gave them the same.
 */
export function readSecrets(
  text: string | undefined,
  made: (tenant: string | undefined) => Uint8Array,
): (tenant?: string) => Uint8Array[] {
  const entries = readEntries(text);
  const find = (tenant: string | undefined) =>
    entries.filter((entry) => entry.tenant === tenant).map(({ value }) => fromSecret(value));
  return (tenant) => {
    const own = tenant === undefined ? [] : find(tenant);
    const keys = own.length > 0 ? own : find(undefined);
    return keys.length > 0 ? keys : [made(tenant)];
  };
}

/** A key in the form in which libraries take it. @source Standard Webhooks 1.0.0, "Signature scheme" */
export function toSecret(key: Uint8Array): string {
  return WHSEC + Buffer.from(key).toString("base64");
}

function fromSecret(secret: string): Uint8Array {
  return Buffer.from(secret.slice(WHSEC.length), "base64");
}
