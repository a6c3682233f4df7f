import type { FastifyReply, FastifyRequest } from "fastify";
import { isIPv6 } from "node:net";
import type { Quota, Standing } from "../../queues/quota.ts";
import { ApiError } from "./problem.ts";

/** Bounds on calls, of all processes together; 0 for no bound. */
export interface Rates {
  /** Calls a minute with one key. */
  perKey: number;
  /** Calls a minute from one address that show no key, or a wrong one. */
  perAddress: number;
}

const WINDOW_MS = 60_000;

/** What a caller is told about a bound. @source draft-ietf-httpapi-ratelimit-headers-10 §3, §4 */
function addRateHeaders(reply: FastifyReply, policy: string, most: number, { left, fullMs }: Standing): void {
  void reply.headers({
    "ratelimit-policy": `"${policy}";q=${most};w=${WINDOW_MS / 1000}`,
    ratelimit: `"${policy}";r=${left};t=${Math.ceil(fullMs / 1000)}`,
  });
}

/**
 * The one who is counted for an address. A household or a machine has 2^64 addresses of IPv6, so these count together.
 * @source RFC 6177 §2
 */
export function toNeighbourhood(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = "", tail] = (address.split("%", 1)[0] ?? "").split("::");
  const [before, after] = [head, tail ?? ""].map((part) => part.split(":").filter(Boolean));
  const zeros = tail === undefined ? 0 : 8 - (before?.length ?? 0) - (after?.length ?? 0);
  const groups = [...(before ?? []), ...Array.from({ length: Math.max(0, zeros) }, () => "0"), ...(after ?? [])];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}

/** Bounds how often is called. Without a quota nobody is counted. */
export function createRates({ quota, rates: { perKey, perAddress } }: { quota: Quota | undefined; rates: Rates }) {
  function refuse(reply: FastifyReply, policy: string, most: number, standing: Standing, why: string): never {
    addRateHeaders(reply, policy, most, standing);
    void reply.header("retry-after", Math.max(1, Math.ceil(standing.waitMs / 1000)));
    throw new ApiError("quota-exceeded", why);
  }

  return {
    /**
     * A call without a valid key. Whoever has a valid one is not held up by a neighbour who has not: behind a proxy all
     * have one address, and no key is short enough to be guessed. Throws ApiError "quota-exceeded".
     */
    async refused(request: FastifyRequest, reply: FastifyReply): Promise<void> {
      if (!quota || perAddress === 0) return;
      const standing = await quota.take(`address:${toNeighbourhood(request.ip)}`, perAddress, WINDOW_MS);
      if (!standing || standing.ok) return;
      refuse(reply, "address", perAddress, standing, "Too many calls without a valid API key came from this address.");
    },

    /** A call with a key. Throws ApiError "quota-exceeded". */
    async allowed(request: FastifyRequest, reply: FastifyReply): Promise<void> {
      if (!quota || perKey === 0) return;
      const standing = await quota.take(`key:${request.keyName}`, perKey, WINDOW_MS);
      if (!standing) return;
      if (!standing.ok) refuse(reply, "key", perKey, standing, "Too many calls came with this API key; slow down.");
      addRateHeaders(reply, "key", perKey, standing);
    },
  };
}
