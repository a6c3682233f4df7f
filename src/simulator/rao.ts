import { numberOrText, textOf } from "./bodies.ts";
import type { Body } from "./bodies.ts";
import type { Context } from "./context.ts";
import { Refusal } from "./envelopes.ts";

/** The RAO's authority over a call: `{username, password, pin, rao}` or `{token, rao}`. */
export type RaoAuthority = { token?: string; username?: string; password?: string; pin?: string; rao?: string };

/**
 * Reads the credentials; 400 when they are incomplete. A token that lacks password or pin needs them in the call.
 * @source docs/provider.md §Credentials
 */
export function raoFrom(context: Context, body: Body): RaoAuthority {
  const found: RaoAuthority = {};
  for (const key of ["token", "username", "password", "pin"] as const) {
    const value = textOf(body, key);
    if (value !== undefined) found[key] = value;
  }
  const rao = numberOrText(body, "rao");
  if (rao !== undefined) found.rao = rao;
  const stored = found.token === undefined ? undefined : context.store.tokens.get(found.token);
  const enough =
    found.token === undefined
      ? found.username !== undefined && found.password !== undefined && found.pin !== undefined
      : !stored || ((stored.password ?? found.password) !== undefined && (stored.pin ?? found.pin) !== undefined);
  if (!enough || rao === undefined) throw new Refusal(400, "Missing required parameters: incomplete RAO's credentials");
  return found;
}

/** 403 when the credentials are not the known ones; without known ones everything complete is right. */
export function checkRao(context: Context, given: RaoAuthority): void {
  const known = context.credentials.rao;
  const tokens = context.credentials.tokens;
  const stored = given.token === undefined ? undefined : context.store.tokens.get(given.token);
  let right = true;
  if (given.token !== undefined && !stored) right = tokens ? tokens.includes(given.token) : !known;
  else if (known) {
    const used = { ...given, ...stored };
    right = used.username === known.username && used.password === known.password && used.pin === known.pin;
  }
  if (known?.rao !== undefined && given.rao !== known.rao) right = false;
  if (!right) throw new Refusal(403, "Invalid RAO credentials");
}
