import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { Redis } from "ioredis";
import { z } from "zod";
import { type RequestId, Sha256 } from "../core/request.ts";
import type { Keys } from "./keys.ts";
import { seal, unseal } from "./seal.ts";

interface Bound {
  bodyHash: string;
  requestId: RequestId;
  answer?: string | undefined;
}

/** So much of an HMAC tells keys apart: nobody has enough of them for two to meet. */
const PRINT_BYTES = 12;

/** What the journal keeps of a binding: where Redis has it, behind its prefix, and what came with it. */
const Binding = z.object({ memory: z.string(), bodyHash: Sha256 });

/** A binding for the journal. Encrypted, since both hashes can be found by trying. */
export function sealBinding(
  { keys, masterKey }: { keys: Keys; masterKey: Uint8Array },
  id: RequestId,
  { name, bodyHash }: { name: string; bodyHash: string },
): string {
  const memory = keys.idempotency(name).slice(keys.prefix.length);
  const binding = { memory, bodyHash } satisfies z.infer<typeof Binding>;
  return seal(masterKey, JSON.stringify(binding), `${id}:idempotency`);
}

/** Puts a binding back into a Redis that has lost it, for as long as a finished key is remembered. */
export async function restoreBinding(
  { redis, keys, masterKey }: { redis: Redis; keys: Keys; masterKey: Uint8Array },
  { id, sealed, atMs, rememberMs }: { id: RequestId; sealed: string; atMs: number; rememberMs: number },
): Promise<void> {
  const leftMs = atMs + rememberMs - Date.now();
  if (leftMs <= 0) return;
  const plain = unseal(masterKey, sealed, `${id}:idempotency`).toString();
  const binding = Binding.parse(JSON.parse(plain));
  const { bodyHash } = binding;
  const memory = `${keys.prefix}${binding.memory}`;
  const value = { bodyHash, requestId: id, done: true } satisfies Bound & { done: boolean };
  await redis.set(memory, seal(masterKey, JSON.stringify(value), memory), "PX", leftMs, "NX");
}

interface Scripts {
  signpipeIfClaimed(...args: (string | number)[]): Promise<0 | 1>;
}

/**
 * Memory of Idempotency-Keys, shared by all API processes. What a key stands for is encrypted, since the hash of a
 * body can be found by trying.
 */
export function createIdempotency({
  redis,
  keys,
  masterKey,
  claimMs,
  rememberMs,
}: {
  redis: Redis;
  keys: Keys;
  masterKey: Uint8Array;
  /** How long a claim lives without being extended. */
  claimMs: number;
  /** How long a key is remembered. */
  rememberMs: number;
}) {
  const lua = readFileSync(new URL("./scripts/if-claimed.lua", import.meta.url), "utf8");
  redis.defineCommand("signpipeIfClaimed", { numberOfKeys: 2, lua });
  const scripts = redis as unknown as Scripts;

  return {
    printOf(name: string, bodyHash: string): string {
      const of = (text: string) => {
        const digest = createHmac("sha256", masterKey).update(`idempotency ${text}`).digest();
        return digest.subarray(0, PRINT_BYTES).toString("base64url");
      };
      return `${of(name)}.${of(`${name} ${bodyHash}`)}`;
    },

    async begin(name: string) {
      const memory = keys.idempotency(name);
      const claim = `${memory}:claim`;
      const token = randomUUID();

      async function recall(): Promise<(Bound & { done: boolean }) | undefined> {
        const sealed = await redis.get(memory);
        if (sealed === null) return undefined;
        const known = JSON.parse(unseal(masterKey, sealed, memory).toString()) as Bound & { done: boolean };
        const { answer } = known;
        return answer === undefined ? known : { ...known, answer: inflated(answer) };
      }
      async function act(what: "extend" | "bind" | "release", value?: Bound & { done: boolean }): Promise<boolean> {
        const sealed = value ? seal(masterKey, JSON.stringify(value), memory) : "";
        return (await scripts.signpipeIfClaimed(claim, memory, token, what, claimMs, sealed, rememberMs)) === 1;
      }

      const ours = (await redis.set(claim, token, "PX", claimMs, "NX")) === "OK";
      const known = await recall().catch(async (error: unknown) => {
        if (ours) await act("release").catch(() => false);
        throw error;
      });
      if (known?.done) {
        if (ours) await act("release");
        const { done: _done, ...bound } = known;
        return { state: "done" as const, bound };
      }
      if (!ours) return { state: "busy" as const };
      let bound: Bound | undefined = known && { bodyHash: known.bodyHash, requestId: known.requestId };
      return {
        state: "yours" as const,
        earlier: bound,
        claim: {
          extend: () => act("extend"),
          async bind(what: Bound) {
            bound = what;
            return await act("bind", { ...what, done: false });
          },
          async finish(answer?: string) {
            const said = answer === undefined ? {} : { answer: deflated(answer) };
            await act("release", bound && { ...bound, ...said, done: true });
          },
          async release() {
            await act("release");
          },
        },
      };
    },
  };
}

/** Answers are much alike inside, and are kept for a day: a third of the room does. */
const deflated = (text: string): string => deflateRawSync(text).toString("base64");
const inflated = (text: string): string => inflateRawSync(Buffer.from(text, "base64")).toString("utf8");
