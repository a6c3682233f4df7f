import { randomBytes } from "node:crypto";
import type { Redis } from "ioredis";
import { PermanentError } from "../core/errors.ts";
import type { RequestId } from "../core/request.ts";
import { Identification } from "../core/identity.ts";
import { Signer } from "../core/signing.ts";
import type { Keys } from "./keys.ts";
import { seal, unseal } from "./seal.ts";

/** What is kept about people. Everything here is erased at once by dropping the request's key. */
export interface Private {
  signer: Signer;
  /** Value of an external authentication, and the code that some providers want beside it. */
  unlock?: string | undefined;
  secret?: string | undefined;
  /** How the caller identified the signer. */
  identification?: Identification | undefined;
}

/** What a sentence that a person wrote is kept under: one of its own for each, so that none is taken for another. */
export type NoteName = `reason${string}` | `correction-${string}`;

/** A second place for what is encrypted, on the data volume: for a Redis that was lost. */
export interface Spare {
  keep(id: RequestId, sealed: Record<string, string>): Promise<void>;
  read(id: RequestId): Promise<Record<string, string> | undefined>;
  erase(id: RequestId): Promise<void>;
}

export type Vault = ReturnType<typeof createVault>;

/** Who signs, where nothing can be done without. Throws PermanentError "signer-erased", and what `read` throws. */
export async function personOf(vault: Pick<Vault, "read">, id: RequestId): Promise<Private> {
  const person = await vault.read(id);
  if (!person) throw new PermanentError("The signer's data was erased", { code: "signer-erased" });
  return person;
}

function without(fields: Record<string, string>, name: string | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([one]) => one !== name));
}

/**
 * Personal data, apart from the records: AES-256-GCM under a key of the request's own, which is wrapped by the master
 * key. The master key is never in Redis.
 */
export function createVault({
  redis,
  keys,
  masterKey,
  spare,
}: {
  redis: Redis;
  keys: Keys;
  masterKey: Uint8Array;
  spare: Spare;
}) {
  const open = (id: RequestId, wrapped: string) => unseal(masterKey, wrapped, `${id}:key`);

  async function field(id: RequestId, name: string): Promise<string | undefined> {
    const [wrapped, sealed] = await redis.hmget(keys.vault(id), "key", name);
    return wrapped && sealed ? unseal(open(id, wrapped), sealed, `${id}:${name}`).toString("utf8") : undefined;
  }

  return {
    /** Keeps who signs. Repeating it replaces. */
    async keep(id: RequestId, person: Private): Promise<void> {
      const key = randomBytes(32);
      const sealed = {
        key: seal(masterKey, key, `${id}:key`),
        person: seal(key, JSON.stringify(person), `${id}:person`),
      };
      await spare.keep(id, sealed);
      await redis.hset(keys.vault(id), sealed);
    },
    /** Puts back what Redis has lost. */
    async restore(id: RequestId): Promise<void> {
      if (await redis.exists(keys.vault(id))) return;
      const sealed = await spare.read(id);
      if (sealed) await redis.hset(keys.vault(id), sealed);
    },
    /** Who signs; undefined once it was erased. Throws PermanentError "vault-unreadable". */
    async read(id: RequestId): Promise<Private | undefined> {
      const text = await field(id, "person");
      if (text === undefined) return undefined;
      const { signer, unlock, secret, identification } = JSON.parse(text) as Private;
      return {
        signer: Signer.parse(signer),
        ...(unlock !== undefined && { unlock }),
        ...(secret !== undefined && { secret }),
        ...(identification && { identification: Identification.parse(identification) }),
      };
    },
    /**
     * Replaces the signer and leaves the rest, but for `note`, which brought the news. False once everything was erased.
     * Safe to repeat.
     */
    async replaceSigner(id: RequestId, signer: Signer, note?: NoteName): Promise<boolean> {
      const there = await redis.hgetall(keys.vault(id));
      const person = await this.read(id);
      if (!there["key"] || !person) return false;
      const text = JSON.stringify({ ...person, signer });
      const sealed = seal(open(id, there["key"]), text, `${id}:person`);
      await spare.keep(id, without({ ...there, person: sealed }, note));
      const change = redis.multi().hset(keys.vault(id), "person", sealed);
      await (note === undefined ? change : change.hdel(keys.vault(id), note)).exec();
      return true;
    },
    /** Keeps what a person wrote, such as the reason of a refusal or a correction. */
    async keepNote(id: RequestId, name: NoteName, text: string): Promise<void> {
      const there = await redis.hgetall(keys.vault(id));
      if (!there["key"]) return;
      const sealed = seal(open(id, there["key"]), text, `${id}:${name}`);
      await spare.keep(id, { ...there, [name]: sealed });
      await redis.hset(keys.vault(id), name, sealed);
    },
    async readNote(id: RequestId, name: NoteName): Promise<string | undefined> {
      return await field(id, name);
    },
    /** Takes a sentence back. The copy beside is written anew: of two that were kept at once it may lack the one that stays. */
    async dropNote(id: RequestId, name: NoteName): Promise<void> {
      if ((await redis.hdel(keys.vault(id), name)) === 0) return;
      const left = await redis.hgetall(keys.vault(id));
      if (left["key"]) await spare.keep(id, left);
    },
    /**
     * Takes back what was kept for a request that was not accepted after all. The copy beside its documents stays, and
     * goes with them: should the request come back from the journal, it comes back with who signs.
     */
    async withdraw(id: RequestId): Promise<void> {
      await redis.del(keys.vault(id));
    },
    /** Erases all of it. */
    async erase(id: RequestId): Promise<void> {
      await spare.erase(id);
      await redis.del(keys.vault(id));
    },
  };
}
