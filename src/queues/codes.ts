import type { Redis } from "ioredis";
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
  forget(id: RequestId): Promise<void>;
}

export function createCodes({ redis, keys, masterKey }: { redis: Redis; keys: Keys; masterKey: Uint8Array }): Codes {
  return {
    async keep(id, secret) {
      await redis.set(keys.code(id), seal(masterKey, secret, `${id}:code`), "PX", toMs(LIFETIME));
    },
    async read(id) {
      const sealed = await redis.get(keys.code(id));
      return sealed === null ? undefined : unseal(masterKey, sealed, `${id}:code`).toString("utf8");
    },
    async forget(id) {
      await redis.del(keys.code(id));
    },
  };
}
