import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { type RequestId } from "../core/request.ts";
import type { Keys } from "./keys.ts";
import { seal, unseal } from "./seal.ts";

interface Bound {
  bodyHash: string;
  requestId: RequestId;
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
    async begin(name: string) {
      const memory = keys.idempotency(name);
      const claim = `${memory}:claim`;
      const token = randomUUID();

      async function recall(): Promise<(Bound & { done: boolean }) | undefined> {
        const sealed = await redis.get(memory);
        if (sealed === null) return undefined;
        return JSON.parse(unseal(masterKey, sealed, memory).toString()) as Bound & { done: boolean };
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
        return { state: "done" as const, bound: { bodyHash: known.bodyHash, requestId: known.requestId } };
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
          async finish() {
            await act("release", bound && { ...bound, done: true });
          },
          async release() {
            await act("release");
          },
        },
      };
    },
  };
}
