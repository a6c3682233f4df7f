import { PermanentError } from "../../core/errors.ts";
import type { SignRequest } from "../../core/request.ts";
import { DEFAULT_TENANT } from "../../core/tenant.ts";
import { noSuchBatch } from "../../files/batches.ts";
import { toBatch } from "./batch-view.ts";
import type { ApiParts, Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import { toId } from "./requests.ts";

/** The calls that look for themselves at whose key was shown: they name no request, and no batch. */
const COLLECTION = "/v1/requests";
const BATCHES = "/v1/batches";
const THEIR_OWN = [COLLECTION, "/v1/events", BATCHES, "/v1/schemas/batch-row"];
const ONE = `${COLLECTION}/:id`;
const BATCH = `${BATCHES}/:id`;

/**
 * Keeps a key that is for one tenant to that tenant's requests: those of others are not there for it, and calls that are
 * about everybody are refused. It stands before the handlers, so that one that is added later cannot forget it.
 */
export function addTenancy(app: Server, { pipeline, batches }: Pick<ApiParts, "pipeline" | "batches">): void {
  app.addHook("onRequest", async (request) => {
    const { keyTenant } = request;
    const { url: route = "" } = request.routeOptions;
    if (keyTenant === undefined || THEIR_OWN.includes(route)) return;
    if (batches && (route === BATCH || route.startsWith(`${BATCH}/`))) {
      const batch = await batches.find(toBatch((request.params as { id: string }).id));
      if (batch?.tenant !== keyTenant) throw noSuchBatch();
      return;
    }
    if (route !== ONE && !route.startsWith(`${ONE}/`)) throw notForThisKey("This call is about all tenants.");
    const found = await pipeline.find(toId((request.params as { id: string }).id));
    if (found === undefined || tenantOf(found) !== keyTenant) {
      throw new PermanentError("There is no request with this id", { code: "no-such-request" });
    }
  });
}

/** Whose a request is that names `tenant`, handed in with a key for `keyTenant`. Throws ApiError "not-for-this-key". */
export function tenantFor(keyTenant: string | undefined, tenant: string | undefined): string | undefined {
  if (keyTenant === undefined || tenant === keyTenant) return tenant;
  if (tenant === undefined) return keyTenant;
  throw notForThisKey(`It hands in for the tenant "${keyTenant}" alone; leave tenant out, or send another key.`);
}

function tenantOf({ facts }: SignRequest): unknown {
  return facts["tenant"] ?? DEFAULT_TENANT;
}

function notForThisKey(why: string): ApiError {
  return new ApiError("not-for-this-key", `The key is for one tenant. ${why}`);
}
