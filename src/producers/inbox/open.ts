import type { RequestId } from "../../core/request.ts";
import type { RawName } from "./names.ts";
import type { Quota } from "./tracker.ts";

/** Of claims whose tenant nobody looks for. */
const ANY = "";

/** Claims that are not over, and how many more there may be: of all together, and of each tenant. */
export function createOpen({
  most,
  mostPerTenant,
  tenantOf,
  rawOf,
}: {
  most: number;
  /** No bound when undefined. */
  mostPerTenant: number | undefined;
  /** On whose account a file is, as far as the place tells where it lies. */
  tenantOf: (raw: RawName) => string | undefined;
  /** The name of a claim; undefined when it has none any more. */
  rawOf: (id: RequestId) => RawName | undefined;
}) {
  const open = new Map<RequestId, string>();
  const perTenant = new Map<string, number>();

  function count(tenant: string, by: 1 | -1): void {
    perTenant.set(tenant, (perTenant.get(tenant) ?? 0) + by);
  }

  function add(id: RequestId, raw?: RawName): void {
    if (open.has(id)) return;
    const name = mostPerTenant === undefined ? undefined : (raw ?? rawOf(id));
    const tenant = name === undefined ? ANY : (tenantOf(name) ?? ANY);
    open.set(id, tenant);
    count(tenant, 1);
  }

  function remove(id: RequestId): void {
    const tenant = open.get(id);
    if (tenant === undefined) return;
    open.delete(id);
    count(tenant, -1);
  }

  return {
    add,
    has: (id: RequestId) => open.has(id),
    tell: (id: RequestId, isOpen: boolean) => (isOpen ? add(id) : remove(id)),
    clear(): void {
      open.clear();
      perTenant.clear();
    },
    /** How many more of all of them there may be. */
    room: () => Math.max(most - open.size, 0),
    /** For one round of taking: what it takes counts at once. */
    quota(): Quota | undefined {
      if (mostPerTenant === undefined) return undefined;
      const used = new Map(perTenant);
      const of = (raw: RawName) => tenantOf(raw) ?? ANY;
      return {
        isFull: (raw) => (used.get(of(raw)) ?? 0) >= mostPerTenant,
        use: (raw) => void used.set(of(raw), (used.get(of(raw)) ?? 0) + 1),
      };
    },
  };
}
