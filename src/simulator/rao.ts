import { numberOrText, textOf } from "./bodies.ts";
import type { Body } from "./bodies.ts";
import type { Context } from "./context.ts";
import { Refusal } from "./envelopes.ts";
import type { Token } from "./store.ts";

/** The RAO's authority over a call: `{username, password, pin, rao}` or `{token, rao}`. */
export type RaoAuthority = { token?: string; username?: string; password?: string; pin?: string; rao?: string };

const INCOMPLETE = "Missing required parameters: incomplete RAO's credentials";

/**
 * Reads the credentials; 400 when they are incomplete. A token that lacks password or pin needs them in the call.
 * A creation does not name the RAO's number beside them.
 * @source docs/provider.md §Credentials
 */
export function raoFrom(context: Context, body: Body, { withNumber = true } = {}): RaoAuthority {
  const found: RaoAuthority = {};
  for (const key of ["token", "username", "password", "pin"] as const) {
    const value = textOf(body, key);
    if (value !== undefined) found[key] = value;
  }
  // One sample of the first generation names it differently.
  const rao = numberOrText(body, "rao") ?? numberOrText(body, "rao_id");
  if (rao !== undefined) found.rao = rao;
  const stored = storedBy(context, found);
  const enough =
    found.token === undefined
      ? found.username !== undefined && found.password !== undefined && found.pin !== undefined
      : !stored || ((stored.password ?? found.password) !== undefined && (stored.pin ?? found.pin) !== undefined);
  if (!enough || (withNumber && rao === undefined)) throw new Refusal(400, INCOMPLETE);
  return found;
}

const storedBy = ({ store }: Context, { token }: RaoAuthority): Token | undefined =>
  token === undefined ? undefined : store.tokens.get(token);

/** Whether the credentials are the known ones; without known ones everything complete is right. */
export function isKnownRao(context: Context, given: RaoAuthority): boolean {
  const { rao: known, tokens } = context.credentials;
  if (context.settings.raoCredentials === "refused") return false;
  const stored = storedBy(context, given);
  if (given.token !== undefined && !stored) return !known && !tokens;
  if (!known) return true;
  const { username, password, pin } = { ...given, ...stored };
  if (username !== known.username || password !== known.password || pin !== known.pin) return false;
  return known.rao === undefined || given.rao === undefined || given.rao === known.rao;
}

/** 403 when the credentials are not the known ones; a number that nobody knows is found out later, and worded by chance. */
export function checkRao(context: Context, given: RaoAuthority): void {
  if (context.settings.raoCredentials === "unknown") throw new Refusal(500, "Rao matching query does not exist.");
  if (!isKnownRao(context, given)) throw new Refusal(403, "Invalid RAO credentials");
}
