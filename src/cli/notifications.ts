import type { Settings } from "../config.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import { madeSecret } from "../keeping.ts";
import { deriveKey, findMasterKey } from "../keys.ts";
import { readSecrets, toSecret } from "../producers/callback/secrets.ts";
import { createOpener } from "../producers/intake/sealed.ts";
import type { Client, Notification } from "./client.ts";
import { findRequest } from "./find-request.ts";
import { type Column, renderTable } from "./table.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

const COLUMNS: Column[] = [
  { title: "ID", shrink: "middle" },
  { title: "TYPE" },
  { title: "STATE" },
  { title: "TRIED", align: "right" },
  { title: "LAST" },
  { title: "NEXT", shrink: "end" },
];

/** `signpipe notifications <id>`: what the request's callback address was told, and what became of it. */
export async function listNotifications(
  client: Client,
  { out, err }: Terminal,
  typed: string,
  { json }: { json: boolean },
): Promise<number> {
  const items = await client.notifications(await findRequest(client, typed));
  if (json) {
    out.line(JSON.stringify({ items }, null, 2));
  } else if (items.length === 0) {
    err.line("Nobody was told anything of this request, within 30 days.");
  } else {
    const how = { width: out.width, title: (text: string) => out.paint("bold", text) };
    for (const line of renderTable(COLUMNS, items.map(toRow), how)) out.line(line);
  }
  return EXIT.done;
}

function toRow({ id, type, state, attempts, status, code, next_at }: Notification): string[] {
  return [id, type, state, String(attempts), code ?? String(status ?? ""), next_at ?? ""];
}

/**
 * `signpipe notifications replay <id> [notification]`: tells one once more, or all of a request that were not delivered;
 * with `since` and without an id, all of all requests.
 */
export async function replayNotifications(
  client: Client,
  { out, err }: Terminal,
  { typed, notification, since }: { typed: string; notification: string; since: string | undefined },
  { json }: { json: boolean },
): Promise<number> {
  if ((typed === "") === (since === undefined)) {
    throw new CliError("Which ones? Give the id of a request, or --since with a time like 2026-11-24T08:00:00Z.");
  }
  const replayed = since === undefined ? await replayOf(client, typed, notification) : await client.replaySince(since);
  if (json) out.line(JSON.stringify({ replayed }, null, 2));
  else err.line(replayed === 0 ? "There is nothing to be told once more." : `Told once more: ${replayed}`);
  return EXIT.done;
}

async function replayOf(client: Client, typed: string, notification: string): Promise<number> {
  const id = await findRequest(client, typed);
  const undelivered = async () => (await client.notifications(id)).filter(({ state }) => state !== "delivered");
  const ids = notification === "" ? (await undelivered()).map((one) => one.id) : [notification];
  for (const one of ids) await client.replay(id, one);
  return ids.length;
}

/** `signpipe notifications secret`: what messages to callers are signed with, newest first. */
export function printSecrets(settings: Settings, { out }: Terminal, tenant: string | undefined): number {
  const masterKey = keyOf(settings);
  const keysOf = readSecrets(settings.CALLBACK_SECRETS, (one) => madeSecret(masterKey, one));
  for (const key of keysOf(tenant === DEFAULT_TENANT ? undefined : tenant)) out.line(toSecret(key));
  return EXIT.done;
}

/** `signpipe intake key`: the public key for what is sealed in jobs of the queue "intake", as a JWK. */
export async function printIntakeKey(settings: Settings, { out }: Terminal, what: string): Promise<number> {
  if (what !== "key") throw new CliError("What about the intake? There is: signpipe intake key.");
  out.line(JSON.stringify(await createOpener(deriveKey(keyOf(settings), "intake")).publicJwk()));
  return EXIT.done;
}

function keyOf(settings: Settings): Uint8Array {
  const masterKey = findMasterKey(settings);
  if (masterKey) return masterKey;
  throw new CliError("There is no master key yet: start signpipe once, or set MASTER_KEY.");
}
