import { growing } from "../core/backoff.ts";
import { isFailure } from "../core/errors.ts";
import { waitFor, type Waiting } from "../core/outcome.ts";
import type { RequestPk } from "../core/signing.ts";
import type { Tools } from "./stage.ts";

/**
 * The wait for a file that the provider owes and says it does not have: nobody published that it is there as soon as
 * the call that makes it is answered. Throws `error` when it is about something else, or when the request is no longer
 * at the provider.
 * @source docs/provider.md §Contract, §Signed documents
 */
export async function waitForFile(
  what: "contract" | "signed documents",
  error: unknown,
  { provider, requestPk, signal }: { provider: Tools["provider"]; requestPk: RequestPk; signal: AbortSignal },
): Promise<Waiting> {
  if (!isFailure(error, "not-found", "wrong-state")) throw error;
  const { status } = await provider.getRequest(requestPk, { signal });
  if (status === "CANCELLED") throw error;
  return waitFor(what, {
    whose: "provider",
    poll: growing("1s", { upTo: "5m" }),
    within: "24h",
    expires: "failed",
  });
}
