import type { Redis } from "ioredis";
import { readFileSync } from "node:fs";
import { type Duration, toMs } from "../core/duration.ts";
import type { RequestId } from "../core/request.ts";
import type { Keys } from "./keys.ts";
import { seal, unseal } from "./seal.ts";

/** A code is of no use after this. @source OWASP ASVS 5.0 §6.5.5 */
const LIFETIME: Duration = "10m";

/** One-time codes: encrypted, apart from records and jobs, gone after ten minutes, never logged. */
export interface Codes {
  keep(id: RequestId, secret: string): Promise<void>;
  read(id: RequestId): Promise<string | undefined>;
  /** With `secret`, only that one: a signer may have handed over another meanwhile. */
  forget(id: RequestId, secret?: string): Promise<void>;
}

interface Scripts {
  signpipeForgetCode(key: string, sealed: string): Promise<0 | 1>;
}

export function createCodes({ redis, keys, masterKey }: { redis: Redis; keys: Keys; masterKey: Uint8Array }): Codes {
  const lua = readFileSync(new URL("./scripts/forget-code.lua", import.meta.url), "utf8");
  redis.defineCommand("signpipeForgetCode", { numberOfKeys: 1, lua });
  const scripts = redis as unknown as Scripts;
  const open = (id: RequestId, sealed: string) => unseal(masterKey, sealed, `${id}:code`).toString("utf8");

  return {
    async keep(id, secret) {
      await redis.set(keys.code(id), seal(masterKey, secret, `${id}:code`), "PX", toMs(LIFETIME));
    },
    async read(id) {
      const sealed = await redis.get(keys.code(id));
      return sealed === null ? undefined : open(id, sealed);
    },
    async forget(id, secret) {
      if (secret === undefined) {
        await redis.del(keys.code(id));
        return;
      }
      const sealed = await redis.get(keys.code(id));
      if (sealed !== null && open(id, sealed) === secret) await scripts.signpipeForgetCode(keys.code(id), sealed);
    },
  };
}
