import type { Redis } from "ioredis";
import type { JournalLine } from "../core/journal.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import type { Signer } from "../core/signing.ts";
import { isEnd } from "../core/status.ts";
import { restoreBinding } from "./idempotency.ts";
import type { Keys } from "./keys.ts";
import { createSeen, printsOfRequest } from "./seen.ts";
import type { Store } from "./store.ts";
import type { Vault } from "./vault.ts";

/**
 * Puts back what Redis keeps of a request beside its record: who signs (from the spare copy), the caller's reference
 * and Idempotency-Key, the marks against duplicates. What was erased when the request ended is erased again. Whether the signer is known.
 */
export function createAround({
  redis,
  keys,
  store,
  vault,
  masterKey,
  rememberMs,
  signerOf,
}: {
  redis: Redis;
  keys: Keys;
  store: Pick<Store, "read">;
  vault: Vault;
  masterKey: Uint8Array;
  /** How long an Idempotency-Key is remembered. */
  rememberMs: number;
  /** Who signed, from elsewhere, for a request whose data was erased here. */
  signerOf: (id: RequestId) => Promise<Signer | undefined>;
}) {
  const seen = createSeen({ redis, keys, store });

  return async function restoreAround(request: SignRequest, lines: readonly JournalLine[]): Promise<boolean> {
    const { id, phase, reference } = request;
    for (const { idempotency: sealed, atMs } of lines) {
      if (sealed) await restoreBinding({ redis, keys, masterKey }, { id, sealed, atMs, rememberMs });
    }
    if (reference) await redis.sadd(keys.reference(reference), id);
    const isErased = isEnd(phase) && phase !== "failed" && phase !== "expired";
    if (isErased) await vault.erase(id);
    else await vault.restore(id);
    const signer = (await vault.read(id).catch(() => undefined))?.signer ?? (await signerOf(id));
    if (signer) await seen.remember(request, printsOfRequest(masterKey, request, signer));
    return signer !== undefined;
  };
}
